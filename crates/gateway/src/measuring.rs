//! What measurements reach of this crate: a shard on the caller's own thread. What it does can then be counted,
//! instruction by instruction, without other threads in between, and two runs come to the same.

use std::io;
use std::net::TcpStream;
use std::rc::Rc;

use bytes::Bytes;
use fanfare_protocol::Encoding;
use tokio::sync::mpsc;

use crate::backend::Headers;
use crate::connection::NewSocket;
use crate::driver;
use crate::gateway::Parts;
use crate::limits;
use crate::local::Local;
use crate::places::Places;

/// The way to a shard that runs beside its caller.
pub struct Intake {
    places: Places,
    sockets: mpsc::Sender<NewSocket>,
}

/// Runs a shard on this thread until what `act` gives has come to its end.
///
/// # Errors
/// A runtime that could not be made.
pub fn beside_shard<T>(parts: Parts, act: impl AsyncFnOnce(Intake) -> T) -> io::Result<T> {
    let places = Places::new(parts.directory.shards(), parts.options.sessions_max);
    let (sockets, intake) = mpsc::channel(limits::SOCKETS_WAITING_MAX);
    let done = driver::runtime()?.block_on(async {
        let local = Rc::new(Local::new(0, parts));
        local.spawn(driver::drive(Rc::clone(&local), intake));
        let done = act(Intake { places, sockets }).await;
        local.end_tasks();
        done
    });
    Ok(done)
}

impl Intake {
    /// Gives the shard a socket whose handshake is over.
    pub async fn take_in(&self, stream: TcpStream, encoding: Encoding) {
        let place = self.places.take().expect("a measurement stays below `sessions_max`");
        let socket = NewSocket {
            stream,
            tls: None,
            read: Bytes::new(),
            encoding,
            native_ping: false,
            headers: Headers::default(),
            place,
        };
        self.sockets.send(socket).await.expect("the shard outlives those who measure it");
    }
}
