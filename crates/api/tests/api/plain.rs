//! `POST /api/publish/CHANNEL`.

use fanfare_api::{Authentication, Key, Limits};
use fanfare_auth::Secret;
use fanfare_broker::{Event, memory};
use http::Request;
use serde_json::json;

use crate::harness::{Hub, post};

#[tokio::test]
async fn the_body_is_the_payload_whatever_its_type() {
    let hub = Hub::open();
    for content_type in ["application/x-www-form-urlencoded", "text/plain", "application/json", "image/png"] {
        let request = Request::post("/api/publish/news").header("content-type", content_type);
        let reply = hub.send(request.body(" {\"text\": \"hi\"}\n".into()).unwrap()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.json()["result"]["offset"].is_u64());
    }
    assert_eq!(hub.delivered(), vec!["{\"text\": \"hi\"}"; 4]);
}

#[tokio::test]
async fn the_channel_is_percent_decoded() {
    let hub = Hub::open();
    for path in ["a%20b%2Fc%3F%23", "a/b", "a%2fb", "100%25", "a+b", "a%"] {
        let reply = hub.send(post(&format!("/api/publish/{path}"), "1")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.json()["result"].is_object(), "{path}: {}", reply.text);
    }
    let events = hub.recorder.events.lock().unwrap();
    let channels: Vec<&str> = events.iter().map(|event: &Event| event.channel().as_str()).collect();
    assert_eq!(channels, ["a b/c?#", "a/b", "a/b", "100%", "a+b", "a%"]);
}

#[tokio::test]
async fn a_bad_channel_is_an_error_of_the_api() {
    let hub = Hub::open();
    for (path, code, mentions) in [
        ("", 107, "empty"),
        ("%ff", 107, "UTF-8"),
        ("n%C3%A9e", 107, "printable"),
        ("a%00", 107, "printable"),
        ("nope:a", 102, "nope"),
    ] {
        hub.send(post(&format!("/api/publish/{path}"), "1")).await.check(200, code, mentions);
    }
    assert!(hub.delivered().is_empty());
}

#[tokio::test]
async fn what_is_not_json_gets_a_line_that_works() {
    let hub = Hub::open();
    let request = Request::post("/api/publish/a%20b").header("host", "127.0.0.1:8000").body("hello".into()).unwrap();
    let reply = hub.send(request).await;
    reply.check(400, 107, "curl -d $'\"hello\"' http://127.0.0.1:8000/api/publish/a%20b");
    // Copied from the raw reply the line must work, too.
    assert!(reply.text.contains(r#"curl -d $'\"hello\"' http"#), "{}", reply.text);
    hub.send(post("/api/publish/news", "{text: 1}")).await.check(
        400,
        107,
        r#"curl -d $'{"text":"hi"}' http://HOST/api"#,
    );
    hub.send(post("/api/publish/news", "")).await.check(400, 107, "the body is empty");
    hub.send(post("/api/publish/news", "text=hi")).await.check(400, 107, "not JSON");
    hub.send(post("/api/publish/news", "\u{feff}1")).await.check(400, 107, "not JSON");
    hub.send(post("/api/publish/news", &b"\"\xff\""[..])).await.check(400, 107, "not JSON");
    let request = Request::post("/api/publish/news").header("host", "a'b$(x)").body("hello".into()).unwrap();
    hub.send(request).await.check(400, 107, "http://HOST/api/publish/news");
    assert!(hub.delivered().is_empty());
}

#[tokio::test]
async fn the_line_has_a_key_where_one_is_needed() {
    let keys = Authentication::Keys(vec![Key::with_all_rights(vec![Secret::new("correct".to_owned())])]);
    let hub = Hub::new(keys, Limits::default(), memory::Options::default());
    let request = |key| Request::post("/api/publish/news").header("x-api-key", key).body("hello".into()).unwrap();
    let reply = hub.send(request("correct")).await;
    reply.check(400, 107, "-H 'X-API-Key: KEY'");
    assert!(!reply.text.contains("correct"));
    hub.send(request("wrong")).await.check(401, 101, "api.keys");
    hub.send(post("/api/publish/news", "1")).await.check(401, 101, "X-API-Key");
}

#[tokio::test]
async fn an_unencoded_question_mark_is_not_dropped_silently() {
    let hub = Hub::open();
    hub.send(post("/api/publish/news?today", "1")).await.check(400, 107, "%3F");
    assert!(hub.delivered().is_empty());
}

#[tokio::test]
async fn the_limits_of_a_payload_hold() {
    let hub = Hub::open();
    hub.send(post("/api/publish/news", json!("x".repeat(70_000)).to_string())).await.check(
        200,
        107,
        "payload_bytes_max",
    );
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    hub.send(post("/api/publish/news", deep)).await.check(200, 107, "deeper than 64");
    assert!(hub.delivered().is_empty());
}
