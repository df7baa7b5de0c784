//! Many that read the same at once: all clients of a channel, after a network or a node has come back.

use std::time::Duration;

use fanfare_broker::{HistoryQuery, Publications as _, Since};
use futures_util::future::join_all;

use crate::bench::{Bench, channel, kept};
use crate::server::Server;

/// Calls of a command that the server has counted.
fn calls(server: &Server, command: &str) -> u64 {
    let stats = server.run::<String>(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn all_clients_of_a_channel_recover_with_a_few_reads() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::with(server, |options| options.command_timeout = Duration::from_secs(5)).await;
    for number in 1..=20 {
        bench.publish("a", kept(&number.to_string())).await;
    }
    let epoch = bench.history("a").await.top.epoch.to_string();
    let before = calls(&bench.server, "xrange");
    let channel = channel("a");
    let recover = async |offset: u64| {
        let since = Some(Since { offset, epoch: epoch.clone() });
        let history = bench.broker.history(&channel, HistoryQuery { limit: 300, since, reverse: false }).await.unwrap();
        let first = history.publications.first().and_then(|first| first.position.as_ref()).map(|first| first.offset);
        assert_eq!(
            (first, history.publications.len(), history.top.offset),
            (Some(offset + 1), 20 - offset as usize, 20)
        );
    };
    join_all((0..1_000).map(|client| recover(10 + client % 10))).await;
    let reads = calls(&bench.server, "xrange") - before;
    assert!((1..=2).contains(&reads), "{reads} reads for a thousand recoveries");
}

#[tokio::test]
async fn defect_who_only_shared_a_read_took_a_place_among_what_is_in_flight() {
    let Some(server) = Server::start() else { return };
    let bench = Bench::with(server, |options| {
        options.command_timeout = Duration::from_secs(5);
        options.in_flight_max = 2;
    })
    .await;
    bench.publish("a", kept("1")).await;
    let channel = channel("a");
    let read = || bench.broker.history(&channel, HistoryQuery { limit: 10, ..HistoryQuery::default() });
    for history in join_all((0..1_000).map(|_| read())).await {
        assert_eq!(history.unwrap().publications.len(), 1);
    }
}
