//! A master, a replica and three Sentinels of the test's own.

use std::sync::Arc;

use fanfare_broker_redis::Options;

use crate::bench::{Bench, PATIENCE, address, kept, until};
use crate::server::Server;

struct Watched {
    master: Arc<Server>,
    replica: Arc<Server>,
    sentinels: Vec<Arc<Server>>,
}

impl Watched {
    async fn start() -> Option<Self> {
        let (master, replica) = (Server::start()?, Server::start()?);
        replica.follow(&master).await;
        let sentinels = (0..3).map(|_| Server::sentinel(master.port())).collect::<Option<Vec<_>>>()?;
        let knows = |sentinel: &Arc<Server>| {
            let info: String = sentinel.run(&["INFO", "sentinel"]);
            info.contains("slaves=1") && info.contains("sentinels=3")
        };
        until("the sentinels know each other", || sentinels.iter().all(knows)).await;
        Some(Self { master, replica, sentinels })
    }

    fn url(&self) -> String {
        let hosts = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect::<Vec<_>>();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    async fn bench(&self, change: impl FnOnce(&mut Options)) -> Bench {
        let url = self.url();
        let with = |options: &mut Options| {
            options.server = address(&url);
            change(options);
        };
        Bench::with(Arc::clone(&self.master), with).await
    }
}

#[tokio::test]
async fn a_master_that_dies_is_followed_by_the_one_that_the_sentinels_name() {
    let Some(watched) = Watched::start().await else { return };
    let bench = watched.bench(|_| {}).await;
    bench.listen("a").await;
    let before = bench.publish("a", kept("1")).await;
    let followed = || watched.replica.run::<usize>(&["XLEN", &format!("{}:stream:a", bench.prefix)]) == 1;
    until("the replica has it", followed).await;
    watched.sentinels[0].kill();
    watched.master.kill();
    until("the outage is noticed", || bench.broker.ready().is_err()).await;
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    assert!(watched.replica.run::<String>(&["INFO", "replication"]).contains("role:master"));
    until("the channel is told to be broken", || bench.broken() == ["a"]).await;
    let after = bench.publish("a", kept("2")).await;
    assert_eq!(after.offset, 2);
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(bench.seen(2).await, ["1:1", "2:2"]);
}

/// The old master is alive and calls itself one, but the Sentinels have named another.
#[tokio::test]
async fn a_master_that_the_sentinels_have_given_up_is_left() {
    let Some(watched) = Watched::start().await else { return };
    let bench = watched.bench(|_| {}).await;
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    // Nobody tells the old master: it goes on, alone.
    let _: () = watched.replica.run(&["REPLICAOF", "NO", "ONE"]);
    for sentinel in &watched.sentinels {
        let _: () = sentinel.run(&["SENTINEL", "REMOVE", "main"]);
        let _: () =
            sentinel.run(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &watched.replica.port().to_string(), "2"]);
    }
    let live = format!("{}:live:a", bench.prefix);
    let listens = || watched.replica.run::<(String, usize)>(&["PUBSUB", "NUMSUB", &live]).1 == 1;
    until("both connections go to the new master", || listens() && bench.broker.ready().is_ok()).await;
    until("the channel is told to be broken", || bench.broken().contains(&"a".to_owned())).await;
    let after = bench.publish("a", kept("2")).await;
    assert!(watched.replica.run::<bool>(&["EXISTS", &format!("{}:meta:a", bench.prefix)]));
    assert_eq!(bench.seen(2).await.last(), Some(&format!("{}:2", after.offset)));
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_said() {
    let Some(watched) = Watched::start().await else { return };
    let url = watched.url().replace("/main", "/mian");
    let bench = Bench::unready(Arc::clone(&watched.master), |options| options.server = address(&url));
    let reason = || bench.broker.ready().unwrap_err().to_string();
    until("it is said", || reason() == "the Sentinels do not know the master's name").await;
}

#[tokio::test]
async fn sentinels_may_want_a_password_of_their_own() {
    let Some(watched) = Watched::start().await else { return };
    for sentinel in &watched.sentinels {
        let _: () = sentinel.run(&["ACL", "SETUSER", "ann", "on", ">s3cret", "+@all", "allchannels"]);
        let _: () = sentinel.run(&["ACL", "SETUSER", "default", "off"]);
    }
    let wrong = Bench::unready(Arc::clone(&watched.master), |options| options.server = address(&watched.url()));
    let reason = || wrong.broker.ready().unwrap_err().to_string();
    until("the login is refused", || reason() == "Redis refuses the login").await;
    let bench = watched
        .bench(|options| {
            options.sentinel_login.user = Some("ann".to_owned());
            options.sentinel_login.password = Some("s3cret".to_owned());
        })
        .await;
    assert_eq!(bench.publish("a", kept("1")).await.offset, 1);
    assert!(!format!("{:?}", bench.broker).contains("s3cret"));
}
