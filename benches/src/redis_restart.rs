//! After a restart of Redis: how long until every channel is compared and read again, and with how many commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_broker::{HistoryQuery, Publications as _, Publish, Retention};
use fanfare_protocol::Channel;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

use crate::redis_server::{Calls, RedisServer, broker};
use crate::{Outcome, say};

/// Reads of history under way at once, as of a few shards.
const READS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(channels: usize) -> Outcome {
    let mut server = RedisServer::start()?;
    let (broken, mut to_read) = mpsc::channel(channels.max(1));
    let received = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&received);
    let event = move || {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    // Each channel is told once, so that there is room.
    let told = move |channel: &Channel| drop(broken.try_send(channel.clone()));
    let broker = broker(&server, Arc::new(Calls { event, broken: told })).await?;
    let empty = server.used_bytes()?;
    let names: Vec<Channel> = (0..channels).filter_map(|number| Channel::parse(&format!("c{number}")).ok()).collect();
    let ready = stream::iter(&names).for_each_concurrent(READS, |channel| {
        let broker = Arc::clone(&broker);
        async move {
            // What fails here is missing in the count below.
            let _ = broker.subscribe(channel).await;
            let _ = broker.publish(channel, kept()).await;
        }
    });
    ready.await;
    let begun = Instant::now();
    while received.load(Ordering::Relaxed) < channels as u64 {
        if begun.elapsed() > PATIENCE {
            return Err("not every channel could be followed".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    say(&format!(
        "redis-restart: {} bytes of Redis's memory for each channel with one publication and a node that listens",
        (server.used_bytes()? - empty) / channels.max(1) as u64
    ))?;
    server.restart()?;
    let begun = Instant::now();
    let mut first = None;
    for at in 0..channels.div_ceil(READS) {
        let count = READS.min(channels - at * READS);
        let mut batch = Vec::new();
        while batch.len() < count {
            let channel = tokio::time::timeout(PATIENCE, to_read.recv()).await?.ok_or("the broker has ended")?;
            first.get_or_insert_with(|| begun.elapsed());
            batch.push(channel);
        }
        let reads = batch.iter().map(|channel| broker.history(channel, HistoryQuery::default()));
        if futures_util::future::join_all(reads).await.iter().any(Result::is_err) {
            return Err("a history could not be read".into());
        }
    }
    let took = begun.elapsed();
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut server.connect()?)?;
    say(&format!(
        "redis-restart: {channels} channels compared and read again {:.2} s after Redis answers again \
         (the first after {:.2} s)",
        took.as_secs_f64(),
        first.unwrap_or_default().as_secs_f64()
    ))?;
    let sent = ["subscribe", "evalsha", "eval", "publish", "info", "client|setinfo"];
    let calls = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.and_then(|rest| rest.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let counts: Vec<String> = sent.iter().map(|name| format!("{name} {}", calls(name))).collect();
    say(&format!("redis-restart: commands since then, those within scripts among them: {}", counts.join(", ")))
}

fn kept() -> Publish {
    let retention = Retention { size: 100, ttl: Duration::from_secs(300), meta_ttl: Duration::from_secs(3_600) };
    Publish { data: Bytes::from_static(b"1"), json: true, retention: Some(retention), ..Publish::default() }
}
