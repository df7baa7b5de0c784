//! Publications a second through one Redis server, and what each costs it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_broker::{Publications as _, Publish, Retention};
use fanfare_broker_redis::RedisBroker;
use fanfare_protocol::Channel;
use tokio::task::JoinSet;

use crate::redis_server::{Calls, RedisServer, broker};
use crate::{Outcome, PAYLOAD_BYTES, say};

/// Publishers, each of which waits for its answer before it publishes again.
const PUBLISHERS: usize = 512;
/// Channels that are published to in turn.
const CHANNELS: usize = 1_000;

/// Publications that a channel keeps.
const HISTORY: usize = 100;

/// What is published.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Plain,
    Key,
    History,
}

pub(crate) async fn run(publications: usize) -> Outcome {
    let server = RedisServer::start()?;
    let broker = broker(&server, Arc::new(Calls { event: || {}, broken: |_: &Channel| {} })).await?;
    // With history first, so that the streams are as full as they get.
    let empty = server.used_bytes()?;
    measure(&broker, Kind::History, CHANNELS * HISTORY).await?;
    let kept = (CHANNELS * HISTORY) as u64;
    say(&format!(
        "redis-publish: {} bytes of Redis's memory for each publication kept, {PAYLOAD_BYTES} bytes each, {HISTORY} in a \
         channel",
        (server.used_bytes()? - empty) / kept
    ))?;
    for (kind, name) in
        [(Kind::Plain, "plain PUBLISH"), (Kind::Key, "with an idempotency key"), (Kind::History, "with history")]
    {
        let before = server.process().cpu()?;
        let took = measure(&broker, kind, publications).await?;
        let cpu = server.process().cpu()? - before;
        say(&format!(
            "redis-publish, {name}: {:.0} publications a second, {:.1} µs of Redis's CPU each",
            publications as f64 / took.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / publications as f64
        ))?;
    }
    Ok(())
}

async fn measure(
    broker: &Arc<RedisBroker>,
    kind: Kind,
    publications: usize,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let mut publishing = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let broker = Arc::clone(broker);
        publishing.spawn(async move {
            for number in (publisher..publications).step_by(PUBLISHERS) {
                let channel = Channel::parse(&format!("c{}", number % CHANNELS)).map_err(|_| "a bad channel")?;
                broker.publish(&channel, publication(kind, number)).await.map_err(|_| "a publish failed")?;
            }
            Ok::<(), &'static str>(())
        });
    }
    while let Some(ended) = publishing.join_next().await {
        ended??;
    }
    Ok(begun.elapsed())
}

fn publication(kind: Kind, number: usize) -> Publish {
    let retention = Retention { size: HISTORY, ttl: Duration::from_secs(300), meta_ttl: Duration::from_secs(3_600) };
    Publish {
        data: Bytes::from(format!("\"{}\"", "x".repeat(PAYLOAD_BYTES - 2))),
        json: true,
        retention: matches!(kind, Kind::History).then_some(retention),
        idempotency_key: matches!(kind, Kind::Key).then(|| number.to_string()),
        ..Publish::default()
    }
}
