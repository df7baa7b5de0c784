//! Which processes of this machine listen at an address.

use std::collections::BTreeSet;
use std::fs;

use crate::target::Target;
use crate::usage::Process;

/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The processes that listen on the target's port, if it is on this machine and they can be looked at.
pub fn processes(target: &Target) -> Vec<Process> {
    if !target.is_loopback() {
        return Vec::new();
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let sockets: BTreeSet<String> = tables.iter().flat_map(|table| listeners(table, target.address.port())).collect();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<u32> = ids.filter(|id| holds(*id, &sockets)).collect();
    found.sort_unstable();
    found.into_iter().map(Process::of).collect()
}

/// The inodes of the sockets that listen on a port.
fn listeners(table: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours =
        rows.filter(|row| row.get(3) == Some(&LISTEN) && row.get(1).is_some_and(|local| local.ends_with(&wanted)));
    ours.filter_map(|row| row.get(9).map(|inode| format!("socket:[{inode}]"))).collect()
}

fn holds(process: u32, sockets: &BTreeSet<String>) -> bool {
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_link(file.path()).ok()).any(|link| sockets.contains(&*link.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_listens_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target: Target = listener.local_addr().unwrap().to_string().parse().unwrap();
        assert_eq!(processes(&target), [Process::of(std::process::id())]);
        drop(listener);
        assert_eq!(processes(&target), []);
    }
}
