//! The Autobahn cases: a fuzzing client that tries the WebSocket protocol of the echo of `crates/testkit`, which is a
//! node but for what its messages mean.
//!
//! Each case has to end as the list says that is committed beside the runner, down to the close code, which Autobahn
//! does not judge. `docs/conformance.md` is written from such a run.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use crate::command::Run;
use crate::conformance;
use crate::step::Outcome;
use crate::steps::python;
use crate::tally::Tally;
use crate::{project, say};

/// Cases that differ and are shown.
const SHOWN_MAX: usize = 40;

/// All cases but those of compression.
pub(crate) fn run() -> Outcome {
    if let Err(missing) = python::ready() {
        return Outcome::Skipped(missing);
    }
    match results().and_then(|results| check(&results)) {
        Ok(passed) => Outcome::Passed(Tally { passed, ..Tally::default() }),
        Err(why) => Outcome::Failed(why),
    }
}

/// Writes the page of a run anew.
pub(crate) fn write_page() -> ExitCode {
    let written = python::ready().and_then(|()| results()).and_then(|results| {
        let page = page_file();
        fs::write(&page, conformance::page(&results)?).map_err(|error| format!("{}: {error}", page.display()))
    });
    if let Err(why) = &written {
        say(&format!("{why}\n"));
    }
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn page_file() -> PathBuf {
    project::at("docs/conformance.md")
}

fn folder() -> PathBuf {
    project::at("crates/testkit/autobahn")
}

/// Runs the cases. Gives what the runner printed: a line for each case, and one with a `#` for what went wrong in it.
fn results() -> Result<String, String> {
    let environment = python::environment("tools/autobahn", &folder().join("requirements.txt"), &[])?;
    let arguments = ["build", "--package", "fanfare-testkit", "--bin", "echo", "--locked"];
    Run::new("autobahn-build", "cargo").args(&arguments).output()?;
    let echo = Echo::start()?;
    let run = Run::new("autobahn", environment.join("bin").join("python")).within(&folder());
    run.args(&["-B", "-W", "ignore", "run.py", &echo.url]).output()
}

/// Holds a run against the list and the page; gives how many cases there are.
fn check(results: &str) -> Result<usize, String> {
    let expected = read(&folder().join("expected.txt"))?;
    let (is, due) = (lines(results), lines(&expected));
    let differing = differences(&is, &due);
    if !differing.is_empty() {
        let remarks = results.lines().filter(|line| line.starts_with('#'));
        let shown: Vec<&str> = differing.iter().map(String::as_str).chain(remarks).take(SHOWN_MAX).collect();
        return Err(format!("{} lines differ from expected.txt:\n{}", differing.len(), shown.join("\n")));
    }
    if read(&page_file())? != conformance::page(results)? {
        return Err("docs/conformance.md is not what this run would write; run: cargo xtask conformance".to_owned());
    }
    Ok(is.len())
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// The lines of cases.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// What is missing, and what is there in its place.
fn differences(is: &[&str], due: &[&str]) -> Vec<String> {
    let missing = due.iter().filter(|line| !is.contains(line)).map(|line| format!("- {line}"));
    let surplus = is.iter().filter(|line| !due.contains(line)).map(|line| format!("+ {line}"));
    missing.chain(surplus).collect()
}

/// A running echo; it ends when this is dropped.
struct Echo {
    process: Child,
    url: String,
}

impl Echo {
    fn start() -> Result<Self, String> {
        let program = project::target().join("debug").join("echo");
        let mut command = Command::new(&program);
        command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let failed = |error: std::io::Error| format!("{}: {error}", program.display());
        let mut echo = Self { process: command.spawn().map_err(failed)?, url: String::new() };
        let printed = echo.process.stdout.take().expect("its output is piped");
        BufReader::new(printed).read_line(&mut echo.url).map_err(failed)?;
        echo.url.truncate(echo.url.trim_end().len());
        if echo.url.starts_with("ws://") { Ok(echo) } else { Err(format!("the echo did not start: {}", echo.url)) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // If it has ended by itself, the run has failed for that already.
        if self.process.kill().is_ok() {
            let _ = self.process.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_is_missing_and_what_came_in_its_place() {
        let due = lines("1.1.1 OK OK 1000\n2.5 OK OK 1002\n");
        assert!(differences(&due, &due).is_empty());
        let is = lines("1.1.1 OK OK 1000\n2.5 FAILED OK 1000\n# 2.5: Actual events differ from any expected.\n");
        assert_eq!(differences(&is, &due), ["- 2.5 OK OK 1002", "+ 2.5 FAILED OK 1000"]);
        assert_eq!(differences(&is[..1], &due), ["- 2.5 OK OK 1002"]);
    }

    #[test]
    fn the_committed_page_is_that_of_the_committed_list() {
        let expected = read(&folder().join("expected.txt")).expect("it is committed");
        assert_eq!(
            read(&page_file()).expect("it is committed"),
            conformance::page(&expected).expect("it is well-formed")
        );
    }
}
