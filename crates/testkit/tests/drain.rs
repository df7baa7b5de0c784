//! The orderly end of a node's sessions.

use std::time::{Duration, Instant};

use fanfare_testkit::{Client, Http, Node, Proxy, Setup, json, on_1_and_3_shards};

on_1_and_3_shards!(
    a_draining_node_takes_nobody_in,
    a_proxy_that_kept_a_connection_lost_the_request_that_came_at_the_end,
    sessions_are_closed_over_the_window,
    what_was_queued_is_sent_before_the_close,
    a_session_that_does_not_answer_does_not_hold_the_drain_up,
    sessions_that_are_not_connected_are_closed_too,
    connections_that_come_while_it_begins_are_closed_too,
    draining_leaves_nothing,
    stopping_does_not_wait_for_what_never_ends,
);

async fn connected(node: &Node, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = node.client().connect().await;
        client.subscribe("news").await;
        clients.push(client);
    }
    clients
}

async fn a_draining_node_takes_nobody_in(shards: usize) {
    let node = Setup::new(shards).start().await;
    assert_eq!(node.request("GET /readyz", &[], "").await.status, 200);
    let mut clients = connected(&node, 4).await;
    let window = Duration::from_millis(500);
    let watching = async {
        let not_ready = || async { (node.request("GET /readyz", &[], "").await.status == 503).then_some(()) };
        fanfare_testkit::patience::eventually("not ready", not_ready).await;
        assert_eq!(node.request("GET /healthz", &[], "").await.status, 200, "it works, it only wants no more");
        let mut http = Http::connect(node.address()).await;
        let upgrade = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let refused = http.request("GET /connection/websocket", &upgrade, "").await;
        assert_eq!(refused.status, 503);
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
    };
    let closing = async {
        for client in &mut clients {
            assert_eq!(client.expect_close().await, (3001, "shutdown".to_owned()));
        }
    };
    tokio::join!(node.drain(window), watching, closing);
}

async fn a_proxy_that_kept_a_connection_lost_the_request_that_came_at_the_end(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut clients = connected(&node, 1).await;
    let mut kept = Http::connect(node.address()).await;
    assert_eq!(kept.request("GET /healthz", &[], "").await.header("connection"), None);
    let watching = async {
        let not_ready = || async { (node.request("GET /readyz", &[], "").await.status == 503).then_some(()) };
        fanfare_testkit::patience::eventually("not ready", not_ready).await;
        // The node has not ended yet, and will not be asked over this connection when it does.
        let answer = kept.request("GET /healthz", &[], "").await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    };
    let closing = async { clients[0].expect_close().await };
    tokio::join!(node.drain(Duration::from_millis(500)), watching, closing);
}

async fn sessions_are_closed_over_the_window(shards: usize) {
    let node = Setup::new(shards).start().await;
    let clients = connected(&node, 40).await;
    let window = Duration::from_secs(2);
    let mut closing = tokio::task::JoinSet::new();
    let began = Instant::now();
    for mut client in clients {
        closing.spawn(async move {
            assert_eq!(client.expect_close().await.0, 3001);
            began.elapsed()
        });
    }
    let (mut closed, ()) = tokio::join!(closing.join_all(), node.drain(window));
    closed.sort_unstable();
    // By chance alone, all 40 are this near to each other once in 2 × 10^10 runs.
    assert!(closed[39] - closed[0] > window / 2, "{closed:?}");
    assert_eq!(node.closes(3001).await, 40.0);
}

async fn what_was_queued_is_sent_before_the_close(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.outbox_bytes_max = 16 << 20).start().await;
    let proxy = Proxy::start(node.address()).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = node.client().through(proxy.address()).connect().await;
        client.subscribe("news").await;
        clients.push(client);
    }
    for number in 0..100_u32 {
        node.publish("news", json!({"n": number, "x": "x".repeat(5_000)})).await;
    }
    let reading = async {
        for client in &mut clients {
            assert_eq!(client.expect_close().await.0, 3001);
            let offsets: Vec<_> =
                client.take_arrived().into_iter().map(|mut unit| unit.value["push"]["pub"]["offset"].take()).collect();
            assert_eq!(offsets, (1..=100).map(|offset| json!(offset)).collect::<Vec<_>>());
        }
    };
    tokio::join!(node.drain(Duration::ZERO), reading);
}

async fn a_session_that_does_not_answer_does_not_hold_the_drain_up(shards: usize) {
    let node = Setup::new(shards).start().await;
    let clients = connected(&node, 3).await;
    let began = Instant::now();
    node.drain(Duration::from_millis(100)).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for mut client in clients {
        assert_eq!(client.expect_close().await.0, 3001);
    }
    node.metric_becomes("fanfare_gateway_sessions", 0.0).await;
}

async fn sessions_that_are_not_connected_are_closed_too(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut opening = node.client().open().await;
    let expired = fanfare_testkit::token::with_claims(&json!({"sub": "42", "exp": 1}));
    let (mut refused, _) = node.client().token(&expired).ask().await;
    let closing = async {
        assert_eq!(opening.expect_close().await.0, 3001);
        assert_eq!(refused.expect_close().await.0, 3001);
    };
    tokio::join!(node.drain(Duration::from_millis(50)), closing);
}

/// A handshake that was accepted just before the drain ends as orderly as the others.
async fn connections_that_come_while_it_begins_are_closed_too(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut coming = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let opening = node.client();
        coming.spawn(async move {
            while let Ok(mut client) = opening.try_open().await {
                client.send(&[json!({"id": 1, "connect": {}})]).await;
                let waited = tokio::time::timeout(Duration::from_millis(3), client.ending()).await;
                if waited.is_ok() || client.take_arrived().is_empty() {
                    assert_eq!(client.expect_close().await.0, 3001);
                    return;
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    node.drain(Duration::ZERO).await;
    assert!(began.elapsed() < Duration::from_secs(4), "a session was not told: {:?}", began.elapsed());
    coming.join_all().await;
}

async fn draining_leaves_nothing(shards: usize) {
    let node = Setup::new(shards).start().await;
    let clients = connected(&node, 5).await;
    let mut closing = tokio::task::JoinSet::new();
    for mut client in clients {
        closing.spawn(async move { client.expect_close().await.0 });
    }
    node.drain(Duration::ZERO).await;
    assert_eq!(closing.join_all().await, [3001; 5]);
    for gauge in ["sessions", "subscriptions", "shard_channels", "outbox_bytes", "presence_changes_waiting"] {
        node.metric_becomes(&format!("fanfare_gateway_{gauge}"), 0.0).await;
    }
    let stats = node.call("presence_stats", json!({"channel": "news"})).await;
    assert_eq!(stats["num_clients"], 0);
    // Backends go on until the end.
    assert_eq!(node.publish("news", json!(1)).await["offset"], 1);
}

async fn stopping_does_not_wait_for_what_never_ends(shards: usize) {
    let node = Setup::new(shards).start().await;
    let (address, mut client) = (node.address(), node.client().connect().await);
    // A connection that is kept alive and one that says nothing.
    node.publish("news", json!(1)).await;
    let mut idle = Http::connect(address).await;
    assert_eq!(idle.request("GET /healthz", &[], "").await.status, 200);
    let began = Instant::now();
    fanfare_testkit::patience::within("the node to stop", node.stop()).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    client.ending().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
