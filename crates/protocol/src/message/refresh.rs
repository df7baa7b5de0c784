//! Renewing what expires: connections and subscriptions.

use super::{PublicationMessage, message};

message! {
    /// Brings a new connection token.
    pub struct RefreshRequest {
        /// The token.
        #[prost(string, tag = "1")]
        pub token: String,
    }

    /// The connection's expiry is renewed.
    pub struct RefreshResult {
        /// Client id of the connection.
        #[prost(string, tag = "1")]
        pub client: String,
        /// Version of the server.
        #[prost(string, tag = "2")]
        pub version: String,
        /// Whether it expires again.
        #[prost(bool, tag = "3")]
        pub expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "4")]
        pub ttl: u32,
    }

    /// Brings a new subscription token, or changes the keys that a subscription follows.
    pub struct SubRefreshRequest {
        /// The channel.
        #[prost(string, tag = "1")]
        pub channel: String,
        /// The token.
        #[prost(string, tag = "2")]
        pub token: String,
        /// 0 to refresh, 1 to track keys, 2 to stop tracking.
        #[prost(int32, tag = "3")]
        pub r#type as "type": i32,
        /// Keys to track.
        #[prost(message, repeated, tag = "4")]
        pub track: Vec<TrackBatch>,
        /// Keys to track no longer.
        #[prost(string, repeated, tag = "5")]
        pub untrack: Vec<String>,
    }

    /// The subscription's expiry is renewed.
    pub struct SubRefreshResult {
        /// Whether it expires again.
        #[prost(bool, tag = "1")]
        pub expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "2")]
        pub ttl: u32,
        /// What has changed under the tracked keys.
        #[prost(message, repeated, tag = "3")]
        pub items: Vec<PublicationMessage>,
    }

    /// Keys to track, with the proof that the client may.
    pub struct TrackBatch {
        /// The proof.
        #[prost(string, tag = "1")]
        pub signature: String,
        /// The keys.
        #[prost(message, repeated, tag = "2")]
        pub items: Vec<KeyedItem>,
    }

    /// A key to track.
    pub struct KeyedItem {
        /// The key.
        #[prost(string, tag = "1")]
        pub key: String,
        /// The version that the client has.
        #[prost(uint64, tag = "2")]
        pub version: u64,
    }
}
