//! Setting up a connection.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{SubscribeRequest, SubscribeResult, message};

message! {
    /// Authenticates a connection.
    pub struct ConnectRequest {
        /// Connection token; empty for an anonymous user.
        #[prost(string, tag = "1")]
        pub token: String,
        /// Data for the application.
        #[prost(bytes = "bytes", tag = "2")]
        pub data: Bytes,
        /// Positions of server-side subscriptions to recover, by channel.
        #[prost(btree_map = "string, message", tag = "3")]
        pub subs: BTreeMap<String, SubscribeRequest>,
        /// Name of the client program.
        #[prost(string, tag = "4")]
        pub name: String,
        /// Version of the client program.
        #[prost(string, tag = "5")]
        pub version: String,
        /// Headers that a browser could not send.
        #[prost(btree_map = "string, string", tag = "6")]
        pub headers: BTreeMap<String, String>,
        /// Features that the client knows, as bits.
        #[prost(int64, tag = "7")]
        pub flag: i64,
        /// Id of the compression dictionary that the client has.
        #[prost(string, tag = "8")]
        pub dict: String,
        /// Profile of the connection.
        #[prost(string, tag = "9")]
        pub profile: String,
    }

    /// The connection is set up.
    pub struct ConnectResult {
        /// Client id of the connection.
        #[prost(string, tag = "1")]
        pub client: String,
        /// Version of the server.
        #[prost(string, tag = "2")]
        pub version: String,
        /// Whether the client has to refresh its token.
        #[prost(bool, tag = "3")]
        pub expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "4")]
        pub ttl: u32,
        /// Data from the application.
        #[prost(bytes = "bytes", tag = "5")]
        pub data: Bytes,
        /// Server-side subscriptions, by channel.
        #[prost(btree_map = "string, message", tag = "6")]
        pub subs: BTreeMap<String, SubscribeResult>,
        /// Seconds between pings; 0 without pings.
        #[prost(uint32, tag = "7")]
        pub ping: u32,
        /// Whether pings are to be answered.
        #[prost(bool, tag = "8")]
        pub pong: bool,
        /// Secret id of the session, on transports without a connection of their own.
        #[prost(string, tag = "9")]
        pub session: String,
        /// Id of the node, on transports without a connection of their own.
        #[prost(string, tag = "10")]
        pub node: String,
        /// The server's time in milliseconds since 1970.
        #[prost(int64, tag = "11")]
        pub time: i64,
        /// Features in use, as bits.
        #[prost(int64, tag = "12")]
        pub flag: i64,
        /// Compression dictionary in use.
        #[prost(message, optional, tag = "13")]
        pub dict: Option<Dictionary>,
    }

    /// The connection is set up (`Connect` in the schema), on transports that only push.
    pub struct ConnectPush {
        /// Client id of the connection.
        #[prost(string, tag = "1")]
        pub client: String,
        /// Version of the server.
        #[prost(string, tag = "2")]
        pub version: String,
        /// Data from the application.
        #[prost(bytes = "bytes", tag = "3")]
        pub data: Bytes,
        /// Server-side subscriptions, by channel.
        #[prost(btree_map = "string, message", tag = "4")]
        pub subs: BTreeMap<String, SubscribeResult>,
        /// Whether the connection expires.
        #[prost(bool, tag = "5")]
        pub expires: bool,
        /// Seconds until then.
        #[prost(uint32, tag = "6")]
        pub ttl: u32,
        /// Seconds between pings; 0 without pings.
        #[prost(uint32, tag = "7")]
        pub ping: u32,
        /// Whether pings are to be answered.
        #[prost(bool, tag = "8")]
        pub pong: bool,
        /// Secret id of the session.
        #[prost(string, tag = "9")]
        pub session: String,
        /// Id of the node.
        #[prost(string, tag = "10")]
        pub node: String,
        /// The server's time in milliseconds since 1970.
        #[prost(int64, tag = "11")]
        pub time: i64,
    }

    /// A compression dictionary.
    pub struct Dictionary {
        /// Its id.
        #[prost(string, tag = "1")]
        pub id: String,
        /// Its content, in Protobuf.
        #[prost(bytes = "bytes", tag = "2")]
        pub data: Bytes,
        /// Its content in base64, in JSON.
        #[prost(string, tag = "3")]
        pub data_b64: String,
    }
}
