//! What bad commands get (rows 43 to 71 of the table of bad input), with a client beside that behaves and misses
//! nothing.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_broker::namespaces::Access;
use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::{Raw, Setup, Stage, Value, client_frame, json, on_1_and_3_shards, token};

on_1_and_3_shards!(
    tokens_that_are_too_much,
    commands_out_of_turn,
    what_is_no_command,
    json_of_many_levels,
    numbers_that_are_none,
    keys_that_come_twice,
    characters_that_names_may_not_have,
    what_is_unknown,
    ids,
    names_of_channels,
    subscribing_twice_and_unsubscribing_from_nothing,
    publishing_without_the_right,
    payloads_that_cannot_be,
    bounds_of_a_history,
    positions_that_cannot_be_recovered,
    recovering_while_the_channel_is_flooded,
);

/// Sends a frame of text on a new connection, behind a `connect` that succeeds; it has to close the connection.
async fn closes_connected(stage: &mut Stage, case: &Case, text: &str) {
    let mut raw = stage.raw().await;
    raw.write(&client_frame(0x81, br#"{"id":1,"connect":{}}"#)).await;
    assert_eq!(raw.frame().await.unwrap().first, 0x81);
    stage.closes_on(raw, text, case, &client_frame(0x81, text.as_bytes())).await;
}

async fn closes_at_once(stage: &mut Stage, case: &Case, text: &str) {
    stage.closes(text, case, &client_frame(0x81, text.as_bytes())).await;
}

/// Row 43.
async fn tokens_that_are_too_much(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let large = json!({"id": 1, "connect": {"token": "x".repeat(1_000_000)}}).to_string();
    closes_at_once(&mut stage, case(43, "size"), &large).await;
    // Within the limit of a message, beyond that of rules.
    let rules: Vec<String> = (0..3_000).map(|number| format!("a:{number}")).collect();
    let token = token::with_claims(&json!({"sub": "42", "rights": {"publish": rules}}));
    let many = json!({"id": 1, "connect": {"token": token}}).to_string();
    closes_at_once(&mut stage, case(43, "rules"), &many).await;
    stage.is_clean().await;
}

/// Rows 44 and 45.
async fn commands_out_of_turn(shards: usize) {
    let mut stage = Stage::set(shards).await;
    closes_connected(&mut stage, case(44, "connect"), r#"{"id":2,"connect":{}}"#).await;
    for command in [
        r#"{"id":1,"subscribe":{"channel":"news"}}"#,
        r#"{"id":1,"publish":{"channel":"news","data":1}}"#,
        r#"{"id":1,"rpc":{}}"#,
        r#"{"id":1,"refresh":{"token":"x"}}"#,
        r#"{"send":{"data":1}}"#,
    ] {
        closes_at_once(&mut stage, case(45, "before"), command).await;
    }
    let expired = token::with_claims(&json!({"sub": "42", "exp": 1}));
    let connect = json!({"id": 1, "connect": {"token": expired}}).to_string();
    let mut raw = stage.raw().await;
    raw.write(&client_frame(0x81, connect.as_bytes())).await;
    assert_eq!(raw.frame().await.unwrap().first, 0x81);
    let again = client_frame(0x81, br#"{"id":2,"connect":{}}"#);
    stage.closes_on(raw, "connect after a refusal", case(45, "refused"), &again).await;
    stage.is_clean().await;
}

/// Row 46.
async fn what_is_no_command(shards: usize) {
    let mut stage = Stage::set(shards).await;
    for text in [
        "",
        "x",
        "null",
        "1",
        "[]",
        r#"[{"id":1,"connect":{}}]"#,
        r#"{"id":1,"connect":{}"#,
        r#"{"id":1,"connect":{}}x"#,
        "{\"id\":1,\"connect\":{}}\n\n",
        "\u{feff}{\"id\":1,\"connect\":{}}",
        r#"{"id":1,"connect":[]}"#,
        r#"{"id":1,"connect":"x"}"#,
        r#"{"id":1,"Connect":{}}"#,
    ] {
        // What comes before the fault in a frame is carried out.
        closes_at_once(&mut stage, case(46, "JSON"), text).await;
    }
    let huge = [0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0x08];
    for bytes in [&huge[..], &[0x0A], &[0xFF; 11], &[0x02, 0x08], &[0x01, 0xFF], &[]] {
        let raw = Raw::upgrade(stage.node.address(), "format=protobuf", b"").await;
        let frame = client_frame(0x82, bytes);
        stage.closes_on(raw, &format!("{bytes:?}"), case(46, "Protobuf"), &frame).await;
    }
    stage.is_clean().await;
}

/// Row 47.
async fn json_of_many_levels(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    case(47, "levels of an unknown field").is_fine();
    let mut client = stage.node.client().open().await;
    for levels in [200, 30_000] {
        let text = format!(r#"{{"id":1,"connect":{{"unknown":{}}}}}"#, nested(levels));
        client.send_frame(text.as_bytes()).await;
        assert!(client.expect_reply(1).await["connect"].is_object());
        client = stage.node.client().open().await;
    }
    client.send_frame(br#"{"id":1,"connect":{}}"#).await;
    client.expect_reply(1).await;
    let before = stage.counted(case(47, "levels of a payload")).await;
    for levels in [65, 100] {
        let text = format!(r#"{{"id":9,"publish":{{"channel":"news","data":{}}}}}"#, nested(levels));
        client.send_frame(text.as_bytes()).await;
        let error = client.expect_reply(9).await["error"]["code"].as_u64();
        assert_eq!(error, Some(case(47, "levels of a payload").error()), "{levels}");
    }
    stage.moved(case(47, "levels of a payload"), before, 2.0).await;
    client.close().await;
    let escapes = format!(r#"{{"id":1,"connect":{{"name":"{}"}}}}"#, r"\u0041".repeat(150_000));
    closes_at_once(&mut stage, case(47, "escapes"), &escapes).await;
    stage.is_clean().await;
}

/// Row 48.
async fn numbers_that_are_none(shards: usize) {
    let mut stage = Stage::set(shards).await;
    for number in ["-1", "1.5", "1e3", "4294967296", "1e400", "99999999999999999999", "\"1\"", "[1]", "true"] {
        closes_at_once(&mut stage, case(48, "type"), &format!(r#"{{"id":{number},"connect":{{}}}}"#)).await;
        let offset = format!(r#"{{"id":2,"subscribe":{{"channel":"a","recover":true,"offset":{number}}}}}"#);
        if number != "4294967296" {
            closes_connected(&mut stage, case(48, "type"), &offset).await;
        }
    }
    case(48, "limit").is_fine();
    let mut client = stage.node.client().connect().await;
    for limit in [-1_i64, i64::from(i32::MIN), i64::from(i32::MAX)] {
        let page = client.call("history", json!({"channel": "canary", "limit": limit})).await;
        assert!(!page["publications"].as_array().unwrap().is_empty(), "{page}");
    }
    client.close().await;
    stage.is_clean().await;
}

/// A client that is subscribed to `news`, below the WebSocket protocol: payloads may be what a parser refuses.
async fn subscribed(stage: &Stage) -> Raw {
    let mut raw = stage.raw().await;
    let commands = b"{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"news\"}}";
    raw.write(&client_frame(0x81, commands)).await;
    until(&mut raw, "\"id\":2").await;
    raw
}

/// Reads frames until there was one with this text.
async fn until(raw: &mut Raw, text: &str) {
    while !String::from_utf8(raw.frame().await.unwrap().payload).unwrap().contains(text) {}
}

/// Publishes a payload as it is written here, and gets it back.
async fn comes_back(raw: &mut Raw, payload: &str) {
    let text = format!(r#"{{"id":99,"publish":{{"channel":"news","data":{payload}}}}}"#);
    raw.write(&client_frame(0x81, text.as_bytes())).await;
    until(raw, &format!("\"data\":{payload}")).await;
}

/// Row 49.
async fn keys_that_come_twice(shards: usize) {
    let mut stage = Stage::set(shards).await;
    for text in [
        r#"{"id":1,"id":2,"connect":{}}"#,
        r#"{"id":1,"connect":{},"connect":{}}"#,
        r#"{"id":1,"connect":{"token":"","token":""}}"#,
        r#"{"id":1,"connect":{"subs":{"a":{},"a":{}}}}"#,
    ] {
        closes_at_once(&mut stage, case(49, "command"), text).await;
    }
    case(49, "payload").is_fine();
    comes_back(&mut subscribed(&stage).await, r#"{"a":1,"a":2}"#).await;
    stage.is_clean().await;
}

/// Row 50.
async fn characters_that_names_may_not_have(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let mut client = stage.node.client().connect().await;
    for name in ["a\0", "a\u{1f}", "a\nb", "\u{7f}", "\u{202e}abc", "grüße", "e\u{301}", "\u{feff}a", "🎺"] {
        for command in ["subscribe", "publish", "history", "presence"] {
            let request = json!({"channel": name, "data": 1});
            stage.refuses(&format!("{command} {name:?}"), case(50, "names"), &mut client, (command, request)).await;
        }
    }
    client.close().await;
    let mut raw = subscribed(&stage).await;
    case(50, "payload").is_fine();
    for payload in [r#""\u0000\u001f\u202e\ud800""#, "\"\u{202e}e\u{301}🎺\u{feff}\"", r#"{"\ud800":1e400}"#, "1E-0007"]
    {
        comes_back(&mut raw, payload).await;
    }
    drop(raw);
    let half = r#"{"id":2,"subscribe":{"channel":"\ud800"}}"#;
    closes_connected(&mut stage, case(50, "surrogate"), half).await;
    stage.is_clean().await;
}

/// Row 51.
async fn what_is_unknown(shards: usize) {
    let mut stage = Stage::set(shards).await;
    for text in [r#"{"id":2,"shout":{}}"#, r#"{"id":2}"#, r#"{"id":2,"ping":{}}"#] {
        closes_connected(&mut stage, case(51, "command"), text).await;
    }
    closes_connected(&mut stage, case(51, "nothing"), r#"{"shout":{}}"#).await;
    case(51, "fields").is_fine();
    let mut client = stage.node.client().open().await;
    client.send_frame(br#"{"id":1,"connect":{"version":"99.0","since":[1,{}]},"hello":null}"#).await;
    assert!(client.expect_reply(1).await["connect"].is_object());
    let request = json!({"method": "shout", "data": {}});
    stage.refuses("a procedure", case(51, "procedure"), &mut client, ("rpc", request)).await;
    client.close().await;
    stage.is_clean().await;
}

/// Rows 52 and 53.
async fn ids(shards: usize) {
    let mut stage = Stage::set(shards).await;
    for text in [r#"{"connect":{}}"#, r#"{"id":0,"connect":{}}"#, r#"{"id":null,"connect":{}}"#] {
        closes_at_once(&mut stage, case(52, "none"), text).await;
    }
    for text in [r#"{"id":-1,"connect":{}}"#, r#"{"id":4294967296,"connect":{}}"#, r#"{"id":"1","connect":{}}"#] {
        closes_at_once(&mut stage, case(52, "type"), text).await;
    }
    closes_connected(&mut stage, case(52, "pong"), "{}").await;
    case(53, "twice").is_fine();
    let mut client = stage.node.client().connect().await;
    let commands = [json!({"id": 7, "subscribe": {"channel": "a"}}), json!({"id": 7, "presence": {"channel": "a"}})];
    client.send(&commands).await;
    assert!(client.expect_next().await.value["subscribe"].is_object());
    assert!(client.expect_reply(7).await["presence"].is_object());
    client.close().await;
    stage.is_clean().await;
}

/// Row 54.
async fn names_of_channels(shards: usize) {
    let mut stage = Stage::set(shards).await;
    for command in ["subscribe", "unsubscribe", "publish", "history", "presence", "presence_stats"] {
        let text = json!({"id": 2, command: {"channel": "", "data": 1}}).to_string();
        closes_connected(&mut stage, case(54, "empty"), &text).await;
    }
    let mut client = stage.node.client().connect().await;
    for name in ["x".repeat(256), "x".repeat(10_000)] {
        let request = json!({"channel": name});
        stage.refuses("a long name", case(54, "too long"), &mut client, ("subscribe", request)).await;
    }
    let request = json!({"channel": "nowhere:x"});
    stage.refuses("an unknown namespace", case(54, "namespace"), &mut client, ("subscribe", request)).await;
    for name in ["$private", "dialog#7"] {
        let request = json!({"channel": name});
        stage.refuses(name, case(54, "private"), &mut client, ("subscribe", request)).await;
    }
    case(54, "pattern").is_fine();
    for name in ["..", "../news", "*", "**", "new?", "/etc/passwd", "a b"] {
        client.subscribe(name).await;
    }
    stage.node.publish("news", json!(1)).await;
    assert_eq!(client.so_far().await, [], "they are names and not patterns");
    client.close().await;
    stage.is_clean().await;
}

/// Rows 55 and 56.
async fn subscribing_twice_and_unsubscribing_from_nothing(shards: usize) {
    let mut stage = Stage::set(shards).await;
    let mut client = stage.node.client().connect().await;
    client.subscribe("news").await;
    let request = json!({"channel": "news"});
    stage.refuses("twice", case(55, "twice"), &mut client, ("subscribe", request)).await;
    case(56, "unknown").is_fine();
    for name in ["never", "$private", "nowhere:x", "grüße", &"x".repeat(300)] {
        let result = client.call("unsubscribe", json!({"channel": name})).await;
        assert_eq!(result, json!({}), "{name}");
    }
    stage.node.publish("news", json!(1)).await;
    assert_eq!(client.expect_publication("news").await["data"], 1, "it is still subscribed, and once");
    assert_eq!(client.so_far().await, []);
    client.close().await;
    stage.is_clean().await;
}

/// Row 60.
async fn publishing_without_the_right(shards: usize) {
    let setup = Setup::new(shards).namespace("closed", |options| options.access = Access::default());
    let mut stage = Stage::set_up(setup).await;
    let mut client = stage.node.client().user("42").connect().await;
    let publish = |channel: &str| json!({"channel": channel, "data": 1});
    for channel in ["closed:a", "$closed:a", "closed:a#42"] {
        stage.refuses(channel, case(60, "right"), &mut client, ("publish", publish(channel))).await;
    }
    stage.refuses("nowhere", case(60, "namespace"), &mut client, ("publish", publish("nowhere:a"))).await;
    let history = stage.node.call("history", json!({"channel": "closed:a", "limit": 1})).await;
    assert_eq!(history["offset"], 0, "{history}");
    client.close().await;
    stage.is_clean().await;
}

/// Row 61.
async fn payloads_that_cannot_be(shards: usize) {
    let small = |options: &mut fanfare_gateway::Options| options.payload_bytes_max = 1_000;
    let mut stage = Stage::set_up(Setup::new(shards).sessions(small)).await;
    let mut client = stage.node.client().connect().await;
    let request = json!({"channel": "news", "data": "x".repeat(1_000)});
    stage.refuses("a large payload", case(61, "size"), &mut client, ("publish", request)).await;
    let deep = (0..64).fold(json!(1), |inner, _| json!([inner]));
    let request = json!({"channel": "news", "data": [deep]});
    stage.refuses("a deep payload", case(61, "depth"), &mut client, ("publish", request)).await;
    let refused = case(61, "not JSON");
    let before = stage.counted(refused).await;
    let mut others = [stage.node.client().protobuf().connect().await, stage.node.client().protobuf().connect().await];
    client.subscribe("news").await;
    others[0].subscribe("news").await;
    let data = b"boom";
    others[1].send_frame(&protobuf_publish("news", data)).await;
    assert_eq!(client.expect_close().await.0, refused.close());
    assert!(others[0].expect_push_unit().await.reply.push.unwrap().publication.unwrap().data.as_ref() == data);
    stage.moved(refused, before, 1.0).await;
    for other in others {
        other.close().await;
    }
    stage.goes_on("a payload that is not JSON").await;
    stage.is_clean().await;
}

/// A frame with one command, which publishes bytes.
fn protobuf_publish(channel: &str, data: &[u8]) -> Vec<u8> {
    let mut request = vec![0x0A, channel.len() as u8];
    request.extend_from_slice(channel.as_bytes());
    request.extend_from_slice(&[0x12, data.len() as u8]);
    request.extend_from_slice(data);
    let mut command = vec![0x08, 9, 0x3A, request.len() as u8];
    command.extend_from_slice(&request);
    [&[command.len() as u8][..], &command].concat()
}

/// Row 63.
async fn bounds_of_a_history(shards: usize) {
    let mut stage = Stage::set_up(Setup::new(shards).sessions(|options| options.history_page_max = 3)).await;
    let mut client = stage.node.client().connect().await;
    for number in 0..5 {
        stage.node.publish("news", json!(number)).await;
    }
    case(63, "limit").is_fine();
    for limit in [-1, 4, i32::MAX] {
        let page = client.call("history", json!({"channel": "news", "limit": limit})).await;
        assert_eq!(page["publications"].as_array().unwrap().len(), 3, "{limit}");
    }
    let foreign = json!({"channel": "news", "limit": 1, "since": {"offset": 1, "epoch": "other"}});
    stage.refuses("another epoch", case(63, "position"), &mut client, ("history", foreign)).await;
    client.close().await;
    for limit in ["9223372036854775808", "2147483648"] {
        let text = format!(r#"{{"id":2,"history":{{"channel":"news","limit":{limit}}}}}"#);
        closes_connected(&mut stage, case(63, "beyond"), &text).await;
    }
    stage.is_clean().await;
}

async fn is_not_recovered(stage: &mut Stage, case: &Case, channel: &str, offset: u64, epoch: &Value) {
    case.is_fine();
    let before = stage.counted(case).await;
    let mut client = stage.node.client().connect().await;
    let request = json!({"channel": channel, "recover": true, "offset": offset, "epoch": epoch});
    let result = client.call("subscribe", request).await;
    assert_eq!((result.get("recovered"), result.get("publications")), (None, None), "{result}");
    assert_eq!(result["was_recovering"], true, "{result}");
    stage.moved(case, before, 1.0).await;
    // It goes on from the top.
    stage.node.publish(channel, json!("next")).await;
    assert_eq!(client.expect_publication(channel).await["data"], "next");
    client.close().await;
    stage.goes_on("a position that cannot be recovered").await;
}

/// Rows 66 to 68.
async fn positions_that_cannot_be_recovered(shards: usize) {
    let setup = Setup::new(shards)
        .sessions(|options| options.recovery_publications_max = 10)
        .namespace("short", |options| options.retention.as_mut().unwrap().size = 2);
    let mut stage = Stage::set_up(setup).await;
    let mut epochs = Vec::new();
    for channel in ["news", "short:news"] {
        for number in 0..20 {
            epochs.push(stage.node.publish(channel, json!(number)).await["epoch"].clone());
        }
    }
    let (news, short) = (&epochs[0], &epochs[20]);
    is_not_recovered(&mut stage, case(66, "epoch"), "news", 20, &json!("other")).await;
    is_not_recovered(&mut stage, case(67, "future"), "news", 1_000, news).await;
    is_not_recovered(&mut stage, case(67, "future"), "news", u64::MAX, news).await;
    is_not_recovered(&mut stage, case(68, "trimmed"), "short:news", 15, short).await;
    is_not_recovered(&mut stage, case(68, "too far"), "news", 2, news).await;
    stage.is_clean().await;
}

/// Row 71: nothing is missing and nothing twice, where what is read and what comes meanwhile are put together.
async fn recovering_while_the_channel_is_flooded(shards: usize) {
    let setup = Setup::new(shards)
        .sessions(|options| {
            options.recovery_publications_max = 100_000;
            options.session_rates = fanfare_gateway::Rates::default();
        })
        .channels(|options| options.retention.as_mut().unwrap().size = 100_000);
    let mut stage = Stage::set_up(setup).await;
    let flood = case(71, "flood");
    flood.is_fine();
    let epoch = stage.node.publish("news", json!(0)).await["epoch"].clone();
    let ends = AtomicBool::new(false);
    let publishing = async {
        let mut publisher = stage.node.client().connect().await;
        while !ends.load(Ordering::Relaxed) {
            let commands: Vec<Value> =
                (100..164).map(|id| json!({"id": id, "publish": {"channel": "news", "data": id}})).collect();
            publisher.send(&commands).await;
            publisher.expect_reply(163).await;
        }
        publisher.close().await;
    };
    let recovering = async {
        let (mut client, mut last) = (stage.node.client().connect().await, 1);
        for _ in 0..40 {
            let request = json!({"channel": "news", "recover": true, "offset": last, "epoch": epoch});
            let result = client.call("subscribe", request).await;
            assert_eq!(result["recovered"], true, "{result}");
            let publications = result["publications"].as_array().cloned().unwrap_or_default();
            let mut offsets: Vec<u64> = publications.iter().map(|one| one["offset"].as_u64().unwrap()).collect();
            for _ in 0..20 {
                offsets.push(client.expect_publication("news").await["offset"].as_u64().unwrap());
            }
            let expected: Vec<u64> = (last + 1..).take(offsets.len()).collect();
            assert_eq!(offsets, expected);
            last += offsets.len() as u64;
            client.call("unsubscribe", json!({"channel": "news"})).await;
            // What came between belongs to the subscription that has ended.
            for unit in client.take_arrived() {
                assert_eq!(unit.value["push"]["pub"]["offset"], last + 1, "{unit:?}");
                last += 1;
            }
        }
        client.close().await;
        ends.store(true, Ordering::Relaxed);
    };
    tokio::join!(publishing, recovering);
    stage.moved(flood, 0.0, 40.0).await;
    stage.goes_on("recoveries in a flood").await;
    stage.is_clean().await;
}
