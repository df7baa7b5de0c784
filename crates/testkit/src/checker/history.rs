//! What was seen: a header and records in the order in which they were made, on one monotonic clock. Written as JSON,
//! a record a line.
//!
//! A moment is known as an interval. What a client did began after `asked` or `invoked` and was over before `at` or
//! `done`; the judge draws conclusions from the safe side of each only.

use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Microseconds since the run began, on a clock that never goes back.
pub type Micros = u64;

/// What a run was made with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Gives the plan.
    pub seed: u64,
    /// The defect that was switched on in the nodes, if one was.
    pub defect: Option<String>,
    /// The channels of each client, by client.
    pub interests: Vec<Vec<u32>>,
    /// Clients that are an official SDK: how far a recovery brought them stands in the publications that follow.
    pub witnesses: Vec<u32>,
    /// What the run has to have met at least.
    pub minima: Minima,
}

/// What a run has to have met at least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minima {
    /// Distinct publications that were acknowledged.
    pub publications: usize,
    /// Publications that clients got.
    pub deliveries: usize,
    /// Connections cut.
    pub cuts: usize,
    /// Nodes killed.
    pub node_kills: usize,
    /// Faults of Redis or of the way to it.
    pub redis_faults: usize,
    /// Faults of each kind.
    pub of_each_kind: usize,
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A publish has ended.
    #[serde(rename = "p")]
    Publish(Publish),
    /// A subscribe command was answered.
    #[serde(rename = "r")]
    Reply(Reply),
    /// A publication was pushed.
    #[serde(rename = "l")]
    Live(Live),
    /// A subscription was ended by the server.
    #[serde(rename = "t")]
    Told(Told),
    /// A connection ended.
    #[serde(rename = "c")]
    Closed(Closed),
    /// A fault is over.
    #[serde(rename = "f")]
    Fault(Fault),
    /// Faults have stopped for a while; sentinels with this number follow.
    #[serde(rename = "s")]
    Calm(Calm),
    /// The run is over: nothing was recorded after this.
    #[serde(rename = "e")]
    End(Micros),
}

/// A publish, with all its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Stands in the payload; no two have the same.
    pub id: u64,
    /// Where to.
    pub channel: u32,
    /// When the first attempt began.
    pub invoked: Micros,
    /// When the last attempt was over.
    pub done: Micros,
    /// What its publisher knows.
    pub outcome: Outcome,
    /// Attempts under one idempotency key; 0 is one without a key.
    pub keyed: u32,
    /// The calm that it is a sentinel of.
    pub sentinel: Option<u32>,
}

/// What the publisher of a publication knows of its fate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Acknowledged with this position.
    Acknowledged(u64, String),
    /// Acknowledged without a position.
    Placeless,
    /// It was not published and will not be.
    Failed,
    /// It was published, will be, or not.
    Unknown,
}

/// The answer to a subscribe command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Who.
    pub client: u32,
    /// What.
    pub channel: u32,
    /// When the command was sent.
    pub asked: Micros,
    /// When the answer was there.
    pub at: Micros,
    /// The position that the client asked to go on from.
    pub from: Option<(u64, String)>,
    /// The answer's offset.
    pub offset: u64,
    /// The answer's epoch.
    pub epoch: String,
    /// Whether the client was recovered, if it asked for it.
    pub recovered: Option<bool>,
    /// Offset and id of what was recovered.
    pub batch: Vec<(u64, u64)>,
}

/// A pushed publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Who.
    pub client: u32,
    /// Where.
    pub channel: u32,
    /// When it was there.
    pub at: Micros,
    /// Its offset.
    pub offset: u64,
    /// Its epoch, where the protocol gives one.
    pub epoch: Option<String>,
    /// Its id; 0 is a payload that nobody can have published.
    pub id: u64,
}

/// The server ended a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Who.
    pub client: u32,
    /// Where.
    pub channel: u32,
    /// When it was there.
    pub at: Micros,
    /// Why.
    pub code: u32,
}

/// A connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Whose.
    pub client: u32,
    /// When it was known.
    pub at: Micros,
    /// The code of the close frame; 0 without one.
    pub code: u32,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Connections of clients and publishers are cut.
    Cut,
    /// Clients read nothing for a while.
    ClientPause,
    /// A node is killed and started again.
    NodeKill,
    /// A node is stopped and goes on.
    NodeStop,
    /// Redis is stopped and goes on.
    RedisStop,
    /// Redis is killed and comes back empty.
    RedisEmpty,
    /// Redis is killed and comes back with an older dump.
    RedisDump,
    /// A replica without the tail becomes master, while the old master goes on acknowledging.
    Failover,
    /// FLUSHALL.
    Flush,
    /// CLIENT KILL of the nodes' pub/sub connections, or of the others.
    ClientKill,
    /// Redis cuts a subscriber at its output limit.
    OutputLimit,
    /// The connection to Redis is cut when the publish script has run and before its answer is through.
    ReplyCut,
    /// Nodes cannot subscribe for a while, and can publish.
    PubsubOutage,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Cut,
        Self::ClientPause,
        Self::NodeKill,
        Self::NodeStop,
        Self::RedisStop,
        Self::RedisEmpty,
        Self::RedisDump,
        Self::Failover,
        Self::Flush,
        Self::ClientKill,
        Self::OutputLimit,
        Self::ReplyCut,
        Self::PubsubOutage,
    ];

    /// Whether it may lose publications or break positions. Everything else has to be bridged without a word.
    pub fn loses(self) -> bool {
        matches!(self, Self::RedisEmpty | Self::RedisDump | Self::Failover | Self::Flush)
    }

    /// Whether it concerns Redis or the way to it.
    pub fn is_of_redis(self) -> bool {
        !matches!(self, Self::Cut | Self::ClientPause | Self::NodeKill | Self::NodeStop)
    }
}

/// A fault, from before its first effect to after its last step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// The node that it concerns, if not all.
    pub node: Option<u32>,
    /// Before its first effect.
    pub began: Micros,
    /// After its last step.
    pub ended: Micros,
    /// Its effect: connections cut, clients paused, answers cut off, publications acknowledged that are not in the dump
    /// or not on the new master; 1 elsewhere. 0 is a fault without an effect.
    pub count: u32,
    /// What was under way when it struck.
    pub met: Met,
}

/// What was under way at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// Publishes that were not answered.
    pub publishing: u32,
    /// Subscribe commands with a position that were not answered.
    pub recovering: u32,
    /// Subscribe commands that were not answered, although Redis had confirmed the node's subscription.
    pub confirmed: u32,
}

/// Faults have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calm {
    /// The number that its sentinels bear.
    pub number: u32,
    /// When the last fault was over.
    pub at: Micros,
}

/// All that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// What the run was made with.
    pub header: Header,
    /// What was seen, of each client in order.
    pub records: Vec<Record>,
}

impl History {
    /// Writes it to a file.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        writeln!(file, "{}", serde_json::to_string(&self.header)?)?;
        for record in &self.records {
            writeln!(file, "{}", serde_json::to_string(record)?)?;
        }
        file.flush()
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// Those of the file, and a file that was not written by [`Self::write`] to its end.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut lines = BufReader::new(std::fs::File::open(path)?).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let header = serde_json::from_str(&first)?;
        let records: Vec<Record> = lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect::<io::Result<_>>()?;
        if !matches!(records.last(), Some(Record::End(_))) {
            return Err(io::Error::other("the history was cut off: it has no end"));
        }
        Ok(Self { header, records })
    }
}
