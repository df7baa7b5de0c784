//! Whole nodes on Redis: deliveries a second over two of them, and what Redis adds to the latency of a delivery.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::clients::{self, Clients};
use crate::node::{self, Node};
use crate::redis_server::RedisServer;
use crate::{Outcome, PAYLOAD_BYTES, say};

/// Publications of `deliver`, sent as fast as they are acknowledged.
const PUBLICATIONS: usize = 2_000;

/// Deliveries a second over two nodes, half of the subscribers on each.
pub(crate) async fn deliver(subscribers: usize) -> Outcome {
    let server = RedisServer::start()?;
    let nodes = [Node::start_on(&server.url()).await?, Node::start_on(&server.url()).await?];
    let each = (subscribers / 2).max(1);
    let clients =
        [Clients::connect(nodes[0].address(), each).await?, Clients::connect(nodes[1].address(), each).await?];
    let payload = payload();
    let frame_bytes = clients[0].learn_frame(&nodes[0], &payload).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let cpu =
        || Ok::<_, std::io::Error>([nodes[0].process().cpu()?, nodes[1].process().cpu()?, server.process().cpu()?]);
    let (begun, before) = (Instant::now(), cpu()?);
    let awaited =
        clients.each_ref().map(|clients| clients.received_bytes() + (PUBLICATIONS * each * frame_bytes) as u64);
    for _ in 0..PUBLICATIONS {
        nodes[0].publish(&payload).await?;
    }
    for (clients, awaited) in clients.iter().zip(awaited) {
        clients.wait_for(awaited).await?;
    }
    let (took, after) = (begun.elapsed(), cpu()?);
    let deliveries = (PUBLICATIONS * each * 2) as f64;
    let cost = |at: usize| (after[at] - before[at]).as_secs_f64() * 1e6 / deliveries;
    say(&format!(
        "redis-deliver: {:.0} deliveries a second over two nodes, {} subscribers; µs of CPU a delivery: \
         {:.2} the node that publishes too, {:.2} the other, {:.3} Redis",
        deliveries / took.as_secs_f64(),
        each * 2,
        cost(0) * 2.0,
        cost(1) * 2.0,
        cost(2)
    ))
}

/// From the publish request to its answer and the frame at a client, whichever is later, one publication at a time: in memory, on the same node through
/// Redis, and on another node. The three take turns.
pub(crate) async fn latency(rounds: usize) -> Outcome {
    let server = RedisServer::start()?;
    let memory = Node::start_without_pings().await?;
    let [one, other] = [Node::start_on(&server.url()).await?, Node::start_on(&server.url()).await?];
    let ways = [("in memory", &memory, &memory), ("through Redis", &one, &one), ("to another node", &one, &other)];
    let mut streams = Vec::new();
    for (at, (_, _, listens)) in ways.iter().enumerate() {
        streams.push(clients::open(listens.address(), &node::token(at)).await?);
    }
    let mut times = [const { Vec::new() }; 3];
    let payload = payload();
    for round in 0..rounds + 100 {
        for (at, (_, publishes, _)) in ways.iter().enumerate() {
            drain(&mut streams).await?;
            let begun = Instant::now();
            publishes.publish(&payload).await?;
            let mut buffer = [0; 2_048];
            if streams[at].read(&mut buffer).await? == 0 {
                return Err("a node closed the connection".into());
            }
            if round >= 100 {
                times[at].push(begun.elapsed());
            }
        }
    }
    for (times, (name, ..)) in times.iter_mut().zip(ways) {
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
        say(&format!("redis-latency, {name}: p50 {} µs, p90 {} µs, p99 {} µs", at(0.5), at(0.9), at(0.99)))?;
    }
    Ok(())
}

/// Takes what has come to those who listen as well.
async fn drain(streams: &mut [TcpStream]) -> Outcome {
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut buffer = [0; 2_048];
    for stream in streams {
        while stream.try_read(&mut buffer).is_ok_and(|length| length > 0) {}
    }
    Ok(())
}

fn payload() -> String {
    format!("{{\"text\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES - 11))
}
