//! The read task of a connection.
//!
//! It waits for the socket, hands what it reads to tungstenite for the WebSocket protocol once the headers of its frames
//! have been judged, and gives the messages to the application one after another. What tungstenite writes (pongs, the answer to a close) goes to the session's outbox like
//! everything else, so that it lands between two frames. The task never writes and never waits for writability.
//!
//! When the session is closed from either side, the task reads on and discards, for a bounded time and amount: a
//! socket that is dropped with unread input sends a reset, which would eat the close frame.

pub(crate) mod wire;

use std::future::poll_fn;
use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fanfare_protocol::{Disconnect, Encoding};
use futures_util::FutureExt as _;

use self::wire::{Inbound, Intake};
use crate::application::Peer;
use crate::backend::Headers;
use crate::limits;
use crate::local::{Kept, Local};
use crate::places::Place;
use crate::rates::Reading;
use crate::shard::State;
use crate::socket::{Socket, SocketSettings};
use crate::tls::Tls;

/// A socket after its upgrade, on its way to a shard.
pub(crate) struct NewSocket {
    pub(crate) stream: std::net::TcpStream,
    /// Around it, if there is any.
    pub(crate) tls: Option<Box<Tls>>,
    /// What came behind the request and was read with it.
    pub(crate) read: Bytes,
    pub(crate) encoding: Encoding,
    pub(crate) native_ping: bool,
    /// What hooks pass on of its request.
    pub(crate) headers: Headers,
    /// The session's place in the node, given back when it has ended.
    pub(crate) place: Place,
}

/// Opens a session for a socket and starts its read task.
pub(crate) fn take_in(local: &Rc<Local>, new: NewSocket) {
    let NewSocket { stream, tls, read, encoding, native_ping, headers, place } = new;
    let options = local.options();
    let settings = SocketSettings { unsent_bytes_max: options.unsent_bytes_max, peer_timeout: options.peer_timeout() };
    let socket = match Socket::adopt(stream, tls, settings) {
        Ok(socket) => Rc::new(socket),
        Err(error) => return tracing::debug!(%error, "a socket ended before its session began"),
    };
    let session = local.with(|shard| shard.open(encoding, native_ping));
    if local.is_draining() {
        // It was upgraded before the drain began and came after it.
        local.with(|shard| shard.close(session, &Disconnect::SHUTDOWN));
    }
    local.add_socket(session, Rc::clone(&socket));
    local.keep(session, Kept { headers, meta: Bytes::new() });
    if socket.has_unwritten() {
        // The end of the answer to the handshake.
        local.with(|shard| shard.mark_dirty(session));
    }
    let connection = Connection {
        peer: Peer { local: Rc::clone(local), session, socket },
        early: (!read.is_empty()).then(|| Box::new(read)),
        intake: Intake::new(native_ping),
        place,
    };
    local.spawn(run(connection));
}

/// One connection, as its read task keeps it.
struct Connection {
    peer: Peer,
    /// What was read with the request, until the first turn; mostly nothing, so it is not to take up room for life.
    early: Option<Box<Bytes>>,
    intake: Intake,
    /// Given back when all else is done.
    place: Place,
}

/// Serves a connection to its end. A panic ends this session only (I10).
#[expect(
    clippy::manual_async_fn,
    reason = "an async function has its argument twice, and this is most of the task (I11)"
)]
fn run(mut connection: Connection) -> impl Future<Output = ()> {
    async move {
        if AssertUnwindSafe(connection.serve()).catch_unwind().await.is_err() {
            connection.close_panicked();
            Box::pin(connection.discard()).await;
        }
        connection.count_messages(0);
        // What was answered to the last commands before the end of input still goes out.
        tokio::task::yield_now().await;
        connection.end();
    }
}

impl Connection {
    /// Reads and carries out until the session ends.
    #[expect(clippy::manual_async_fn, reason = "as with its caller")]
    fn serve(&mut self) -> impl Future<Output = ()> + '_ {
        async move {
            // Nothing is read before what came with the request is carried out.
            let mut length = 0;
            loop {
                if let Some(carried_out) = self.carry_out(length) {
                    carried_out.await;
                }
                if !self.peer.is_open() {
                    return Box::pin(self.discard()).await;
                }
                match self.read().await {
                    Some(read) => length = read,
                    None => return,
                }
            }
        }
    }

    /// Takes a read of this length; what is to be done about it then, if anything. It is boxed: an idle connection does
    /// not carry the state of the largest command around (I11).
    fn carry_out(&mut self, length: usize) -> Option<Pin<Box<impl Future<Output = ()> + '_>>> {
        let inbound = self.take(length);
        let partial = self.intake.partial_bytes(&inbound, length, self.peer.local.options().message_bytes_max);
        self.count_messages(partial + inbound.bytes());
        if inbound.is_empty() {
            return None;
        }
        Some(Box::pin(async move {
            self.handle(inbound).await;
            self.count_messages(partial);
            // A client that sends without a pause must not keep the thread to itself.
            tokio::task::yield_now().await;
        }))
    }

    /// Reads into the thread's scratch buffer; `None` at the end of input. By polling it takes no place of its own in the
    /// waiting task, and an idle connection is little but that.
    fn read(&self) -> impl Future<Output = Option<usize>> + '_ {
        poll_fn(|context| self.poll_read(context))
    }

    /// Nothing is read where TLS records came that hold nothing or are not whole: they are charged all the same.
    fn poll_read(&self, context: &mut Context<'_>) -> Poll<Option<usize>> {
        let Peer { local, socket, .. } = &self.peer;
        loop {
            if ready!(socket.poll_readable(context)).is_err() {
                return Poll::Ready(None);
            }
            match socket.try_read(&mut local.scratch.borrow_mut()) {
                Ok(0) => return Poll::Ready(None),
                Ok(length) => return Poll::Ready(Some(length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock && !socket.has_come() => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Ready(Some(0)),
                Err(_) => return Poll::Ready(None),
            }
        }
    }

    /// Gives what was read to tungstenite, the first time what came early, and what that answers to the outbox.
    fn take(&mut self, length: usize) -> Inbound {
        let early = self.early.take();
        let Peer { local, session, socket, .. } = &self.peer;
        let scratch = local.scratch.borrow();
        let input = early.as_deref().map_or(&scratch[..length], |early| &early[..]);
        // What came early is not among what the socket counts.
        let came = if early.is_some() { input.len() } else { socket.came(length) };
        let second = local.now().millis / 1_000;
        let limits = local.options().frame_limits();
        let (mut inbound, answers) = self.intake.take(input, &limits, second);
        local.with(|shard| {
            shard.stats().bytes_in.add(input.len() as u64);
            inbound.reading = shard.charge_bytes(*session, came);
            if !answers.is_empty() && inbound.ended.is_none() {
                shard.enqueue(*session, answers.as_slice().into());
            }
        });
        if inbound.ended.is_some() {
            inbound.last_answers = answers;
        }
        inbound
    }

    /// Counts what this connection has in hand of messages from now on.
    fn count_messages(&mut self, bytes: u32) {
        let before = std::mem::replace(&mut self.intake.counted_bytes, bytes);
        if bytes == before {
            return;
        }
        self.peer.local.with(|shard| {
            shard.stats().message_bytes.add(bytes.into());
            shard.stats().message_bytes.subtract(before.into());
        });
    }

    async fn handle(&mut self, inbound: Inbound) {
        let Peer { local, session, .. } = &self.peer;
        for _ in 0..inbound.pongs {
            local.with(|shard| shard.pong(*session));
        }
        for message in inbound.messages {
            if !self.peer.is_open() {
                return;
            }
            local.application.take(&self.peer, message).await;
        }
        if !inbound.last_answers.is_empty() {
            local.with(|shard| shard.enqueue(*session, inbound.last_answers.as_slice().into()));
        }
        match inbound.ended {
            None => self.rest(inbound.reading).await,
            Some(Ok(())) => local.with(|shard| shard.close_answered(*session)),
            Some(Err(violation)) => self.peer.close_violated(violation),
        }
    }

    /// Waits where more was read than may be: what the client sends meanwhile stays with the network.
    async fn rest(&self, reading: Reading) {
        let local = &self.peer.local;
        match reading {
            Reading::GoesOn => {}
            Reading::Pauses(pause, excess) => {
                local.tell_excess(excess);
                tokio::time::sleep(pause).await;
            }
            Reading::TooMuch(excess) => {
                local.tell_excess(excess);
                self.peer.close(&Disconnect::TOO_MANY_REQUESTS);
            }
        }
    }

    /// Gives back what the connection has.
    fn end(self) {
        let Peer { local, session, socket, .. } = &self.peer;
        local.with(|shard| shard.remove(*session));
        local.remove_socket(*session);
        local.forget(*session);
        // A task may still wait for it to take something.
        socket.cut();
        drop(self.place);
    }

    fn close_panicked(&self) {
        tracing::error!("a session ended by a panic");
        self.peer.local.with(|shard| shard.stats().panics.add(1));
        self.peer.close(&Disconnect::PANIC);
    }

    /// Reads on until the peer has ended its side. The deadline is the shard's: it cuts the socket.
    async fn discard(&self) {
        let mut discarded = 0;
        while let Some(length) = self.read().await {
            discarded += self.peer.socket.came(length);
            if discarded > limits::CLOSE_DISCARD_BYTES_MAX && self.has_left() {
                return;
            }
        }
    }

    /// Whether the close frame has left.
    fn has_left(&self) -> bool {
        let Peer { local, session, .. } = &self.peer;
        local.with(|shard| {
            shard.session(*session).is_none_or(|session| session.state == State::Closing && session.finished)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what a function returns, without calling it.
    fn future_bytes<F>(_: fn(Connection) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_carries_no_command_around() {
        // With tokio's 104 bytes a task has 256: it takes steps of 128. Beside it: the session, its subscription, tokio's
        // registration (256).
        assert!(future_bytes(run) <= 152, "{} bytes of task", future_bytes(run));
    }
}
