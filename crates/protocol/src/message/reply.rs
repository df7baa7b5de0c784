//! The envelope of what the server says.

use super::{
    ConnectResult, HistoryResult, PingResult, PresenceResult, PresenceStatsResult, PublishResult, Push, RefreshResult,
    RpcResult, SubRefreshResult, SubscribeResult, UnsubscribeResult, message,
};

message! {
    /// The answer to a command, a push (`id` 0), or a ping (nothing set).
    pub struct Reply {
        /// The command's id.
        #[prost(uint32, tag = "1")]
        pub id: u32,
        /// Why the command failed.
        #[prost(message, optional, tag = "2")]
        pub error: Option<ErrorReply>,
        /// What the server says of its own accord.
        #[prost(message, optional, tag = "4")]
        pub push: Option<Push>,
        /// Answer to `connect`.
        #[prost(message, optional, tag = "5")]
        pub connect: Option<ConnectResult>,
        /// Answer to `subscribe`.
        #[prost(message, optional, tag = "6")]
        pub subscribe: Option<SubscribeResult>,
        /// Answer to `unsubscribe`.
        #[prost(message, optional, tag = "7")]
        pub unsubscribe: Option<UnsubscribeResult>,
        /// Answer to `publish`.
        #[prost(message, optional, tag = "8")]
        pub publish: Option<PublishResult>,
        /// Answer to `presence`.
        #[prost(message, optional, tag = "9")]
        pub presence: Option<PresenceResult>,
        /// Answer to `presence_stats`.
        #[prost(message, optional, tag = "10")]
        pub presence_stats: Option<PresenceStatsResult>,
        /// Answer to `history`.
        #[prost(message, optional, tag = "11")]
        pub history: Option<HistoryResult>,
        /// Answer to `ping`, which no server sends.
        #[prost(message, optional, tag = "12")]
        pub ping: Option<PingResult>,
        /// Answer to `rpc`.
        #[prost(message, optional, tag = "13")]
        pub rpc: Option<RpcResult>,
        /// Answer to `refresh`.
        #[prost(message, optional, tag = "14")]
        pub refresh: Option<RefreshResult>,
        /// Answer to `sub_refresh`.
        #[prost(message, optional, tag = "15")]
        pub sub_refresh: Option<SubRefreshResult>,
    }

    /// Why a command failed.
    pub struct ErrorReply {
        /// The code; [`crate::ErrorCode`] lists those of the protocol.
        #[prost(uint32, tag = "1")]
        pub code: u32,
        /// Text for people.
        #[prost(string, tag = "2")]
        pub message: String,
        /// Whether trying again may succeed.
        #[prost(bool, tag = "3")]
        pub temporary: bool,
    }
}
