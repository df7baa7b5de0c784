//! Publishing: its bounds, what is sent twice, and what Redis refuses.

use std::time::{Duration, Instant};

use fanfare_broker::{Error, Outcome, Publish, Retention};
use tokio::task::JoinSet;

use crate::bench::{Bench, RETENTION, address, kept, live, until};
use crate::proxy::Proxy;
use crate::server::Server;

#[tokio::test]
async fn a_silent_server_fails_what_is_in_flight_and_refuses_more_at_once() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::with(server, |options| {
        options.in_flight_max = 4;
        options.command_timeout = Duration::from_secs(3);
    });
    let bench = std::sync::Arc::new(bench.await);
    bench.publish("a", kept("0")).await;
    bench.server.freeze();
    let mut publishing = JoinSet::new();
    for number in 0..4 {
        let bench = bench.clone();
        publishing.spawn(async move { bench.try_publish("a", [kept, live][number % 2]("1")).await });
    }
    until("four are in flight", || bench.metric("fanfare_redis_in_flight", None) >= 4.0).await;
    let begun = Instant::now();
    assert!(matches!(bench.try_publish("a", kept("2")).await, Err(Error::Overloaded(_))));
    assert!(begun.elapsed() < Duration::from_millis(1_500));
    for result in publishing.join_all().await {
        assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
    }
    assert_eq!(bench.metric("fanfare_redis_in_flight", None), 0.0);
    bench.server.thaw();
    let mut after = bench.try_publish("a", kept("3")).await;
    while after.is_err() {
        after = bench.try_publish("a", kept("3")).await;
    }
}

#[tokio::test]
async fn a_publish_whose_answer_is_lost_is_sent_again_and_published_once() {
    let Some(server) = Server::shared() else { return };
    let proxy = Proxy::to(server.port()).await;
    let bench = Bench::with(server, |options| options.server = address(&proxy.url())).await;
    bench.listen("a").await;
    bench.publish("a", kept("first")).await;
    proxy.doom("lost answer");
    let published = bench.try_publish("a", kept("lost answer")).await.unwrap();
    assert_eq!((published.outcome, published.position.unwrap().offset), (Outcome::Accepted, 2));
    bench.publish("a", kept("last")).await;
    assert_eq!(bench.seen(3).await, ["1:first", "2:lost answer", "3:last"]);
    assert_eq!(bench.history("a").await.publications.len(), 3);
    assert_eq!(bench.metric("fanfare_redis_resent_total", None), 1.0);
}

#[tokio::test]
async fn a_plain_publish_whose_answer_is_lost_is_not_sent_again() {
    let Some(server) = Server::shared() else { return };
    let proxy = Proxy::to(server.port()).await;
    let bench = Bench::with(server, |options| options.server = address(&proxy.url())).await;
    bench.listen("a").await;
    proxy.doom("lost answer");
    assert!(matches!(bench.try_publish("a", live("lost answer")).await, Err(Error::Unavailable(_))));
    bench.try_publish("a", live("last")).await.unwrap();
    assert_eq!(bench.seen(2).await, ["-:lost answer", "-:last"]);
}

/// That there is no connection now says nothing of the time when there was one.
#[tokio::test]
async fn what_was_sent_once_and_not_again_is_not_called_refused() {
    let Some(server) = Server::shared() else { return };
    let proxy = Proxy::to(server.port()).await;
    let bench = Bench::with(server, |options| {
        options.server = address(&proxy.url());
        options.command_timeout = Duration::from_secs(2);
    })
    .await;
    bench.publish("a", kept("first")).await;
    proxy.set_closed(true);
    proxy.doom("lost answer");
    let unknown = bench.try_publish("a", kept("lost answer")).await;
    assert!(matches!(unknown, Err(Error::Unavailable(_))), "{unknown:?}");
    let refused = bench.try_publish("a", kept("not sent")).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let refused = bench.try_publish("a", live("not sent")).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    proxy.set_closed(false);
    bench.broker.wait_ready(crate::bench::PATIENCE).await.unwrap();
    bench.publish("a", kept("last")).await;
    let texts: Vec<_> = bench.history("a").await.publications.iter().map(|one| one.data.clone()).collect();
    assert_eq!(texts, ["first", "lost answer", "last"]);
}

#[tokio::test]
async fn an_error_after_the_first_write_is_not_called_refused() {
    let Some(server) = Server::start() else { return };
    let _: () = server.run(&["ACL", "SETUSER", "ann", "on", ">s3cret", "~*", "&*", "+@all"]);
    let bench = Bench::with(server, |options| {
        let url = options.server.to_string().replace("redis://", "redis://ann:s3cret@");
        options.server = address(&url);
    })
    .await;
    bench.publish("a", kept("1")).await;
    let keyed = |key: &str, text| Publish { idempotency_key: Some(key.to_owned()), ..live(text) };
    let _: () = bench.server.run(&["ACL", "SETUSER", "ann", "-publish"]);
    let lacking = Error::Unavailable("the Redis user lacks a permission");
    assert_eq!(bench.try_publish("a", kept("2")).await, Err(lacking.clone()), "the stream has it");
    assert_eq!(bench.try_publish("a", keyed("k", "3")).await, Err(lacking), "the key is taken");
    let _: () = bench.server.run(&["ACL", "SETUSER", "ann", "+publish", "-set", "-xadd"]);
    let refused = Error::Refused("the Redis user lacks a permission");
    assert_eq!(bench.try_publish("a", kept("4")).await, Err(refused.clone()));
    assert_eq!(bench.try_publish("a", keyed("l", "5")).await, Err(refused));
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    for number in 1..=3 {
        assert_eq!(bench.publish("a", kept("x")).await.offset, number);
        assert_eq!(bench.top("a").await.offset, number);
        let _: () = bench.server.run(&["SCRIPT", "FLUSH"]);
    }
}

#[tokio::test]
async fn a_key_that_is_not_ours_fails_its_channel_alone() {
    let Some(bench) = Bench::new().await else { return };
    let bench = std::sync::Arc::new(bench);
    bench.publish("stream", kept("x")).await;
    for kind in ["meta", "stream"] {
        let _: () = bench.server.run(&["SET", &format!("{}:{kind}:{kind}", bench.prefix), "x"]);
    }
    let mut publishing = JoinSet::new();
    for name in ["meta", "good", "stream"] {
        let bench = bench.clone();
        publishing
            .spawn(async move { (name, bench.try_publish(name, kept("x")).await.map(|published| published.outcome)) });
    }
    for (name, result) in publishing.join_all().await {
        let expected = if name == "good" {
            Ok(Outcome::Accepted)
        } else {
            Err(Error::Refused("a key in Redis holds something else"))
        };
        assert_eq!(result, expected, "{name}");
    }
    assert_eq!(bench.metric("fanfare_redis_faults_total", Some("wrong_type")), 2.0);
    let _: () = bench.server.run(&["DEL", &format!("{}:stream:stream", bench.prefix)]);
    assert_eq!(bench.publish("stream", kept("x")).await.offset, 2, "what was refused took no offset");
}

#[tokio::test]
async fn a_server_without_memory_refuses_and_stores_nothing() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::on(server).await;
    let before = bench.publish("a", kept("1")).await;
    let _: () = bench.server.run(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(bench.try_publish("a", kept("2")).await, Err(Error::Overloaded("Redis is out of memory")));
    assert_eq!(bench.top("a").await, before);
    let _: () = bench.server.run(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(bench.publish("a", kept("3")).await.offset, 2);
    assert_eq!(bench.history("a").await.publications.len(), 2);
}

#[tokio::test]
async fn a_stream_that_is_ahead_of_its_meta_begins_anew() {
    let Some(bench) = Bench::new().await else { return };
    let before = bench.publish("a", kept("1")).await;
    let _: () = bench.server.run(&["XADD", &format!("{}:stream:a", bench.prefix), "9-0", "x", "y"]);
    let after = bench.publish("a", kept("2")).await;
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(bench.history("a").await.publications.len(), 1);
}

#[tokio::test]
async fn entries_that_cannot_be_read_are_skipped_and_counted() {
    let Some(bench) = Bench::new().await else { return };
    bench.publish("a", kept("1")).await;
    let _: () = bench.server.run(&["XADD", &format!("{}:stream:a", bench.prefix), "1-5", "x", "y"]);
    assert_eq!(bench.history("a").await.publications.len(), 1);
    assert_eq!(bench.metric("fanfare_broker_bad_messages_total", Some("malformed")), 1.0);
}

#[tokio::test]
async fn a_stream_holds_a_few_more_than_its_size_and_shows_none_of_them() {
    let Some(bench) = Bench::new().await else { return };
    let sized = |size| Publish { retention: Some(Retention { size, ..RETENTION }), ..kept("x") };
    for _ in 0..100 {
        bench.publish("a", sized(10)).await;
        assert!(bench.history("a").await.publications.len() <= 10);
    }
    let length = || bench.server.run::<usize>(&["XLEN", &format!("{}:stream:a", bench.prefix)]);
    assert!((10..=26).contains(&length()), "{}", length());
    bench.publish("a", sized(1000)).await;
    assert_eq!(bench.history("a").await.publications.len(), 11);
    for _ in 0..50 {
        bench.publish("a", sized(1000)).await;
    }
    bench.publish("a", sized(1)).await;
    assert_eq!((bench.history("a").await.publications.len(), length()), (1, 1));
}

/// The script alone: what it makes of a number, the node's own, that it may have seen before.
struct Numbered {
    server: std::sync::Arc<Server>,
    prefix: String,
}

impl Numbered {
    fn publish(&self, number: u64) -> String {
        let key = |kind: &str| format!("{}:{kind}", self.prefix);
        let [meta, stream] = [key("meta"), key("stream")];
        let script = include_str!("../../src/script/publish.lua");
        let number = number.to_string();
        let words = ["EVAL", script, "3", &meta, &stream, &meta, "node", "PUBLISH"];
        let words = [&words[..], &["live", "body", "100", "60000", "60000"]].concat();
        let answers: Vec<String> = self.server.run(&[&words[..], &["random", &number, "", "", "", "10", ""]].concat());
        answers[0].split(':').next().unwrap().to_owned()
    }
}

#[test]
fn a_number_is_published_once() {
    let Some(server) = Server::shared() else { return };
    let node = Numbered { server, prefix: crate::bench::prefix() };
    for number in 1..=10 {
        assert_eq!(node.publish(number * 2), format!("a{number}"));
    }
    assert_eq!(node.publish(20), "a10");
    assert_eq!(node.publish(6), "a3");
    assert_eq!(node.publish(7), "a11", "nothing was forgotten yet, so 7 is known to be new");
    assert_eq!(node.publish(7), "a11");
    for number in 21..=40 {
        node.publish(number);
    }
    assert_eq!(node.publish(6), "u");
    assert_eq!(node.publish(7), "u");
    assert_eq!(node.publish(50), "a32");
    assert_eq!(node.publish(45), "a33", "what was forgotten is below 45");
    assert_eq!(node.publish(45), "a33");
}

#[test]
fn nodes_that_were_silent_for_long_are_forgotten() {
    let Some(server) = Server::shared() else { return };
    let script = include_str!("../../src/script/publish.lua");
    let prefix = crate::bench::prefix();
    let [meta, stream] = ["meta", "stream"].map(|kind| format!("{prefix}:{kind}"));
    for node in 0..70 {
        let node = node.to_string();
        let words = ["EVAL", script, "3", &meta, &stream, &meta, &node, "PUBLISH"];
        let words = [&words[..], &["live", "body", "100", "60000", "60000"]].concat();
        let answers: Vec<String> = server.run(&[&words[..], &["random", "1", "", "", "", "1000", ""]].concat());
        assert!(answers[0].starts_with('a'));
    }
    let fields: usize = server.run(&["HLEN", &meta]);
    assert!((30..=66).contains(&fields), "{fields}");
    assert!(server.run::<bool>(&["HEXISTS", &meta, "n69"]));
    assert!(!server.run::<bool>(&["HEXISTS", &meta, "n0"]));
}
