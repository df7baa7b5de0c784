//! publish.

use fanfare_api::Limits;
use fanfare_broker::{Event, memory};
use serde_json::{Value, json};

use crate::harness::{Hub, post, publication};

#[tokio::test]
async fn a_publication_gets_its_place_and_reaches_the_node() {
    let hub = Hub::open();
    let first = hub.result("publish", publication("news", json!({"n": 1}))).await;
    let second = hub.result("publish", publication("news", json!({"n": 2}))).await;
    assert_eq!((&first["offset"], &second["offset"]), (&json!(1), &json!(2)));
    assert!(first["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()));
    assert_eq!(first["epoch"], second["epoch"]);
    assert_eq!(hub.delivered(), [r#"{"n":1}"#, r#"{"n":2}"#]);
}

#[tokio::test]
async fn without_history_the_result_is_empty() {
    let hub = Hub::open();
    assert_eq!(hub.result("publish", publication("plain:a", 1)).await, json!({}));
    let skipped = json!({"channel": "news", "data": 1, "skip_history": true});
    assert_eq!(hub.result("publish", skipped).await, json!({}));
    assert_eq!(hub.delivered().len(), 2);
}

#[tokio::test]
async fn a_payload_is_kept_byte_for_byte() {
    let hub = Hub::open();
    let payload = "{ \"a\" : 1.50,\r\n \"b\":\"\\u00e9\\ud800\", \"a\":12345678901234567890123 }";
    let reply = hub.post("publish", format!(r#"{{"data":{payload},"channel":"news"}}"#)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(hub.delivered(), [payload]);
    let history = hub.post("history", r#"{"channel":"news","limit":1}"#).await;
    assert!(history.text.contains(payload), "{}", history.text);
}

#[tokio::test]
async fn any_json_value_is_a_payload() {
    let hub = Hub::open();
    for data in [Value::Null, json!(false), json!(0), json!(""), json!([]), json!({})] {
        hub.result("publish", publication("news", data)).await;
    }
    assert_eq!(hub.delivered(), ["null", "false", "0", "\"\"", "[]", "{}"]);
}

#[tokio::test]
async fn what_is_needed_is_asked_for() {
    let hub = Hub::open();
    hub.refused("publish", json!({"data": 1}), 107, "channel is missing").await;
    hub.refused("publish", json!({"channel": null, "data": 1}), 107, "channel is missing").await;
    hub.refused("publish", json!({"channel": "news"}), 107, "data is missing").await;
    hub.refused("publish", json!({"channel": "news", "b64data": ""}), 107, "data is missing").await;
    assert!(hub.delivered().is_empty());
}

#[tokio::test]
async fn the_channel_grammar_holds() {
    let hub = Hub::open();
    let long = "a".repeat(256);
    hub.refused("publish", publication("", 1), 107, "empty").await;
    hub.refused("publish", publication(&long, 1), 107, "256 bytes").await;
    for name in ["née", "a\u{0}", "a\nb", "\u{202e}a"] {
        hub.refused("publish", publication(name, 1), 107, "printable ASCII").await;
    }
    hub.result("publish", publication(&long[1..], 1)).await;
    hub.result("publish", publication("$private#42", 1)).await;
    hub.refused("publish", publication("nope:a", 1), 102, "[channels.namespaces.nope]").await;
    assert_eq!(hub.delivered().len(), 2);
}

/// Backends could publish to channels whose names were too long for any client.
#[tokio::test]
async fn the_configured_length_of_a_channels_name_holds_for_backends_too() {
    let hub = Hub::with_limits(Limits { channel_bytes_max: 4, ..Limits::default() });
    hub.result("publish", publication("four", 1)).await;
    hub.refused("publish", publication("fives", 1), 107, "limits.channel_bytes_max").await;
    hub.send(post("/api/publish/fives", "1")).await.check(200, 107, "5 bytes");
    assert_eq!(hub.delivered().len(), 1);
}

#[tokio::test]
async fn size_and_depth_of_a_payload_are_bounded() {
    let hub = Hub::open();
    let text = |bytes: usize| "x".repeat(bytes - 2);
    hub.result("publish", publication("news", text(65_536))).await;
    hub.refused("publish", publication("news", text(65_537)), 107, "limits.payload_bytes_max").await;
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let deep = |levels| format!(r#"{{"channel":"news","data":{}}}"#, nested(levels));
    assert!(hub.post("publish", deep(64)).await.json()["result"].is_object());
    hub.post("publish", deep(65)).await.check(200, 107, "deeper than 64");
    hub.post("publish", deep(200_000)).await.check(200, 107, "");
}

#[tokio::test]
async fn base64_data_need_not_be_json_and_beats_the_plain_one() {
    let hub = Hub::open();
    hub.result("publish", json!({"channel": "news", "b64data": "Ym9vbQ==", "data": 1})).await;
    hub.result("publish", json!({"channel": "news", "b64data": "eyJhIjoxfQ=="})).await;
    assert_eq!(hub.delivered(), ["boom", r#"{"a":1}"#]);
    let json_bits: Vec<bool> = hub.recorder.events.lock().unwrap().iter().map(is_json).collect();
    assert_eq!(json_bits, [false, true]);
    hub.refused("publish", json!({"channel": "news", "b64data": "%%"}), 107, "b64data is not base64").await;
}

fn is_json(event: &Event) -> bool {
    matches!(event, Event::Publication(publication) if publication.json)
}

#[tokio::test]
async fn an_idempotency_key_gives_the_first_result_again() {
    let hub = Hub::open();
    let keyed = |channel: &str| json!({"channel": channel, "data": 1, "idempotency_key": "k1"});
    let first = hub.result("publish", keyed("news")).await;
    assert_eq!(hub.result("publish", keyed("news")).await, first);
    assert_eq!(hub.delivered().len(), 1);
    hub.result("publish", keyed("plain:a")).await;
    assert_eq!(hub.delivered().len(), 2);
    hub.result("publish", json!({"channel": "news", "data": 1, "idempotency_key": ""})).await;
    hub.result("publish", json!({"channel": "news", "data": 1, "idempotency_key": ""})).await;
    assert_eq!(hub.delivered().len(), 4);
    let long = json!({"channel": "news", "data": 1, "idempotency_key": "k".repeat(256)});
    hub.refused("publish", long, 107, "idempotency_key has 256 bytes").await;
}

#[tokio::test]
async fn the_version_guard_ignores_what_is_late() {
    let hub = Hub::open();
    let versioned = |version: u64, epoch: &str| json!({"channel": "news", "data": version, "version": version, "version_epoch": epoch});
    hub.result("publish", versioned(5, "")).await;
    hub.result("publish", versioned(5, "")).await;
    hub.result("publish", versioned(4, "")).await;
    hub.result("publish", versioned(4, "other")).await;
    hub.result("publish", publication("news", 100)).await;
    hub.result("publish", versioned(3, "")).await;
    hub.result("publish", versioned(6, "")).await;
    assert_eq!(hub.delivered(), ["5", "4", "100", "6"]);
    let long = json!({"channel": "news", "data": 1, "version": 1, "version_epoch": "e".repeat(256)});
    hub.refused("publish", long, 107, "version_epoch").await;
}

#[tokio::test]
async fn tags_go_along_and_are_bounded() {
    let hub = Hub::open();
    hub.result("publish", json!({"channel": "news", "data": 1, "tags": {"a": "b\"c"}})).await;
    let history = hub.result("history", json!({"channel": "news", "limit": 1})).await;
    assert_eq!(history["publications"][0]["tags"], json!({"a": "b\"c"}));
    let large = json!({"channel": "news", "data": 1, "tags": {"a": "x".repeat(16_384)}});
    hub.refused("publish", large, 107, "tags have 16385 bytes").await;
    hub.post("publish", r#"{"channel":"news","data":1,"tags":{"a":5}}"#).await.check(400, 107, "tags.a");
}

#[tokio::test]
async fn delta_is_accepted_and_changes_nothing() {
    let hub = Hub::open();
    hub.result("publish", json!({"channel": "news", "data": 1, "delta": true})).await;
    assert_eq!(hub.delivered(), ["1"]);
}

#[tokio::test]
async fn a_used_up_budget_is_told_by_its_key_and_nothing_is_stored() {
    let options = memory::Options { history_bytes_max: 1_000, ..memory::Options::default() };
    let hub = Hub::new(fanfare_api::Authentication::Open, Limits::default(), options);
    hub.refused("publish", publication("news", "x".repeat(2_000)), 100, "broker.history_bytes_max").await;
    assert!(hub.delivered().is_empty());
    hub.result("publish", publication("plain:a", "x".repeat(2_000))).await;
}

#[tokio::test]
async fn without_room_on_the_rings_a_publish_is_refused() {
    let hub = Hub::open();
    *hub.recorder.full.lock().unwrap() = true;
    hub.refused("publish", publication("news", 1), 100, "").await;
    *hub.recorder.full.lock().unwrap() = false;
    let result = hub.result("publish", publication("news", 1)).await;
    assert_eq!(result["offset"], 1);
}
