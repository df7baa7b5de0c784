//! What comes in through pub/sub: interest, foreign publications, lost and hanging connections.

use std::time::{Duration, Instant};

use fanfare_broker::{Error, Publications};
use fanfare_protocol::ClientInfo;
use tokio::task::JoinSet;

use crate::bench::{Bench, FOUND_WITHIN, address, channel, kept, live, until};
use crate::proxy::Proxy;
use crate::server::Server;

impl Bench {
    /// How many are subscribed to a channel in Redis.
    fn subscribed(&self, name: &str) -> i64 {
        let (_, count): (String, i64) = self.server.run(&["PUBSUB", "NUMSUB", &format!("{}:live:{name}", self.prefix)]);
        count
    }

    /// Publishes past the broker.
    fn say(&self, name: &str, payload: &[u8]) {
        let live = format!("{}:live:{name}", self.prefix);
        let _: i64 = redis::cmd("PUBLISH").arg(live).arg(payload).query(&mut self.server.connect()).unwrap();
    }
}

#[tokio::test]
async fn json_published_straight_into_redis_arrives_live() {
    let Some(bench) = Bench::new().await else { return };
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    bench.say("a", br#"{"text":"hello"}"#);
    bench.publish("a", kept("2")).await;
    assert_eq!(bench.seen(3).await, ["1:1", "-:{\"text\":\"hello\"}", "2:2"]);
}

#[tokio::test]
async fn everything_else_is_skipped_and_counted() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::with(server, |options| options.message_bytes_max = 1000).await;
    bench.listen("a").await;
    let large = vec![b'1'; 500_000];
    for payload in [&b"hello"[..], b"", b"\x01p1:e", b"\x01x", b"\x02p1:e:", b"\xff", &large] {
        bench.say("a", payload);
    }
    bench.try_publish("a", live("1")).await.unwrap();
    assert_eq!(bench.seen(1).await, ["-:1"]);
    let skipped = |reason| bench.metric("fanfare_broker_bad_messages_total", Some(reason));
    assert_eq!(["foreign", "malformed", "version", "too_large"].map(skipped), [3.0, 2.0, 1.0, 1.0]);
}

#[tokio::test]
async fn a_channel_is_subscribed_to_while_somebody_listens_and_a_while_longer() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::with(server, |options| options.linger = Duration::from_millis(300)).await;
    for _ in 0..2 {
        bench.listen("a").await;
        assert_eq!(bench.subscribed("a"), 1);
    }
    bench.broker.unsubscribe(&channel("a"));
    bench.try_publish("a", live("1")).await.unwrap();
    assert_eq!(bench.seen(1).await, ["-:1"]);
    bench.broker.unsubscribe(&channel("a"));
    assert_eq!(bench.subscribed("a"), 1);
    until("it is left", || bench.subscribed("a") == 0).await;
    bench.listen("a").await;
    assert_eq!(bench.subscribed("a"), 1);
}

#[tokio::test]
async fn thousands_of_channels_are_subscribed_to_in_batches() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    let mut listening = JoinSet::new();
    for number in 0..3000 {
        let broker = bench.broker.clone();
        listening.spawn(async move { broker.subscribe(&channel(&number.to_string())).await });
    }
    assert!(listening.join_all().await.iter().all(Result::is_ok));
    let stats: String = bench.server.run(&["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_subscribe:calls=")).unwrap();
    let calls: usize = calls.split(',').next().unwrap().parse().unwrap();
    assert!(calls < 300, "{calls} commands for 3,000 channels");
    for number in [0, 1500, 2999] {
        bench.try_publish(&number.to_string(), live("x")).await.unwrap();
    }
    bench.seen(3).await;
}

#[tokio::test]
async fn joins_and_leaves_arrive() {
    let Some(bench) = Bench::new().await else { return };
    bench.listen("a").await;
    let info = std::sync::Arc::new(ClientInfo { client: "c1".to_owned(), ..ClientInfo::default() });
    bench.broker.publish_join(&channel("a"), info.clone()).await.unwrap();
    bench.broker.publish_leave(&channel("a"), info).await.unwrap();
    assert_eq!(bench.seen(2).await, ["+c1", "-c1"]);
}

#[tokio::test]
async fn after_a_lost_connection_only_channels_that_missed_something_are_broken() {
    let Some(server) = Server::shared() else { return };
    let proxy = Proxy::to(server.port()).await;
    let bench = Bench::with(server.clone(), |options| options.server = address(&proxy.url())).await;
    let other = Bench::with(server, |options| options.prefix.clone_from(&bench.prefix)).await;
    for name in ["missed", "quiet", "silent", "unread"] {
        bench.listen(name).await;
    }
    bench.publish("missed", kept("1")).await;
    bench.publish("quiet", kept("2")).await;
    bench.seen(2).await;
    assert_eq!(bench.top("silent").await.offset, 0);
    proxy.set_closed(true);
    proxy.cut(true);
    until("the loss is noticed", || bench.metric("fanfare_redis_consuming", None) == 0.0).await;
    other.publish("missed", kept("3")).await;
    proxy.set_closed(false);
    until("all are checked", || bench.metric("fanfare_redis_checked_total", None) == 4.0).await;
    let mut broken = bench.broken();
    broken.sort();
    assert_eq!(broken, ["missed", "unread"]);
    other.publish("missed", kept("4")).await;
    assert_eq!(bench.seen(3).await, ["1:1", "2:2", "3:4"].map(|label| if label == "2:2" { "1:2" } else { label }));
}

#[tokio::test]
async fn a_killed_subscriber_comes_back_at_once() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    for round in 1..=5 {
        let killed: i64 = bench.server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        assert_eq!(killed, 1);
        let begun = Instant::now();
        until("it is subscribed again", || bench.subscribed("a") == 1).await;
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert_eq!(bench.metric("fanfare_redis_consumers_lost_total", None), f64::from(round));
        bench.publish("a", kept("x")).await;
    }
}

#[tokio::test]
async fn without_redis_a_subscription_fails_and_leaves_nothing() {
    let Some(server) = Server::start() else { return };
    server.kill();
    let bench = Bench::unready(server, |options| options.command_timeout = Duration::from_secs(1));
    assert!(matches!(bench.broker.subscribe(&channel("a")).await, Err(Error::Unavailable(_))));
    bench.server.restart();
    bench.broker.wait_ready(crate::bench::PATIENCE).await.unwrap();
    bench.listen("b").await;
    assert_eq!((bench.subscribed("a"), bench.subscribed("b")), (0, 1));
}

/// A demoted node to which no publication comes any more, although it answers: a server of its own.
#[tokio::test]
async fn a_connection_that_hangs_at_another_server_is_found_within_five_seconds() {
    let (Some(server), Some(elsewhere)) = (Server::start(), Server::start()) else { return };
    let proxy = Proxy::to(server.port()).await;
    let bench = Bench::with(server, |options| options.server = address(&proxy.url())).await;
    bench.listen("a").await;
    proxy.turn_to(elsewhere.port());
    proxy.cut(true);
    let there = || {
        let (_, count): (String, i64) = elsewhere.run(&["PUBSUB", "NUMSUB", &format!("{}:live:a", bench.prefix)]);
        count
    };
    until("it hangs", || there() == 1).await;
    let begun = Instant::now();
    proxy.turn_to(bench.server.port());
    until("it is back", || bench.subscribed("a") == 1).await;
    assert!(begun.elapsed() < FOUND_WITHIN, "{:?}", begun.elapsed());
    assert_eq!(bench.metric("fanfare_redis_probes_missed_total", None), 1.0);
    bench.try_publish("a", live("1")).await.unwrap();
    assert_eq!(bench.seen(1).await, ["-:1"]);
}
