//! Publications, their publishers, and publishing.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::message;

message! {
    /// One accepted piece of data in a channel (`Publication` in the schema).
    pub struct PublicationMessage {
        /// The payload.
        #[prost(bytes = "bytes", tag = "4")]
        pub data: Bytes,
        /// The publishing client, if a client published it.
        #[prost(message, optional, tag = "5")]
        pub info: Option<ClientInfo>,
        /// Place in the channel's stream; 0 without one.
        #[prost(uint64, tag = "6")]
        pub offset: u64,
        /// Tags given by the publisher.
        #[prost(btree_map = "string, string", tag = "7")]
        pub tags: BTreeMap<String, String>,
        /// Whether `data` is a delta against the publication before.
        #[prost(bool, tag = "8")]
        pub delta: bool,
        /// When it was published, in milliseconds since 1970.
        #[prost(int64, tag = "9")]
        pub time: i64,
        /// The real channel, where the subscription is to a pattern.
        #[prost(string, tag = "10")]
        pub channel: String,
        /// Key of the entry, in keyed channels.
        #[prost(string, tag = "11")]
        pub key: String,
        /// Whether the entry was removed, in keyed channels.
        #[prost(bool, tag = "12")]
        pub removed: bool,
        /// Rank of the entry, in keyed channels.
        #[prost(sint64, tag = "13")]
        pub score: i64,
        /// The stream's epoch, on its first publication.
        #[prost(string, tag = "14")]
        pub epoch: String,
        /// Version given by the publisher.
        #[prost(uint64, tag = "16")]
        pub version: u64,
    }

    /// Who a client is.
    pub struct ClientInfo {
        /// User id; empty for an anonymous user.
        #[prost(string, tag = "1")]
        pub user: String = always,
        /// Client id of the connection.
        #[prost(string, tag = "2")]
        pub client: String = always,
        /// What the connection's token says of it.
        #[prost(bytes = "bytes", tag = "3")]
        pub conn_info: Bytes,
        /// What the subscription's token says of it.
        #[prost(bytes = "bytes", tag = "4")]
        pub chan_info: Bytes,
    }

    /// A client has joined a channel.
    pub struct Join {
        /// Who.
        #[prost(message, optional, tag = "1")]
        pub info: Option<ClientInfo>,
    }

    /// A client has left a channel.
    pub struct Leave {
        /// Who.
        #[prost(message, optional, tag = "1")]
        pub info: Option<ClientInfo>,
    }

    /// Publishes to a channel.
    pub struct PublishRequest {
        /// The channel.
        #[prost(string, tag = "1")]
        pub channel: String,
        /// The payload.
        #[prost(bytes = "bytes", tag = "2")]
        pub data: Bytes,
        /// 0 for a stream, 1 for a keyed channel.
        #[prost(int32, tag = "3")]
        pub r#type as "type": i32,
        /// Key of the entry, in keyed channels.
        #[prost(string, tag = "4")]
        pub key: String,
        /// Whether to remove the entry, in keyed channels.
        #[prost(bool, tag = "5")]
        pub removed: bool,
    }

    /// The publication was accepted.
    pub struct PublishResult {}
}
