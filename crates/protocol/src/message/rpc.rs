//! Calling the application, sending to it, and the schema's ping.

use bytes::Bytes;

use super::message;

message! {
    /// Calls a method of the application (`RPCRequest` in the schema).
    pub struct RpcRequest {
        /// The argument.
        #[prost(bytes = "bytes", tag = "1")]
        pub data: Bytes,
        /// The method.
        #[prost(string, tag = "2")]
        pub method: String,
    }

    /// What the method returned (`RPCResult` in the schema).
    pub struct RpcResult {
        /// The result.
        #[prost(bytes = "bytes", tag = "1")]
        pub data: Bytes,
    }

    /// Sends data one way.
    pub struct SendRequest {
        /// The data.
        #[prost(bytes = "bytes", tag = "1")]
        pub data: Bytes,
    }

    /// In the schema, but unused: pings are empty replies.
    pub struct PingRequest {}

    /// In the schema, but unused: pongs are empty commands.
    pub struct PingResult {}
}
