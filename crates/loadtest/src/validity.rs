//! Whether a run measured the server, or the tester and its machine.

/// The publisher's 99th percentile of lateness, at most: 1 ms.
const LATENESS_P99_MAX_US: f64 = 1_000.0;
/// The share of a run that a loader thread may have waited for a core.
const WAITED_MAX: f64 = 0.05;
/// The share of the machine's time that others on its host may have taken.
const STOLEN_MAX: f64 = 0.02;

/// What decides on a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Evidence {
    pub(crate) lateness_p99_us: f64,
    /// Publications that were not written at their time because too many were on their way.
    pub(crate) over_bound: u64,
    pub(crate) waited: f64,
    pub(crate) stolen: f64,
}

/// Why a run cannot be believed; nothing if it can.
pub(crate) fn doubts(evidence: &Evidence) -> Vec<String> {
    let Evidence { lateness_p99_us, over_bound, waited, stolen } = *evidence;
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
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
    if waited > WAITED_MAX {
        doubts.push(format!("a loader thread waited for a core for {} of the run, 5 % is allowed", percent(waited)));
    }
    if stolen > STOLEN_MAX {
        doubts.push(format!("{} of the machine's time was stolen by its host, 2 % is allowed", percent(stolen)));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_within_all_bounds_is_believed() {
        let at_the_bounds = Evidence { lateness_p99_us: 1_000.0, over_bound: 0, waited: 0.05, stolen: 0.02 };
        assert_eq!(doubts(&at_the_bounds), [""; 0]);
    }

    #[test]
    fn every_bound_is_a_doubt_of_its_own() {
        let bad = Evidence { lateness_p99_us: 1_001.0, over_bound: 1, waited: 0.06, stolen: 0.03 };
        assert_eq!(doubts(&bad).len(), 4);
        assert!(doubts(&Evidence { waited: 0.06, ..Evidence::default() })[0].contains("6.0 %"));
    }
}
