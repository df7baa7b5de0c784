//! `cargo deny`: what a dependency may be, by `deny.toml`. It is built once, into `target/tools`.

use std::path::PathBuf;

use crate::command::Run;
use crate::project;
use crate::step::Outcome;

/// The version that is used: it decides which keys `deny.toml` may have.
const VERSION: &str = "0.20.2";

/// Bans, licences and sources. Advisories need the network: versions with a known one are among the bans.
pub(crate) fn check() -> Outcome {
    Outcome::of_check(installed().and_then(|tool| {
        let arguments = ["--all-features", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
        Run::new("deny", tool).args(&arguments).output()
    }))
}

/// Where the tool is, built if it is not there. Unoptimised, and without what only advisories or a debugger need: it
/// runs for a second.
fn installed() -> Result<PathBuf, String> {
    let folder = project::target().join("tools").join(format!("cargo-deny-{VERSION}"));
    let tool = folder.join("bin").join("cargo-deny");
    if tool.is_file() {
        return Ok(tool);
    }
    let into = folder.to_string_lossy();
    let arguments = ["install", "cargo-deny", "--version", VERSION, "--locked", "--debug", "--no-default-features"];
    let run = Run::new("deny-install", "cargo").args(&arguments).args(&["--root", &into]);
    run.env("CARGO_PROFILE_DEV_DEBUG", "0").output()?;
    Ok(tool)
}

#[cfg(test)]
mod tests {
    use crate::project;

    #[test]
    fn defect_a_floor_behind_an_at_sign_banned_nothing() {
        let text = std::fs::read_to_string(project::at("deny.toml")).expect("it is in the project");
        let specifications = text.lines().filter_map(|line| line.trim().strip_prefix("{ crate = \""));
        let floors: Vec<&str> = specifications.filter_map(|rest| rest.split('"').next()).collect();
        assert!(floors.len() > 20, "{floors:?}");
        assert!(floors.iter().all(|floor| floor.contains(':') && !floor.contains('@')), "{floors:?}");
    }
}
