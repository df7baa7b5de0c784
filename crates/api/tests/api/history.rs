//! history and history_remove.

use fanfare_broker::{Publications as _, Publish, Retention};
use fanfare_protocol::ClientInfo;
use serde_json::{Value, json};

use crate::harness::{Hub, channel, publication};

async fn hub_with(publications: u64) -> Hub {
    let hub = Hub::open();
    for n in 1..=publications {
        hub.result("publish", publication("news", n)).await;
    }
    hub
}

fn payloads(result: &Value) -> Vec<u64> {
    result["publications"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|publication| publication["data"].as_u64().expect("a number"))
        .collect()
}

#[tokio::test]
async fn limit_0_gives_the_position_and_minus_1_all() {
    let hub = hub_with(3).await;
    let position = hub.result("history", json!({"channel": "news"})).await;
    assert_eq!((&position["publications"], &position["offset"]), (&json!([]), &json!(3)));
    assert!(!position["epoch"].as_str().unwrap().is_empty());
    assert_eq!(payloads(&hub.result("history", json!({"channel": "news", "limit": -1})).await), [1, 2, 3]);
    assert_eq!(payloads(&hub.result("history", json!({"channel": "news", "limit": 2})).await), [1, 2]);
    let most = json!({"channel": "news", "limit": i64::MAX, "reverse": true});
    assert_eq!(payloads(&hub.result("history", most).await), [3, 2, 1]);
}

#[tokio::test]
async fn limits_that_are_none_are_refused() {
    let hub = hub_with(1).await;
    for limit in [-2, i64::MIN] {
        hub.refused("history", json!({"channel": "news", "limit": limit}), 107, "limit").await;
    }
    for limit in ["1.5", "1e3", "\"1\"", "9223372036854775808"] {
        let reply = hub.post("history", format!(r#"{{"channel":"news","limit":{limit}}}"#)).await;
        reply.check(400, 107, "limit");
    }
}

#[tokio::test]
async fn since_is_where_to_begin() {
    let hub = hub_with(3).await;
    let epoch = hub.result("history", json!({"channel": "news"})).await["epoch"].clone();
    let since = |offset: u64, epoch: &Value, reverse: bool| json!({"channel": "news", "limit": -1, "since": {"offset": offset, "epoch": epoch}, "reverse": reverse});
    assert_eq!(payloads(&hub.result("history", since(1, &epoch, false)).await), [2, 3]);
    assert_eq!(payloads(&hub.result("history", since(3, &epoch, true)).await), [2, 1]);
    assert_eq!(payloads(&hub.result("history", since(1, &json!(""), false)).await), [2, 3]);
    hub.refused("history", since(0, &epoch, true), 107, "").await;
    hub.refused("history", since(1, &json!("other"), false), 112, "").await;
    let position = json!({"channel": "news", "since": {"offset": 1, "epoch": "other"}});
    hub.refused("history", position, 112, "").await;
}

#[tokio::test]
async fn an_unknown_channel_has_an_empty_history() {
    let result = Hub::open().result("history", json!({"channel": "silent", "limit": -1})).await;
    assert_eq!((&result["publications"], &result["offset"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn without_history_it_is_not_available() {
    let hub = Hub::open();
    hub.refused("history", json!({"channel": "plain:a"}), 108, "[channels.namespaces.plain]").await;
    hub.refused("history_remove", json!({"channel": "plain:a"}), 108, "history_size").await;
    hub.refused("history", json!({"channel": "nope:a"}), 102, "nope").await;
    hub.refused("history_remove", json!({}), 107, "channel").await;
}

#[tokio::test]
async fn removal_keeps_the_position() {
    let hub = hub_with(3).await;
    assert_eq!(hub.result("history_remove", json!({"channel": "news"})).await, json!({}));
    let result = hub.result("history", json!({"channel": "news", "limit": -1})).await;
    assert_eq!((&result["publications"], &result["offset"]), (&json!([]), &json!(3)));
}

#[tokio::test]
async fn a_publication_shows_what_it_has() {
    let hub = Hub::open();
    let second = std::time::Duration::from_secs(100);
    let info = ClientInfo {
        user: "42".to_owned(),
        client: "c1".to_owned(),
        conn_info: "{\"n\":1}".into(),
        ..ClientInfo::default()
    };
    let publish = Publish {
        data: "5".into(),
        json: true,
        info: Some(info.into()),
        retention: Some(Retention { size: 10, ttl: second, meta_ttl: second }),
        ..Publish::default()
    };
    hub.broker.publish(&channel("news"), publish).await.unwrap();
    hub.result("publish", json!({"channel": "news", "b64data": "Ym9vbQ=="})).await;
    let result = hub.result("history", json!({"channel": "news", "limit": -1})).await;
    let expected = json!([
        {"data": 5, "info": {"user": "42", "client": "c1", "conn_info": {"n": 1}}, "offset": 1},
        {"b64data": "Ym9vbQ==", "offset": 2},
    ]);
    assert_eq!(result["publications"], expected);
}
