//! The conformance suite. Where no server is installed, a broker in memory stands in. Time passes by what is left of every key's lifetime, and by the scores of presence.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fanfare_broker::conformance::Harness;
use fanfare_broker::{Broker, MemoryBroker, NodeSink, PublicationSink, memory};
use fanfare_broker_redis::{Options, RedisBroker};

use crate::bench::{PATIENCE, address, prefix};
use crate::server::Server;

struct Suite {
    server: Option<Arc<Server>>,
    prefix: String,
}

impl Suite {
    fn new() -> Self {
        Self { server: Server::shared(), prefix: prefix() }
    }
}

/// Stands in where no server is installed.
pub(crate) fn in_memory(sink: Arc<dyn PublicationSink>, node: Arc<dyn NodeSink>) -> Arc<dyn Broker> {
    Arc::new(MemoryBroker::new(memory::Options::default(), sink, node))
}

/// A broker at a URL, ready.
pub(crate) async fn at(
    url: &str,
    prefix: &str,
    sink: Arc<dyn PublicationSink>,
    node: Arc<dyn NodeSink>,
) -> Arc<dyn Broker> {
    let mut options = Options::new(address(url));
    prefix.clone_into(&mut options.prefix);
    options.command_timeout = Duration::from_secs(5);
    let broker = RedisBroker::start(options, sink, node);
    broker.wait_ready(PATIENCE).await.unwrap();
    Arc::new(broker)
}

/// Lets time pass for everything under a prefix.
pub(crate) fn age(server: &Server, prefix: &str, by: Duration) {
    let millis = i64::try_from(by.as_millis()).unwrap();
    for key in server.run::<Vec<String>>(&["KEYS", &format!("{prefix}:*")]) {
        if key.contains(":expiry:") {
            age_members(server, &key, millis);
        }
        age_key(server, &key, millis);
    }
}

fn age_key(server: &Server, key: &str, millis: i64) {
    let left: i64 = server.run(&["PTTL", key]);
    match left - millis {
        _ if left < 0 => {}
        rest if rest <= 0 => server.run(&["DEL", key]),
        rest => server.run(&["PEXPIRE", key, &rest.to_string()]),
    }
}

fn age_members(server: &Server, key: &str, millis: i64) {
    for member in server.run::<Vec<String>>(&["ZRANGE", key, "0", "-1"]) {
        let _: f64 = server.run(&["ZINCRBY", key, &(-millis).to_string(), &member]);
    }
}

#[async_trait]
impl Harness for Suite {
    async fn broker(&self, sink: Arc<dyn PublicationSink>, node: Arc<dyn NodeSink>) -> Arc<dyn Broker> {
        let Some(server) = &self.server else {
            return in_memory(sink, node);
        };
        at(&server.url(), &self.prefix, sink, node).await
    }

    async fn advance(&self, by: Duration) -> bool {
        let Some(server) = &self.server else { return false };
        age(server, &self.prefix, by);
        true
    }

    fn waits_for_room(&self) -> bool {
        false
    }
}

fanfare_broker::conformance!(Suite::new(); #[tokio::test]);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_on_several_threads() {
    fanfare_broker::conformance::offsets_are_contiguous_under_concurrent_publishers(&Suite::new()).await;
    fanfare_broker::conformance::concurrent_publishes_with_one_key_publish_once(&Suite::new()).await;
}
