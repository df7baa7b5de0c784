//! A client that does not read (design I3): it is ended, and nobody else notices.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::{Duration, Instant};

use fanfare_broker::namespaces::{ChannelOptions, SlowConsumer};
use fanfare_testkit::bad_input::case;
use fanfare_testkit::patience::eventually;
use fanfare_testkit::{Client, Ending, Node, Proxy, Setup, Unit, json, on_1_and_3_shards};
use tokio::io::AsyncReadExt as _;

on_1_and_3_shards!(
    a_slow_reader_is_closed_and_others_lose_nothing,
    a_slow_reader_that_wakes_up_finds_the_close_frame_and_recovers,
    a_stalled_socket_is_given_up_in_time,
    a_stall_that_ends_in_time_loses_nothing,
    a_recovery_beyond_the_outbox_is_told,
    a_page_of_history_beyond_the_outbox_does_not_close_the_connection,
    a_reader_that_ends_its_side_is_gone,
    many_pings_and_no_reading,
    a_reader_of_some_kilobytes_a_second_is_closed_and_others_lose_nothing,
    where_the_oldest_are_dropped_the_connection_stays_and_is_told_once,
    where_the_oldest_are_dropped_nothing_of_other_channels_is,
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
    publish_until(case(73, "bytes").close(), &node, &mut readers).await;
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
    publish_until(case(73, "time").close(), &node, &mut readers).await;
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

/// Reads, but more slowly than is published: a trickle keeps nobody's outbox from filling.
async fn a_reader_of_some_kilobytes_a_second_is_closed_and_others_lose_nothing(shards: usize) {
    let node = setup(shards).start().await;
    let mut slow = not_reading(&node).await;
    let mut readers = [subscribed(&node).await];
    let trickle = async {
        let mut some = [0; 100];
        while slow.socket().read(&mut some).await.is_ok_and(|length| length > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = publish_until(case(72, "close").close(), &node, &mut readers) => {}
        () = trickle => panic!("the connection ended before the node closed it"),
    }
    assert_eq!(readers[0].so_far().await, []);
    drop(slow);
    node.metric_becomes("fanfare_gateway_outbox_bytes", 0.0).await;
    node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
}

/// A node with the namespace `live`, which has no history and drops.
async fn dropping(shards: usize) -> Node {
    let live = |options: &mut ChannelOptions| {
        options.retention = None;
        options.slow_consumer = SlowConsumer::DropOldest;
        options.presence = false;
        options.join_leave = false;
    };
    setup(shards).namespace("live", live).start().await
}

async fn publish_live(node: &Node, number: u64) {
    node.publish("live:map", json!({"n": number, "x": "x".repeat(20_000)})).await;
}

fn number_of(unit: &Unit) -> Option<u64> {
    unit.value["push"]["pub"]["data"]["n"].as_u64()
}

async fn where_the_oldest_are_dropped_the_connection_stays_and_is_told_once(shards: usize) {
    let node = dropping(shards).await;
    let mut slow = node.client().narrow().connect().await;
    slow.subscribe("live:map").await;
    let mut reader = node.client().connect().await;
    reader.subscribe("live:map").await;
    case(72, "drop").is_fine();
    let (dropped, _) = case(72, "drop").counter();
    let mut published = 0;
    while node.metric(dropped).await == 0.0 {
        published += 1;
        assert!(published <= PUBLICATIONS_MAX, "nothing is dropped");
        publish_live(&node, published).await;
        assert_eq!(reader.expect_publication("live:map").await["data"]["n"], published);
    }
    let dropped = node.metric(dropped).await as u64;
    // It is subscribed no more: what comes now does not concern it.
    for number in published + 1..=published + 20 {
        publish_live(&node, number).await;
        assert_eq!(reader.expect_publication("live:map").await["data"]["n"], number);
    }
    let got = slow.so_far().await;
    let (last, publications) = got.split_last().unwrap();
    assert_eq!(last.value["push"]["unsubscribe"]["code"], 2500);
    let numbers: Vec<u64> = publications.iter().filter_map(number_of).collect();
    assert_eq!(numbers.len(), publications.len(), "nothing but publications, and one 2500 behind them");
    // Its shard may have been behind the reader's: then the last ones that were published do not concern it either.
    let newest = *numbers.last().unwrap();
    assert!(newest <= published, "{newest} of {published}");
    assert_eq!(numbers.len() as u64, newest - dropped);
    // What the socket had taken, then the newest.
    let (sent, kept) = numbers.split_at(numbers.iter().zip(1..).filter(|(number, at)| **number == *at).count());
    assert_eq!(kept, (newest - kept.len() as u64 + 1..=newest).collect::<Vec<_>>(), "after {sent:?}");
    slow.subscribe("live:map").await;
    publish_live(&node, 1_000).await;
    assert_eq!(slow.expect_publication("live:map").await["data"]["n"], 1_000);
    assert_eq!(node.metric("fanfare_gateway_insufficient_state_total").await, 1.0);
    assert_eq!((node.closes(3008).await, reader.so_far().await.len()), (0.0, 1));
}

async fn where_the_oldest_are_dropped_nothing_of_other_channels_is(shards: usize) {
    let node = dropping(shards).await;
    let mut slow = node.client().narrow().connect().await;
    slow.subscribe("live:map").await;
    slow.subscribe("news").await;
    let mut offset = 0;
    while node.metric("fanfare_gateway_publications_dropped_total").await == 0.0 {
        offset += 1;
        assert!(offset <= PUBLICATIONS_MAX, "nothing is dropped");
        node.publish("news", json!(offset)).await;
        publish_live(&node, offset).await;
    }
    node.publish("news", json!("the last one")).await;
    for expected in 1..=offset {
        assert_eq!(slow.expect_publication("news").await["offset"], expected);
    }
    assert_eq!(slow.expect_publication("news").await["data"], "the last one");
    assert_eq!(node.closes(3008).await, 0.0);
}
