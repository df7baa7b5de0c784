//! Messages received a second and core, as nodes publish them: by the broker's consumer, and by redis-rs for comparison.
//! Each runs on one thread, whose CPU time is read, while another publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fanfare_broker::Publications as _;
use fanfare_protocol::Channel;
use futures_util::StreamExt as _;

use crate::counted::placed_message;
use crate::redis_server::{Calls, RedisServer, broker};
use crate::{Outcome, say};

pub(crate) type Counter = Arc<AtomicU64>;

pub(crate) fn run(messages: usize) -> Outcome {
    let server = Arc::new(RedisServer::start()?);
    // Who is slower than the publisher is not cut off.
    let limit = ["client-output-buffer-limit", "pubsub 0 0 0"];
    redis::cmd("CONFIG").arg("SET").arg(&limit).exec(&mut server.connect()?)?;
    let ours = measure(&server, "our consumer", messages, consume_ours)?;
    let theirs = measure(&server, "redis-rs", messages, consume_theirs)?;
    say(&format!(
        "redis-consume: redis-rs takes {:.2} times the CPU of our consumer, which also decodes",
        theirs / ours
    ))
}

/// Seconds of CPU for each message.
fn measure(
    server: &Arc<RedisServer>,
    name: &str,
    messages: usize,
    consume: fn(Arc<RedisServer>, Counter, Arc<AtomicBool>) -> Outcome,
) -> Result<f64, Box<dyn std::error::Error>> {
    let (counter, is_over) = (Counter::default(), Arc::<AtomicBool>::default());
    let (consumer, counted, told) = (Arc::clone(server), Arc::clone(&counter), Arc::clone(&is_over));
    let consuming = std::thread::Builder::new().name("consumer".to_owned()).spawn(move || {
        if let Err(error) = consume(consumer, counted, told) {
            // Nothing arrives then, and the measurement says so.
            let _ = say(&format!("the consumer ended: {error}"));
        }
    })?;
    let mut connection = server.connect()?;
    while redis::cmd("PUBLISH").arg("fanfare:live:news").arg("1").query::<i64>(&mut connection)? == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (begun, before) = (Instant::now(), consumer_cpu()?);
    let message = placed_message();
    let mut sent = 0;
    while sent < messages {
        let mut pipe = redis::pipe();
        for _ in 0..500 {
            pipe.cmd("PUBLISH").arg("fanfare:live:news").arg(&message).ignore();
        }
        pipe.exec(&mut connection)?;
        sent += 500;
    }
    while counter.load(Ordering::Relaxed) < sent as u64 {
        if begun.elapsed() > Duration::from_secs(120) {
            return Err(format!("{} of {sent} messages arrived", counter.load(Ordering::Relaxed)).into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let each = (consumer_cpu()? - before).as_secs_f64() / sent as f64;
    say(&format!("redis-consume, {name}: {:.2} µs of CPU a message, {:.0} a second and core", each * 1e6, 1.0 / each))?;
    is_over.store(true, Ordering::Relaxed);
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").exec(&mut connection)?;
    // It holds the server, which would go on without it.
    consuming.join().map_err(|_| "the consumer has panicked")?;
    Ok(each)
}

/// CPU time of the newest thread of that name.
fn consumer_cpu() -> Result<Duration, Box<dyn std::error::Error>> {
    let mut newest = None;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let folder = thread?.path();
        if std::fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.trim() == "consumer") {
            let id: Option<u32> = folder.file_name().and_then(|id| id.to_str()?.parse().ok());
            newest = newest.max(id);
        }
    }
    let id = newest.ok_or("the consumer has ended")?;
    let text = std::fs::read_to_string(format!("/proc/self/task/{id}/schedstat"))?;
    let nanoseconds = text.split_whitespace().next().ok_or("no scheduler statistics")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

pub(crate) fn on_this_thread(future: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

fn consume_ours(server: Arc<RedisServer>, counter: Counter, is_over: Arc<AtomicBool>) -> Outcome {
    on_this_thread(async move {
        let event = move || {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let broker = broker(&server, Arc::new(Calls { event, broken: |_: &Channel| {} })).await?;
        let channel = Channel::parse("news").map_err(|_| "a bad channel")?;
        broker.subscribe(&channel).await.map_err(|_| "no subscription")?;
        while !is_over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    })
}

/// Until its connection is killed.
fn consume_theirs(server: Arc<RedisServer>, counter: Counter, _: Arc<AtomicBool>) -> Outcome {
    on_this_thread(async move {
        let mut pubsub = redis::Client::open(server.url())?.get_async_pubsub().await?;
        pubsub.subscribe("fanfare:live:news").await?;
        let mut messages = pubsub.on_message();
        while let Some(message) = messages.next().await {
            std::hint::black_box(message.get_payload_bytes());
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })
}
