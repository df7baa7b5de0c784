//! What `/metrics` shows: every family from the start, label values from closed sets (I12).

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::collections::BTreeSet;

use fanfare_testkit::{Node, Setup, json, on_1_and_3_shards, token};

on_1_and_3_shards!(every_family_is_there_from_the_start, labels_come_from_closed_sets, what_is_counted);

const FAMILIES: [&str; 44] = [
    "fanfare_gateway_sessions",
    "fanfare_gateway_subscriptions",
    "fanfare_gateway_shard_channels",
    "fanfare_gateway_outbox_bytes",
    "fanfare_gateway_presence_changes_waiting",
    "fanfare_gateway_sessions_opened_total",
    "fanfare_gateway_publications_total",
    "fanfare_gateway_deliveries_total",
    "fanfare_gateway_received_bytes_total",
    "fanfare_gateway_sent_bytes_total",
    "fanfare_gateway_commands_total",
    "fanfare_gateway_errors_total",
    "fanfare_gateway_bad_requests_total",
    "fanfare_gateway_denials_total",
    "fanfare_gateway_gaps_total",
    "fanfare_gateway_repairs_total",
    "fanfare_gateway_insufficient_state_total",
    "fanfare_gateway_outbox_overflows_total",
    "fanfare_gateway_sockets_cut_total",
    "fanfare_gateway_panics_total",
    "fanfare_gateway_closes_total",
    "fanfare_gateway_violations_total",
    "fanfare_gateway_recoveries_total",
    "fanfare_gateway_ring_entries",
    "fanfare_gateway_ring_overflows_total",
    "fanfare_gateway_publish_to_write_seconds",
    "fanfare_gateway_shard_loop_lag_seconds",
    "fanfare_http_accept_errors_total",
    "fanfare_http_refused_total",
    "fanfare_http_handshakes_refused_total",
    "fanfare_http_connections",
    "fanfare_http_turned_away_total",
    "fanfare_gateway_refused_total",
    "fanfare_gateway_shed_total",
    "fanfare_gateway_publications_dropped_total",
    "fanfare_gateway_shard_heartbeat_age_seconds",
    "fanfare_memory_budget_bytes",
    "fanfare_memory_accounted_bytes",
    "fanfare_memory_resident_bytes",
    "fanfare_memory_unaccounted_bytes",
    "fanfare_memory_level",
    "fanfare_log_lines_dropped_total",
    "fanfare_tls_errors_total",
    "fanfare_tls_handshakes_total",
];

async fn text(node: &Node) -> String {
    let answer = node.request("GET /metrics", &[], "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    answer.body
}

async fn every_family_is_there_from_the_start(shards: usize) {
    let node = Setup::new(shards).start().await;
    let text = text(&node).await;
    for family in FAMILIES {
        assert!(text.contains(&format!("# TYPE {family} ")), "{family} is missing");
        assert!(text.contains(&format!("# HELP {family} ")), "{family} has no help");
        assert!(text.lines().any(|line| line.starts_with(family)), "{family} has no row");
    }
}

/// The labels of all rows, without the numbers.
fn rows(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| row.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

async fn labels_come_from_closed_sets(shards: usize) {
    let node = Setup::new(shards).namespace("teamspace", |_| {}).start().await;
    let before = rows(&text(&node).await);
    let token = token::with_claims(&json!({"sub": "some-user", "channels": ["teamspace:first"]}));
    let mut client = node.client().token(&token).connect().await;
    client.subscribe("some-channel").await;
    client.call("publish", json!({"channel": "some-channel", "data": "some-payload"})).await;
    client.refused("subscribe", json!({"channel": "some-channel"})).await;
    client.refused("subscribe", json!({"channel": "some-namespace:x"})).await;
    node.publish("some-channel", json!(1)).await;
    node.request("POST /api/some-method", &[("X-API-Key", "some-key")], "{}").await;
    node.request("GET /some-path", &[], "").await;
    let codes = [3333, 4444];
    for code in codes {
        let mut victim = node.client().user("some-user").connect().await;
        node.call("disconnect", json!({"client": victim.id, "disconnect": {"code": code, "reason": "some-reason"}}))
            .await;
        victim.expect_close().await;
    }
    let text = text(&node).await;
    assert!(!text.contains("some-"), "{text}");
    assert!(!text.contains("teamspace"), "{text}");
    let new: Vec<_> = rows(&text).difference(&before).cloned().collect();
    assert!(new.iter().all(|row| row.starts_with("fanfare_api_")), "rows that came with use: {new:?}");
}

async fn what_is_counted(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = node.client().connect().await;
        client.subscribe("news").await;
        clients.push(client);
    }
    for number in 0..10 {
        node.publish("news", json!(number)).await;
    }
    for client in &mut clients {
        for _ in 0..10 {
            client.expect_publication("news").await;
        }
    }
    let gateway = |name: &str| format!("fanfare_gateway_{name}");
    for (name, expected) in [
        ("sessions", 4.0),
        ("subscriptions", 4.0),
        ("shard_channels", shards as f64),
        ("sessions_opened_total", 4.0),
        ("publications_total", 10.0 * shards as f64),
        ("deliveries_total", 40.0),
        ("commands_total", 8.0),
        ("outbox_bytes", 0.0),
        ("ring_entries", 0.0),
    ] {
        node.metric_becomes(&gateway(name), expected).await;
    }
    assert!(node.metric(&gateway("received_bytes_total")).await > 200.0);
    assert!(node.metric(&gateway("sent_bytes_total")).await > 2_000.0);
    assert!(node.metric(&gateway("publish_to_write_seconds_count")).await > 0.0);
    for client in clients {
        client.close().await;
    }
    node.metric_becomes(&gateway("sessions"), 0.0).await;
    assert_eq!(node.closes(1000).await + node.closes(3000).await, 4.0);
}
