//! What was measured, in numbers that a program can read; and how it is told to people, in text and as a page.

pub mod page;
#[cfg(test)]
pub(crate) mod sample;
mod sheet;
mod text;
mod units;
mod verdict;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::latency::Percentiles;
use crate::machine::Machine;

pub use verdict::Verdict;

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was asked for.
    pub asked: Asked,
    /// Where it ran.
    pub machine: Machine,
    /// Seconds since 1970 when it began.
    pub began: u64,
    /// Whether the numbers can be believed.
    pub valid: bool,
    /// Why not.
    pub invalid_because: Vec<String>,
    /// Connections.
    pub connections: Connections,
    /// What was published; `None` where nothing is.
    pub publications: Option<Publications>,
    /// What was received of it.
    pub deliveries: Option<Deliveries>,
    /// What slow readers received of it, apart from the others.
    pub slow: Option<Slow>,
    /// Who was to be away, and was (`churn`, `storm`, `recover`).
    pub away: Option<Away>,
    /// From when a publication was due until a live subscriber had it.
    pub latency_us: Option<Percentiles>,
    /// From when a publication was due until the last of its live subscribers had it.
    pub last_latency_us: Option<Percentiles>,
    /// From when a publication was due until a subscriber had caught up with it.
    pub recovered_latency_us: Option<Percentiles>,
    /// Bytes of a message for each publication in it, WebSocket header included.
    pub bytes_per_delivery: Option<f64>,
    /// Publications that one read brought: one write of the server, or several where the receiver was not there at once.
    pub messages_per_read: Option<f64>,
    /// Messages that the server put into a write, by its own metrics, if it is a Fanfare that shows them.
    pub messages_per_write: Option<f64>,
    /// Messages of any content, and their bytes.
    pub messages: Messages,
    /// What the server used, if its processes are known.
    pub server: Option<Server>,
    /// What the receiving threads used.
    pub loader: Loader,
    /// Percentiles of the latency with their microseconds.
    pub curve: Vec<(f64, f64)>,
    /// What happened when.
    pub timeline: Vec<Moment>,
    /// The objectives that were given, and whether they were kept.
    pub objectives: Vec<Outcome>,
    /// The highest rate that keeps an objective, if it was looked for.
    pub search: Option<Search>,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// What happens.
    pub scenario: String,
    /// What is spoken.
    pub adapter: String,
    /// Where the subscribers connect.
    pub targets: Vec<String>,
    /// How publications get in.
    pub publish_by: String,
    /// Connections.
    pub connections: usize,
    /// Channels.
    pub channels: u32,
    /// Channels of each connection.
    pub channels_each: u32,
    /// Publications a second.
    pub rate: f64,
    /// Publications that were due at the same moment.
    pub burst: usize,
    /// Seconds.
    pub duration_s: f64,
    /// Seconds before them that were checked and not timed.
    pub warm_up_s: f64,
    /// Bytes.
    pub payload_bytes: usize,
    /// Whether messages are Protobuf.
    pub protobuf: bool,
    /// New connections a second, if that was said.
    pub connect_rate: Option<f64>,
    /// Whether subscribers recover.
    pub recovery: bool,
    /// Receiving threads.
    pub threads: usize,
    /// Client addresses on loopback, 127.0.0.0/8.
    pub loopback: bool,
}

/// Connections of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Connections {
    /// That got ready: connected, upgraded and subscribed.
    pub ready: usize,
    /// That were so at the end.
    pub ready_at_end: usize,
    /// Seconds until all were.
    pub seconds: f64,
    /// Sessions a second over that time.
    pub sessions_per_second: f64,
    /// From when a connection was to be opened until it was ready.
    pub connect_us: Option<Percentiles>,
    /// From when a connection was lost or cut until it was ready again.
    pub return_us: Option<Percentiles>,
    /// Where all are away at once (`storm`, `recover`): those that came back, by the time until the last one was.
    pub returns_per_second: Option<f64>,
    /// Connections that the server or the network ended, by close code; 0 without one.
    pub closed: BTreeMap<u16, u64>,
    /// Of those, connections of others than slow readers that had no position to recover from.
    pub closed_without_position: u64,
    /// Connects that failed and were tried again, by why.
    pub failed: BTreeMap<String, u64>,
}

/// Publications of a run, the warm-up's included.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Publications {
    /// That were due.
    pub due: u64,
    /// That were written.
    pub sent: u64,
    /// That the server has taken.
    pub acknowledged: u64,
    /// That the server has refused.
    pub refused: u64,
    /// That were not written, since too many were on their way.
    pub over_bound: u64,
    /// That were not written, since their connection was broken.
    pub without_connection: u64,
    /// Connections to publish over that broke, and were opened again.
    pub connections_broken: u64,
    /// Why they were refused.
    pub refusals: BTreeMap<String, u64>,
    /// How late they were written.
    pub lateness_us: Option<Percentiles>,
    /// From when they were due until their answer.
    pub answer_us: Option<Percentiles>,
    /// Acknowledged in a second.
    pub per_second: f64,
}

/// Deliveries of a run, slow readers' apart.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Deliveries {
    /// Acknowledged publications, each by the subscribers that were ready before the first one; without the excused ones.
    pub expected: u64,
    /// Published while a subscriber was away on purpose (`storm`, `churn`, `recover`) and had no position to recover from.
    pub excused: u64,
    /// That came, each once.
    pub received: u64,
    /// Of those, that came by recovery.
    pub recovered: u64,
    /// That did not come.
    pub lost: u64,
    /// That came more than once.
    pub doubled: u64,
    /// That came after a later one.
    pub reordered: u64,
    /// Times that the server told a subscriber that it cannot catch up.
    pub told_losses: u64,
    /// Received in a second of the time in which was published.
    pub per_second: f64,
}

/// What slow readers received, once they read again.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Slow {
    /// Connections.
    pub connections: u64,
    /// What they were owed.
    pub expected: u64,
    /// What did not come.
    pub lost: u64,
    /// Connections of theirs that the server or the network ended.
    pub closed: u64,
}

/// Who was to be away meanwhile.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Away {
    /// `churn`: subscriptions or connections that were to go and come back; `storm`, `recover`: connections that were to be cut.
    pub asked: u64,
    /// `churn`: those of them that went and came back; `storm`, `recover`: that were cut.
    pub done: u64,
    /// `churn`: how many a second were asked for.
    pub asked_per_second: Option<f64>,
    /// `churn`: how many a second were done while was published.
    pub per_second: Option<f64>,
}

/// Messages of any content.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Messages {
    /// How many.
    pub count: u64,
    /// Their bytes, WebSocket headers included.
    pub bytes: u64,
}

/// What the server's processes used.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Server {
    /// Their ids.
    pub processes: Vec<u32>,
    /// Before the first connection.
    pub resident_bytes_before: u64,
    /// With all connections, before the first publication.
    pub resident_bytes_connected: u64,
    /// At the end.
    pub resident_bytes_after: u64,
    /// Of memory for each connection; `None` where no memory was added, as with connections in the place of others.
    pub resident_bytes_per_connection: Option<f64>,
    /// CPU time of a connection until it was ready, microseconds.
    pub cpu_us_per_connect: f64,
    /// CPU time while was published or watched, in seconds.
    pub cpu_s: f64,
    /// The same for each second, in cores.
    pub cores: f64,
    /// For each delivery, microseconds, which is also seconds for a million of them.
    pub cpu_us_per_delivery: Option<f64>,
    /// For each connection and second while nothing was published, microseconds.
    pub idle_cpu_us_per_connection_second: Option<f64>,
}

/// What the receiving threads used while was published or watched; `None` where the kernel does not count it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Loader {
    /// CPU time in seconds.
    pub cpu_s: Option<f64>,
    /// For each delivery, microseconds.
    pub cpu_us_per_delivery: Option<f64>,
    /// That against the server's. Above a half the tester needs cores of its own.
    pub share_of_server: Option<f64>,
    /// The share of the time that the thread that waited most for a core did so, 0 to 1: while was published, or watched;
    /// for `connect` while connections came and for `recover` while they came back, if it was more.
    pub waited: Option<f64>,
    /// The share of the machine's time that others on its host took meanwhile, 0 to 1.
    pub stolen: Option<f64>,
}

/// A point of the timeline.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Moment {
    /// Seconds from the first publication to the end of this interval.
    pub at_s: f64,
    /// Live deliveries a second.
    pub live_per_second: f64,
    /// Recovered deliveries a second.
    pub recovered_per_second: f64,
    /// Half of the live ones were no later, microseconds.
    pub p50_us: f64,
    /// 99 % were no later.
    pub p99_us: f64,
    /// The latest.
    pub max_us: f64,
}

/// An objective and what was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// As it was given.
    pub objective: String,
    /// What was measured, in the objective's own unit (microseconds for times).
    pub measured: Option<f64>,
    /// Whether it was kept. What was not measured was not.
    pub kept: bool,
}

/// The search for the highest rate.
#[derive(Debug, Clone, Serialize)]
pub struct Search {
    /// What had to be kept.
    pub objective: String,
    /// The highest rate that kept it, publications a second; `None` if not even the first did.
    pub rate: Option<f64>,
    /// What was tried, in order.
    pub steps: Vec<Step>,
}

/// A rate that was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Publications a second.
    pub rate: f64,
    /// Deliveries a second.
    pub deliveries_per_second: f64,
    /// 99 % were no later, microseconds.
    pub p99_us: Option<f64>,
    /// Whether the objective was kept, nothing was lost, and the run was valid.
    pub kept: bool,
    /// Why not.
    pub because: Vec<String>,
}

impl Connections {
    /// That the server or the network ended, without those of slow readers.
    pub(crate) fn closed_of_others(&self, slow: Option<Slow>) -> u64 {
        self.closed.values().sum::<u64>().saturating_sub(slow.map_or(0, |slow| slow.closed))
    }
}

impl Report {
    /// Publications that were lost, doubled or reordered.
    pub fn damage(&self) -> u64 {
        self.deliveries.map_or(0, |deliveries| deliveries.lost + deliveries.doubled + deliveries.reordered)
    }
}
