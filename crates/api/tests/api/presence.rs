//! presence and presence_stats.

use std::time::Duration;

use fanfare_broker::Presence as _;
use fanfare_protocol::ClientInfo;
use serde_json::json;

use crate::harness::{Hub, channel};

async fn enter(hub: &Hub, user: &str, client: &str) {
    let info = ClientInfo {
        user: user.to_owned(),
        client: client.to_owned(),
        chan_info: "[1]".into(),
        ..ClientInfo::default()
    };
    let added = hub.broker.presence_add(&channel("news"), info.into(), Duration::from_secs(60)).await;
    added.expect("there is room");
}

#[tokio::test]
async fn who_and_how_many_are_in_a_channel() {
    let hub = Hub::open();
    enter(&hub, "42", "c1").await;
    enter(&hub, "42", "c2").await;
    enter(&hub, "", "c\"3").await;
    let presence = hub.result("presence", json!({"channel": "news"})).await["presence"].clone();
    assert_eq!(presence.as_object().unwrap().len(), 3);
    assert_eq!(presence["c1"], json!({"user": "42", "client": "c1", "chan_info": [1]}));
    assert_eq!(presence["c\"3"]["user"], "");
    let stats = hub.result("presence_stats", json!({"channel": "news"})).await;
    assert_eq!(stats, json!({"num_clients": 3, "num_users": 2}));
}

#[tokio::test]
async fn an_empty_channel_has_nobody() {
    let hub = Hub::open();
    assert_eq!(hub.result("presence", json!({"channel": "x"})).await, json!({"presence": {}}));
    let none = json!({"num_clients": 0, "num_users": 0});
    assert_eq!(hub.result("presence_stats", json!({"channel": "x"})).await, none);
}

#[tokio::test]
async fn where_it_is_off_or_unknown_it_is_refused() {
    let hub = Hub::open();
    for method in ["presence", "presence_stats"] {
        hub.refused(method, json!({"channel": "plain:a"}), 108, "presence in [channels.namespaces.plain]").await;
        hub.refused(method, json!({"channel": "nope:a"}), 102, "nope").await;
        hub.refused(method, json!({}), 107, "channel is missing").await;
    }
}
