//! What the node accounts for of its memory, and what it does when that gets short.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use fanfare_gateway::limits::WEBSOCKET_STATE_BYTES;
use fanfare_server::memory::Max;
use fanfare_testkit::bad_input::case;
use fanfare_testkit::patience::eventually;
use fanfare_testkit::{Client, Http, Node, Raw, Setup, client_frame, json, on_1_and_3_shards};

on_1_and_3_shards!(
    what_waits_is_accounted_for_and_given_back,
    a_frame_that_many_wait_for_counts_once,
    a_message_that_is_not_whole_is_accounted_for,
    when_memory_is_short_new_sessions_are_refused_and_others_served,
    when_memory_is_nearly_used_up_the_largest_outbox_goes_first,
    nobody_is_closed_where_outboxes_hold_next_to_nothing,
    a_thousand_that_ping_and_never_read_take_little_each,
);

const BUDGET: usize = 4_000_000;

/// A node that may take so much, whatever the tests that share its process take; channels keep no history, but for
/// those of the namespace `kept`.
fn setup(shards: usize) -> Setup {
    Setup::new(shards)
        .configure(|config| {
            config.memory.max = Max::Bytes(BUDGET);
            config.memory.resident_counts = false;
        })
        .sessions(|options| {
            options.outbox_bytes_max = 64 << 20;
            options.write_timeout = Duration::from_secs(60);
        })
        .namespace("kept", |_| {})
        .channels(|options| options.retention = None)
}

async fn accounted(node: &Node, kind: &str) -> f64 {
    node.metric_row("fanfare_memory_accounted_bytes", &format!("kind=\"{kind}\"")).await
}

async fn accounted_becomes(node: &Node, kind: &str, fits: impl Fn(f64) -> bool) -> f64 {
    eventually(&format!("{kind} to be accounted for"), || async {
        Some(accounted(node, kind).await).filter(|bytes| fits(*bytes))
    })
    .await
}

async fn not_reading(node: &Node, channel: &str) -> Client {
    let mut client = node.client().narrow().connect().await;
    client.subscribe(channel).await;
    client
}

async fn publish(node: &Node, channel: &str, bytes: usize) {
    for _ in 0..bytes / 20_000 {
        node.publish(channel, json!("x".repeat(20_000))).await;
    }
}

async fn what_waits_is_accounted_for_and_given_back(shards: usize) {
    let node = setup(shards).start().await;
    let slow = not_reading(&node, "news").await;
    publish(&node, "news", 1_000_000).await;
    let waiting = accounted_becomes(&node, "outboxes", |bytes| bytes > 500_000.0).await;
    assert!(waiting < 1_100_000.0, "{waiting}");
    publish(&node, "kept:news", 200_000).await;
    accounted_becomes(&node, "histories", |bytes| (200_000.0..250_000.0).contains(&bytes)).await;
    drop(slow);
    accounted_becomes(&node, "outboxes", |bytes| bytes == 0.0).await;
    accounted_becomes(&node, "sessions", |bytes| bytes == 0.0).await;
    accounted_becomes(&node, "rings", |bytes| bytes == 0.0).await;
    assert!(node.metric("fanfare_memory_resident_bytes").await > 1_000_000.0);
    assert_eq!(node.metric("fanfare_memory_budget_bytes").await, BUDGET as f64);
}

/// Counted once for each it would have closed them all, to free what is there once.
async fn a_frame_that_many_wait_for_counts_once(shards: usize) {
    let node = setup(shards).start().await;
    let mut slow = Vec::new();
    for _ in 0..12 {
        slow.push(not_reading(&node, "news").await);
    }
    publish(&node, "news", 700_000).await;
    node.publish("news", json!("the last one")).await;
    let queued = eventually("much to be queued", || async {
        Some(node.metric("fanfare_gateway_outbox_bytes").await).filter(|bytes| *bytes > 6_000_000.0)
    });
    assert!(queued.await > BUDGET as f64);
    let held = accounted_becomes(&node, "outboxes", |bytes| bytes > 500_000.0).await;
    // Each shard has frames of its own.
    assert!(held < 750_000.0 * shards as f64, "{held}");
    for client in &mut slow {
        for _ in 0..35 {
            client.expect_publication("news").await;
        }
        assert_eq!(client.expect_publication("news").await["data"], "the last one");
    }
    assert_eq!(node.metric("fanfare_gateway_shed_total").await, 0.0);
    accounted_becomes(&node, "outboxes", |bytes| bytes == 0.0).await;
}

async fn a_message_that_is_not_whole_is_accounted_for(shards: usize) {
    let node = setup(shards).start().await;
    let mut raw = Raw::upgrade(node.address(), "", b"").await;
    let message = client_frame(0x81, &[b' '; 40_000]);
    raw.write(&message[..30_000]).await;
    let one = (30_000 + WEBSOCKET_STATE_BYTES) as f64;
    accounted_becomes(&node, "messages", |bytes| bytes == one).await;
    let mut whole = Raw::upgrade(node.address(), "", b"").await;
    whole.write(&message[..30_000]).await;
    accounted_becomes(&node, "messages", |bytes| bytes == 2.0 * one).await;
    drop(raw);
    accounted_becomes(&node, "messages", |bytes| bytes == one).await;
    whole.write(&message[30_000..]).await;
    accounted_becomes(&node, "messages", |bytes| bytes == 0.0).await;
}

const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

async fn when_memory_is_short_new_sessions_are_refused_and_others_served(shards: usize) {
    let node = setup(shards).start().await;
    let mut canary = node.client().connect().await;
    canary.subscribe("news").await;
    publish(&node, "kept:much", BUDGET * 88 / 100).await;
    node.metric_becomes("fanfare_memory_level", 1.0).await;
    let refused = Http::connect(node.address()).await.request("GET /connection/websocket", &UPGRADE, "").await;
    assert_eq!(refused.status, case(115, "high").status());
    assert!(refused.body.contains("limits.memory_max"), "{}", refused.body);
    assert!((1..=30).contains(&refused.header("retry-after").unwrap().parse::<u64>().unwrap()));
    let ready = node.request("GET /readyz", &[], "").await;
    assert_eq!((ready.status, ready.body.contains("limits.memory_max")), (503, true));
    assert_eq!(node.request("GET /healthz", &[], "").await.status, 200);
    let (refused, reason) = case(115, "high").counter();
    assert_eq!(node.metric_row(refused, reason).await, 1.0);
    node.publish("news", json!(1)).await;
    assert_eq!(canary.expect_publication("news").await["data"], 1);
    node.call("history_remove", json!({"channel": "kept:much"})).await;
    node.metric_becomes("fanfare_memory_level", 0.0).await;
    node.client().connect().await;
    assert_eq!(node.request("GET /readyz", &[], "").await.status, 200);
    assert_eq!(canary.so_far().await, []);
}

async fn when_memory_is_nearly_used_up_the_largest_outbox_goes_first(shards: usize) {
    let node = setup(shards).start().await;
    let mut canary = node.client().connect().await;
    canary.subscribe("news").await;
    let mut small = not_reading(&node, "small").await;
    let mut large = not_reading(&node, "large").await;
    publish(&node, "small", 400_000).await;
    publish(&node, "large", 1_200_000).await;
    accounted_becomes(&node, "outboxes", |bytes| bytes > 1_400_000.0).await;
    assert_eq!(node.metric("fanfare_memory_level").await, 0.0);
    // Nearly what is missing to the watermark, and then a little at a time.
    publish(&node, "kept:much", BUDGET * 93 / 100 - 1_600_000).await;
    eventually("somebody to be closed", || async {
        publish(&node, "kept:much", 20_000).await;
        (node.closes(3008).await > 0.0).then_some(())
    })
    .await;
    assert_eq!(large.expect_close().await, (case(115, "critical").close(), "slow".to_owned()));
    node.metric_becomes("fanfare_memory_level", 0.0).await;
    assert_eq!(node.metric(case(115, "critical").counter().0).await, 1.0);
    for _ in 0..20 {
        small.expect_publication("small").await;
    }
    node.publish("news", json!(1)).await;
    assert_eq!(canary.expect_publication("news").await["data"], 1);
    assert_eq!((small.so_far().await, canary.so_far().await), (vec![], vec![]));
}

async fn nobody_is_closed_where_outboxes_hold_next_to_nothing(shards: usize) {
    let node = setup(shards).start().await;
    let mut slow = not_reading(&node, "news").await;
    publish(&node, "news", 140_000).await;
    publish(&node, "kept:much", BUDGET * 97 / 100).await;
    node.metric_becomes("fanfare_memory_level", 2.0).await;
    // A look at the memory further: what is counted at each is there.
    publish(&node, "kept:much", 40_000).await;
    accounted_becomes(&node, "histories", |bytes| bytes > (BUDGET * 97 / 100 + 30_000) as f64).await;
    for _ in 0..7 {
        slow.expect_publication("news").await;
    }
    assert_eq!(slow.so_far().await, []);
    assert_eq!(node.metric("fanfare_gateway_shed_total").await, 0.0);
}

/// What one of them may make the node keep: the pongs of a second or two, and the state of a ping that is not whole.
const PINGER_BYTES_MAX: usize = 16 * 1024 + WEBSOCKET_STATE_BYTES;

/// They want all the pongs that they can get, before any login, and take none.
async fn a_thousand_that_ping_and_never_read_take_little_each(shards: usize) {
    const PINGERS: usize = 1_000;
    let node = Setup::new(shards).start().await;
    let mut canary = node.client().connect().await;
    canary.subscribe("news").await;
    let flood = client_frame(0x89, &[b'x'; 125]).repeat(200);
    let (mut pingers, mut most) = (Vec::new(), 0.0);
    for number in 0..PINGERS {
        let mut pinger = Raw::upgrade(node.address(), "", b"").await;
        pinger.write(&flood).await;
        pingers.push(pinger);
        if number % 100 == 99 {
            let taken = accounted(&node, "outboxes").await + accounted(&node, "messages").await;
            most = f64::max(most, taken);
            node.publish("news", json!(number)).await;
            assert_eq!(canary.expect_publication("news").await["data"], number);
        }
    }
    assert!(most <= (PINGERS * PINGER_BYTES_MAX) as f64, "{most}");
    let code = case(15, "pings").close();
    let ended = || async { (node.closes(code).await == PINGERS as f64).then_some(()) };
    eventually("all of them to be closed", ended).await;
    drop(pingers);
    node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
    accounted_becomes(&node, "outboxes", |bytes| bytes == 0.0).await;
    accounted_becomes(&node, "messages", |bytes| bytes == 0.0).await;
    assert_eq!(canary.so_far().await, []);
}
