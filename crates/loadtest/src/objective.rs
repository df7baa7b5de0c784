//! What a run has to reach, as `p99<50ms` says it.

use std::fmt;
use std::str::FromStr;

use crate::latency::Percentiles;
use crate::report::{Outcome, Report};

/// The measurements that an objective can be about, with whether it is a time.
const MEASUREMENTS: [(&str, bool); 18] = [
    ("p50", true),
    ("p90", true),
    ("p99", true),
    ("p99.9", true),
    ("max", true),
    ("mean", true),
    ("last_p50", true),
    ("last_p99", true),
    ("last_max", true),
    ("recovered_p99", true),
    ("return_p99", true),
    ("connect_p99", true),
    ("answer_p99", true),
    ("cpu_per_delivery", true),
    ("memory_per_connection", false),
    ("sessions_per_second", false),
    ("returns_per_second", false),
    ("deliveries_per_second", false),
];

/// A measurement, and a bound that it has to keep.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    measurement: &'static str,
    below: bool,
    /// Microseconds, or a plain number.
    bound: f64,
    text: String,
}

/// What is wrong with an objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectiveError {
    /// It has no `<` or `>`.
    #[error("\"{0}\" is not of the form p99<50ms")]
    Form(String),
    /// There is no such measurement.
    #[error("there is no measurement \"{name}\"; there are {known}")]
    Unknown {
        /// What was given.
        name: String,
        /// All that there are.
        known: String,
    },
    /// The bound is no time, or no number.
    #[error("\"{bound}\" is no {wanted}")]
    Bound {
        /// What was given.
        bound: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, ObjectiveError> {
        let at = text.find(['<', '>']).ok_or_else(|| ObjectiveError::Form(text.to_owned()))?;
        let (name, bound) = (text[..at].trim(), text[at + 1..].trim_start_matches('=').trim());
        let known = MEASUREMENTS.iter().find(|(known, _)| *known == name);
        let (measurement, is_time) = *known.ok_or_else(|| ObjectiveError::Unknown {
            name: name.to_owned(),
            known: MEASUREMENTS.map(|(name, _)| name).join(", "),
        })?;
        let value = if is_time { microseconds(bound) } else { bound.parse().ok() };
        let value = value.filter(|value: &f64| value.is_finite() && *value >= 0.0);
        let wanted = if is_time { "time such as 500us, 50ms or 1.5s" } else { "number" };
        let bound = value.ok_or_else(|| ObjectiveError::Bound { bound: bound.to_owned(), wanted })?;
        Ok(Self { measurement, below: text[at..].starts_with('<'), bound, text: text.to_owned() })
    }
}

fn microseconds(text: &str) -> Option<f64> {
    let digits = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let factor = match &text[digits..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(text[..digits].trim().parse::<f64>().ok()? * factor)
}

impl fmt::Display for Objective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Objective {
    /// Whether a run has kept it.
    pub fn judge(&self, report: &Report) -> Outcome {
        let measured = self.measured(report);
        let kept = measured.is_some_and(|measured| self.holds(measured));
        Outcome { objective: self.text.clone(), measured, kept }
    }

    /// The same for an objective that names what must not be: `--fail-if 'p99>50ms'`.
    pub fn judge_forbidden(&self, report: &Report) -> Outcome {
        let measured = self.measured(report);
        let kept = measured.is_some_and(|measured| !self.holds(measured));
        Outcome { objective: format!("not {}", self.text), measured, kept }
    }

    fn holds(&self, measured: f64) -> bool {
        if self.below { measured < self.bound } else { measured > self.bound }
    }

    fn measured(&self, report: &Report) -> Option<f64> {
        let of = |percentiles: Option<Percentiles>, read: fn(&Percentiles) -> f64| percentiles.as_ref().map(read);
        let (latency, last) = (report.latency_us, report.last_latency_us);
        match self.measurement {
            "p50" => of(latency, |read| read.p50),
            "p90" => of(latency, |read| read.p90),
            "p99" => of(latency, |read| read.p99),
            "p99.9" => of(latency, |read| read.p999),
            "max" => of(latency, |read| read.max),
            "mean" => of(latency, |read| read.mean),
            "last_p50" => of(last, |read| read.p50),
            "last_p99" => of(last, |read| read.p99),
            "last_max" => of(last, |read| read.max),
            "recovered_p99" => of(report.recovered_latency_us, |read| read.p99),
            "return_p99" => of(report.connections.return_us, |read| read.p99),
            "connect_p99" => of(report.connections.connect_us, |read| read.p99),
            "answer_p99" => of(report.publications.as_ref().and_then(|published| published.answer_us), |read| read.p99),
            "cpu_per_delivery" => report.server.as_ref().and_then(|server| server.cpu_us_per_delivery),
            "memory_per_connection" => report.server.as_ref().and_then(|server| server.resident_bytes_per_connection),
            "returns_per_second" => report.connections.returns_per_second,
            "sessions_per_second" => Some(report.connections.sessions_per_second),
            _ => report.deliveries.map(|deliveries| deliveries.per_second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read() {
        let read: Objective = "p99 < 50ms".parse().unwrap();
        assert_eq!((read.measurement, read.below, read.bound), ("p99", true, 50_000.0));
        let read: Objective = "deliveries_per_second>1000".parse().unwrap();
        assert_eq!((read.below, read.bound), (false, 1_000.0));
        assert!(read.holds(1_001.0) && !read.holds(1_000.0));
    }

    #[test]
    fn what_cannot_be_read_is_explained() {
        let refused = |text: &str| text.parse::<Objective>().unwrap_err().to_string();
        assert_eq!(refused("p99"), "\"p99\" is not of the form p99<50ms");
        assert!(refused("p98<1ms").starts_with("there is no measurement \"p98\"; there are p50, "));
        assert_eq!(refused("p99<50"), "\"50\" is no time such as 500us, 50ms or 1.5s");
        assert_eq!(refused("sessions_per_second>x"), "\"x\" is no number");
    }
}
