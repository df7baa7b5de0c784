//! What a peer may take of the node, and what it is told when it wants more.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use fanfare_testkit::bad_input::case;
use fanfare_testkit::{Http, Raw, Setup, Stage, client_frame, json, on_1_and_3_shards};

on_1_and_3_shards!(
    a_message_that_is_too_big,
    fragments_are_bounded,
    sessions_of_a_user,
    sessions_of_the_node,
    the_limit_of_sessions_holds_in_a_rush,
    a_flood_of_pings,
    the_close_frame_survives_unread_input,
    budgets_of_the_broker,
);

async fn a_message_that_is_too_big(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.message_bytes_max = 1_000).start().await;
    let sized = |bytes: usize| {
        let empty = r#"{"id":9,"connect":{"name":""}}"#;
        format!(r#"{{"id":9,"connect":{{"name":"{}"}}}}"#, "x".repeat(bytes - empty.len()))
    };
    let mut good = node.client().open().await;
    good.send_text(&sized(1_000)).await;
    assert!(good.expect_reply(9).await["connect"].is_object());
    let mut bad = node.client().open().await;
    bad.send_text(&sized(1_001)).await;
    assert_eq!(bad.expect_close().await.0, 1009);
    // The declared length alone, without the data.
    let mut raw = Raw::upgrade(node.address(), "", b"").await;
    raw.write(&[0x82, 0xFF, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4]).await;
    assert_eq!(raw.frame().await.unwrap().close_code(), Some(1009));
    assert_eq!(raw.frame().await, None);
    assert_eq!(node.closes(1009).await, 2.0);
}

async fn fragments_are_bounded(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.message_bytes_max = 1_000).start().await;
    let mut whole = Raw::upgrade(node.address(), "", b"").await;
    for (first, part) in [(0x01, &br#"{"id":1,"#[..]), (0x00, b""), (0x89, b"ping"), (0x80, br#""connect":{}}"#)] {
        whole.write(&client_frame(first, part)).await;
    }
    assert_eq!(whole.frame().await.unwrap().first, 0x8A, "the pong between the fragments");
    assert_eq!(whole.frame().await.unwrap().first, 0x81);
    let mut too_big = Raw::upgrade(node.address(), "", b"").await;
    too_big.write(&client_frame(0x01, &[b' '; 600])).await;
    too_big.write(&client_frame(0x80, &[b' '; 600])).await;
    assert_eq!(too_big.frame().await.unwrap().close_code(), Some(1009));
    let mut endless = Raw::upgrade(node.address(), "", b"").await;
    endless.write(&client_frame(0x01, b" ")).await;
    endless.write(&client_frame(0x00, b"").repeat(5_000)).await;
    assert_eq!(endless.frame().await.unwrap().close_code(), Some(1008));
}

async fn sessions_of_a_user(shards: usize) {
    let mut stage = Stage::set_up(Setup::new(shards).sessions(|options| options.sessions_per_user_max = Some(2))).await;
    let (node, limit) = (&stage.node, case(78, "user"));
    let first = node.client().user("42").connect().await;
    let mut second = node.client().user("42").connect().await;
    assert_eq!(node.client().user("42").closed().await, (limit.close(), "connection limit".to_owned()));
    stage.moved(limit, 0.0, 1.0).await;
    node.client().user("43").connect().await;
    // Anonymous clients are not one user.
    let mut anonymous = Vec::new();
    for _ in 0..4 {
        anonymous.push(node.client().connect().await);
    }
    first.close().await;
    node.client().user("42").connect().await.close().await;
    assert_eq!(second.so_far().await, []);
    second.close().await;
    drop(anonymous);
    stage.goes_on("too many sessions of a user").await;
    stage.is_clean().await;
}

const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

async fn sessions_of_the_node(shards: usize) {
    // The canary is the fourth.
    let mut stage = Stage::set_up(Setup::new(shards).sessions(|options| options.sessions_max = 4)).await;
    let (node, full) = (&stage.node, case(78, "node"));
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(node.client().connect().await);
    }
    let mut http = Http::connect(node.address()).await;
    let refused = http.request("GET /connection/websocket", &UPGRADE, "").await;
    assert_eq!(refused.status, full.status());
    assert_eq!(stage.counted(full).await, 1.0);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&after));
    clients.pop().unwrap().close().await;
    let come_back = || async { node.client().try_open().await.ok() };
    fanfare_testkit::patience::eventually("the place to be free again", come_back).await;
    for client in &mut clients {
        client.subscribe("news").await;
    }
    drop((clients, http));
    stage.goes_on("a node that is full").await;
    stage.is_clean().await;
}

async fn the_limit_of_sessions_holds_in_a_rush(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.sessions_max = 5).start().await;
    let mut rush = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let opening = node.client();
        rush.spawn(async move { opening.try_open().await.ok() });
    }
    let open = rush.join_all().await.into_iter().flatten().count();
    assert_eq!(open, 5);
}

async fn a_flood_of_pings(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut good = Raw::upgrade(node.address(), "", b"").await;
    good.write(&client_frame(0x89, b"hi").repeat(20)).await;
    for _ in 0..20 {
        let frame = good.frame().await.unwrap();
        assert_eq!((frame.first, &frame.payload[..]), (0x8A, &b"hi"[..]));
    }
    for opcode in [0x89, 0x8A] {
        let mut flood = Raw::upgrade(node.address(), "", b"").await;
        // More than may come in one second, whatever second they fall into.
        flood.write(&client_frame(opcode, b"").repeat(120)).await;
        let mut last = None;
        while let Some(frame) = flood.frame().await {
            last = Some(frame);
        }
        assert_eq!(last.unwrap().close_code(), Some(1008));
    }
}

/// A megabyte that nobody asked for is under way when the node closes: the close frame has to arrive all the same.
async fn the_close_frame_survives_unread_input(shards: usize) {
    let node = Setup::new(shards).start().await;
    for _ in 0..10 {
        let mut raw = Raw::upgrade(node.address(), "", b"").await;
        let garbage = client_frame(0x81, b"garbage");
        raw.write(&[garbage, vec![b'x'; 800_000]].concat()).await;
        assert_eq!(raw.frame().await.unwrap().close_code(), Some(3501));
        assert_eq!(raw.frame().await, None);
    }
    node.metric_becomes("fanfare_gateway_sessions", 0.0).await;
}

async fn budgets_of_the_broker(shards: usize) {
    let node = Setup::new(shards)
        .configure(|config| config.broker.channels_max = 2)
        .sessions(|options| options.command_timeout = Duration::from_secs(3))
        .start()
        .await;
    node.publish("a", json!(1)).await;
    node.publish("b", json!(1)).await;
    let refused = node.api("publish", &json!({"channel": "c", "data": 1})).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("channels_max"), "{refused}");
    let mut client = node.client().connect().await;
    client.subscribe("c").await;
    let code = client.refused("publish", json!({"channel": "c", "data": 1})).await;
    assert_eq!(json!(code), refused["error"]["code"]);
    node.publish("a", json!(2)).await;
}
