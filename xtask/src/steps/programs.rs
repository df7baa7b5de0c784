//! Programs that stand around nodes in production, started by tests: proxies and Prometheus, all of them Debian's.
//!
//! Without them the tests say so and pass; in CI they fail.

use crate::step::Outcome;
use crate::tally::Tally;
use crate::tool;

/// By program and package.
const PROGRAMS: [(&str, &str); 4] =
    [("haproxy", "haproxy"), ("nginx", "nginx"), ("caddy", "caddy"), ("prometheus", "prometheus")];

/// Finds each, or installs it.
pub(crate) fn install() -> Outcome {
    for (program, package) in PROGRAMS {
        if let Err(why) = tool::find_or_install(program, package) {
            return Outcome::Skipped(format!("tests of deploy/ pass untried: {why}"));
        }
    }
    Outcome::PassedWith(Tally::default(), PROGRAMS.map(|(program, _)| program).join(", "))
}
