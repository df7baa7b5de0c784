//! Asking who is in a channel.

use std::collections::BTreeMap;

use super::{ClientInfo, message};

message! {
    /// Asks who is in a channel.
    pub struct PresenceRequest {
        /// The channel.
        #[prost(string, tag = "1")]
        pub channel: String,
    }

    /// Who is in a channel.
    pub struct PresenceResult {
        /// The subscribers by client id.
        #[prost(btree_map = "string, message", tag = "1")]
        pub presence: BTreeMap<String, ClientInfo> = always,
    }

    /// Asks how many are in a channel.
    pub struct PresenceStatsRequest {
        /// The channel.
        #[prost(string, tag = "1")]
        pub channel: String,
    }

    /// How many are in a channel.
    pub struct PresenceStatsResult {
        /// Connections.
        #[prost(uint32, tag = "1")]
        pub num_clients: u32 = always,
        /// Distinct users among them.
        #[prost(uint32, tag = "2")]
        pub num_users: u32 = always,
    }
}
