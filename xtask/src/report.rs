//! What `cargo xtask test` says: a line for each step with its time, what was skipped, and a closing line of counts.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::say;
use crate::step::Outcome;
use crate::tally::Tally;

/// The report of one run.
pub(crate) struct Report {
    started: Instant,
    step_started: Instant,
    tally: Tally,
    skipped: Vec<String>,
    failed: bool,
}

impl Report {
    /// Begins with nothing run.
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self { started: now, step_started: now, tally: Tally::default(), skipped: Vec::new(), failed: false }
    }

    /// A step begins. Somebody who watches is told; a log is not filled with it.
    pub(crate) fn begin(&mut self, name: &str) {
        self.step_started = Instant::now();
        if stdout().is_terminal() {
            say(&format!("  …  {name}\r"));
        }
    }

    /// A step has ended.
    pub(crate) fn end(&mut self, name: &str, outcome: Outcome) {
        let time = time(self.step_started.elapsed());
        match outcome {
            Outcome::Passed(tally) => {
                self.tally += tally;
                say(&format!(" ok   {name:<8} {time}{}\n", counts(tally)));
            }
            Outcome::PassedWith(tally, note) => {
                self.tally += tally;
                say(&format!(" ok   {name:<8} {time}{}  {note}\n", counts(tally)));
            }
            Outcome::Skipped(why) => {
                say(&format!("skip  {name:<8} {time}  {why}\n"));
                self.skipped.push(format!("{name}: {why}"));
            }
            Outcome::Failed(why) => {
                self.failed = true;
                say(&format!("FAIL  {name:<8} {time}\n{why}\n"));
            }
        }
    }

    /// Says what was skipped, whether all is well, and the counts in a line of their own.
    pub(crate) fn close(mut self) -> ExitCode {
        for skipped in &self.skipped {
            say(&format!("skipped {skipped}\n"));
        }
        self.tally.skipped += self.skipped.len();
        self.tally.failed += usize::from(self.failed);
        say(&format!("in all {}\n", time(self.started.elapsed()).trim_start()));
        say(&format!("{} passed, {} failed, {} skipped\n", self.tally.passed, self.tally.failed, self.tally.skipped));
        if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn time(elapsed: Duration) -> String {
    format!("{:>6.1} s", elapsed.as_secs_f64())
}

fn counts(tally: Tally) -> String {
    match tally {
        Tally { passed: 0, .. } => String::new(),
        Tally { passed, skipped: 0, .. } => format!("  {passed} passed"),
        Tally { passed, skipped, .. } => format!("  {passed} passed, {skipped} skipped"),
    }
}
