//! What a shard counts: relaxed atomics with a single writer, read by `/metrics` and `info`.

use std::sync::atomic::{AtomicU64, Ordering};

use fanfare_protocol::{ErrorCode, FrameViolation};
use prometheus::{Histogram, HistogramOpts};

use crate::bad_request::BadRequest;
use crate::rates::Excess;
use crate::shard::Recovery;

/// Close codes that are counted by name; every other one is counted as "other".
pub(crate) const CLOSE_CODES: [u16; 27] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 3000, 3001, 3004, 3005, 3006, 3008, 3009, 3010, 3012, 3013, 3500,
    3501, 3502, 3503, 3504, 3505, 3506, 3507, 3508,
];

/// The first of the error codes that are counted by number, and how many there are; an application's own are "other".
pub(crate) const ERROR_CODE_MIN: u32 = ErrorCode::Internal.code();
pub(crate) const ERROR_CODES: usize = (ErrorCode::ConcurrentPagination.code() - ERROR_CODE_MIN + 1) as usize;

/// Where somebody was found to be kept out by a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    Connect,
    Refresh,
    Subscribe,
    SubRefresh,
    /// One that was open already.
    Session,
    /// One that was live already.
    Subscription,
}

impl Judged {
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Connect, "connect"),
        (Self::Refresh, "refresh"),
        (Self::Subscribe, "subscribe"),
        (Self::SubRefresh, "sub_refresh"),
        (Self::Session, "session"),
        (Self::Subscription, "subscription"),
    ];
}

/// A number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn add(&self, count: u64) {
        self.set(self.get() + count);
    }

    pub(crate) fn subtract(&self, count: u64) {
        self.set(self.get().saturating_sub(count));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of one shard. Only its thread writes them.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) sessions: Cell,
    pub(crate) sessions_opened: Cell,
    pub(crate) subscriptions: Cell,
    pub(crate) channels: Cell,
    pub(crate) publications: Cell,
    pub(crate) deliveries: Cell,
    pub(crate) bytes_in: Cell,
    pub(crate) bytes_out: Cell,
    pub(crate) writes: Cell,
    pub(crate) commands: Cell,
    /// By the code of the error; the last one counts the codes of applications.
    pub(crate) errors: [Cell; ERROR_CODES + 1],
    /// In the order of [`BadRequest::ALL`].
    pub(crate) bad_requests: [Cell; BadRequest::ALL.len()],
    pub(crate) denials: Cell,
    pub(crate) gaps: Cell,
    pub(crate) repairs: Cell,
    /// In the order of [`Recovery::ALL`].
    pub(crate) recoveries: [Cell; Recovery::ALL.len()],
    /// Subscriptions told of a gap that history did not cover.
    pub(crate) insufficient: Cell,
    /// Subscriptions told of one since their client reads slowly.
    pub(crate) insufficient_slow: Cell,
    pub(crate) outbox_bytes: Cell,
    /// What the outboxes take, each frame counted once however many hold it.
    pub(crate) outbox_memory: Cell,
    pub(crate) held_back_memory: Cell,
    pub(crate) message_bytes: Cell,
    pub(crate) outbox_overflows: Cell,
    pub(crate) shed: Cell,
    pub(crate) dropped: Cell,
    pub(crate) panics: Cell,
    pub(crate) leaves_waiting: Cell,
    pub(crate) heartbeat_millis: Cell,
    pub(crate) closes: [Cell; CLOSE_CODES.len() + 1],
    /// In the order of [`FrameViolation::ALL`].
    pub(crate) violations: [Cell; FrameViolation::ALL.len()],
    /// In the order of [`Excess::ALL`].
    pub(crate) excesses: [Cell; Excess::ALL.len()],
    pub(crate) presence_cut: Cell,
    pub(crate) cuts: Cell,
    /// In the order of [`Judged::ALL`].
    pub(crate) barred: [Cell; Judged::ALL.len()],
    pub(crate) latency: Histogram,
    pub(crate) loop_lag: Histogram,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            sessions: Cell::default(),
            sessions_opened: Cell::default(),
            subscriptions: Cell::default(),
            channels: Cell::default(),
            publications: Cell::default(),
            deliveries: Cell::default(),
            bytes_in: Cell::default(),
            bytes_out: Cell::default(),
            writes: Cell::default(),
            commands: Cell::default(),
            errors: Default::default(),
            bad_requests: Default::default(),
            denials: Cell::default(),
            gaps: Cell::default(),
            repairs: Cell::default(),
            recoveries: Default::default(),
            insufficient: Cell::default(),
            insufficient_slow: Cell::default(),
            outbox_bytes: Cell::default(),
            outbox_memory: Cell::default(),
            held_back_memory: Cell::default(),
            message_bytes: Cell::default(),
            outbox_overflows: Cell::default(),
            shed: Cell::default(),
            dropped: Cell::default(),
            panics: Cell::default(),
            leaves_waiting: Cell::default(),
            heartbeat_millis: Cell::default(),
            closes: Default::default(),
            violations: Default::default(),
            excesses: Default::default(),
            presence_cut: Cell::default(),
            cuts: Cell::default(),
            barred: Default::default(),
            latency: histogram("fanfare_gateway_publish_to_write_seconds"),
            loop_lag: histogram("fanfare_gateway_shard_loop_lag_seconds"),
        }
    }

    pub(crate) fn count_close(&self, code: u16) {
        let at = CLOSE_CODES.iter().position(|known| *known == code).unwrap_or(CLOSE_CODES.len());
        self.closes[at].add(1);
    }

    pub(crate) fn count_barred(&self, judged: Judged) {
        self.barred[judged as usize].add(1);
    }

    pub(crate) fn count_excess(&self, excess: Excess) {
        self.excesses[excess as usize].add(1);
    }

    pub(crate) fn count_error(&self, code: u32) {
        let at = code.checked_sub(ERROR_CODE_MIN).map_or(ERROR_CODES, |at| at as usize);
        self.errors[at.min(ERROR_CODES)].add(1);
    }

    pub(crate) fn count_violation(&self, violation: FrameViolation) {
        self.violations[violation as usize].add(1);
    }
}

/// Buckets from 50 µs to 1.6 s, each four times the one before it but the last.
fn histogram(name: &str) -> Histogram {
    let buckets = vec![0.000_05, 0.000_2, 0.000_8, 0.003_2, 0.012_8, 0.051_2, 0.204_8, 0.819_2, 1.638_4];
    let options = HistogramOpts::new(name, "per shard").buckets(buckets);
    Histogram::with_opts(options).expect("the name and the buckets are constants that prometheus accepts")
}
