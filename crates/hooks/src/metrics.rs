//! What hooks count, by hook and outcome.

use fanfare_gateway::Hook;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A result that can be used.
    Ok,
    /// The backend's own error, disconnect, or no credentials.
    Refused,
    /// Too many were under way.
    Overloaded,
    /// The breaker was open.
    Open,
    /// No connection, or one that broke.
    Connection,
    /// No answer in time.
    Timeout,
    /// Another status than 200.
    Status,
    /// A redirect.
    Redirect,
    /// An answer over its limit.
    TooLarge,
    /// An answer that cannot be used.
    Invalid,
    /// A defect of ours.
    Panic,
}

impl Outcome {
    pub(crate) const ALL: [Self; 11] = [
        Self::Ok,
        Self::Refused,
        Self::Overloaded,
        Self::Open,
        Self::Connection,
        Self::Timeout,
        Self::Status,
        Self::Redirect,
        Self::TooLarge,
        Self::Invalid,
        Self::Panic,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Overloaded => "overloaded",
            Self::Open => "open",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Redirect => "redirect",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::Panic => "panic",
        }
    }
}

/// The metrics of all hooks.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: IntCounterVec,
    retries: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGaugeVec,
    breaker: IntGaugeVec,
}

/// Those of one hook.
#[derive(Debug)]
pub(crate) struct HookMetrics {
    calls: [IntCounter; Outcome::ALL.len()],
    pub(crate) retries: IntCounter,
    pub(crate) seconds: Histogram,
    pub(crate) in_flight: IntGauge,
    pub(crate) breaker: IntGauge,
}

impl HookMetrics {
    pub(crate) fn count(&self, outcome: Outcome) {
        self.calls[outcome as usize].inc();
    }
}

impl Metrics {
    /// Metrics without any rows yet.
    ///
    /// # Errors
    /// Names that the library refuses.
    pub fn new() -> Result<Self, prometheus::Error> {
        let buckets = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
        let seconds = HistogramOpts::new("fanfare_hook_seconds", "Time until a hook was answered, all tries together.");
        let options = |name: &str, help: &str| Opts::new(name, help);
        Ok(Self {
            calls: IntCounterVec::new(
                options("fanfare_hook_calls_total", "Questions to the user's backend, by hook and outcome."),
                &["hook", "outcome"],
            )?,
            retries: IntCounterVec::new(
                options("fanfare_hook_retries_total", "Further tries of questions to the user's backend."),
                &["hook"],
            )?,
            seconds: HistogramVec::new(seconds.buckets(buckets), &["hook"])?,
            in_flight: IntGaugeVec::new(
                options("fanfare_hook_in_flight", "Questions to the user's backend that are under way."),
                &["hook"],
            )?,
            breaker: IntGaugeVec::new(
                options("fanfare_hook_breaker_state", "Whether a backend is asked: 0 yes, 1 one question tries, 2 no."),
                &["hook"],
            )?,
        })
    }

    /// What a registry takes.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.calls.clone()),
            Box::new(self.retries.clone()),
            Box::new(self.seconds.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.breaker.clone()),
        ]
    }

    pub(crate) fn of(&self, hook: Hook) -> HookMetrics {
        let name = hook.name();
        HookMetrics {
            calls: Outcome::ALL.map(|outcome| self.calls.with_label_values(&[name, outcome.label()])),
            retries: self.retries.with_label_values(&[name]),
            seconds: self.seconds.with_label_values(&[name]),
            in_flight: self.in_flight.with_label_values(&[name]),
            breaker: self.breaker.with_label_values(&[name]),
        }
    }
}
