//! Runs a program. What it prints goes to a log of its step, which is shown when it fails.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::project;

/// Lines of a log that are shown after a failure: enough for an assertion and what led to it.
const SHOWN_LINES_MAX: usize = 120;

/// Lines that are shown of each Rust test that failed, where some did: an assertion, and not all of the way to it.
const SHOWN_LINES_PER_TEST_MAX: usize = 12;

/// A program that is to be run for a step.
pub(crate) struct Run {
    command: Command,
    log: PathBuf,
}

impl Run {
    /// A program run at the top of the project, its output going to the log of this name.
    pub(crate) fn new(log: &str, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(project::root()).stdin(Stdio::null());
        Self { command, log: project::target().join("xtask").join(format!("{log}.log")) }
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, arguments: &[impl AsRef<OsStr>]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Runs in this folder instead.
    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end. Gives what it printed, or why it failed.
    pub(crate) fn output(mut self) -> Result<String, String> {
        let status = self.write_log().map_err(|error| format!("{}: {error}", self.program()))?;
        let printed = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        if status.success() {
            return Ok(printed);
        }
        let (program, log) = (self.program(), self.log.display());
        let shown = failed_tests(&printed).unwrap_or_else(|| last_lines(&printed));
        Err(format!("{shown}\n{program} failed ({status}); all it printed is in {log}"))
    }

    fn write_log(&mut self) -> std::io::Result<ExitStatus> {
        fs::create_dir_all(self.log.parent().expect("a log is in a folder"))?;
        let log = File::create(&self.log)?;
        self.command.stdout(log.try_clone()?).stderr(log).status()
    }

    fn program(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }
}

/// The beginning of what each Rust test printed that failed: with many programs of tests, the last lines are of others.
/// `None` where no test failed, as when it does not compile.
fn failed_tests(text: &str) -> Option<String> {
    let (mut shown, mut left) = (Vec::new(), 0);
    for line in text.lines() {
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            left = SHOWN_LINES_PER_TEST_MAX;
        } else if line == "failures:" {
            left = 0;
        }
        if left > 0 && !line.trim().is_empty() {
            shown.push(line);
            left -= 1;
        }
    }
    (!shown.is_empty()).then(|| shown.join("\n"))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES_MAX)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_a_program_printed() {
        let printed = Run::new("test-prints", "sh").args(&["-c", "echo out; echo err >&2"]).output();
        assert_eq!(printed.as_deref(), Ok("out\nerr\n"));
    }

    #[test]
    fn shows_what_a_program_that_failed_printed_last() {
        let printed = Run::new("test-fails", "sh").args(&["-c", "seq 1000; exit 3"]).output();
        let error = printed.expect_err("it exits with 3");
        assert!(error.contains("\n1000\n") && !error.contains("\n500\n"), "{error}");
        assert!(error.contains("(exit status: 3)"), "{error}");
    }

    #[test]
    fn shows_the_tests_that_failed_and_not_those_that_ran_after_them() {
        let (deep, others) = ("  at a frame\n".repeat(50), "test b ... ok\n".repeat(500));
        let text = format!(
            "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\n\npanicked at a.rs:1:\nleft: 1\n{deep}\n\
             failures:\n    a\n\ntest result: FAILED. 0 passed; 1 failed\n{others}"
        );
        let shown = failed_tests(&text).expect("a failed");
        assert!(shown.starts_with("---- a stdout ----\npanicked at a.rs:1:\nleft: 1\n  at a frame"), "{shown}");
        assert_eq!((shown.lines().count(), failed_tests(&others)), (SHOWN_LINES_PER_TEST_MAX, None));
    }

    #[test]
    fn names_a_program_that_is_not_there() {
        let error = Run::new("test-missing", "no-such-program").output().expect_err("it is not there");
        assert!(error.starts_with("no-such-program: "), "{error}");
    }
}
