//! How long to wait before another attempt: full jitter, so that a thousand clients do not come back at once.

use std::time::Duration;

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN};

/// Counts failed attempts in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The delay before the next attempt.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let delay = delay(self.attempts, rand::random());
        self.attempts = self.attempts.saturating_add(1);
        delay
    }

    /// An attempt has succeeded.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// The least delay plus a random part of a span that doubles with each attempt. `jitter` is from 0 up to 1.
fn delay(attempts: u32, jitter: f64) -> Duration {
    let span = BACKOFF_MIN.saturating_mul(1 << attempts.min(16)).min(BACKOFF_MAX);
    (BACKOFF_MIN + span.mul_f64(jitter)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_doubles_up_to_the_longest_delay() {
        let longest: Vec<u128> = (0..8).map(|attempts| delay(attempts, 1.0).as_millis()).collect();
        assert_eq!(longest, [1_000, 1_500, 2_500, 4_500, 8_500, 16_500, 20_000, 20_000]);
        assert_eq!(delay(u32::MAX, 1.0), BACKOFF_MAX);
    }

    #[test]
    fn jitter_reaches_down_to_the_shortest_delay() {
        for attempts in [0, 3, 50] {
            assert_eq!(delay(attempts, 0.0), BACKOFF_MIN);
        }
        assert_eq!(delay(2, 0.5).as_millis(), 1_500);
    }

    #[test]
    fn attempts_are_counted_until_one_succeeds() {
        let mut backoff = Backoff::default();
        for _ in 0..4 {
            assert!((BACKOFF_MIN..=BACKOFF_MAX).contains(&backoff.next_delay()));
        }
        assert_eq!(backoff.attempts, 4);
        backoff.reset();
        assert!(backoff.next_delay() <= BACKOFF_MIN * 2);
    }
}
