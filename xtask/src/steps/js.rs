//! The JavaScript SDK, and what any suite on Node needs: its packages by `npm ci`, its runner.

use std::fs;
use std::path::Path;

use crate::command::Run;
use crate::step::Outcome;
use crate::tally::Tally;
use crate::{project, tool};

/// The oldest Node that the packages run on.
const NODE_MIN: (u32, u32) = (20, 0);

/// The JSON build and the Protobuf build.
pub(crate) fn suite() -> Outcome {
    if let Some(missing) = missing() {
        return Outcome::Skipped(missing);
    }
    Outcome::of_tests(test(&project::at("crates/testkit/sdk/js"), "js", &[]), Tally::of_node)
}

/// What of Node is missing, if anything is.
pub(crate) fn missing() -> Option<String> {
    match tool::version("node", "--version") {
        None => Some("no Node".to_owned()),
        Some(version) if version < NODE_MIN => Some(format!("Node is older than {}", NODE_MIN.0)),
        Some(_) if tool::find("npm").is_none() => Some("no npm".to_owned()),
        Some(_) => None,
    }
}

/// Runs a suite in its folder. Its test files run beside each other: each starts nodes of its own.
pub(crate) fn test(folder: &Path, log: &str, variables: &[(&str, &str)]) -> Result<String, String> {
    install(folder, log)?;
    let run = Run::new(log, "node").args(&["--test", "--test-concurrency=2", "--test-reporter=spec"]);
    let run = run.within(folder).env("SUITE_BINARY", project::binary());
    variables.iter().fold(run, |run, (name, value)| run.env(name, value)).output()
}

/// `npm ci`, unless what is there was made from this very lock file.
pub(crate) fn install(folder: &Path, log: &str) -> Result<(), String> {
    let lock = folder.join("package-lock.json");
    let stamp = folder.join("node_modules").join(".installed-lock.json");
    let wanted = fs::read(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    Run::new(&format!("{log}-install"), "npm").args(&arguments).within(folder).output()?;
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))
}
