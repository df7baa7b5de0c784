//! The log of refused requests: at debug, and at most so many a second.
//!
//! What a backend sends may hold payloads and keys, and messages quote it, so only the method, the code and the
//! status are logged (I13).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, debug, enabled};

use crate::error::Failure;

/// Lines in one [`WINDOW`].
const LINES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Refusals {
    sampler: Mutex<Sampler>,
}

#[derive(Default)]
struct Sampler {
    window_began: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl Refusals {
    pub(crate) fn log(&self, method: &str, failure: &Failure) {
        if !enabled!(Level::DEBUG) {
            return;
        }
        let admitted = self.sampler.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
        let Some(suppressed) = admitted else { return };
        let (code, status) = (failure.code(), failure.status().map(|status| status.as_u16()));
        debug!(method, code = code.code(), reason = code.text(), status, suppressed, "api request refused");
    }
}

impl Sampler {
    /// Whether there is a line left in this window; if so, how many were suppressed before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.window_began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            (self.window_began, self.lines) = (Some(now), 0);
        }
        if self.lines == LINES_MAX {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_so_many_lines_and_the_next_says_what_was_left_out() {
        let (mut sampler, now) = (Sampler::default(), Instant::now());
        for _ in 0..LINES_MAX {
            assert_eq!(sampler.admit(now), Some(0));
        }
        assert_eq!(sampler.admit(now), None);
        assert_eq!(sampler.admit(now + WINDOW / 2), None);
        assert_eq!(sampler.admit(now + WINDOW), Some(2));
        assert_eq!(sampler.admit(now + WINDOW), Some(0));
    }
}
