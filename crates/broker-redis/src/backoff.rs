//! Pauses between attempts: doubled each time, capped, jittered, for ever.

use std::time::Duration;

use crate::limits::{BACKOFF_MAX, BACKOFF_MIN};

/// The pauses of one connection.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The pause before the next attempt: between a half and the whole of what has come of the doubling, so that
    /// nodes that lost a server together do not come back together.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = BACKOFF_MIN.saturating_mul(1 << self.attempts.min(10)).min(BACKOFF_MAX);
        self.attempts = self.attempts.saturating_add(1);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// The connection worked: the next pause is a short one again.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_cap_and_never_end() {
        let mut backoff = Backoff::default();
        assert!(backoff.pause() <= BACKOFF_MIN);
        for _ in 0..1000 {
            assert!(backoff.pause() <= BACKOFF_MAX);
        }
        assert!(backoff.pause() >= BACKOFF_MAX / 2);
        backoff.reset();
        assert!(backoff.pause() <= BACKOFF_MIN);
    }
}
