//! The messages, one struct each, with the field numbers and names of the protocol's schema.
//!
//! A struct is declared once, through [`message!`]; its Protobuf form comes from prost (through `protobuf`),
//! its JSON form from the field names. In both a field with its zero value is left out, unless it is marked
//! `= always`, which puts it into the JSON whatever its value. A `bytes` field is a payload: opaque in
//! Protobuf, an embedded JSON text in JSON.
//!
//! Rust names differ from the schema's where those would collide with other words of the house:
//! [`ErrorReply`] is `Error`, [`PublicationMessage`] is `Publication`, [`UnsubscribePush`],
//! [`SubscribePush`], [`DisconnectPush`], [`RefreshPush`] and [`ConnectPush`] lack their `Push`, and
//! [`StreamPositionMessage`] is `StreamPosition`.

mod command;
mod connect;
mod filter;
mod history;
mod presence;
mod publication;
mod push;
mod refresh;
mod reply;
mod rpc;
mod subscribe;

pub use command::{Command, CommandKind};
pub use connect::{ConnectPush, ConnectRequest, ConnectResult, Dictionary};
pub use filter::FilterNode;
pub use history::{HistoryRequest, HistoryResult, StreamPositionMessage};
pub use presence::{PresenceRequest, PresenceResult, PresenceStatsRequest, PresenceStatsResult};
pub use publication::{ClientInfo, Join, Leave, PublicationMessage, PublishRequest, PublishResult};
pub use push::{DisconnectPush, Message, Push, RefreshPush, SubscribePush, UnsubscribePush};
pub use refresh::{KeyedItem, RefreshRequest, RefreshResult, SubRefreshRequest, SubRefreshResult, TrackBatch};
pub use reply::{ErrorReply, Reply};
pub use rpc::{PingRequest, PingResult, RpcRequest, RpcResult, SendRequest};
pub use subscribe::{SubscribeRequest, SubscribeResult, UnsubscribeRequest, UnsubscribeResult};

/// Declares messages. A field reads
/// `#[prost(…)] pub name as "name in JSON": Type = always,` with `as` and `= always` left out mostly.
macro_rules! message {
    ($(
        $(#[$meta:meta])*
        pub struct $Name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident $(as $key:literal)? : $Type:ty $(= $mode:ident)?, )*
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, ::prost::Message)]
        #[prost(prost_path = "crate::protobuf")]
        pub struct $Name {
            $( $(#[$field_meta])* pub $field: $Type, )*
        }

        impl $crate::json::WriteJson for $Name {
            fn write_json(&self, out: &mut Vec<u8>) {
                let start = out.len();
                $( message!(@write $($mode)?)(message!(@prefix $field $($key)?), &self.$field, out); )*
                $crate::json::close_object(start, out);
            }

            #[allow(clippy::identity_op)]
            fn json_bytes(&self) -> usize {
                "{}".len() $( + $crate::json::present_bytes(message!(@prefix $field $($key)?), &self.$field) )*
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $Name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::json::read_object(deserializer)
            }
        }

        impl $crate::json::ReadJson for $Name {
            #[allow(unused_mut, clippy::match_single_binding)]
            fn read_fields<'de, A: ::serde::de::MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
                $( let mut $field: Option<$Type> = None; )*
                while let Some($crate::json::Key(name)) = map.next_key()? {
                    match name.as_ref() {
                        $( message!(@key $field $($key)?) => {
                            $crate::json::read_once(&mut map, &mut $field, message!(@key $field $($key)?))?;
                        } )*
                        name => $crate::json::skip_unknown(&mut map, name, &[$( message!(@key $field $($key)?) ),*])?,
                    }
                }
                Ok(Self { $( $field: $field.unwrap_or_default(), )* })
            }
        }

        #[cfg(test)]
        impl $crate::sample::Sample for $Name {
            fn sample(source: &mut $crate::sample::Source<'_>) -> Self {
                let _ = &source;
                Self { $( $field: $crate::sample::Sample::sample(source), )* }
            }
        }
    )* };

    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@prefix $field:ident) => { concat!(",\"", stringify!($field), "\":") };
    (@prefix $field:ident $key:literal) => { concat!(",\"", $key, "\":") };
    (@write) => { $crate::json::write_present };
    (@write always) => { $crate::json::write_always };
}

use message;
