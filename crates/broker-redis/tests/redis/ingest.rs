//! The ingest stream: order, repetition, poison, and who reads it when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_broker::namespaces::{ChannelOptions, Namespaces};
use fanfare_broker_redis::{IngestOptions, Options};
use fanfare_protocol::Channel;

use crate::apart::Apart;
use crate::bench::{Bench, PATIENCE, RETENTION, address, options_of, until};
use crate::proxy::Proxy;
use crate::server::Server;

type Entry = (String, Vec<(String, String)>);

/// `live:` keeps nothing; all others do.
pub(crate) fn ingest() -> IngestOptions {
    let kept = ChannelOptions { retention: Some(RETENTION), ..ChannelOptions::default() };
    let named = BTreeMap::from([("live".to_owned(), ChannelOptions::default())]);
    IngestOptions::new(Arc::new(Namespaces::new(kept, named)), Channel::BYTES_MAX)
}

impl Bench {
    async fn ingesting(server: Arc<Server>, change: impl FnOnce(&mut Options)) -> Self {
        let bench = Self::with(server, change).await;
        bench.broker.start_ingest(ingest());
        bench
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// What a backend does, with fields and values.
    pub(crate) fn add(&self, fields: &[&str]) -> String {
        self.add_as("*", fields)
    }

    fn add_as(&self, id: &str, fields: &[&str]) -> String {
        self.server.run(&[&["XADD", &self.key("ingest"), id], fields].concat())
    }

    /// Many at once: nobody reads some of them before all are there.
    fn add_many(&self, name: &str, range: std::ops::Range<usize>) {
        let mut many = redis::pipe();
        many.atomic();
        for number in range {
            let fields = ["*", "channel", name, "data", &number.to_string()];
            many.cmd("XADD").arg(self.key("ingest")).arg(&fields).ignore();
        }
        many.exec(&mut self.server.connect()).unwrap();
    }

    fn dead(&self) -> Vec<BTreeMap<String, String>> {
        let entries: Vec<Entry> = self.server.run(&["XRANGE", &self.key("ingest:dead"), "-", "+"]);
        entries.into_iter().map(|(_, fields)| fields.into_iter().collect()).collect()
    }

    fn waiting(&self) -> usize {
        self.server.run(&["XLEN", &self.key("ingest")])
    }

    pub(crate) async fn all_is_done(&self) {
        until("nothing is left in the stream", || self.waiting() == 0).await;
    }

    async fn texts(&self, name: &str) -> Vec<String> {
        let publications = self.history(name).await.publications;
        publications.iter().map(|publication| String::from_utf8_lossy(&publication.data).into_owned()).collect()
    }

    fn reads(&self) -> bool {
        self.metric("fanfare_ingest_reading", None) == 1.0
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn an_entry_is_an_ordinary_publication_on_every_node() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::ingesting(server.clone(), |_| {}).await;
    let other = Bench::with(server, |options| options.prefix.clone_from(&bench.prefix)).await;
    for node in [&bench, &other] {
        node.listen("a").await;
        node.listen("live:a").await;
    }
    bench.add(&["channel", "a", "data", "{\"text\":\"hi\"}"]);
    for node in [&bench, &other] {
        assert_eq!(node.seen(1).await, ["1:{\"text\":\"hi\"}"]);
    }
    bench.add(&["channel", "a", "data", "2", "skip_history", "true"]);
    bench.add(&["channel", "live:a", "data", "3"]);
    let mut seen = other.seen(3).await;
    seen.sort();
    assert_eq!(seen, ["-:2", "-:3", "1:{\"text\":\"hi\"}"]);
    bench.all_is_done().await;
    assert_eq!(bench.texts("a").await, ["{\"text\":\"hi\"}"]);
    assert_eq!(bench.metric("fanfare_ingest_read_total", None), 3.0);
    assert_eq!(bench.metric("fanfare_ingest_published_total", None), 3.0);
    assert!(bench.dead().is_empty());
}

#[tokio::test]
async fn a_channel_keeps_the_order_of_its_entries_whoever_adds_them() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::ingesting(server, |_| {}).await;
    let mut adding = tokio::task::JoinSet::new();
    for name in ["a", "b", "c", "a", "b"] {
        let (server, key) = (bench.server.clone(), bench.key("ingest"));
        adding.spawn_blocking(move || {
            let mut connection = server.connect();
            for _ in 0..400 {
                // Each payload says which one of its channel it is.
                let script = "local number = redis.call('INCR', KEYS[2]) \
                              return redis.call('XADD', KEYS[1], '*', 'channel', ARGV[1], 'data', number)";
                let mut add = redis::cmd("EVAL");
                add.arg(script).arg(2).arg(&key).arg(format!("{key}:count:{name}")).arg(name);
                add.exec(&mut connection).unwrap();
            }
        });
    }
    for name in ["a", "b", "c"] {
        bench.listen(name).await;
    }
    adding.join_all().await;
    bench.all_is_done().await;
    for (name, count) in [("a", 800), ("b", 800), ("c", 400)] {
        let last = numbers(count - 99..count + 1);
        assert_eq!(bench.texts(name).await, last, "{name}");
        assert_eq!(bench.top(name).await.offset, count as u64);
    }
    assert_eq!(bench.metric("fanfare_ingest_published_total", None), 2000.0);
}

#[tokio::test]
async fn keys_versions_tags_and_bytes_mean_what_they_mean_in_the_api() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::ingesting(server, |_| {}).await;
    for text in ["1", "2"] {
        bench.add(&["channel", "keyed", "data", text, "key", "k"]);
        bench.add(&["channel", "live:keyed", "data", text, "key", "k"]);
    }
    for (version, text) in [("5", "\"new\""), ("4", "\"old\""), ("6", "\"newer\"")] {
        bench.add(&["channel", "versioned", "data", text, "version", version, "version_epoch", "e"]);
    }
    bench.add(&["channel", "bytes", "b64data", "/w==", "tags", "{\"a\":\"b\"}"]);
    bench.all_is_done().await;
    assert_eq!(bench.texts("keyed").await, ["1"]);
    assert_eq!(bench.texts("versioned").await, ["\"new\"", "\"newer\""]);
    let bytes = bench.history("bytes").await.publications;
    assert_eq!((&bytes[0].data[..], bytes[0].json, bytes[0].tags["a"].as_str()), (&b"\xff"[..], false, "b"));
    assert!(bench.dead().is_empty());
}

#[tokio::test]
async fn poison_goes_to_the_dead_letters_with_its_reason_and_holds_nobody_up() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::ingesting(server, |_| {}).await;
    let large = "x".repeat(1_000_000);
    let first = bench.add(&["channel", "a", "data", "no json"]);
    bench.add(&["channel", "nowhere:a", "data", "1"]);
    bench.add(&["channel", "a", "data", "1", "dtaa", "2"]);
    bench.add(&["data", "1"]);
    bench.add(&["channel", "a", "data", &large]);
    bench.add(&["channel", "a", "data", "\"good\""]);
    bench.all_is_done().await;
    assert_eq!(bench.texts("a").await, ["\"good\""]);
    let mut dead = bench.dead();
    assert_eq!(dead.len(), 5);
    dead.sort_by_key(|letter| letter["entry"].clone());
    assert_eq!(dead[0]["entry"], first);
    for (letter, reason) in dead.iter().zip(["not JSON", "namespace", "\"dtaa\" is unknown", "channel is missing", ""])
    {
        assert!(letter["reason"].contains(reason), "{letter:?}");
    }
    assert_eq!((dead[2]["dtaa"].as_str(), dead[2]["channel"].as_str()), ("2", "a"));
    assert!(!dead[4].contains_key("data"), "what is too large is not kept");
    for (reason, count) in [("data", 1.0), ("channel", 1.0), ("field", 2.0), ("too_large", 1.0)] {
        assert_eq!(bench.metric("fanfare_ingest_dead_total", Some(reason)), count, "{reason}");
    }
}

#[tokio::test]
async fn an_id_from_another_time_is_poison() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::ingesting(server, |_| {}).await;
    bench.add_as("1-1", &["channel", "a", "data", "1"]);
    bench.add(&["channel", "a", "data", "2"]);
    bench.add_as("18446744073709551615-1", &["channel", "a", "data", "3"]);
    bench.all_is_done().await;
    assert_eq!(bench.texts("a").await, ["2"]);
    assert_eq!(bench.metric("fanfare_ingest_dead_total", Some("time")), 2.0);
}

#[tokio::test]
async fn dead_letters_are_trimmed() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::ingesting(server, |_| {}).await;
    for _ in 0..15 {
        let mut many = redis::pipe();
        for _ in 0..100 {
            many.cmd("XADD").arg(bench.key("ingest")).arg("*").arg("poison").arg("x").ignore();
        }
        many.exec(&mut bench.server.connect()).unwrap();
    }
    bench.all_is_done().await;
    let letters: usize = bench.server.run(&["XLEN", &bench.key("ingest:dead")]);
    assert!((1000..1200).contains(&letters), "{letters}");
    assert_eq!(bench.metric("fanfare_ingest_dead_total", None), 1500.0);
}

#[tokio::test]
async fn a_stream_that_is_full_loses_its_oldest_entries_and_says_so() {
    let Some(server) = Server::shared() else { return };
    // Nothing gets through.
    let bench = Bench::with(server, |options| options.in_flight_max = 0).await;
    bench.add_many("a", 0..1000);
    bench.broker.start_ingest(IngestOptions { entries_max: 100, ..ingest() });
    until("it is trimmed", || bench.waiting() < 300).await;
    assert!(bench.waiting() >= 100, "{}", bench.waiting());
    let trimmed = || bench.metric("fanfare_ingest_trimmed_total", None) + bench.waiting() as f64 == 1000.0;
    until("what was lost is counted", trimmed).await;
    assert!(bench.metric("fanfare_ingest_lag_seconds", None) > 0.0);
}

#[tokio::test]
async fn a_key_that_is_not_ours_holds_up_nobody_else() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::with(server, |_| {}).await;
    let _: () = bench.server.run(&["SET", &bench.key("meta:bad"), "x"]);
    let _: () = bench.server.run(&["SET", &bench.key("ingest"), "x"]);
    bench.broker.start_ingest(ingest());
    until("it is this node's turn", || bench.reads()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(bench.broker.ready().is_ok());
    let _: () = bench.server.run(&["DEL", &bench.key("ingest")]);
    bench.add(&["channel", "bad", "data", "1"]);
    bench.add(&["channel", "good", "data", "1"]);
    bench.all_is_done().await;
    assert_eq!(bench.texts("good").await, ["1"]);
    assert!(bench.dead()[0]["reason"].contains("holds something else"), "{:?}", bench.dead());
}

#[tokio::test]
async fn without_a_place_for_dead_letters_poison_stays_where_it_is() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::with(server, |_| {}).await;
    let _: () = bench.server.run(&["SET", &bench.key("ingest:dead"), "x"]);
    bench.broker.start_ingest(ingest());
    bench.add(&["poison", "x"]);
    bench.add(&["channel", "a", "data", "1"]);
    until("all but the poison is done", || bench.waiting() == 1).await;
    assert_eq!(bench.texts("a").await, ["1"]);
    let _: () = bench.server.run(&["DEL", &bench.key("ingest:dead")]);
    bench.all_is_done().await;
    assert_eq!(bench.dead().len(), 1);
}

/// Published, and not known to be: the answer of the script is lost, then the whole reader.
#[tokio::test]
async fn what_is_read_again_is_published_once() {
    let Some(server) = Server::shared() else { return };
    let proxy = Proxy::to(server.port()).await;
    let bench = Bench::ingesting(server.clone(), |options| options.server = address(&proxy.url())).await;
    for name in ["a", "live:a"] {
        bench.listen(name).await;
        bench.add(&["channel", name, "data", "\"first\""]);
    }
    bench.seen(2).await;
    for text in ["lost answer", "lost again"] {
        proxy.doom(text);
        for name in ["a", "live:a"] {
            bench.add(&["channel", name, "data", &format!("\"{text}\"")]);
        }
        bench.all_is_done().await;
    }
    // Entries that were published and not deleted, for the next reader.
    bench.broker.stop().await;
    let _: () = bench.server.run(&["DEL", &bench.key("ingest")]);
    // In the order in which they were added above, that is by id.
    for name in ["a", "live:a"] {
        let id: String = bench.server.run(&["GET", &bench.key(&format!("ingested:{name}"))]);
        bench.add_as(&id, &["channel", name, "data", "\"again\""]);
    }
    let other = Bench::ingesting(server, |options| options.prefix.clone_from(&bench.prefix)).await;
    other.listen("live:a").await;
    other.add(&["channel", "live:a", "data", "\"last\""]);
    other.add(&["channel", "a", "data", "\"last\""]);
    other.all_is_done().await;
    assert_eq!(other.texts("a").await, ["\"first\"", "\"lost answer\"", "\"lost again\"", "\"last\""]);
    assert_eq!(other.seen(1).await, ["-:\"last\""]);
    let seen = bench.seen(6).await;
    let live: Vec<_> = seen.iter().filter(|one| one.starts_with('-')).collect();
    assert_eq!(live, ["-:\"first\"", "-:\"lost answer\"", "-:\"lost again\""]);
}

#[tokio::test]
async fn when_the_reader_stops_another_goes_on_at_once() {
    let Some(server) = Server::shared() else { return };
    let one = Bench::ingesting(server.clone(), |_| {}).await;
    until("the first reads", || one.reads()).await;
    let other = Bench::ingesting(server, |options| options.prefix.clone_from(&one.prefix)).await;
    one.add(&["channel", "a", "data", "1"]);
    one.all_is_done().await;
    assert!(one.reads() && !other.reads());
    one.broker.stop().await;
    other.add(&["channel", "a", "data", "2"]);
    other.all_is_done().await;
    assert!(other.reads());
    assert_eq!(other.texts("a").await, ["1", "2"]);
}

/// A reader that stands still, and goes on beside its successor with what it had read: nothing is doubled, lost or
/// reordered.
#[tokio::test]
async fn a_reader_that_stands_still_is_followed_within_seconds() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::on(server.clone()).await;
    let options = Options { prefix: bench.prefix.clone(), ..options_of(&server) };
    let frozen = Apart::start(options, "frozen");
    frozen.broker().wait_ready(PATIENCE).await.unwrap();
    frozen.broker().start_ingest(ingest());
    bench.listen("a").await;
    bench.add(&["channel", "a", "data", "0"]);
    bench.all_is_done().await;
    bench.broker.start_ingest(ingest());
    let add = |range: std::ops::Range<usize>| {
        for number in range {
            bench.add(&["channel", "a", "data", &number.to_string()]);
        }
    };
    bench.add_many("a", 1..300);
    frozen.freeze();
    assert!(bench.waiting() > 0, "it is in the middle of its work");
    add(300..400);
    let begun = Instant::now();
    until("the other reads", || bench.reads()).await;
    let taken_over = begun.elapsed();
    bench.all_is_done().await;
    frozen.thaw();
    add(400..500);
    bench.all_is_done().await;
    let seen = bench.seen(500).await;
    let expected: Vec<String> = (0..500).map(|number| format!("{}:{number}", number + 1)).collect();
    assert_eq!(seen, expected);
    assert_eq!(bench.top("a").await.offset, 500);
    // 3 s and 1 s; the machine may be busy.
    assert!(taken_over < Duration::from_secs(8), "{taken_over:?}");
}

/// The lease is given to the other node again and again; until the one before notices, both read.
#[tokio::test]
async fn two_readers_at_once_do_no_harm() {
    let Some(server) = Server::shared() else { return };
    let one = Bench::ingesting(server.clone(), |_| {}).await;
    let other = Bench::ingesting(server, |options| options.prefix.clone_from(&one.prefix)).await;
    let names = ["a", "b", "live:c"];
    for name in names {
        one.listen(name).await;
    }
    let (mut count, mut both) = (0, 0);
    while both < 2 {
        until("one of them reads", || one.reads() != other.reads()).await;
        let holder: String = one.server.run(&["GET", &one.key("lease")]);
        let nodes: Vec<String> = one.server.run(&["ZRANGE", &one.key("nodes"), "0", "-1"]);
        let next = nodes.iter().filter_map(|node| node.split(' ').next()).find(|id| *id != holder).unwrap();
        let _: () = one.server.run(&["SET", &one.key("lease"), next, "PX", "3000"]);
        for name in names {
            one.add_many(name, count..count + 200);
        }
        count += 200;
        let together = Instant::now();
        while together.elapsed() < Duration::from_millis(1500) && !(one.reads() && other.reads()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        both += usize::from(one.reads() && other.reads());
        for name in names {
            one.add_many(name, count..count + 200);
        }
        count += 200;
        one.all_is_done().await;
    }
    let seen = one.seen(names.len() * count).await;
    let live: Vec<String> = (0..count).map(|number| format!("-:{number}")).collect();
    assert_eq!(seen.iter().filter(|one| one.starts_with('-')).cloned().collect::<Vec<_>>(), live);
    for name in ["a", "b"] {
        assert_eq!(one.texts(name).await, numbers(count - 100..count));
        assert_eq!(one.top(name).await.offset, count as u64);
    }
    let published = [&one, &other].map(|bench| bench.metric("fanfare_ingest_published_total", None));
    let twice = published.iter().sum::<f64>() - (names.len() * count) as f64;
    eprintln!("{twice} of {} entries were carried out twice", names.len() * count);
}

#[tokio::test]
async fn a_reader_that_dies_is_followed_and_nothing_is_lost_or_doubled() {
    let Some(server) = Server::shared() else { return };
    let bench = Bench::on(server.clone()).await;
    for name in ["a", "b"] {
        bench.listen(name).await;
    }
    for round in 0..3 {
        let options = Options { prefix: bench.prefix.clone(), ..options_of(&server) };
        let doomed = Apart::start(options, "doomed");
        doomed.broker().wait_ready(PATIENCE).await.unwrap();
        doomed.broker().start_ingest(ingest());
        for number in round * 100..(round + 1) * 100 {
            for name in ["a", "b"] {
                bench.add(&["channel", name, "data", &number.to_string()]);
            }
        }
        let some = || bench.waiting() < 200;
        until("it has begun", some).await;
        drop(doomed);
    }
    bench.broker.start_ingest(ingest());
    bench.all_is_done().await;
    for name in ["a", "b"] {
        assert_eq!(bench.texts(name).await, numbers(200..300));
        assert_eq!(bench.top(name).await.offset, 300);
    }
}

#[tokio::test]
async fn after_a_restart_of_redis_reading_goes_on() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::ingesting(server, |_| {}).await;
    bench.add(&["channel", "a", "data", "1"]);
    bench.all_is_done().await;
    let _: () = bench.server.run(&["FLUSHALL"]);
    bench.add(&["channel", "a", "data", "2"]);
    bench.all_is_done().await;
    bench.server.kill();
    until("it is noticed", || bench.broker.ready().is_err()).await;
    bench.server.restart();
    bench.add(&["channel", "a", "data", "3"]);
    bench.all_is_done().await;
    assert_eq!(bench.texts("a").await, ["3"]);
}

#[tokio::test]
async fn while_redis_refuses_an_entry_waits_and_the_next_behind_it() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::ingesting(server, |_| {}).await;
    bench.add(&["channel", "a", "data", "1"]);
    bench.all_is_done().await;
    let _: () = bench.server.run(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let faults = || bench.metric("fanfare_redis_faults_total", Some("no_replicas"));
    // Nothing can be added either, so what is added is there before.
    let _: () = bench.server.run(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    let _: () = redis::pipe()
        .atomic()
        .cmd("XADD")
        .arg(&[&bench.key("ingest"), "*", "channel", "a", "data", "2"])
        .ignore()
        .cmd("XADD")
        .arg(&[&bench.key("ingest"), "*", "channel", "a", "data", "3"])
        .ignore()
        .cmd("CONFIG")
        .arg(&["SET", "min-replicas-to-write", "1"])
        .ignore()
        .query(&mut bench.server.connect())
        .unwrap();
    let before = faults();
    until("it is tried again and again", || faults() > before + 3.0).await;
    let _: () = bench.server.run(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    bench.all_is_done().await;
    assert_eq!(bench.texts("a").await, ["1", "2", "3"]);
    assert!(bench.dead().is_empty());
}
