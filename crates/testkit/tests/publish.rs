//! Publishing (protocol §7.3, §20): from clients and from backends, and what arrives.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use fanfare_broker::namespaces::{Access, Audience, ChannelOptions};
use fanfare_testkit::{API_KEY, Client, Encoding, Node, Setup, Value, json, on_1_and_3_shards, token};

on_1_and_3_shards!(
    a_client_publishes,
    who_may_publish,
    the_payload_is_judged_before_the_permission,
    null_is_a_payload,
    payloads_keep_every_byte_but_line_feeds,
    what_is_not_json_closes_json_subscribers_only,
    what_is_not_json_in_history,
    deep_and_large_payloads,
    the_publisher_is_shown,
    api_publications,
    idempotent_and_versioned_publications,
    broadcasts,
    unknown_namespaces,
    plain_publications,
);

async fn both(node: &Node, channel: &str) -> [Client; 2] {
    let mut clients = [node.client().connect().await, node.client().protobuf().connect().await];
    for client in &mut clients {
        client.subscribe(channel).await;
    }
    clients
}

async fn a_client_publishes(shards: usize) {
    let node = Setup::new(shards).start().await;
    let [mut json, mut protobuf] = both(&node, "news").await;
    // Not subscribed, and without history where skip is not asked: the reply is empty.
    let mut publisher = node.client().connect().await;
    assert_eq!(publisher.call("publish", json!({"channel": "news", "data": {"a": 1}})).await, json!({}));
    assert_eq!(protobuf.call("publish", json!({"channel": "news", "data": {"b": 2}})).await, json!({}));
    for client in [&mut json, &mut protobuf] {
        assert_eq!(client.expect_publication("news").await["data"], json!({"a": 1}));
        let second = client.expect_publication("news").await;
        assert_eq!((&second["data"], &second["offset"]), (&json!({"b": 2}), &json!(2)));
    }
    assert_eq!(publisher.so_far().await, []);
}

fn publish_by(audience: Audience) -> impl FnOnce(&mut ChannelOptions) {
    move |options| options.access = Access { subscribe: Audience::Anyone, publish: audience, ..Access::default() }
}

async fn may_publish(client: &mut Client, channel: &str) -> bool {
    let reply = client.ask(json!({"publish": {"channel": channel, "data": 1}})).await;
    assert!(reply["publish"].is_object() || reply["error"]["code"] == 103, "{reply}");
    reply["publish"].is_object()
}

async fn who_may_publish(shards: usize) {
    let node = Setup::new(shards)
        .namespace("nobody", publish_by(Audience::Nobody))
        .namespace("users", publish_by(Audience::Users))
        .namespace("subscribers", publish_by(Audience::Subscribers))
        .namespace("anyone", publish_by(Audience::Anyone))
        .start()
        .await;
    let mut anonymous = node.client().connect().await;
    let mut user = node.client().user("42").connect().await;
    let mut subscriber = node.client().connect().await;
    subscriber.subscribe("subscribers:x").await;
    for (channel, expected) in [
        ("nobody:x", [false, false, false]),
        ("users:x", [false, true, false]),
        ("subscribers:x", [false, false, true]),
        ("anyone:x", [true, true, true]),
        // Neither privacy nor a list of users is about publishing.
        ("$anyone:x#41", [true, true, true]),
    ] {
        for (client, expected) in [&mut anonymous, &mut user, &mut subscriber].into_iter().zip(expected) {
            assert_eq!(may_publish(client, channel).await, expected, "{channel}");
        }
    }
    subscriber.call("unsubscribe", json!({"channel": "subscribers:x"})).await;
    assert!(!may_publish(&mut subscriber, "subscribers:x").await);
}

async fn the_payload_is_judged_before_the_permission(shards: usize) {
    let node = Setup::new(shards).namespace("closed", publish_by(Audience::Nobody)).start().await;
    for opening in [node.client(), node.client().protobuf()] {
        let mut client = opening.connect().await;
        assert_eq!(client.refused("publish", json!({"channel": "closed:x"})).await, 107, "no data");
        assert_eq!(client.refused("publish", json!({"channel": "closed:x", "data": 1})).await, 103);
        assert_eq!(client.refused("publish", json!({"channel": "nowhere:x", "data": 1})).await, 102);
        assert_eq!(client.refused("publish", json!({"channel": "n\u{f6}rd", "data": 1})).await, 107);
    }
}

async fn null_is_a_payload(shards: usize) {
    let node = Setup::new(shards).start().await;
    let [mut json, mut protobuf] = both(&node, "news").await;
    json.call("publish", json!({"channel": "news", "data": null})).await;
    node.publish("news", Value::Null).await;
    for _ in 0..2 {
        let text = json.expect_push_unit().await.text;
        assert!(text.contains(r#""data":null"#), "{text}");
        let push = protobuf.expect_push_unit().await.reply.push.unwrap();
        assert_eq!(&push.publication.unwrap().data[..], b"null");
    }
}

/// JSON frames are split at line feeds, so these go; everything else stays as it was sent.
async fn payloads_keep_every_byte_but_line_feeds(shards: usize) {
    let node = Setup::new(shards).start().await;
    let [mut json, mut protobuf] = both(&node, "news").await;
    let (sent, stripped) = (
        "{ \"b\":1.0e0,\r\n\"a\" : \"\\n\\u00e9\",\t\"b\":2 ,\n\"n\":12345678901234567890 }\n",
        sent_without_line_feeds(),
    );
    let body = format!("{{\"channel\":\"news\",\"data\":{sent}}}");
    let answer = node.request("POST /api/publish", &[("X-API-Key", API_KEY)], &body).await;
    assert!(answer.json()["result"].is_object(), "{answer:?}");
    let text = json.expect_push_unit().await.text;
    assert!(text.contains(&format!("\"data\":{stripped}")), "{text:?}");
    let publication = protobuf.expect_push_unit().await.reply.push.unwrap().publication.unwrap();
    assert_eq!(publication.data, sent.trim_end_matches('\n'));

    // From a JSON client there is no line feed, but there may be a carriage return.
    json.send_frame(b"{\"id\":77,\"publish\":{\"channel\":\"news\",\"data\":[1,\r2]}}").await;
    json.expect_reply(77).await;
    assert!(json.expect_push_unit().await.text.contains("\"data\":[1,\r2]"));
    let history = json.call("history", json!({"channel": "news", "limit": 10})).await;
    assert_eq!(history["publications"][1]["data"], json!([1, 2]));
}

fn sent_without_line_feeds() -> &'static str {
    "{ \"b\":1.0e0,\r\"a\" : \"\\n\\u00e9\",\t\"b\":2 ,\"n\":12345678901234567890 }"
}

/// A Protobuf frame with `publish` of any bytes.
fn raw_publish(id: u32, channel: &str, data: &[u8]) -> Vec<u8> {
    let request = fanfare_protocol::PublishRequest {
        channel: channel.to_owned(),
        data: data.to_vec().into(),
        ..Default::default()
    };
    let command = fanfare_protocol::Command { id, publish: Some(request), ..Default::default() };
    let mut frame = Vec::new();
    Encoding::Protobuf.encode_command(&command, &mut frame);
    frame
}

async fn what_is_not_json_closes_json_subscribers_only(shards: usize) {
    let node = Setup::new(shards).start().await;
    let [mut json, mut protobuf] = both(&node, "news").await;
    let mut elsewhere = node.client().connect().await;
    elsewhere.subscribe("other").await;
    for bytes in [&b"boom"[..], b"\xFF\xFE", b"{\"a\":1} x", b"\"\xC3\""] {
        protobuf.send_frame(&raw_publish(90, "news", bytes)).await;
        protobuf.expect_reply(90).await;
        let push = protobuf.expect_push_unit().await.reply.push.unwrap();
        assert_eq!(&push.publication.unwrap().data[..], bytes);
        assert_eq!(json.expect_close().await, (3506, "inappropriate protocol".to_owned()));
        json = node.client().connect().await;
        json.subscribe("news").await;
    }
    node.publish("other", json!(1)).await;
    elsewhere.expect_publication("other").await;
}

async fn what_is_not_json_in_history(shards: usize) {
    let node = Setup::new(shards).start().await;
    let encoded = node.call("publish", json!({"channel": "news", "b64data": "Ym9vbQ=="})).await;
    let mut protobuf = node.client().protobuf().connect().await;
    let recover = json!({"channel": "news", "recover": true, "epoch": encoded["epoch"]});
    protobuf.command(json!({"subscribe": recover})).await;
    let reply = protobuf.expect_next().await.reply;
    assert_eq!(&reply.subscribe.unwrap().publications[0].data[..], b"boom");
    let mut reader = node.client().connect().await;
    assert_eq!(reader.closed_by("history", json!({"channel": "news", "limit": 5})).await.0, 3506);
    let mut recovering = node.client().connect().await;
    assert_eq!(recovering.closed_by("subscribe", recover).await.0, 3506);
    // The position alone and what comes later are no trouble.
    let mut fresh = node.client().connect().await;
    assert_eq!(fresh.subscribe("news").await["offset"], 1);
    let presence = node.call("presence_stats", json!({"channel": "news"})).await;
    assert_eq!(presence["num_clients"], 2, "whoever could not be told is not there");
}

async fn deep_and_large_payloads(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.payload_bytes_max = 1_000).start().await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    for opening in [node.client(), node.client().protobuf()] {
        let mut client = opening.connect().await;
        let mut id = 1_000;
        for (data, good) in [(nested(64), true), (nested(65), false), (text(1_000), true), (text(1_001), false)] {
            id += 1;
            let raw = raw_publish(id, "news", data.as_bytes());
            match client.encoding() {
                Encoding::Json => {
                    client
                        .send_text(&format!("{{\"id\":{id},\"publish\":{{\"channel\":\"news\",\"data\":{data}}}}}"))
                        .await
                }
                Encoding::Protobuf => client.send_frame(&raw).await,
            }
            let reply = client.expect_reply(id).await;
            let expected = if good { json!({"id": id, "publish": {}}) } else { json!(107) };
            assert_eq!(if good { reply } else { reply["error"]["code"].clone() }, expected);
        }
    }
    for (data, good) in [(nested(64), true), (nested(65), false), (text(1_000), true), (text(1_001), false)] {
        let body = format!("{{\"channel\":\"news\",\"data\":{data}}}");
        let answer = node.request("POST /api/publish", &[("X-API-Key", API_KEY)], &body).await;
        assert_eq!(answer.json()["result"].is_object(), good, "{answer:?}");
    }
    // A hundred thousand brackets in a frame are refused, and nothing falls over.
    let mut client = node.client().connect().await;
    let brackets = "[".repeat(30_000) + &"]".repeat(30_000);
    client.send_text(&format!("{{\"id\":9,\"publish\":{{\"channel\":\"news\",\"data\":{brackets}}}}}")).await;
    assert_eq!(client.expect_reply(9).await["error"]["code"], 107);
    client.send_text(&format!("{{\"id\":10,\"unknown\":{brackets}}}")).await;
    assert_eq!(client.expect_close().await.0, 3501);
    assert_eq!(node.metric("fanfare_gateway_panics_total").await, 0.0);
}

async fn the_publisher_is_shown(shards: usize) {
    let node = Setup::new(shards).start().await;
    let claims = json!({"sub": "42", "info": {"name": "Ann"}});
    let mut client = node.client().token(&token::with_claims(&claims)).connect().await;
    client.subscribe("news").await;
    client.call("publish", json!({"channel": "news", "data": 1})).await;
    let own = json!({"user": "42", "client": client.id, "conn_info": {"name": "Ann"}});
    assert_eq!(client.expect_publication("news").await["info"], own);
    let history = client.call("history", json!({"channel": "news", "limit": 1})).await;
    assert_eq!(history["publications"][0]["info"], own);
    node.publish("news", json!(2)).await;
    assert!(client.expect_publication("news").await.get("info").is_none(), "a backend has no info");
    let mut anonymous = node.client().connect().await;
    anonymous.call("publish", json!({"channel": "news", "data": 3})).await;
    assert_eq!(client.expect_publication("news").await["info"], json!({"user": "", "client": anonymous.id}));
}

async fn api_publications(shards: usize) {
    let node = Setup::new(shards).namespace("live", |options| options.retention = None).start().await;
    let mut client = node.client().connect().await;
    client.subscribe("news").await;
    client.subscribe("live:x").await;
    let first = node.call("publish", json!({"channel": "news", "data": {"n": 1}, "tags": {"k": "v"}})).await;
    assert_eq!(first["offset"], 1);
    let epoch = first["epoch"].clone();
    let push = client.expect_push().await;
    assert_eq!(
        push,
        json!({"channel": "news", "pub": {"data": {"n": 1}, "offset": 1, "epoch": epoch, "tags": {"k": "v"}}})
    );
    assert_eq!(node.call("publish", json!({"channel": "news", "data": 2, "skip_history": true})).await, json!({}));
    assert_eq!(client.expect_push().await["pub"], json!({"data": 2}));
    assert_eq!(node.publish("live:x", json!(3)).await, json!({}));
    assert_eq!(client.expect_push().await["pub"], json!({"data": 3}));
    // What was not kept is no gap.
    assert_eq!(node.publish("news", json!(4)).await["offset"], 2);
    assert_eq!(client.expect_push().await["pub"], json!({"data": 4, "offset": 2}));
}

async fn idempotent_and_versioned_publications(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().connect().await;
    client.subscribe("news").await;
    let keyed = json!({"channel": "news", "data": 1, "idempotency_key": "k"});
    let first = node.call("publish", keyed.clone()).await;
    assert_eq!(node.call("publish", keyed).await, first);
    for (version, epoch, data) in [(5, "a", 2), (4, "a", 3), (5, "a", 3), (6, "a", 4), (1, "b", 5), (6, "a", 6)] {
        let versioned = json!({"channel": "news", "data": data, "version": version, "version_epoch": epoch});
        node.call("publish", versioned).await;
    }
    node.publish("news", json!(7)).await;
    node.call("publish", json!({"channel": "news", "data": 8, "version": 6, "version_epoch": "a"})).await;
    node.publish("news", json!("end")).await;
    let mut arrived = Vec::new();
    while arrived.last() != Some(&json!("end")) {
        arrived.push(client.expect_publication("news").await["data"].take());
    }
    assert_eq!(arrived, [json!(1), json!(2), json!(4), json!(5), json!(7), json!("end")]);
}

async fn broadcasts(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().connect().await;
    client.subscribe("a").await;
    client.subscribe("b").await;
    let result = node.call("broadcast", json!({"channels": ["a", "nowhere:x", "b"], "data": 1})).await;
    let responses = result["responses"].as_array().unwrap();
    assert_eq!(responses[0]["result"]["offset"], 1);
    assert_eq!(responses[1]["error"]["code"], 102);
    assert_eq!(responses[2]["result"]["offset"], 1);
    client.expect_publication("a").await;
    client.expect_publication("b").await;
}

async fn unknown_namespaces(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().connect().await;
    let channel = json!({"channel": "nowhere:x"});
    for command in ["presence", "presence_stats", "history"] {
        assert_eq!(client.refused(command, channel.clone()).await, 102, "{command}");
        assert_eq!(node.api(command, &channel).await["error"]["code"], 102, "{command}");
    }
    let publish = json!({"channel": "nowhere:x", "data": 1});
    assert_eq!(node.api("publish", &publish).await["error"]["code"], 102);
    assert_eq!(node.api("publish", &json!({"channel": "n\u{f6}rd", "data": 1})).await["error"]["code"], 107);
}

async fn plain_publications(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().connect().await;
    client.subscribe("a b").await;
    let key = ("X-API-Key", API_KEY);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let answer = node.request("POST /api/publish/a%20b", &[key, form], r#"{"text":"hi"}"#).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(client.expect_publication("a b").await["data"], json!({"text": "hi"}));
    let answer = node.request("POST /api/publish/a%20b", &[key, form], "hi there").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let answer = node.request("POST /api/publish/a%20b", &[form], "1").await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(client.so_far().await, []);
}
