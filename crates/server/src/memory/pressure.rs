//! How short memory is, by watermarks that lie apart: what has begun ends only well below where it began.

/// In hundredths of the budget: from here on no new sessions are taken, and below the second they are again.
const HIGH_PERCENT: usize = 85;
const HIGH_ENDS_PERCENT: usize = 80;

/// From here on slow clients are closed, until it is below the second.
const CRITICAL_PERCENT: usize = 95;
const CRITICAL_ENDS_PERCENT: usize = 90;

/// How short memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Level {
    /// There is enough.
    #[default]
    Fine,
    /// No new sessions are taken.
    High,
    /// Slow clients are closed too.
    Critical,
}

impl Level {
    /// The level of a number that was one.
    pub(super) fn of_number(number: u8) -> Self {
        [Self::Fine, Self::High, Self::Critical].into_iter().find(|level| *level as u8 == number).unwrap_or_default()
    }

    /// The level after this one, with so many bytes used of a budget.
    pub(super) fn next(self, used: usize, budget: usize) -> Self {
        let rises = [Self::Critical, Self::High].into_iter().find(|level| used >= level.begins_at(budget));
        let stays =
            [Self::Critical, Self::High].into_iter().find(|level| *level <= self && used >= level.ends_below(budget));
        rises.max(stays).unwrap_or_default()
    }

    fn begins_at(self, budget: usize) -> usize {
        match self {
            Self::Fine => 0,
            Self::High => percent_of(HIGH_PERCENT, budget),
            Self::Critical => percent_of(CRITICAL_PERCENT, budget),
        }
    }

    /// Below so many bytes this level ends.
    pub(super) fn ends_below(self, budget: usize) -> usize {
        match self {
            Self::Fine => 0,
            Self::High => percent_of(HIGH_ENDS_PERCENT, budget),
            Self::Critical => percent_of(CRITICAL_ENDS_PERCENT, budget),
        }
    }
}

/// So many hundredths of a number of bytes.
pub(super) fn percent_of(percent: usize, bytes: usize) -> usize {
    bytes / 100 * percent + bytes % 100 * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: Level, used: usize, expected: Level) {
        assert_eq!(from.next(used, 1_000), expected, "{from:?} at {used}");
    }

    #[test]
    fn a_level_begins_at_its_watermark_and_ends_below_a_lower_one() {
        use Level::{Critical, Fine, High};
        for (from, used, expected) in [
            (Fine, 849, Fine),
            (Fine, 850, High),
            (Fine, 950, Critical),
            (High, 849, High),
            (High, 800, High),
            (High, 799, Fine),
            (High, 949, High),
            (High, 950, Critical),
            (Critical, 900, Critical),
            (Critical, 899, High),
            (Critical, 799, Fine),
            (Critical, usize::MAX, Critical),
        ] {
            check(from, used, expected);
        }
    }

    #[test]
    fn a_number_gives_its_level_back() {
        for level in [Level::Fine, Level::High, Level::Critical] {
            assert_eq!(Level::of_number(level as u8), level);
        }
    }

    #[test]
    fn a_share_of_much_is_no_overflow() {
        assert_eq!(percent_of(70, usize::MAX), usize::MAX / 100 * 70 + usize::MAX % 100 * 70 / 100);
        assert_eq!(percent_of(70, 1_050), 735);
    }
}
