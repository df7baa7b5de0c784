//! The metrics of a node: what its parts count, and how `/metrics` shows it.

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::head::Refusal;
use crate::listener::{Counts, TIMEOUT};
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
        Ok(Counts { accept_errors, connections, refusals, tls_errors, tls_handshakes })
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
            "Connections and handshakes refused since their address has or makes too many, by reason: connections, accepts, handshakes.",
        );
        let refused = IntCounterVec::new(options, &["reason"])?;
        self.register(Box::new(refused.clone()))?;
        Ok(refused)
    }

    /// The text that a scraper reads.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
