//! Presence: who is in a channel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::{Channel, ClientInfo};

use crate::Error;

/// How many are in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PresenceStats {
    /// Connections.
    pub clients: usize,
    /// Distinct users.
    pub users: usize,
}

/// Who is in a channel. Entries expire on their own, so that a node that dies leaves nobody behind.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// Adds or refreshes a client; without another call the entry is gone after `ttl`.
    async fn presence_add(&self, channel: &Channel, info: Arc<ClientInfo>, ttl: Duration) -> Result<(), Error>;

    /// Removes a client; removing an unknown one succeeds.
    async fn presence_remove(&self, channel: &Channel, client: &str) -> Result<(), Error>;

    /// Everyone in the channel, by client id.
    async fn presence(&self, channel: &Channel) -> Result<BTreeMap<String, Arc<ClientInfo>>, Error>;

    /// Counts only.
    async fn presence_stats(&self, channel: &Channel) -> Result<PresenceStats, Error>;
}
