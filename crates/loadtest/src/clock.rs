//! One clock for a whole run: nanoseconds since it was made.

use std::time::{Duration, Instant};

/// Nanoseconds since a start that all threads share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Sleeps until then, if that is not over.
    pub(crate) fn sleep_until(self, then: u64) {
        let left = then.saturating_sub(self.now());
        if left > 0 {
            std::thread::sleep(Duration::from_nanos(left));
        }
    }
}

/// A duration in whole nanoseconds.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
