//! How much sessions and users may send in a second, and what becomes of the rest: rows 57 to 59, 62 and 64 of the table of
//! bad input. Beside each flood a well-behaved client misses nothing.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use fanfare_gateway::Rates;
use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::{Client, Ending, Node, RedisServer, Setup, Value, json, on_1_and_3_shards, token};

on_1_and_3_shards!(
    row_57_subscriptions_without_end,
    row_58_a_flip_flop_is_refused_and_then_closed,
    row_58_a_flip_flop_asks_redis_once,
    row_59_a_publish_flood_is_refused_and_none_is_half_published,
    row_62_a_large_presence_is_told_in_part_and_counted_in_full,
    row_62_presence_info_has_an_end,
    row_64_calls_that_nobody_awaits,
    unsubscribing_is_never_refused,
    the_sessions_of_a_user_share_a_rate,
    bytes_that_come_too_fast_are_read_later,
);

/// How often a case was counted.
async fn counted(node: &Node, case: &Case) -> f64 {
    let (name, label) = case.counter();
    node.metric_row(name, label).await
}

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

async fn row_57_subscriptions_without_end(shards: usize) {
    let node = node(shards, Rates::default(), Rates::default()).await;
    let mut canary = Canary::of(&node).await;
    let mut greedy = node.client().user("42").connect().await;
    let subscribe = |number: usize| json!({"subscribe": {"channel": format!("channel-{number}")}});
    flood(&mut greedy, 5_000, subscribe).await;
    let mut refused = 0;
    for number in 0..5_000 {
        let reply = greedy.expect_reply(number + 100).await;
        refused += u32::from(reply["error"]["code"] == case(57, "cap").error());
    }
    assert_eq!(refused, 5_000 - 128);
    assert_eq!(node.metric("fanfare_gateway_subscriptions").await, 129.0);
    canary.is_well(&node).await;
    // With the limits that a node has by itself, who goes on is closed.
    let limited = Setup::new(shards).start().await;
    let mut greedy = limited.client().user("42").connect().await;
    flood(&mut greedy, 10_000, subscribe).await;
    assert_eq!(until_closed(&mut greedy).await.0, case(57, "rate").close());
    assert!(counted(&limited, case(57, "rate")).await >= 1_000.0);
    limited.metric_becomes("fanfare_gateway_subscriptions", 0.0).await;
}

/// How often Redis was asked to begin or end to listen to a channel.
fn interest_calls(redis: &RedisServer) -> u64 {
    let text = redis.run(&[b"INFO", b"commandstats"]);
    let calls = |line: &str| {
        let rest = line.strip_prefix("cmdstat_")?;
        let (name, rest) = rest.split_once(":calls=")?;
        ["subscribe", "ssubscribe", "unsubscribe", "sunsubscribe"].contains(&name).then_some(())?;
        rest.split(',').next()?.parse::<u64>().ok()
    };
    text.lines().filter_map(calls).sum()
}

async fn row_58_a_flip_flop_asks_redis_once(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let setup = Setup::new(shards).redis(&redis.url());
    let node = setup.sessions(|options| options.session_rates = Rates::default()).start().await;
    node.becomes_ready().await;
    let mut flapping = node.client().user("42").connect().await;
    flapping.subscribe("other").await;
    let before = interest_calls(&redis);
    for _ in 0..200 {
        flapping.subscribe("news").await;
        flapping.call("unsubscribe", json!({"channel": "news"})).await;
    }
    let asked = interest_calls(&redis) - before;
    case(58, "towards Redis").is_fine();
    assert!((1..=2).contains(&asked), "Redis was asked {asked} times");
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
    assert_eq!(code, case(58, "flip-flop").close());
    assert!((100..=600).contains(&refused), "{refused} were refused");
    assert!(counted(&node, case(58, "flip-flop")).await >= 1_000.0);
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
                assert_eq!(
                    (&error["code"], &error["temporary"]),
                    (&json!(case(59, "session").error()), &json!(true)),
                    "{reply}"
                );
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
    assert_eq!(counted(&node, case(59, "session")).await, (60 - accepted.len()) as f64);
    // Refused is not forgotten: the session goes on.
    assert!(publisher.so_far().await.is_empty());
    canary.is_well(&node).await;
}

async fn row_62_a_large_presence_is_told_in_part_and_counted_in_full(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.presence_members_max = 5).start().await;
    let mut canary = Canary::of(&node).await;
    let mut members = Vec::new();
    for _ in 0..8 {
        let mut member = node.client().user("42").connect().await;
        member.subscribe("news").await;
        members.push(member);
    }
    let told = members[0].call("presence", json!({"channel": "news"})).await;
    assert_eq!(told["presence"].as_object().unwrap().len(), 5);
    let stats = members[0].call("presence_stats", json!({"channel": "news"})).await;
    assert_eq!((&stats["num_clients"], &stats["num_users"]), (&json!(8), &json!(1)));
    case(62, "members").is_fine();
    assert_eq!(counted(&node, case(62, "members")).await, 1.0);
    let whole = canary.0.call("presence", json!({"channel": "canary"})).await;
    assert_eq!(whole["presence"].as_object().unwrap().len(), 1);
    assert_eq!(counted(&node, case(62, "members")).await, 1.0);
    canary.is_well(&node).await;
}

/// Many infos of 20 KB each fill no outbox, and one of a megabyte gets into no channel.
async fn row_62_presence_info_has_an_end(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.outbox_bytes_max = 256 << 10).start().await;
    let mut canary = Canary::of(&node).await;
    let mut members = Vec::new();
    for number in 0..10 {
        let claims = json!({"sub": format!("user-{number}"), "info": "x".repeat(20_000)});
        let mut member = node.client().token(&token::with_claims(&claims)).connect().await;
        member.call("subscribe", json!({"channel": "news"})).await;
        members.push(member);
    }
    let told = members[0].call("presence", json!({"channel": "news"})).await;
    let count = told["presence"].as_object().unwrap().len();
    assert!((1..=6).contains(&count), "{count} of 20 KB were told");
    let large = json!({"user": "user-0", "channel": "large", "info": "x".repeat(1_000_000)});
    let refused = node.api("subscribe", &large).await;
    assert_eq!(refused["error"]["code"], case(62, "info").error(), "{refused}");
    canary.is_well(&node).await;
}

async fn row_64_calls_that_nobody_awaits(shards: usize) {
    let node = node(shards, FEW, Rates::default()).await;
    let mut canary = Canary::of(&node).await;
    let mut caller = node.client().user("42").connect().await;
    flood(&mut caller, 10_000, |_| json!({"rpc": {"method": "nobody", "data": {}}})).await;
    canary.is_well(&node).await;
    assert_eq!(until_closed(&mut caller).await.0, case(64, "calls").close());
    assert!(counted(&node, case(64, "calls")).await >= 1_000.0);
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
            code => {
                assert_eq!(code, case(59, "user").error());
                refused += 1;
            }
        }
    }
    assert!(answered >= 100 && refused > 0, "{answered} were answered, {refused} refused");
    assert_eq!(counted(&node, case(59, "user")).await, f64::from(refused));
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
    case(59, "bytes").is_fine();
    assert!(counted(&node, case(59, "bytes")).await >= 1.0);
    canary.is_well(&node).await;
}
