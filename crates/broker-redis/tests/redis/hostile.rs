//! Messages and answers that no honest server gives: each is skipped and counted, or ends the connection it came on,
//! and bounded either way.

use std::time::{Duration, Instant};

use fanfare_broker::Error;

use crate::bench::{Bench, Ending, FOUND_WITHIN, address, kept, live, until};
use crate::proxy::Proxy;
use crate::server::Server;

/// A broker behind a proxy, listening to a channel that has been published to.
async fn behind_a_proxy() -> Option<(Bench, Proxy)> {
    let server = Server::start()?;
    let proxy = Proxy::to(server.port()).await;
    let bench = Bench::with(server, |options| options.server = address(&proxy.url())).await;
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    bench.seen(1).await;
    Some((bench, proxy))
}

impl Bench {
    /// A pub/sub message as the server would send it, announced with this length.
    fn message(&self, length: usize, payload: &[u8]) -> Vec<u8> {
        let name = format!("{}:live:a", self.prefix);
        let head = format!("*3\r\n$7\r\nmessage\r\n${}\r\n{name}\r\n${length}\r\n", name.len());
        [head.as_bytes(), payload].concat()
    }

    /// Publishes an envelope that the script did not make.
    fn forge(&self, offset: u64, epoch: &str, text: &str) {
        let body = [&[1, 0x22, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let envelope = [format!("\x01p{offset}:{epoch}:").as_bytes(), &body].concat();
        let name = format!("{}:live:a", self.prefix);
        let _: i64 = redis::cmd("PUBLISH").arg(name).arg(envelope).query(&mut self.server.connect()).unwrap();
    }

    fn consumers_lost(&self) -> f64 {
        self.metric("fanfare_redis_consumers_lost_total", None)
    }

    async fn goes_on(&self) {
        self.broker.wait_ready(crate::bench::PATIENCE).await.unwrap();
        self.is_continuous_or_told("a").await;
        let mut last = self.publish("a", kept("on")).await;
        while self.heard("a").last() != Some(&last) {
            last = self.publish("a", kept("on")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn nonsense_on_the_pubsub_connection_ends_it_and_nothing_else() {
    let Some((bench, proxy)) = behind_a_proxy().await else { return };
    let nested = "*1\r\n".repeat(200);
    let lies: [&[u8]; 7] = [
        b"$536870912\r\n",
        b"*3\r\n$536870912\r\n",
        nested.as_bytes(),
        b"%1\r\n+a\r\n+b\r\n",
        b"\x00\xff\x00\xff\r\n",
        b":1\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n",
    ];
    for (at, lie) in lies.into_iter().enumerate() {
        proxy.lie(true, lie);
        until("the connection is given up", || bench.consumers_lost() == (at + 1) as f64).await;
        bench.goes_on().await;
    }
}

/// The announced bytes are neither waited for in memory nor believed: what the connection brings from then on is
/// part of them, so that the probe does not arrive, and the connection is given up.
#[tokio::test]
async fn a_message_announced_with_512_megabytes_costs_no_memory() {
    let Some((bench, proxy)) = behind_a_proxy().await else { return };
    let before = resident_bytes();
    let begun = Instant::now();
    proxy.lie(true, &bench.message(512 << 20, b""));
    until("it is skipped", || bench.metric("fanfare_broker_bad_messages_total", Some("too_large")) == 1.0).await;
    until("the connection is given up", || bench.consumers_lost() == 1.0).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(resident_bytes().saturating_sub(before) < 100 << 20);
    bench.goes_on().await;
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// An answer to nothing, or none that can be read, on the connection for commands.
#[tokio::test]
async fn nonsense_on_the_command_connection_ends_it_at_worst() {
    let Some((bench, proxy)) = behind_a_proxy().await else { return };
    let nested = "*1\r\n".repeat(200);
    let lies: [&[u8]; 4] = [b"\x00\xff\x00\xff\r\n", nested.as_bytes(), b"$536870912\r\n", b"*1000000000\r\n"];
    for lie in lies {
        proxy.lie(false, lie);
        let mut published = bench.try_publish("a", kept("x")).await;
        while published.is_err() {
            published = bench.try_publish("a", kept("x")).await;
        }
        bench.goes_on().await;
    }
}

/// The gateway throws doubles away and reads again what is missing; the broker hands both on as they come, and is not
/// misled about what it has seen.
#[tokio::test]
async fn doubled_reordered_and_old_messages_are_handed_on_with_their_positions() {
    let Some((bench, _proxy)) = behind_a_proxy().await else { return };
    let epoch = bench.top("a").await.epoch;
    bench.publish("a", kept("2")).await;
    bench.forge(2, &epoch, "2");
    bench.forge(1, &epoch, "1");
    bench.forge(1, "another", "1");
    bench.publish("a", kept("3")).await;
    assert_eq!(bench.seen(6).await[..], ["1:1", "2:2", "2:2", "1:1", "1:1", "3:3"]);
    let _: i64 = bench.server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until("it is compared", || bench.metric("fanfare_redis_checked_total", None) == 1.0).await;
    assert!(bench.broken().is_empty(), "nothing is missing");
}

#[tokio::test]
async fn an_old_message_last_is_found_when_positions_are_compared() {
    let Some((bench, _proxy)) = behind_a_proxy().await else { return };
    let epoch = bench.publish("a", kept("2")).await.epoch;
    bench.forge(1, &epoch, "1");
    bench.seen(3).await;
    let _: i64 = bench.server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until("it is compared", || bench.metric("fanfare_redis_checked_total", None) == 1.0).await;
    assert_eq!(bench.broken(), ["a"], "reading again is what is done in doubt");
}

#[tokio::test]
async fn envelopes_of_another_version_are_skipped_and_the_next_one_shows_the_gap() {
    let Some((bench, _proxy)) = behind_a_proxy().await else { return };
    let name = format!("{}:live:a", bench.prefix);
    let later = |bytes: &[u8]| {
        let _: i64 = redis::cmd("PUBLISH").arg(&name).arg(bytes).query(&mut bench.server.connect()).unwrap();
    };
    later(b"\x02p2:e:x");
    later(b"\x01l\x80");
    bench.try_publish("a", live("1")).await.unwrap();
    assert_eq!(bench.seen(2).await, ["1:1", "-:1"]);
    assert_eq!(bench.metric("fanfare_broker_bad_messages_total", Some("version")), 2.0);
    assert_eq!(bench.consumers_lost(), 0.0);
}

/// Connections are accepted, kept, and bring nothing.
#[tokio::test]
async fn a_server_that_is_silent_is_given_up_and_found_again() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port()).await;
    let bench = Bench::with(server, |options| {
        options.server = address(&proxy.url());
        options.command_timeout = Duration::from_secs(1);
    });
    let bench = bench.await;
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    bench.seen(1).await;
    let begun = Instant::now();
    proxy.set_silent(false, true);
    proxy.set_silent(true, true);
    assert_eq!(bench.try_publish("a", kept("2")).await, Err(Error::Unavailable("Redis did not answer in time")));
    until("commands are given up", || bench.broker.ready().is_err()).await;
    until("messages are given up", || bench.metric("fanfare_redis_consuming", None) == 0.0).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    proxy.set_silent(false, false);
    proxy.set_silent(true, false);
    bench.broker.wait_ready(crate::bench::PATIENCE).await.unwrap();
    bench.is_continuous_or_told("a").await;
}

/// Only messages stop: commands are answered, so nothing but the probe tells.
#[tokio::test]
async fn a_pubsub_connection_that_brings_nothing_is_found_within_five_seconds() {
    let Some((bench, proxy)) = behind_a_proxy().await else { return };
    proxy.set_silent(true, true);
    let begun = Instant::now();
    bench.publish("a", kept("unheard")).await;
    until("it is given up", || bench.consumers_lost() >= 1.0).await;
    assert!(begun.elapsed() < FOUND_WITHIN, "{:?}", begun.elapsed());
    proxy.set_silent(true, false);
    assert_eq!(bench.is_continuous_or_told("a").await, Ending::Told);
}

/// After a failover the connection for commands is at the new master, the one for messages still at the old, which
/// nobody has told yet: it runs on, alone, and answers.
#[tokio::test]
async fn a_subscription_that_stays_at_the_old_master_is_found_within_five_seconds() {
    let (Some(old), Some(new)) = (Server::start(), Server::start()) else { return };
    new.follow(&old).await;
    let proxy = Proxy::to(old.port()).await;
    let bench = Bench::with(old.clone(), |options| options.server = address(&proxy.url())).await;
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    bench.seen(1).await;
    let followed = || new.run::<usize>(&["XLEN", &format!("{}:stream:a", bench.prefix)]) == 1;
    until("the replica has it", followed).await;
    let _: () = new.run(&["REPLICAOF", "NO", "ONE"]);
    proxy.turn_to(new.port());
    proxy.cut(false);
    let begun = Instant::now();
    while bench.try_publish("a", kept("2")).await.is_err() {}
    until("it is found", || bench.metric("fanfare_redis_probes_missed_total", None) == 1.0).await;
    assert!(begun.elapsed() < FOUND_WITHIN, "{:?}", begun.elapsed());
    let subscribed = |server: &Server| {
        let (_, count): (String, i64) = server.run(&["PUBSUB", "NUMSUB", &format!("{}:live:a", bench.prefix)]);
        count
    };
    until("it is at the new master", || subscribed(&new) == 1 && subscribed(&old) == 0).await;
    assert_eq!(bench.is_continuous_or_told("a").await, Ending::Told);
    bench.try_publish("a", live("heard")).await.unwrap();
    assert_eq!(bench.seen(2).await, ["1:1", "-:heard"]);
}
