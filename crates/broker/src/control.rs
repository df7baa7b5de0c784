//! Node control: commands that concern a user on whatever node it is, and what nodes tell of themselves.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use fanfare_protocol::{Channel, Disconnect, SubscriptionOverrides, Unsubscribe};

use crate::{Error, StreamPosition, Whom};

/// Whose sessions a command concerns. At least one field is given; all given ones must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// The user id; `Some("")` is the anonymous user.
    pub user: Option<String>,
    /// The client id of one connection.
    pub client: Option<String>,
    /// The session id of one connection (emulated and unidirectional transports only).
    pub session: Option<String>,
}

/// A command to sessions, carried out on every node that has some of them.
#[derive(Debug, Clone)]
pub enum Control {
    /// Subscribes the target's sessions to a channel (a server-side subscription).
    Subscribe(Target, Box<SubscribeControl>),
    /// Ends the target's subscriptions to one channel.
    Unsubscribe(Target, Channel, Unsubscribe),
    /// Closes the target's connections, but for the client ids listed.
    Disconnect(Target, Disconnect, Vec<String>),
    /// Replaces the expiry of the target's connections.
    Refresh(Target, RefreshControl),
}

/// What a server-side subscription is made with.
#[derive(Debug, Clone)]
pub struct SubscribeControl {
    /// The channel.
    pub channel: Channel,
    /// Channel info of the subscriber (JSON), shown in presence.
    pub info: Bytes,
    /// Data for the client, sent with the push (JSON).
    pub data: Bytes,
    /// Unix time in seconds when the subscription expires.
    pub expire_at: Option<u64>,
    /// Recover from here: what was missed follows the push.
    pub recover_since: Option<StreamPosition>,
    /// Options of this subscription alone.
    pub overrides: SubscriptionOverrides,
}

/// A new expiry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefreshControl {
    /// Close as expired (3005) now.
    pub expired: bool,
    /// Unix time in seconds; `None` lifts the expiry.
    pub expire_at: Option<u64>,
    /// Replaces the connection info (JSON) when given.
    pub info: Option<Bytes>,
}

/// What a node tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeReport {
    /// Unique id of this run of the node.
    pub uid: String,
    /// The configured name.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Sessions.
    pub clients: u64,
    /// Distinct users among them.
    pub users: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Channels with subscribers.
    pub channels: u64,
    /// Seconds since the node started.
    pub uptime_seconds: u64,
}

/// Node-to-node control, asked of a broker.
#[async_trait]
pub trait Nodes: Send + Sync + 'static {
    /// Carries a command out on all nodes; returns when every concerned shard has done it, or after two
    /// seconds with [`Error::Unavailable`], or [`Error::NodesMissing`] where it is known who has not.
    async fn control(&self, control: Control) -> Result<(), Error>;

    /// Reports of all nodes. One that does not answer in time fails it, by name: [`Error::NodesMissing`].
    async fn nodes(&self) -> Result<Vec<NodeReport>, Error>;

    /// Channels with subscribers and how many each has, over all nodes; `pattern` is a glob of `*` and `?`.
    async fn channels(&self, pattern: Option<&str>) -> Result<BTreeMap<String, u64>, Error>;
}

/// What a broker asks of the node it runs in.
#[async_trait]
pub trait NodeSink: Send + Sync + 'static {
    /// Carries a command out on this node's shards; returns when all of them have, or after two seconds
    /// with [`Error::Unavailable`].
    async fn apply(&self, control: Control) -> Result<(), Error>;

    /// Judges sessions and their subscriptions by the revocations as they are now, and ends those that are kept out;
    /// returns when all shards have, or after two seconds with [`Error::Unavailable`].
    async fn judge_again(&self, whom: Whom) -> Result<(), Error>;

    /// This node's report.
    fn report(&self) -> NodeReport;

    /// Channels with subscribers on this node.
    fn channels(&self, pattern: Option<&str>) -> BTreeMap<String, u64>;
}
