//! Several nodes on one server.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::conformance::Node;
use fanfare_broker::control::Target;
use fanfare_broker::{Control, Error, Nodes};
use fanfare_protocol::Disconnect;

use fanfare_broker_redis::Options;

use crate::apart::Apart;
use crate::bench::{Bench, PATIENCE, kept, options_of, until};
use crate::server::Server;

async fn two_nodes(server: Arc<Server>) -> [Bench; 2] {
    let one = Bench::on(server.clone()).await;
    let other = Bench::with(server, |options| options.prefix.clone_from(&one.prefix)).await;
    [one, other]
}

fn disconnect() -> Control {
    let target = Target { user: Some("ann".to_owned()), ..Target::default() };
    Control::Disconnect(target, Disconnect::FORCE_DISCONNECT, Vec::new())
}

#[tokio::test]
async fn publications_reach_every_node_in_one_order() {
    let Some(server) = Server::shared() else { return };
    let [one, other] = two_nodes(server).await;
    for node in [&one, &other] {
        node.listen("a").await;
    }
    for text in ["1", "3", "5"] {
        one.publish("a", kept(text)).await;
        other.publish("a", kept(text)).await;
    }
    let seen = one.seen(6).await;
    assert_eq!(seen, other.seen(6).await);
    assert_eq!(seen, ["1:1", "2:1", "3:3", "4:3", "5:5", "6:5"]);
}

#[tokio::test]
async fn commands_and_surveys_reach_every_node() {
    let Some(server) = Server::shared() else { return };
    let [one, other] = two_nodes(server).await;
    until("both are listed", || one.server.run::<usize>(&["ZCARD", &format!("{}:nodes", one.prefix)]) == 2).await;
    one.broker.control(disconnect()).await.unwrap();
    other.broker.control(disconnect()).await.unwrap();
    assert_eq!([one.node.commands(), other.node.commands()], [2, 2]);
    assert_eq!(one.broker.nodes().await.unwrap().len(), 2);
    let channels = other.broker.channels(None).await.unwrap();
    assert_eq!(channels.get(Node::CHANNEL.0), Some(&(2 * Node::CHANNEL.1)));
}

#[tokio::test]
async fn a_node_that_stops_is_not_waited_for() {
    let Some(server) = Server::shared() else { return };
    let [one, other] = two_nodes(server).await;
    assert_eq!(one.broker.nodes().await.unwrap().len(), 2);
    other.broker.stop().await;
    assert_eq!(one.broker.nodes().await.unwrap().len(), 1);
    one.broker.control(disconnect()).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_gone_is_missed_until_its_time_is_over() {
    let Some(server) = Server::shared() else { return };
    let [one, other] = two_nodes(server).await;
    assert_eq!(one.broker.nodes().await.unwrap().len(), 2);
    drop(other);
    assert!(matches!(one.broker.nodes().await, Err(Error::NodesMissing(_))));
    assert!(matches!(one.broker.control(disconnect()).await, Err(Error::NodesMissing(_))));
    assert_eq!(one.node.commands(), 1, "the node does its own part all the same");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(one.broker.nodes().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_frozen_node_is_named() {
    let Some(server) = Server::shared() else { return };
    let one = Bench::on(server.clone()).await;
    let frozen = Apart::start(Options { prefix: one.prefix.clone(), ..options_of(&server) }, "web 2");
    frozen.broker().wait_ready(PATIENCE).await.unwrap();
    until("both are listed", || one.server.run::<usize>(&["ZCARD", &format!("{}:nodes", one.prefix)]) == 2).await;
    assert_eq!(one.broker.nodes().await.unwrap().len(), 2);
    frozen.freeze();
    let missing = Error::NodesMissing(vec![format!("web 2 ({})", Node::UID)]);
    let (nodes, channels, controlled) =
        tokio::join!(one.broker.nodes(), one.broker.channels(None), one.broker.control(disconnect()));
    assert_eq!(nodes.unwrap_err(), missing);
    assert_eq!(channels.unwrap_err(), missing);
    assert_eq!(controlled.unwrap_err(), missing);
    frozen.thaw();
    let whole = || async { one.broker.nodes().await.is_ok_and(|nodes| nodes.len() == 2) };
    while !whole().await {}
}
