//! As many connections of one user as one process may have come up, with the limits that a node has by itself. Alone
//! in its process, and the node in one of its own: each needs a descriptor for every connection.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_testkit::{Program, Raw, client_frame, json, token};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const CONNECTIONS: usize = 15_000;

/// Descriptors that the processes need for other things.
const SPARE: usize = 500;

/// How many connections the limit of descriptors allows.
fn possible() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let row = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft = row.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(CONNECTIONS + SPARE);
    let count = CONNECTIONS.min(soft.saturating_sub(SPARE));
    if count < CONNECTIONS {
        eprintln!("{count} connections in place of {CONNECTIONS}: the limit of descriptors is {soft}");
    }
    count
}

/// A connection that has connected and subscribed, commands and request in as few packets as can be.
async fn open(node: std::net::SocketAddr, commands: &[u8]) -> Raw {
    let mut raw = Raw::upgrade(node, "", commands).await;
    let mut replies = String::new();
    while !replies.contains("\"id\":2") {
        let frame = raw.frame().await.expect("nobody is closed");
        replies += std::str::from_utf8(&frame.payload).unwrap();
        assert!(!replies.contains("error"), "{replies}");
    }
    raw
}

/// Opens so many connections of one user; how long that took.
async fn come_up(node: &Program, count: usize) -> (Vec<Raw>, Duration) {
    let connect = json!({"id": 1, "connect": {"token": token::connection("42")}});
    let subscribe = json!({"id": 2, "subscribe": {"channel": "news"}});
    let commands: Arc<[u8]> = client_frame(0x81, format!("{connect}\n{subscribe}").as_bytes()).into();
    let (places, address) = (Arc::new(Semaphore::new(256)), node.address());
    let began = Instant::now();
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let (places, commands) = (Arc::clone(&places), Arc::clone(&commands));
        opening.spawn(async move {
            let _place = places.acquire_owned().await.unwrap();
            open(address, &commands).await
        });
    }
    let open = opening.join_all().await;
    (open, began.elapsed())
}

const SETTINGS: &[(&str, &str)] =
    &[("FANFARE_NODE__SHARDS", "2"), ("FANFARE_SESSION__PING_INTERVAL", "off"), ("FANFARE_LOG__LEVEL", "info")];

const OFF: &[(&str, &str)] = &[
    ("FANFARE_LIMITS__COMMANDS_PER_SECOND_MAX", "off"),
    ("FANFARE_LIMITS__PUBLISHES_PER_SECOND_MAX", "off"),
    ("FANFARE_LIMITS__BYTES_PER_SECOND_MAX", "off"),
    ("FANFARE_LIMITS__USER_COMMANDS_PER_SECOND_MAX", "off"),
    ("FANFARE_LIMITS__USER_PUBLISHES_PER_SECOND_MAX", "off"),
    ("FANFARE_LIMITS__USER_BYTES_PER_SECOND_MAX", "off"),
    ("FANFARE_LIMITS__CONNECTIONS_PER_ADDRESS_MAX", "off"),
    ("FANFARE_LIMITS__ACCEPTS_PER_SECOND_MAX", "off"),
    ("FANFARE_LIMITS__HANDSHAKES_PER_SECOND_MAX", "off"),
    ("FANFARE_LIMITS__NODE_ACCEPTS_PER_SECOND_MAX", "off"),
    ("FANFARE_LIMITS__NODE_HANDSHAKES_PER_SECOND_MAX", "off"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifteen_thousand_connections_of_one_user_come_up_with_default_limits() {
    let count = possible();
    let node = Program::start(env!("CARGO_BIN_EXE_fanfare-node"), SETTINGS).await;
    let (open, took) = come_up(&node, count).await;
    println!("{count} sessions in {took:.1?}: {:.0} a second", count as f64 / took.as_secs_f64());
    assert_eq!(open.len(), count);
    assert_eq!(node.metric_row("fanfare_gateway_sessions", "").await, count as f64);
    assert_eq!(node.metric_row("fanfare_gateway_subscriptions", "").await, count as f64);
    for refusals in
        ["fanfare_gateway_rate_limited_total", "fanfare_http_arrivals_refused_total", "fanfare_gateway_closes_total"]
    {
        assert_eq!(node.metric_row(refusals, "").await, 0.0, "{refusals}");
    }
}

/// A measurement: `cargo test -p fanfare-testkit --test one_user -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, whose figures mean something on a quiet machine only"]
async fn sessions_a_second_with_and_without_limits() {
    let count = possible();
    for round in 1..=3 {
        let mut rates = Vec::new();
        for off in [&[], OFF] {
            let node = Program::start(env!("CARGO_BIN_EXE_fanfare-node"), &[SETTINGS, off].concat()).await;
            let (_open, took) = come_up(&node, count).await;
            rates.push(count as f64 / took.as_secs_f64());
        }
        eprintln!(
            "round {round}: {count} sessions, {:.0} a second with limits, {:.0} without, ratio {:.3}",
            rates[0],
            rates[1],
            rates[0] / rates[1]
        );
    }
}
