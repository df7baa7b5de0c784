//! The highest rate that a server holds, and what kept it from holding more: itself, or the load tester.

use serde::{Deserialize, Serialize};

use super::contest::Answer;
use super::result::Measured;

/// A rate is found to a twentieth of itself.
const STEP: f64 = 1.05;

/// What is looked for in short runs is only where to begin: to a tenth.
const SEARCH_STEP: f64 = 1.1;

/// Runs of a round that finds the rate held that it begins with. The whole length of a run is spent on few rates, near the
/// one that was found before.
pub(crate) const RUNS_MAX: usize = 4;

/// A server whose outboxes grow by a twentieth of what it is given is half a second late after ten seconds. One of which
/// the slowest hundredth is this late does not hold its rate.
const HELD_P99_US_MAX: f64 = 250_000.0;

/// A server that used less of its core when a rate was refused could have done more: the load tester was what saturated.
pub(crate) const BUSY_CORES_MIN: f64 = 0.9;

/// What came of a round: the highest rate that was held, and the rate that was refused last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) rate: Option<u32>,
    pub(crate) refusal: Option<Refusal>,
}

/// A rate that was not held, and what was seen then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) rate: u32,
    pub(crate) cause: Cause,
    /// CPU time of the server for each second.
    pub(crate) server_cores: f64,
    /// Whether the load tester says of itself that it was held up.
    pub(crate) tester_held_up: bool,
}

/// Why a rate was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Cause {
    Closed,
    NotTaken,
    Lost,
    Late,
}

impl Cause {
    /// Nothing if the rate was held.
    fn of(run: &Measured) -> Option<Self> {
        match run {
            _ if run.closed => Some(Self::Closed),
            _ if run.acknowledged < run.due => Some(Self::NotTaken),
            _ if !run.is_whole() => Some(Self::Lost),
            _ if run.p99_us >= HELD_P99_US_MAX => Some(Self::Late),
            _ => None,
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::NotTaken => "not taken",
            Self::Lost => "lost",
            Self::Late => "p99",
        }
    }
}

impl Refusal {
    /// From a run at this rate; nothing if it was held. What arrived in time was held, however the load tester fared.
    pub(crate) fn of(rate: u32, run: &Measured) -> Option<Self> {
        let (server_cores, tester_held_up) = (run.server_cores, run.is_tester_held_up());
        Cause::of(run).map(|cause| Self { rate, cause, server_cores, tester_held_up })
    }

    fn is_of_the_tester(&self) -> bool {
        self.tester_held_up || self.server_cores < BUSY_CORES_MIN
    }

    fn words(&self) -> String {
        let Self { rate, cause, server_cores, .. } = self;
        let held_up = if self.tester_held_up { ", load tester held up" } else { "" };
        format!("{rate} refused: {}, server {server_cores:.2} cores{held_up}", cause.words())
    }
}

impl Held {
    /// Whether the server may hold more: it was not seen to fail, or that may have been the load tester's doing.
    pub(crate) fn is_a_bound(&self) -> bool {
        self.refusal.as_ref().is_none_or(Refusal::is_of_the_tester)
    }

    /// Where the next round begins.
    pub(crate) fn next(&self) -> Option<u32> {
        self.rate.or_else(|| self.refusal.as_ref().map(|refusal| refusal.rate))
    }

    pub(crate) fn words(&self) -> String {
        let least = if self.is_a_bound() { "at least " } else { "" };
        let held = |rate: u32| format!("{least}{rate} publications a second");
        let rate = self.rate.map_or_else(|| "none".to_owned(), held);
        let refused = self.refusal.as_ref().map_or_else(|| "nothing was refused".to_owned(), Refusal::words);
        format!("{rate}; {refused}")
    }
}

/// About where to begin: doubles the rate until it is refused, then halves what is in question. The first rate if not even
/// that is held.
pub(crate) fn search(first: u32, mut refusal: impl FnMut(u32) -> Answer<Option<Refusal>>) -> Answer<u32> {
    let (mut held, mut refused) = (first, first);
    while refusal(refused)?.is_none() {
        held = refused;
        refused = refused.saturating_mul(2);
    }
    while f64::from(refused) > f64::from(held) * SEARCH_STEP && refused - held > 1 {
        let middle = u32::midpoint(held, refused);
        if refusal(middle)?.is_none() { held = middle } else { refused = middle }
    }
    Ok(held)
}

/// From a rate that was found before: steps up from it while they are held, in [`RUNS_MAX`] runs; or down until one is,
/// however many that takes.
pub(crate) fn verify(near: u32, mut refusal: impl FnMut(u32) -> Answer<Option<Refusal>>) -> Answer<Held> {
    match refusal(near)? {
        None => climb(near, refusal),
        Some(first) => descend(near, first, refusal),
    }
}

fn climb(mut rate: u32, mut refusal: impl FnMut(u32) -> Answer<Option<Refusal>>) -> Answer<Held> {
    for _ in 1..RUNS_MAX {
        let next = (f64::from(rate) * STEP).ceil() as u32;
        if let Some(refused) = refusal(next)? {
            return Ok(Held { rate: Some(rate), refusal: Some(refused) });
        }
        rate = next;
    }
    Ok(Held { rate: Some(rate), refusal: None })
}

/// Each step is twice as long as the one before: the fourth run is at 0.71 of the first, the seventh at 0.05.
fn descend(near: u32, mut refused: Refusal, mut refusal: impl FnMut(u32) -> Answer<Option<Refusal>>) -> Answer<Held> {
    let (mut rate, mut step) = (f64::from(near), STEP);
    while rate > 1.0 {
        (rate, step) = (rate / step, step * step);
        let asked = (rate as u32).max(1);
        let Some(lower) = refusal(asked)? else {
            return Ok(Held { rate: Some(asked), refusal: Some(refused) });
        };
        refused = lower;
    }
    Ok(Held { rate: None, refusal: Some(refused) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Measured {
        Measured {
            expected: 10.0,
            received: 10.0,
            due: 1.0,
            acknowledged: 1.0,
            server_cores: 0.99,
            ..Measured::default()
        }
    }

    /// A server that holds this rate and no more, and the rates that it was asked for.
    fn limit(most: u32, asked: &mut Vec<u32>) -> impl FnMut(u32) -> Answer<Option<Refusal>> {
        move |rate| {
            asked.push(rate);
            let run = Measured { p99_us: if rate > most { HELD_P99_US_MAX } else { 0.0 }, ..whole() };
            Ok(Refusal::of(rate, &run))
        }
    }

    #[test]
    fn the_search_comes_within_a_tenth() {
        for most in [50, 77, 240, 4_999] {
            let found = search(50, limit(most, &mut Vec::new())).unwrap();
            assert!(found <= most && f64::from(most) <= f64::from(found) * SEARCH_STEP + 1.0, "{found} of {most}");
        }
        assert_eq!(search(50, limit(49, &mut Vec::new())).unwrap(), 50);
    }

    #[test]
    fn a_round_comes_within_a_twentieth_in_few_runs() {
        for most in [191, 200, 209, 230] {
            let mut asked = Vec::new();
            let found = verify(200, limit(most, &mut asked)).unwrap();
            let rate = found.rate.unwrap();
            assert!(rate <= most && f64::from(most) <= f64::from(rate) * STEP + 2.0, "{rate} of {most}");
            assert!(asked.len() <= RUNS_MAX && !found.is_a_bound() && found.refusal.unwrap().rate > most);
        }
    }

    #[test]
    fn one_that_has_become_much_slower_is_found_coarsely() {
        let mut asked = Vec::new();
        assert_eq!(verify(200, limit(150, &mut asked)).unwrap().rate, Some(142));
        assert_eq!(asked, [200, 190, 172, 142]);
        let slower = verify(200, limit(100, &mut Vec::new())).unwrap();
        assert_eq!((slower.rate, slower.next()), (Some(96), Some(96)));
        let none = verify(200, limit(0, &mut Vec::new())).unwrap();
        assert_eq!((none.rate, none.next()), (None, Some(1)));
    }

    #[test]
    fn what_was_never_refused_is_a_bound() {
        let found = verify(200, limit(1_000, &mut Vec::new())).unwrap();
        assert!(found.is_a_bound() && found.refusal.is_none());
        assert_eq!(found.rate, Some(233));
        assert_eq!(found.words(), "at least 233 publications a second; nothing was refused");
    }

    #[test]
    fn a_refusal_with_half_a_core_or_by_a_tester_that_was_held_up_is_a_bound() {
        let held = |run: Measured| Held { rate: Some(100), refusal: Refusal::of(105, &run) };
        let late = Measured { p99_us: HELD_P99_US_MAX, ..whole() };
        assert!(!held(late.clone()).is_a_bound());
        let idle = held(Measured { server_cores: 0.5, ..late.clone() });
        assert_eq!(idle.words(), "at least 100 publications a second; 105 refused: p99, server 0.50 cores");
        let late_itself = Measured { invalid_because: vec!["the publisher was late".to_owned()], ..late };
        assert!(held(late_itself.clone()).is_a_bound());
        // That too many were without an answer is the server's doing, and no reason by itself.
        assert!(!held(Measured { over_bound: 5.0, ..late_itself }).is_a_bound());
    }

    #[test]
    fn a_refusal_says_what_was_wrong() {
        let cause = |run: Measured| Refusal::of(105, &run).map(|refusal| refusal.cause);
        assert_eq!(cause(whole()), None);
        assert_eq!(cause(Measured { wrong: 1.0, ..whole() }), Some(Cause::Lost));
        assert_eq!(cause(Measured { received: 9.0, closed: true, ..whole() }), Some(Cause::Closed));
        assert_eq!(cause(Measured { acknowledged: 0.0, ..whole() }), Some(Cause::NotTaken));
    }
}
