//! What the held revocations tell Prometheus. Label values come from closed sets (I12).

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts};

use super::{Kind, Revoked};

/// What is counted as it happens.
#[derive(Debug)]
pub(super) struct Counts {
    changes: IntCounterVec,
    by_kind: [IntCounter; Kind::ALL.len()],
}

impl Counts {
    pub(super) fn new() -> Self {
        let options = Opts::new(
            "fanfare_broker_revocation_changes_total",
            "Revocations taken in or taken back one by one, by kind: user, token, user_tokens, all_tokens.",
        );
        let changes = IntCounterVec::new(options, &["kind"]).expect("name and label are valid and constant");
        Self { by_kind: Kind::ALL.map(|kind| changes.with_label_values(&[kind.name()])), changes }
    }

    pub(super) fn changed(&self, kind: Kind) {
        self.by_kind[kind as usize].inc();
    }
}

/// For the registry.
#[derive(Debug)]
pub struct Metrics {
    revoked: Arc<Revoked>,
    held: IntGaugeVec,
}

impl Metrics {
    /// Reads what is held when it is asked.
    pub fn new(revoked: Arc<Revoked>) -> Self {
        let options = Opts::new(
            "fanfare_broker_revocations",
            "Revocations that this node holds, by kind: user, token, user_tokens, all_tokens.",
        );
        Self { revoked, held: IntGaugeVec::new(options, &["kind"]).expect("name and label are valid and constant") }
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.held.desc().into_iter().chain(self.revoked.counts.changes.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut held = [0_i64; Kind::ALL.len()];
        self.revoked.read().entries.values().for_each(|kept| held[kept.subject.kind() as usize] += 1);
        for kind in Kind::ALL {
            self.held.with_label_values(&[kind.name()]).set(held[kind as usize]);
        }
        self.held.collect().into_iter().chain(self.revoked.counts.changes.collect()).collect()
    }
}
