//! What the Redis broker tells Prometheus. Label values come from closed sets (I12).

use std::sync::Arc;

use fanfare_broker::Outcome;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

use crate::envelope::Refused;
use crate::fault::Fault;
use crate::ingest::metrics::Counts;

/// Why a message was not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// Neither an envelope nor JSON.
    Foreign,
    /// An envelope of another version.
    Version,
    /// A broken envelope.
    Malformed,
    /// Over `redis.message_bytes_max`.
    TooLarge,
    /// The node has nobody for it any more.
    Unwanted,
    /// More commands from other nodes than are taken in.
    Overflow,
    /// No revocation, where one should be, or one too many.
    Revocation,
}

impl Skipped {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Foreign, "foreign"),
        (Self::Version, "version"),
        (Self::Malformed, "malformed"),
        (Self::TooLarge, "too_large"),
        (Self::Unwanted, "unwanted"),
        (Self::Overflow, "overflow"),
        (Self::Revocation, "revocation"),
    ];
}

impl From<Refused> for Skipped {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Foreign => Self::Foreign,
            Refused::Version => Self::Version,
            Refused::Malformed => Self::Malformed,
        }
    }
}

/// What is counted as it happens. A label's counter is looked up once, here.
#[derive(Debug)]
pub(crate) struct Counters {
    publications: IntCounterVec,
    outcomes: [IntCounter; 3],
    faults: IntCounterVec,
    by_fault: [IntCounter; Fault::ALL.len()],
    links_lost: IntCounterVec,
    links_by_fault: [IntCounter; Fault::ALL.len()],
    skipped: IntCounterVec,
    by_reason: [IntCounter; Skipped::ALL.len()],
    pub(crate) overloaded: IntCounter,
    pub(crate) resent: IntCounter,
    pub(crate) received: IntCounter,
    pub(crate) consumers_lost: IntCounter,
    pub(crate) probes_missed: IntCounter,
    pub(crate) checked: IntCounter,
    pub(crate) broken: IntCounter,
    pub(crate) shards: IntGauge,
    pub(crate) connected: IntGauge,
    pub(crate) consuming: IntGauge,
    pub(crate) evicting: IntGauge,
    pub(crate) interest: IntGauge,
    pub(crate) in_flight: IntGauge,
    pub(crate) revocation_reads_failed: IntCounter,
    pub(crate) ingest: Counts,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let publications =
            vector("fanfare_broker_publications_total", "Publish requests by what became of them.", "outcome");
        let faults = vector("fanfare_redis_faults_total", "Commands to Redis that failed, by the reason.", "fault");
        let links_lost = vector(
            "fanfare_redis_connections_lost_total",
            "Lost or failed command connections, by the reason.",
            "fault",
        );
        let skipped = vector("fanfare_broker_bad_messages_total", "Messages from Redis that were skipped.", "reason");
        Self {
            outcomes: ["accepted", "repeated", "outdated"].map(|outcome| publications.with_label_values(&[outcome])),
            by_fault: Fault::ALL.map(|(_, label)| faults.with_label_values(&[label])),
            links_by_fault: Fault::ALL.map(|(_, label)| links_lost.with_label_values(&[label])),
            by_reason: Skipped::ALL.map(|(_, label)| skipped.with_label_values(&[label])),
            publications,
            faults,
            links_lost,
            skipped,
            overloaded: counter("fanfare_redis_overloaded_total", "Commands refused because too many were in flight."),
            resent: counter("fanfare_redis_resent_total", "Publications sent again after a connection broke."),
            received: counter("fanfare_redis_received_total", "Messages received through pub/sub."),
            consumers_lost: counter("fanfare_redis_consumers_lost_total", "Lost or failed pub/sub connections."),
            probes_missed: counter("fanfare_redis_probes_missed_total", "Pub/sub connections found hanging."),
            checked: counter("fanfare_redis_checked_total", "Channels compared with Redis after an interruption."),
            broken: counter("fanfare_redis_broken_total", "Channels of which something may be missing."),
            shards: gauge("fanfare_redis_shards", "Redis shards: 1 unless it is a cluster."),
            connected: gauge("fanfare_redis_connected", "Redis shards to which commands can be sent."),
            consuming: gauge("fanfare_redis_consuming", "Redis shards whose pub/sub connection is up."),
            evicting: gauge("fanfare_redis_evicting", "Redis shards that are set to evict keys."),
            interest: gauge("fanfare_redis_interest", "Channels that this node is subscribed to in Redis."),
            in_flight: gauge("fanfare_redis_in_flight", "Commands sent and not answered."),
            revocation_reads_failed: counter(
                "fanfare_redis_revocation_reads_failed_total",
                "Times that the revocations could not be compared with those in Redis.",
            ),
            ingest: Counts::new(),
        }
    }

    pub(crate) fn published(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].inc();
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.by_fault[fault as usize].inc();
    }

    pub(crate) fn link_lost(&self, fault: Fault) {
        self.links_by_fault[fault as usize].inc();
    }

    pub(crate) fn skipped(&self, reason: Skipped) {
        self.by_reason[reason as usize].inc();
    }

    fn own(&self) -> [&dyn Collector; 18] {
        [
            &self.publications,
            &self.faults,
            &self.links_lost,
            &self.skipped,
            &self.overloaded,
            &self.resent,
            &self.received,
            &self.consumers_lost,
            &self.probes_missed,
            &self.checked,
            &self.broken,
            &self.shards,
            &self.connected,
            &self.consuming,
            &self.evicting,
            &self.interest,
            &self.in_flight,
            &self.revocation_reads_failed,
        ]
    }
}

/// Counts something as up for as long as it lives.
pub(crate) struct Up(IntGauge);

impl Up {
    pub(crate) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The counters as one collector.
pub(crate) struct Metrics(pub(crate) Arc<Counters>);

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.0.own().into_iter().chain(self.0.ingest.collectors()).flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // A node that never reads the ingest stream is not to look like one whose turn it is not.
        let ingest = self.0.ingest.is_started().then(|| self.0.ingest.collectors());
        self.0.own().into_iter().chain(ingest.into_iter().flatten()).flat_map(Collector::collect).collect()
    }
}

pub(crate) fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("the names are constants that a test registers")
}

pub(crate) fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("the names are constants that a test registers")
}

pub(crate) fn vector(name: &str, help: &str, label: &str) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), &[label]).expect("the names are constants that a test registers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_can_be_registered() {
        let registry = prometheus::Registry::new();
        registry.register(Box::new(Metrics(Arc::new(Counters::new())))).unwrap();
        assert!(registry.gather().len() >= 11);
    }

    #[test]
    fn every_reason_has_its_label() {
        for (at, (reason, _)) in Skipped::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
        assert_eq!(
            [Outcome::Accepted, Outcome::Repeated, Outcome::Outdated].map(|outcome| outcome as usize),
            [0, 1, 2]
        );
    }
}
