//! The consistency checker of `crates/testkit`: a run over three nodes and a Redis server, and runs against defects
//! that it has to find.

use std::fs;
use std::process::ExitCode;

use crate::command::Run;
use crate::step::Outcome;
use crate::tally::Tally;
use crate::{project, say, tool};

/// The binary with the fault points, beside the one without.
const WITH_FAULT_POINTS: &str = "fanfare-with-fault-points";

/// The run: about two and a half minutes.
pub(crate) fn run() -> Outcome {
    with_checker(|| checker("checker", &["run"]))
}

/// The runs against defects: about a minute and a half.
pub(crate) fn defects() -> Outcome {
    with_checker(|| {
        let binary = build_with_fault_points()?;
        checker("checker-defects", &["defects", "--binary", &binary])
    })
}

/// Judges a history again, and shows what the checker says.
pub(crate) fn judge(file: &str) -> ExitCode {
    let judged = build_checker().and_then(|()| checker("checker-judge", &["judge", file]));
    let (Ok(said) | Err(said)) = &judged;
    say(said);
    if judged.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn with_checker(run: impl FnOnce() -> Result<String, String>) -> Outcome {
    if let Some(missing) = missing() {
        return Outcome::Skipped(missing);
    }
    let done = install_witness().and_then(|()| build_checker()).and_then(|()| run());
    done.map_or_else(Outcome::Failed, |said| {
        // A run is one test, and so is each defect.
        let found = said.lines().filter(|line| line.starts_with("found ")).count();
        Outcome::Passed(Tally { passed: found.max(1), ..Tally::default() })
    })
}

fn missing() -> Option<String> {
    let given = std::env::var("FANFARE_REDIS_SERVER").is_ok_and(|path| tool::works(&path, &["--version"]));
    if !given && !tool::works("redis-server", &["--version"]) {
        return Some("no redis-server".to_owned());
    }
    super::js::missing()
}

fn install_witness() -> Result<(), String> {
    super::js::install(&project::at("crates/testkit/sdk/js"), "js")
}

fn build_checker() -> Result<(), String> {
    let arguments = ["build", "--package", "fanfare-testkit", "--bin", "fanfare-checker", "--locked"];
    Run::new("checker-build", "cargo").args(&arguments).output().map(drop)
}

/// Builds the nodes with fault points, puts that binary aside, and builds them without again: what lies where the
/// suites look for it never has any.
fn build_with_fault_points() -> Result<String, String> {
    let build = |log: &str, more: &[&str]| {
        let arguments = ["build", "--package", "fanfare-server", "--locked"];
        Run::new(log, "cargo").args(&arguments).args(more).output()
    };
    build("checker-fault-points", &["--features", "fault-points"])?;
    let aside = project::binary().with_file_name(WITH_FAULT_POINTS);
    let moved = fs::rename(project::binary(), &aside).map_err(|error| format!("{}: {error}", aside.display()));
    build("checker-no-fault-points", &[])?;
    moved.map(|()| aside.display().to_string())
}

fn checker(log: &str, arguments: &[&str]) -> Result<String, String> {
    let program = project::target().join("debug").join("fanfare-checker");
    Run::new(log, program).args(arguments).env("CARGO_TARGET_DIR", project::target()).output()
}
