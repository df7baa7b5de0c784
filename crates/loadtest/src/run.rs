//! From a plan to a report: connections come, the run takes its course, and its traces are put together.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::{Clock, nanoseconds};
use crate::descriptors::{self, Short};
use crate::evaluation::{Background, Evaluation, evaluate};
use crate::fleet::{Ended, Fleet};
use crate::loader::{Order, Setup};
use crate::machine::Machine;
use crate::measure::{Runner, look};
use crate::meter::{Reading, Spent};
use crate::objective::Objective;
use crate::plan::{Plan, PlanError};
use crate::record::{Record, Window};
use crate::report::{Connections, Report};
use crate::search;
use crate::usage::Processes;

/// Steps of a run, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Connections come; counted in connections.
    Connecting,
    /// Nothing is published; counted in milliseconds.
    Watching,
    /// Counted in publications.
    Publishing,
    /// What is on its way is awaited; counted in deliveries.
    Draining,
}

/// Watches a run.
pub trait Watch {
    /// So much of a step is done, and so many connections are ready. Called a hundred times a second.
    fn look(&self, step: Step, done: u64, of: u64, ready: usize);

    /// The search for the highest rate tries this one.
    fn tries(&self, _rate: f64) {}

    /// Whether the run is to be given up.
    fn stopped(&self) -> bool {
        false
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Each connection needs a file descriptor, and this process cannot have so many.
    #[error(
        "{needed} file descriptors are needed, {allowed} are allowed: raise the limit (ulimit -n), or ask for fewer connections"
    )]
    Descriptors {
        /// For connections and a few more.
        needed: usize,
        /// What the process may have at most.
        allowed: usize,
    },
    /// Not all connections got ready.
    #[error("{ready} of {asked} connections got ready{}", because(.why))]
    NotReady {
        /// That did.
        ready: usize,
        /// That should have.
        asked: usize,
        /// Why others did not, the most frequent first, with how often.
        why: Vec<(String, u64)>,
    },
    /// There is no way to publish.
    #[error("cannot publish to {to}: {error}")]
    Publish {
        /// Where.
        to: String,
        /// Why.
        error: io::Error,
    },
    /// This machine does not give what is needed.
    #[error("this machine: {0}")]
    Machine(#[source] io::Error),
    /// A thread ended before its time.
    #[error("a thread of the load tester ended before its time")]
    Ended,
    /// It was given up on request.
    #[error("stopped")]
    Stopped,
}

fn because(why: &[(String, u64)]) -> String {
    let told: Vec<String> = why.iter().take(3).map(|(why, times)| format!("{why} ({times} times)")).collect();
    if told.is_empty() { String::new() } else { format!(": {}", told.join("; ")) }
}

impl From<Short> for Error {
    fn from(Short { needed, allowed }: Short) -> Self {
        Self::Descriptors { needed, allowed }
    }
}

impl From<Ended> for Error {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

/// Measures; with an objective, looks for the highest rate that keeps it, beginning with the plan's.
///
/// # Errors
/// There is nothing to report: the plan is wrong, connections or publishing failed, or it was given up.
pub fn run(plan: &Plan, slo: Option<&Objective>, watch: &dyn Watch) -> Result<Report, Error> {
    plan.check()?;
    if slo.is_some() && !plan.publishes() {
        let why = format!("{} publishes nothing, so that there is no rate to look for", plan.scenario);
        return Err(PlanError::Mismatch(why).into());
    }
    descriptors::provide(plan)?;
    let clock = Clock::new();
    let processes = Processes(plan.processes.clone());
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let resident_before = processes.resident_bytes();
    let threads = plan.threads.min(plan.connections);
    let setup = Arc::new(Setup {
        adapter: plan.adapter(),
        channels: plan.channels(),
        targets: plan.subscribe_at(),
        clock,
        connecting_max: plan.connecting_max.div_ceil(threads),
    });
    let fleet = Fleet::start(plan, &setup).map_err(Error::Machine)?;
    let opened = open(plan, &fleet, clock, &processes, watch)?;
    let background = Background {
        plan: plan.clone(),
        machine: Machine::this(),
        began,
        resident_before,
        resident_connected: processes.resident_bytes(),
        connections: opened.connections,
        opening: opened.spent,
        processes: processes.clone(),
    };
    if !plan.publishes() {
        let evaluation = watch_idle(plan, &fleet, clock, &processes, watch)?;
        return Ok(evaluate(&background, evaluation));
    }
    let runner = Runner { plan, fleet: &fleet, clock, processes: &processes, watch };
    let measure = |rate: f64| {
        runner.run(rate).map(|measured| {
            evaluate(
                &Background { plan: Plan { rate, ..plan.clone() }, ..background.clone() },
                Evaluation::Published(Box::new(measured)),
            )
        })
    };
    match slo {
        None => measure(plan.rate),
        Some(objective) => search::highest(plan, objective, &|rate| {
            runner.wait_for_quiet()?;
            watch.tries(rate);
            measure(rate)
        }),
    }
}

/// How the connections came.
struct Opened {
    connections: Connections,
    /// What was used until all were ready.
    spent: Spent,
}

fn open(plan: &Plan, fleet: &Fleet, clock: Clock, processes: &Processes, watch: &dyn Watch) -> Result<Opened, Error> {
    let (began, before) = (clock.now(), Reading::now(clock, processes, fleet));
    let per_second = plan.connect_rate.map(|rate| rate / fleet.len() as f64);
    fleet.order(|| Order::Open { per_second })?;
    // Of each thread's connects the next one may be that far away.
    let patience = nanoseconds(plan.patience) + per_second.map_or(0, |rate| (1e9 / rate) as u64);
    let mut last = (0, began);
    loop {
        let (ready, now) = (fleet.ready(), clock.now());
        if ready >= plan.connections {
            break;
        }
        if ready > last.0 {
            last = (ready, now);
        }
        if now - last.1 > patience {
            return Err(not_ready(plan, fleet));
        }
        look(watch, fleet, Step::Connecting, [ready as u64, plan.connections as u64])?;
    }
    let seconds = Duration::from_nanos(clock.now() - began).as_secs_f64();
    let spent = Reading::now(clock, processes, fleet).since(&before);
    let ready = plan.connections;
    let connections =
        Connections { ready, seconds, sessions_per_second: ready as f64 / seconds, ..Connections::default() };
    Ok(Opened { connections, spent })
}

pub(crate) fn not_ready(plan: &Plan, fleet: &Fleet) -> Error {
    let mut why: Vec<(String, u64)> = Vec::new();
    for one in fleet.collect().unwrap_or_default() {
        for (reason, times) in one.record.counts.failures {
            match why.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, known)) => *known += times,
                None => why.push((reason, times)),
            }
        }
    }
    why.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    Error::NotReady { ready: fleet.ready(), asked: plan.connections, why }
}

/// Publishes nothing, and looks at what the server does meanwhile and what comes from it.
fn watch_idle(
    plan: &Plan,
    fleet: &Fleet,
    clock: Clock,
    processes: &Processes,
    watch: &dyn Watch,
) -> Result<Evaluation, Error> {
    let start = clock.now();
    let end = start + nanoseconds(plan.duration);
    let window =
        Window { run: 0, start, timed_from: start, end, publications: 0, channels: plan.channels, gap: 0.0, burst: 1 };
    fleet.begin(window)?;
    let before = Reading::now(clock, processes, fleet);
    while clock.now() < end {
        let done = Duration::from_nanos(clock.now() - start).as_millis() as u64;
        look(watch, fleet, Step::Watching, [done, plan.duration.as_millis() as u64])?;
    }
    let spent = Reading::now(clock, processes, fleet).since(&before);
    let ready_at_end = fleet.ready();
    let mut record = Record::new(window);
    fleet.collect()?.iter().for_each(|one| record.add(&one.record));
    Ok(Evaluation::Watched { record: Box::new(record), spent, ready_at_end })
}
