//! Asking Sentinels which server is the master.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tokio::time::timeout;

use crate::dial::dial;
use crate::fault::Fault;
use crate::options::Options;
use crate::server::Address;

/// The master, as the first Sentinel says that can be asked, beginning with another one each turn: one that is cut off
/// from the others goes on naming the master that was. May be dropped.
pub(crate) async fn master(options: &Arc<Options>, name: &str, turn: usize) -> Result<Address, Fault> {
    let (mut reason, sentinels) = (Fault::Disconnected, options.server.seeds());
    for sentinel in sentinels.iter().cycle().skip(turn % sentinels.len().max(1)).take(sentinels.len()) {
        match timeout(options.connect_timeout, ask(options, sentinel, name)).await.unwrap_or(Err(Fault::Timeout)) {
            Ok(master) => return Ok(master),
            Err(fault) => reason = fault,
        }
    }
    Err(reason)
}

async fn ask(options: &Options, sentinel: &Address, name: &str) -> Result<Address, Fault> {
    let socket = dial(sentinel, options).await.map_err(|_| Fault::Disconnected)?;
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let login = login(options);
    let asking = async {
        let (mut connection, driver) = MultiplexedConnection::new_with_config(&login, socket, config).await?;
        tokio::select! {
            answer = command.query_async::<Option<(String, u16)>>(&mut connection) => answer,
            () = driver => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        }
    };
    let (host, port) = asking.await.map_err(Fault::from)?.ok_or(Fault::UnknownMaster)?;
    Address::told_apart(&host, port, sentinel).ok_or(Fault::Nonsense)
}

fn login(options: &Options) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(user) = &options.sentinel_login.user {
        login = login.set_username(user);
    }
    if let Some(password) = &options.sentinel_login.password {
        login = login.set_password(password);
    }
    login
}
