//! Histograms of how late things were.

use hdrhistogram::Histogram;
use serde::Serialize;

/// What is measured lies between a microsecond and ten minutes; beyond that it counts as ten minutes.
const NANOSECONDS: std::ops::RangeInclusive<u64> = 1_000..=600_000_000_000;

/// The percentiles of the curve: up to the one that a run of this size can tell.
const CURVE: [f64; 16] =
    [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999, 100.0];

/// Latencies in nanoseconds, to three digits.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
}

impl Latencies {
    /// To so many digits, 1 to 3: what is kept once a second has to be small.
    pub(crate) fn with_digits(digits: u8) -> Self {
        let histogram = Histogram::new_with_bounds(*NANOSECONDS.start(), *NANOSECONDS.end(), digits);
        Self { histogram: histogram.expect("the bounds are constants and up to three digits are allowed") }
    }

    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds.max(1));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all histograms have the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Nanoseconds at a percentile.
    pub(crate) fn at(&self, percentile: f64) -> u64 {
        self.histogram.value_at_percentile(percentile)
    }

    /// `None` if nothing was recorded.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        if self.count() == 0 {
            return None;
        }
        let at = |percentile| microseconds(self.at(percentile));
        Some(Percentiles {
            count: self.count(),
            mean: self.histogram.mean() / 1e3,
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: microseconds(self.histogram.max()),
        })
    }

    /// Percentiles with their microseconds.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        let told = |percentile: &f64| *percentile == 100.0 || (100.0 - percentile) / 100.0 * self.count() as f64 >= 1.0;
        CURVE.into_iter().filter(told).map(|percentile| (percentile, microseconds(self.at(percentile)))).collect()
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::with_digits(3)
    }
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// A histogram in short, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many were recorded.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half were no later.
    pub p50: f64,
    /// 90 % were no later.
    pub p90: f64,
    /// 99 % were no later.
    pub p99: f64,
    /// 99.9 % were no later.
    pub p999: f64,
    /// The latest.
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_microseconds() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentiles(), None);
        (1..=1_000).for_each(|number| latencies.record(number * 1_000_000));
        let read = latencies.percentiles().unwrap();
        assert_eq!(read.count, 1_000);
        assert!((read.p50 - 500_000.0).abs() < 1_000.0, "{read:?}");
        assert!((read.max - 1_000_000.0).abs() < 2_000.0, "{read:?}");
    }

    #[test]
    fn a_curve_ends_where_the_run_can_tell_no_more() {
        let mut latencies = Latencies::default();
        (0..200).for_each(|_| latencies.record(5_000));
        let shown: Vec<f64> = latencies.curve().into_iter().map(|(percentile, _)| percentile).collect();
        assert_eq!(shown[shown.len() - 2..], [99.5, 100.0]);
    }

    #[test]
    fn what_is_out_of_bounds_counts_as_the_bound() {
        let mut latencies = Latencies::default();
        latencies.record(u64::MAX);
        latencies.record(0);
        assert_eq!(latencies.count(), 2);
    }
}
