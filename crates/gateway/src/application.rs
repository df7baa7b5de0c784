//! What stands behind a slot: what the messages of a connection mean.
//!
//! Whatever lies in front of it is the same for every application: handshake, judgement of frame headers, WebSocket
//! protocol, outbox, corked writes, closes. A node has one application, and its shards share it; what is to be
//! remembered of a connection stands in its session. A publication on its way to subscribers does not come by here.

use std::rc::Rc;

use async_trait::async_trait;
use bytes::Bytes;
use fanfare_protocol::{Disconnect, Encoding, FrameViolation};

use crate::frame::Opcode;
use crate::limits;
use crate::local::Local;
use crate::slots::SlotId;
use crate::socket::Socket;

/// Takes the messages of connections.
#[async_trait(?Send)]
pub trait Application: Send + Sync + 'static {
    /// Takes one whole message. The connection is not read on before it is done; when `peer` was closed, no further
    /// message comes. Dropped with the connection's task only.
    async fn take(&self, peer: &Peer, message: Message);
}

/// A whole message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8.
    Text(Bytes),
    /// Any bytes.
    Binary(Bytes),
}

/// The far end of one connection.
pub struct Peer {
    pub(crate) local: Rc<Local>,
    pub(crate) session: SlotId,
    pub(crate) socket: Rc<Socket>,
}

impl Message {
    /// Its bytes, whatever it is.
    pub fn data(&self) -> &Bytes {
        match self {
            Self::Text(data) | Self::Binary(data) => data,
        }
    }
}

impl Peer {
    /// Queues a message. Who lets more than `outbox_bytes_max` pile up is closed as slow (3008).
    pub fn send(&self, message: &Message) {
        let opcode = match message {
            Message::Text(_) => Opcode::Text,
            Message::Binary(_) => Opcode::Binary,
        };
        self.local.with(|shard| shard.send(self.session, opcode, message.data()));
    }

    /// Ends the connection with a close frame, behind what is queued.
    pub fn close(&self, disconnect: &Disconnect) {
        self.local.with(|shard| shard.close(self.session, disconnect));
    }

    /// What was agreed on at the handshake; `None` behind the connection's end.
    pub(crate) fn encoding(&self) -> Option<Encoding> {
        self.local.with(|shard| shard.session(self.session).map(|session| session.encoding))
    }

    /// Whether the connection was not closed yet, by either side.
    pub fn is_open(&self) -> bool {
        self.local.look(|shard| shard.is_open(self.session))
    }

    /// Ends the connection of a client that broke the rules of WebSockets.
    pub(crate) fn close_violated(&self, violation: FrameViolation) {
        self.local.look(|shard| shard.stats().count_violation(violation));
        if self.local.may_log() {
            let code = violation.disconnect().code;
            tracing::info!(reason = violation.label(), code, "a client violated the WebSocket protocol");
        }
        self.close(&violation.disconnect());
    }

    /// After `count` pieces of work for one message: lets others have their turn now and then, and what was answered
    /// be written before there is too much of it.
    pub(crate) async fn take_turns(&self, count: usize) {
        if count.is_multiple_of(limits::COMMANDS_PER_TURN) {
            tokio::task::yield_now().await;
        }
        let is_filling = || self.local.look(|shard| shard.is_filling(self.session));
        if !is_filling() {
            return;
        }
        self.local.with(|shard| shard.hasten(self.session));
        while is_filling() {
            // Only until it takes something; then the loop writes. A reader that takes nothing is ended meanwhile.
            if self.socket.writable().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}
