//! What the memory broker tells Prometheus. Label values come from closed sets (I12).

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

use super::ledger::{Ledger, Limit};
use crate::Outcome;

/// What is counted as it happens. A label's counter is looked up once, here, and not at each publish.
#[derive(Debug)]
pub(super) struct Counters {
    publications: IntCounterVec,
    accepted: IntCounter,
    repeated: IntCounter,
    outdated: IntCounter,
    refused: IntCounterVec,
    refused_at: [IntCounter; Limit::ALL.len()],
    refused_for_room: IntCounter,
}

impl Counters {
    pub(super) fn new() -> Self {
        let publications =
            counters("fanfare_broker_publications_total", "Publish requests by what became of them.", "outcome");
        let refused = counters("fanfare_broker_refused_total", "Publish requests refused, by the limit.", "limit");
        Self {
            accepted: publications.with_label_values(&["accepted"]),
            repeated: publications.with_label_values(&["repeated"]),
            outdated: publications.with_label_values(&["outdated"]),
            refused_at: Limit::ALL.map(|limit| refused.with_label_values(&[limit.key()])),
            refused_for_room: refused.with_label_values(&["room"]),
            publications,
            refused,
        }
    }

    pub(super) fn published(&self, outcome: Outcome) {
        match outcome {
            Outcome::Accepted => self.accepted.inc(),
            Outcome::Repeated => self.repeated.inc(),
            Outcome::Outdated => self.outdated.inc(),
        }
    }

    pub(super) fn refused_at(&self, limit: Limit) {
        self.refused_at[limit as usize].inc();
    }

    pub(super) fn refused_for_room(&self) {
        self.refused_for_room.inc();
    }

    #[cfg(test)]
    pub(super) fn refused(&self, limit: Limit) -> u64 {
        self.refused_at[limit as usize].get()
    }
}

/// Reads the broker's books when Prometheus asks.
pub(super) struct Metrics {
    ledger: Arc<Ledger>,
    history_bytes: IntGauge,
    channels: IntGauge,
    idempotency_keys: IntGauge,
}

impl Metrics {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            history_bytes: gauge("fanfare_broker_history_bytes", "Bytes of all retained publications."),
            channels: gauge("fanfare_broker_channels", "Channels with a stream."),
            idempotency_keys: gauge("fanfare_broker_idempotency_keys", "Idempotency keys remembered."),
        }
    }

    fn collectors(&self) -> [&dyn Collector; 5] {
        let counters = &self.ledger.counters;
        [&self.history_bytes, &self.channels, &self.idempotency_keys, &counters.publications, &counters.refused]
    }

    fn read(&self, gauge: &IntGauge, limit: Limit) {
        gauge.set(i64::try_from(self.ledger.used(limit)).unwrap_or(i64::MAX));
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.collectors().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read(&self.history_bytes, Limit::HistoryBytes);
        self.read(&self.channels, Limit::Channels);
        self.read(&self.idempotency_keys, Limit::IdempotencyKeys);
        self.collectors().into_iter().flat_map(Collector::collect).collect()
    }
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("the names are constants that a test registers")
}

fn counters(name: &str, help: &str, label: &str) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), &[label]).expect("the names are constants that a test registers")
}
