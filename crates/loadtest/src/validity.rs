//! Whether a run measured the server, or the tester and its machine.

use crate::meter::Spent;

/// The publisher's 99th percentile of lateness, at most: 1 ms.
const LATENESS_P99_MAX_US: f64 = 1_000.0;
/// The share of a run that a loader thread may have waited for a core.
const WAITED_MAX: f64 = 0.05;
/// The share of the machine's time that others on its host may have taken.
const STOLEN_MAX: f64 = 0.02;

/// A part of a run in which something is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// While was published, or watched.
    Whole,
    /// Until all connections were ready.
    Connecting,
    /// From the last publication until everyone had it.
    Returning,
}

impl Phase {
    fn words(self) -> &'static str {
        match self {
            Self::Whole => "the run",
            Self::Connecting => "the time of connecting",
            Self::Returning => "the time of coming back",
        }
    }
}

/// What decides on a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    pub(crate) lateness_p99_us: f64,
    /// Publications that were not written at their time because too many were on their way.
    pub(crate) over_bound: u64,
    pub(crate) phases: Vec<(Phase, Spent)>,
}

/// Why a run cannot be believed; nothing if it can.
pub(crate) fn doubts(evidence: &Evidence) -> Vec<String> {
    let Evidence { lateness_p99_us, over_bound, ref phases } = *evidence;
    let mut doubts = Vec::new();
    if lateness_p99_us > LATENESS_P99_MAX_US {
        doubts.push(format!(
            "the publisher was late: 1 % of its publications by more than {:.1} ms, 1 ms is allowed",
            lateness_p99_us / 1e3
        ));
    }
    if over_bound > 0 {
        doubts.push(format!("{over_bound} publications were not sent, since too many had no answer yet"));
    }
    doubts.extend(phases.iter().flat_map(|(phase, spent)| crowded(*phase, spent)));
    doubts
}

/// Whether the tester had its cores in this part of the run.
fn crowded(phase: Phase, spent: &Spent) -> Vec<String> {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let (of, mut doubts) = (phase.words(), Vec::new());
    if spent.waited.is_none() {
        doubts.push(format!(
            "how long the loader threads waited for a core in {of} is not known: the kernel does not count it"
        ));
    }
    if spent.stolen.is_none() {
        doubts.push(format!(
            "how much of {of} was stolen by the machine's host is not known: the kernel does not count it"
        ));
    }
    if let Some(waited) = spent.waited.filter(|waited| *waited > WAITED_MAX) {
        doubts.push(format!("a loader thread waited for a core for {} of {of}, 5 % is allowed", percent(waited)));
    }
    if let Some(stolen) = spent.stolen.filter(|stolen| *stolen > STOLEN_MAX) {
        doubts
            .push(format!("in {of} {} of the machine's time was stolen by its host, 2 % is allowed", percent(stolen)));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(lateness_p99_us: f64, over_bound: u64, [waited, stolen]: [f64; 2]) -> Evidence {
        let spent = |waited, stolen| Spent { waited: Some(waited), stolen: Some(stolen), ..Spent::default() };
        let phases = vec![(Phase::Connecting, spent(0.0, 0.0)), (Phase::Whole, spent(waited, stolen))];
        Evidence { lateness_p99_us, over_bound, phases }
    }

    #[test]
    fn a_run_within_all_bounds_is_believed() {
        assert_eq!(doubts(&evidence(1_000.0, 0, [0.05, 0.02])), [""; 0]);
    }

    #[test]
    fn every_bound_is_a_doubt_of_its_own() {
        assert_eq!(doubts(&evidence(1_001.0, 1, [0.06, 0.03])).len(), 4);
        assert!(doubts(&evidence(0.0, 0, [0.06, 0.0]))[0].contains("6.0 % of the run"));
    }

    #[test]
    fn what_is_not_known_is_a_doubt() {
        let told = doubts(&Evidence { phases: vec![(Phase::Whole, Spent::default())], ..Evidence::default() });
        assert!(told.len() == 2 && told.iter().all(|doubt| doubt.contains("is not known")), "{told:?}");
    }
}
