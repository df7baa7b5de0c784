//! What Redis refuses, each in a state of the server that makes it refuse: the caller learns why, nothing is stored
//! that was refused, and everything goes on when the state has passed.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::{Error, HistoryQuery, Presence, Publications, Publish};
use fanfare_protocol::ClientInfo;

use crate::bench::{Bench, Ending, PATIENCE, channel, kept, live, until};
use crate::server::Server;

impl Bench {
    fn set(&self, name: &str, value: &str) {
        let _: () = self.server.run(&["CONFIG", "SET", name, value]);
    }

    fn faults(&self, label: &str) -> f64 {
        self.metric("fanfare_redis_faults_total", Some(label))
    }

    /// Why the broker is not ready.
    fn not_ready(&self) -> String {
        self.broker.ready().err().map(|reason| reason.to_string()).unwrap_or_default()
    }

    /// Why a publication with history is refused, tried until it is.
    async fn refused(&self, name: &str) -> Error {
        let mut refused = self.try_publish(name, kept("x")).await;
        for _ in 0..1000 {
            if refused.is_err() {
                break;
            }
            refused = self.try_publish(name, kept("x")).await;
        }
        refused.unwrap_err()
    }
}

fn ann() -> Arc<ClientInfo> {
    Arc::new(ClientInfo { client: "c1".to_owned(), user: "ann".to_owned(), ..ClientInfo::default() })
}

const NOT_OURS: &str = "a key in Redis holds something else";

fn not_ours() -> Error {
    Error::Refused(NOT_OURS)
}

#[tokio::test]
async fn a_server_that_loads_its_data_says_so_and_is_waited_for() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::with(server, |options| {
        options.command_timeout = Duration::from_secs(2);
        options.connect_timeout = Duration::from_secs(5);
    });
    let bench = bench.await;
    bench.listen("a").await;
    let before = bench.publish("a", kept("1")).await;
    bench.seen(1).await;
    bench.set("rdbcompression", "no");
    let fill = "for i = 1, 600 do redis.call('SET', 'fill' .. i, string.rep('x', 50000)) end";
    let _: () = bench.server.run(&["EVAL", fill, "0"]);
    let _: () = bench.server.run(&["SAVE"]);
    bench.server.kill();
    until("it is noticed", || bench.broker.ready().is_err()).await;
    // 600 keys of 10 ms each; after every 2 MB, which are 40, commands are looked at.
    bench.server.restart_with(&["--key-load-delay", "10000"]);
    until("it is said that it loads", || bench.not_ready() == "Redis is loading its data").await;
    while bench.refused("a").await != Error::Refused("Redis is loading its data") {}
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    until("the restart is told", || bench.broken() == ["a"]).await;
    let after = bench.publish("a", kept("2")).await;
    assert_eq!(after.offset, 2, "what was saved is there");
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(bench.history("a").await.publications.len(), 2);
}

#[tokio::test]
async fn without_memory_only_what_needs_some_is_refused() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    bench.set("maxmemory", "1");
    let full = Error::Overloaded("Redis is out of memory");
    for name in ["a", "fresh"] {
        assert_eq!(bench.try_publish(name, kept("2")).await, Err(full.clone()), "{name}");
    }
    let with_key = Publish { idempotency_key: Some("k".into()), ..live("2") };
    assert_eq!(bench.try_publish("a", with_key).await, Err(full.clone()));
    assert_eq!(
        bench.broker.presence_add(&channel("a"), ann(), PATIENCE).await,
        Err(Error::Unavailable("Redis is out of memory"))
    );
    let unknown = bench.broker.history(&channel("new"), HistoryQuery::default()).await;
    assert_eq!(unknown.unwrap_err(), full, "a channel without a position cannot be given one");
    assert_eq!(bench.history("a").await.publications.len(), 1);
    bench.try_publish("a", live("3")).await.unwrap();
    assert_eq!(bench.seen(2).await, ["1:1", "-:3"]);
    assert!(bench.broker.ready().is_ok());
    bench.set("maxmemory", "0");
    assert_eq!(bench.publish("a", kept("4")).await.offset, 2);
    assert!(bench.broken().is_empty());
}

#[tokio::test]
async fn a_server_that_cannot_save_refuses_writes_and_is_read_from() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    bench.set("save", "3600 1");
    // The snapshot cannot take a directory's name.
    let in_the_way = bench.server.dir().join("dump.rdb");
    std::fs::create_dir(&in_the_way).unwrap();
    let saving_ends = |how: &str| {
        // It fails while one is under way.
        let _ = redis::cmd("BGSAVE").exec(&mut bench.server.connect());
        bench.server.run::<String>(&["INFO", "persistence"]).contains(&format!("rdb_last_bgsave_status:{how}"))
    };
    until("saving fails", || saving_ends("err")).await;
    assert_eq!(bench.refused("a").await, Error::Refused("Redis cannot write to its disk"));
    let top = bench.top("a").await;
    assert_eq!(bench.history("a").await.publications.len() as u64, top.offset);
    bench.try_publish("a", live("live")).await.unwrap();
    std::fs::remove_dir(&in_the_way).unwrap();
    until("saving works", || saving_ends("ok")).await;
    assert_eq!(bench.publish("a", kept("2")).await.offset, top.offset + 1, "what was refused took no offset");
    assert!(bench.broken().is_empty());
}

#[tokio::test]
async fn a_server_with_too_few_replicas_refuses_writes() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    bench.publish("a", kept("1")).await;
    bench.set("min-replicas-to-write", "1");
    assert_eq!(bench.try_publish("a", kept("2")).await, Err(Error::Refused("Redis has too few replicas")));
    assert_eq!(bench.history("a").await.publications.len(), 1);
    bench.set("min-replicas-to-write", "0");
    assert_eq!(bench.publish("a", kept("3")).await.offset, 2);
    assert_eq!(bench.faults("no_replicas"), 1.0);
}

#[tokio::test]
async fn a_replica_without_its_master_serves_nobody() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::with(server, |options| options.command_timeout = Duration::from_secs(2)).await;
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    bench.seen(1).await;
    bench.set("replica-serve-stale-data", "no");
    let _: () = bench.server.run(&["REPLICAOF", "127.0.0.1", "1"]);
    let master_down = Error::Refused("Redis has lost its master");
    assert_eq!(bench.try_publish("a", kept("2")).await, Err(master_down));
    until("it is not ready", || bench.not_ready() == "Redis is a replica").await;
    let _: () = bench.server.run(&["REPLICAOF", "NO", "ONE"]);
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    assert_eq!(bench.publish("a", kept("3")).await.offset, 2);
    bench.is_continuous_or_told("a").await;
}

/// A key of each kind that holds something else.
#[tokio::test]
async fn every_kind_of_key_may_hold_something_else() {
    let Some(bench) = Bench::new().await else { return };
    let spoil = |key: &str| {
        let _: () = bench.server.run(&["SET", &format!("{}:{key}", bench.prefix), "not ours"]);
    };
    let query = HistoryQuery { limit: 10, ..HistoryQuery::default() };
    for kind in ["meta", "stream"] {
        let name = format!("history-{kind}");
        bench.publish(&name, kept("1")).await;
        spoil(&format!("{kind}:{name}"));
        assert_eq!(bench.broker.history(&channel(&name), query.clone()).await.unwrap_err(), not_ours(), "{kind}");
    }
    let _: () = bench.server.run(&["LPUSH", &format!("{}:result:keyed:5:k", bench.prefix), "not ours"]);
    let with_key = Publish { idempotency_key: Some("k".into()), ..kept("1") };
    assert_eq!(bench.try_publish("keyed", with_key).await, Err(not_ours()));
    for kind in ["members", "expiry", "users"] {
        let a = channel(&format!("present-{kind}"));
        bench.broker.presence_add(&a, ann(), PATIENCE).await.unwrap();
        spoil(&format!("{kind}:{a}"));
        let other = Arc::new(ClientInfo { client: "c2".to_owned(), ..ClientInfo::default() });
        assert_eq!(bench.broker.presence_add(&a, other, PATIENCE).await, Err(Error::Unavailable(NOT_OURS)), "{kind}");
        if kind != "users" {
            assert_eq!(bench.broker.presence(&a).await.unwrap_err(), not_ours(), "{kind}");
        }
        assert_eq!(bench.broker.presence_stats(&a).await.is_err(), kind != "members", "{kind}");
    }
    spoil("nodes");
    assert_eq!(fanfare_broker::Nodes::nodes(&*bench.broker).await.unwrap_err(), Error::Unavailable(NOT_OURS));
    assert!(bench.broker.ready().is_ok(), "{}", bench.not_ready());
    assert_eq!(bench.publish("good", kept("1")).await.offset, 1);
}

/// Found here: one key that was not ours kept all channels of its batch, and those behind it, from being compared.
#[tokio::test]
async fn a_channel_that_cannot_be_compared_does_not_keep_the_others_from_it() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    for name in ["bad", "good"] {
        bench.listen(name).await;
        bench.publish(name, kept("1")).await;
    }
    bench.seen(2).await;
    let _: () = bench.server.run(&["SET", &format!("{}:meta:bad", bench.prefix), "not ours"]);
    let _: i64 = bench.server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until("both are compared", || bench.metric("fanfare_redis_checked_total", None) == 2.0).await;
    assert_eq!(bench.broken(), ["bad"], "of which nothing is known");
    assert_eq!(bench.is_continuous_or_told("good").await, Ending::Continuous);
}

#[tokio::test]
async fn scripts_may_be_forgotten_at_any_moment() {
    let Some(server) = Server::start() else { return };
    let bench = Arc::new(Bench::on(server.clone()).await);
    bench.listen("a").await;
    let forgetting = tokio::task::spawn_blocking(move || {
        for _ in 0..100 {
            let _: () = server.run(&["SCRIPT", "FLUSH"]);
        }
    });
    let mut published = 0;
    while !forgetting.is_finished() {
        published += 1;
        assert_eq!(bench.publish("a", kept("x")).await.offset, published);
        assert_eq!(bench.history("a").await.top.offset, published);
    }
    forgetting.await.unwrap();
    assert!(published > 0);
    assert_eq!(bench.is_continuous_or_told("a").await, Ending::Continuous);
}

/// What evicts may take any key: whatever is gone, nobody is left in doubt.
#[tokio::test]
async fn whatever_is_evicted_no_offset_is_given_twice() {
    let Some(server) = Server::start_with(&["--maxmemory-policy", "allkeys-lru"]) else { return };
    let bench = Bench::on(server).await;
    until("it is said that keys may go", || bench.metric("fanfare_redis_evicting", None) == 1.0).await;
    bench.listen("a").await;
    let mut given = Vec::new();
    given.push(bench.publish("a", kept("1")).await);
    let used: u64 = {
        let memory: String = bench.server.run(&["INFO", "memory"]);
        let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        used.trim().parse().unwrap()
    };
    bench.set("maxmemory", &(used + 2_000_000).to_string());
    let text = format!("\"{}\"", "x".repeat(20_000));
    for number in 0..400 {
        // The server may also find nothing to evict for a moment: then it says so.
        let _ = bench.try_publish(&format!("other{number}"), kept(&text)).await;
        if let Ok(published) = bench.try_publish(if number % 50 == 0 { "a" } else { "b" }, kept("1")).await {
            given.extend(published.position.filter(|_| number % 50 == 0));
        }
    }
    let evicted: String = bench.server.run(&["INFO", "stats"]);
    assert!(!evicted.contains("evicted_keys:0\r\n"), "nothing was evicted: the test tests nothing");
    let count = given.len();
    given.sort_by(|one, other| (&one.epoch, one.offset).cmp(&(&other.epoch, other.offset)));
    given.dedup();
    assert_eq!(given.len(), count);
}

#[tokio::test]
async fn a_server_that_evicts_nothing_raises_no_alarm() {
    let Some(bench) = Bench::new().await else { return };
    assert_eq!(bench.metric("fanfare_redis_evicting", None), 0.0);
}
