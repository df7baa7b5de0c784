//! What is counted of the ingest stream. Label values come from closed sets (I12).

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::core::Collector;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge};

use super::entry::Kind;
use crate::metrics::{counter, gauge, vector};

/// Counters of the ingest stream, on the node that reads it.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) read: IntCounter,
    pub(crate) published: IntCounter,
    dead: IntCounterVec,
    by_kind: [IntCounter; Kind::ALL.len()],
    pub(crate) trimmed: IntCounter,
    pub(crate) reading: IntGauge,
    pub(crate) waiting: IntGauge,
    pub(crate) lag_seconds: Gauge,
    started: AtomicBool,
}

impl Counts {
    pub(crate) fn new() -> Self {
        let dead = vector("fanfare_ingest_dead_total", "Entries put into the dead-letter stream.", "reason");
        let lag = Gauge::new("fanfare_ingest_lag_seconds", "Age of the oldest entry that is not published yet.");
        Self {
            read: counter("fanfare_ingest_read_total", "Entries read from the ingest stream."),
            published: counter("fanfare_ingest_published_total", "Entries published, or found to be published."),
            by_kind: Kind::ALL.map(|(_, label)| dead.with_label_values(&[label])),
            dead,
            trimmed: counter("fanfare_ingest_trimmed_total", "Entries lost because the ingest stream was full."),
            reading: gauge("fanfare_ingest_reading", "Whether this node reads the ingest stream."),
            waiting: gauge("fanfare_ingest_waiting", "Entries in the ingest stream."),
            lag_seconds: lag.expect("the name is a constant that a test registers"),
            started: AtomicBool::new(false),
        }
    }

    /// The node is one of those that read the stream.
    pub(crate) fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    pub(crate) fn dead(&self, kind: Kind) {
        self.by_kind[kind as usize].inc();
    }

    /// Another node reads, and tells of what is waiting.
    pub(crate) fn stands_by(&self) {
        self.reading.set(0);
        self.waiting.set(0);
        self.lag_seconds.set(0.0);
    }

    pub(crate) fn collectors(&self) -> [&dyn Collector; 7] {
        [&self.read, &self.published, &self.dead, &self.trimmed, &self.reading, &self.waiting, &self.lag_seconds]
    }
}
