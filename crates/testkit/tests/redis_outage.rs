//! Redis goes wrong under nodes with clients: those stay connected, publishes fail with a clear error or succeed, and
//! afterwards every subscriber goes on without a hole or is told.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use fanfare_testkit::{Client, Node, RedisServer, Setup, json, on_1_and_3_shards, patience::eventually};

on_1_and_3_shards!(
    a_node_starts_without_redis_and_serves_when_it_comes,
    a_node_that_is_to_wait_for_redis_does_so_and_gives_up,
    a_restart_is_survived_by_connections_and_told_to_subscribers,
    a_frozen_redis_costs_nobody_anything_but_time,
    a_wiped_redis_is_told_to_who_listens_to_a_quiet_channel,
    an_evicting_redis_leaves_nobody_in_doubt,
    a_cut_at_the_output_limit_loses_nothing,
    forged_messages_mislead_nobody,
    a_gap_is_read_when_redis_allows_it_again,
);

async fn start(redis: &RedisServer, shards: usize) -> Node {
    let setup = Setup::new(shards).redis(&redis.url()).sessions(|options| {
        options.position_check_interval = Duration::from_secs(2);
        // Clients that are not read from answer no pings.
        options.ping_interval = None;
    });
    setup.channels(|options| options.join_leave = false).start().await
}

/// Two nodes, ready, with a client each that listens to `news`.
async fn two_nodes(redis: &RedisServer, shards: usize) -> [(Node, Client); 2] {
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = start(redis, shards).await;
        becomes(&node, 200).await;
        let mut client = node.client().connect().await;
        client.subscribe("news").await;
        nodes.push((node, client));
    }
    nodes.try_into().unwrap_or_else(|_| unreachable!("two were started"))
}

/// What `/readyz` says once it has this status. `/healthz` does not ask for Redis.
async fn becomes(node: &Node, status: u16) -> String {
    let ask = || async {
        let response = node.request("GET /readyz", &[], "").await;
        (response.status == status).then_some(response.body)
    };
    let body = eventually(&format!("readiness {status}"), ask).await;
    assert_eq!(node.request("GET /healthz", &[], "").await.status, 200);
    body
}

/// Publishes until it succeeds; the offset.
async fn publish(node: &Node, data: i32) -> u64 {
    let request = json!({"channel": "news", "data": data});
    let ask = || async { node.api("publish", &request).await.get("result").cloned() };
    eventually("a publish to get through", ask).await["offset"].as_u64().unwrap()
}

async fn publish_fails(node: &Node) {
    let answer = node.api("publish", &json!({"channel": "news", "data": "x"})).await;
    assert_eq!(answer["error"]["code"], json!(100), "{answer}");
}

/// Reads publications until one has this data; each has to follow the one before. False if the client was told
/// that its subscription does not go on.
async fn follows_to(client: &mut Client, mut offset: u64, data: i32) -> bool {
    loop {
        let push = client.expect_push().await;
        if push["unsubscribe"].is_object() {
            assert_eq!(push["unsubscribe"]["code"], json!(2500), "{push}");
            return false;
        }
        offset += 1;
        assert_eq!(push["pub"]["offset"], json!(offset), "{push}");
        if push["pub"]["data"] == json!(data) {
            return true;
        }
    }
}

async fn comes_back_unrecovered(client: &mut Client, offset: u64, epoch: &serde_json::Value) {
    let asked = json!({"channel": "news", "recover": true, "offset": offset, "epoch": epoch});
    let result = client.call("subscribe", asked).await;
    assert_ne!(result["recovered"], json!(true), "{result}");
    assert_ne!(result["epoch"], *epoch, "{result}");
}

async fn a_node_starts_without_redis_and_serves_when_it_comes(shards: usize) {
    let Some(mut redis) = RedisServer::start() else { return };
    redis.end();
    let node = start(&redis, shards).await;
    let reason = becomes(&node, 503).await;
    assert!(reason.contains("Redis"), "{reason}");
    let mut client = node.client().connect().await;
    assert_eq!(client.refused("subscribe", json!({"channel": "news"})).await, 100);
    publish_fails(&node).await;
    redis.restart();
    becomes(&node, 200).await;
    client.subscribe("news").await;
    assert_eq!(publish(&node, 1).await, 1);
    client.expect_publication("news").await;
}

/// With `redis.start_timeout` a node that cannot use Redis says why and ends.
async fn a_node_that_is_to_wait_for_redis_does_so_and_gives_up(shards: usize) {
    let Some(mut redis) = RedisServer::start() else { return };
    let mut config = fanfare_server::Config::dev();
    config.listen.address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    config.gateway.shards = shards;
    config.redis.server = Some(fanfare_broker_redis::Server::parse(&redis.url()).unwrap());
    config.redis.start_timeout = Some(Duration::from_secs(20));
    let node = fanfare_server::Node::start(config.clone()).await.unwrap();
    node.stop().await;
    redis.end();
    config.redis.start_timeout = Some(Duration::from_millis(300));
    let reason = fanfare_server::Node::start(config).await.unwrap_err().to_string();
    assert!(reason.contains("redis.start_timeout") && reason.contains("not connected"), "{reason}");
}

async fn a_restart_is_survived_by_connections_and_told_to_subscribers(shards: usize) {
    let Some(mut redis) = RedisServer::start() else { return };
    let mut nodes = two_nodes(&redis, shards).await;
    let epoch = nodes[0].0.publish("news", json!(1)).await["epoch"].clone();
    for (_, client) in &mut nodes {
        assert!(follows_to(client, 0, 1).await);
    }
    redis.run(&[b"SAVE"]);
    redis.end();
    for (node, _) in &nodes {
        becomes(node, 503).await;
        publish_fails(node).await;
    }
    redis.restart();
    for (node, client) in &mut nodes {
        becomes(node, 200).await;
        assert!(!follows_to(client, 1, 2).await, "told, on the connection that it has kept");
        comes_back_unrecovered(client, 1, &epoch).await;
    }
    assert_eq!(publish(&nodes[0].0, 2).await, 2, "what was saved is there");
    for (node, client) in &mut nodes {
        assert!(follows_to(client, 1, 2).await);
        assert_eq!(node.metric("fanfare_gateway_closes_total").await, 0.0);
        assert_eq!(node.metric("fanfare_gateway_insufficient_state_total").await, 1.0);
    }
}

async fn a_frozen_redis_costs_nobody_anything_but_time(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let mut nodes = two_nodes(&redis, shards).await;
    publish(&nodes[0].0, 1).await;
    redis.freeze();
    for (node, _) in &nodes {
        becomes(node, 503).await;
        publish_fails(node).await;
    }
    redis.thaw();
    for (node, _) in &nodes {
        becomes(node, 200).await;
    }
    publish(&nodes[1].0, 2).await;
    for (node, client) in &mut nodes {
        assert!(follows_to(client, 0, 2).await, "without a hole");
        assert_eq!(node.metric("fanfare_gateway_insufficient_state_total").await, 0.0);
    }
}

async fn a_wiped_redis_is_told_to_who_listens_to_a_quiet_channel(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let mut nodes = two_nodes(&redis, shards).await;
    let epoch = nodes[0].0.publish("news", json!(1)).await["epoch"].clone();
    redis.run(&[b"FLUSHALL"]);
    for (_, client) in &mut nodes {
        assert!(!follows_to(client, 0, 2).await);
        comes_back_unrecovered(client, 1, &epoch).await;
    }
    assert_eq!(publish(&nodes[0].0, 2).await, 1);
    for (_, client) in &mut nodes {
        assert!(follows_to(client, 0, 2).await);
    }
}

async fn an_evicting_redis_leaves_nobody_in_doubt(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    redis.run(&[b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-random"]);
    let mut nodes = two_nodes(&redis, shards).await;
    for (node, _) in &nodes {
        node.metric_becomes("fanfare_redis_evicting", 1.0).await;
    }
    publish(&nodes[0].0, 1).await;
    redis.run(&[b"CONFIG", b"SET", b"maxmemory", b"6000000"]);
    let large = "x".repeat(50_000);
    let is_gone = || redis.run(&[b"EXISTS", b"fanfare:meta:news"]).starts_with(":0");
    for number in 0..5_000 {
        // It may also refuse for a moment, when it finds nothing to evict.
        nodes[0].0.api("publish", &json!({"channel": number.to_string(), "data": large})).await;
        if is_gone() {
            break;
        }
    }
    assert!(is_gone(), "it evicts");
    for (node, client) in &mut nodes {
        assert!(!follows_to(client, 0, 2).await);
        assert_eq!(node.metric("fanfare_gateway_closes_total").await, 0.0);
    }
}

/// Redis cuts a pub/sub connection for which more is queued than its limit, without a word to who published (M5). Valkey
/// does so only when the socket takes nothing more, as in `tests/redis/slow.rs` of the broker; here both are also cut
/// by hand.
async fn a_cut_at_the_output_limit_loses_nothing(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let mut nodes = two_nodes(&redis, shards).await;
    redis.run(&[b"CONFIG", b"SET", b"client-output-buffer-limit", b"pubsub 20000 0 0"]);
    let mut offset = 0;
    for round in 1..=5 {
        // One script call with half a megabyte: every subscriber is cut instead of getting it.
        let node = &nodes[0].0;
        let large = (0..10).map(|_| node.publish("news", json!("x".repeat(50_000))));
        futures_util::future::join_all(large).await;
        redis.run(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]);
        for (node, _) in &nodes {
            becomes(node, 200).await;
        }
        let last = publish(&nodes[1].0, round).await;
        for (node, client) in &mut nodes {
            assert!(follows_to(client, offset, round).await, "read again from the stream");
            assert_eq!(node.metric("fanfare_gateway_insufficient_state_total").await, 0.0);
        }
        offset = last;
    }
    for (node, _) in &nodes {
        assert!(node.metric("fanfare_redis_consumers_lost_total").await >= 1.0);
    }
}

async fn forged_messages_mislead_nobody(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let mut nodes = two_nodes(&redis, shards).await;
    let published = nodes[0].0.publish("news", json!(1)).await;
    let epoch = published["epoch"].as_str().unwrap();
    let forge = |offset: u64| {
        let message = [format!("\x01p{offset}:{epoch}:").as_bytes(), b"\x01\x22\x016"].concat();
        redis.run(&[b"PUBLISH", b"fanfare:live:news", &message])
    };
    for offset in [1, 1_000, 1] {
        assert_eq!(forge(offset), ":2\r\n");
    }
    redis.run(&[b"PUBLISH", b"fanfare:live:news", b"\x02of another version"]);
    redis.run(&[b"PUBLISH", b"fanfare:live:news", b"neither ours nor JSON"]);
    publish(&nodes[1].0, 2).await;
    for (node, client) in &mut nodes {
        assert!(follows_to(client, 0, 2).await);
        assert_eq!(node.metric("fanfare_broker_bad_messages_total").await, 2.0);
        assert!(node.metric("fanfare_gateway_repairs_total").await <= 2.0, "not again and again");
        assert_eq!(node.metric("fanfare_gateway_insufficient_state_total").await, 0.0);
    }
}

/// A history that could not be read, since Redis refused just then, passed for one that does not cover the gap, and
/// everybody was told.
async fn a_gap_is_read_when_redis_allows_it_again(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let mut nodes = two_nodes(&redis, shards).await;
    let published = nodes[0].0.publish("news", json!(1)).await;
    let epoch = published["epoch"].as_str().unwrap();
    for (_, client) in &mut nodes {
        assert!(follows_to(client, 0, 1).await);
    }
    redis.run(&[b"ACL", b"SETUSER", b"default", b"-evalsha", b"-eval"]);
    let message = [format!("\x01p3:{epoch}:").as_bytes(), b"\x01\x22\x016"].concat();
    redis.run(&[b"PUBLISH", b"fanfare:live:news", &message]);
    for (node, _) in &nodes {
        let refused =
            || async { (node.metric_row("fanfare_redis_faults_total", "no_permission").await >= 2.0).then_some(()) };
        eventually("the read to be refused twice", refused).await;
    }
    redis.run(&[b"ACL", b"SETUSER", b"default", b"+evalsha", b"+eval"]);
    publish(&nodes[1].0, 2).await;
    for (node, client) in &mut nodes {
        assert!(follows_to(client, 1, 2).await, "nobody is told of a gap that is none");
        assert_eq!(node.metric("fanfare_gateway_insufficient_state_total").await, 0.0);
    }
}

/// As long as row 103 of hostile input wants it: behind a flag, `cargo test -p fanfare-testkit -- --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn a_minute_without_redis_costs_connections_nothing() {
    let Some(mut redis) = RedisServer::start() else { return };
    let mut nodes = two_nodes(&redis, 2).await;
    let epoch = nodes[0].0.publish("news", json!(1)).await["epoch"].clone();
    for (_, client) in &mut nodes {
        assert!(follows_to(client, 0, 1).await);
    }
    redis.end();
    for _ in 0..60 {
        for (node, _) in &nodes {
            publish_fails(node).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    redis.restart();
    let back = std::time::Instant::now();
    for (node, client) in &mut nodes {
        becomes(node, 200).await;
        assert!(!follows_to(client, 1, 2).await, "what was lost is told");
        comes_back_unrecovered(client, 1, &epoch).await;
    }
    println!("ready and told {:?} after Redis was back", back.elapsed());
}
