//! Slow servers, slow consumers, clocks that jump.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::{Error, HistoryQuery, Presence, Publications};
use fanfare_protocol::ClientInfo;
use tokio::task::JoinSet;

use crate::bench::{Bench, Ending, PATIENCE, address, channel, kept, until};
use crate::proxy::Proxy;
use crate::server::Server;

async fn publish_many(bench: &Arc<Bench>, count: usize) -> Vec<Result<u64, Error>> {
    let mut publishing = JoinSet::new();
    for number in 0..count {
        let bench = Arc::clone(bench);
        publishing.spawn(async move {
            let published = bench.try_publish(&format!("c{}", number % 10), kept(&number.to_string())).await;
            published.map(|published| published.position.unwrap().offset)
        });
    }
    publishing.join_all().await
}

#[tokio::test]
async fn with_a_slow_server_everything_takes_longer_and_arrives() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port()).await;
    let bench = Arc::new(Bench::with(server, |options| options.server = address(&proxy.url())).await);
    for number in 0..10 {
        bench.listen(&format!("c{number}")).await;
    }
    proxy.set_delay(Duration::from_millis(200));
    let published = publish_many(&bench, 500).await;
    assert!(published.iter().all(Result::is_ok), "{published:?}");
    for number in 0..10 {
        assert_eq!(bench.is_continuous_or_told(&format!("c{number}")).await, Ending::Continuous);
        assert_eq!(bench.heard(&format!("c{number}")).len(), 50);
    }
    assert!(bench.broker.ready().is_ok());
    assert_eq!(bench.metric("fanfare_redis_consumers_lost_total", None), 0.0);
    assert_eq!(bench.metric("fanfare_redis_connections_lost_total", None), 0.0);
}

#[tokio::test]
async fn in_a_spike_publishes_fail_in_time_and_nothing_acknowledged_is_lost() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port()).await;
    let bench = Bench::with(server, |options| {
        options.server = address(&proxy.url());
        options.command_timeout = Duration::from_millis(300);
    });
    let bench = Arc::new(bench.await);
    for number in 0..10 {
        bench.listen(&format!("c{number}")).await;
    }
    let (mut accepted, mut failed) = (0, 0);
    for round in 0..3 {
        proxy.set_delay(Duration::from_millis(if round == 1 { 1500 } else { 0 }));
        for result in publish_many(&bench, 200).await {
            match result {
                Ok(_) => accepted += 1,
                Err(Error::Unavailable(_) | Error::Overloaded(_)) => failed += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    assert!(accepted > 0 && failed > 0, "{accepted} accepted, {failed} failed");
    proxy.set_delay(Duration::ZERO);
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    let mut kept = 0;
    for number in 0..10 {
        let name = format!("c{number}");
        bench.is_continuous_or_told(&name).await;
        let history = bench.history(&name).await;
        kept += history.publications.len();
        let mut texts: Vec<_> = history.publications.iter().map(|it| it.data.clone()).collect();
        texts.sort();
        // Each number was published once in each of three rounds.
        assert!(texts.chunk_by(|one, other| one == other).all(|same| same.len() <= 3), "{name} was doubled");
    }
    assert!(kept >= accepted && kept <= 600, "{accepted} accepted, {kept} kept");
}

/// Redis cuts a subscriber that lags (M5), and the publisher hears nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_consumer_that_is_cut_for_lagging_has_its_channels_compared() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    let _: () = bench.server.run(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0"]);
    for name in ["busy", "quiet"] {
        bench.listen(name).await;
        bench.publish(name, kept("1")).await;
    }
    bench.seen(2).await;
    bench.hold_up(true);
    let text = format!("\"{}\"", "x".repeat(60_000));
    let is_subscribed = || !bench.server.run::<String>(&["CLIENT", "LIST", "TYPE", "pubsub"]).is_empty();
    // What the sockets hold, 10 MB at most on Linux, goes through first.
    for _ in 0..1000 {
        bench.publish("busy", kept(&text)).await;
        if !is_subscribed() {
            break;
        }
    }
    assert!(!is_subscribed(), "the server cuts it");
    bench.hold_up(false);
    until("the cut is noticed", || bench.metric("fanfare_redis_consumers_lost_total", None) == 1.0).await;
    until("it is told", || bench.broken() == ["busy"]).await;
    let heard = bench.heard("busy");
    assert!(heard.windows(2).all(|two| two[0].offset + 1 == two[1].offset), "up to the cut nothing is missing");
    bench.publish("quiet", kept("2")).await;
    assert_eq!(bench.is_continuous_or_told("quiet").await, Ending::Continuous);
    let after = bench.publish("busy", kept("after")).await;
    until("it goes on", || bench.heard("busy").last() == Some(&after)).await;
}

/// A node that stood still for longer than a silent server is waited for took its server for silent, and dropped what the
/// server had sent meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pause_of_the_node_is_none_of_the_servers() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    bench.seen(1).await;
    bench.hold_up(true);
    for text in ["2", "3"] {
        bench.publish("a", kept(text)).await;
    }
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    bench.hold_up(false);
    assert_eq!(bench.seen(3).await, ["1:1", "2:2", "3:3"]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.metric("fanfare_redis_consumers_lost_total", None), 0.0);
    assert!(bench.broken().is_empty());
}

/// Offsets come from a counter: whatever the clock does, they rise. A jump ahead ends what has a lifetime, which here
/// is done by ending it: positions, so that the channel is another one, and presence.
#[tokio::test]
async fn a_clock_that_jumps_ahead_ends_lifetimes_and_gives_no_offset_twice() {
    let Some(bench) = Bench::new().await else { return };
    let before = bench.publish("a", kept("1")).await;
    for key in ["meta:a", "stream:a"] {
        let _: i64 = bench.server.run(&["PEXPIREAT", &format!("{}:{key}", bench.prefix), "1"]);
    }
    let after = bench.publish("a", kept("2")).await;
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
}

/// The same with a clock that does jump, where there is a library that makes it.
#[tokio::test]
async fn a_real_clock_that_jumps_ahead_and_back_takes_no_offset_and_no_node_away() {
    let Some(server) = Server::start_with_clock() else { return };
    let bench = Bench::on(server).await;
    let info = Arc::new(ClientInfo { client: "c1".to_owned(), ..ClientInfo::default() });
    bench.listen("a").await;
    let before = bench.publish("a", kept("1")).await;
    bench.seen(1).await;
    let mut last = before.clone();
    for (at, seconds) in [3600, -3600, 7200].into_iter().enumerate() {
        bench.broker.presence_add(&channel("a"), info.clone(), Duration::from_secs(60)).await.unwrap();
        bench.server.set_clock(seconds);
        until("the clock has jumped", || {
            let now: Vec<i64> = bench.server.run(&["TIME"]);
            (now[0] - now_millis() as i64 / 1000 - seconds).abs() < 60
        })
        .await;
        let next = bench.publish("a", kept("x")).await;
        let begins_anew = seconds > 0;
        assert_eq!(next.epoch != last.epoch, begins_anew, "jump {at}: lifetimes end ahead, and do not end back");
        assert_eq!(next.offset, if begins_anew { 1 } else { last.offset + 1 });
        assert_eq!(bench.broker.presence(&channel("a")).await.unwrap().len(), usize::from(!begins_anew));
        last = next;
        assert_eq!(fanfare_broker::Nodes::nodes(&*bench.broker).await.unwrap().len(), 1);
    }
    assert_eq!(bench.heard("a").last(), Some(&last));
    assert!(bench.broker.ready().is_ok());
    assert_eq!(bench.metric("fanfare_redis_consumers_lost_total", None), 0.0);
}

/// Found here: a node that died just before a jump back was waited for until the clock had caught up.
#[tokio::test]
async fn after_a_clock_jumped_back_no_dead_node_is_waited_for() {
    let Some(bench) = Bench::new().await else { return };
    let an_hour_ahead = (now_millis() + 3_600_000).to_string();
    let _: i64 = bench.server.run(&["ZADD", &format!("{}:nodes", bench.prefix), &an_hour_ahead, "dead"]);
    assert_eq!(fanfare_broker::Nodes::nodes(&*bench.broker).await.unwrap().len(), 1);
}

/// Presence counts from the last refresh, by Redis's clock: after a jump back it is refreshed into the new time.
#[tokio::test]
async fn presence_is_refreshed_into_the_time_after_a_jump() {
    let Some(bench) = Bench::new().await else { return };
    let info = Arc::new(ClientInfo { client: "c1".to_owned(), ..ClientInfo::default() });
    bench.broker.presence_add(&channel("a"), info.clone(), Duration::from_secs(60)).await.unwrap();
    let expiry = format!("{}:expiry:a", bench.prefix);
    let _: f64 = bench.server.run(&["ZINCRBY", &expiry, "3600000", "c1"]);
    bench.broker.presence_add(&channel("a"), info, Duration::from_secs(60)).await.unwrap();
    let until: f64 = bench.server.run(&["ZSCORE", &expiry, "c1"]);
    assert!(until < now_millis() as f64 + 120_000.0);
    assert_eq!(bench.broker.presence(&channel("a")).await.unwrap().len(), 1);
}

fn now_millis() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

/// A channel that nobody publishes to is compared too: what it lost in the outage is not shown by a next message.
#[tokio::test]
async fn after_each_of_several_outages_every_channel_is_continuous_or_told() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::with(server, |options| options.command_timeout = Duration::from_secs(2)).await;
    for number in 0..50 {
        bench.listen(&format!("c{number}")).await;
        bench.publish(&format!("c{number}"), kept("1")).await;
    }
    bench.seen(50).await;
    for round in 1..=3 {
        bench.server.kill();
        until("it is noticed", || bench.broker.ready().is_err()).await;
        assert!(matches!(bench.try_publish("c0", kept("x")).await, Err(Error::Refused(_) | Error::Unavailable(_))));
        bench.server.restart();
        bench.broker.wait_ready(PATIENCE).await.unwrap();
        for number in 0..50 {
            until("it is told", || told(&bench, &format!("c{number}")) >= round).await;
            let query = HistoryQuery { limit: 1, ..HistoryQuery::default() };
            bench.broker.history(&channel(&format!("c{number}")), query).await.unwrap();
        }
    }
}

fn told(bench: &Bench, name: &str) -> usize {
    bench.broken().iter().filter(|broken| *broken == name).count()
}
