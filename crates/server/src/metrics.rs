//! The metrics of a node: what its parts count, and how `/metrics` shows it.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::head::Refusal;
use crate::listener::{Counts, TIMEOUT};

const TAKEN: &str = "taken";
const REFUSED: &str = "refused";

/// What is counted of reloads.
#[derive(Debug, Clone)]
pub(crate) struct Reloads {
    outcomes: IntCounterVec,
    taken_at: Gauge,
}

impl Reloads {
    /// A configuration was taken.
    pub(crate) fn taken(&self) {
        self.outcomes.with_label_values(&[TAKEN]).inc();
        self.stamp();
    }

    /// A configuration was refused, and the old one stays.
    pub(crate) fn refused(&self) {
        self.outcomes.with_label_values(&[REFUSED]).inc();
    }

    fn stamp(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.taken_at.set(now.as_secs_f64());
    }
}

/// All metrics of a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Takes in what a part of the node counts.
    pub(crate) fn register(&self, collector: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        self.registry.register(collector)
    }

    /// The listener's counts.
    pub(crate) fn listener(&self) -> Result<Counts, prometheus::Error> {
        let accept_errors = IntCounter::new("fanfare_http_accept_errors_total", "Connections that were not accepted.")?;
        let connections = IntGauge::new("fanfare_http_connections", "HTTP connections, upgraded ones left out.")?;
        let refusals = Opts::new("fanfare_http_refused_total", "Requests refused for their head, by reason.");
        let refusals = IntCounterVec::new(refusals, &["reason"])?;
        for reason in Refusal::ALL.iter().map(|refusal| refusal.label()).chain([TIMEOUT]) {
            refusals.with_label_values(&[reason]);
        }
        self.register(Box::new(refusals.clone()))?;
        self.register(Box::new(accept_errors.clone()))?;
        self.register(Box::new(connections.clone()))?;
        Ok(Counts { accept_errors, connections, refusals })
    }

    /// The counter of what was refused for its address.
    pub(crate) fn arrivals(&self) -> Result<IntCounterVec, prometheus::Error> {
        let options = Opts::new(
            "fanfare_http_arrivals_refused_total",
            "Connections and handshakes refused since their address, or all together, have or make too many, by reason: connections, accepts, handshakes, node_accepts, node_handshakes.",
        );
        let refused = IntCounterVec::new(options, &["reason"])?;
        self.register(Box::new(refused.clone()))?;
        Ok(refused)
    }

    /// The counts of reloads. What the node was started with was taken, too.
    pub(crate) fn reloads(&self) -> Result<Reloads, prometheus::Error> {
        let options = Opts::new("fanfare_config_reloads_total", "Reloads of the configuration, by outcome.");
        let outcomes = IntCounterVec::new(options, &["outcome"])?;
        for outcome in [TAKEN, REFUSED] {
            outcomes.with_label_values(&[outcome]);
        }
        let taken_at = Gauge::new(
            "fanfare_config_taken_timestamp_seconds",
            "When the running configuration was taken, in Unix time.",
        )?;
        self.register(Box::new(outcomes.clone()))?;
        self.register(Box::new(taken_at.clone()))?;
        let reloads = Reloads { outcomes, taken_at };
        reloads.stamp();
        Ok(reloads)
    }

    /// The text that a scraper reads.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
