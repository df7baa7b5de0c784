//! Two nodes on Redis, and one of them is killed: how long until all its clients are back on the other and have caught up.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::node::{API_KEY, Node, SECRET};
use crate::redis_server::RedisServer;
use crate::{Outcome, say};

/// Publications a second, and how long: the kill comes in the middle of it.
const RATE: u32 = 10;
const SECONDS: u64 = 30;

/// Half of the connections are on each node.
pub(crate) async fn run(connections: usize) -> Outcome {
    let server = RedisServer::start()?;
    let [stays, killed] = [Node::start_on(&server.url()).await?, Node::start_on(&server.url()).await?];
    let program = std::env::current_exe()?.with_file_name("fanfare");
    let mut load = Command::new(program)
        .args(["bench", "fanout", "--target", &stays.address().to_string(), "--target", &killed.address().to_string()])
        .args(["--publish-to", &format!("http://{}", stays.address()), "--connections", &connections.to_string()])
        .args(["--rate", &RATE.to_string(), "--duration", &format!("{SECONDS}s"), "--warmup", "0s"])
        .args(["--drain", "60s", "--json", "-"])
        .env("FANFARE_API_KEY", API_KEY)
        .env("FANFARE_BENCH_TOKEN_SECRET", SECRET)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // The connections take their time; then comes the middle of the publications.
    while load.try_wait()?.is_none()
        && stays.metric("fanfare_gateway_sessions").await? + killed.metric("fanfare_gateway_sessions").await?
            < connections as f64
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(SECONDS / 3)).await;
    // A node that is dropped is killed with SIGKILL.
    drop(killed);
    let output = tokio::task::spawn_blocking(move || load.wait_with_output()).await??;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
    say(&format!(
        "redis-kill: {connections} connections on two nodes, one killed: {:.0} came back, half within {:.2} s, 99 % within {:.2} s, \
         the last after {:.2} s; {:.0} publications recovered, the latest {:.2} s after it was due; lost {:.0}, doubled {:.0}, \
         reordered {:.0} of {:.0}",
        number("/connections/return_us/count"),
        number("/connections/return_us/p50") / 1e6,
        number("/connections/return_us/p99") / 1e6,
        number("/connections/return_us/max") / 1e6,
        number("/deliveries/recovered"),
        number("/recovered_latency_us/max") / 1e6,
        number("/deliveries/lost"),
        number("/deliveries/doubled"),
        number("/deliveries/reordered"),
        number("/deliveries/expected"),
    ))
}
