//! A look at the servers, without using them: what an operator is told by `fanfare doctor`.
//!
//! Connects as a node does, to each master, and asks. Nothing is changed; what is tried out with keys of its own (the
//! rights) is deleted at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::Value;
use tokio::time::timeout;

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
                match cluster_masters(options, seed).await {
                    Ok(masters) => return Ok(masters),
                    Err(fault) => reason = fault,
                }
            }
            Err(reason)
        }
    }
}

async fn cluster_masters(options: &Options, seed: &Address) -> Result<Vec<(Address, Slot)>, Fault> {
    connected(options, seed, async |live| {
        let slots: Vec<Vec<Value>> =
            live.send(redis::cmd("CLUSTER").arg("SLOTS")).await.map_err(|failure| failure.fault)?;
        topology::masters(&slots, &live.address).ok_or(Fault::Nonsense)
    })
    .await
}

/// Does something with a connection, which ends afterwards.
async fn connected<T>(
    options: &Options,
    address: &Address,
    act: impl AsyncFnOnce(&Live) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let (live, driver) = link::connect(Arc::new(address.clone()), options).await?;
    tokio::select! {
        done = timeout(options.connect_timeout * ANSWERS, act(&live)) => done.unwrap_or(Err(Fault::Timeout)),
        () = driver => Err(Fault::Cut),
    }
}

async fn look(options: &Options, address: &Address, slot: Slot) -> Result<Examined, Fault> {
    connected(options, address, async |live| {
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
    let told: String = live.send(&redis::cmd("INFO")).await.map_err(|failure| failure.fault)?;
    let pairs = told.lines().filter_map(|line| line.split_once(':'));
    let facts: BTreeMap<String, String> =
        pairs.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect();
    Ok(Told {
        version: text(&facts, "redis_version"),
        role: text(&facts, "role"),
        replicas: number(&facts, "connected_slaves"),
        eviction_policy: facts.get("maxmemory_policy").cloned(),
        memory_max_bytes: number(&facts, "maxmemory"),
        memory_used_bytes: number(&facts, "used_memory"),
        appends: text(&facts, "aof_enabled") == "1",
    })
}

fn text(facts: &BTreeMap<String, String>, name: &str) -> String {
    facts.get(name).cloned().unwrap_or_default()
}

fn number(facts: &BTreeMap<String, String>, name: &str) -> u64 {
    facts.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
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
