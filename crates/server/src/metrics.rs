//! The metrics of a node: what its parts count, and how `/metrics` shows it.

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::{Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::head::Refusal;
use crate::listener::{Counts, TIMEOUT};
use crate::log;
use crate::memory::Gauges;
use crate::routes::{HOST, ORIGIN};
use crate::tls::{self, Trouble};

/// What a handshake is refused with: a request that is none (400, 405, 426), an origin (403), no room (503).
const HANDSHAKE_REFUSALS: [StatusCode; 5] = [
    StatusCode::BAD_REQUEST,
    StatusCode::FORBIDDEN,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::UPGRADE_REQUIRED,
    StatusCode::SERVICE_UNAVAILABLE,
];

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
        let refusals = Opts::new(
            "fanfare_http_refused_total",
            "Requests refused for their head, their origin or their host, by reason.",
        );
        let refusals = IntCounterVec::new(refusals, &["reason"])?;
        for reason in Refusal::ALL.iter().map(|refusal| refusal.label()).chain([TIMEOUT, ORIGIN, HOST]) {
            refusals.with_label_values(&[reason]);
        }
        self.register(Box::new(refusals.clone()))?;
        self.register(Box::new(accept_errors.clone()))?;
        self.register(Box::new(log::dropped()))?;
        let turned_away = IntCounter::new(
            "fanfare_http_turned_away_total",
            "Connections that got 503 for want of file descriptors.",
        )?;
        self.register(Box::new(turned_away.clone()))?;
        self.register(Box::new(connections.clone()))?;
        let tls_errors = self.counters(
            "fanfare_tls_errors_total",
            "Connections ended for their TLS, by reason.",
            ("reason", &Trouble::ALL.map(Trouble::label)),
        )?;
        let tls_handshakes = self.counters(
            "fanfare_tls_handshakes_total",
            "TLS handshakes made, whole or resumed.",
            ("kind", &["full", "resumed"]),
        )?;
        Ok(Counts { accept_errors, turned_away, connections, refusals, tls_errors, tls_handshakes })
    }

    /// The counts of a node that has a certificate.
    pub(crate) fn tls(&self) -> Result<tls::Counts, prometheus::Error> {
        let expiry = IntGauge::new(
            "fanfare_tls_certificate_expiry_seconds",
            "Unix time when the certificate ends, or the first of its chain.",
        )?;
        self.register(Box::new(expiry.clone()))?;
        let reloads = self.counters(
            "fanfare_tls_reloads_total",
            "Times that the certificate was read again, by result.",
            ("result", &["ok", "failed"]),
        )?;
        Ok(tls::Counts { expiry, reloads })
    }

    /// Counters with one label; what has not come up yet is shown as 0.
    fn counters(&self, name: &str, help: &str, label: (&str, &[&str])) -> Result<IntCounterVec, prometheus::Error> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label.0])?;
        label.1.iter().for_each(|value| drop(counters.with_label_values(&[value])));
        self.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    /// The counter of WebSockets that were not opened.
    pub(crate) fn handshakes(&self) -> Result<IntCounterVec, prometheus::Error> {
        let options = Opts::new(
            "fanfare_http_handshakes_refused_total",
            "Handshakes of WebSockets that were refused, by the HTTP status of the answer.",
        );
        let refused = IntCounterVec::new(options, &["status"])?;
        for status in HANDSHAKE_REFUSALS {
            refused.with_label_values(&[status.as_str()]);
        }
        self.register(Box::new(refused.clone()))?;
        Ok(refused)
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

    /// What is shown of the node's memory.
    pub(crate) fn memory(&self) -> Result<Gauges, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            self.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let accounted = Opts::new("fanfare_memory_accounted_bytes", "Memory that is accounted for, by what it is for.");
        let accounted = IntGaugeVec::new(accounted, &["kind"])?;
        self.register(Box::new(accounted.clone()))?;
        Ok(Gauges {
            budget: gauge("fanfare_memory_budget_bytes", "How much memory the node may take; 0 if that is not known.")?,
            resident: gauge("fanfare_memory_resident_bytes", "What the process has in memory.")?,
            unaccounted: gauge(
                "fanfare_memory_unaccounted_bytes",
                "What the process has in memory beyond what is accounted for.",
            )?,
            level: gauge(
                "fanfare_memory_level",
                "0: there is enough. 1: no new sessions are taken. 2: slow clients are closed too.",
            )?,
            accounted,
        })
    }

    /// The text that a scraper reads.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
