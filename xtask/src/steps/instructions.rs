//! The instructions of the hot path, counted by valgrind in an optimized build.

use crate::command::Run;
use crate::step::Outcome;
use crate::tally::Tally;
use crate::tool;

/// The program that counts, and its Debian package.
const VALGRIND: &str = "valgrind";

/// Finds valgrind or installs it, then builds and counts: some minutes for the first build.
pub(crate) fn count() -> Outcome {
    if !is_there()
        && let Err(why) = tool::install(VALGRIND)
    {
        return Outcome::Skipped(format!("no valgrind; {why}"));
    }
    if !is_there() {
        return Outcome::Skipped("no valgrind, although its package is installed".to_owned());
    }
    let arguments =
        ["test", "--profile", "counted", "--package", "fanfare-benches", "--locked", "--test", "instructions"];
    Outcome::of_tests(Run::new("instructions", "cargo").args(&arguments).output(), Tally::of_cargo)
}

fn is_there() -> bool {
    tool::works(VALGRIND, &["--version"])
}
