//! How far a load test is: a bar on a terminal, a line for each step elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_loadtest::{Step, Watch};
use indicatif::{ProgressBar, ProgressStyle};

/// What a bar looks like: the step, the bar, the part that is done, the time.
const BAR: &str = "{msg:12} {bar:32} {percent:>3} %  {human_pos} of {human_len}  {elapsed}";

/// Watches a run and tells how far it is.
pub(super) struct Progress {
    bar: ProgressBar,
    terminal: bool,
    step: Mutex<Option<Step>>,
    stopped: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(1) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template(BAR).expect("the template is a constant");
        bar.set_style(style.progress_chars("━╸─"));
        Self { bar, terminal, step: Mutex::default(), stopped: AtomicBool::new(false) }
    }

    /// Ends the run at its next look.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn begin(&self, step: Step, of: u64, ready: usize) {
        self.bar.set_message(name(step));
        if !self.terminal {
            let what = match step {
                Step::Connecting => format!("connecting {of}"),
                Step::Watching => format!("watching {ready} connections for {:.1} s", of as f64 / 1e3),
                Step::Publishing => format!("publishing {of} times to {ready} connections"),
                Step::Draining => "waiting for the rest".to_owned(),
            };
            say(&what);
        }
    }
}

/// Nobody may be there to read it.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Connecting => "connecting",
        Step::Watching => "watching",
        Step::Publishing => "publishing",
        Step::Draining => "draining",
    }
}

impl Watch for Progress {
    fn look(&self, step: Step, done: u64, of: u64, ready: usize) {
        let before = self.step.lock().ok().and_then(|mut kept| kept.replace(step));
        if before != Some(step) {
            self.begin(step, of, ready);
        }
        self.bar.set_length(of);
        self.bar.set_position(done);
    }

    fn tries(&self, rate: f64) {
        let line = format!("trying {rate:.0} publications a second");
        if self.terminal { self.bar.println(line) } else { say(&line) }
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
