//! TLS on the node's own port: sessions live in their shard as they do without.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::sync::Arc;
use std::time::Duration;

use fanfare_testkit::patience::eventually;
use fanfare_testkit::{
    Certificate, Client, Follower, Node, Raw, Setup, client_frame, connect_tls, json, on_1_and_3_shards,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

on_1_and_3_shards!(sessions_over_tls_get_everything_in_order,);

async fn sessions_over_tls_get_everything_in_order(shards: usize) {
    let certificate = Arc::new(Certificate::new());
    let node = Setup::new(shards).tls(&certificate).start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = node.client().connect().await;
        client.subscribe("news").await;
        clients.push(client);
    }
    for number in 1..=200 {
        node.publish("news", json!(number)).await;
    }
    for client in &mut clients {
        for number in 1..=200 {
            assert_eq!(client.expect_publication("news").await["offset"], number);
        }
    }
}
