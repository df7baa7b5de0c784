//! broadcast.

use fanfare_api::Limits;
use serde_json::json;

use crate::harness::Hub;

#[tokio::test]
async fn each_channel_has_its_own_result_in_order() {
    let hub = Hub::open();
    let result =
        hub.result("broadcast", json!({"channels": ["a", "nope:b", "plain:c", "", "a"], "data": {"n": 1}})).await;
    let responses = result["responses"].as_array().unwrap();
    assert_eq!(responses.len(), 5);
    assert!(responses[0]["result"]["offset"].is_u64());
    assert_eq!(responses[1]["error"]["code"], 102);
    assert_eq!(responses[2], json!({"result": {}}));
    assert_eq!(responses[3]["error"]["code"], 107);
    assert!(responses[4]["result"]["offset"].is_u64());
    assert_eq!(hub.delivered().len(), 3);
}

#[tokio::test]
async fn it_needs_channels_and_data() {
    let hub = Hub::open();
    hub.refused("broadcast", json!({"data": 1}), 107, "channels is missing or empty").await;
    hub.refused("broadcast", json!({"channels": [], "data": 1}), 107, "channels is missing or empty").await;
    hub.refused("broadcast", json!({"channels": ["a"]}), 107, "data is missing").await;
    assert!(hub.delivered().is_empty());
}

#[tokio::test]
async fn a_payload_over_the_limit_reaches_no_channel() {
    let hub = Hub::open();
    let request = json!({"channels": ["a", "b"], "data": "x".repeat(70_000)});
    hub.refused("broadcast", request, 107, "limits.payload_bytes_max").await;
    assert!(hub.delivered().is_empty());
}

#[tokio::test]
async fn the_number_of_channels_is_bounded() {
    let hub = Hub::with_limits(Limits { broadcast_channels_max: 3, ..Limits::default() });
    hub.refused("broadcast", json!({"channels": ["a", "b", "c", "d"], "data": 1}), 107, "api.broadcast_channels_max")
        .await;
    assert!(hub.delivered().is_empty());
    hub.result("broadcast", json!({"channels": ["a", "b", "c"], "data": 1})).await;
    assert_eq!(hub.delivered().len(), 3);
}

#[tokio::test]
async fn more_channels_than_go_at_once_are_all_served() {
    let hub = Hub::open();
    let channels: Vec<String> = (0..1_000).map(|n| format!("c{n}")).collect();
    let result = hub.result("broadcast", json!({"channels": channels, "data": 1, "idempotency_key": "k"})).await;
    let responses = result["responses"].as_array().unwrap();
    assert!(responses.iter().all(|response| response["result"]["offset"] == 1));
    assert_eq!((responses.len(), hub.delivered().len()), (1_000, 1_000));
}
