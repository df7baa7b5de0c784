//! Peers that end without a word, or are gone without an end: nothing of them stays, and nobody else notices.

use std::time::Duration;

use fanfare_gateway::limits::WEBSOCKET_STATE_BYTES;
use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::{Client, Ending, Node, Proxy, Raw, Setup, client_frame, json, on_1_and_3_shards};

on_1_and_3_shards!(
    a_connection_that_swallows_everything_is_found_by_its_missing_pong,
    a_reset_within_a_frame_ends_one_session,
    an_end_of_input_without_a_close_frame_ends_one_session,
);

/// A client that goes on well, and sees who leaves.
async fn canary(node: &Node) -> Client {
    let mut canary = node.client().connect().await;
    canary.call("subscribe", json!({"channel": "news", "join_leave": true})).await;
    // It hears its own join too.
    assert_eq!(canary.expect_push().await["join"]["info"]["client"], canary.id);
    canary
}

/// The canary goes on, and hears what it is to hear.
async fn goes_on(node: &Node, canary: &mut Client) {
    node.publish("news", json!("still here")).await;
    assert_eq!(canary.expect_publication("news").await["data"], "still here");
}

/// How often what a case expects was counted; nothing is refused.
async fn moved(node: &Node, case: &Case) -> f64 {
    case.is_fine();
    let (counter, label) = case.counter();
    node.metric_row(counter, label).await
}

async fn everything_is_given_back(node: &Node) {
    node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
    node.metric_becomes("fanfare_gateway_subscriptions", 1.0).await;
    node.metric_becomes("fanfare_gateway_outbox_bytes", 0.0).await;
    let kind = |kind: &str| format!("kind=\"{kind}\"");
    for kind in [kind("outboxes"), kind("messages"), kind("held_back")] {
        let freed = || async {
            let bytes = node.metric_row("fanfare_memory_accounted_bytes", &kind).await;
            (bytes == 0.0).then_some(())
        };
        fanfare_testkit::patience::eventually(&format!("{kind} to be 0"), freed).await;
    }
}

/// The power is off at the far end: nothing comes, and nothing says so.
async fn a_connection_that_swallows_everything_is_found_by_its_missing_pong(shards: usize) {
    let node = Setup::new(shards)
        .sessions(|options| {
            options.ping_interval = Some(Duration::from_secs(2));
            options.pong_timeout = Duration::from_millis(1_000);
            options.command_timeout = Duration::from_millis(900);
        })
        .start()
        .await;
    let mut canary = canary(&node).await;
    let proxy = Proxy::start(node.address()).await;
    let mut gone = node.client().through(proxy.address()).connect().await;
    gone.subscribe("news").await;
    assert!(canary.expect_push().await["join"].is_object());
    proxy.stall();
    // Whoever reads answers pings.
    let left = canary.expect_push().await;
    assert_eq!(left["leave"]["info"]["client"], gone.id);
    assert_eq!(node.closes(case(74, "silence").close()).await, 1.0);
    node.presence_becomes("news", &gone.id, false).await;
    goes_on(&node, &mut canary).await;
    drop((proxy, gone));
    let reading = async {
        loop {
            canary.read().await;
        }
    };
    tokio::select! {
        () = everything_is_given_back(&node) => {}
        () = reading => {}
    }
}

async fn a_reset_within_a_frame_ends_one_session(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut canary = canary(&node).await;
    for _ in 0..5 {
        let mut client = node.client().connect().await;
        client.subscribe("news").await;
        assert!(canary.expect_push().await["join"].is_object());
        let frame = client_frame(0x81, &[b' '; 10_000]);
        client.send_bytes(&frame[..6_000]).await;
        let half = (6_000 + WEBSOCKET_STATE_BYTES) as f64;
        let partial = || async {
            (node.metric_row("fanfare_memory_accounted_bytes", "kind=\"messages\"").await == half).then_some(())
        };
        fanfare_testkit::patience::eventually("the half of it to be there", partial).await;
        let id = client.id.clone();
        client.reset();
        assert_eq!(canary.expect_push().await["leave"]["info"]["client"], id);
        goes_on(&node, &mut canary).await;
    }
    everything_is_given_back(&node).await;
    assert_eq!(moved(&node, case(76, "reset")).await, 5.0);
    assert_eq!(node.metric("fanfare_gateway_panics_total").await, 0.0);
}

async fn an_end_of_input_without_a_close_frame_ends_one_session(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut canary = canary(&node).await;
    for behind in [&b""[..], &client_frame(0x81, b"{")[..3]] {
        let mut raw = Raw::upgrade(node.address(), "", b"").await;
        raw.write(behind).await;
        raw.finish().await;
        assert_eq!(raw.frame().await, None);
    }
    let proxy = Proxy::start(node.address()).await;
    let mut client = node.client().through(proxy.address()).connect().await;
    client.subscribe("news").await;
    assert!(canary.expect_push().await["join"].is_object());
    proxy.half_close();
    assert!(matches!(client.ending().await, Ending::Dropped(_)));
    assert_eq!(canary.expect_push().await["leave"]["info"]["client"], client.id);
    goes_on(&node, &mut canary).await;
    everything_is_given_back(&node).await;
    assert_eq!(moved(&node, case(76, "end")).await, 3.0);
}
