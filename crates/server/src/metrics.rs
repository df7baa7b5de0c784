//! The metrics of a node: what its parts count, and how `/metrics` shows it.

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::head::Refusal;
use crate::listener::{Counts, TIMEOUT};

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
