//! Nodes on a Redis Cluster, with clients.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_testkit::patience::within;
use fanfare_testkit::{Node, RedisCluster, Setup, json, on_1_and_3_shards};

on_1_and_3_shards!(
    every_node_sees_one_order_in_channels_of_all_shards,
    a_client_recovers_on_another_node_of_a_cluster,
    whoever_listens_to_a_channel_whose_slot_moves_is_told_and_goes_on,
);

async fn start(cluster: &RedisCluster, shards: usize) -> Node {
    let setup = Setup::new(shards).redis(&cluster.url());
    let setup = setup.sessions(|options| options.position_check_interval = Duration::from_secs(2));
    let node = setup.channels(|options| options.join_leave = false).start().await;
    node.becomes_ready().await;
    within("channels of all masters to be subscribed to", Box::pin(serves_all_masters(&node))).await;
    node
}

/// Masters that have only just become a cluster may take longer than a node waits for them. Such an answer is temporary.
async fn serves_all_masters(node: &Node) {
    let mut client = node.client().connect().await;
    for number in 0..12 {
        let subscribe = json!({"subscribe": {"channel": format!("first{number}")}});
        loop {
            let reply = client.ask(subscribe.clone()).await;
            if reply.get("subscribe").is_some() {
                break;
            }
            assert_eq!(reply["error"]["temporary"], json!(true), "{reply}");
        }
    }
    client.close().await;
}

async fn every_node_sees_one_order_in_channels_of_all_shards(shards: usize) {
    let Some(cluster) = RedisCluster::start() else { return };
    let nodes = [start(&cluster, shards).await, start(&cluster, shards).await];
    let channels: Vec<String> = (0..12).map(|number| format!("news{number}")).collect();
    let mut clients = Vec::new();
    for node in &nodes {
        let mut client = node.client().connect().await;
        for channel in &channels {
            client.subscribe(channel).await;
        }
        clients.push(client);
    }
    let publish = |node: usize| {
        let (node, channels) = (&nodes[node], &channels);
        async move {
            for number in 0..10 {
                for channel in channels {
                    node.publish(channel, json!(number)).await;
                }
            }
        }
    };
    tokio::join!(publish(0), publish(1));
    let mut orders = Vec::new();
    for client in &mut clients {
        let mut order: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for _ in 0..12 * 20 {
            let push = client.expect_push().await;
            let publication = &push["pub"];
            let seen = order.entry(push["channel"].as_str().unwrap().to_owned()).or_default();
            assert_eq!(publication["offset"], json!(seen.len() + 1), "{push}");
            seen.push(publication["data"].clone());
        }
        orders.push(order);
    }
    assert_eq!(orders[0], orders[1]);
    assert_eq!(orders[0].len(), 12);
}

async fn a_client_recovers_on_another_node_of_a_cluster(shards: usize) {
    let Some(cluster) = RedisCluster::start() else { return };
    let [first, second] = [start(&cluster, shards).await, start(&cluster, shards).await];
    let mut client = first.client().connect().await;
    let epoch = client.subscribe("news").await["epoch"].clone();
    client.close().await;
    for number in 1..=3 {
        first.publish("news", json!(number)).await;
    }
    let mut client = second.client().connect().await;
    let asked = json!({"channel": "news", "recover": true, "offset": 0, "epoch": epoch});
    let result = client.call("subscribe", asked).await;
    assert_eq!(result["recovered"], json!(true), "{result}");
    assert_eq!(result["publications"].as_array().unwrap().len(), 3);
    let id = client.connected["client"].as_str().unwrap().to_owned();
    first.presence_becomes("news", &id, true).await;
}

async fn whoever_listens_to_a_channel_whose_slot_moves_is_told_and_goes_on(shards: usize) {
    let Some(cluster) = RedisCluster::start() else { return };
    let node = start(&cluster, shards).await;
    let mut client = node.client().connect().await;
    client.subscribe("news").await;
    node.publish("news", json!(1)).await;
    client.expect_publication("news").await;
    cluster.move_slot_of("{news}");
    let told = client.expect_push().await;
    assert_eq!(told["unsubscribe"]["code"], json!(2500), "the epoch is another one: {told}");
    client.subscribe("news").await;
    assert_eq!(node.publish("news", json!(2)).await["offset"], json!(2), "the stream came along");
    assert_eq!(client.expect_publication("news").await["data"], json!(2));
}
