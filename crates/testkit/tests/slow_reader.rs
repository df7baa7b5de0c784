//! A client that does not read (design I3): it is ended, and nobody else notices.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::{Duration, Instant};

use fanfare_testkit::patience::eventually;
use fanfare_testkit::{Client, Ending, Node, Proxy, Setup, json, on_1_and_3_shards};

on_1_and_3_shards!(
    a_slow_reader_is_closed_and_others_lose_nothing,
    a_slow_reader_that_wakes_up_finds_the_close_frame_and_recovers,
    a_stalled_socket_is_given_up_in_time,
    a_stall_that_ends_in_time_loses_nothing,
    a_recovery_beyond_the_outbox_is_told,
    a_page_of_history_beyond_the_outbox_does_not_close_the_connection,
    a_reader_that_ends_its_side_is_gone,
    many_pings_and_no_reading,
);

const OUTBOX: usize = 200_000;
const PUBLICATIONS_MAX: u64 = 300;

fn setup(shards: usize) -> Setup {
    Setup::new(shards).sessions(|options| {
        options.outbox_bytes_max = OUTBOX;
        options.unsent_bytes_max = 16_384;
        options.write_timeout = Duration::from_secs(60);
    })
}

async fn publish(node: &Node, number: u64) {
    node.publish("news", json!({"n": number, "x": "x".repeat(20_000)})).await;
}

/// Publishes until a client that does not read has been closed with this code; says how many. Those who read get
/// everything, one at a time, so that a slow machine does not make them slow.
async fn publish_until(code: u16, node: &Node, readers: &mut [Client]) -> u64 {
    for number in 1..=PUBLICATIONS_MAX {
        publish(node, number).await;
        for reader in &mut *readers {
            assert_eq!(reader.expect_publication("news").await["offset"], number);
        }
        if node.closes(code).await == 1.0 {
            return number;
        }
    }
    panic!("{PUBLICATIONS_MAX} large publications do not bring a {code}");
}

async fn subscribed(node: &Node) -> Client {
    let mut client = node.client().connect().await;
    client.subscribe("news").await;
    client
}

async fn not_reading(node: &Node) -> Client {
    let mut client = node.client().narrow().connect().await;
    client.subscribe("news").await;
    client
}

async fn a_slow_reader_is_closed_and_others_lose_nothing(shards: usize) {
    let node = setup(shards).start().await;
    let slow = not_reading(&node).await;
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(subscribed(&node).await);
    }
    publish_until(3008, &node, &mut readers).await;
    assert_eq!(node.metric("fanfare_gateway_outbox_overflows_total").await, 1.0);
    assert!(node.metric("fanfare_gateway_outbox_bytes").await < 40_000.0, "what waited is dropped");
    node.presence_becomes("news", &slow.id, false).await;
    for reader in &mut readers {
        assert_eq!(reader.so_far().await, []);
    }
    drop(slow);
    node.metric_becomes("fanfare_gateway_outbox_bytes", 0.0).await;
    node.metric_becomes("fanfare_gateway_sessions", 4.0).await;
}

/// What was in progress is finished, the rest dropped, then comes the close frame: all frames are whole.
async fn a_slow_reader_that_wakes_up_finds_the_close_frame_and_recovers(shards: usize) {
    let node = setup(shards).start().await;
    let mut slow = not_reading(&node).await;
    let published = publish_until(3008, &node, &mut []).await;
    assert_eq!(slow.expect_close().await, (3008, "slow".to_owned()));
    let received = slow.take_arrived();
    assert!(!received.is_empty() && (received.len() as u64) < published, "{} of {published}", received.len());
    for (at, unit) in received.iter().enumerate() {
        assert_eq!(unit.value["push"]["pub"]["offset"], at + 1);
    }
    let epoch = received[0].value["push"]["pub"]["epoch"].clone();
    let mut again = node.client().connect().await;
    let request = json!({"channel": "news", "recover": true, "offset": published - 2, "epoch": epoch});
    let result = again.call("subscribe", request).await;
    assert_eq!(result["publications"].as_array().unwrap().len(), 2);
}

/// Less than the outbox holds, but the socket takes nothing: after `write_timeout` the session ends.
async fn a_stalled_socket_is_given_up_in_time(shards: usize) {
    let node = setup(shards)
        .sessions(|options| {
            options.write_timeout = Duration::from_millis(500);
            options.outbox_bytes_max = 64 << 20;
        })
        .start()
        .await;
    let stalled = not_reading(&node).await;
    let mut readers = [subscribed(&node).await];
    publish_until(3009, &node, &mut readers).await;
    node.presence_becomes("news", &stalled.id, false).await;
    let before = Instant::now();
    // The peer never reads: the socket is cut, and its memory given back.
    node.metric_becomes("fanfare_gateway_outbox_bytes", 0.0).await;
    node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
    assert!(before.elapsed() < Duration::from_secs(15), "{:?}", before.elapsed());
    assert_eq!(readers[0].so_far().await, []);
}

async fn a_stall_that_ends_in_time_loses_nothing(shards: usize) {
    let node = Setup::new(shards).start().await;
    let proxy = Proxy::start(node.address()).await;
    let mut client = node.client().through(proxy.address()).connect().await;
    client.subscribe("news").await;
    for round in 0..5 {
        proxy.stall();
        for number in 1..=20 {
            node.publish("news", json!(round * 20 + number)).await;
        }
        proxy.resume();
        for number in 1..=20 {
            assert_eq!(client.expect_publication("news").await["offset"], round * 20 + number);
        }
    }
}

/// A gap whose publications do not fit into an outbox is told; without that the client would come back for ever.
async fn a_recovery_beyond_the_outbox_is_told(shards: usize) {
    let node = setup(shards).start().await;
    let epoch = node.publish("news", json!(1)).await["epoch"].take();
    for number in 0..20 {
        publish(&node, number).await;
    }
    let request = json!({"channel": "news", "recover": true, "offset": 1, "epoch": epoch});
    let mut client = node.client().connect().await;
    let result = client.call("subscribe", request.clone()).await;
    assert!(result.get("recovered").is_none(), "{result}");
    assert_eq!(result["offset"], 21);
    let server_side = node.client().subs(json!({"news": request})).connect().await;
    assert_eq!(server_side.connected["subs"]["news"]["offset"], 21);
}

async fn a_page_of_history_beyond_the_outbox_does_not_close_the_connection(shards: usize) {
    let node = setup(shards).start().await;
    for number in 0..20 {
        publish(&node, number).await;
    }
    let mut client = node.client().connect().await;
    let reply = client.ask(json!({"history": {"channel": "news", "limit": -1}})).await;
    assert!(reply["history"].is_object() || reply["error"].is_object(), "{reply}");
}

async fn a_reader_that_ends_its_side_is_gone(shards: usize) {
    let node = Setup::new(shards).start().await;
    let proxy = Proxy::start(node.address()).await;
    let mut client = node.client().through(proxy.address()).connect().await;
    client.subscribe("news").await;
    proxy.half_close();
    node.metric_becomes("fanfare_gateway_sessions", 0.0).await;
    node.presence_becomes("news", &client.id.clone(), false).await;
    assert!(matches!(client.ending().await, Ending::Dropped(_)));
    let mut cut = node.client().through(proxy.address()).connect().await;
    cut.subscribe("news").await;
    proxy.cut();
    assert!(matches!(cut.ending().await, Ending::Dropped(_)));
    node.metric_becomes("fanfare_gateway_sessions", 0.0).await;
}

/// Makes the node answer and takes none of the answers, before any login.
async fn many_pings_and_no_reading(shards: usize) {
    let node = setup(shards).start().await;
    let mut client = node.client().narrow().open().await;
    let ping = fanfare_testkit::client_frame(0x89, &[b'x'; 125]);
    client.send_bytes(&ping.repeat(200)).await;
    let ended = || async { (node.closes(1008).await == 1.0).then_some(()) };
    eventually("1008", ended).await;
    assert!(node.metric("fanfare_gateway_outbox_bytes").await < OUTBOX as f64);
    drop(client);
    node.metric_becomes("fanfare_gateway_sessions", 0.0).await;
    node.metric_becomes("fanfare_gateway_outbox_bytes", 0.0).await;
}
