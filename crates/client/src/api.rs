//! The server API over HTTP: what a backend asks of a node, with an API key.
//!
//! ```no_run
//! # async fn example() -> Result<(), fanfare_client::Error> {
//! use fanfare_client::Api;
//! use fanfare_client::api::{ApiKey, Publish};
//!
//! let api = Api::new("127.0.0.1:8000", Some(ApiKey::new("secret".to_owned())?))?;
//! let position = api.publish(&Publish::json("news", r#"{"text":"hi"}"#)?).await?;
//! println!("published at {position}");
//! # Ok(())
//! # }
//! ```

mod answer;
mod request;
mod transport;

use std::sync::Arc;

use std::collections::BTreeMap;

use fanfare_protocol::{ClientInfo, PresenceResult, PresenceStatsResult};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::answer::words;
pub use self::answer::{ChannelInfo, ListedRevocation, NodeInfo, Removed, RevocationList};
pub use self::request::{
    Block, Broadcast, Disconnect, Invalidate, Publish, PublishOptions, Refresh, RevocationQuery, Revoke, Subscribe,
    Target,
};
pub use self::transport::ApiKey;
use self::transport::Transport;
use crate::stream::Way;
use crate::{Error, History, HistoryQuery, StreamPosition};

/// A node's server API. Clones share its connections.
///
/// Every call fails with [`Error::Unreachable`] when no node is there, [`Error::TimedOut`] after 10 seconds,
/// [`Error::Http`] when HTTP itself refuses (401 for a wrong key), and [`Error::Refused`] when the node does.
/// After a failure other than the last two the call may have been carried out.
#[derive(Debug, Clone)]
pub struct Api {
    transport: Transport,
}

impl Api {
    /// The API of the node at `address`: `host:port` or `http://…`. Connects at the first call.
    pub fn new(address: &str, key: Option<ApiKey>) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(Way::new(address, None)?, key) })
    }

    /// The same at `https://…`, too, with whom to trust there.
    pub fn with_tls(address: &str, key: Option<ApiKey>, tls: Arc<rustls::ClientConfig>) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(Way::new(address, Some(tls))?, key) })
    }

    /// Publishes to a channel. The position has offset 0 and no epoch where the channel keeps no history.
    pub async fn publish(&self, publish: &Publish) -> Result<StreamPosition, Error> {
        self.call::<_, answer::Position>("publish", publish).await.map(Into::into)
    }

    /// Publishes to many channels. Not atomic: each channel has a result of its own, in the order given.
    pub async fn broadcast(&self, broadcast: &Broadcast) -> Result<Vec<Result<StreamPosition, Error>>, Error> {
        let answer: answer::Broadcast = self.call("broadcast", broadcast).await?;
        Ok(answer.responses.into_iter().map(answer::BroadcastResponse::into_result).collect())
    }

    /// Subscribes a user's connections to a channel. When it returns, what is published is received.
    pub async fn subscribe(&self, subscribe: &Subscribe) -> Result<(), Error> {
        self.order("subscribe", subscribe).await
    }

    /// Unsubscribes a user's connections from a channel.
    pub async fn unsubscribe(&self, target: &Target, channel: &str) -> Result<(), Error> {
        self.order("unsubscribe", &request::OnChannel { target, channel }).await
    }

    /// Closes a user's connections.
    pub async fn disconnect(&self, disconnect: &Disconnect) -> Result<(), Error> {
        self.order("disconnect", disconnect).await
    }

    /// Gives a user's connections another expiry.
    pub async fn refresh(&self, refresh: &Refresh) -> Result<(), Error> {
        self.order("refresh", refresh).await
    }

    /// Closes a user's connections and lets none in again. Returns whether that outlives the nodes.
    pub async fn block_user(&self, block: &Block) -> Result<bool, Error> {
        self.revoke("block_user", block).await
    }

    /// Lets a blocked user in again.
    pub async fn unblock_user(&self, user: &str) -> Result<Removed, Error> {
        self.call("unblock_user", &request::User { user }).await
    }

    /// Makes one token good no more. Returns whether that outlives the nodes.
    pub async fn revoke_token(&self, revoke: &Revoke) -> Result<bool, Error> {
        self.revoke("revoke_token", revoke).await
    }

    /// Makes tokens good no more that were issued before a time. Returns whether that outlives the nodes.
    pub async fn invalidate_user_tokens(&self, invalidate: &Invalidate) -> Result<bool, Error> {
        self.revoke("invalidate_user_tokens", invalidate).await
    }

    /// What is blocked and revoked.
    pub async fn revocations(&self, query: &RevocationQuery) -> Result<RevocationList, Error> {
        self.call("revocations", query).await
    }

    /// Takes a revocation back, as it is listed; its times do not matter.
    pub async fn revocation_remove(&self, listed: &ListedRevocation) -> Result<Removed, Error> {
        let times_left_out = ListedRevocation { issued_before: None, expire_at: None, ..listed.clone() };
        self.call("revocation_remove", &times_left_out).await
    }

    /// Who is in a channel, by connection.
    pub async fn presence(&self, channel: &str) -> Result<BTreeMap<String, ClientInfo>, Error> {
        let result: PresenceResult = self.call("presence", &request::Channel { channel }).await?;
        Ok(result.presence)
    }

    /// How many are in a channel.
    pub async fn presence_stats(&self, channel: &str) -> Result<PresenceStatsResult, Error> {
        self.call("presence_stats", &request::Channel { channel }).await
    }

    /// Reads a channel's history. A limit of 0 gives the position alone, -1 everything.
    pub async fn history(&self, channel: &str, query: &HistoryQuery) -> Result<History, Error> {
        self.call::<_, answer::History>("history", &request::History::new(channel, query)).await?.try_into()
    }

    /// Drops a channel's publications but keeps its position.
    pub async fn history_remove(&self, channel: &str) -> Result<(), Error> {
        self.order("history_remove", &request::Channel { channel }).await
    }

    /// Channels that have subscribers, by name: all of them, or those that match a pattern like `news:*`.
    pub async fn channels(&self, pattern: Option<&str>) -> Result<BTreeMap<String, ChannelInfo>, Error> {
        let answer: answer::Channels = self.call("channels", &request::Pattern { pattern }).await?;
        Ok(answer.channels)
    }

    /// The nodes and how they are.
    pub async fn info(&self) -> Result<Vec<NodeInfo>, Error> {
        let answer: answer::Info = self.call("info", &request::Nothing {}).await?;
        Ok(answer.nodes)
    }

    /// Whether the node works; [`Error::Http`] with what is wrong where it does not. Needs no key.
    pub async fn health(&self) -> Result<String, Error> {
        self.page("/healthz").await
    }

    /// Whether the node should get new connections; [`Error::Http`] with the reason where it should not. Needs no key.
    pub async fn readiness(&self) -> Result<String, Error> {
        self.page("/readyz").await
    }

    async fn page(&self, path: &str) -> Result<String, Error> {
        let (status, text) = self.transport.get(path).await?;
        match status.is_success() {
            true => Ok(String::from_utf8_lossy(&text).trim_end().to_owned()),
            false => Err(Error::Http { status: status.as_u16(), message: words(status, &text) }),
        }
    }

    async fn revoke(&self, method: &str, request: &impl Serialize) -> Result<bool, Error> {
        self.call::<_, answer::Revoked>(method, request).await.map(|revoked| revoked.durable)
    }

    async fn order(&self, method: &str, request: &impl Serialize) -> Result<(), Error> {
        self.call::<_, serde::de::IgnoredAny>(method, request).await.map(drop)
    }

    async fn call<Q: Serialize, A: DeserializeOwned>(&self, method: &str, request: &Q) -> Result<A, Error> {
        let body = serde_json::to_vec(request).expect("requests have string keys and checked payloads");
        let (status, answer) = self.transport.post(method, body).await?;
        answer::read(status, &answer)
    }
}
