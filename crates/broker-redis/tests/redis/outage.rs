//! When it goes wrong: servers that are down, restart, freeze, are wiped, lose a tail.

use std::time::{Duration, Instant};

use fanfare_broker::{Error, HistoryQuery, Publications, Since};
use futures_util::future::join_all;

use crate::bench::{Bench, PATIENCE, address, channel, kept, until};
use crate::proxy::Proxy;
use crate::server::Server;

#[tokio::test]
async fn a_broker_starts_without_redis_and_is_ready_when_it_comes() {
    let Some(server) = Server::start() else { return };
    server.kill();
    let bench = Bench::unready(server, |options| options.command_timeout = Duration::from_secs(3));
    assert!(bench.broker.ready().is_err());
    assert!(matches!(bench.try_publish("a", kept("1")).await, Err(Error::Refused(_))));
    tokio::time::sleep(Duration::from_millis(3_300)).await;
    let begun = Instant::now();
    assert!(matches!(bench.try_publish("a", kept("1")).await, Err(Error::Refused(_))));
    assert!(begun.elapsed() < Duration::from_millis(1_500), "after a while nobody waits any more");
    bench.server.restart();
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    assert_eq!(bench.publish("a", kept("1")).await.offset, 1);
}

#[tokio::test]
async fn after_a_restart_channels_have_another_epoch_and_are_broken() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    bench.listen("a").await;
    let before = bench.publish("a", kept("1")).await;
    bench.seen(1).await;
    bench.server.kill();
    until("it is noticed", || bench.broker.ready().is_err()).await;
    bench.server.restart();
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    until("it is broken", || bench.broken() == ["a"]).await;
    let after = bench.publish("a", kept("2")).await;
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(bench.seen(2).await, ["1:1", "1:2"]);
}

/// What was acknowledged is there, but whether it is can be known of no restart: subscribers are told.
#[tokio::test]
async fn after_a_crash_with_an_append_only_file_offsets_go_on_under_another_epoch() {
    let settings = ["--appendonly", "yes"];
    let Some(server) = Server::start_with(&settings) else { return };
    let bench = Bench::on(server).await;
    bench.listen("a").await;
    let before = bench.publish("a", kept("1")).await;
    bench.seen(1).await;
    bench.server.kill();
    until("it is noticed", || bench.broker.ready().is_err()).await;
    bench.server.restart_with(&settings);
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    until("it is broken", || bench.broken() == ["a"]).await;
    let after = bench.publish("a", kept("2")).await;
    assert_eq!(after.offset, 2);
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(bench.history("a").await.publications.len(), 2);
}

/// The false alarms of the fence: another identity of the server, nothing lost.
#[tokio::test]
async fn the_first_replica_ever_changes_every_epoch_and_a_second_one_none() {
    let (Some(server), Some(first), Some(second)) = (Server::start(), Server::start(), Server::start()) else { return };
    let bench = Bench::on(server).await;
    bench.listen("a").await;
    let alone = bench.publish("a", kept("1")).await;
    bench.seen(1).await;
    let follow = |replica: &Server| {
        let _: () = replica.run(&["REPLICAOF", "127.0.0.1", &bench.server.port().to_string()]);
    };
    let linked = |replica: &Server| replica.run::<String>(&["INFO", "replication"]).contains("master_link_status:up");
    follow(&first);
    until("the first one follows", || linked(&first)).await;
    until("it is broken", || bench.broken() == ["a"]).await;
    let replicated = bench.publish("a", kept("2")).await;
    assert_eq!(replicated.offset, 2, "nothing was lost");
    assert_ne!(replicated.epoch, alone.epoch);
    follow(&second);
    until("the second one follows", || linked(&second)).await;
    assert_eq!(bench.publish("a", kept("3")).await.epoch, replicated.epoch);
}

#[tokio::test]
async fn what_was_published_to_a_frozen_server_arrives_once_or_not_at_all() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::with(server, |options| options.command_timeout = Duration::from_secs(2)).await;
    bench.listen("a").await;
    bench.publish("a", kept("first")).await;
    bench.server.freeze();
    let texts: Vec<_> = (0..5).map(|number| format!("unknown {number}")).collect();
    // All at once: one after another they would take until the server is given up, and then be refused.
    for unknown in join_all(texts.iter().map(|text| bench.try_publish("a", kept(text)))).await {
        assert!(matches!(unknown, Err(Error::Unavailable(_))), "{unknown:?}");
    }
    until("it is not ready", || bench.broker.ready().is_err()).await;
    bench.server.thaw();
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    while bench.try_publish("a", kept("last")).await.is_err() {}
    let history = bench.history("a").await;
    let mut texts: Vec<_> = history.publications.iter().map(|publication| publication.data.clone()).collect();
    assert_eq!((&texts[0][..], &texts[texts.len() - 1][..]), (&b"first"[..], &b"last"[..]));
    let count = texts.len();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), count, "nothing is doubled");
}

#[tokio::test]
async fn a_wiped_server_gives_new_epochs() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    let before = bench.publish("a", kept("1")).await;
    let _: () = bench.server.run(&["FLUSHALL"]);
    let query =
        HistoryQuery { since: Some(Since { offset: 1, epoch: before.epoch.to_string() }), ..HistoryQuery::default() };
    let refused = bench.broker.history(&channel("a"), query).await;
    assert_eq!(refused.unwrap_err(), Error::UnrecoverablePosition);
    let top = bench.top("a").await;
    let after = bench.publish("a", kept("2")).await;
    assert_eq!((after.offset, &after.epoch), (1, &top.epoch));
}

#[tokio::test]
async fn an_evicted_stream_keeps_its_position_and_an_evicted_meta_begins_anew() {
    let Some(bench) = Bench::new().await else { return };
    let before = bench.publish("a", kept("1")).await;
    let _: () = bench.server.run(&["DEL", &format!("{}:stream:a", bench.prefix)]);
    assert_eq!(bench.top("a").await, before);
    assert!(bench.history("a").await.publications.is_empty());
    assert_eq!(bench.publish("a", kept("2")).await.offset, 2);
    let _: () = bench.server.run(&["DEL", &format!("{}:meta:a", bench.prefix)]);
    let after = bench.publish("a", kept("3")).await;
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(bench.history("a").await.publications.len(), 1);
}

#[tokio::test]
async fn a_replica_is_not_written_to_nor_read_from() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::with(server, |options| options.command_timeout = Duration::from_secs(2)).await;
    bench.listen("a").await;
    let before = bench.publish("a", kept("1")).await;
    let _: () = bench.server.run(&["REPLICAOF", "127.0.0.1", "1"]);
    let replica = Error::Refused("Redis is a replica");
    assert_eq!(bench.try_publish("a", kept("2")).await, Err(replica.clone()));
    let read = bench.broker.history(&channel("a"), HistoryQuery::default()).await;
    assert_eq!(read.unwrap_err(), replica);
    until("it is not ready", || bench.broker.ready().is_err()).await;
    let _: () = bench.server.run(&["REPLICAOF", "NO", "ONE"]);
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    until("another replication id is noticed", || bench.broken() == ["a"]).await;
    assert_eq!(bench.metric("fanfare_redis_consumers_lost_total", None), 0.0);
    let after = bench.publish("a", kept("3")).await;
    assert_eq!(after.offset, 2);
    assert_ne!(after.epoch, before.epoch);
}

/// The old master goes on acknowledging, alone, before it becomes a replica: what it took then is lost.
#[tokio::test]
async fn a_failover_that_lost_a_tail_gives_no_offset_twice() {
    let (Some(old), Some(new)) = (Server::start(), Server::start()) else { return };
    new.follow(&old).await;
    let proxy = Proxy::to(old.port()).await;
    let bench = Bench::with(old.clone(), |options| options.server = address(&proxy.url())).await;
    for name in ["a", "quiet"] {
        bench.listen(name).await;
        bench.publish(name, kept("kept")).await;
    }
    let followed = || new.run::<usize>(&["XLEN", &format!("{}:stream:quiet", bench.prefix)]) == 1;
    until("the replica has it", followed).await;
    let _: () = new.run(&["REPLICAOF", "NO", "ONE"]);
    let lost = bench.publish("a", kept("lost")).await;
    let quiet = bench.publish("quiet", kept("lost")).await;
    bench.seen(4).await;
    let _: () = old.run(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
    proxy.turn_to(new.port());
    proxy.cut(true);
    until("both channels are broken", || bench.broken().len() >= 2).await;
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    assert_ne!(bench.top("quiet").await.epoch, quiet.epoch);
    let after = bench.publish("a", kept("after")).await;
    assert_eq!(after.offset, lost.offset);
    assert_ne!(after.epoch, lost.epoch);
    let since = Since { offset: lost.offset, epoch: lost.epoch.to_string() };
    let refused =
        bench.broker.history(&channel("a"), HistoryQuery { since: Some(since), ..HistoryQuery::default() }).await;
    assert_eq!(refused.unwrap_err(), Error::UnrecoverablePosition);
}

#[tokio::test]
async fn a_password_is_used_and_a_wrong_one_named_without_being_shown() {
    let Some(server) = Server::start_with(&["--requirepass", "s3cret"]) else { return };
    let with = |password: &str| address(&format!("redis://:{password}@127.0.0.1:{}", server.port()));
    let bench = Bench::with(server.clone(), |options| options.server = with("s3cret")).await;
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    bench.seen(1).await;
    let wrong = Bench::unready(server.clone(), |options| options.server = with("wr0ng"));
    let not_ready = || wrong.broker.ready().unwrap_err().to_string();
    until("the login is refused", || not_ready() == "Redis refuses the login").await;
    assert!(!format!("{:?}", wrong.broker).contains("wr0ng"));
}

#[tokio::test]
async fn a_missing_right_is_named_with_what_adds_it() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::unready(server, |options| {
        let url = options.server.to_string().replace("redis://", "redis://ann:s3cret@");
        options.server = address(&url);
    });
    let allow = |rules: &str| {
        let words = format!("ACL SETUSER ann on >s3cret {rules}");
        let _: () = bench.server.run(&words.split(' ').collect::<Vec<_>>());
    };
    allow(&format!("~{0}:* resetchannels &{0}:* +@all -info", bench.prefix));
    let not_ready = || bench.broker.ready().err().map(|reason| reason.to_string()).unwrap_or_default();
    until("the right is missed", || not_ready().contains("ACL SETUSER ann")).await;
    assert!(not_ready().contains(" +info") && !not_ready().contains("s3cret"), "{}", not_ready());
    allow("+info");
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    bench.seen(1).await;
}

/// Nothing but what the advice says is needed.
#[tokio::test]
async fn the_advice_is_enough() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::unready(server, |options| {
        let url = options.server.to_string().replace("redis://", "redis://ann:s3cret@");
        options.server = address(&url);
    });
    let _: () = bench.server.run(&["ACL", "SETUSER", "ann", "on", ">s3cret"]);
    for _ in 0..3 {
        let advice = || {
            let reason = bench.broker.ready().err()?.to_string();
            reason.split_once("with: ").map(|(_, advice)| advice.to_owned())
        };
        until("there is advice, or no need", || bench.broker.ready().is_ok() || advice().is_some()).await;
        if let Some(advice) = advice() {
            let _: () = bench.server.run(&advice.split(' ').collect::<Vec<_>>());
            tokio::time::sleep(Duration::from_millis(1200)).await;
        }
    }
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    bench.listen("a").await;
    bench.publish("a", kept("1")).await;
    bench.history("a").await;
    bench.broker.history_remove(&channel("a")).await.unwrap();
    bench.seen(1).await;
    bench.broker.start_ingest(crate::ingest::ingest());
    bench.add(&["channel", "a", "data", "2"]);
    bench.add(&["poison", "x"]);
    bench.all_is_done().await;
    bench.seen(2).await;
    assert_eq!(bench.metric("fanfare_redis_faults_total", Some("no_permission")), 0.0);
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script_says_so_and_goes_on() {
    let Some(server) = Server::start_with(&["--lua-time-limit", "50"]) else { return };
    let bench = Bench::on(server).await;
    bench.publish("a", kept("1")).await;
    let mut other = bench.server.connect();
    let busy = tokio::task::spawn_blocking(move || redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut other));
    let mut refused = bench.try_publish("a", kept("2")).await;
    while refused.is_ok() {
        refused = bench.try_publish("a", kept("2")).await;
    }
    assert_eq!(refused, Err(Error::Refused("Redis is busy with a script")));
    let _: () = bench.server.run(&["SCRIPT", "KILL"]);
    assert!(busy.await.unwrap().is_err());
    bench.broker.wait_ready(PATIENCE).await.unwrap();
    bench.publish("a", kept("3")).await;
}

/// A proxy before a server that is down takes connections and ends them at once.
#[tokio::test]
async fn a_connection_that_breaks_again_and_again_is_no_reason_to_try_without_a_pause() {
    let Some(server) = Server::shared() else { return };
    let proxy = Proxy::to(server.port()).await;
    proxy.set_closed(true);
    let bench = Bench::unready(server, |options| {
        options.server = address(&proxy.url());
        options.command_timeout = Duration::from_millis(200);
    });
    until("the outage is longer than a command may take", || {
        bench.metric("fanfare_redis_connections_lost_total", Some("cut")) >= 3.0
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = bench.metric("fanfare_redis_faults_total", None);
    for _ in 0..3 {
        let read = bench.broker.history(&channel("a"), HistoryQuery::default()).await;
        assert_eq!(read.unwrap_err(), Error::Refused("Redis is not connected"));
    }
    let faults = bench.metric("fanfare_redis_faults_total", None) - before;
    assert!(faults < 50.0, "{faults} faults for three reads and the node's own commands");
}
