//! What `deploy/` holds, started; and `fanfare doctor` on what is started. HAProxy, nginx and Prometheus are Debian's:
//! without them the tests say so and pass, but fail where `CI` is set.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

mod compose;
mod doctor;
mod surroundings;

const BINARY: &str = env!("CARGO_BIN_EXE_fanfare");

/// Of the server API of every node here.
const KEY: &str = "3f1c6a0d9b7e45d2a8c0";
