//! What idle connections cost: memory of each as the slope between two numbers of them, and CPU.
//!
//! The slope leaves out what a node has without a connection, and what its first ones bring along for all. Each number
//! stands through some rounds of pings, which the clients answer: what a session has only until it was pinged, or only
//! since, would make another figure.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::node::Node;
use crate::{Outcome, memory, say};

/// Rounds of pings that a number of connections stands through before it is looked at.
const ROUNDS: u32 = 2;

/// The default of `session.ping_interval`: a round.
const ROUND: Duration = Duration::from_secs(25);

/// Connections that one process of clients holds: it may have 20,000 descriptors.
const HELD_MAX: usize = 15_000;

/// Measures from `few` connections to `many`.
pub(crate) async fn run(few: usize, many: usize) -> Outcome {
    let node = Node::start().await?;
    let mut clients = Holders::default();
    let few_bytes = resident_with(&node, &mut clients, few).await?;
    let many_bytes = resident_with(&node, &mut clients, many).await?;
    let cpu = cpu_of_a_round(&node, many).await?;
    say(&memory::compared(&node).await?)?;
    say(&format!(
        "idle: from {few} to {many} connections, {ROUNDS} rounds of pings at each: {} bytes resident for each; \
         {:.2} µs of CPU a second for each of {many} in a further round of {ROUND:?}",
        many_bytes.saturating_sub(few_bytes) / many.saturating_sub(few).max(1) as u64,
        cpu.as_secs_f64() * 1e6 / ROUND.as_secs_f64() / many as f64
    ))
}

/// Resident memory of the node when it has so many connections, and they have been pinged.
async fn resident_with(
    node: &Node,
    clients: &mut Holders,
    connections: usize,
) -> Result<u64, Box<dyn std::error::Error>> {
    clients.grow_to(node.address(), connections)?;
    tokio::time::sleep(ROUND * ROUNDS).await;
    Ok(node.process().resident_bytes()?)
}

/// CPU of the node in one round. Whoever did not answer its pings is gone by then.
async fn cpu_of_a_round(node: &Node, connections: usize) -> Result<Duration, Box<dyn std::error::Error>> {
    let before = node.process().cpu()?;
    tokio::time::sleep(ROUND).await;
    let cpu = node.process().cpu()? - before;
    let left = node.metric("fanfare_gateway_sessions ").await? as usize;
    if left == connections { Ok(cpu) } else { Err(format!("of {connections} sessions {left} are left").into()) }
}

/// Processes that hold clients; ended when dropped.
#[derive(Default)]
struct Holders {
    processes: Vec<Child>,
    connections: usize,
}

impl Holders {
    /// Connects as many as are missing.
    fn grow_to(&mut self, address: SocketAddr, connections: usize) -> io::Result<()> {
        while self.connections < connections {
            let count = (connections - self.connections).min(HELD_MAX);
            self.start(address, count)?;
            self.connections += count;
        }
        Ok(())
    }

    fn start(&mut self, address: SocketAddr, count: usize) -> io::Result<()> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hold", &address.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take();
        self.processes.push(child);
        let mut line = String::new();
        BufReader::new(output.ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut line)?;
        if line == "ready\n" { Ok(()) } else { Err(io::Error::other("the clients could not connect")) }
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        for child in &mut self.processes {
            // It may have ended by itself; then there is nothing to end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
