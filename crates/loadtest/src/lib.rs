//! How many, how fast, how late, how much lost?
//!
//! A load tester for notification hubs: Fanfare, Centrifugo, and others by their adapters. Publications go out by a
//! schedule that waits for nobody, each with a stamp in its payload; threads with a readiness loop of their own receive
//! them; and a run that measured its own machine rather than the server says so. Knows no server crate.
//!
//! A [`Plan`] says what to measure, [`run`] does it, a [`Report`] says what came out.

mod adapter;
mod channels;
mod clock;
mod connection;
mod descriptors;
mod evaluation;
mod fleet;
mod latency;
mod listening;
mod loader;
mod machine;
mod measure;
mod meter;
mod objective;
mod plan;
mod publisher;
mod record;
pub mod report;
mod run;
mod search;
mod stamp;
mod tally;
mod target;
mod usage;
mod validity;
mod websocket;
mod writes;

/// Counts in the tests what a delivery allocates.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

pub use adapter::Tokens;
pub use latency::Percentiles;
pub use listening::processes as listening_processes;
pub use machine::Machine;
pub use objective::{Objective, ObjectiveError};
pub use plan::{Credentials, Plan, PlanError, Protocol, PublishBy, Scenario};
pub use publisher::PusherKeys;
pub use report::{Report, Verdict};
pub use run::{Error, Step, Watch, run};
pub use stamp::PAYLOAD_BYTES_MIN;
pub use target::{Target, TargetError};
pub use usage::Process;
