//! How do publications get in from Redis, in order?
//!
//! The broker of many nodes: [`RedisBroker`] keeps history, presence and node-to-node control in a Redis (or Valkey)
//! server, 6.2 or later, behind the same traits as the broker in memory. It knows no session and no HTTP.
//!
//! # The ways
//!
//! A publication that needs a place in a stream, an idempotency key or a version guard goes through one script
//! (`script/publish.lua`), which appends and publishes in one step; several share a call. Any other is a plain
//! `PUBLISH`. Either way it comes back to every node through pub/sub, also to the one that published it: what Redis
//! did one after another is the one order.
//!
//! Commands go through one connection (`link`), messages come in through another (`consumer`). Both are tried for
//! ever; what a lost one may have cost is found out by comparing positions (`checker`).
//!
//! # One server, Sentinels, a Cluster
//!
//! All are Redis shards to the rest of this crate: one that has everything, or several that have slots. `topology`
//! knows which there are and runs a link and a consumer for each; `routes` finds the shard for a key, follows
//! redirections and sends again what was not done. The master behind Sentinels is asked for before each connection,
//! and again every few seconds. In a cluster, everything of a channel is in one slot by braces in its names, and
//! sharded pub/sub is used where the server has it (7.0), settled when the node starts.
//!
//! # Epochs and the fence
//!
//! A channel's epoch is a random part that is stored with its offset, and the first ten digits of the server's
//! replication id, put together by every script that gives a position. A server that becomes master takes another
//! id, and so does one that restarts: no offset is given out again under an epoch that somebody holds, and a position
//! from before never passes as one of now. This also raises alarms where nothing was lost: a clean restart, the first
//! replica that is ever attached, `repl-backlog-ttl` after the last one left, a slot that moves to another shard.
//!
//! A channel has an epoch before its first publication: whoever asks for its position creates it, with offset 0, for
//! [`Options::silent_ttl`] since anybody last asked. A subscriber's position is asked for every now and then, so that
//! the first publication continues it however late it comes. Each such channel costs Redis about 150 bytes.
//!
//! # Publishing without us
//!
//! `redis-cli PUBLISH fanfare:live:news '{"text":"hello"}'` publishes to the channel `news`: any JSON text, live only,
//! without a place in the stream.
//!
//! `redis-cli XADD fanfare:ingest '*' channel news data '{"text":"hello"}'` publishes as the server API does, at least
//! once and in order for each channel, if a node reads that stream ([`RedisBroker::start_ingest`], `ingest.rs`).

#![warn(missing_docs)]

mod admission;
mod backoff;
mod broker;
mod checker;
mod consumer;
mod dial;
mod envelope;
mod eviction;
mod examine;
mod fault;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod ingest;
mod interest;
mod keys;
pub mod limits;
mod link;
mod metrics;
mod nodes;
mod options;
mod presence;
mod publisher;
mod reads;
mod resp;
mod revocations;
mod rights;
mod routes;
mod script;
mod sentinel;
mod server;
mod slots;
mod streams;
mod topology;
mod wire;

pub use broker::{NotReady, RedisBroker};
pub use examine::{Examined, Told, Unexamined, examine};
pub use ingest::IngestOptions;
pub use keys::live_name;
pub use options::{Options, SentinelLogin, Tls};
pub use server::{Server, UrlError};
