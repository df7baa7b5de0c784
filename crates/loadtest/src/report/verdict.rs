//! What a run comes to, in a word and with reasons.

use std::fmt;

use super::{Outcome, Report, units};
use crate::plan::Scenario;

/// What a run comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything came, and was as it had to be.
    Good,
    /// Something was lost, doubled or reordered.
    Damaged,
    /// An objective was not kept, the server has not taken every publication, or nobody was away who should have been.
    Missed,
    /// The run measured the tester or its machine, and says little of the server.
    Invalid,
}

impl Verdict {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Damaged => "damaged",
            Self::Missed => "missed",
            Self::Invalid => "not valid",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Good => "nothing was lost, doubled or reordered",
            Self::Damaged => "not every delivery came once and in order",
            Self::Missed => "what was asked for was not reached",
            Self::Invalid => "the tester or its machine was measured, not the server",
        }
    }
}

/// Its word and what it means, in a line.
impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.word(), self.meaning())
    }
}

impl Report {
    /// What the run comes to. Damage and what was missed come before doubts about the run: what was lost is lost.
    pub fn verdict(&self) -> Verdict {
        if self.damage() > 0 {
            Verdict::Damaged
        } else if !self.missed().is_empty() {
            Verdict::Missed
        } else if !self.valid {
            Verdict::Invalid
        } else {
            Verdict::Good
        }
    }

    /// Why the verdict is not a good one, whichever it is: everything that is wrong with the run.
    pub fn reasons(&self) -> Vec<String> {
        let doubts = self.invalid_because.iter().map(|doubt| format!("not valid: {doubt}"));
        self.damages().into_iter().chain(self.missed()).chain(doubts).collect()
    }

    fn damages(&self) -> Vec<String> {
        let Some(deliveries) = self.deliveries else { return Vec::new() };
        let kinds = [("lost", deliveries.lost), ("doubled", deliveries.doubled), ("reordered", deliveries.reordered)];
        let seen = kinds.into_iter().filter(|(_, times)| *times > 0);
        let seen = seen.map(|(kind, times)| {
            format!("{kind}: {} of {} deliveries", units::count(times), units::count(deliveries.expected))
        });
        let told = Some(deliveries.told_losses).filter(|told| *told > 0 && deliveries.lost > 0);
        let told = told
            .map(|told| format!("told by the server: {} that it cannot catch up", units::counted(told, "subscriber")));
        seen.chain(told).collect()
    }

    fn missed(&self) -> Vec<String> {
        let objectives = self.objectives.iter().filter(|outcome| !outcome.kept).map(missed_objective);
        let search = self.search.iter().filter(|search| search.rate.is_none());
        let search = search.map(|search| format!("missed: {} at every rate that was tried", search.objective));
        let others = [self.not_taken(), self.not_there(), self.not_kept(), self.not_recovered(), self.not_done()];
        objectives.chain(search).chain(others.into_iter().flatten()).collect()
    }

    /// Connections that were gone at the end.
    fn not_there(&self) -> Option<String> {
        let gone = self.connections.ready.saturating_sub(self.connections.ready_at_end);
        (gone > 0).then(|| format!("not there at the end: {}", units::counted(gone as u64, "connection")))
    }

    /// A connection that ends counts as loss, unless it came back with its position and what it missed. That of a slow
    /// reader may end.
    fn not_kept(&self) -> Option<String> {
        let closed = match self.publications {
            Some(_) => self.connections.closed_without_position,
            None => self.connections.closed_of_others(self.slow),
        };
        (closed > 0).then(|| format!("closed by the server: {}", units::counted(closed, "connection")))
    }

    /// Who has no position cannot catch up, which is what this scenario is about.
    fn not_recovered(&self) -> Option<String> {
        let excused = self.deliveries.map_or(0, |deliveries| deliveries.excused);
        let asked = self.asked.scenario == Scenario::Recover.word();
        (asked && excused > 0).then(|| "not recovered: the server gave no positions, so it keeps no history".to_owned())
    }

    /// A run in which nobody was away says nothing of coming back.
    pub(crate) fn not_done(&self) -> Option<String> {
        let away = self.away.filter(|away| away.done == 0)?;
        let asked = units::count(away.asked);
        Some(match away.asked_per_second {
            Some(_) => format!("not done: none of the {asked} that were to go went and came back"),
            None => format!("not done: none of the {asked} connections was cut"),
        })
    }

    /// What the tester did not send, since too much was on its way, is a doubt about the run and no fault of the server.
    fn not_taken(&self) -> Option<String> {
        let published = self.publications.as_ref()?;
        let open = published.due.saturating_sub(published.acknowledged + published.over_bound);
        (open > 0).then(|| {
            format!(
                "not acknowledged: {} of {} publications, {} of them refused",
                units::count(open),
                units::count(published.due),
                units::count(published.refused)
            )
        })
    }
}

fn missed_objective(outcome: &Outcome) -> String {
    match outcome.measured(units::number) {
        Some(measured) => format!("missed: {}, measured {measured}", outcome.objective),
        None => format!("missed: {}, not measured", outcome.objective),
    }
}

impl Outcome {
    /// What was measured, in a unit for people; plain numbers as they are to be written.
    pub(super) fn measured(&self, plain: fn(f64) -> String) -> Option<String> {
        // A bound has a unit if it is a time, and none otherwise: us, ms or s.
        let is_time = self.objective.trim_end().ends_with('s');
        self.measured.map(|measured| if is_time { units::time(measured) } else { plain(measured) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Away, Slow, sample};

    #[test]
    fn damage_comes_before_what_was_missed_and_that_before_doubts() {
        let mut report = sample::quiet();
        assert_eq!((report.verdict(), report.reasons()), (Verdict::Good, Vec::new()));
        (report.valid, report.invalid_because) = (false, vec!["the publisher was late".to_owned()]);
        assert_eq!(report.verdict(), Verdict::Invalid);
        report.objectives = vec![Outcome { objective: "p99<50ms".to_owned(), measured: Some(61_200.0), kept: false }];
        assert_eq!(report.verdict(), Verdict::Missed);
        report.deliveries.as_mut().unwrap().lost = 1_200;
        assert_eq!(report.verdict(), Verdict::Damaged);
        let why = [
            "lost: 1,200 of 550,000 deliveries",
            "missed: p99<50ms, measured 61.2 ms",
            "not valid: the publisher was late",
        ];
        assert_eq!(report.reasons(), why);
    }

    #[test]
    fn a_server_that_takes_nothing_is_not_good() {
        let mut report = sample::quiet();
        let published = report.publications.as_mut().unwrap();
        (published.acknowledged, published.refused) = (0, 550);
        assert_eq!(report.verdict(), Verdict::Missed);
        assert_eq!(report.reasons(), ["not acknowledged: 550 of 550 publications, 550 of them refused"]);
    }

    #[test]
    fn what_was_not_sent_for_the_bound_is_not_the_servers_fault() {
        let mut report = sample::quiet();
        (report.valid, report.invalid_because) = (false, vec!["50 publications were not sent".to_owned()]);
        let published = report.publications.as_mut().unwrap();
        (published.acknowledged, published.over_bound) = (500, 50);
        assert_eq!(report.verdict(), Verdict::Invalid);
        report.publications.as_mut().unwrap().acknowledged = 499;
        assert_eq!(report.verdict(), Verdict::Missed);
    }

    #[test]
    fn a_connection_that_was_closed_and_cannot_recover_has_lost() {
        let mut report = sample::quiet();
        report.connections.closed.insert(3_001, 2);
        assert_eq!(report.verdict(), Verdict::Good);
        report.connections.closed_without_position = 2;
        assert_eq!(report.reasons(), ["closed by the server: 2 connections"]);
        report.connections.closed_without_position = 0;
        // Where nothing is published there is nothing to recover.
        report.publications = None;
        assert_eq!(report.reasons(), ["closed by the server: 2 connections"]);
        report.slow = Some(Slow { connections: 2, closed: 2, ..Slow::default() });
        assert_eq!(report.verdict(), Verdict::Good);
    }

    #[test]
    fn defect_a_recovery_without_a_history_passed_as_good() {
        let mut report = sample::quiet();
        report.asked.scenario = "recover".to_owned();
        report.deliveries.as_mut().unwrap().excused = 550_000;
        assert_eq!(report.reasons(), ["not recovered: the server gave no positions, so it keeps no history"]);
    }

    #[test]
    fn defect_a_run_in_which_nobody_came_or_went_passed_as_good() {
        let mut report = sample::quiet();
        let away = Away { asked: 1_200, ..Away::default() };
        report.away = Some(away);
        assert_eq!(report.verdict(), Verdict::Missed);
        assert_eq!(report.reasons(), ["not done: none of the 1,200 connections was cut"]);
        report.away = Some(Away { asked_per_second: Some(100.0), ..away });
        assert_eq!(report.reasons(), ["not done: none of the 1,200 that were to go went and came back"]);
        report.away = Some(Away { done: 1, ..away });
        assert_eq!(report.verdict(), Verdict::Good);
    }

    #[test]
    fn what_was_not_measured_is_said() {
        let number = |measured| Outcome { objective: "sessions_per_second>5000".to_owned(), measured, kept: false };
        assert_eq!(missed_objective(&number(None)), "missed: sessions_per_second>5000, not measured");
        assert_eq!(missed_objective(&number(Some(1_234.0))), "missed: sessions_per_second>5000, measured 1,234");
    }
}
