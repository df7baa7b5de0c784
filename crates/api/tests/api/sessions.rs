//! subscribe, unsubscribe, disconnect, refresh: what reaches the node's sessions.

use fanfare_broker::Error;
use fanfare_broker::control::{Control, RefreshControl, SubscribeControl, Target};
use fanfare_protocol::{Disconnect, SubscriptionOverrides, Unsubscribe};
use serde_json::{Value, json};

use crate::harness::{Hub, channel};

fn user(id: &str) -> Target {
    Target { user: Some(id.to_owned()), ..Target::default() }
}

/// The one command that a call leads to.
async fn control(method: &'static str, request: Value) -> Control {
    let hub = Hub::open();
    assert_eq!(hub.result(method, request).await, json!({}));
    let mut controls = hub.controls();
    assert_eq!(controls.len(), 1);
    controls.remove(0)
}

#[track_caller]
fn subscribed(control: Control) -> (Target, SubscribeControl) {
    match control {
        Control::Subscribe(target, subscribe) => (target, *subscribe),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn subscribe_passes_on_all_that_is_given() {
    let request = json!({
        "user": "42", "client": "c1", "session": "s1", "channel": "$room", "info": {"i": 1}, "b64data": "WzJd",
        "expire_at": 4_000_000_000u64, "recover_since": {"offset": 7, "epoch": "e"},
        "override": {"presence": {"value": false}, "force_recovery": {"value": true}},
    });
    let (target, subscribe) = subscribed(control("subscribe", request).await);
    assert_eq!(target, Target { user: Some("42".into()), client: Some("c1".into()), session: Some("s1".into()) });
    assert_eq!(subscribe.channel, channel("$room"));
    assert_eq!((&subscribe.info[..], &subscribe.data[..]), (&br#"{"i":1}"#[..], &b"[2]"[..]));
    assert_eq!(subscribe.expire_at, Some(4_000_000_000));
    let since = subscribe.recover_since.unwrap();
    assert_eq!((since.offset, &*since.epoch), (7, "e"));
    let overrides =
        SubscriptionOverrides { presence: Some(false), force_recovery: Some(true), ..SubscriptionOverrides::default() };
    assert_eq!(subscribe.overrides, overrides);
}

#[tokio::test]
async fn subscribe_needs_little() {
    let (target, subscribe) =
        subscribed(control("subscribe", json!({"user": "42", "channel": "news", "expire_at": 0})).await);
    assert_eq!(target, user("42"));
    assert!(subscribe.info.is_empty() && subscribe.data.is_empty());
    assert_eq!((subscribe.expire_at, subscribe.recover_since), (None, None));
}

#[tokio::test]
async fn info_and_data_of_a_subscription_must_be_json() {
    let hub = Hub::open();
    let with = |field: &str, value: &str| json!({"user": "42", "channel": "news", field: value});
    hub.refused("subscribe", with("b64info", "Ym9vbQ=="), 107, "b64info does not hold JSON").await;
    hub.refused("subscribe", with("b64data", "Ym9vbQ=="), 107, "b64data does not hold JSON").await;
    hub.refused("subscribe", with("b64data", "%"), 107, "b64data is not base64").await;
    hub.refused("subscribe", with("info", &"x".repeat(70_000)), 107, "limits.payload_bytes_max").await;
    assert!(hub.controls().is_empty());
}

#[tokio::test]
async fn a_subscription_cannot_expire_in_the_past() {
    let request = json!({"user": "42", "channel": "news", "expire_at": 1_000});
    Hub::open().refused("subscribe", request, 107, "expire_at").await;
}

#[tokio::test]
async fn a_missing_or_empty_user_never_means_everybody_without_a_name() {
    let hub = Hub::open();
    for (method, rest) in [
        ("subscribe", json!({"channel": "news"})),
        ("unsubscribe", json!({"channel": "news"})),
        ("disconnect", json!({})),
        ("refresh", json!({})),
    ] {
        hub.refused(method, rest.clone(), 107, "user is missing or empty").await;
        for empty in [json!(""), Value::Null] {
            let mut request = rest.clone();
            request["user"] = empty.clone();
            request["client"] = empty;
            hub.refused(method, request, 107, "user is missing or empty").await;
        }
        let mut narrowed = rest.clone();
        narrowed["client"] = json!("c1");
        hub.result(method, narrowed).await;
        let mut narrowed = rest;
        narrowed["session"] = json!("s1");
        hub.result(method, narrowed).await;
    }
    assert_eq!(hub.controls().len(), 8);
    hub.result("disconnect", json!({"user": "u".repeat(300)})).await;
}

#[tokio::test]
async fn subscribe_and_unsubscribe_need_a_good_channel() {
    let hub = Hub::open();
    for method in ["subscribe", "unsubscribe"] {
        hub.refused(method, json!({"user": "42"}), 107, "channel is missing").await;
        hub.refused(method, json!({"user": "42", "channel": ""}), 107, "empty").await;
        hub.refused(method, json!({"user": "42", "channel": "née"}), 107, "printable").await;
        hub.refused(method, json!({"user": "42", "channel": "nope:a"}), 102, "nope").await;
    }
    assert!(hub.controls().is_empty());
}

#[tokio::test]
async fn unsubscribe_says_that_the_server_did_it() {
    match control("unsubscribe", json!({"user": "42", "channel": "news"})).await {
        Control::Unsubscribe(target, name, unsubscribe) => {
            assert_eq!((target, name, unsubscribe), (user("42"), channel("news"), Unsubscribe::SERVER));
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn disconnected(control: Control) -> (Target, Disconnect, Vec<String>) {
    match control {
        Control::Disconnect(target, disconnect, kept) => (target, disconnect, kept),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn disconnect_is_3503_unless_said_otherwise() {
    let plain = disconnected(control("disconnect", json!({"user": "42"})).await);
    assert_eq!(plain, (user("42"), Disconnect::FORCE_DISCONNECT, Vec::new()));
    let request = json!({"user": "42", "whitelist": ["c1"], "disconnect": {"code": 4500, "reason": "banned"}});
    let (_, disconnect, kept) = disconnected(control("disconnect", request).await);
    assert_eq!((disconnect.code, &*disconnect.reason, kept), (4500, "banned", vec!["c1".to_owned()]));
}

#[tokio::test]
async fn disconnect_codes_and_reasons_have_bounds() {
    let hub = Hub::open();
    let with = |disconnect: Value| json!({"user": "42", "disconnect": disconnect});
    for code in [0, 1000, 2999, 5000, 70_000] {
        hub.refused("disconnect", with(json!({"code": code})), 107, "3000 to 4999").await;
    }
    hub.refused("disconnect", with(json!({})), 107, "3000 to 4999").await;
    hub.refused("disconnect", with(json!({"reason": "banned"})), 107, "3000 to 4999").await;
    hub.refused("disconnect", with(json!({"code": 4500, "reason": "é".repeat(62)})), 107, "124 bytes").await;
    for code in [3000, 4999] {
        hub.result("disconnect", with(json!({"code": code, "reason": "x".repeat(123)}))).await;
    }
    assert_eq!(hub.controls().len(), 2);
    hub.post("disconnect", r#"{"user":"42","disconnect":{"code":-1}}"#).await.check(400, 107, "disconnect.code");
}

#[tokio::test]
async fn refresh_replaces_or_lifts_the_expiry() {
    for (request, expected) in [
        (json!({"user": "42"}), RefreshControl::default()),
        (json!({"user": "42", "expire_at": 0}), RefreshControl::default()),
        (json!({"user": "42", "expire_at": 5}), RefreshControl { expire_at: Some(5), ..RefreshControl::default() }),
        (json!({"user": "42", "expired": true}), RefreshControl { expired: true, ..RefreshControl::default() }),
        (
            json!({"user": "42", "info": {"a": 1}}),
            RefreshControl { info: Some(r#"{"a":1}"#.into()), ..RefreshControl::default() },
        ),
    ] {
        match control("refresh", request).await {
            Control::Refresh(target, refresh) => assert_eq!((target, refresh), (user("42"), expected)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_told_as_temporary() {
    let hub = Hub::open();
    *hub.recorder.refusal.lock().unwrap() = Some(Error::Unavailable("a shard did not answer in time"));
    hub.refused("disconnect", json!({"user": "42"}), 100, "a shard did not answer in time").await;
}
