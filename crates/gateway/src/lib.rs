//! Who is connected, who listens to what, how do bytes reach them?
//!
//! The gateway owns the sessions of a node. A few shard threads each own a part of them outright; a directory above
//! them knows which shard listens to which channel. It gets publications from a broker through
//! [`fanfare_broker::PublicationSink`] and asks the broker for interest, history and presence. Where there is one, it asks the user's own [`Backend`] who somebody is and what is allowed. It knows no Redis, no
//! server API and no configuration files.
//!
//! The way of the data: [`Directory`] → `ring` → `shard` (fan-out into outboxes) → `driver` (one write for each
//! dirty socket and tick). The other way: `connection` (read task) → [`Application`], which is the
//! [`ClientProtocol`] with its `commands` → `shard` and broker.

mod application;
mod backend;
mod bad_request;
mod client_protocol;
mod commands;
mod connection;
mod directory;
mod driver;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
pub mod limits;
mod local;
#[cfg(feature = "measuring")]
#[doc(hidden)]
pub mod measuring;
mod memory;
mod metrics;
mod options;
mod outbox;
mod places;
mod presence_changes;
mod rates;
mod ring;
mod settings;
mod shard;
mod slots;
mod socket;
mod stats;
mod stream;
mod tight;
mod tls;
mod upgrade;
mod users;
mod wheel;

pub use application::{Application, Message, Peer};
pub use backend::{
    Backend, Caller, Connected, Connecting, Headers, Hook, Payload, Publishing, Refreshed, Refusal, Subscribed,
};
pub use client_protocol::ClientProtocol;
pub use directory::Directory;
pub use gateway::{Error, Gateway, Handle, Parts};
pub use memory::{MemoryUse, Shed};
pub use metrics::Metrics;
pub use options::Options;
pub use places::Companion;
pub use rates::Rates;
pub use settings::Settings;
pub use stream::{HandshakeError, Stream};
pub use upgrade::Transport;
