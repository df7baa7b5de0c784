//! Formatting, lints and tests of the Rust code, and the binary that the suites run against.

use crate::command::Run;
use crate::step::Outcome;
use crate::tally::Tally;
use crate::tool;

/// `cargo fmt --check`.
pub(crate) fn format() -> Outcome {
    if !tool::works("cargo", &["fmt", "--version"]) {
        return Outcome::Skipped("no rustfmt; run: rustup component add rustfmt".to_owned());
    }
    Outcome::of_check(cargo("fmt", &["fmt", "--all", "--check"]))
}

/// `cargo clippy`, where a warning is an error.
pub(crate) fn lints() -> Outcome {
    if !tool::works("cargo", &["clippy", "--version"]) {
        return Outcome::Skipped("no clippy; run: rustup component add clippy".to_owned());
    }
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    Outcome::of_check(cargo("clippy", &arguments))
}

/// `cargo test`, with one thread more than there are cores unless it was said: most tests wait most of their time.
pub(crate) fn tests() -> Outcome {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = std::env::var("RUST_TEST_THREADS").unwrap_or_else(|_| (cores + 1).to_string());
    let run = Run::new("test", "cargo").args(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    Outcome::of_tests(run.env("RUST_TEST_THREADS", threads).output(), Tally::of_cargo)
}

/// The debug binary: the tests have built most of it already.
pub(crate) fn build() -> Outcome {
    Outcome::of_check(cargo("build", &["build", "--package", "fanfare-server", "--locked"]))
}

fn cargo(log: &str, arguments: &[&str]) -> Result<String, String> {
    Run::new(log, "cargo").args(arguments).output()
}
