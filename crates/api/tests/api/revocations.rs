//! block_user, unblock_user, revoke_token, invalidate_user_tokens, revocations, revocation_remove.

use std::time::Duration;

use fanfare_api::{Authentication, Limits};
use fanfare_broker::revocations::unix_now;
use fanfare_broker::{Revocation, Revocations as _, Subject, Whom, memory};
use serde_json::{Value, json};

use crate::harness::{Hub, channel};

const LATER: u64 = 4_102_444_800;

/// The one revocation that a call leads to, and whose sessions are judged for it.
async fn revoked(method: &'static str, request: Value) -> (Revocation, Vec<Whom>) {
    let hub = Hub::open();
    assert_eq!(hub.result(method, request).await, json!({"durable": false}));
    let mut kept = hub.broker.revoked().all(unix_now());
    assert_eq!(kept.len(), 1);
    let judged = hub.recorder.judged.lock().expect("no test panics under it").clone();
    (kept.remove(0), judged)
}

fn tokens(user: Option<&str>, name: Option<&str>) -> Subject {
    Subject::Tokens { user: user.map(str::to_owned), channel: name.map(channel) }
}

#[tokio::test]
async fn each_method_keeps_what_it_says() {
    let own = || vec![Whom::User("42".to_owned())];
    let all = || vec![Whom::Everybody];
    let subject = Subject::User("42".to_owned());
    let kept = Revocation { subject, issued_before: 0, expire_at: Some(LATER) };
    assert_eq!(revoked("block_user", json!({"user": "42", "expire_at": LATER})).await, (kept, own()));
    let kept = Revocation { subject: Subject::Token("t1".to_owned()), issued_before: 0, expire_at: None };
    assert_eq!(revoked("revoke_token", json!({"uid": "t1", "expire_at": 0})).await, (kept, all()));
    for (request, subject, judged) in [
        (json!({"user": "42", "issued_before": 7}), tokens(Some("42"), None), own()),
        (json!({"user": "42", "all_users": false, "issued_before": 7}), tokens(Some("42"), None), own()),
        (json!({"user": "42", "channel": "$a", "issued_before": 7}), tokens(Some("42"), Some("$a")), own()),
        (json!({"all_users": true, "issued_before": 7}), tokens(None, None), all()),
        (json!({"all_users": true, "channel": "a", "issued_before": 7}), tokens(None, Some("a")), all()),
    ] {
        let kept = Revocation { subject, issued_before: 7, expire_at: None };
        assert_eq!(revoked("invalidate_user_tokens", request.clone()).await, (kept, judged), "{request}");
    }
}

#[tokio::test]
async fn without_a_time_tokens_of_this_second_are_meant_too() {
    let before = unix_now();
    let (kept, _) = revoked("invalidate_user_tokens", json!({"user": "42"})).await;
    assert!((before + 1..=unix_now() + 1).contains(&kept.issued_before), "{kept:?}");
}

#[tokio::test]
async fn revoked_tokens_are_forgotten_when_none_can_be_good_any_more_and_blocks_are_not() {
    let hub = Hub::with_token_lifetime(Duration::from_secs(600));
    hub.result("revoke_token", json!({"uid": "t1"})).await;
    hub.result("invalidate_user_tokens", json!({"user": "42"})).await;
    hub.result("revoke_token", json!({"uid": "t2", "expire_at": LATER})).await;
    hub.result("block_user", json!({"user": "42"})).await;
    let now = unix_now();
    for kept in hub.broker.revoked().all(now) {
        match &kept.subject {
            Subject::User(_) => assert_eq!(kept.expire_at, None),
            Subject::Token(id) if id == "t2" => assert_eq!(kept.expire_at, Some(LATER)),
            _ => assert!((now + 600..=now + 630).contains(&kept.expire_at.unwrap_or_default()), "{kept:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_missing_or_senseless_is_refused() {
    let hub = Hub::open();
    let long = "x".repeat(1_025);
    for (method, request, mentions) in [
        ("block_user", json!({}), "user"),
        ("block_user", json!({"user": ""}), "user"),
        ("block_user", json!({"user": long}), "1024"),
        ("block_user", json!({"user": "42", "expire_at": 1}), "past"),
        ("unblock_user", json!({}), "user"),
        ("revoke_token", json!({"uid": ""}), "uid"),
        ("revoke_token", json!({"uid": "t", "expire_at": 1}), "past"),
        ("invalidate_user_tokens", json!({}), "all_users"),
        ("invalidate_user_tokens", json!({"user": "42", "all_users": true}), "not both"),
        ("invalidate_user_tokens", json!({"user": "42", "channel": "\u{e9}"}), "channel"),
        ("invalidate_user_tokens", json!({"user": "42", "issued_before": unix_now() + 60}), "future"),
        ("invalidate_user_tokens", json!({"user": "42", "issued_before": unix_now() * 1_000}), "in seconds"),
        ("revocations", json!({"kind": "blocked"}), "user_tokens"),
        ("revocations", json!({"limit": 1_001}), "1000"),
        ("revocation_remove", json!({"user": "42"}), "kind"),
        ("revocation_remove", json!({"kind": "user"}), "lists them"),
        ("revocation_remove", json!({"kind": "user", "user": "42", "uid": "t"}), "lists them"),
        ("revocation_remove", json!({"kind": "all_tokens", "user": "42"}), "lists them"),
    ] {
        hub.refused(method, request, 107, mentions).await;
    }
    assert!(hub.broker.revoked().all(0).is_empty());
    assert_eq!(hub.post("block_user", r#"{"user":"42","issued_before":1}"#).await.status, 400);
}

#[tokio::test]
async fn revocations_are_listed_and_taken_back_as_they_are_listed() {
    let hub = Hub::open();
    hub.result("block_user", json!({"user": "42", "expire_at": LATER})).await;
    hub.result("revoke_token", json!({"uid": "t1"})).await;
    hub.result("invalidate_user_tokens", json!({"user": "42", "channel": "a", "issued_before": 7})).await;
    hub.result("invalidate_user_tokens", json!({"all_users": true, "issued_before": 8})).await;
    let listed = hub.result("revocations", json!({})).await;
    let expected = json!([
        {"kind": "user", "user": "42", "expire_at": LATER},
        {"kind": "token", "uid": "t1"},
        {"kind": "all_tokens", "issued_before": 8},
        {"kind": "user_tokens", "user": "42", "channel": "a", "issued_before": 7},
    ]);
    assert_eq!(listed, json!({"revocations": expected, "total": 4, "durable": false}));
    let some = hub.result("revocations", json!({"user": "42", "limit": 1})).await;
    assert_eq!(some, json!({"revocations": [expected[0]], "total": 2, "durable": false}));
    assert_eq!(hub.result("revocations", json!({"kind": "token"})).await["total"], 1);
    for entry in expected.as_array().expect("a list") {
        let mut named = entry.clone();
        let fields = named.as_object_mut().expect("an object");
        fields.remove("issued_before");
        fields.remove("expire_at");
        let removed = |removed: bool| json!({"removed": removed, "durable": false});
        assert_eq!(hub.result("revocation_remove", named.clone()).await, removed(true), "{entry}");
        assert_eq!(hub.result("revocation_remove", named).await, removed(false), "{entry}");
    }
    assert_eq!(hub.result("revocations", json!({})).await["total"], 0);
}

#[tokio::test]
async fn a_batch_may_revoke() {
    let hub = Hub::open();
    let commands =
        json!({"commands": [{"block_user": {"user": "1"}}, {"unblock_user": {"user": "1"}}, {"revoke_token": {}}]});
    let reply = hub.post("batch", commands.to_string()).await.json();
    assert_eq!(reply["replies"][0], json!({"block_user": {"durable": false}}));
    assert_eq!(reply["replies"][1], json!({"unblock_user": {"removed": true, "durable": false}}));
    assert_eq!(reply["replies"][2]["error"]["code"], 107);
}

/// It is kept on the nodes that answer, and the caller learns that it is not everywhere.
#[tokio::test]
async fn a_node_that_does_not_judge_in_time_is_told() {
    let hub = Hub::new(Authentication::Open, Limits::default(), memory::Options::default());
    *hub.recorder.refusal.lock().expect("no test panics under it") =
        Some(fanfare_broker::Error::NodesMissing(vec!["web-2".to_owned()]));
    hub.refused("block_user", json!({"user": "42"}), 100, "web-2").await;
    assert_eq!(hub.broker.revoked().all(0).len(), 1);
}

/// A batch of listings copied and sorted all revocations for each of its commands, and could give each of them 100,000.
#[tokio::test]
async fn defect_listings_in_a_batch_are_bounded() {
    let hub = Hub::open();
    for number in 0..1_500 {
        let subject = fanfare_broker::Subject::Token(format!("{number:04}"));
        let kept = fanfare_broker::Revocation { subject, issued_before: 0, expire_at: None };
        hub.broker.revoked().keep(kept, unix_now()).expect("there is room");
    }
    let commands =
        json!({"commands": [{"revocations": {}}, {"revocations": {"limit": 1}}, {"revocations": {"limit": 1_001}}]});
    let reply = hub.post("batch", commands.to_string()).await.json();
    let listed = |at: usize| reply["replies"][at]["revocations"]["revocations"].as_array().map(Vec::len);
    assert_eq!((listed(0), listed(1)), (Some(1_000), Some(1)));
    assert_eq!(reply["replies"][0]["revocations"]["total"], 1_500);
    assert_eq!(reply["replies"][1]["revocations"]["revocations"][0]["uid"], "0000");
    assert_eq!(reply["replies"][2]["error"]["code"], 107);
}
