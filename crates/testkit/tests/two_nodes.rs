//! Two nodes on one Redis: one hub. Each test has a Redis server of its own.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use fanfare_testkit::{Client, Node, RedisServer, Setup, json, on_1_and_3_shards, patience::eventually};

on_1_and_3_shards!(
    every_node_sees_one_order,
    a_client_recovers_on_the_other_node,
    presence_and_control_reach_the_other_node,
    a_redis_that_comes_back_empty_is_told,
    the_documented_lines_publish_straight_into_redis,
);

/// Two nodes on a server, ready.
async fn two_nodes(redis: &RedisServer, shards: usize) -> [Node; 2] {
    [one_node(redis, shards).await, one_node(redis, shards).await]
}

async fn one_node(redis: &RedisServer, shards: usize) -> Node {
    let setup = Setup::new(shards).redis(&redis.url());
    let node = setup.sessions(|options| options.position_check_interval = Duration::from_secs(2)).start().await;
    node.becomes_ready().await;
    node
}

async fn every_node_sees_one_order(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let nodes = two_nodes(&redis, shards).await;
    let mut clients: Vec<Client> = Vec::new();
    for node in &nodes {
        for _ in 0..3 {
            let mut client = node.client().connect().await;
            client.subscribe("news").await;
            clients.push(client);
        }
    }
    let publish = |node: usize| {
        let node = &nodes[node];
        async move {
            for number in 0..50 {
                node.publish("news", json!(number)).await;
            }
        }
    };
    tokio::join!(publish(0), publish(1));
    let mut orders = Vec::new();
    for client in &mut clients {
        let mut order = Vec::new();
        while order.len() < 100 {
            let publication = client.expect_publication("news").await;
            assert_eq!(publication["offset"], json!(order.len() + 1));
            order.push(publication["data"].clone());
        }
        orders.push(order);
    }
    assert!(orders.iter().all(|order| *order == orders[0]), "one order for all");
}

async fn a_client_recovers_on_the_other_node(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let [first, second] = two_nodes(&redis, shards).await;
    let mut client = first.client().connect().await;
    let epoch = client.subscribe("news").await["epoch"].clone();
    first.publish("news", json!(1)).await;
    client.expect_publication("news").await;
    client.close().await;
    for number in 2..=5 {
        first.publish("news", json!(number)).await;
    }
    let mut client = second.client().connect().await;
    let asked = json!({"channel": "news", "recover": true, "offset": 1, "epoch": epoch});
    let result = client.call("subscribe", asked).await;
    assert_eq!(result["recovered"], json!(true), "{result}");
    let offsets: Vec<_> = result["publications"].as_array().unwrap().iter().map(|p| p["offset"].clone()).collect();
    assert_eq!(offsets, [2, 3, 4, 5]);
    first.publish("news", json!(6)).await;
    assert_eq!(client.expect_publication("news").await["offset"], json!(6));
}

async fn presence_and_control_reach_the_other_node(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let [first, second] = two_nodes(&redis, shards).await;
    let mut client = second.client().user("42").connect().await;
    client.subscribe("room").await;
    let id = client.connected["client"].as_str().unwrap().to_owned();
    first.presence_becomes("room", &id, true).await;
    let nodes = eventually("both nodes to know of each other", || async {
        let info = first.call("info", json!({})).await;
        (info["nodes"].as_array().unwrap().len() == 2).then_some(info)
    });
    assert_eq!(nodes.await["nodes"].as_array().unwrap().len(), 2);
    first.call("subscribe", json!({"user": "42", "channel": "alerts"})).await;
    first.publish("alerts", json!("hello")).await;
    assert_eq!(client.expect_publication("alerts").await["data"], json!("hello"));
    first.call("disconnect", json!({"user": "42"})).await;
    assert_eq!(client.expect_close().await.0, 3503);
    first.presence_becomes("room", &id, false).await;
}

async fn a_redis_that_comes_back_empty_is_told(shards: usize) {
    let Some(mut redis) = RedisServer::start() else { return };
    let [first, second] = two_nodes(&redis, shards).await;
    let mut client = second.client().connect().await;
    client.subscribe("news").await;
    first.publish("news", json!(1)).await;
    client.expect_publication("news").await;
    redis.restart_empty();
    first.becomes_ready().await;
    second.becomes_ready().await;
    let told = client.expect_push().await;
    assert_eq!(told["unsubscribe"]["code"], json!(2500), "{told}");
    let again = eventually("a publish to get through", || async {
        let answer = first.api("publish", &json!({"channel": "news", "data": 2})).await;
        answer.get("result").cloned()
    });
    assert_eq!(again.await["offset"], json!(1));
}

/// Runs a line of a document as a shell does, against a test's own server.
fn run(redis: &RedisServer, line: &str) {
    let line = line.replacen("redis-cli", &format!("redis-cli -u {}", redis.url()), 1);
    let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("ERR"), "{line}: {said}");
}

async fn the_documented_lines_publish_straight_into_redis(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    if !std::process::Command::new("redis-cli").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: redis-cli is not installed");
    }
    let document = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating.md");
    let document = std::fs::read_to_string(document).unwrap();
    let lines: Vec<&str> = document.lines().filter(|line| line.starts_with("redis-cli ")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let name = fanfare_broker_redis::live_name("fanfare", &fanfare_protocol::Channel::parse("news").unwrap(), false);
    assert!(lines[0].contains(&name), "the line has the name that `fanfare channels --redis-key news` prints");
    let nodes = two_nodes(&redis, shards).await;
    let mut clients = Vec::new();
    for node in &nodes {
        let mut client = node.client().connect().await;
        client.subscribe("news").await;
        clients.push(client);
    }
    for line in &lines {
        run(&redis, line);
        for client in &mut clients {
            let publication = client.expect_publication("news").await;
            assert_eq!(publication["data"], json!({"text": "hi"}));
            let has_place = publication["offset"].as_u64().is_some_and(|offset| offset > 0);
            assert_eq!(has_place, line.contains("XADD"), "{publication}");
        }
    }
    let history = nodes[0].call("history", json!({"channel": "news", "limit": 10})).await;
    assert_eq!(history["publications"].as_array().unwrap().len(), 1);
}
