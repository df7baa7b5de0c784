//! How a connection begins (protocol §5), what ends it at once, and the rules for commands (§2, §3).

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use fanfare_testkit::{Client, Node, Raw, Setup, Value, client_frame, json, on_1_and_3_shards, token};

on_1_and_3_shards!(
    anonymous_connect,
    user_connect,
    token_outcomes,
    tokens_alone_where_anonymous_clients_are_kept_out,
    server_side_channels_of_the_token,
    requested_channels,
    personal_channel,
    server_side_channel_limit,
    a_refused_session_takes_no_command_and_is_closed_at_the_deadline,
    a_refused_session_is_no_session_of_its_user,
    a_silent_connection_is_stale,
    violations_before_connect,
    violations_after_connect,
    json_is_read_strictly,
    lines_of_a_frame,
    a_frame_of_many_commands,
    protobuf_framing,
    ping_as_a_command,
    the_largest_id,
    rpc_and_send_are_not_available,
    nothing_follows_the_answer_to_a_close,
);

async fn anonymous_connect(shards: usize) {
    let node = Setup::new(shards).start().await;
    let json = node.client().connect().await;
    let protobuf = node.client().protobuf().connect().await;
    for client in [&json, &protobuf] {
        let result = &client.connected;
        assert_eq!(result["ping"], 25, "{result}");
        assert_eq!(result["pong"], true);
        assert_eq!(result["version"], env!("CARGO_PKG_VERSION"));
        for absent in ["expires", "ttl", "subs", "session", "node", "time", "flag", "dict", "data"] {
            assert!(result.get(absent).is_none(), "{absent} in {result}");
        }
    }
    assert_ne!(json.id, protobuf.id);
    assert_eq!(json.id.len(), 36, "a UUID");
    assert_eq!(json.id.as_bytes()[14], b'4', "of version 4");
}

async fn user_connect(shards: usize) {
    let node = Setup::new(shards).start().await;
    let claims = json!({"sub": "42", "exp": token::now() + 3_600, "info": {"name": "Ann"}});
    let mut client = node.client().token(&token::with_claims(&claims)).connect().await;
    assert_eq!(client.connected["expires"], true);
    let ttl = client.connected["ttl"].as_u64().unwrap();
    assert!((3_590..=3_600).contains(&ttl), "{ttl}");
    client.subscribe("room").await;
    let presence = client.call("presence", json!({"channel": "room"})).await;
    let own = json!({"user": "42", "client": client.id, "conn_info": {"name": "Ann"}});
    assert_eq!(presence["presence"][&client.id], own);
}

async fn asks(node: &Node, claims: Value) -> Value {
    let (_, reply) = node.client().token(&token::with_claims(&claims)).ask().await;
    reply
}

async fn refused(node: &Node, claims: Value) -> u64 {
    let reply = asks(node, claims.clone()).await;
    reply["error"]["code"].as_u64().unwrap_or_else(|| panic!("{claims}: {reply}"))
}

async fn accepted(node: &Node, claims: Value) -> Value {
    let reply = asks(node, claims.clone()).await;
    assert!(reply["connect"]["client"].is_string(), "{claims}: {reply}");
    reply["connect"].clone()
}

async fn closed(node: &Node, token: &str) -> u16 {
    node.client().token(token).closed().await.0
}

async fn token_outcomes(shards: usize) {
    let node = Setup::new(shards).start().await;
    let now = token::now();
    accepted(&node, json!({})).await;
    accepted(&node, json!({"sub": "42", "iat": now})).await;
    accepted(&node, json!({"sub": "42", "exp": now as f64 + 60.5})).await;
    accepted(&node, json!({"sub": "42", "nbf": now + 20})).await;
    let year = accepted(&node, json!({"sub": "42", "exp": now + 800 * 24 * 3600})).await;
    assert_eq!(year["ttl"], 365 * 24 * 3600);
    let lasting = accepted(&node, json!({"sub": "42", "exp": now + 60, "expire_at": 0})).await;
    assert!(lasting.get("expires").is_none(), "{lasting}");

    assert_eq!(refused(&node, json!({"sub": "42", "exp": now - 1})).await, 109);
    assert_eq!(refused(&node, json!({"sub": "42", "exp": 0})).await, 109);
    assert_eq!(refused(&node, json!({"sub": "42", "nbf": now + 90})).await, 109);
    assert_eq!(refused(&node, json!({"sub": "42", "exp": now + 60, "expire_at": now - 1})).await, 110);
    assert_eq!(refused(&node, json!({"sub": "42", "channels": ["nowhere:x"]})).await, 102);

    let expired = json!({"sub": "42", "exp": now - 100});
    let forged = token::signed_with("another secret of at least thirty-two bytes", &expired);
    assert_eq!(closed(&node, &forged).await, 3500, "the signature is judged first");
    for invalid in [
        json!({"sub": 42}),
        json!({"sub": "42", "exp": "tomorrow"}),
        json!({"sub": "42", "channel": "news"}),
        json!({"sub": "42", "channels": ["n\u{f6}rd"]}),
        json!({"sub": "42", "b64info": "bm8ganNvbg=="}),
    ] {
        assert_eq!(closed(&node, &token::with_claims(&invalid)).await, 3500, "{invalid}");
    }
    assert_eq!(closed(&node, "garbage").await, 3500);
}

async fn tokens_alone_where_anonymous_clients_are_kept_out(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.allow_anonymous = false).start().await;
    assert_eq!(node.client().closed().await, (3501, "bad request".to_owned()));
    node.client().user("42").connect().await;
    let none = node.client().token(&token::with_claims(&json!({"sub": ""})));
    assert_eq!(none.closed().await.0, 3507, "a token of the anonymous user");
}

async fn server_side_channels_of_the_token(shards: usize) {
    let node = Setup::new(shards).start().await;
    let claims = json!({"sub": "42", "channels": ["ignored"], "subs": {
        "news": {"data": {"d": 1}, "info": {"i": 1}},
        "plain": {},
        "": {},
    }});
    let mut client = node.client().token(&token::with_claims(&claims)).connect().await;
    let subs = client.connected["subs"].as_object().unwrap();
    assert_eq!(subs.keys().collect::<Vec<_>>(), ["news", "plain"]);
    assert_eq!(subs["news"]["data"], json!({"d": 1}));
    assert_eq!(subs["news"]["recoverable"], true);
    assert_eq!(client.refused("subscribe", json!({"channel": "news"})).await, 105);
    let presence = client.call("presence", json!({"channel": "news"})).await;
    assert_eq!(presence["presence"][&client.id]["chan_info"], json!({"i": 1}));
    node.publish("news", json!(1)).await;
    assert_eq!(client.expect_publication("news").await["data"], 1);
    client.call("unsubscribe", json!({"channel": "news"})).await;
    node.publish("news", json!(2)).await;
    node.publish("plain", json!(3)).await;
    assert_eq!(client.expect_push().await["channel"], "plain");
}

async fn requested_channels(shards: usize) {
    let node = Setup::new(shards).namespace("closed", |options| options.access = Default::default()).start().await;
    let wanted =
        json!({"open": {}, "$private": {}, "closed:x": {}, "list#41": {}, "list#42": {}, "n\u{f6}rd": {}, "": {}});
    let client = node.client().user("42").subs(wanted).connect().await;
    let subs = client.connected["subs"].as_object().unwrap();
    assert_eq!(subs.keys().collect::<Vec<_>>(), ["list#42", "open"]);
    let unknown = node.client().subs(json!({"nowhere:x": {}}));
    assert_eq!(unknown.closed().await.0, 3501);
}

async fn personal_channel(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.personal_channel = Some(String::new())).start().await;
    let mut client = node.client().user("42").connect().await;
    assert!(client.connected["subs"]["#42"].is_object(), "{}", client.connected);
    node.publish("#42", json!("for you")).await;
    assert_eq!(client.expect_publication("#42").await["data"], "for you");
    let anonymous = node.client().connect().await;
    assert!(anonymous.connected.get("subs").is_none(), "{}", anonymous.connected);
}

async fn server_side_channel_limit(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.channels_per_session_max = 2).start().await;
    accepted(&node, json!({"channels": ["a", "b"]})).await;
    let three = token::with_claims(&json!({"channels": ["a", "b", "c"]}));
    assert_eq!(node.client().token(&three).closed().await, (3505, "channel limit".to_owned()));
}

fn expired() -> String {
    token::with_claims(&json!({"sub": "42", "exp": 1}))
}

async fn a_refused_session_takes_no_command_and_is_closed_at_the_deadline(shards: usize) {
    let short = Duration::from_secs(2);
    let node = Setup::new(shards).sessions(|options| options.connect_timeout = short).start().await;
    let (mut waiting, reply) = node.client().token(&expired()).ask().await;
    assert_eq!(reply["error"]["code"], 109);
    assert_eq!(waiting.expect_close().await, (3502, "stale".to_owned()));

    for command in [json!({"id": 2, "connect": {}}), json!({"id": 2, "subscribe": {"channel": "a"}}), json!({})] {
        let mut client = node.client().open().await;
        client.send(&[json!({"id": 1, "connect": {"token": expired()}}), command.clone()]).await;
        assert_eq!(client.expect_close().await.0, 3501, "{command}");
        assert_eq!(client.expect_reply(1).await["error"]["code"], 109);
        assert!(client.take_arrived().is_empty());
    }
}

async fn a_refused_session_is_no_session_of_its_user(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.sessions_per_user_max = Some(1)).start().await;
    let claims = token::with_claims(&json!({"sub": "42", "channels": ["nowhere:x"]}));
    let (mut refused, reply) = node.client().token(&claims).ask().await;
    assert_eq!(reply["error"]["code"], 102);
    let mut good = node.client().user("42").connect().await;
    node.call("subscribe", json!({"user": "42", "channel": "news"})).await;
    assert_eq!(good.expect_push().await["channel"], "news");
    refused.send(&[json!({"id": 2, "rpc": {}})]).await;
    assert_eq!(refused.expect_close().await.0, 3501);
    assert_eq!(refused.take_arrived(), [], "nothing was sent to the refused session");
}

async fn a_silent_connection_is_stale(shards: usize) {
    let short = Duration::from_secs(2);
    let node = Setup::new(shards).sessions(|options| options.connect_timeout = short).start().await;
    let mut silent = node.client().open().await;
    let mut connected = node.client().connect().await;
    assert_eq!(silent.expect_close().await, (3502, "stale".to_owned()));
    connected.subscribe("news").await;
}

async fn violates(node: &Node, text: &str) {
    let mut client = node.client().open().await;
    client.send_frame(text.as_bytes()).await;
    assert_eq!(client.expect_close().await, (3501, "bad request".to_owned()), "{text:?}");
    assert_eq!(client.take_arrived(), [], "{text:?}");
}

async fn violations_before_connect(shards: usize) {
    let node = Setup::new(shards).start().await;
    for text in [
        "garbage",
        "[]",
        r#"[{"id":1,"connect":{}}]"#,
        "null",
        "1",
        "",
        "\n",
        "{}",
        r#"{"id":1}"#,
        r#"{"id":1,"subscribe":{"channel":"a"}}"#,
        r#"{"send":{"data":1}}"#,
        r#"{"connect":{}}"#,
        r#"{"id":0,"connect":{}}"#,
        r#"{"id":1,"connect":{}"#,
        r#"{"id":1,"unknown":{}}"#,
        r#"{"id":1,"connect":null}"#,
        r#"{"id":4294967296,"connect":{}}"#,
        r#"{"id":-1,"connect":{}}"#,
        r#"{"id":"1","connect":{}}"#,
    ] {
        violates(&node, text).await;
    }
}

async fn violations_after_connect(shards: usize) {
    let node = Setup::new(shards).start().await;
    for text in [
        r#"{"id":9,"connect":{}}"#,
        "{}",
        r#"{"subscribe":{"channel":"a"}}"#,
        r#"{"id":9,"unknown":{}}"#,
        r#"{"id":9,"subscribe":{"channel":""}}"#,
        r#"{"id":9,"subscribe":{"channel":null}}"#,
        r#"{"id":9,"subscribe":{}}"#,
        r#"{"id":9,"unsubscribe":{}}"#,
        r#"{"id":9,"publish":{"data":1}}"#,
        r#"{"id":9,"presence":{}}"#,
        r#"{"id":9,"presence_stats":{}}"#,
        r#"{"id":9,"history":{}}"#,
        r#"{"id":9,"refresh":{}}"#,
        r#"{"id":9,"sub_refresh":{"token":"x"}}"#,
        r#"{"id":9,"subscribe":{"channel":"a"#,
        "[]",
        "null",
    ] {
        let mut client = node.client().connect().await;
        client.send_frame(text.as_bytes()).await;
        assert_eq!(client.expect_close().await.0, 3501, "{text}");
        assert_eq!(client.take_arrived(), [], "{text}");
    }
}

async fn json_is_read_strictly(shards: usize) {
    let node = Setup::new(shards).start().await;
    violates(&node, r#"{"id":1,"connect":{}} {"id":2,"rpc":{}}"#).await;
    violates(&node, r#"{"id":1,"Connect":{}}"#).await;
    violates(&node, r#"{"ID":1,"connect":{}}"#).await;
    violates(&node, r#"{"id":1,"id":2,"connect":{}}"#).await;
    violates(&node, r#"{"id":1,"connect":{},"connect":{}}"#).await;
    let mut lenient = node.client().open().await;
    lenient.send_frame(br#" { "id" : 1 , "connect" : { "unknown" : [1] } , "more" : null } "#).await;
    assert!(lenient.expect_reply(1).await["connect"].is_object());

    // In a text frame, the WebSocket protocol itself refuses it; in a binary frame, the JSON does.
    for first in [0x81, 0x82] {
        let mut raw = Raw::upgrade(node.address(), "", b"").await;
        raw.write(&client_frame(first, b"{\"id\":1,\"connect\":{\"name\":\"\xFF\"}}")).await;
        assert_eq!(raw.frame().await.unwrap().close_code(), Some(1007));
        assert_eq!(raw.frame().await, None);
    }
}

async fn lines_of_a_frame(shards: usize) {
    let node = Setup::new(shards).start().await;
    let (first, second) = (r#"{"id":1,"connect":{}}"#, r#"{"id":2,"rpc":{}}"#);
    for good in [format!("{first}\n{second}"), format!("{first}\n{second}\n"), format!("{first}\r\n{second}\r\n")] {
        let mut client = node.client().open().await;
        client.send_frame(good.as_bytes()).await;
        assert!(client.expect_reply(1).await["connect"].is_object());
        assert_eq!(client.expect_reply(2).await["error"]["code"], 108);
    }
    for bad in [format!("{first}\n\n{second}"), format!("{first}\n{second}\n\n")] {
        let mut client = node.client().open().await;
        client.send_frame(bad.as_bytes()).await;
        assert_eq!(client.expect_close().await.0, 3501, "{bad:?}");
        assert!(client.expect_reply(1).await["connect"].is_object(), "what came before is answered");
    }
    violates(&node, &format!("\n{first}")).await;
}

async fn a_frame_of_many_commands(shards: usize) {
    let node = Setup::new(shards).start().await;
    for opening in [node.client(), node.client().protobuf()] {
        let mut client = opening.open().await;
        let commands = [
            json!({"id": 1, "connect": {}}),
            json!({"id": 2, "subscribe": {"channel": "news"}}),
            json!({"id": 3, "publish": {"channel": "news", "data": 1}}),
            json!({"id": 4, "presence_stats": {"channel": "news"}}),
            json!({"id": 5, "unsubscribe": {"channel": "news"}}),
        ];
        client.send(&commands).await;
        for (command, name) in commands.iter().zip(["connect", "subscribe", "publish", "presence_stats", "unsubscribe"])
        {
            let id = command["id"].as_u64().unwrap() as u32;
            let reply = client.expect_reply(id).await;
            assert!(reply[name].is_object(), "{reply}");
        }
    }
}

async fn protobuf_framing(shards: usize) {
    let node = Setup::new(shards).start().await;
    for bad in [
        &[0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0x08][..],
        &[0x0A],
        &[0xFF; 11],
        &[0x00],
        &[],
        &[0x02, 0x08],
        &[0x01, 0xFF],
        b"{\"id\":1,\"connect\":{}}",
    ] {
        let mut client = node.client().protobuf().open().await;
        client.send_frame(bad).await;
        assert_eq!(client.expect_close().await.0, 3501, "{bad:?}");
    }
    node.client().protobuf().connect().await;
}

async fn ping_as_a_command(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().connect().await;
    let beside = client.ask(json!({"ping": {}, "subscribe": {"channel": "a"}})).await;
    assert_eq!(beside["error"]["code"], 108);
    assert_eq!(client.closed_by("ping", json!({})).await.0, 3501);
}

async fn the_largest_id(shards: usize) {
    let node = Setup::new(shards).start().await;
    for opening in [node.client(), node.client().protobuf()] {
        let mut client = opening.connect().await;
        client.send(&[json!({"id": u32::MAX, "subscribe": {"channel": "a"}})]).await;
        assert!(client.expect_reply(u32::MAX).await["subscribe"].is_object());
    }
}

async fn rpc_and_send_are_not_available(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().connect().await;
    assert_eq!(client.refused("rpc", json!({"method": "now", "data": {}})).await, 108);
    client.send(&[json!({"send": {"data": 1}})]).await;
    assert_eq!(client.expect_close().await, (3508, "not available".to_owned()));
}

/// What a client's last command is answered with must not come behind the close frame.
async fn nothing_follows_the_answer_to_a_close(shards: usize) {
    let node = Setup::new(shards).start().await;
    let connect = client_frame(0x81, br#"{"id":1,"connect":{}}"#);
    let close = client_frame(0x88, &1000_u16.to_be_bytes());
    let mut raw = Raw::upgrade(node.address(), "", &[connect, close].concat()).await;
    let mut frames = Vec::new();
    while let Some(frame) = raw.frame().await {
        frames.push(frame);
    }
    let last = frames.pop().unwrap();
    assert_eq!(last.close_code(), Some(1000), "{frames:?} {last:?}");
    assert!(frames.iter().all(|frame| frame.first == 0x81), "{frames:?}");
    node.metric_becomes("fanfare_gateway_sessions", 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_connection_leaves_nothing() {
    let node = Setup::new(3).start().await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..6 {
        let mut client = node.client().connect().await;
        client.subscribe("news").await;
        clients.push(client);
    }
    assert_eq!(node.metric("fanfare_gateway_subscriptions").await, 6.0);
    for (at, client) in clients.into_iter().enumerate() {
        match at % 3 {
            0 => client.close().await,
            1 => client.reset(),
            _ => drop(client),
        }
    }
    for gauge in ["sessions", "subscriptions", "shard_channels", "outbox_bytes", "presence_changes_waiting"] {
        node.metric_becomes(&format!("fanfare_gateway_{gauge}"), 0.0).await;
    }
    let stats = node.call("presence_stats", json!({"channel": "news"})).await;
    assert_eq!(stats, json!({"num_clients": 0, "num_users": 0}));
}
