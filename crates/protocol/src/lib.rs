//! What may be said on the wire?
//!
//! Messages, codes, the channel grammar, the JSON and Protobuf encodings and their framing. This crate
//! reads and writes bytes that are already in memory; it knows no sockets, no clocks and no brokers, and it
//! decides nothing about sessions: what is refused here is what cannot be read, not what is not allowed.
//!
//! A program reads with [`Encoding::decode_commands`] or [`Encoding::decode_replies`] and writes with
//! [`Encoding::encode_reply`] or [`Encoding::encode_command`]. Names and payloads that come from outside go
//! through [`Channel::parse`] and [`payload::inspect`] once, at the border.

#![warn(missing_docs)]

mod channel;
mod decode;
mod disconnect;
mod encoding;
mod error_code;
mod frame_check;
mod json;
mod message;
mod overrides;
pub mod payload;
mod protobuf;
mod unsubscribe;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod sample;

pub use channel::{Channel, ChannelError};
pub use decode::{CommandFrames, DecodeError, ReplyFrames};
pub use disconnect::{Disconnect, DisconnectError};
pub use encoding::Encoding;
pub use error_code::ErrorCode;
pub use frame_check::{FrameCheck, FrameLimits, FrameViolation, Judged};
pub use json::WriteJson;
pub use message::*;
pub use overrides::SubscriptionOverrides;
pub use payload::{PayloadError, PayloadLimits};
pub use unsubscribe::{Unsubscribe, UnsubscribeError};
