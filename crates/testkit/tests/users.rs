//! Operations of the server API on a user (protocol §12, §20), with sessions on several shards.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use fanfare_testkit::{Client, Http, Node, Setup, Value, json, on_1_and_3_shards, token};

on_1_and_3_shards!(
    subscribing_a_user,
    a_publish_after_subscribe_has_answered_is_received_by_all,
    subscribing_again_tells_again,
    subscribing_beyond_the_limit,
    subscribing_from_a_position,
    what_api_subscriptions_carry,
    unsubscribing_a_user,
    disconnecting_a_user,
    what_may_not_be_asked,
    one_session_of_a_user,
    refreshing_a_user,
    info_and_channels_count,
    many_operations_at_once,
    many_operations_on_full_rings,
);

/// Six sessions of user 42 and one of 43: on 3 shards, each has some.
async fn sessions(node: &Node) -> (Vec<Client>, Client) {
    let mut own = Vec::new();
    for at in 0..6 {
        let opening = node.client().user("42");
        own.push(if at % 2 == 0 { opening.connect().await } else { opening.protobuf().connect().await });
    }
    (own, node.client().user("43").connect().await)
}

async fn subscribing_a_user(shards: usize) {
    let node = Setup::new(shards).start().await;
    let (mut own, mut other) = sessions(&node).await;
    let published = node.publish("$news", json!(0)).await;
    let asked = json!({"user": "42", "channel": "$news", "data": {"d": 1}});
    assert_eq!(node.call("subscribe", asked).await, json!({}));
    for client in &mut own {
        let push = client.expect_push().await;
        let expected = json!({
            "recoverable": true, "positioned": true, "offset": 1, "epoch": published["epoch"], "data": {"d": 1},
        });
        assert_eq!(push, json!({"channel": "$news", "subscribe": expected}));
        assert_eq!(client.refused("subscribe", json!({"channel": "$news"})).await, 105);
    }
    assert_eq!(other.so_far().await, []);
    assert_eq!(node.call("subscribe", json!({"user": "nobody", "channel": "$news"})).await, json!({}));
}

async fn a_publish_after_subscribe_has_answered_is_received_by_all(shards: usize) {
    let node = Setup::new(shards).start().await;
    let (mut own, _other) = sessions(&node).await;
    for round in 0..30 {
        let channel = format!("channel-{round}");
        node.call("subscribe", json!({"user": "42", "channel": channel})).await;
        node.publish(&channel, json!(round)).await;
        for client in &mut own {
            assert_eq!(client.expect_publication(&channel).await["data"], round);
        }
        node.call("unsubscribe", json!({"user": "42", "channel": channel})).await;
        node.publish(&channel, json!("too late")).await;
    }
    for client in &mut own {
        let late = client.so_far().await;
        assert!(late.iter().all(|unit| unit.value["push"]["pub"].is_null()), "{late:?}");
    }
}

async fn subscribing_again_tells_again(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().user("42").connect().await;
    node.call("subscribe", json!({"user": "42", "channel": "news"})).await;
    let first = client.expect_push().await;
    node.publish("news", json!(1)).await;
    client.expect_publication("news").await;
    node.call("subscribe", json!({"user": "42", "channel": "news"})).await;
    let again = client.expect_push().await;
    assert_eq!(again["subscribe"]["offset"], 1);
    assert_eq!(again["subscribe"]["epoch"], first["subscribe"]["epoch"]);
    assert_eq!(node.metric("fanfare_gateway_subscriptions").await, 1.0);
    node.publish("news", json!(2)).await;
    assert_eq!(client.expect_push().await["pub"]["data"], 2);
    assert_eq!(client.so_far().await, [], "once each");
}

async fn subscribing_beyond_the_limit(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.channels_per_session_max = 1).start().await;
    let mut full = node.client().user("42").connect().await;
    let mut empty = node.client().user("42").connect().await;
    full.subscribe("a").await;
    node.call("subscribe", json!({"user": "42", "channel": "b"})).await;
    assert_eq!(full.expect_close().await.0, 3505);
    assert_eq!(empty.expect_push().await["channel"], "b");
}

async fn subscribing_from_a_position(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut epoch = Value::Null;
    for number in 1..=5 {
        epoch = node.publish("news", json!(number)).await["epoch"].take();
    }
    let mut client = node.client().user("42").connect().await;
    let since = json!({"offset": 2, "epoch": epoch});
    node.call("subscribe", json!({"user": "42", "channel": "news", "recover_since": since})).await;
    let push = client.expect_push().await;
    assert_eq!((&push["subscribe"]["offset"], &push["subscribe"]["epoch"]), (&json!(2), &epoch));
    for number in 3..=5 {
        assert_eq!(client.expect_push().await["pub"]["offset"], number, "what was missed follows");
    }
    node.publish("news", json!(6)).await;
    assert_eq!(client.expect_push().await["pub"]["offset"], 6);

    // A gap that history does not cover is told: the client connects again from the position it was given.
    let mut behind = node.client().user("44").connect().await;
    node.call("history_remove", json!({"channel": "news"})).await;
    node.call("subscribe", json!({"user": "44", "channel": "news", "recover_since": since})).await;
    assert_eq!(behind.expect_close().await.0, 3010);
    assert_eq!(behind.expect_push().await["subscribe"]["offset"], 2);
}

async fn what_api_subscriptions_carry(shards: usize) {
    let quiet = |options: &mut fanfare_broker::namespaces::ChannelOptions| {
        (options.presence, options.join_leave) = (false, false);
    };
    let node = Setup::new(shards).channels(|options| options.presence = true).namespace("quiet", quiet).start().await;
    let mut client = node.client().user("42").connect().await;
    let request = json!({
        "user": "42", "channel": "room", "info": {"seat": 3},
        "override": {"force_push_join_leave": {"value": true}},
    });
    node.call("subscribe", request).await;
    assert!(client.expect_push().await["subscribe"].is_object());
    let info = json!({"user": "42", "client": client.id, "chan_info": {"seat": 3}});
    assert_eq!(client.expect_push().await["join"]["info"], info);
    let presence = node.call("presence", json!({"channel": "room"})).await;
    assert_eq!(presence["presence"][&client.id], info);
}

async fn unsubscribing_a_user(shards: usize) {
    let node = Setup::new(shards).start().await;
    let (mut own, mut other) = sessions(&node).await;
    for client in own.iter_mut().take(5).chain([&mut other]) {
        client.subscribe("news").await;
    }
    assert_eq!(node.call("unsubscribe", json!({"user": "42", "channel": "news"})).await, json!({}));
    node.publish("news", json!(1)).await;
    for client in own.iter_mut().take(5) {
        let push = client.expect_push().await;
        assert_eq!(push["unsubscribe"]["code"], 2000, "{push}");
        assert_eq!(client.so_far().await, []);
        node.presence_becomes("news", &client.id.clone(), false).await;
    }
    assert_eq!(own[5].so_far().await, [], "it was not subscribed");
    other.expect_publication("news").await;
}

async fn disconnecting_a_user(shards: usize) {
    let node = Setup::new(shards).start().await;
    let (mut own, mut other) = sessions(&node).await;
    let kept = [own[1].id.clone(), own[4].id.clone()];
    node.call("disconnect", json!({"user": "42", "whitelist": kept})).await;
    for client in &mut own {
        if kept.contains(&client.id) {
            assert_eq!(client.so_far().await, []);
        } else {
            assert_eq!(client.expect_close().await, (3503, "force disconnect".to_owned()));
        }
    }
    let custom = json!({"user": "42", "disconnect": {"code": 4500, "reason": "b\u{e4}nned"}});
    node.call("disconnect", custom).await;
    for client in own.iter_mut().filter(|client| kept.contains(&client.id)) {
        assert_eq!(client.expect_close().await, (4500, "b\u{e4}nned".to_owned()));
    }
    assert_eq!(other.so_far().await, []);
    node.metric_becomes("fanfare_gateway_sessions", 1.0).await;
    assert_eq!((node.closes(3503).await, node.metric_row("fanfare_gateway_closes_total", "other").await), (4.0, 2.0));
}

async fn error_of(node: &Node, method: &str, request: Value) -> Value {
    node.api(method, &request).await["error"]["code"].take()
}

async fn what_may_not_be_asked(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut anonymous = node.client().connect().await;
    for (method, request) in [
        ("disconnect", json!({})),
        ("disconnect", json!({"user": ""})),
        ("refresh", json!({})),
        ("subscribe", json!({"channel": "news"})),
        ("subscribe", json!({"user": "42"})),
        ("unsubscribe", json!({"user": "42"})),
        ("unsubscribe", json!({"user": "", "channel": "news"})),
        ("disconnect", json!({"user": "42", "disconnect": {}})),
        ("disconnect", json!({"user": "42", "disconnect": {"code": 2999, "reason": "x"}})),
        ("disconnect", json!({"user": "42", "disconnect": {"code": 5000, "reason": "x"}})),
        ("disconnect", json!({"user": "42", "disconnect": {"code": 4000, "reason": "x".repeat(124)}})),
    ] {
        assert_eq!(error_of(&node, method, request.clone()).await, 107, "{method} {request}");
    }
    assert_eq!(anonymous.so_far().await, []);
    let longest = json!({"client": anonymous.id, "disconnect": {"code": 4000, "reason": "x".repeat(123)}});
    node.call("disconnect", longest).await;
    assert_eq!(anonymous.expect_close().await, (4000, "x".repeat(123)));
}

async fn one_session_of_a_user(shards: usize) {
    let node = Setup::new(shards).start().await;
    let (mut own, _other) = sessions(&node).await;
    let client = own[3].id.clone();
    node.call("subscribe", json!({"user": "42", "client": client, "channel": "a"})).await;
    node.call("subscribe", json!({"client": client, "channel": "b"})).await;
    node.call("subscribe", json!({"user": "43", "client": client, "channel": "c"})).await;
    node.call("subscribe", json!({"user": "42", "session": "unknown", "channel": "d"})).await;
    for (at, session) in own.iter_mut().enumerate() {
        let told: Vec<Value> =
            session.so_far().await.into_iter().map(|mut unit| unit.value["push"]["channel"].take()).collect();
        assert_eq!(told, if at == 3 { vec![json!("a"), json!("b")] } else { vec![] });
    }
}

async fn refreshing_a_user(shards: usize) {
    let node = Setup::new(shards).start().await;
    let (mut own, mut other) = sessions(&node).await;
    let expire_at = token::now() + 60;
    node.call("refresh", json!({"user": "42", "expire_at": expire_at, "info": {"new": true}})).await;
    for client in &mut own {
        let push = client.expect_push().await;
        assert_eq!(push["refresh"]["expires"], true, "{push}");
        assert!((58..=60).contains(&push["refresh"]["ttl"].as_u64().unwrap()), "{push}");
    }
    node.call("refresh", json!({"user": "42"})).await;
    for client in &mut own {
        assert_eq!(client.expect_push_unit().await.value, json!({"push": {"refresh": {}}}));
    }
    own[0].subscribe("news").await;
    own[0].call("publish", json!({"channel": "news", "data": 1})).await;
    assert_eq!(own[0].expect_publication("news").await["info"]["conn_info"], json!({"new": true}));
    node.call("refresh", json!({"user": "42", "expired": true})).await;
    for client in &mut own {
        assert_eq!(client.expect_close().await, (3005, "connection expired".to_owned()));
    }
    assert_eq!(other.so_far().await, []);
}

async fn info_and_channels_count(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.node_name = "one".to_owned()).start().await;
    let (mut own, mut other) = sessions(&node).await;
    for client in &mut own {
        client.subscribe("1").await;
    }
    other.subscribe("2").await;
    let info = node.call("info", json!({})).await;
    let shown = &info["nodes"][0];
    for (key, expected) in [
        ("num_clients", json!(7)),
        ("num_users", json!(2)),
        ("num_subs", json!(7)),
        ("num_channels", json!(2)),
        ("name", json!("one")),
    ] {
        assert_eq!(shown[key], expected, "{key}: {info}");
    }
    let channels = node.call("channels", json!({})).await;
    assert_eq!(channels["channels"], json!({"1": {"num_clients": 6}, "2": {"num_clients": 1}}));
    let matching = node.call("channels", json!({"pattern": "2*"})).await;
    assert_eq!(matching["channels"], json!({"2": {"num_clients": 1}}));
    for client in own {
        client.close().await;
    }
    node.metric_becomes("fanfare_gateway_shard_channels", 1.0).await;
    let left = node.call("channels", json!({})).await;
    assert_eq!(left["channels"], json!({"2": {"num_clients": 1}}));
}

async fn many_operations_at_once(shards: usize) {
    overlapping_operations(Setup::new(shards).start().await).await;
}

/// With room for two events on a ring, everything that is told to others has to wait for its turn.
async fn many_operations_on_full_rings(shards: usize) {
    overlapping_operations(Setup::new(shards).sessions(|options| options.ring_bytes_max = 600).start().await).await;
}

/// Subscribes, unsubscribes and disconnects that overlap, while clients do the same.
async fn overlapping_operations(node: Node) {
    let node = std::sync::Arc::new(node);
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..4 {
        let node = std::sync::Arc::clone(&node);
        tasks.spawn(async move {
            let mut http = Http::connect(node.address()).await;
            for round in 0..25 {
                let request = json!({"user": "42", "channel": format!("c{}", (worker + round) % 3)});
                node.call("subscribe", request.clone()).await;
                let answer = http.publish(&json!({"channel": format!("c{}", round % 3), "data": round})).await;
                assert!(answer["result"].is_object(), "{answer}");
                node.call("unsubscribe", request).await;
            }
        });
    }
    for _ in 0..4 {
        let node = std::sync::Arc::clone(&node);
        tasks.spawn(async move {
            for round in 0..25 {
                let mut client = node.client().user("42").connect().await;
                let channel = json!({"channel": format!("c{}", round % 3)});
                client.command(json!({"subscribe": channel})).await;
                client.command(json!({"unsubscribe": channel})).await;
                client.so_far().await;
                drop(client);
            }
        });
    }
    tasks.join_all().await;
    for gauge in ["sessions", "subscriptions", "shard_channels", "presence_changes_waiting", "outbox_bytes"] {
        node.metric_becomes(&format!("fanfare_gateway_{gauge}"), 0.0).await;
    }
    assert_eq!(node.metric("fanfare_gateway_panics_total").await, 0.0);
    for channel in ["c0", "c1", "c2"] {
        let stats = node.call("presence_stats", json!({"channel": channel})).await;
        assert_eq!(stats["num_clients"], 0, "{channel}");
    }
}
