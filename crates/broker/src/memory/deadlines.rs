//! When to look at something again, in order of time.
//!
//! Each thing has exactly one entry, is told its time, and takes its entry out with it: nothing stale is left
//! behind, so the set is never larger than what it watches. What is due may turn out to live longer; then it
//! is scheduled again. This keeps a publish to a busy channel from touching the set at all.

use std::collections::BTreeSet;
use std::time::Instant;

/// A set of deadlines. Each operation costs O(log n), asking whether anything is due likewise.
#[derive(Debug)]
pub(super) struct Deadlines<K>(BTreeSet<(Instant, K)>);

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Ord> Deadlines<K> {
    pub(super) fn schedule(&mut self, at: Instant, key: K) {
        self.0.insert((at, key));
    }

    pub(super) fn cancel(&mut self, at: Instant, key: K) {
        self.0.remove(&(at, key));
    }

    pub(super) fn any_due(&self, now: Instant) -> bool {
        self.0.first().is_some_and(|(at, _)| *at <= now)
    }

    /// Takes out the earliest, if it is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<K> {
        if !self.any_due(now) {
            return None;
        }
        self.0.pop_first().map(|(_, key)| key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn due_ones_come_out_in_order_of_time_and_the_others_stay() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        deadlines.schedule(at(3), "late");
        deadlines.schedule(at(1), "early");
        deadlines.schedule(at(2), "exact");
        assert!(!deadlines.any_due(at(0)));
        assert_eq!(deadlines.pop_due(at(2)), Some("early"));
        assert_eq!(deadlines.pop_due(at(2)), Some("exact"));
        assert_eq!(deadlines.pop_due(at(2)), None);
        assert_eq!(deadlines.len(), 1);
    }

    #[test]
    fn cancelled_ones_never_come_out() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.schedule(start, "kept");
        deadlines.schedule(start, "cancelled");
        deadlines.cancel(start, "cancelled");
        assert_eq!(deadlines.pop_due(start), Some("kept"));
        assert_eq!(deadlines.pop_due(start), None);
    }
}
