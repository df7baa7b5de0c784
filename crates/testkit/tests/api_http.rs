//! The server API on a whole node: keys, statuses, and what goes through to sessions. Its own rules are tested in
//! its own crate.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use fanfare_testkit::{API_KEY, Setup, json, on_1_and_3_shards};

on_1_and_3_shards!(keys, statuses, the_document_is_served, a_batch_reaches_the_sessions, api_history_and_clients_agree);

async fn keys(shards: usize) {
    let node = Setup::new(shards).start().await;
    let good = format!("apikey {API_KEY}");
    for (headers, status) in [
        (vec![("X-API-Key", API_KEY)], 200),
        (vec![("Authorization", good.as_str())], 200),
        (vec![("X-API-Key", "wrong"), ("Authorization", good.as_str())], 401),
        (vec![("Authorization", "apikey wrong")], 401),
        (vec![], 401),
    ] {
        let answer = node.request("POST /api/info", &headers, "{}").await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
    }
    let query = format!("POST /api/info?api_key={}", API_KEY.replace(' ', "%20"));
    assert_eq!(node.request(&query, &[], "{}").await.status, 401, "no key in a query");
}

async fn statuses(shards: usize) {
    let node = Setup::new(shards).configure(|config| config.api.body_bytes_max = 10_000).start().await;
    let key = [("X-API-Key", API_KEY)];
    let large = format!("{{\"channel\":\"{}\"}}", "x".repeat(10_000));
    for (line, body, status) in [
        ("POST /api/publish", "", 400),
        ("POST /api/publish", "{", 400),
        ("POST /api/publish", "[]", 400),
        ("POST /api/publish", "{\"channel\":7,\"data\":1}", 400),
        ("POST /api/publish", large.as_str(), 413),
        ("POST /api/unknown", "{}", 404),
        ("GET /api/publish", "", 405),
        ("POST /api/publish", "{\"channel\":\"a\",\"data\":1}", 200),
    ] {
        let mut http = fanfare_testkit::Http::connect(node.address()).await;
        let answer = http.request(line, &key, body).await;
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert!(answer.json().is_object());
    }
    let transport = [("X-API-Key", API_KEY), ("X-Centrifugo-Error-Mode", "transport")];
    let refused = node.request("POST /api/publish", &transport, "{\"channel\":\"nowhere:x\",\"data\":1}").await;
    assert_eq!((refused.status, &refused.json()["code"]), (404, &json!(102)));
}

async fn the_document_is_served(shards: usize) {
    let node = Setup::new(shards).start().await;
    let document = node.request("GET /api/openapi.json", &[], "").await;
    assert_eq!(document.status, 200);
    for method in
        ["publish", "broadcast", "subscribe", "unsubscribe", "disconnect", "refresh", "presence", "history", "batch"]
    {
        assert!(document.json()["paths"][format!("/api/{method}")].is_object(), "{method}");
    }
}

async fn a_batch_reaches_the_sessions(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().user("42").connect().await;
    let commands = json!([
        {"subscribe": {"user": "42", "channel": "news"}},
        {"publish": {"channel": "news", "data": 1}},
        {"presence_stats": {"channel": "news"}},
        {"unknown": {}},
        {"disconnect": {"user": "42"}},
    ]);
    let answer = node.api("batch", &json!({"commands": commands})).await;
    assert_eq!(answer["replies"][1]["publish"]["offset"], 1, "{answer}");
    assert_eq!(answer["replies"][2]["presence_stats"]["num_clients"], 1, "{answer}");
    assert!(client.expect_push().await["subscribe"].is_object());
    assert_eq!(client.expect_publication("news").await["data"], 1);
    assert_eq!(client.expect_close().await.0, 3503);
}

async fn api_history_and_clients_agree(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().user("42").connect().await;
    client.call("publish", json!({"channel": "news", "data": {"by": "client"}})).await;
    let published = node.call("publish", json!({"channel": "news", "data": {"by": "api"}, "tags": {"k": "v"}})).await;
    let own = client.call("history", json!({"channel": "news", "limit": 10})).await;
    let mut expected = own.clone();
    expected["publications"][0].as_object_mut().unwrap().remove("epoch");
    assert_eq!(own["publications"][0]["epoch"], published["epoch"], "clients are told the epoch with offset 1");
    assert_eq!(node.call("history", json!({"channel": "news", "limit": 10})).await, expected);
    let top = node.call("history", json!({"channel": "news"})).await;
    assert_eq!(top, json!({"publications": [], "offset": 2, "epoch": published["epoch"]}));
}
