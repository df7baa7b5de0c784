//! Recovery (protocol §8): what it answers, and that a cut connection loses, doubles and reorders nothing unnoticed.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_testkit::patience::within;
use fanfare_testkit::{
    Client, Cut, Encoding, Faults, Follower, Http, Node, Proxy, Setup, Value, json, on_1_and_3_shards, seeded,
};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::task::JoinSet;

on_1_and_3_shards!(
    recovery_fills_the_gap,
    recovery_at_the_top_and_at_zero,
    recovery_that_fails_says_so,
    a_gap_beyond_the_limit_is_told,
    trimmed_history_is_told,
    removed_history_keeps_the_position,
    a_subscriber_before_the_first_publication,
    server_side_recovery,
    cuts_at_any_byte_lose_nothing,
    cuts_at_any_moment_lose_nothing,
    resubscribing_loses_nothing,
    gaps_beyond_the_limit_are_never_silent,
    cuts_of_server_side_subscriptions_lose_nothing,
    full_rings_lose_nothing,
    a_new_epoch_is_told,
    connections_that_die_leave_no_presence,
);

async fn recovers(client: &mut Client, channel: &str, offset: u64, epoch: &Value) -> Value {
    let request = json!({"channel": channel, "recover": true, "offset": offset, "epoch": epoch});
    let result = client.call("subscribe", request).await;
    client.call("unsubscribe", json!({"channel": channel})).await;
    assert_eq!(result["was_recovering"], true, "{result}");
    assert_eq!(result["recoverable"], true);
    assert_eq!(result["positioned"], true);
    result
}

fn offsets(publications: &Value) -> Vec<u64> {
    let list = publications.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|publication| publication["offset"].as_u64().unwrap()).collect()
}

async fn published(node: &Node, channel: &str, count: u64) -> Value {
    let mut epoch = Value::Null;
    for number in 1..=count {
        epoch = node.publish(channel, json!({"n": number})).await["epoch"].take();
    }
    epoch
}

async fn recovery_fills_the_gap(shards: usize) {
    let node = Setup::new(shards).start().await;
    let epoch = published(&node, "news", 5).await;
    for opening in [node.client(), node.client().protobuf()] {
        let mut client = opening.connect().await;
        let result = recovers(&mut client, "news", 2, &epoch).await;
        assert_eq!(result["recovered"], true);
        assert_eq!(result["offset"], 2, "the request's offset");
        assert_eq!(result["epoch"], epoch);
        assert_eq!(offsets(&result["publications"]), [3, 4, 5]);
        assert_eq!(result["publications"][0]["data"], json!({"n": 3}));
    }
    assert_eq!(node.metric_row("fanfare_gateway_recoveries_total", "\"recovered\"").await, 2.0);
}

async fn recovery_at_the_top_and_at_zero(shards: usize) {
    let node = Setup::new(shards).start().await;
    let epoch = published(&node, "news", 3).await;
    let mut client = node.client().connect().await;
    let top = recovers(&mut client, "news", 3, &epoch).await;
    assert_eq!((&top["recovered"], &top["offset"]), (&json!(true), &json!(3)));
    assert!(top.get("publications").is_none(), "{top}");
    let all = recovers(&mut client, "news", 0, &epoch).await;
    assert_eq!(all["recovered"], true);
    assert!(all.get("offset").is_none(), "{all}");
    assert_eq!(offsets(&all["publications"]), [1, 2, 3]);
    assert_eq!(all["publications"][0]["epoch"], epoch, "the first publication of a stream tells its epoch");
    let without_epoch = recovers(&mut client, "news", 1, &json!("")).await;
    assert_eq!(without_epoch["recovered"], true);
}

async fn recovery_that_fails_says_so(shards: usize) {
    let node = Setup::new(shards).start().await;
    let epoch = published(&node, "news", 3).await;
    let mut client = node.client().connect().await;
    for (offset, epoch_asked) in
        [(3, json!("other")), (1, json!("other")), (4, epoch.clone()), (u64::MAX, epoch.clone())]
    {
        let result = recovers(&mut client, "news", offset, &epoch_asked).await;
        assert!(result.get("recovered").is_none(), "{result}");
        assert!(result.get("publications").is_none(), "{result}");
        assert_eq!((&result["offset"], &result["epoch"]), (&json!(3), &epoch));
    }
    for result in ["epoch", "future"] {
        assert_eq!(node.metric_row("fanfare_gateway_recoveries_total", result).await, 2.0);
    }
}

async fn a_gap_beyond_the_limit_is_told(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.recovery_publications_max = 10).start().await;
    let epoch = published(&node, "news", 20).await;
    let mut client = node.client().connect().await;
    let within = recovers(&mut client, "news", 10, &epoch).await;
    assert_eq!(offsets(&within["publications"]), (11..=20).collect::<Vec<_>>());
    let beyond = recovers(&mut client, "news", 9, &epoch).await;
    assert!(beyond.get("recovered").is_none(), "{beyond}");
    assert_eq!(beyond["offset"], 20);
}

async fn trimmed_history_is_told(shards: usize) {
    let small = |options: &mut fanfare_broker::namespaces::ChannelOptions| {
        options.retention.as_mut().unwrap().size = 5;
    };
    let node = Setup::new(shards).channels(small).start().await;
    let epoch = published(&node, "news", 20).await;
    let mut client = node.client().connect().await;
    assert_eq!(recovers(&mut client, "news", 15, &epoch).await["recovered"], true);
    let trimmed = recovers(&mut client, "news", 14, &epoch).await;
    assert!(trimmed.get("recovered").is_none(), "{trimmed}");
    assert_eq!(trimmed["offset"], 20);
}

async fn removed_history_keeps_the_position(shards: usize) {
    let node = Setup::new(shards).start().await;
    let epoch = published(&node, "news", 3).await;
    let mut live = node.client().connect().await;
    live.subscribe("news").await;
    node.call("history_remove", json!({"channel": "news"})).await;
    let mut client = node.client().connect().await;
    assert_eq!(recovers(&mut client, "news", 3, &epoch).await["recovered"], true);
    let lost = recovers(&mut client, "news", 2, &epoch).await;
    assert!(lost.get("recovered").is_none(), "{lost}");
    assert_eq!(node.publish("news", json!(4)).await, json!({"offset": 4, "epoch": epoch}));
    assert_eq!(live.expect_push().await["pub"]["offset"], 4);
    assert_eq!(offsets(&recovers(&mut client, "news", 3, &epoch).await["publications"]), [4]);
}

async fn a_subscriber_before_the_first_publication(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().connect().await;
    let result = client.subscribe("news").await;
    assert!(result.get("offset").is_none(), "{result}");
    let epoch = published(&node, "news", 2).await;
    assert_eq!(result["epoch"], epoch);
    let first = client.expect_publication("news").await;
    assert_eq!(first, json!({"data": {"n": 1}, "offset": 1, "epoch": epoch}));
    assert!(client.expect_publication("news").await.get("epoch").is_none());
    let mut later = node.client().connect().await;
    assert_eq!(offsets(&recovers(&mut later, "news", 0, &result["epoch"]).await["publications"]), [1, 2]);
}

async fn server_side_recovery(shards: usize) {
    let node = Setup::new(shards).start().await;
    let epoch = published(&node, "news", 5).await;
    let from_token = fanfare_testkit::token::with_claims(&json!({"channels": ["news", "fresh"]}));
    let asked = json!({"news": {"recover": true, "offset": 2, "epoch": epoch, "flag": 2}, "own": {}});
    let mut client = node.client().token(&from_token).subs(asked).connect().await;
    let subs = &client.connected["subs"];
    assert_eq!(subs["news"]["recovered"], true);
    assert_eq!(subs["news"]["offset"], 2);
    assert_eq!(offsets(&subs["news"]["publications"]), [3, 4, 5]);
    assert!(subs["fresh"].get("was_recovering").is_none(), "{subs}");
    assert!(subs["own"].is_object());
    node.publish("news", json!(6)).await;
    assert_eq!(client.expect_publication("news").await["offset"], 6);

    // The flag that refuses an unrecovered subscription does not count here.
    let lost = json!({"news": {"recover": true, "offset": 2, "epoch": "other", "flag": 2}});
    let client = node.client().token(&from_token).subs(lost).connect().await;
    let news = &client.connected["subs"]["news"];
    assert_eq!((&news["was_recovering"], &news["offset"]), (&json!(true), &json!(6)));
    assert!(news.get("recovered").is_none(), "{news}");
}

/// Publishes the numbers from 1 on, as fast as pauses allow, until told to stop; says how many.
struct Publisher {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<u64>,
}

impl Publisher {
    fn start(node: &Node, channel: &str, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, address, channel) = (Arc::clone(&stop), node.address(), channel.to_owned());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut http = Http::connect(address).await;
            let mut number = 0;
            while !told.load(Ordering::Relaxed) {
                number += 1;
                let answer = http.publish(&json!({"channel": channel, "data": {"n": number}})).await;
                assert_eq!(answer["result"]["offset"], number, "{answer}");
                if pause.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(pause).await;
                }
            }
            number
        });
        Self { stop, tasks }
    }

    async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let ended = within("the publisher to stop", self.tasks.join_next()).await;
        ended.expect("there is one").expect("the publisher succeeds")
    }
}

/// At the end of a test: one more connection, undisturbed, has to bring the follower to the top.
async fn catches_up(node: &Node, follower: &mut Follower, top: u64) {
    let mut client = node.client().connect().await;
    let result = client.call("subscribe", follower.request()).await;
    follower.subscribed(&result);
    assert_eq!(follower.offset, top);
    assert_eq!(client.so_far().await, []);
}

fn joins_asked(mut request: Value) -> Value {
    request["join_leave"] = json!(true);
    request
}

fn roomy(shards: usize) -> Setup {
    let long = |options: &mut fanfare_broker::namespaces::ChannelOptions| {
        options.retention.as_mut().unwrap().size = 100_000;
    };
    Setup::new(shards).channels(long).sessions(|options| options.recovery_publications_max = 100_000)
}

fn pick(random: &mut SmallRng) -> (Encoding, Cut) {
    let encoding = if random.random() { Encoding::Json } else { Encoding::Protobuf };
    (encoding, if random.random() { Cut::Finish } else { Cut::Reset })
}

/// Follows a channel over one connection until that ends. Both commands go out in one frame, as SDKs do it.
async fn follow(client: &mut Client, follower: &mut Follower) {
    let subscribe = joins_asked(follower.request());
    client.send(&[json!({"id": 1, "connect": {}}), json!({"id": 2, "subscribe": subscribe})]).await;
    client.ending().await;
    follower.take(client);
}

/// Cut at an exact byte, in either direction: within the handshake, a frame, a header, or between them.
async fn cuts_at_any_byte_lose_nothing(shards: usize) {
    let node = roomy(shards).start().await;
    let mut random = seeded("cuts_at_any_byte_lose_nothing");
    let publisher = Publisher::start(&node, "news", Duration::ZERO);
    let mut followers = JoinSet::new();
    for _ in 0..4 {
        let (proxy, opening, seed) = (Proxy::start(node.address()).await, node.client(), random.random::<u64>());
        followers.spawn(async move {
            let mut random = <SmallRng as rand::SeedableRng>::seed_from_u64(seed);
            let mut follower = Follower::new("news");
            let mut down_max = 2_000;
            // On a busy machine there is less to follow between two cuts.
            for round in 0..3_000 {
                if round >= 150 && follower.received > 200 {
                    break;
                }
                let received = follower.received;
                let (encoding, cut) = pick(&mut random);
                // The handshake has about 220 bytes up, the first frame about 100.
                let early = random.random_range(0..4) == 0;
                let up = early.then(|| random.random_range(200..340));
                let down = Some(if early { 2_000 } else { random.random_range(100..down_max) });
                proxy.set(Faults { cut_after_bytes_down: down, cut_after_bytes_up: up, cut, ..Faults::default() });
                let opening = opening.clone().encoding(encoding).through(proxy.address());
                if let Ok(mut client) = within("a WebSocket or its end", opening.try_open()).await {
                    follow(&mut client, &mut follower).await;
                }
                // What was missed grows beyond any bound where it never arrives whole.
                if follower.received > received {
                    down_max = 2_000;
                } else if !early {
                    down_max = (down_max * 2).min(64 << 20);
                }
            }
            follower
        });
    }
    let followed = followers.join_all().await;
    let top = publisher.stop().await;
    for mut follower in followed {
        assert!(follower.received > 200, "it did follow: {}", follower.received);
        catches_up(&node, &mut follower, top).await;
        assert_eq!(follower.missed, 0, "history covers everything");
    }
}

async fn cuts_at_any_moment_lose_nothing(shards: usize) {
    let node = roomy(shards).start().await;
    let mut random = seeded("cuts_at_any_moment_lose_nothing");
    let publisher = Publisher::start(&node, "news", Duration::ZERO);
    let mut followers = JoinSet::new();
    for _ in 0..6 {
        let (opening, seed) = (node.client(), random.random::<u64>());
        followers.spawn(async move {
            let mut random = <SmallRng as rand::SeedableRng>::seed_from_u64(seed);
            let mut follower = Follower::new("news");
            for _ in 0..150 {
                let (encoding, cut) = pick(&mut random);
                let mut client = opening.clone().encoding(encoding).open().await;
                let pause = Duration::from_micros(random.random_range(0..8_000));
                let followed = tokio::time::timeout(pause, follow(&mut client, &mut follower)).await;
                assert!(followed.is_err(), "the node closed: {:?}", client.ending().await);
                follower.take(&mut client);
                if cut == Cut::Reset {
                    client.reset();
                }
            }
            follower
        });
    }
    let followed = followers.join_all().await;
    let top = publisher.stop().await;
    for mut follower in followed {
        catches_up(&node, &mut follower, top).await;
        assert_eq!(follower.missed, 0, "history covers everything");
    }
    node.metric_becomes("fanfare_gateway_subscriptions", 0.0).await;
}

/// Unsubscribes and subscribes again on a living connection, at once and with several clients.
async fn resubscribing_loses_nothing(shards: usize) {
    let node = roomy(shards).start().await;
    let publisher = Publisher::start(&node, "news", Duration::ZERO);
    let mut followers = JoinSet::new();
    for at in 0..4 {
        let encoding = if at % 2 == 0 { Encoding::Json } else { Encoding::Protobuf };
        let opening = node.client().encoding(encoding);
        followers.spawn(async move {
            let mut client = opening.connect().await;
            let mut follower = Follower::new("news");
            for _ in 0..150 {
                let id = client.command(json!({"subscribe": follower.request()})).await;
                let result = client.expect_reply(id).await;
                follower.subscribed(&result["subscribe"]);
                client.read().await;
                let id = client.command(json!({"unsubscribe": {"channel": "news"}})).await;
                client.expect_reply(id).await;
                assert!(!follower.take(&mut client), "no gap");
            }
            (client, follower)
        });
    }
    let followed = followers.join_all().await;
    let top = publisher.stop().await;
    for (client, mut follower) in followed {
        client.close().await;
        catches_up(&node, &mut follower, top).await;
        assert_eq!(follower.missed, 0);
    }
}

/// With room for five publications in a recovery, many fail. Each failure is told, and after it nothing is missing.
async fn gaps_beyond_the_limit_are_never_silent(shards: usize) {
    let node = Setup::new(shards)
        .channels(|options| options.retention.as_mut().unwrap().size = 8)
        .sessions(|options| options.recovery_publications_max = 5)
        .start()
        .await;
    let mut random = seeded("gaps_beyond_the_limit_are_never_silent");
    let publisher = Publisher::start(&node, "news", Duration::ZERO);
    let mut follower = Follower::new("news");
    for _ in 0..200 {
        let mut client = node.client().encoding(pick(&mut random).0).open().await;
        let pause = Duration::from_micros(random.random_range(0..10_000));
        if tokio::time::timeout(pause, follow(&mut client, &mut follower)).await.is_err() {
            follower.take(&mut client);
        }
        drop(client);
        tokio::time::sleep(Duration::from_micros(random.random_range(0..10_000))).await;
    }
    let top = publisher.stop().await;
    catches_up(&node, &mut follower, top).await;
    assert!(follower.missed > 0 && follower.received > 0, "{} missed, {} received", follower.missed, follower.received);
}

async fn cuts_of_server_side_subscriptions_lose_nothing(shards: usize) {
    let node = roomy(shards).start().await;
    let mut random = seeded("cuts_of_server_side_subscriptions_lose_nothing");
    let publisher = Publisher::start(&node, "news", Duration::ZERO);
    let token = fanfare_testkit::token::with_claims(&json!({"sub": "42", "channels": ["news"]}));
    let mut follower = Follower::new("news");
    for _ in 0..200 {
        let (encoding, cut) = pick(&mut random);
        let mut client = node.client().encoding(encoding).open().await;
        let subs = if follower.started { json!({"news": follower.request()}) } else { json!({}) };
        client.send(&[json!({"id": 1, "connect": {"token": token, "subs": subs}})]).await;
        let pause = Duration::from_micros(random.random_range(0..8_000));
        let ended = tokio::time::timeout(pause, client.ending()).await;
        assert!(ended.is_err(), "the node closed: {ended:?}");
        follower.take(&mut client);
        if cut == Cut::Reset {
            client.reset();
        }
    }
    let top = publisher.stop().await;
    catches_up(&node, &mut follower, top).await;
    assert_eq!(follower.missed, 0);
    assert!(follower.received > 0);
}

/// With room for two publications on a ring, publishers wait while subscribers come and go.
async fn full_rings_lose_nothing(shards: usize) {
    let node = roomy(shards).sessions(|options| options.ring_bytes_max = 700).start().await;
    let channels = ["a", "b", "c", "d"];
    let publishers = channels.map(|channel| Publisher::start(&node, channel, Duration::ZERO));
    let mut followers = JoinSet::new();
    for channel in channels {
        let opening = node.client();
        followers.spawn(async move {
            let mut client = opening.connect().await;
            let mut follower = Follower::new(channel);
            for _ in 0..50 {
                let id = client.command(json!({"subscribe": follower.request()})).await;
                let result = client.expect_reply(id).await;
                follower.subscribed(&result["subscribe"]);
                client.read().await;
                let id = client.command(json!({"unsubscribe": {"channel": channel}})).await;
                client.expect_reply(id).await;
                assert!(!follower.take(&mut client), "no gap");
            }
            follower
        });
    }
    let mut followed = followers.join_all().await;
    for (channel, publisher) in channels.into_iter().zip(publishers) {
        let top = publisher.stop().await;
        let follower = followed.iter_mut().find(|follower| follower.channel == channel);
        catches_up(&node, follower.expect("each channel has one"), top).await;
    }
}

/// A stream that was forgotten begins again: whoever follows the old one is told, and starts with the new one.
async fn a_new_epoch_is_told(shards: usize) {
    let short = Duration::from_secs(3);
    let forgetful = |options: &mut fanfare_broker::namespaces::ChannelOptions| {
        let retention = options.retention.as_mut().unwrap();
        (retention.ttl, retention.meta_ttl) = (short, short);
    };
    let node = Setup::new(shards).channels(forgetful).start().await;
    let mut client = node.client().connect().await;
    let mut server_side = node.client().subs(json!({"news": {}})).connect().await;
    client.subscribe("news").await;
    let old = node.publish("news", json!(1)).await["epoch"].take();
    assert_eq!(client.expect_push().await["pub"]["offset"], 1);
    assert_eq!(server_side.expect_push().await["pub"]["offset"], 1);
    let forgotten = || async {
        let history = node.call("history", json!({"channel": "news"})).await;
        (history["epoch"] != old).then_some(())
    };
    fanfare_testkit::patience::eventually("the stream to be forgotten", forgotten).await;
    let new = node.publish("news", json!(2)).await;
    assert_eq!(new["offset"], 1);
    let push = client.expect_push().await;
    assert_eq!(push["unsubscribe"], json!({"code": 2500, "reason": "insufficient state"}), "{push}");
    assert_eq!(server_side.expect_close().await, (3010, "insufficient state".to_owned()));
    let request = json!({"channel": "news", "recover": true, "offset": 1, "epoch": old});
    let result = client.call("subscribe", request).await;
    assert!(result.get("recovered").is_none(), "{result}");
    assert_ne!(result["epoch"], old);
    node.publish("news", json!(3)).await;
    assert_eq!(client.expect_push().await["pub"]["data"], 3);
}

/// Connections that are cut while they subscribe leave no presence, no interest, and a leave for every join.
async fn connections_that_die_leave_no_presence(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut random = seeded("connections_that_die_leave_no_presence");
    let mut witness = node.client().connect().await;
    witness.call("subscribe", json!({"channel": "room", "join_leave": true})).await;
    for _ in 0..150 {
        let mut client = node.client().encoding(pick(&mut random).0).open().await;
        let unsubscribe = random.random::<bool>();
        let mut commands = vec![json!({"id": 1, "connect": {}}), json!({"id": 2, "subscribe": {"channel": "room"}})];
        if unsubscribe {
            commands.push(json!({"id": 3, "unsubscribe": {"channel": "room"}}));
            commands.push(json!({"id": 4, "subscribe": {"channel": "room"}}));
        }
        client.send(&commands).await;
        tokio::time::sleep(Duration::from_micros(random.random_range(0..3_000))).await;
        if random.random() {
            client.reset();
        }
    }
    node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
    node.metric_becomes("fanfare_gateway_presence_changes_waiting", 0.0).await;
    let witness_alone = || async {
        let stats = node.call("presence_stats", json!({"channel": "room"})).await;
        (stats["num_clients"] == 1).then_some(())
    };
    fanfare_testkit::patience::eventually("the others to be gone", witness_alone).await;
    node.publish("room", json!("end")).await;
    let mut present: Vec<String> = Vec::new();
    loop {
        let push = witness.expect_push().await;
        if push["pub"].is_object() {
            break;
        }
        let name = |kind: &str| push[kind]["info"]["client"].as_str().map(str::to_owned);
        match (name("join"), name("leave")) {
            (Some(joined), None) => {
                assert!(!present.contains(&joined), "{joined} joined twice");
                present.push(joined);
            }
            (None, Some(left)) => {
                let at = present.iter().position(|client| *client == left);
                present.remove(at.unwrap_or_else(|| panic!("{left} left without having joined")));
            }
            _ => panic!("unexpected: {push}"),
        }
    }
    assert_eq!(present, [witness.id.as_str()]);
}
