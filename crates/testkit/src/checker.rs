//! Is anything lost, doubled, reordered or made up when nodes, Redis and the network fail, and is nobody told of a
//! loss that was none?
//!
//! [`run`](run::run) drives three nodes as processes on a real Redis server, breaks what a seed says ([`plan`]), and
//! records what every publisher and every client saw on one monotonic clock ([`history`]). [`judge`](judge::judge) is
//! a pure function from that record to violations: it knows nothing of how the record came to be, so that a history
//! that failed can be judged again from its file. [`coverage`] says whether the faults met anything.
//!
//! What the judge believes about the faults is one bit for each kind: whether it may lose data or continuity
//! ([`history::Kind::loses`]). Being told of a gap is excused by such a fault alone, and only if it lies between the
//! last sign that the client's stream was alive and the telling.

pub mod board;
pub mod cluster;
pub mod coverage;
pub mod faults;
pub mod history;
pub mod judge;
pub mod listener;
pub mod plan;
pub mod publisher;
pub mod recorder;
pub mod redis_server;
pub mod run;
pub mod wire;
pub mod witness;
