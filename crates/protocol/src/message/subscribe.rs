//! Making and ending subscriptions.

use bytes::Bytes;

use super::{FilterNode, PublicationMessage, message};

message! {
    /// Subscribes to a channel.
    pub struct SubscribeRequest {
        /// The channel.
        #[prost(string, tag = "1")]
        pub channel: String,
        /// Subscription token, where the channel needs one.
        #[prost(string, tag = "2")]
        pub token: String,
        /// Whether to recover what was missed since `offset` and `epoch`.
        #[prost(bool, tag = "3")]
        pub recover: bool,
        /// Epoch of the last publication seen.
        #[prost(string, tag = "6")]
        pub epoch: String,
        /// Offset of the last publication seen.
        #[prost(uint64, tag = "7")]
        pub offset: u64,
        /// Data for the application.
        #[prost(bytes = "bytes", tag = "8")]
        pub data: Bytes,
        /// Asks for a check of continuity.
        #[prost(bool, tag = "9")]
        pub positioned: bool,
        /// Asks for recovery after a reconnect.
        #[prost(bool, tag = "10")]
        pub recoverable: bool,
        /// Asks for joins and leaves.
        #[prost(bool, tag = "11")]
        pub join_leave: bool,
        /// Delta format asked for; empty for none.
        #[prost(string, tag = "12")]
        pub delta: String,
        /// Which publications to send, by their tags.
        #[prost(message, optional, tag = "13")]
        pub tf: Option<FilterNode>,
        /// Features that the client knows, as bits.
        #[prost(int64, tag = "14")]
        pub flag: i64,
        /// Kind of subscription; 0 for a stream.
        #[prost(int32, tag = "15")]
        pub r#type as "type": i32,
        /// Phase of a keyed subscription.
        #[prost(int32, tag = "16")]
        pub phase: i32,
        /// Next page of a keyed channel's state.
        #[prost(string, tag = "17")]
        pub cursor: String,
        /// Entries on a page of a keyed channel's state.
        #[prost(int32, tag = "18")]
        pub limit: i32,
        /// Whether a keyed channel's state is read in ascending order.
        #[prost(bool, tag = "19")]
        pub asc: bool,
    }

    /// The subscription is made.
    pub struct SubscribeResult {
        /// Whether the client has to refresh its subscription token.
        #[prost(bool, tag = "1")]
        pub expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "2")]
        pub ttl: u32,
        /// Whether the client can recover after a reconnect.
        #[prost(bool, tag = "3")]
        pub recoverable: bool,
        /// Epoch of the stream.
        #[prost(string, tag = "6")]
        pub epoch: String,
        /// What was missed and is recovered.
        #[prost(message, repeated, tag = "7")]
        pub publications: Vec<PublicationMessage>,
        /// Whether everything missed is in `publications`.
        #[prost(bool, tag = "8")]
        pub recovered: bool,
        /// The request's offset when recovered, otherwise the top of the stream.
        #[prost(uint64, tag = "9")]
        pub offset: u64,
        /// Whether continuity is checked.
        #[prost(bool, tag = "10")]
        pub positioned: bool,
        /// Data from the application.
        #[prost(bytes = "bytes", tag = "11")]
        pub data: Bytes,
        /// Whether the request asked for recovery.
        #[prost(bool, tag = "12")]
        pub was_recovering: bool,
        /// Whether deltas are used.
        #[prost(bool, tag = "13")]
        pub delta: bool,
        /// Number that stands for the channel in pushes; 0 for none.
        #[prost(int64, tag = "14")]
        pub id: i64,
        /// Kind of subscription; 0 for a stream.
        #[prost(int32, tag = "15")]
        pub r#type as "type": i32,
        /// Phase of a keyed subscription.
        #[prost(int32, tag = "16")]
        pub phase: i32,
        /// Next page of a keyed channel's state.
        #[prost(string, tag = "17")]
        pub cursor: String,
        /// A page of a keyed channel's state.
        #[prost(message, repeated, tag = "18")]
        pub state: Vec<PublicationMessage>,
        /// Milliseconds for which a client may collect its publishes to a keyed channel.
        #[prost(uint32, tag = "19")]
        pub publish_debounce: u32,
    }

    /// Ends a subscription.
    pub struct UnsubscribeRequest {
        /// The channel.
        #[prost(string, tag = "1")]
        pub channel: String,
    }

    /// The subscription is ended, or there was none.
    pub struct UnsubscribeResult {}
}
