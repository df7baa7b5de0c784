//! One order for all (I1, I2): many publishers, several channels, subscribers on every shard.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::collections::BTreeMap;

use fanfare_testkit::{Client, Encoding, Http, Node, Setup, Value, json, on_1_and_3_shards};
use tokio::task::JoinSet;

on_1_and_3_shards!(
    everyone_sees_the_same_order,
    without_history_the_order_holds_too,
    large_and_small_frames_keep_their_order,
    a_full_ring_delays_publishers_and_loses_nothing,
);

const CHANNELS: [&str; 3] = ["a", "b", "c"];

/// Publishes by HTTP: `count` publications, each naming its publisher and number.
async fn by_http(node: &Node, publishers: &mut JoinSet<()>, name: &'static str, count: u64) {
    let mut http = Http::connect(node.address()).await;
    publishers.spawn(async move {
        for number in 0..count {
            let channel = CHANNELS[(number % 3) as usize];
            let answer = http.publish(&json!({"channel": channel, "data": {"by": name, "n": number}})).await;
            assert!(answer["result"].is_object(), "{answer}");
        }
    });
}

/// Publishes as a client, eight commands in a frame.
async fn by_client(node: &Node, publishers: &mut JoinSet<()>, name: &'static str, count: u64) {
    let mut client = node.client().connect().await;
    publishers.spawn(async move {
        for first in (0..count).step_by(8) {
            let command = |number: u64| {
                let channel = CHANNELS[(number % 3) as usize];
                json!({"id": 10 + number, "publish": {"channel": channel, "data": {"by": name, "n": number}}})
            };
            let commands: Vec<Value> = (first..count.min(first + 8)).map(command).collect();
            client.send(&commands).await;
            for command in &commands {
                let id = command["id"].as_u64().unwrap() as u32;
                let mut reply = client.expect_reply(id).await;
                while reply["error"]["temporary"] == json!(true) {
                    client.send(std::slice::from_ref(command)).await;
                    reply = client.expect_reply(id).await;
                }
                assert!(reply["publish"].is_object(), "{reply}");
            }
        }
    });
}

async fn subscribers(node: &Node, count: usize) -> Vec<Client> {
    let mut subscribers = Vec::new();
    for at in 0..count {
        let encoding = if at % 3 == 2 { Encoding::Protobuf } else { Encoding::Json };
        let mut client = node.client().encoding(encoding).connect().await;
        for channel in CHANNELS {
            client.subscribe(channel).await;
        }
        subscribers.push(client);
    }
    subscribers
}

/// What a client gets until every channel has had its last publication.
async fn hears(mut client: Client, count: usize) -> BTreeMap<String, Vec<Value>> {
    let mut heard: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for _ in 0..count {
        let mut push = client.expect_push().await;
        let channel = push["channel"].as_str().unwrap().to_owned();
        heard.entry(channel).or_default().push(push["pub"].take());
    }
    assert_eq!(client.so_far().await, []);
    heard
}

async fn run(node: &Node, each: u64) -> Vec<BTreeMap<String, Vec<Value>>> {
    let listeners = subscribers(node, 9).await;
    let mut publishers = JoinSet::new();
    for name in ["h1", "h2", "h3"] {
        by_http(node, &mut publishers, name, each).await;
    }
    for name in ["c1", "c2", "c3"] {
        by_client(node, &mut publishers, name, each).await;
    }
    let mut hearing = JoinSet::new();
    for listener in listeners {
        hearing.spawn(hears(listener, 6 * each as usize));
    }
    publishers.join_all().await;
    hearing.join_all().await
}

/// Each publisher's own order is kept within a channel.
fn in_order_of_publishers(heard: &[Value]) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for publication in heard {
        let (by, n) = (publication["data"]["by"].as_str().unwrap(), publication["data"]["n"].as_u64().unwrap());
        let before = last.insert(by, n);
        assert!(before.is_none_or(|before| before < n), "{by}: {n} after {before:?}");
    }
}

async fn everyone_sees_the_same_order(shards: usize) {
    let node = Setup::new(shards).start().await;
    let heard = run(&node, 150).await;
    for channel in CHANNELS {
        let first = &heard[0][channel];
        let offsets: Vec<u64> = first.iter().map(|publication| publication["offset"].as_u64().unwrap()).collect();
        assert_eq!(offsets, (1..=300).collect::<Vec<_>>());
        in_order_of_publishers(first);
        assert!(heard.iter().all(|other| other[channel] == *first), "not the same order in {channel}");
        let history = node.call("history", json!({"channel": channel, "limit": -1})).await;
        let kept: Vec<&Value> = history["publications"].as_array().unwrap().iter().map(|kept| &kept["data"]).collect();
        assert_eq!(kept, first.iter().map(|publication| &publication["data"]).collect::<Vec<_>>());
    }
    assert_eq!(node.metric("fanfare_gateway_gaps_total").await, 0.0);
}

async fn without_history_the_order_holds_too(shards: usize) {
    let node = Setup::new(shards).channels(|options| options.retention = None).start().await;
    let heard = run(&node, 90).await;
    for channel in CHANNELS {
        let first = &heard[0][channel];
        assert_eq!(first.len(), 180);
        in_order_of_publishers(first);
        assert!(heard.iter().all(|other| other[channel] == *first), "not the same order in {channel}");
    }
}

/// Frames that are written by reference between frames that are copied together.
async fn large_and_small_frames_keep_their_order(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.outbox_bytes_max = 64 << 20).start().await;
    let mut clients = subscribers(&node, 3).await;
    let mut publisher = node.client().connect().await;
    let sizes = [10, 60_000, 20, 16_000, 17_000, 5, 40_000, 65_000, 1, 30_000];
    for round in 0..4 {
        let commands: Vec<Value> = (0..sizes.len())
            .map(|at| json!({"id": round * 100 + at + 1, "publish": {"channel": "a", "data": "x".repeat(sizes[at])}}))
            .collect();
        for command in &commands {
            publisher.send(std::slice::from_ref(command)).await;
        }
        publisher.expect_reply((round * 100 + sizes.len()) as u32).await;
    }
    for client in &mut clients {
        for at in 0..4 * sizes.len() {
            let publication = client.expect_publication("a").await;
            assert_eq!(publication["offset"], at + 1);
            assert_eq!(publication["data"].as_str().unwrap().len(), sizes[at % sizes.len()]);
        }
    }
}

/// With room for a dozen publications, publishers wait for the shards; the order stays.
async fn a_full_ring_delays_publishers_and_loses_nothing(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.ring_bytes_max = 4 * 1024).start().await;
    let heard = run(&node, 90).await;
    for channel in CHANNELS {
        let offsets: Vec<u64> = heard[0][channel].iter().map(|heard| heard["offset"].as_u64().unwrap()).collect();
        assert_eq!(offsets, (1..=180).collect::<Vec<_>>());
        assert!(heard.iter().all(|other| other[channel] == heard[0][channel]), "not the same order in {channel}");
    }
}
