//! Sockets to Redis: TCP without delay, with TLS on top where the URL asks for it, or a Unix socket.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::options::{Options, Tls};
use crate::server::Address;

/// A byte stream to a server, whatever is below it.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for T {}

/// Connects, within `redis.connect_timeout`. May be dropped at any time.
pub(crate) async fn dial(address: &Address, options: &Options) -> io::Result<Box<dyn Socket>> {
    let connecting = connect(address, options);
    timeout(options.connect_timeout, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn connect(address: &Address, options: &Options) -> io::Result<Box<dyn Socket>> {
    match address {
        Address::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            match (options.server.is_encrypted(), &options.tls) {
                (false, _) => Ok(Box::new(stream)),
                (true, Some(tls)) => encrypt(stream, host, tls).await,
                (true, None) => Err(io::Error::new(io::ErrorKind::Unsupported, "no certificates to trust")),
            }
        }
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
    }
}

async fn encrypt(stream: TcpStream, host: &str, tls: &Tls) -> io::Result<Box<dyn Socket>> {
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let encrypted = TlsConnector::from(tls.client.clone()).connect(name, stream).await?;
    Ok(Box::new(encrypted))
}
