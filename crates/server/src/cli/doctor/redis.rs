//! Redis, as the nodes will find it.

use std::time::Duration;

use fanfare_broker_redis::{Examined, Told, examine};

use super::{CLOCK_OFF_MAX_S, Finding};
use crate::broker::payload_limits;
use crate::config::Config;
use crate::redis_tls;

/// Publishing takes longer than this for no good reason on one network.
const LATENCY_MAX: Duration = Duration::from_millis(5);

/// The oldest that nodes work with.
const VERSION_MIN: (u32, u32) = (6, 2);

/// Looks at every server.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let Some(mut options) = config.redis.options(payload_limits(config)) else {
        let text = "none is configured: this node is a hub by itself, or redis.url is a secret that is not known here";
        return vec![Finding::skipped("redis", text)];
    };
    if options.server.is_encrypted() {
        match redis_tls::tls(&config.redis) {
            Ok(tls) => options.tls = Some(tls),
            Err(error) => {
                return vec![Finding::problem("redis", error.to_string(), "see [redis] of the configuration")];
            }
        }
    }
    let mut findings = Vec::new();
    for examined in examine(&options).await {
        match examined {
            Ok(examined) => findings.extend(of_server(&examined)),
            Err(error) => findings.push(Finding::problem(
                "redis",
                error.to_string(),
                "is it running, does redis.url name it, and is there a firewall in between?",
            )),
        }
    }
    findings
}

fn of_server(server: &Examined) -> Vec<Finding> {
    let mut findings = vec![of_rights(server)];
    match &server.told {
        None => {
            findings.push(Finding::skipped("redis", format!("{} tells this user nothing of itself", server.address)))
        }
        Some(told) => {
            findings.push(of_version(&server.address, told));
            findings.extend([of_eviction(told), of_memory(told), of_promise(told)]);
        }
    }
    findings.extend(server.latency.map(of_latency));
    findings.extend(server.clock_ahead_s.and_then(of_clock));
    findings
}

fn of_version(address: &str, server: &Told) -> Finding {
    let mut parts = server.version.split('.').map_while(|part| part.parse::<u32>().ok());
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let text = format!("{address} is {}, a {}", server.version, server.role);
    match (version >= VERSION_MIN, server.role.as_str()) {
        (false, _) => Finding::problem("redis", text, "6.2 or later is needed"),
        (true, "master") => Finding::good("redis", text),
        (true, _) => Finding::problem("redis", text, "nodes write: name the master, or the Sentinels that know it"),
    }
}

fn of_rights(server: &Examined) -> Finding {
    match &server.missing_rights {
        None => Finding::good("rights", "its user may do all that nodes do"),
        Some(missing) => Finding::problem("rights", "its user may not do all that nodes do", missing),
    }
}

fn of_eviction(server: &Told) -> Finding {
    match server.eviction_policy.as_deref() {
        None => Finding::skipped("eviction", "it does not tell its maxmemory-policy"),
        Some("noeviction") => Finding::good("eviction", "it throws nothing away"),
        Some(policy) => Finding::problem(
            "eviction",
            format!("maxmemory-policy is {policy}: it throws away histories and positions when its memory is full"),
            "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
        ),
    }
}

fn of_memory(server: &Told) -> Finding {
    let (used, max) = (server.memory_used_bytes, server.memory_max_bytes);
    if max == 0 {
        return Finding::warning(
            "memory",
            "maxmemory is not set: when the machine's memory is full, the kernel ends it",
            "CONFIG SET maxmemory to what the machine can spare, with room for a fork",
        );
    }
    let percent = used.saturating_mul(100) / max;
    let text = format!("{percent}% of its maxmemory are used");
    match percent {
        0..80 => Finding::good("memory", text),
        _ => Finding::warning(
            "memory",
            text,
            "give it more, or shorten history_ttl: when it is full publishing is refused",
        ),
    }
}

fn of_latency(latency: Duration) -> Finding {
    let text = format!("it answers in {:.1} ms", latency.as_secs_f64() * 1e3);
    match latency > LATENCY_MAX {
        false => Finding::good("latency", text),
        true => Finding::warning(
            "latency",
            text,
            "every publication waits for it: put it near the nodes, and see SLOWLOG GET",
        ),
    }
}

fn of_clock(ahead_s: f64) -> Option<Finding> {
    (ahead_s.abs() > CLOCK_OFF_MAX_S as f64).then(|| {
        let text = format!("its clock and ours differ by {:.0} s", ahead_s.abs());
        Finding::warning("clock", text, "let both machines keep time (NTP): lifetimes of keys go by its clock")
    })
}

/// What outlives a crash of it.
fn of_promise(server: &Told) -> Finding {
    match (server.appends, server.replicas) {
        (true, _) => Finding::good("durability", "it has an append-only file: histories outlive its crash"),
        (false, 0) => Finding::warning(
            "durability",
            "it has neither an append-only file nor a replica: histories end with it, and subscribers are told",
            "appendonly yes, if histories have to outlive it",
        ),
        (false, replicas) => Finding::good("durability", format!("{replicas} replicas have what it has")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn good() -> Examined {
        let told = Told {
            version: "7.0.15".to_owned(),
            role: "master".to_owned(),
            replicas: 0,
            eviction_policy: Some("noeviction".to_owned()),
            memory_max_bytes: 1_000,
            memory_used_bytes: 100,
            appends: true,
        };
        Examined {
            address: "redis:6379".to_owned(),
            missing_rights: None,
            latency: Some(Duration::from_millis(1)),
            clock_ahead_s: Some(0.1),
            told: Some(told),
        }
    }

    fn telling(change: impl FnOnce(&mut Told)) -> Examined {
        let mut server = good();
        change(server.told.as_mut().unwrap());
        server
    }

    #[track_caller]
    fn check(server: &Examined, at: &str, verdict: Verdict) {
        let findings = of_server(server);
        let worse: Vec<_> = findings.iter().filter(|finding| finding.verdict != Verdict::Good).collect();
        assert!(matches!(worse[..], [finding] if (finding.check, finding.verdict) == (at, verdict)), "{findings:?}");
    }

    #[test]
    fn a_good_server_has_nothing_to_be_told() {
        assert!(of_server(&good()).iter().all(|finding| finding.verdict == Verdict::Good));
    }

    #[test]
    fn each_fault_of_a_server_is_found() {
        check(&telling(|told| told.version = "6.0.16".to_owned()), "redis", Verdict::Problem);
        check(&telling(|told| told.role = "slave".to_owned()), "redis", Verdict::Problem);
        check(&telling(|told| told.eviction_policy = Some("allkeys-lru".to_owned())), "eviction", Verdict::Problem);
        check(&telling(|told| told.eviction_policy = None), "eviction", Verdict::Skipped);
        check(&telling(|told| told.memory_max_bytes = 0), "memory", Verdict::Warning);
        check(&telling(|told| told.memory_used_bytes = 900), "memory", Verdict::Warning);
        check(&telling(|told| told.appends = false), "durability", Verdict::Warning);
        check(&Examined { latency: Some(Duration::from_millis(20)), ..good() }, "latency", Verdict::Warning);
        check(&Examined { clock_ahead_s: Some(-60.0), ..good() }, "clock", Verdict::Warning);
        check(&Examined { told: None, ..good() }, "redis", Verdict::Skipped);
        check(&Examined { missing_rights: Some("ACL SETUSER …".to_owned()), ..good() }, "rights", Verdict::Problem);
    }
}
