//! How does a node start, run and stop?
//!
//! The `fanfare` binary: command line, configuration, the wiring of a node's parts, its HTTP routes, metrics and
//! signals. What is worth a test of its own stands in the other crates.

pub mod arrivals;
mod broker;
pub mod cli;
pub mod config;
mod descriptors;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod head;
pub mod hooks;
mod listener;
mod log;
pub mod memory;
mod metrics;
pub mod network;
pub mod node;
mod origin;
mod page;
mod pem_files;
mod readiness;
pub mod redis_tls;
mod reload;
mod routes;
pub mod serve;
pub mod tls;
pub mod token_issuers;
pub mod token_keys;

pub use config::Config;
pub use node::Node;
