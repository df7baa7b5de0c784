//! The document as it is served; what is in it is held against the types beside it.

use axum::body::Body;
use http::Request;

use crate::harness::Hub;

#[tokio::test]
async fn the_document_is_served_as_json() {
    let reply = Hub::open().send(Request::get("/api/openapi.json").body(Body::empty()).unwrap()).await;
    assert_eq!((reply.status.as_u16(), reply.headers["content-type"].to_str().unwrap()), (200, "application/json"));
    assert_eq!(reply.json()["openapi"], "3.1.0");
}
