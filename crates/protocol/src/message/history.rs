//! Reading the history of a channel.

use super::{PublicationMessage, message};

message! {
    /// Asks for a part of a channel's history.
    pub struct HistoryRequest {
        /// The channel.
        #[prost(string, tag = "1")]
        pub channel: String,
        /// Publications at most; 0 for the position only, negative for all.
        #[prost(int32, tag = "7")]
        pub limit: i32,
        /// Where to begin.
        #[prost(message, optional, tag = "8")]
        pub since: Option<StreamPositionMessage>,
        /// Whether the newest come first.
        #[prost(bool, tag = "9")]
        pub reverse: bool,
    }

    /// A part of a channel's history, and the top of its stream.
    pub struct HistoryResult {
        /// The publications.
        #[prost(message, repeated, tag = "1")]
        pub publications: Vec<PublicationMessage> = always,
        /// Epoch of the stream.
        #[prost(string, tag = "2")]
        pub epoch: String = always,
        /// Offset of the stream's top.
        #[prost(uint64, tag = "3")]
        pub offset: u64 = always,
    }

    /// A place in a stream (`StreamPosition` in the schema).
    pub struct StreamPositionMessage {
        /// The offset.
        #[prost(uint64, tag = "1")]
        pub offset: u64,
        /// The epoch.
        #[prost(string, tag = "2")]
        pub epoch: String,
    }
}
