//! channels and info.

use serde_json::json;

use crate::harness::Hub;

#[tokio::test]
async fn channels_are_listed_with_their_subscribers() {
    let hub = Hub::open();
    let all = hub.result("channels", json!({})).await;
    assert_eq!(all, json!({"channels": {"news": {"num_clients": 2}, "ns:x": {"num_clients": 1}}}));
    assert_eq!(hub.result("channels", json!({"pattern": ""})).await, all);
    let some = hub.result("channels", json!({"pattern": "news"})).await;
    assert_eq!(some, json!({"channels": {"news": {"num_clients": 2}}}));
    hub.refused("channels", json!({"pattern": "*".repeat(256)}), 107, "pattern has 256 bytes").await;
}

#[tokio::test]
async fn info_tells_of_every_node() {
    let node = json!({
        "uid": "u1", "name": "n\"1", "version": "0.1.0", "num_clients": 4, "num_users": 3, "num_subs": 2,
        "num_channels": 1, "uptime": 9,
    });
    let hub = Hub::open();
    assert_eq!(hub.result("info", json!({})).await, json!({"nodes": [node]}));
    hub.post("info", "").await.check(400, 107, "at least {}");
    hub.post("info", r#"{"x":1}"#).await.check(400, 107, "known fields: none");
}
