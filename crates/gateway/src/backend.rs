//! What sessions ask of the user's own backend, where it is to be asked (protocol §21).
//!
//! The gateway says who asks and what; how the question gets there is for the [`Backend`], which answers within its own
//! limits of time, size and number and has judged what it hands on. A session waits for it as for the broker: in its
//! read task, until the command's deadline at most.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use fanfare_auth::ConnectionClaims;
use fanfare_broker::Version;
use fanfare_protocol::{Channel, Disconnect, Encoding, ErrorReply, SubscriptionOverrides};
use http::{HeaderName, HeaderValue};

/// What a backend can be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Who a client without a token is.
    Connect,
    /// Whether a connection that expires goes on.
    Refresh,
    /// Whether a client may subscribe to a channel.
    Subscribe,
    /// Whether a subscription that expires goes on.
    SubRefresh,
    /// Whether, and as what, a client's publication is published.
    Publish,
    /// A remote procedure.
    Rpc,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Connect, Self::Refresh, Self::Subscribe, Self::SubRefresh, Self::Publish, Self::Rpc];

    /// Its name, in the configuration and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refresh => "refresh",
            Self::Subscribe => "subscribe",
            Self::SubRefresh => "sub_refresh",
            Self::Publish => "publish",
            Self::Rpc => "rpc",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }
}

/// Headers of a client's request, or what it says in their place.
pub type Headers = Arc<[(HeaderName, HeaderValue)]>;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The client id.
    pub client: String,
    /// The user; empty for the anonymous one, and before `connect`.
    pub user: String,
    /// How the client speaks.
    pub encoding: Encoding,
    /// Those headers of its upgrade request that some hook passes on.
    pub headers: Headers,
    /// What the backend said of the connection earlier, as JSON; or empty.
    pub meta: Bytes,
}

/// Bytes, and whether they are JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// The bytes; without any there is no payload.
    pub data: Bytes,
    /// Whether they are JSON.
    pub json: bool,
}

/// What a client says when it connects.
#[derive(Debug, Clone, Default)]
pub struct Connecting {
    /// Its data.
    pub data: Payload,
    /// The name of its program.
    pub name: String,
    /// The version of it.
    pub version: String,
    /// Channels that it asks to be attached to.
    pub channels: Vec<String>,
}

/// Who a client is, in the words of a backend.
#[derive(Debug, Clone, Default)]
pub struct Connected {
    /// What a token would say.
    pub claims: ConnectionClaims,
    /// Data for the client, as JSON; or empty.
    pub data: Bytes,
}

/// How an expired connection, or subscription, goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// It does not.
    pub expired: bool,
    /// Unix time in seconds when it expires again; `None` never.
    pub expire_at: Option<u64>,
    /// New info, as JSON.
    pub info: Option<Bytes>,
    /// What the backend wants to be told from now on, as JSON.
    pub meta: Option<Bytes>,
}

/// What a subscription is granted with.
#[derive(Debug, Clone, Default)]
pub struct Subscribed {
    /// Info of the subscriber in this channel, as JSON; or empty.
    pub info: Bytes,
    /// Data for the client, as JSON; or empty.
    pub data: Bytes,
    /// Unix time in seconds when it expires; `None` never.
    pub expire_at: Option<u64>,
    /// Options of this subscription alone.
    pub overrides: SubscriptionOverrides,
}

/// How a client's publication is published.
#[derive(Debug, Clone, Default)]
pub struct Publishing {
    /// In place of what the client sent.
    pub payload: Option<Payload>,
    /// Live only.
    pub skip_history: bool,
    /// Tags to carry along.
    pub tags: BTreeMap<String, String>,
    /// Against doubled publications.
    pub idempotency_key: Option<String>,
    /// Against publications out of order.
    pub version: Option<Version>,
}

/// Why a backend granted nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The backend refuses: with this error.
    Error(ErrorReply),
    /// The backend ends the connection.
    Disconnect(Disconnect),
    /// The backend knows nobody: `connect` alone.
    NoCredentials,
    /// It was not asked, since too many wait for it.
    Overloaded,
    /// There is no answer that can be used.
    Unanswered,
}

/// The user's own backend.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// Whether it is to be asked about this.
    fn has(&self, hook: Hook) -> bool;

    /// Who a client without a token is.
    async fn connect(&self, caller: Caller, connecting: Connecting) -> Result<Connected, Refusal>;

    /// Whether a connection that has expired goes on.
    async fn refresh(&self, caller: Caller) -> Result<Refreshed, Refusal>;

    /// Whether a client may subscribe, given the data of its command.
    async fn subscribe(&self, caller: Caller, channel: &Channel, data: Payload) -> Result<Subscribed, Refusal>;

    /// Whether a subscription that has expired goes on.
    async fn sub_refresh(&self, caller: Caller, channel: &Channel) -> Result<Refreshed, Refusal>;

    /// Whether, and as what, a publication is published.
    async fn publish(&self, caller: Caller, channel: &Channel, data: Payload) -> Result<Publishing, Refusal>;

    /// A remote procedure.
    async fn rpc(&self, caller: Caller, method: &str, data: Payload) -> Result<Payload, Refusal>;
}
