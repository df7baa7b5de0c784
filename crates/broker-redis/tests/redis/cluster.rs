//! A Redis Cluster of the test's own: masters, and a replica where one is asked for.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fanfare_broker::conformance::Harness;
use fanfare_broker::{Broker, NodeSink, PublicationSink, Publications, StreamPosition};
use fanfare_broker_redis::Options;
use tokio::sync::Mutex;

use crate::bench::{Bench, PATIENCE, address, channel, kept, live, prefix, until};
use crate::server::Server;
use crate::suite;

const SETTINGS: [&str; 6] =
    ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-allow-replica-migration", "no"];

/// Three masters with a third of the slots each.
struct Cluster {
    masters: Vec<Arc<Server>>,
}

static SHARED: Mutex<Weak<Cluster>> = Mutex::const_new(Weak::new());

impl Cluster {
    /// A cluster that tests share as long as one of them runs.
    async fn shared() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().await;
        if let Some(cluster) = shared.upgrade() {
            return Some(cluster);
        }
        let cluster = Arc::new(Self::start().await?);
        *shared = Arc::downgrade(&cluster);
        Some(cluster)
    }

    async fn start() -> Option<Self> {
        let masters = (0..3).map(|_| Server::start_with(&SETTINGS)).collect::<Option<Vec<_>>>()?;
        let slots = [(0, 5460), (5461, 10922), (10923, 16383)];
        for (server, (first, last)) in masters.iter().zip(slots) {
            let words: Vec<String> = (first..=last).map(|slot| slot.to_string()).collect();
            let words: Vec<&str> =
                ["CLUSTER", "ADDSLOTS"].into_iter().chain(words.iter().map(String::as_str)).collect();
            let _: () = server.run(&words);
        }
        let cluster = Self { masters };
        for server in &cluster.masters[1..] {
            cluster.meet(server);
        }
        cluster.agrees().await;
        Some(cluster)
    }

    fn meet(&self, server: &Server) {
        let port = server.port().to_string();
        let _: () = self.masters[0].run(&["CLUSTER", "MEET", "127.0.0.1", &port]);
    }

    async fn agrees(&self) {
        let is_ok = |server: &Arc<Server>| {
            server.run::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
                && server.run::<String>(&["CLUSTER", "NODES"]).lines().count() >= self.masters.len()
        };
        until("the cluster agrees", || self.masters.iter().all(is_ok)).await;
    }

    /// A replica of a master.
    async fn replica_of(&self, master: usize) -> Option<Arc<Server>> {
        let replica = Server::start_with(&SETTINGS)?;
        self.meet(&replica);
        let id = self.id(master);
        let knows = || replica.run::<String>(&["CLUSTER", "NODES"]).contains(&id);
        until("the replica knows its master", knows).await;
        let _: () = replica.run(&["CLUSTER", "REPLICATE", &id]);
        let follows = || replica.run::<String>(&["INFO", "replication"]).contains("master_link_status:up");
        until("the replica follows", follows).await;
        let listed = || {
            let nodes = self.masters.iter().map(|server| server.run::<String>(&["CLUSTER", "NODES"]));
            nodes.into_iter().all(|nodes| nodes.lines().any(|line| line.contains("slave") && line.contains(&id)))
        };
        until("everybody knows the replica", listed).await;
        Some(replica)
    }

    fn id(&self, master: usize) -> String {
        self.masters[master].run(&["CLUSTER", "MYID"])
    }

    /// One node of it is enough to find the others.
    fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{}", self.masters[1].port())
    }

    async fn bench(&self) -> Bench {
        let url = self.url();
        Bench::with(Arc::clone(&self.masters[0]), |options| options.server = address(&url)).await
    }

    /// Which master has a channel.
    fn home(&self, bench: &Bench, name: &str) -> usize {
        let key = format!("{}:meta:{{{name}}}", bench.prefix);
        let slot: u16 = self.masters[0].run(&["CLUSTER", "KEYSLOT", &key]);
        let found = self.masters.iter().position(|server| {
            let own = server.run::<String>(&["CLUSTER", "NODES"]);
            let own = own.lines().find(|line| line.contains("myself")).unwrap_or_default().to_owned();
            own.split(' ').skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
            })
        });
        found.expect("some master has it")
    }

    /// Waits until the broker listens there.
    async fn listened_to(&self, master: usize, bench: &Bench, name: &str) {
        let server = &self.masters[master];
        if is_sharded(server) {
            let live = fanfare_broker_redis::live_name(&bench.prefix, &channel(name), true);
            let listens = || server.run::<(String, usize)>(&["PUBSUB", "SHARDNUMSUB", &live]).1 == 1;
            until("the channel is subscribed to there", listens).await;
        }
    }

    /// Moves the slot of a channel with its keys to another master, as `redis-cli --cluster reshard` does.
    async fn migrate(&self, bench: &Bench, name: &str, to: usize) {
        let from = self.home(bench, name);
        let key = format!("{}:meta:{{{name}}}", bench.prefix);
        let slot: u16 = self.masters[0].run(&["CLUSTER", "KEYSLOT", &key]);
        let (slot, port) = (slot.to_string(), self.masters[to].port().to_string());
        let _: () = self.masters[to].run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)]);
        let _: () = self.masters[from].run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)]);
        // For a while the keys are on both sides.
        tokio::time::sleep(Duration::from_millis(50)).await;
        loop {
            let keys: Vec<String> = self.masters[from].run(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]);
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let _: String = self.masters[from].run(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        for server in [to, from, 3 - to - from] {
            let _: () = self.masters[server].run(&["CLUSTER", "SETSLOT", &slot, "NODE", &self.id(to)]);
        }
    }
}

/// Whether it has sharded pub/sub.
fn is_sharded(server: &Server) -> bool {
    matches!(server.run::<Vec<redis::Value>>(&["COMMAND", "INFO", "SSUBSCRIBE"])[..], [redis::Value::Array(_)])
}

/// Names of channels, of which each master has some.
fn names() -> Vec<String> {
    (0..30).map(|number| format!("news{number}")).collect()
}

#[tokio::test]
async fn channels_of_all_shards_are_published_to_and_heard() {
    let Some(cluster) = Cluster::shared().await else { return };
    let bench = cluster.bench().await;
    let homes: BTreeSet<usize> = names().iter().map(|name| cluster.home(&bench, name)).collect();
    assert_eq!(homes.len(), 3);
    for name in names() {
        bench.listen(&name).await;
    }
    for name in names() {
        assert_eq!(bench.publish(&name, kept("1")).await.offset, 1);
        bench.broker.publish(&channel(&name), live("live")).await.unwrap();
        assert_eq!(bench.publish(&name, kept("2")).await.offset, 2);
    }
    let mut seen = bench.seen(90).await;
    seen.sort();
    let expected = [vec!["-:live"; 30], vec!["1:1"; 30], vec!["2:2"; 30]].concat();
    assert_eq!(seen, expected);
    assert_eq!(bench.metric("fanfare_redis_shards", None), 3.0);
    assert_eq!(bench.metric("fanfare_redis_consuming", None), 3.0);
    assert_eq!(bench.history("news7").await.publications.len(), 2);
}

#[tokio::test]
async fn a_program_publishes_straight_into_the_shard_of_the_channel() {
    let Some(cluster) = Cluster::shared().await else { return };
    let bench = cluster.bench().await;
    bench.listen("news").await;
    let name = fanfare_broker_redis::live_name(&bench.prefix, &channel("news"), true);
    let home = &cluster.masters[cluster.home(&bench, "news")];
    let word = if is_sharded(home) { "SPUBLISH" } else { "PUBLISH" };
    let _: i64 = home.run(&[word, &name, r#"{"text":"hi"}"#]);
    assert_eq!(bench.seen(1).await, [r#"-:{"text":"hi"}"#]);
}

#[tokio::test]
async fn the_ingest_stream_reaches_the_channels_of_all_shards() {
    let Some(cluster) = Cluster::shared().await else { return };
    let bench = cluster.bench().await;
    for name in names() {
        bench.listen(&name).await;
    }
    bench.broker.start_ingest(crate::ingest::ingest());
    let ingest = format!("{}:ingest", bench.prefix);
    let home = cluster.masters.iter().find(|server| {
        let mut add = redis::cmd("XADD");
        add.arg(&ingest).arg(&["*", "poison", "x"]);
        add.exec(&mut server.connect()).is_ok()
    });
    let home = home.expect("some master has the stream");
    for text in ["1", "2"] {
        for name in names() {
            let _: String = home.run(&["XADD", &ingest, "*", "channel", &name, "data", text]);
        }
    }
    let mut seen = bench.seen(60).await;
    seen.sort();
    assert_eq!(seen, [vec!["1:1"; 30], vec!["2:2"; 30]].concat());
    until("all is done", || home.run::<usize>(&["XLEN", &ingest]) == 0).await;
    assert_eq!(bench.metric("fanfare_ingest_dead_total", Some("field")), 1.0);
}

#[tokio::test]
async fn a_slot_that_moves_takes_its_channel_along() {
    let Some(cluster) = Cluster::start().await else { return };
    let bench = cluster.bench().await;
    for name in ["news", "other"] {
        bench.listen(name).await;
        bench.publish(name, kept("1")).await;
    }
    bench.seen(2).await;
    let to = (cluster.home(&bench, "news") + 1) % 3;
    let publishing = async {
        let mut acknowledged = 0;
        for number in 0..60 {
            if bench.try_publish("news", kept(&format!("during {number}"))).await.is_ok() {
                acknowledged += 1;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        acknowledged
    };
    let (acknowledged, ()) = tokio::join!(publishing, cluster.migrate(&bench, "news", to));
    assert_eq!(cluster.home(&bench, "news"), to);
    assert_eq!(acknowledged, 60, "the keys are only away for moments");
    cluster.listened_to(to, &bench, "news").await;
    let after = bench.publish("news", kept("after")).await;
    assert_eq!(after.offset, 62);
    until_seen(&bench, "62:after").await;
    // Whether the channel is told, too, depends on how long nothing came after.
    assert!(bench.broken().iter().all(|name| name == "news"), "the other one goes on");
    let history = bench.history("news").await;
    assert_eq!(history.publications.len(), 62);
    assert_eq!(history.top, after);
}

#[tokio::test]
async fn a_quiet_channel_whose_slot_moves_is_told_to_be_broken() {
    let Some(cluster) = Cluster::start().await else { return };
    let bench = cluster.bench().await;
    for name in ["news", "other"] {
        bench.listen(name).await;
        bench.publish(name, kept("1")).await;
    }
    let to = (cluster.home(&bench, "news") + 1) % 3;
    cluster.migrate(&bench, "news", to).await;
    if is_sharded(&cluster.masters[to]) {
        until("the channel is told to be broken", || bench.broken() == ["news"]).await;
        cluster.listened_to(to, &bench, "news").await;
    }
    let after = bench.publish("news", kept("2")).await;
    assert_eq!(after.offset, 2);
    goes_on(&bench).await;
}

async fn until_seen(bench: &Bench, label: &str) {
    let mut count = 1;
    loop {
        let seen = bench.seen(count).await;
        if seen.iter().any(|one| one == label) {
            return;
        }
        count = seen.len() + 1;
    }
}

#[tokio::test]
async fn a_replica_that_takes_over_goes_on_under_another_epoch() {
    let Some(cluster) = Cluster::start().await else { return };
    let bench = cluster.bench().await;
    let home = cluster.home(&bench, "news");
    let Some(replica) = cluster.replica_of(home).await else { return };
    bench.listen("news").await;
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    let before = bench.publish("news", kept("1")).await;
    let key = format!("{}:stream:{{news}}", bench.prefix);
    let has = || {
        let mut connection = replica.connect();
        let _ = redis::cmd("READONLY").exec(&mut connection);
        redis::cmd("XLEN").arg(&key).query::<usize>(&mut connection).is_ok_and(|length| length == 1)
    };
    until("the replica has it", has).await;
    cluster.masters[home].kill();
    until("the outage is noticed", || bench.broker.ready().is_err()).await;
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    let after = bench.publish("news", kept("2")).await;
    assert_eq!(after.offset, 2);
    assert_ne!(after.epoch, before.epoch);
    delivered_or_told(&bench, &after, 0).await;
    goes_on(&bench).await;
}

/// By hand, with both alive: the old master becomes a replica, which goes on delivering what reaches it.
#[tokio::test]
async fn a_master_that_is_demoted_alive_is_left() {
    let Some(cluster) = Cluster::start().await else { return };
    let bench = cluster.bench().await;
    let home = cluster.home(&bench, "news");
    let Some(replica) = cluster.replica_of(home).await else { return };
    bench.listen("news").await;
    let before = bench.publish("news", kept("1")).await;
    let mut asked: Option<Instant> = None;
    let demoted = || {
        // A replica gives the attempt up after five seconds, and has to be asked again then.
        if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(6)) {
            asked = Some(Instant::now());
            let _: () = replica.run(&["CLUSTER", "FAILOVER"]);
        }
        cluster.masters[home].run::<String>(&["INFO", "replication"]).contains("role:slave")
    };
    until("it is demoted", demoted).await;
    until("the channel is told to be broken", || bench.broken().contains(&"news".to_owned())).await;
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    let after = bench.publish("news", kept("2")).await;
    assert_ne!(after.epoch, before.epoch);
    goes_on(&bench).await;
    let told = bench.broken().len();
    let _: i64 = replica.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let last = bench.publish("news", kept("3")).await;
    delivered_or_told(&bench, &last, told).await;
}

/// What was published while nobody listened is told as broken instead, once more than it was.
async fn delivered_or_told(bench: &Bench, published: &StreamPosition, told: usize) {
    let is_so = || bench.heard("news").contains(published) || bench.broken().len() > told;
    until("it is delivered or told", is_so).await;
}

/// Publishes until it is heard: the subscription may still be on its way to the new shard.
async fn goes_on(bench: &Bench) {
    let mut published = bench.publish("news", kept("on")).await;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if bench.heard("news").contains(&published) {
            return;
        }
        published = bench.publish("news", kept("on")).await;
    }
    panic!("nothing of the channel is heard any more");
}

#[tokio::test]
async fn a_cluster_without_a_shard_says_so_and_serves_the_others() {
    let Some(cluster) = Cluster::start().await else { return };
    for server in &cluster.masters {
        let _: () = server.run(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let bench = cluster.bench().await;
    let (gone, there): (Vec<_>, Vec<_>) = names().into_iter().partition(|name| cluster.home(&bench, name) == 2);
    bench.listen(&there[0]).await;
    cluster.masters[2].kill();
    until("it is not ready", || bench.broker.ready().is_err()).await;
    bench.try_publish(&gone[0], kept("1")).await.unwrap_err();
    let published = bench.publish(&there[0], kept("1")).await;
    assert_eq!(bench.seen(1).await, [format!("{}:1", published.offset)]);
}

/// Nodes find each other over a cluster.
#[tokio::test]
async fn nodes_of_a_cluster_hear_each_other() {
    use fanfare_broker::Nodes;
    let Some(cluster) = Cluster::shared().await else { return };
    let one = cluster.bench().await;
    let url = cluster.url();
    let change = |options: &mut Options| {
        options.server = address(&url);
        options.prefix.clone_from(&one.prefix);
    };
    let other = Bench::with(Arc::clone(&cluster.masters[0]), change).await;
    assert_eq!(one.broker.nodes().await.unwrap().len(), 2);
    assert_eq!(other.broker.nodes().await.unwrap().len(), 2);
}

struct Suite {
    cluster: Option<Arc<Cluster>>,
    prefix: String,
}

impl Suite {
    async fn new() -> Self {
        Self { cluster: Cluster::shared().await, prefix: prefix() }
    }
}

#[async_trait]
impl Harness for Suite {
    async fn broker(&self, sink: Arc<dyn PublicationSink>, node: Arc<dyn NodeSink>) -> Arc<dyn Broker> {
        let Some(cluster) = &self.cluster else { return suite::in_memory(sink, node) };
        suite::at(&cluster.url(), &self.prefix, sink, node).await
    }

    async fn advance(&self, by: Duration) -> bool {
        let Some(cluster) = &self.cluster else { return false };
        cluster.masters.iter().for_each(|server| suite::age(server, &self.prefix, by));
        true
    }

    fn waits_for_room(&self) -> bool {
        false
    }
}

fanfare_broker::conformance!(Suite::new().await; #[tokio::test]);
