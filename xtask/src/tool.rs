//! Programs of the machine: whether they are there, and Debian's packages for those that are not.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::command::Run;

/// Where a program is, if it is there.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The first of these programs that is there.
pub(crate) fn find_any(programs: &[&str]) -> Option<PathBuf> {
    programs.iter().find_map(|program| find(program))
}

/// Sees to it that a program is there, from this package of Debian if it is not.
pub(crate) fn find_or_install(program: &str, package: &str) -> Result<(), String> {
    if is_installed(program) {
        return Ok(());
    }
    install(package).map_err(|why| format!("no {program}; {why}"))?;
    if is_installed(program) { Ok(()) } else { Err(format!("no {program}, although {package} is installed")) }
}

/// Some programs are where only root looks.
fn is_installed(program: &str) -> bool {
    find(program).is_some() || PathBuf::from("/usr/sbin").join(program).is_file()
}

/// Whether a program runs and is content.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The first two numbers of the version that a program prints.
pub(crate) fn version(program: &str, argument: &str) -> Option<(u32, u32)> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let from_number = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut numbers = from_number.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Installs a Debian package, as root or with sudo. Otherwise says with which command to do it.
pub(crate) fn install(package: &str) -> Result<(), String> {
    let by_hand = || format!("run: sudo apt-get install {package}");
    find("apt-get").ok_or_else(by_hand)?;
    let as_root = as_root().ok_or_else(by_hand)?;
    apt(as_root, &["update"])?;
    apt(as_root, &["install", "--yes", "--no-install-recommends", package])
}

/// Whether this is run by root.
pub(crate) fn is_root() -> bool {
    works("sh", &["-c", "test $(id -u) = 0"])
}

/// What has to stand before a command for it to run as root; `None` if it cannot without a password.
fn as_root() -> Option<&'static [&'static str]> {
    if is_root() {
        return Some(&["env"]);
    }
    works("sudo", &["-n", "true"]).then_some(&["sudo", "-n", "env"])
}

fn apt(as_root: &[&str], arguments: &[&str]) -> Result<(), String> {
    let (first, rest) = as_root.split_first().expect("it has a first word");
    let run = Run::new("debian", first).args(rest).args(&["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    run.args(arguments).output().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program"), None);
        assert_eq!(find_any(&["no-such-program", "sh"]), find("sh"));
    }

    #[test]
    fn reads_versions() {
        assert_eq!(parse_version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(parse_version("v20.20.2\n"), Some((20, 20)));
        assert_eq!(parse_version("Python 3.11.7"), Some((3, 11)));
        assert_eq!(parse_version("none"), None);
    }
}
