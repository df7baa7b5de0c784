//! What the server says of its own accord.

use bytes::Bytes;

use super::{ConnectPush, Join, Leave, PublicationMessage, message};

message! {
    /// A server-initiated message. One of the options is set.
    pub struct Push {
        /// Number that stands for the channel, where the subscription was given one.
        #[prost(int64, tag = "1")]
        pub id: i64,
        /// The channel that it concerns; empty where it concerns the connection.
        #[prost(string, tag = "2")]
        pub channel: String,
        /// A publication (`pub` in the schema).
        #[prost(message, optional, tag = "4")]
        pub publication as "pub": Option<PublicationMessage>,
        /// A client joined the channel.
        #[prost(message, optional, tag = "5")]
        pub join: Option<Join>,
        /// A client left the channel.
        #[prost(message, optional, tag = "6")]
        pub leave: Option<Leave>,
        /// The subscription has ended.
        #[prost(message, optional, tag = "7")]
        pub unsubscribe: Option<UnsubscribePush>,
        /// Data for this connection.
        #[prost(message, optional, tag = "8")]
        pub message: Option<Message>,
        /// The server has subscribed the connection to the channel.
        #[prost(message, optional, tag = "9")]
        pub subscribe: Option<SubscribePush>,
        /// The connection is set up (unidirectional transports).
        #[prost(message, optional, tag = "10")]
        pub connect: Option<ConnectPush>,
        /// The connection is about to be closed (transports without close codes).
        #[prost(message, optional, tag = "11")]
        pub disconnect: Option<DisconnectPush>,
        /// The expiry of the connection has changed.
        #[prost(message, optional, tag = "12")]
        pub refresh: Option<RefreshPush>,
    }

    /// The server has ended a subscription.
    pub struct UnsubscribePush {
        /// Why; see [`crate::Unsubscribe`].
        #[prost(uint32, tag = "2")]
        pub code: u32,
        /// Text for people.
        #[prost(string, tag = "3")]
        pub reason: String,
    }

    /// Data for one connection.
    pub struct Message {
        /// The payload.
        #[prost(bytes = "bytes", tag = "1")]
        pub data: Bytes,
    }

    /// The server has made a subscription.
    pub struct SubscribePush {
        /// Whether the client can recover after a reconnect.
        #[prost(bool, tag = "1")]
        pub recoverable: bool,
        /// Epoch of the stream.
        #[prost(string, tag = "4")]
        pub epoch: String,
        /// Offset that the subscription starts from.
        #[prost(uint64, tag = "5")]
        pub offset: u64,
        /// Whether continuity is checked.
        #[prost(bool, tag = "6")]
        pub positioned: bool,
        /// Data that comes with the subscription.
        #[prost(bytes = "bytes", tag = "7")]
        pub data: Bytes,
    }

    /// The server closes the connection.
    pub struct DisconnectPush {
        /// Why; see [`crate::Disconnect`].
        #[prost(uint32, tag = "1")]
        pub code: u32,
        /// Text for people.
        #[prost(string, tag = "2")]
        pub reason: String,
        /// Whether to come back.
        #[prost(bool, tag = "3")]
        pub reconnect: bool,
    }

    /// The connection's expiry has changed.
    pub struct RefreshPush {
        /// Whether it expires at all.
        #[prost(bool, tag = "1")]
        pub expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "2")]
        pub ttl: u32,
    }
}
