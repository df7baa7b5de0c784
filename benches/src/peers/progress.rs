//! What is told of a part while it runs: which of its measurements is done, what came of it, how long the rest takes.

use std::time::{Duration, Instant};

/// How far a part of the comparison has come.
#[derive(Debug)]
pub(crate) struct Progress {
    measurements: usize,
    done: usize,
    begun: Instant,
}

impl Progress {
    pub(crate) fn begin(measurements: usize) -> Self {
        Self { measurements, done: 0, begun: Instant::now() }
    }

    /// The line of one more measurement.
    pub(crate) fn line(&mut self, round: usize, title: &str, outcome: &str) -> String {
        self.done += 1;
        let left = self.measurements.saturating_sub(self.done);
        let head = format!("  {} of {}, round {}: {title}: {outcome}", self.done, self.measurements, round + 1);
        if left == 0 {
            return head;
        }
        let rest = self.begun.elapsed() * left as u32 / self.done as u32;
        format!("{head}; about {} left", roughly(rest))
    }
}

/// For what is only an estimate.
pub(crate) fn roughly(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_has_come() {
        let mut progress = Progress::begin(2);
        assert_eq!(progress.line(0, "ws", "5 µs"), "  1 of 2, round 1: ws: 5 µs; about 0 s left");
        assert_eq!(progress.line(1, "ws", "6 µs"), "  2 of 2, round 2: ws: 6 µs");
    }

    #[test]
    fn an_estimate_has_one_unit() {
        assert_eq!(
            [59, 60, 61, 600].map(|seconds| roughly(Duration::from_secs(seconds))),
            ["59 s", "1 min", "2 min", "10 min"]
        );
    }
}
