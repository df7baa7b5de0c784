//! What does a broker promise?
//!
//! A broker takes publications, gives each its place in its channel's stream, keeps history and presence,
//! and hands everything on, in one order per channel, to whoever listens on this node. This crate holds
//! the traits with their guarantees, the in-memory implementation, and the conformance suite that every
//! implementation passes. It knows no session, no HTTP and no Redis.
//!
//! Calls go down through [`Publications`], [`Presence`], [`Nodes`] and [`Revocations`] (together: [`Broker`]);
//! publications come up through a [`PublicationSink`], commands from other nodes through a [`NodeSink`].

#![warn(missing_docs)]

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod control;
mod error;
pub mod fault_points;
mod history;
pub mod memory;
pub mod namespaces;
mod presence;
mod publication;
pub mod revocations;
mod sink;

pub use control::{Control, NodeReport, NodeSink, Nodes};
pub use error::Error;
pub use history::{History, HistoryQuery, Retention, Since, StreamPosition};
pub use memory::MemoryBroker;
pub use presence::{Presence, PresenceStats};
pub use publication::{Event, Outcome, Publication, Publications, Publish, Published, Version};
pub use revocations::{Barred, Bearer, Revocation, Revocations, Revoked, Subject, Whom};
pub use sink::{NoRoom, PublicationSink, Room};

/// Everything a node asks of its broker.
pub trait Broker: Publications + Presence + Nodes + Revocations {}

impl<T: Publications + Presence + Nodes + Revocations> Broker for T {}
