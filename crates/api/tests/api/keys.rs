//! Keys.

use axum::body::Body;
use fanfare_api::{Authentication, Key, Limits};
use fanfare_auth::Secret;
use fanfare_broker::memory;
use http::Request;

use crate::harness::{Hub, post};

fn closed() -> Hub {
    let keys = ["first", "second"].map(|key| Secret::new(key.to_owned()));
    Hub::new(
        Authentication::Keys(vec![Key::with_all_rights(keys.into())]),
        Limits::default(),
        memory::Options::default(),
    )
}

fn with(headers: &[(&str, &str)]) -> Request<Body> {
    let request =
        headers.iter().fold(Request::post("/api/info"), |request, (name, value)| request.header(*name, *value));
    request.body("{}".into()).expect("a valid request")
}

#[tokio::test]
async fn each_key_is_good_in_either_header() {
    for headers in [[("x-api-key", "first")], [("x-api-key", "second")], [("authorization", "apikey second")]] {
        assert_eq!(closed().send(with(&headers)).await.status, 200, "{headers:?}");
    }
}

#[tokio::test]
async fn without_a_good_key_it_is_401_with_what_to_do() {
    let missing = closed().send(with(&[])).await;
    missing.check(401, 101, "X-API-Key: KEY");
    assert_eq!(missing.headers["www-authenticate"], "apikey");
    for headers in [
        &[("x-api-key", "third")][..],
        &[("x-api-key", "third"), ("authorization", "apikey first")],
        &[("authorization", "apikey third")],
        &[("authorization", "Bearer first")],
        &[("x-api-key", "")],
    ] {
        let reply = closed().send(with(headers)).await;
        reply.check(401, 101, "api.keys");
        assert!(!reply.text.contains("third") && !reply.text.contains("first"));
    }
}

#[tokio::test]
async fn a_key_in_the_query_is_not_looked_at() {
    closed().send(post("/api/info?api_key=first", "{}")).await.check(401, 101, "X-API-Key");
}

#[tokio::test]
async fn the_key_comes_after_route_and_method_and_before_the_rest() {
    let hub = closed();
    hub.send(post("/api/nope", "{}")).await.check(404, 104, "nope");
    hub.send(Request::get("/api/info").body(Body::empty()).unwrap()).await.check(405, 107, "POST");
    let bad = Request::post("/api/info").header("content-type", "text/html").body("no json".into()).unwrap();
    hub.send(bad).await.check(401, 101, "");
}

#[tokio::test]
async fn the_document_needs_no_key() {
    let reply = closed().send(Request::get("/api/openapi.json").body(Body::empty()).unwrap()).await;
    assert_eq!(reply.status, 200);
}
