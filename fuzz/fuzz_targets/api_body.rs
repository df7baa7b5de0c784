//! Bodies of the server API. The first byte chooses the method; an answer is JSON and never 5xx.

#![no_main]

use std::cell::RefCell;

use axum::body::Body;
use fanfare_fuzz::hub::Hub;
use http::Request;

const PATHS: &[&str] = &[
    "publish",
    "broadcast",
    "subscribe",
    "unsubscribe",
    "disconnect",
    "refresh",
    "presence",
    "presence_stats",
    "history",
    "history_remove",
    "channels",
    "info",
    "batch",
    "publish/news",
    "publish/plain:a",
    "",
    "block_user",
    "unblock_user",
    "revoke_token",
    "invalidate_user_tokens",
    "revocations",
    "revocation_remove",
];

thread_local! {
    static HUB: RefCell<Hub> = RefCell::default();
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((path, body)) = data.split_first() else { return };
    let path = PATHS[usize::from(*path) % PATHS.len()];
    let request = Request::post(format!("/api/{path}")).body(Body::from(body.to_vec())).expect("the path is one");
    let (status, answer) = HUB.with_borrow_mut(|hub| hub.ask(request));
    assert!(status < 500, "{path} is answered with {status}");
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&answer).is_ok();
    assert!(is_json, "{path} is answered with {}", String::from_utf8_lossy(&answer));
});
