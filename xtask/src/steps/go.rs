//! The Go SDK.

use crate::command::Run;
use crate::step::Outcome;
use crate::tally::Tally;
use crate::{project, tool};

/// The oldest Go that the SDK compiles with.
const GO_MIN: (u32, u32) = (1, 25);

/// The suite, in both encodings.
pub(crate) fn suite() -> Outcome {
    match tool::version("go", "version") {
        None => Outcome::Skipped("no Go".to_owned()),
        Some(version) if version < GO_MIN => Outcome::Skipped("Go is older than 1.25".to_owned()),
        Some(_) => Outcome::of_tests(test(), Tally::of_go),
    }
}

fn test() -> Result<String, String> {
    let run = Run::new("go", "go").args(&["test", "-count=1", "-timeout=300s", "-v", "./..."]);
    let run = run.within(&project::at("crates/testkit/sdk/go")).env("SUITE_BINARY", project::binary());
    // No other toolchain is fetched: the one that is there will do.
    run.env("GOTOOLCHAIN", "local").output()
}
