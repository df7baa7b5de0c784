//! A broker that answers late and fails now and then: everything that may happen while a subscription is made does
//! (protocol §8.4), and nothing is lost, doubled, reordered or left behind.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use fanfare_broker::Control;
use fanfare_broker::control::{SubscribeControl, Target};
use fanfare_gateway::Options;
use fanfare_protocol::{Channel, Unsubscribe};
use fanfare_testkit::patience::eventually;
use fanfare_testkit::{Bare, Ending, Follower, Moods, json, on_1_and_3_shards, seeded};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

on_1_and_3_shards!(
    publications_while_subscribing,
    cuts_while_subscribing,
    failures_while_subscribing,
    operations_of_the_api_while_subscribing,
    a_late_removal_does_not_hit_a_fresh_entry,
    many_that_leave_do_not_wait_for_each_other,
    a_drain_waits_until_all_have_left,
    commands_are_sequential,
    a_broker_that_does_not_answer,
);

async fn bare(test: &str, shards: usize, moods: Moods) -> Bare {
    let options = Options {
        shards,
        allow_anonymous: true,
        recovery_publications_max: 100_000,
        outbox_bytes_max: 16 << 20,
        ..Options::default()
    };
    Bare::start(test, options, moods).await
}

fn slow() -> Moods {
    Moods { delay_max: Duration::from_millis(3), failures_percent: 0 }
}

/// Publishes until it is dropped, some publications each millisecond.
fn publishing(bare: &Bare, channel: &'static str) -> JoinSet<()> {
    let (mut tasks, publisher) = (JoinSet::new(), bare.publisher(channel));
    tasks.spawn(async move {
        loop {
            publisher.publish().await;
            publisher.publish().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    tasks
}

/// Brings a follower to the top with publishing stopped.
async fn catches_up(bare: &Bare, follower: &mut Follower) {
    let mut client = bare.client().connect().await;
    loop {
        let id = client.command(json!({"subscribe": follower.request()})).await;
        let reply = client.expect_reply(id).await;
        if reply["subscribe"].is_object() {
            follower.subscribed(&reply["subscribe"]);
            break;
        }
        assert_eq!(reply["error"]["code"], 100, "{reply}");
    }
    assert_eq!(follower.offset, bare.top(&follower.channel).await);
    client.close().await;
}

async fn leaves_nothing(bare: &Bare, channel: &str) {
    let gone = || async { bare.present(channel).await.is_empty().then_some(()) };
    eventually("presence to be empty", gone).await;
    let given_back = || async { bare.interest().is_empty().then_some(()) };
    eventually("all interest to be given back", given_back).await;
}

/// Subscribes, listens, unsubscribes, again and again on one connection.
async fn comes_and_goes(bare: &Bare, rounds: u32) -> Vec<Follower> {
    let mut followers = JoinSet::new();
    for at in 0..4 {
        let opening = if at % 2 == 0 { bare.client() } else { bare.client().protobuf() };
        followers.spawn(async move {
            let mut client = opening.connect().await;
            let mut follower = Follower::new("news");
            for _ in 0..rounds {
                let id = client.command(json!({"subscribe": follower.request()})).await;
                let reply = client.expect_reply(id).await;
                if reply["subscribe"].is_object() {
                    follower.subscribed(&reply["subscribe"]);
                    client.read().await;
                }
                let id = client.command(json!({"unsubscribe": {"channel": "news"}})).await;
                client.expect_reply(id).await;
                assert!(!follower.take(&mut client), "no gap");
            }
            client.close().await;
            follower
        });
    }
    followers.join_all().await
}

async fn publications_while_subscribing(shards: usize) {
    let bare = bare("publications_while_subscribing", shards, slow()).await;
    let publisher = publishing(&bare, "news");
    let followed = comes_and_goes(&bare, 60).await;
    drop(publisher);
    for mut follower in followed {
        assert!(follower.received > 100, "{}", follower.received);
        catches_up(&bare, &mut follower).await;
        assert_eq!(follower.missed, 0);
    }
    leaves_nothing(&bare, "news").await;
}

async fn failures_while_subscribing(shards: usize) {
    let moods = Moods { failures_percent: 15, ..slow() };
    let bare = bare("failures_while_subscribing", shards, moods).await;
    let publisher = publishing(&bare, "news");
    let followed = comes_and_goes(&bare, 60).await;
    drop(publisher);
    for mut follower in followed {
        catches_up(&bare, &mut follower).await;
        assert_eq!(follower.missed, 0);
    }
    leaves_nothing(&bare, "news").await;
}

/// Cut at any moment of the making of a subscription, server-side or not.
async fn cuts_while_subscribing(shards: usize) {
    let bare = bare("cuts_while_subscribing", shards, slow()).await;
    let publisher = publishing(&bare, "news");
    let mut followers = JoinSet::new();
    let mut random = seeded("cuts_while_subscribing");
    for server_side in [false, true, false, true] {
        let (opening, seed) = (bare.client(), random.random());
        followers.spawn(async move {
            let (mut random, mut follower) = (SmallRng::seed_from_u64(seed), Follower::new("news"));
            for _ in 0..100 {
                let mut client = opening.open().await;
                let subs = json!({"news": follower.request()});
                let commands = if server_side {
                    vec![json!({"id": 1, "connect": {"subs": subs}})]
                } else {
                    vec![json!({"id": 1, "connect": {}}), json!({"id": 2, "subscribe": follower.request()})]
                };
                client.send(&commands).await;
                let pause = Duration::from_micros(random.random_range(0..25_000));
                let ended = tokio::time::timeout(pause, client.ending()).await;
                assert!(ended.is_err(), "{ended:?}");
                follower.take(&mut client);
                if random.random() {
                    client.reset();
                }
            }
            follower
        });
    }
    let followed = followers.join_all().await;
    drop(publisher);
    for mut follower in followed {
        catches_up(&bare, &mut follower).await;
        assert_eq!(follower.missed, 0);
    }
    leaves_nothing(&bare, "news").await;
}

fn user() -> Target {
    Target { user: Some("".to_owned()), ..Target::default() }
}

/// The server subscribes and unsubscribes sessions that do so themselves. In the end everything is in its place.
async fn operations_of_the_api_while_subscribing(shards: usize) {
    let bare = std::sync::Arc::new(bare("operations_of_the_api_while_subscribing", shards, slow()).await);
    let publisher = publishing(&bare, "news");
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let opening = bare.client();
        clients.spawn(async move {
            let mut client = opening.connect().await;
            for _ in 0..60 {
                client.ask(json!({"subscribe": {"channel": "news"}})).await;
                client.ask(json!({"unsubscribe": {"channel": "news"}})).await;
                client.take_arrived();
            }
            client
        });
    }
    let mut operators = JoinSet::new();
    for _ in 0..3 {
        let bare = std::sync::Arc::clone(&bare);
        operators.spawn(async move {
            let channel = Channel::parse("news").unwrap();
            for _ in 0..60 {
                let subscribe = SubscribeControl {
                    channel: channel.clone(),
                    info: Default::default(),
                    data: Default::default(),
                    expire_at: None,
                    recover_since: None,
                    overrides: Default::default(),
                };
                bare.control(Control::Subscribe(user(), Box::new(subscribe))).await;
                bare.control(Control::Unsubscribe(user(), channel.clone(), Unsubscribe::SERVER)).await;
            }
        });
    }
    let mut clients = clients.join_all().await;
    operators.join_all().await;
    for client in &mut clients {
        client.ask(json!({"unsubscribe": {"channel": "news"}})).await;
    }
    leaves_nothing(&bare, "news").await;
    for client in &mut clients {
        client.take_arrived();
        let result = client.call("subscribe", json!({"channel": "news"})).await;
        let first = client.expect_publication("news").await;
        assert_eq!(first["offset"].as_u64().unwrap(), result["offset"].as_u64().unwrap() + 1);
        assert!(bare.present("news").await.contains(&client.id));
    }
    drop(publisher);
    for client in clients {
        client.close().await;
    }
    leaves_nothing(&bare, "news").await;
}

/// What the server ended is still being removed from presence, behind others, when the client subscribes again.
async fn a_late_removal_does_not_hit_a_fresh_entry(shards: usize) {
    let moods = slow();
    let bare = bare("a_late_removal_does_not_hit_a_fresh_entry", shards, moods).await;
    let mut client = bare.client().connect().await;
    // The first has become live, its join told, when the last is subscribed to.
    let names = ["news", "a", "b", "c", "d"];
    for _ in 0..4 {
        for name in names {
            client.subscribe(name).await;
        }
        for name in names.into_iter().rev() {
            bare.control(Control::Unsubscribe(user(), Channel::parse(name).unwrap(), Unsubscribe::SERVER)).await;
        }
        client.subscribe("news").await;
        // Longer than all removals and leaves take; a slow machine makes this test more lenient, not wrong.
        tokio::time::sleep(3 * names.len() as u32 * moods.delay_max).await;
        assert_eq!(bare.present("news").await, [client.id.as_str()]);
        client.call("unsubscribe", json!({"channel": "news"})).await;
        assert_eq!(bare.present("news").await, [""; 0]);
    }
}

/// Sixty clients in `news`, each in a channel of its own too.
async fn many(bare: &Bare) -> Vec<fanfare_testkit::Client> {
    let mut clients = JoinSet::new();
    for number in 0..60 {
        let opening = bare.client();
        clients.spawn(async move {
            let mut client = opening.connect().await;
            client.subscribe("news").await;
            client.subscribe(&format!("own{number}")).await;
            client
        });
    }
    clients.join_all().await
}

async fn many_that_leave_do_not_wait_for_each_other(shards: usize) {
    let moods = Moods { delay_max: Duration::from_millis(20), ..slow() };
    let bare = bare("many_that_leave_do_not_wait_for_each_other", shards, moods).await;
    let clients = many(&bare).await;
    assert_eq!(bare.present("news").await.len(), clients.len());
    bare.control(Control::Unsubscribe(user(), Channel::parse("news").unwrap(), Unsubscribe::SERVER)).await;
    let gone = || async { bare.present("news").await.is_empty().then_some(()) };
    eventually("presence to be empty", gone).await;
    let at_once = bare.removals_at_once();
    assert!((2..=shards * fanfare_gateway::limits::PRESENCE_CHANGES_AT_ONCE).contains(&at_once), "{at_once}");
    for mut client in clients {
        client.subscribe("news").await;
        assert!(bare.present("news").await.contains(&client.id));
    }
}

async fn a_drain_waits_until_all_have_left(shards: usize) {
    let moods = Moods { delay_max: Duration::from_millis(50), ..slow() };
    let bare = bare("a_drain_waits_until_all_have_left", shards, moods).await;
    let clients = many(&bare).await;
    let mut closing: JoinSet<_> =
        clients.into_iter().map(|mut client| async move { client.expect_close().await.0 }).collect();
    bare.drain(Duration::ZERO).await;
    assert_eq!(bare.present("news").await, [""; 0]);
    assert!(bare.interest().is_empty());
    while let Some(code) = closing.join_next().await {
        assert_eq!(code.unwrap(), 3001);
    }
}

/// A command is carried out when the one before it is answered, however long that takes.
async fn commands_are_sequential(shards: usize) {
    let bare = bare("commands_are_sequential", shards, slow()).await;
    let mut client = bare.client().open().await;
    let mut commands = vec![json!({"id": 1, "connect": {}})];
    for id in 2..40 {
        let channel = json!({"channel": "news"});
        commands.push(match id % 4 {
            2 => json!({"id": id, "subscribe": channel}),
            3 => json!({"id": id, "presence": channel}),
            0 => json!({"id": id, "rpc": {}}),
            _ => json!({"id": id, "unsubscribe": channel}),
        });
    }
    client.send(&commands).await;
    for command in &commands {
        let unit = client.expect_next().await;
        assert_eq!(unit.reply.id, command["id"].as_u64().unwrap() as u32);
        if unit.reply.id % 4 == 3 {
            assert_eq!(unit.reply.presence.unwrap().presence.len(), 1);
        }
    }
}

/// A command that waits too long fails with 100 (temporary); the session goes on, and answers pings meanwhile or after.
async fn a_broker_that_does_not_answer(shards: usize) {
    let options =
        Options { shards, allow_anonymous: true, command_timeout: Duration::from_millis(100), ..Options::default() };
    let moods = Moods { delay_max: Duration::from_secs(4), failures_percent: 0 };
    let bare = Bare::start("a_broker_that_does_not_answer", options, moods).await;
    let mut client = bare.client().connect().await;
    let mut failed = 0;
    for _ in 0..5 {
        let reply = client.ask(json!({"history": {"channel": "news"}})).await;
        if reply["error"].is_object() {
            assert_eq!(reply["error"], json!({"code": 100, "message": "internal server error", "temporary": true}));
            failed += 1;
        }
    }
    assert!(failed > 0);
    client.send_message(tokio_tungstenite::tungstenite::Message::Close(None)).await;
    assert!(matches!(client.ending().await, Ending::Closed(..)));
}
