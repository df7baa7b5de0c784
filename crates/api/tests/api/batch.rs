//! batch.

use fanfare_api::Limits;
use serde_json::json;

use crate::harness::Hub;

#[tokio::test]
async fn commands_are_done_in_order_and_one_bad_one_does_not_keep_the_others() {
    let hub = Hub::open();
    let mut commands: Vec<_> = (0..100).map(|n| json!({"publish": {"channel": "news", "data": n}})).collect();
    commands[50] = json!({"publish": {"channel": "nope:a", "data": 50}});
    let reply = hub.post("batch", json!({"commands": commands}).to_string()).await;
    let body = reply.json();
    let replies = body["replies"].as_array().unwrap();
    assert_eq!((reply.status.as_u16(), replies.len()), (200, 100));
    assert_eq!(replies[0]["publish"]["offset"], 1);
    assert_eq!(replies[50]["error"]["code"], 102);
    assert_eq!(replies[99]["publish"]["offset"], 99);
    let expected: Vec<String> = (0..100).filter(|n| *n != 50).map(|n| n.to_string()).collect();
    assert_eq!(hub.delivered(), expected);
}

#[tokio::test]
async fn each_method_answers_under_its_name() {
    let body = json!({"commands": [
        {"publish": {"channel": "plain:a", "data": {}}},
        {"presence_stats": {"channel": "news"}},
        {"broadcast": {"channels": ["plain:a"], "data": 1}},
        {"disconnect": {"user": "42"}},
        {"info": {}},
    ], "parallel": true});
    let reply = Hub::open().post("batch", body.to_string()).await.json();
    assert_eq!(reply["replies"][0], json!({"publish": {}}));
    assert_eq!(reply["replies"][1], json!({"presence_stats": {"num_clients": 0, "num_users": 0}}));
    assert_eq!(reply["replies"][2], json!({"broadcast": {"responses": [{"result": {}}]}}));
    assert_eq!(reply["replies"][3], json!({"disconnect": {}}));
    assert_eq!(reply["replies"][4]["info"]["nodes"][0]["uid"], "u1");
}

#[tokio::test]
async fn what_is_no_command_gets_its_error_in_its_place() {
    let body = json!({"commands": [
        null,
        {},
        {"publsh": {}},
        {"publish": {"channel": "news", "data": 1}, "info": {}},
        {"publish": null},
        {"publish": {"channel": "news", "dta": 1}},
        {"publish": {"channel": 5, "data": 1}},
        {"batch": {"commands": []}},
        [],
        {"publish": {"channel": "news", "data": 1}},
    ]});
    let hub = Hub::open();
    let reply = hub.post("batch", body.to_string()).await.json();
    let replies = reply["replies"].as_array().unwrap();
    let codes: Vec<u64> = replies.iter().map(|reply| reply["error"]["code"].as_u64().unwrap_or(0)).collect();
    assert_eq!(codes, [107, 104, 104, 107, 107, 107, 107, 107, 107, 0]);
    assert!(replies[2]["error"]["message"].as_str().unwrap().contains("did you mean \"publish\"?"));
    assert!(replies[5]["error"]["message"].as_str().unwrap().contains("did you mean \"data\"?"));
    assert_eq!(hub.delivered(), ["1"]);
}

#[tokio::test]
async fn no_commands_get_an_empty_reply() {
    for body in ["{}", r#"{"commands":[]}"#, r#"{"commands":null}"#] {
        let reply = Hub::open().post("batch", body).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, "{}"));
    }
}

#[tokio::test]
async fn the_number_of_commands_is_bounded() {
    let hub = Hub::with_limits(Limits { batch_commands_max: 2, ..Limits::default() });
    let commands = |count| json!({"commands": vec![json!({"publish": {"channel": "news", "data": 1}}); count]});
    hub.refused("batch", commands(3), 107, "api.batch_commands_max").await;
    assert!(hub.delivered().is_empty());
    hub.post("batch", commands(2).to_string()).await;
    assert_eq!(hub.delivered().len(), 2);
}

#[tokio::test]
async fn a_bad_body_is_refused_as_a_whole() {
    let hub = Hub::open();
    hub.post("batch", r#"{"commands":{}}"#).await.check(400, 107, "commands");
    hub.post("batch", r#"{"comands":[]}"#).await.check(400, 107, "did you mean \"commands\"?");
    hub.post("batch", r#"{"commands":[{"publish":{"channel":"news","data":1}},]}"#).await.check(
        400,
        107,
        "not valid JSON",
    );
    assert!(hub.delivered().is_empty());
}
