//! The machine of a node: what its kernel allows.

use std::fs;
use std::path::Path;

use fanfare_loadtest::{Target, listening_processes};

use super::super::check::on_this_machine;
use super::Finding;
use crate::config::Config;
use crate::descriptors::{HTTP_CONNECTIONS_MAX, OTHERS};

/// What the node asks the kernel for.
const BACKLOG: u64 = crate::listener::BACKLOG as u64;

/// Fewer descriptors than these are those of a shell, and not what somebody decided.
const DESCRIPTORS_MIN: u64 = 65_536;

/// The kernel's own choice; fewer are somebody's.
const PORTS_MIN: u64 = 28_000;

/// Looks at the machine.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    look_below(Path::new("/"), config, &node_of(config))
}

/// The running node of this configuration, or this process in its place: `self`.
fn node_of(config: &Config) -> String {
    let target = on_this_machine(config.listen.address).to_string().parse::<Target>();
    let found =
        target.ok().and_then(|target| listening_processes(&target).first().map(|process| process.id().to_string()));
    found.unwrap_or_else(|| "self".to_owned())
}

fn look_below(root: &Path, config: &Config, node: &str) -> Vec<Finding> {
    let mut findings = vec![of_descriptors(&read(root, &format!("proc/{node}/limits")), config, node)];
    findings.extend(of_backlog("backlog", "net.core.somaxconn", setting(root, "net/core/somaxconn")));
    findings.extend(of_backlog("syn", "net.ipv4.tcp_max_syn_backlog", setting(root, "net/ipv4/tcp_max_syn_backlog")));
    let tracked =
        ["net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max"].map(|name| setting(root, name));
    findings.extend(of_tracking(tracked));
    findings.extend(of_ports(&read(root, "proc/sys/net/ipv4/ip_local_port_range")));
    findings
}

fn read(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap_or_default()
}

fn setting(root: &Path, name: &str) -> Option<u64> {
    read(root, &format!("proc/sys/{name}")).trim().parse().ok()
}

fn of_descriptors(limits: &str, config: &Config, node: &str) -> Finding {
    // The node raises the first number, which counts at its start, to the second.
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let hard = line.split_whitespace().nth(1).unwrap_or_default();
    let whose = if node == "self" { "a process started from here" } else { "the node" };
    let Some(limit) = hard.parse::<u64>().ok().or_else(|| (hard == "unlimited").then_some(u64::MAX)) else {
        return Finding::skipped("descriptors", "the limit of the node cannot be read from here");
    };
    let chosen = config.gateway.sessions_max != fanfare_gateway::Options::default().sessions_max;
    let wanted =
        if chosen { (config.gateway.sessions_max + HTTP_CONNECTIONS_MAX + OTHERS) as u64 } else { DESCRIPTORS_MIN };
    if limit >= wanted {
        return Finding::good("descriptors", format!("{whose} may have {limit}"));
    }
    let remedy =
        format!("raise the hard limit to {wanted} or more: LimitNOFILE= of the unit, ulimits.nofile of the container");
    Finding::warning("descriptors", format!("{whose} may have {limit}: one is needed for each connection"), remedy)
}

fn of_backlog(check: &'static str, name: &str, value: Option<u64>) -> Option<Finding> {
    let value = value?;
    if value >= BACKLOG {
        return Some(Finding::good(check, format!("{name} is {value}")));
    }
    let text = format!("{name} is {value}: of a burst of connects those beyond it wait a second or longer");
    Some(Finding::warning(check, text, format!("sysctl -w {name}={BACKLOG}, and in /etc/sysctl.d for the next start")))
}

fn of_tracking([count, max]: [Option<u64>; 2]) -> Option<Finding> {
    let (count, max) = (count?, max?);
    if count < max / 2 {
        return Some(Finding::good("tracking", format!("{count} of {max} connections are tracked")));
    }
    let text = format!("{count} of {max} connections are tracked: when it is full new ones are dropped");
    let remedy = format!("sysctl -w net.netfilter.nf_conntrack_max={}, and in /etc/sysctl.d", max * 4);
    Some(Finding::warning("tracking", text, remedy))
}

/// What a proxy on this machine needs: a port for each connection to a node.
fn of_ports(range: &str) -> Option<Finding> {
    let ends: Vec<u64> = range.split_whitespace().map_while(|end| end.parse().ok()).collect();
    let [first, last] = ends[..] else { return None };
    let count = last.saturating_sub(first) + 1;
    let text = format!(
        "net.ipv4.ip_local_port_range has {count}: a proxy on this machine can have so many connections to a node"
    );
    if count >= PORTS_MIN {
        return Some(Finding::good("ports", text));
    }
    let remedy = "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\", if there is a proxy on this machine";
    Some(Finding::warning("ports", text, remedy))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn this_machine_can_be_looked_at() {
        let findings = look(&Config::dev());
        assert!(findings.iter().any(|finding| finding.check == "descriptors" && finding.verdict != Verdict::Skipped));
    }

    #[test]
    fn limits_that_are_too_low_are_named() {
        let limits = |hard: &str| {
            format!(
                "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 {hard}               files\n"
            )
        };
        let judged = |hard: &str| of_descriptors(&limits(hard), &Config::dev(), "self").verdict;
        assert_eq!(
            ["1024", "65536", "unlimited", ""].map(judged),
            [Verdict::Warning, Verdict::Good, Verdict::Good, Verdict::Skipped]
        );
        assert_eq!(of_backlog("backlog", "x", Some(128)).unwrap().verdict, Verdict::Warning);
        assert_eq!(of_backlog("backlog", "x", None), None);
        assert_eq!(of_tracking([Some(60), Some(100)]).unwrap().verdict, Verdict::Warning);
        assert_eq!(of_tracking([Some(10), Some(100)]).unwrap().verdict, Verdict::Good);
        assert_eq!(of_ports("32768\t60999\n").unwrap().verdict, Verdict::Good);
        assert_eq!(of_ports("50000\t60999\n").unwrap().verdict, Verdict::Warning);
        assert_eq!(of_ports(""), None);
    }
}
