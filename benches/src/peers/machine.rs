//! The machine that a comparison ran on, in the words of its page.

use std::process::Command;

use fanfare_loadtest::Machine;

/// Rows of a table: what, and which.
pub(crate) fn rows() -> Vec<[String; 2]> {
    let machine = Machine::this();
    let row = |name: &str, value: Option<String>| value.map(|value| [name.to_owned(), value]);
    let rows = [
        row("date", said("date", &["--utc", "+%Y-%m-%d"])),
        row("processor", Some(machine.processor)),
        row("cores", Some(machine.cores.to_string())),
        row("virtual machine", said("systemd-detect-virt", &[]).filter(|kind| kind != "none")),
        row("memory", Some(format!("{:.1} GiB", machine.memory_bytes as f64 / f64::from(1 << 30)))),
        row("kernel", Some(machine.kernel)),
        row("congestion control", Some(machine.congestion_control)),
        row("Node.js", said("node", &["--version"])),
    ];
    rows.into_iter().flatten().collect()
}

/// What is checked out.
pub(crate) fn commit() -> String {
    said("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_default()
}

/// Seconds since 1970 as people read them, in UTC.
pub(crate) fn time(seconds: u64) -> String {
    said("date", &["--utc", &format!("--date=@{seconds}"), "+%Y-%m-%d %H:%M"]).unwrap_or_default()
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
