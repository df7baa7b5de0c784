//! A look at the servers, without using them: what an operator is told by `fanfare doctor`.
//!
//! Connects as a node does, to each master, and asks. Nothing is changed; what is tried out with keys of its own (the
//! rights) is deleted at once.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::fault::Fault;
use crate::keys::Keys;
use crate::link::{self, Live};
use crate::options::Options;
use crate::rights;
use crate::sentinel;
use crate::server::{Address, Kind};
use crate::slots::Slot;
use crate::topology;

/// So often is asked how long an answer takes.
const PINGS: usize = 5;

/// All that a server is asked, one after another: each may take as long as a connection.
const ANSWERS: u32 = 8;

/// What one server is like. What its user may not ask for is missing.
#[derive(Debug, Clone)]
pub struct Examined {
    /// Where it is.
    pub address: String,
    /// What its user may not do: the line that adds it.
    pub missing_rights: Option<String>,
    /// The median time of an answer.
    pub latency: Option<Duration>,
    /// By how many seconds its clock is ahead of this machine's.
    pub clock_ahead_s: Option<f64>,
    /// What it tells of itself.
    pub told: Option<Told>,
}

/// What a server tells of itself (INFO).
#[derive(Debug, Clone)]
pub struct Told {
    /// What it calls its version; Valkey tells one of Redis, too.
    pub version: String,
    /// `master` or `slave`.
    pub role: String,
    /// Replicas that are attached.
    pub replicas: u64,
    /// `maxmemory-policy`; none where it does not tell.
    pub eviction_policy: Option<String>,
    /// `maxmemory`; 0 is no limit.
    pub memory_max_bytes: u64,
    /// What it uses of that.
    pub memory_used_bytes: u64,
    /// Whether it has an append-only file.
    pub appends: bool,
}

/// Why a server could not be examined.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct Unexamined {
    /// Where it should be.
    pub address: String,
    /// What went wrong.
    pub reason: String,
}

/// Looks at every master of these. The time is bounded by [`Options::connect_timeout`] for each step.
pub async fn examine(options: &Options) -> Vec<Result<Examined, Unexamined>> {
    let options = Arc::new(options.clone());
    let masters = match masters(&options).await {
        Ok(masters) => masters,
        Err(fault) => {
            let reason = fault.to_string();
            return vec![Err(Unexamined { address: options.server.to_string(), reason })];
        }
    };
    let mut examined = Vec::with_capacity(masters.len());
    for (address, slot) in masters {
        let looked = look(&options, &address, slot).await;
        let failed = |fault: Fault| Unexamined { address: address.to_string(), reason: fault.to_string() };
        examined.push(looked.map_err(failed));
    }
    examined
}

/// The masters, and a slot of each.
async fn masters(options: &Arc<Options>) -> Result<Vec<(Address, Slot)>, Fault> {
    match options.server.kind() {
        Kind::Single => Ok(options.server.seeds().iter().take(1).map(|seed| (seed.clone(), Slot::ONLY)).collect()),
        Kind::Sentinel { master } => Ok(vec![(sentinel::master(options, master, 0).await?, Slot::ONLY)]),
        Kind::Cluster => {
            let mut reason = Fault::Disconnected;
            for seed in options.server.seeds() {
                match link::visit(options, seed, options.connect_timeout, topology::masters).await {
                    Ok(masters) => return Ok(masters),
                    Err(fault) => reason = fault,
                }
            }
            Err(reason)
        }
    }
}

async fn look(options: &Options, address: &Address, slot: Slot) -> Result<Examined, Fault> {
    link::visit(options, address, options.connect_timeout * ANSWERS, async |live| {
        let keys = Keys::new(&options.prefix, &Arc::from("doctor"), options.server.is_cluster());
        let missing = rights::missing(live, options, &keys, slot).await?;
        let latency = allowed(latency(live).await)?;
        let told = allowed(told(live).await)?;
        let may_ask = latency.is_some() && told.is_some();
        Ok(Examined {
            address: address.to_string(),
            missing_rights: missing.or_else(|| (!may_ask).then(|| rights::advice(options, &keys, &[]))),
            latency,
            clock_ahead_s: allowed(clock_ahead_s(live).await)?,
            told,
        })
    })
    .await
}

/// Nothing where the user may not ask that.
fn allowed<T>(answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Fault::NoPermission) => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn told(live: &Live) -> Result<Told, Fault> {
    let info = live.info("default").await?;
    let text = |name| info.field(name).unwrap_or_default().to_owned();
    let number = |name| info.field(name).and_then(|value| value.parse().ok()).unwrap_or(0);
    Ok(Told {
        version: text("redis_version"),
        role: text("role"),
        replicas: number("connected_slaves"),
        eviction_policy: info.field("maxmemory_policy").map(str::to_owned),
        memory_max_bytes: number("maxmemory"),
        memory_used_bytes: number("used_memory"),
        appends: info.field("aof_enabled") == Some("1"),
    })
}

async fn latency(live: &Live) -> Result<Duration, Fault> {
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let asked = Instant::now();
        live.send::<String>(&redis::cmd("PING")).await.map_err(|failure| failure.fault)?;
        times.push(asked.elapsed());
    }
    times.sort_unstable();
    Ok(times[PINGS / 2])
}

/// The server's clock against the middle of the question.
async fn clock_ahead_s(live: &Live) -> Result<f64, Fault> {
    let asked = Instant::now();
    let (seconds, micros): (u64, u64) = live.send(&redis::cmd("TIME")).await.map_err(|failure| failure.fault)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let middle = now.saturating_sub(asked.elapsed() / 2);
    Ok(seconds as f64 + micros as f64 / 1e6 - middle.as_secs_f64())
}
