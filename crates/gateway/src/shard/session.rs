//! The server-side life of one connection, as the shard keeps it.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_auth::{Allowed, Rights};
use fanfare_protocol::{ClientInfo, Encoding, Unsubscribe};
use uuid::Uuid;

use super::judgement::TokenStamp;
use crate::outbox::Outbox;
use crate::rates::Buckets;
use crate::slots::SlotId;
use crate::users::User;
use crate::wheel::Tick;

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for `connect`.
    Opening,
    /// `connect` is being carried out.
    Connecting,
    /// Takes commands and publications.
    Open,
    /// `connect` was answered with an error: every further command is a violation.
    Refused,
    /// The close frame is on its way; input is discarded.
    Closing,
}

/// Deadlines of a session; 0 is none.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// The next ping is due.
    pub(crate) ping: Tick,
    /// The pong has to be here.
    pub(crate) pong: Tick,
    /// `connect` has to be here.
    pub(crate) connect: Tick,
    /// The connection expires (grace included).
    pub(crate) expire: Tick,
    /// The nearest of the subscriptions' expiries.
    pub(crate) subscriptions: Tick,
    /// Presence has to be refreshed.
    pub(crate) presence: Tick,
    /// The socket has to take something.
    pub(crate) write: Tick,
    /// A drain closes this session.
    pub(crate) drain: Tick,
    /// The closed connection is cut.
    pub(crate) cut: Tick,
}

impl Deadlines {
    /// The nearest deadline, 0 without any.
    pub(crate) fn nearest(&self) -> Tick {
        let all = [
            self.ping,
            self.pong,
            self.connect,
            self.expire,
            self.subscriptions,
            self.presence,
            self.write,
            self.drain,
            self.cut,
        ];
        all.into_iter().filter(|at| *at != 0).min().unwrap_or(0)
    }
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) state: State,
    pub(crate) encoding: Encoding,
    /// Pings are WebSocket frames instead of empty replies.
    pub(crate) native_ping: bool,
    /// Stands in the shard's list of sessions to write.
    pub(crate) dirty: bool,
    /// Stands in the list of those that a large channel has brought something.
    pub(crate) dirty_in_bulk: bool,
    /// What waits was brought by large channels alone, as far as it is known.
    pub(crate) bulk_only: bool,
    /// The socket took less than offered; a task waits until it takes more.
    pub(crate) blocked: bool,
    /// The write half is closed.
    pub(crate) finished: bool,
    /// It has expired, and the backend is asked whether it goes on.
    pub(crate) awaits_refresh: bool,
    pub(crate) outbox: Outbox,
    /// Who is connected, while it stands in that user's list: `None` before `connect`.
    pub(crate) user: Option<Arc<User>>,
    /// Where it stands there.
    pub(crate) user_index: u32,
    /// Its client id.
    pub(crate) client: Uuid,
    /// What the connection's token says of it, if anything.
    pub(crate) conn_info: Option<Box<Bytes>>,
    /// What its token allows by roles and rules.
    pub(crate) rights: Option<Arc<Rights>>,
    /// The token that it was let in by.
    pub(crate) token: TokenStamp,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) deadlines: Deadlines,
    /// The tick its timer is armed for.
    pub(crate) armed: Tick,
    /// What it has sent lately, against `session_rates`.
    pub(crate) sent: Buckets,
    /// The last leave of this session that was handed to the broker's queue.
    pub(crate) last_leave: u64,
}

impl Session {
    pub(crate) fn new(encoding: Encoding, native_ping: bool) -> Self {
        Self {
            state: State::Opening,
            encoding,
            native_ping,
            dirty: false,
            dirty_in_bulk: false,
            bulk_only: false,
            blocked: false,
            finished: false,
            awaits_refresh: false,
            outbox: Outbox::default(),
            user: None,
            user_index: 0,
            client: Uuid::nil(),
            conn_info: None,
            rights: None,
            token: TokenStamp::NONE,
            subscriptions: Vec::new(),
            deadlines: Deadlines::default(),
            armed: 0,
            sent: Buckets::default(),
            last_leave: 0,
        }
    }

    /// Who is connected, as others are told. It is put together for whoever asks: kept it would take more than all else
    /// of a session (I11).
    pub(crate) fn info(&self) -> Option<ClientInfo> {
        let user = self.user.as_ref()?.id().to_owned();
        let conn_info = self.conn_info.as_deref().cloned().unwrap_or_default();
        Some(ClientInfo { user, client: self.client.to_string(), conn_info, chan_info: Bytes::new() })
    }

    /// Replaces what is said of the connection.
    pub(crate) fn set_conn_info(&mut self, info: &Bytes) {
        self.conn_info = (!info.is_empty()).then(|| Box::new(info.clone()));
    }

    /// Where the subscription to a channel stands.
    pub(crate) fn subscription_index(&self, channel: SlotId) -> Option<usize> {
        self.subscriptions.iter().position(|subscription| subscription.channel == channel)
    }
}

/// How full an outbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    Fine,
    /// Over half of its bound, and the socket was not asked yet to take it.
    Pressed,
    /// Over its bound with a socket that takes no more: a slow consumer.
    Over,
}

impl Session {
    /// How full the outbox is. Only a socket that has refused something makes a slow consumer; what it was not yet
    /// offered is no fault of its reader.
    pub(crate) fn fill(&self, outbox_bytes_max: usize) -> Fill {
        let bytes = self.outbox.bytes();
        match self.blocked {
            true if bytes > outbox_bytes_max => Fill::Over,
            false if bytes > outbox_bytes_max / 2 => Fill::Pressed,
            _ => Fill::Fine,
        }
    }
}

/// How far a subscription has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// What arrives is held back until its history is there. The task that makes it cleans up.
    Joining,
    /// Live, but its join is not published yet. The task that makes it cleans up.
    Announcing,
    /// Live; the shard cleans up.
    Live,
}

/// Who made a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The `subscribe` command.
    Client,
    /// `connect.subs` of the client, as a server-side subscription.
    Requested,
    /// The connection token or the personal channel.
    Token,
    /// The server API.
    Api,
}

impl Origin {
    /// Whether it is a server-side subscription.
    pub(crate) fn is_server_side(self) -> bool {
        self != Self::Client
    }
}

/// Session × channel.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) channel: SlotId,
    /// Which making it came from: its maker must not take a later one for its own.
    pub(crate) making: u64,
    /// Its place in the channel's listeners, while it is live.
    pub(crate) listener: u32,
    pub(crate) stage: Stage,
    pub(crate) origin: Origin,
    pub(crate) presence: bool,
    /// Whether joins and leaves are published for it.
    pub(crate) announces: bool,
    /// Whether joins and leaves of others are pushed to it.
    pub(crate) join_leave: bool,
    /// When it expires (grace included), 0 never.
    pub(crate) expire: Tick,
    /// The connection's info with the channel's info, where there is some.
    pub(crate) info: Option<Arc<ClientInfo>>,
    /// What its token allows besides listening.
    pub(crate) allowed: Allowed,
    /// Whether the backend is asked when it has expired; else its client is.
    pub(crate) asks_refresh: bool,
    /// The subscription token that it was made with.
    pub(crate) token: Option<Box<TokenStamp>>,
    /// To be ended as soon as it is live.
    pub(crate) doomed: Option<Box<Unsubscribe>>,
}

/// The connection's info with a channel's info added.
pub(crate) fn with_channel_info(info: &ClientInfo, channel_info: Bytes) -> Arc<ClientInfo> {
    Arc::new(ClientInfo { chan_info: channel_info, ..info.clone() })
}
