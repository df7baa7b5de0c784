//! Counters of the server API. All labels come from closed sets (I12).

use prometheus::core::Collector;
use prometheus::{IntCounterVec, Opts};

use crate::caller::Reason;
use crate::error::Failure;

/// What the server API counts. Clones count into the same counters.
#[derive(Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    denied: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        let options = Opts::new(
            "fanfare_api_requests_total",
            "Calls of the server API, commands in batches included, by method and result: ok, an error code, or an HTTP status.",
        );
        let requests =
            IntCounterVec::new(options, &["method", "result"]).expect("name and labels are valid and constant");
        let options = Opts::new(
            "fanfare_api_denials_total",
            "Calls of the server API denied for want of a right, commands in batches included, by reason: no_key, unknown_key, scope, channel.",
        );
        let denied = IntCounterVec::new(options, &["reason"]).expect("name and label are valid and constant");
        // A reason that has not come up yet is shown as 0.
        Reason::ALL.into_iter().for_each(|reason| drop(denied.with_label_values(&[reason.label()])));
        Self { requests, denied }
    }
}

impl Metrics {
    /// For the registry.
    pub fn collectors(&self) -> [Box<dyn Collector>; 2] {
        [Box::new(self.requests.clone()), Box::new(self.denied.clone())]
    }

    /// Counts a denial, and leaves the reason to the counter.
    pub(crate) fn judged<T, E>(&self, verdict: Result<T, (Reason, E)>) -> Result<T, E> {
        verdict.map_err(|(reason, error)| {
            self.denied.with_label_values(&[reason.label()]).inc();
            error
        })
    }

    pub(crate) fn succeeded(&self, method: &str) {
        self.requests.with_label_values(&[method, "ok"]).inc();
    }

    pub(crate) fn failed(&self, method: &str, failure: &Failure) {
        let result = match failure.status() {
            Some(status) => format!("http_{}", status.as_u16()),
            None => failure.code().code().to_string(),
        };
        self.requests.with_label_values(&[method, &result]).inc();
    }
}
