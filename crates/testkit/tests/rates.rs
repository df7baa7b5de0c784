//! How much sessions and users may send in a second, and what becomes of the rest: rows 57 to 59 and 64 of the table of
//! bad input. Beside each flood a well-behaved client misses nothing.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use fanfare_gateway::Rates;
use fanfare_testkit::{Client, Ending, Node, Setup, Value, json, on_1_and_3_shards};

on_1_and_3_shards!(
    row_58_a_flip_flop_is_refused_and_then_closed,
    row_59_a_publish_flood_is_refused_and_none_is_half_published,
    row_64_calls_that_nobody_awaits,
    unsubscribing_is_never_refused,
    the_sessions_of_a_user_share_a_rate,
    bytes_that_come_too_fast_are_read_later,
);

const LIMITED: &str = "fanfare_gateway_rate_limited_total";

/// So few commands and publications that ten seconds' worth are soon used up; in a second none come in anew.
const FEW: Rates = Rates { commands: Some(10), publishes: Some(2), bytes: None };

async fn node(shards: usize, session: Rates, user: Rates) -> Node {
    let rates = |options: &mut fanfare_gateway::Options| {
        options.session_rates = session;
        options.user_rates = user;
    };
    Setup::new(shards).sessions(rates).start().await
}

/// A well-behaved client that misses nothing, whatever others do.
struct Canary(Client);

impl Canary {
    async fn of(node: &Node) -> Self {
        let mut client = node.client().user("canary").connect().await;
        client.subscribe("canary").await;
        Self(client)
    }

    async fn is_well(&mut self, node: &Node) {
        for number in 0..10 {
            node.publish("canary", json!(number)).await;
            assert_eq!(self.0.expect_publication("canary").await["data"], number);
        }
        self.0.call("presence_stats", json!({"channel": "canary"})).await;
        assert!(!self.0.has_ended());
    }
}

/// Sends so many commands in as many frames as a message allows, each under its number.
async fn flood(client: &mut Client, count: usize, command: impl Fn(usize) -> Value) {
    let commands: Vec<Value> = (0..count)
        .map(|number| {
            let mut command = command(number);
            command["id"] = json!(number + 100);
            command
        })
        .collect();
    for frame in commands.chunks(200) {
        client.send(frame).await;
    }
}

/// The codes of all errors that have come until the session ended.
async fn until_closed(client: &mut Client) -> (u16, usize) {
    let Ending::Closed(code, _) = client.ending().await else { panic!("it was not closed") };
    let refused = client.take_arrived().into_iter().filter(|unit| unit.value["error"]["code"] == 111).count();
    (code, refused)
}

async fn row_58_a_flip_flop_is_refused_and_then_closed(shards: usize) {
    let node = node(shards, FEW, Rates::default()).await;
    let mut canary = Canary::of(&node).await;
    let mut flapping = node.client().user("42").connect().await;
    let channel = json!({"channel": "news"});
    let flip_flop = |number: usize| match number % 2 {
        0 => json!({"subscribe": channel}),
        _ => json!({"unsubscribe": channel}),
    };
    flood(&mut flapping, 10_000, flip_flop).await;
    canary.is_well(&node).await;
    let (code, refused) = until_closed(&mut flapping).await;
    assert_eq!(code, 3013);
    assert!((100..=600).contains(&refused), "{refused} were refused");
    assert!(node.metric_row(LIMITED, "\"commands\"").await >= 1_000.0);
    canary.is_well(&node).await;
    node.metric_becomes("fanfare_gateway_subscriptions", 1.0).await;
}

async fn row_59_a_publish_flood_is_refused_and_none_is_half_published(shards: usize) {
    let node = node(shards, FEW, Rates::default()).await;
    let mut canary = Canary::of(&node).await;
    let mut publisher = node.client().user("42").connect().await;
    publisher.subscribe("news").await;
    flood(&mut publisher, 60, |number| json!({"publish": {"channel": "news", "data": number}})).await;
    let mut accepted = Vec::new();
    for number in 0..60_u32 {
        let reply = publisher.expect_reply(number + 100).await;
        match reply["error"].as_object() {
            None => accepted.push(json!(number)),
            Some(error) => {
                assert_eq!((&error["code"], &error["temporary"]), (&json!(111), &json!(true)), "{reply}");
                assert_eq!(error["message"], "too many requests");
            }
        }
    }
    // Ten seconds' worth, and what comes in while they are sent.
    assert!((20..=40).contains(&accepted.len()), "{accepted:?}");
    let mut heard = Vec::new();
    for _ in 0..accepted.len() {
        heard.push(publisher.expect_publication("news").await["data"].take());
    }
    assert_eq!(heard, accepted, "what was accepted, and nothing else");
    let kept = node.call("history", json!({"channel": "news", "limit": -1})).await;
    assert_eq!(kept["publications"].as_array().unwrap().len(), accepted.len());
    assert_eq!(node.metric_row(LIMITED, "\"publishes\"").await, (60 - accepted.len()) as f64);
    // Refused is not forgotten: the session goes on.
    assert!(publisher.so_far().await.is_empty());
    canary.is_well(&node).await;
}

async fn row_64_calls_that_nobody_awaits(shards: usize) {
    let node = node(shards, FEW, Rates::default()).await;
    let mut canary = Canary::of(&node).await;
    let mut caller = node.client().user("42").connect().await;
    flood(&mut caller, 10_000, |_| json!({"rpc": {"method": "nobody", "data": {}}})).await;
    canary.is_well(&node).await;
    assert_eq!(until_closed(&mut caller).await.0, 3013);
    assert_eq!(node.closes(3013).await, 1.0);
    canary.is_well(&node).await;
}

/// Clients reconnect when it fails, which would cost more.
async fn unsubscribing_is_never_refused(shards: usize) {
    let node = node(shards, FEW, Rates::default()).await;
    let mut client = node.client().user("42").connect().await;
    client.subscribe("news").await;
    flood(&mut client, 150, |_| json!({"rpc": {}})).await;
    assert_eq!(client.refused("rpc", json!({})).await, 111);
    client.call("unsubscribe", json!({"channel": "news"})).await;
    node.metric_becomes("fanfare_gateway_subscriptions", 0.0).await;
    assert_eq!(client.refused("subscribe", json!({"channel": "news"})).await, 111);
}

async fn the_sessions_of_a_user_share_a_rate(shards: usize) {
    let node = node(shards, Rates::default(), FEW).await;
    let mut canary = Canary::of(&node).await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(node.client().user("42").connect().await);
    }
    let (mut answered, mut refused) = (0, 0);
    for number in 0..150 {
        match sessions[number % 6].refused("rpc", json!({})).await {
            108 => answered += 1,
            111 => refused += 1,
            code => panic!("{code}"),
        }
    }
    assert!(answered >= 100 && refused > 0, "{answered} were answered, {refused} refused");
    assert_eq!(node.metric_row(LIMITED, "\"user_commands\"").await, f64::from(refused));
    canary.is_well(&node).await;
    // The anonymous are not one user.
    let mut anonymous = [node.client().connect().await, node.client().connect().await];
    for number in 0..150 {
        assert_eq!(anonymous[number % 2].refused("rpc", json!({})).await, 108);
    }
}

async fn bytes_that_come_too_fast_are_read_later(shards: usize) {
    let node = node(shards, Rates { bytes: Some(64 << 10), ..Rates::default() }, Rates::default()).await;
    let mut canary = Canary::of(&node).await;
    let mut sender = node.client().user("42").connect().await;
    // More than ten seconds' worth.
    let payload = "x".repeat(50_000);
    for number in 0..14 {
        sender.send(&[json!({"id": 100 + number, "publish": {"channel": "news", "data": payload}})]).await;
    }
    canary.is_well(&node).await;
    for number in 0..14 {
        let reply = sender.expect_reply(100 + number).await;
        assert!(reply["publish"].is_object(), "late, but there: {reply}");
    }
    assert!(node.metric_row(LIMITED, "\"bytes\"").await >= 1.0);
    canary.is_well(&node).await;
}
