//! Publications: what is published, and the promises made for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use fanfare_protocol::{Channel, ClientInfo};

use crate::{Error, History, HistoryQuery, Retention, StreamPosition};

/// One accepted piece of data in a channel.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The channel it was published to.
    pub channel: Channel,
    /// The opaque payload. Never parsed after the edge that accepted it (I7).
    pub data: Bytes,
    /// Whether `data` is JSON, decided once at the edge.
    pub json: bool,
    /// Its place in the channel's stream; `None` when it was published live only.
    pub position: Option<StreamPosition>,
    /// The publishing client, if a client published it.
    pub info: Option<Arc<ClientInfo>>,
    /// Tags given by the publisher.
    pub tags: BTreeMap<String, String>,
    /// The version given by the publisher, 0 without one.
    pub version: u64,
    /// When this node's broker accepted it: the start of the publish-to-write latency.
    pub accepted_at: Instant,
}

/// What travels from a broker to the shards of a node, in channel order.
#[derive(Debug, Clone)]
pub enum Event {
    /// A publication.
    Publication(Arc<Publication>),
    /// A client joined the channel.
    Join(Channel, Arc<ClientInfo>),
    /// A client left the channel.
    Leave(Channel, Arc<ClientInfo>),
}

impl Event {
    /// Bytes of its payload; a join and a leave have none.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::Publication(publication) => publication.data.len(),
            Self::Join(..) | Self::Leave(..) => 0,
        }
    }

    /// The channel it belongs to.
    pub fn channel(&self) -> &Channel {
        match self {
            Self::Publication(publication) => &publication.channel,
            Self::Join(channel, _) | Self::Leave(channel, _) => channel,
        }
    }
}

/// A request to publish. Channel options arrive resolved: the broker knows no namespaces at run time.
#[derive(Debug, Clone, Default)]
pub struct Publish {
    /// The payload. A broker that keeps it copies it: a `Bytes` may hold a much larger buffer alive.
    pub data: Bytes,
    /// Whether the payload is JSON, decided by the caller.
    pub json: bool,
    /// Tags to carry along.
    pub tags: BTreeMap<String, String>,
    /// The publishing client, if it is one.
    pub info: Option<Arc<ClientInfo>>,
    /// How much history the channel keeps; `None` publishes live only.
    pub retention: Option<Retention>,
    /// Publish live only although the channel keeps history: no offset, touches no position.
    pub skip_history: bool,
    /// A repeated publish to the same channel with the same key within five minutes returns the first
    /// result, with and without history. Only an accepted publication uses its key up.
    pub idempotency_key: Option<String>,
    /// Out-of-order guard.
    pub version: Option<Version>,
}

/// The publisher's own version of the data. A publication whose number is not above the highest one seen
/// for its `epoch` in this channel is ignored. Needs history; without it the version is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The version, above 0; 0 counts as none.
    pub number: u64,
    /// Versions of different epochs are not compared.
    pub epoch: String,
}

/// The answer to a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The position of the publication; `None` when it was live only. For [`Outcome::Repeated`] the
    /// position of the first, for [`Outcome::Outdated`] the stream's top.
    pub position: Option<StreamPosition>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted and handed to the shards.
    Accepted,
    /// The idempotency key was seen before: nothing was published again.
    Repeated,
    /// The version guard ignored it.
    Outdated,
}

/// Publications and history of channels.
///
/// Guarantees of every implementation:
/// - **Order.** Per channel there is one order. Offsets rise by exactly one within an epoch, and events
///   reach the sink in that order, on every node.
/// - **No short cut.** The publishing node's own sessions hear of a publication through the sink like
///   everyone else's.
/// - **All or nothing.** A publish that fails with anything but [`Error::Unavailable`] has stored nothing
///   and delivers nothing. After [`Error::Unavailable`] the outcome is unknown; repeating it with the same
///   idempotency key is safe.
/// - **Visible when acknowledged.** When `publish` returns, `history` has it.
/// - **Interest.** When `subscribe` has returned, every publication accepted after that reaches the sink.
///
/// Every future may be dropped at any time; a dropped `publish` may or may not have published.
#[async_trait]
pub trait Publications: Send + Sync + 'static {
    /// Publishes to a channel.
    async fn publish(&self, channel: &Channel, publish: Publish) -> Result<Published, Error>;

    /// Tells the channel's subscribers that a client joined. At most once: never stored.
    async fn publish_join(&self, channel: &Channel, info: Arc<ClientInfo>) -> Result<(), Error>;

    /// Tells the channel's subscribers that a client left. At most once: never stored.
    async fn publish_leave(&self, channel: &Channel, info: Arc<ClientInfo>) -> Result<(), Error>;

    /// Adds one to this node's interest in the channel. Each call is undone by one `unsubscribe`, unless
    /// it failed.
    async fn subscribe(&self, channel: &Channel) -> Result<(), Error>;

    /// Takes one from this node's interest in the channel. Never blocks; the broker may linger before it
    /// gives the channel up.
    fn unsubscribe(&self, channel: &Channel);

    /// Reads the channel's stream.
    async fn history(&self, channel: &Channel, query: HistoryQuery) -> Result<History, Error>;

    /// Drops the channel's publications but keeps its position.
    async fn history_remove(&self, channel: &Channel) -> Result<(), Error>;
}
