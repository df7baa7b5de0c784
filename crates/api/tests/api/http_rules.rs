//! Paths, HTTP methods, content types, sizes, broken bodies, and the two error modes.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use fanfare_api::Limits;
use futures_util::{StreamExt as _, stream};
use http::Request;
use serde_json::json;

use crate::harness::{Hub, post, publication};

#[tokio::test]
async fn an_unknown_method_is_404_with_the_known_ones() {
    let hub = Hub::open();
    hub.send(post("/api/publsh", "{}")).await.check(404, 104, "did you mean \"publish\"?");
    hub.send(post("/api/rpc", "{}")).await.check(404, 104, "presence_stats");
    for path in ["/api", "/api/", "/api/info/", "/api/history/news", "/api/%00", "/api/Publish"] {
        hub.send(post(path, "{}")).await.check(404, 104, "");
    }
    hub.send(Request::get("/api/nope").body(Body::empty()).unwrap()).await.check(404, 104, "nope");
}

#[tokio::test]
async fn anything_but_post_is_405() {
    let hub = Hub::open();
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        for path in ["/api/publish", "/api/publish/news", "/api/batch"] {
            let reply = hub.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await;
            reply.check(405, 107, "use POST");
            assert_eq!(reply.headers["allow"], "POST");
        }
    }
    let reply = hub.send(post("/api/openapi.json", "{}")).await;
    reply.check(405, 107, "GET");
    assert_eq!(reply.headers["allow"], "GET, HEAD");
}

#[tokio::test]
async fn json_or_what_curl_says_is_taken_and_the_rest_is_415() {
    let hub = Hub::open();
    let typed = |name, value| Request::post("/api/info").header(name, value).body(Body::from("{}")).unwrap();
    for good in ["application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded"] {
        assert_eq!(hub.send(typed("content-type", good)).await.status, 200, "{good}");
    }
    for bad in ["text/plain", "multipart/form-data; boundary=x", "application/xml"] {
        hub.send(typed("content-type", bad)).await.check(415, 107, "Content-Type: application/json");
    }
    hub.send(typed("content-encoding", "gzip")).await.check(415, 107, "Content-Encoding");
}

#[tokio::test]
async fn broken_bodies_are_400() {
    let hub = Hub::open();
    for (body, mentions) in [
        (&b""[..], "empty"),
        (b"  ", "empty"),
        (b"boom", "JSON object"),
        (b"null", "JSON object"),
        (b"[]", "JSON object"),
        (b"\xef\xbb\xbf{}", "JSON object"),
        (b"{\"channel\":\"a\"", "not valid JSON"),
        (b"{} x", "not valid JSON"),
        (b"{\"channel\":\"\xff\"}", "UTF-8"),
        (b"{\"channel\":\"a\",\"channel\":\"b\"}", "duplicate field"),
        (b"{\"chanel\":\"a\"}", "did you mean \"channel\"?"),
        (b"{\"channel\":5}", "channel: invalid type"),
    ] {
        hub.post("publish", body).await.check(400, 107, mentions);
    }
    hub.post("publish", format!(r#"{{"{}":1}}"#, "x".repeat(500_000))).await.check(400, 107, "unknown field");
    assert!(hub.delivered().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_declared_or_not() {
    let hub = Hub::with_limits(Limits { body_bytes_max: 100, ..Limits::default() });
    let body = |bytes: usize| publication("news", "x".repeat(bytes)).to_string();
    let overhead = body(0).len();
    assert_eq!(hub.post("publish", body(100 - overhead)).await.status, 200);
    hub.post("publish", body(101 - overhead)).await.check(413, 107, "api.body_bytes_max");
    let declared = Request::post("/api/publish").header("content-length", "104857600").body(Body::from("{}")).unwrap();
    hub.send(declared).await.check(413, 107, "100 bytes");
    let endless = stream::repeat(Bytes::from_static(b"{      ")).map(Ok::<_, Infallible>);
    hub.post("publish", Body::from_stream(endless)).await.check(413, 107, "api.body_bytes_max");
    hub.send(post("/api/publish/news", json!("x".repeat(100)).to_string())).await.check(413, 107, "api.body_bytes_max");
    assert_eq!(hub.delivered().len(), 1);
}

/// A connection closed with unread input was reset, and the reset took the 413 along: clients saw a broken pipe.
#[tokio::test]
async fn a_refused_body_is_read_on_so_that_its_refusal_arrives() {
    let hub = Hub::with_limits(Limits { body_bytes_max: 100, ..Limits::default() });
    for (path, declared, status) in [("/api/publish", "6000", 413), ("/api/nope", "6000", 404)] {
        let read = Arc::new(AtomicUsize::new(0));
        let counted = stream::iter(0..6).map({
            let read = Arc::clone(&read);
            move |_| {
                read.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Infallible>(Bytes::from_static(&[b' '; 1_000]))
            }
        });
        let request = Request::post(path).header("content-length", declared).body(Body::from_stream(counted)).unwrap();
        assert_eq!(hub.send(request).await.status, status, "{path}");
        assert_eq!(read.load(Ordering::Relaxed), 6, "{path}");
    }
}

#[tokio::test]
async fn who_waits_to_be_asked_for_a_body_is_refused_without_it() {
    let hub = Hub::with_limits(Limits { body_bytes_max: 100, ..Limits::default() });
    let unsent = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let request = Request::post("/api/publish").header("content-length", "6000").header("expect", "100-continue");
    hub.send(request.body(unsent).unwrap()).await.check(413, 107, "api.body_bytes_max");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_408() {
    let hub = Hub::with_limits(Limits { body_timeout: Duration::from_secs(3), ..Limits::default() });
    let begun = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]).chain(stream::pending());
    hub.post("publish", Body::from_stream(begun)).await.check(408, 107, "api.body_timeout");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400() {
    let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("reset"))]);
    Hub::open().post("info", Body::from_stream(broken)).await.check(400, 107, "ended");
}

async fn in_transport_mode(path: &str, body: &str) -> (u16, serde_json::Value) {
    let request = Request::post(path).header("x-centrifugo-error-mode", "transport").body(body.to_owned().into());
    let reply = Hub::open().send(request.expect("a valid request")).await;
    (reply.status.as_u16(), reply.json())
}

#[tokio::test]
async fn in_transport_mode_errors_have_a_status_and_a_bare_body() {
    for (path, body, status, code) in [
        ("/api/publish", r#"{"channel":"nope:a","data":1}"#, 404, 102),
        ("/api/publish", r#"{"channel":"","data":1}"#, 400, 107),
        ("/api/history", r#"{"channel":"plain:a"}"#, 400, 108),
        ("/api/history", r#"{"channel":"a","since":{"offset":1,"epoch":"x"}}"#, 416, 112),
        ("/api/publish/nope:a", "1", 404, 102),
        ("/api/nope", "{}", 404, 104),
        ("/api/info", "boom", 400, 107),
    ] {
        let (got, body) = in_transport_mode(path, body).await;
        assert_eq!((got, &body["code"]), (status, &json!(code)), "{path}: {body}");
        assert!(body["message"].is_string() && body.get("error").is_none(), "{body}");
    }
}

#[tokio::test]
async fn in_transport_mode_success_and_batches_stay_as_they_are() {
    let (status, body) = in_transport_mode("/api/publish", r#"{"channel":"plain:a","data":1}"#).await;
    assert_eq!((status, body), (200, json!({"result": {}})));
    let (status, body) =
        in_transport_mode("/api/batch", r#"{"commands":[{"publish":{"channel":"nope:a","data":1}}]}"#).await;
    assert_eq!((status, &body["replies"][0]["error"]["code"]), (200, &json!(102)));
}

#[tokio::test]
async fn what_is_answered_is_counted_by_method_and_result() {
    let hub = Hub::open();
    hub.result("publish", publication("news", 1)).await;
    hub.post("publish", "boom").await;
    hub.post("publish", r#"{"channel":"nope:a","data":1}"#).await;
    hub.post("nope-with-a-name-of-its-own", "{}").await;
    hub.post("batch", r#"{"commands":[{"publish":{"channel":"news","data":1}},{"publish":{}}]}"#).await;
    let families = hub.metrics.collectors()[0].collect();
    let mut counts: Vec<_> = families[0].get_metric().iter().map(labels_and_value).collect();
    counts.sort();
    let expected = [
        ("batch ok", 1),
        ("publish 102", 1),
        ("publish 107", 1),
        ("publish http_400", 1),
        ("publish ok", 2),
        ("unknown http_404", 1),
    ];
    assert_eq!(counts, expected.map(|(labels, count)| (labels.to_owned(), count)));
}

fn labels_and_value(metric: &prometheus::proto::Metric) -> (String, u64) {
    let labels: Vec<&str> = metric.get_label().iter().map(|label| label.value()).collect();
    (labels.join(" "), metric.get_counter().get_value() as u64)
}
