//! What bad publishers get (rows 80 to 86 of the table of bad input), with a client beside that behaves and misses
//! nothing.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::{API_KEY, Http, Raw, Setup, Stage, json, on_1_and_3_shards};

on_1_and_3_shards!(
    bodies_that_are_too_much,
    a_batch_with_a_bad_one,
    idempotency_keys,
    broadcasts_that_are_too_large,
    bodies_that_are_something_else,
);

async fn stage(shards: usize) -> Stage {
    let setup = Setup::new(shards).configure(|config| {
        config.api.body_bytes_max = 100_000;
        config.api.body_timeout = Duration::from_millis(1_500);
    });
    Stage::set_up(setup).await
}

/// Sends a head and a part of a body, which have to be refused; the connection then ends.
async fn refuses(stage: &mut Stage, what: &str, case: &Case, headers: &str, body: &[u8]) {
    let before = stage.counted(case).await;
    let mut raw = Raw::connect(stage.node.address()).await;
    let head = format!("POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\n{headers}\r\n");
    raw.write(&[head.as_bytes(), body].concat()).await;
    let head = raw.head().await;
    assert!(head.starts_with(&format!("HTTP/1.1 {} ", case.status())), "{what}: {head}");
    assert_eq!(stage.counted(case).await, before + 1.0, "{what}");
    stage.goes_on(what).await;
}

/// Row 80.
async fn bodies_that_are_too_much(shards: usize) {
    let mut stage = stage(shards).await;
    refuses(&mut stage, "100 MB", case(80, "declared"), "Content-Length: 100000000\r\n", b"{").await;
    let chunk = [b"8000\r\n", &[b' '; 0x8000][..], b"\r\n"].concat();
    let chunks = chunk.repeat(4);
    refuses(&mut stage, "chunks", case(80, "chunks"), "Transfer-Encoding: chunked\r\n", &chunks).await;
    refuses(&mut stage, "endless", case(80, "endless"), "Transfer-Encoding: chunked\r\n", b"1\r\n{\r\n").await;
    refuses(&mut stage, "slow", case(80, "endless"), "Content-Length: 1000\r\n", b"{").await;
    // Its first bytes say that it is compressed as well.
    let zip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00";
    let headers = "Content-Encoding: gzip\r\nContent-Length: 8\r\n";
    refuses(&mut stage, "compressed", case(80, "compressed"), headers, zip).await;
    stage.node.forget_idle();
    stage.is_clean().await;
}

/// Row 81.
async fn a_batch_with_a_bad_one(shards: usize) {
    let mut stage = stage(shards).await;
    let bad = case(81, "one of many");
    let mut client = stage.node.client().connect().await;
    client.subscribe("news").await;
    let command = |number: usize| {
        let channel = if number == 41 { "no\u{f6}" } else { "news" };
        json!({"publish": {"channel": channel, "data": number}})
    };
    let commands: Vec<_> = (0..100).map(command).collect();
    let answer = stage.node.api("batch", &json!({"commands": commands})).await;
    let replies = answer["replies"].as_array().unwrap();
    assert_eq!(replies.len(), 100);
    for (number, reply) in replies.iter().enumerate() {
        match number {
            41 => assert_eq!(reply["error"]["code"], bad.error(), "{reply}"),
            ..41 => assert_eq!(reply["publish"]["offset"], number + 1, "{reply}"),
            _ => assert_eq!(reply["publish"]["offset"], number, "{reply}"),
        }
    }
    assert_eq!(stage.counted(bad).await, 1.0);
    for number in (0..100).filter(|number| *number != 41) {
        assert_eq!(client.expect_publication("news").await["data"], number);
    }
    client.close().await;
    stage.goes_on("a batch with a bad one").await;
    stage.is_clean().await;
}

/// Rows 82 and 84.
async fn idempotency_keys(shards: usize) {
    let mut stage = stage(shards).await;
    let mut client = stage.node.client().connect().await;
    client.subscribe("news").await;
    let keyed = |key: &str, data: u32| json!({"channel": "news", "data": data, "idempotency_key": key});
    let first = stage.node.call("publish", keyed("a", 1)).await;
    case(82, "same payload").is_fine();
    assert_eq!(stage.node.call("publish", keyed("a", 1)).await, first);
    case(82, "other payload").is_fine();
    assert_eq!(stage.node.call("publish", keyed("a", 2)).await, first);
    case(84, "again").is_fine();
    // It goes away before it is answered, and nobody knows whether it was heard.
    for number in 10..30 {
        let body = keyed(&format!("again-{number}"), number).to_string();
        let mut raw = Raw::connect(stage.node.address()).await;
        let length = body.len();
        let head =
            format!("POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nContent-Length: {length}\r\n");
        raw.write(format!("{head}\r\n{body}").as_bytes()).await;
        drop(raw);
        stage.node.call("publish", keyed(&format!("again-{number}"), number)).await;
    }
    let mut heard = Vec::new();
    for _ in 0..21 {
        heard.push(client.expect_publication("news").await["data"].as_u64().unwrap());
    }
    // A request that was given up may come in behind the next one's.
    heard.sort_unstable();
    assert_eq!(heard, [1].into_iter().chain(10..30).collect::<Vec<_>>());
    assert_eq!(client.so_far().await, []);
    let kept = stage.node.call("history", json!({"channel": "news"})).await;
    assert_eq!(kept["offset"], 21);
    client.close().await;
    stage.goes_on("publishing again").await;
    stage.is_clean().await;
}

/// Row 83.
async fn broadcasts_that_are_too_large(shards: usize) {
    let setup = Setup::new(shards).configure(|config| config.api.broadcast_channels_max = 1_000);
    let mut stage = Stage::set_up(setup).await;
    let names = |count: usize| (0..count).map(|number| format!("c{number}")).collect::<Vec<_>>();
    let size = case(83, "size");
    let million = json!({"channels": names(1_000_000), "data": 1}).to_string();
    let mut raw = Raw::connect(stage.node.address()).await;
    let length = million.len();
    let head =
        format!("POST /api/broadcast HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nContent-Length: {length}\r\n\r\n");
    raw.write(head.as_bytes()).await;
    assert!(raw.head().await.starts_with(&format!("HTTP/1.1 {} ", size.status())));
    assert_eq!(stage.counted(size).await, 1.0);
    drop(raw);
    let count = case(83, "count");
    let answer = stage.node.api("broadcast", &json!({"channels": names(1_001), "data": 1})).await;
    assert_eq!(answer["error"]["code"], count.error(), "{answer}");
    assert_eq!(stage.counted(count).await, 1.0);
    let nothing = stage.node.call("history", json!({"channel": "c0"})).await;
    assert_eq!(nothing["offset"], 0);
    stage.goes_on("broadcasts").await;
    stage.is_clean().await;
}

/// Row 86.
async fn bodies_that_are_something_else(shards: usize) {
    let mut stage = stage(shards).await;
    let good = r#"{"channel":"news","data":1}"#;
    for content_type in ["text/plain", "application/xml", "multipart/form-data; boundary=x"] {
        let headers = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", good.len());
        refuses(&mut stage, content_type, case(86, "type"), &headers, good.as_bytes()).await;
    }
    for body in [&b"{\"channel\":\"news\",\"data\":\"\xFF\"}"[..], b"\xEF\xBB\xBF{}", b"{\"channel\":\"\xED\xA0\x80\"}"]
    {
        let headers = format!("Content-Length: {}\r\n", body.len());
        refuses(&mut stage, "text", case(86, "text"), &headers, body).await;
    }
    let before = stage.counted(case(86, "field")).await;
    let key = [("X-API-Key", API_KEY)];
    for (body, path) in [
        (r#"{"channel":"news","data":1,"colour":"red"}"#, "colour"),
        (r#"{"channel":"news","data":1,"tags":{"a":1}}"#, "tags"),
        (r#"{"channel":["news"],"data":1}"#, "channel"),
        (r#"{"chanel":"news","data":1}"#, "chanel"),
    ] {
        let mut http = Http::connect(stage.node.address()).await;
        let answer = http.request("POST /api/publish", &key, body).await;
        assert_eq!(answer.status, case(86, "field").status(), "{answer:?}");
        assert!(answer.body.contains(path), "{answer:?}");
    }
    assert_eq!(stage.counted(case(86, "field")).await, before + 4.0);
    let nothing = stage.node.call("history", json!({"channel": "news"})).await;
    assert_eq!(nothing["offset"], 0);
    stage.goes_on("bodies of another kind").await;
    stage.is_clean().await;
}
