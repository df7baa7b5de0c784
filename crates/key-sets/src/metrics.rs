//! How fetching goes, for Prometheus: by issuer, as the configuration calls it, and by result. Both are closed sets (I12).

use prometheus::core::Collector;
use prometheus::{IntCounterVec, Opts};

use crate::fetch::FetchError;

/// What became of a fetch, as a label: `ok`, or why it failed.
pub(crate) const RESULTS: [&str; 10] =
    ["ok", "address", "connect", "http", "timeout", "redirect", "status", "body", "discovery", "key_set"];

/// What fetching counts. Clones count into the same counters: one for all issuers of a node.
#[derive(Debug, Clone)]
pub struct Metrics {
    fetches: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        let options = Opts::new(
            "fanfare_key_sets_fetches_total",
            "Times that the keys of an issuer were fetched, by issuer and result: ok, or why it failed.",
        );
        let fetches = IntCounterVec::new(options, &["issuer", "result"]).expect("name and labels are constants");
        Self { fetches }
    }
}

impl Metrics {
    /// For the registry.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.fetches.clone())
    }

    /// Shows an issuer with 0 of everything from the start.
    pub(crate) fn show(&self, issuer: &str) {
        RESULTS.iter().for_each(|result| drop(self.fetches.with_label_values(&[issuer, result])));
    }

    pub(crate) fn fetched<T>(&self, issuer: &str, fetched: &Result<T, FetchError>) {
        let result = fetched.as_ref().err().map_or("ok", FetchError::label);
        self.fetches.with_label_values(&[issuer, result]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_label_of_the_set() {
        let errors = [
            FetchError::Connect(std::io::ErrorKind::Other.into()),
            FetchError::ServerName,
            FetchError::TimedOut,
            FetchError::Redirect(302),
            FetchError::Status(500),
            FetchError::Body,
            FetchError::Discovery("is of another issuer"),
        ];
        assert!(errors.iter().all(|error| RESULTS.contains(&error.label())));
        let metrics = Metrics::default();
        metrics.show("id");
        metrics.fetched::<()>("id", &Err(FetchError::TimedOut));
        metrics.fetched("id", &Ok(()));
        let family = metrics.collector().collect().remove(0);
        assert_eq!(family.get_metric().len(), RESULTS.len());
        assert_eq!(family.get_metric().iter().map(|row| row.get_counter().get_value()).sum::<f64>(), 2.0);
    }
}
