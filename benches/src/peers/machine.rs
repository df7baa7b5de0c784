//! The machine that a comparison ran on, in the words of its page.

use std::process::Command;

/// Rows of a table: what, and which.
pub(crate) fn rows() -> Vec<[String; 2]> {
    let row = |name: &str, value: Option<String>| value.map(|value| [name.to_owned(), value]);
    let rows = [
        row("date", said("date", &["--utc", "+%Y-%m-%d"])),
        row("commit", said("git", &["rev-parse", "--short", "HEAD"])),
        row("processor", field("/proc/cpuinfo", "model name")),
        row("cores", Some(cores().to_string())),
        row("virtual machine", said("systemd-detect-virt", &[]).filter(|kind| kind != "none")),
        row("memory", field("/proc/meminfo", "MemTotal")),
        row("kernel", said("uname", &["--kernel-release"])),
        row("congestion control", read("/proc/sys/net/ipv4/tcp_congestion_control")),
        row("Node.js", said("node", &["--version"])),
    ];
    rows.into_iter().flatten().collect()
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn read(file: &str) -> Option<String> {
    std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

fn field(file: &str, name: &str) -> Option<String> {
    value_in(&read(file)?, name)
}

fn value_in(text: &str, name: &str) -> Option<String> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.filter(|(field, _)| field.trim() == name).map(|(_, value)| value.trim().to_owned()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz: fast\n";
        assert_eq!(value_in(text, "model name").as_deref(), Some("Some CPU @ 2 GHz: fast"));
        assert_eq!(value_in(text, "model"), None);
    }
}
