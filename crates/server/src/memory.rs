//! The node's memory: how much it may take, how much it takes, and what is done when it gets short.
//!
//! What the parts of a node account for is added up several times a second, and compared with what the operating
//! system says that the process has in memory; the larger of the two counts. From one watermark on no new sessions are
//! taken, from a higher one on sessions whose clients read slowly are closed, those that most waits for first: they
//! come back and recover. What is accounted for and what the process has differ by what nobody counts (code, stacks,
//! indexes, presence) and by what the allocator keeps.
//!
//! Nothing here ends the process, and nobody is closed where that would free next to nothing.

mod available;
mod pressure;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use fanfare_gateway::Handle;
use prometheus::{IntGauge, IntGaugeVec};

use self::available::Available;
use self::pressure::{Level, percent_of};
use crate::broker::NodeBroker;

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// What outboxes have to hold, in hundredths of the budget, for any of them to be shed: it would bring the node from the
/// watermark where that begins to the one where it ends.
const OUTBOXES_PERCENT_MIN: usize = 5;

/// How long the operating system is given to take back what was freed, before what it says leads to more being shed.
const RESIDENT_SETTLES: Duration = Duration::from_secs(5);

/// Between two lines of the log about the same thing.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// What an HTTP connection takes: hyper's read buffer of 8 KiB, its task, and a head in the gate.
const HTTP_CONNECTION_BYTES: usize = 16 * 1024;

/// How much memory a node may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Max {
    /// So many bytes.
    Bytes(usize),
    /// So many hundredths of what the machine, or the node's control group, has.
    Percent(u8),
}

impl Default for Max {
    fn default() -> Self {
        Self::Percent(70)
    }
}

/// What a node's memory is bounded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How much it may take.
    pub max: Max,
    /// Whether what the operating system says counts too. Always, but for tests that share their process.
    pub resident_counts: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max: Max::default(), resident_counts: true }
    }
}

/// So many bytes, and where that comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) bytes: usize,
    percent_of: Option<(u8, Available)>,
}

impl Budget {
    /// `None` where a share is asked for of something that cannot be found out.
    pub(crate) fn of(max: Max) -> Option<Self> {
        match max {
            Max::Bytes(bytes) => Some(Self { bytes, percent_of: None }),
            Max::Percent(percent) => {
                let available = Available::find()?;
                Some(Self {
                    bytes: percent_of(percent.into(), available.bytes),
                    percent_of: Some((percent, available)),
                })
            }
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.bytes >> 20)?;
        match &self.percent_of {
            Some((percent, available)) => write!(f, ", {percent}% of {available}"),
            None => Ok(()),
        }
    }
}

/// What memory is accounted for; the labels of a metric.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Sessions,
    Outboxes,
    Messages,
    HeldBack,
    Rings,
    Http,
    Histories,
}

impl Kind {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Sessions, "sessions"),
        (Self::Outboxes, "outboxes"),
        (Self::Messages, "messages"),
        (Self::HeldBack, "held_back"),
        (Self::Rings, "rings"),
        (Self::Http, "http"),
        (Self::Histories, "histories"),
    ];
}

/// What is shown of the node's memory.
#[derive(Debug, Clone)]
pub(crate) struct Gauges {
    pub(crate) budget: IntGauge,
    pub(crate) resident: IntGauge,
    /// What the process has beyond what is accounted for; less than none where things are counted twice.
    pub(crate) unaccounted: IntGauge,
    pub(crate) level: IntGauge,
    pub(crate) accounted: IntGaugeVec,
}

/// What takes memory in a node.
pub(crate) struct Parts {
    pub(crate) gateway: Handle,
    pub(crate) broker: NodeBroker,
    pub(crate) http_connections: IntGauge,
    pub(crate) gauges: Gauges,
}

/// What was found at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    accounted: [usize; Kind::ALL.len()],
    resident: Option<usize>,
}

impl Sample {
    fn of(&self, kind: Kind) -> usize {
        self.accounted[kind as usize]
    }

    fn accounted(&self) -> usize {
        self.accounted.iter().sum()
    }

    fn used(&self) -> usize {
        self.accounted().max(self.resident.unwrap_or(0))
    }
}

/// Watches a node's memory.
pub(crate) struct Memory {
    options: Options,
    budget: Option<Budget>,
    parts: Parts,
    level: AtomicU8,
}

impl Memory {
    pub(crate) fn new(options: Options, parts: Parts) -> Arc<Self> {
        let budget = Budget::of(options.max);
        match &budget {
            Some(budget) => tracing::info!(%budget, key = "limits.memory_max", "memory is bounded"),
            None => tracing::warn!(
                key = "limits.memory_max",
                "how much memory there is cannot be found out, so it is not bounded: write a size"
            ),
        }
        // What has not been looked at yet is shown as 0.
        Kind::ALL.iter().for_each(|(_, label)| parts.gauges.accounted.with_label_values(&[*label]).set(0));
        parts.gauges.budget.set(as_gauge(budget.as_ref().map_or(0, |budget| budget.bytes)));
        Arc::new(Self { options, budget, parts, level: AtomicU8::default() })
    }

    /// Whether new sessions are taken; the text says why not.
    pub(crate) fn ready(&self) -> Result<(), String> {
        match self.level() {
            Level::Fine => Ok(()),
            Level::High | Level::Critical => Err("memory is short (limits.memory_max)".to_owned()),
        }
    }

    /// Watches until it is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut watcher = Watcher { memory: &self, settled_at: Instant::now(), logged: None };
        loop {
            ticks.tick().await;
            watcher.look().await;
        }
    }

    fn level(&self) -> Level {
        Level::of_number(self.level.load(Ordering::Relaxed))
    }

    fn sample(&self) -> Sample {
        let gateway = self.parts.gateway.memory();
        let http = usize::try_from(self.parts.http_connections.get()).unwrap_or(0) * HTTP_CONNECTION_BYTES;
        let accounted = Kind::ALL.map(|(kind, _)| match kind {
            Kind::Sessions => gateway.sessions,
            Kind::Outboxes => gateway.outboxes,
            Kind::Messages => gateway.messages,
            Kind::HeldBack => gateway.held_back,
            Kind::Rings => gateway.rings,
            Kind::Http => http,
            Kind::Histories => self.parts.broker.memory_bytes(),
        });
        Sample { accounted, resident: available::resident_bytes() }
    }

    fn show(&self, sample: &Sample) {
        let gauges = &self.parts.gauges;
        for (kind, label) in Kind::ALL {
            gauges.accounted.with_label_values(&[label]).set(as_gauge(sample.of(kind)));
        }
        if let Some(resident) = sample.resident {
            gauges.resident.set(as_gauge(resident));
            gauges.unaccounted.set(as_gauge(resident) - as_gauge(sample.accounted()));
        }
    }
}

/// What is remembered from one look to the next.
struct Watcher<'a> {
    memory: &'a Memory,
    /// From when on what the operating system says may lead to shedding.
    settled_at: Instant,
    logged: Option<Instant>,
}

impl Watcher<'_> {
    async fn look(&mut self) {
        let mut sample = self.memory.sample();
        self.memory.show(&sample);
        let Some(budget) = self.memory.budget.as_ref().map(|budget| budget.bytes) else { return };
        if !self.memory.options.resident_counts {
            sample.resident = None;
        }
        let level = self.memory.level().next(sample.used(), budget);
        self.enter(level, &sample, budget);
        if level == Level::Critical {
            self.relieve(&sample, budget).await;
        }
    }

    fn enter(&self, level: Level, sample: &Sample, budget: usize) {
        let before = self.memory.level();
        if level == before {
            return;
        }
        self.memory.level.store(level as u8, Ordering::Relaxed);
        self.memory.parts.gauges.level.set(i64::from(level as u8));
        self.memory.parts.gateway.set_short_of_memory(level != Level::Fine);
        let (accounted, resident) = (sample.accounted(), sample.resident);
        match level {
            Level::Fine => tracing::info!(accounted, resident, budget, "memory is no longer short"),
            Level::High if before == Level::Critical => {
                tracing::warn!(accounted, resident, budget, "memory is short, but no slow clients are closed any more");
            }
            Level::High => tracing::warn!(accounted, resident, budget, "memory is short: no new sessions are taken"),
            Level::Critical => {
                tracing::warn!(accounted, resident, budget, "memory is nearly used up: slow clients are closed");
            }
        }
    }

    /// Has as much of what waits for slow clients given back as is needed to leave the level.
    async fn relieve(&mut self, sample: &Sample, budget: usize) {
        let outboxes = sample.of(Kind::Outboxes);
        if outboxes < percent_of(OUTBOXES_PERCENT_MIN, budget) {
            return self.log_in_vain(sample, budget);
        }
        let target = Level::Critical.ends_below(budget);
        let now = Instant::now();
        let excess = match sample.accounted().checked_sub(target) {
            Some(excess @ 1..) => excess,
            _ if now < self.settled_at => return,
            _ => sample.used().saturating_sub(target),
        };
        self.settled_at = now + RESIDENT_SETTLES;
        let shed = self.memory.parts.gateway.shed(excess).await;
        if shed.sessions > 0 && self.may_log() {
            tracing::warn!(
                sessions = shed.sessions,
                outbox_bytes = shed.outbox_bytes,
                "slow clients were closed to free memory"
            );
        }
    }

    fn log_in_vain(&mut self, sample: &Sample, budget: usize) {
        if self.may_log() {
            let (accounted, resident, outboxes) = (sample.accounted(), sample.resident, sample.of(Kind::Outboxes));
            tracing::warn!(
                accounted,
                resident,
                budget,
                outboxes,
                "memory is nearly used up, but little of it waits for slow clients: nobody is closed"
            );
        }
    }

    fn may_log(&mut self) -> bool {
        let now = Instant::now();
        let may = self.logged.is_none_or(|logged| now.duration_since(logged) >= LOG_INTERVAL);
        if may {
            self.logged = Some(now);
        }
        may
    }
}

fn as_gauge(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
