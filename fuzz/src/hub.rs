//! The server API on a broker in memory, with a node behind it that nobody is connected to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use fanfare_api::{Api, Authentication, Limits, Metrics, router};
use fanfare_broker::namespaces::{ChannelOptions, Namespaces};
use fanfare_broker::{
    Control, Error, Event, MemoryBroker, NoRoom, NodeReport, NodeSink, PublicationSink, Retention, Room, Whom, memory,
};
use fanfare_protocol::Channel;
use http::Request;
use http_body_util::BodyExt as _;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tower::ServiceExt as _;

/// Requests after which the broker is made anew: what it keeps is bounded, but too much for a fuzz target.
const REQUESTS_MAX: u32 = 4_096;

/// A router, and the runtime that it is asked in.
pub struct Hub {
    runtime: Runtime,
    router: Router,
    requests: u32,
}

struct Nobody;

#[async_trait]
impl PublicationSink for Nobody {
    fn try_reserve(&self, _: &Channel, _: usize) -> Result<Room, NoRoom> {
        Ok(Room::default())
    }

    async fn reserve(&self, _: &Channel, _: usize) -> Result<Room, NoRoom> {
        Ok(Room::default())
    }

    fn deliver(&self, _: Event, _: Room) {}
}

#[async_trait]
impl NodeSink for Nobody {
    async fn apply(&self, _: Control) -> Result<(), Error> {
        Ok(())
    }

    async fn judge_again(&self, _: Whom) -> Result<(), Error> {
        Ok(())
    }

    fn report(&self) -> NodeReport {
        NodeReport {
            uid: "u1".to_owned(),
            name: "n1".to_owned(),
            version: "0".to_owned(),
            clients: 0,
            users: 0,
            subscriptions: 0,
            channels: 0,
            uptime_seconds: 0,
        }
    }

    fn channels(&self, _: Option<&str>) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }
}

/// Channels without a namespace keep a history of ten, those of `plain` nothing.
pub fn namespaces() -> Namespaces {
    let minute = Duration::from_secs(60);
    let retention = Some(Retention { size: 10, ttl: minute, meta_ttl: minute });
    let kept = ChannelOptions { retention, presence: true, ..ChannelOptions::default() };
    Namespaces::new(kept, BTreeMap::from([("plain".to_owned(), ChannelOptions::default())]))
}

fn new_router() -> Router {
    let broker = Arc::new(MemoryBroker::new(memory::Options::default(), Arc::new(Nobody), Arc::new(Nobody)));
    let limits = Limits { body_bytes_max: 65_536, ..Limits::default() };
    let namespaces = Arc::new(namespaces());
    let api = Api { broker, namespaces, auth: Authentication::Open, limits, token_lifetime_max: None };
    // Nobody takes another configuration here: what it began with stays.
    router(watch::channel(Arc::new(api)).1, Metrics::default())
}

impl Default for Hub {
    fn default() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Self { runtime: runtime.expect("a runtime without threads"), router: new_router(), requests: 0 }
    }
}

impl Hub {
    /// Sends a request. Gives status and body of the answer.
    pub fn ask(&mut self, request: Request<Body>) -> (u16, Vec<u8>) {
        self.requests += 1;
        if self.requests.is_multiple_of(REQUESTS_MAX) {
            self.router = new_router();
        }
        let router = self.router.clone();
        self.runtime.block_on(async {
            let response = router.oneshot(request).await.expect("the router does not fail");
            let (parts, body) = response.into_parts();
            let body = body.collect().await.expect("an answer is whole");
            (parts.status.as_u16(), body.to_bytes().to_vec())
        })
    }
}
