//! A router with a memory broker behind it, and sinks that record what reaches the node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use fanfare_api::{Api, Authentication, Limits, Metrics, router_with_metrics};
use fanfare_broker::namespaces::{ChannelOptions, Namespaces};
use fanfare_broker::{
    Control, Error, Event, MemoryBroker, NoRoom, NodeReport, NodeSink, PublicationSink, Retention, Room, Whom, memory,
};
use fanfare_protocol::Channel;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// What reached the node.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) controls: Mutex<Vec<Control>>,
    /// Whose sessions it was told to judge again.
    pub(crate) judged: Mutex<Vec<Whom>>,
    /// What the node answers to a command.
    pub(crate) refusal: Mutex<Option<Error>>,
    /// Whether the rings are full.
    pub(crate) full: Mutex<bool>,
}

#[async_trait]
impl PublicationSink for Recorder {
    fn try_reserve(&self, _: &Channel, _: usize) -> Result<Room, NoRoom> {
        if *self.full.lock().expect("no test panics under it") { Err(NoRoom) } else { Ok(Room::default()) }
    }

    async fn reserve(&self, channel: &Channel, bytes: usize) -> Result<Room, NoRoom> {
        self.try_reserve(channel, bytes)
    }

    fn deliver(&self, event: Event, _: Room) {
        self.events.lock().expect("no test panics under it").push(event);
    }
}

#[async_trait]
impl NodeSink for Recorder {
    async fn apply(&self, control: Control) -> Result<(), Error> {
        self.controls.lock().expect("no test panics under it").push(control);
        self.refusal.lock().expect("no test panics under it").clone().map_or(Ok(()), Err)
    }

    async fn judge_again(&self, whom: Whom) -> Result<(), Error> {
        self.judged.lock().expect("no test panics under it").push(whom);
        self.refusal.lock().expect("no test panics under it").clone().map_or(Ok(()), Err)
    }

    fn report(&self) -> NodeReport {
        NodeReport {
            uid: "u1".to_owned(),
            name: "n\"1".to_owned(),
            version: "0.1.0".to_owned(),
            clients: 4,
            users: 3,
            subscriptions: 2,
            channels: 1,
            uptime_seconds: 9,
        }
    }

    fn channels(&self, pattern: Option<&str>) -> BTreeMap<String, u64> {
        let all = BTreeMap::from([("news".to_owned(), 2), ("ns:x".to_owned(), 1)]);
        all.into_iter().filter(|(name, _)| pattern.is_none_or(|pattern| pattern == name)).collect()
    }
}

/// A router and what is behind it.
pub(crate) struct Hub {
    router: Router,
    pub(crate) broker: Arc<MemoryBroker>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) metrics: Metrics,
}

/// A reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Hub {
    /// Open, with default limits.
    pub(crate) fn open() -> Self {
        Self::new(Authentication::Open, Limits::default(), memory::Options::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self::new(Authentication::Open, limits, memory::Options::default())
    }

    /// Open, for tokens that live so long at most.
    pub(crate) fn with_token_lifetime(max: Duration) -> Self {
        Self::of(Authentication::Open, Limits::default(), memory::Options::default(), Some(max))
    }

    /// Channels without a namespace keep history and presence; those of `plain` keep nothing.
    pub(crate) fn new(auth: Authentication, limits: Limits, options: memory::Options) -> Self {
        Self::of(auth, limits, options, None)
    }

    fn of(
        auth: Authentication,
        limits: Limits,
        options: memory::Options,
        token_lifetime_max: Option<Duration>,
    ) -> Self {
        let recorder = Arc::new(Recorder::default());
        let broker = Arc::new(MemoryBroker::new(options, recorder.clone(), recorder.clone()));
        let namespaces = Arc::new(namespaces());
        let metrics = Metrics::default();
        let api = Api { broker: broker.clone(), namespaces, auth, limits, token_lifetime_max };
        Self { router: router_with_metrics(api, metrics.clone()), broker, recorder, metrics }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.expect("the router does not fail");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a reply is whole").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("a reply is UTF-8");
        Reply { status: parts.status, headers: parts.headers, text }
    }

    /// `POST /api/METHOD` with JSON text.
    pub(crate) async fn post(&self, method: &str, body: impl Into<Body>) -> Reply {
        self.send(post(&format!("/api/{method}"), body)).await
    }

    /// The result of a call that succeeds.
    #[track_caller]
    pub(crate) fn result(&self, method: &'static str, request: Value) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let reply = self.post(method, request.to_string()).await;
            assert_eq!(reply.status, 200, "{caller}: {}", reply.text);
            reply.json().get("result").unwrap_or_else(|| panic!("{caller}: {}", reply.text)).clone()
        }
    }

    /// Code and message of a call that gets an error of the API: HTTP 200, and the code in the body.
    #[track_caller]
    pub(crate) fn error(&self, method: &'static str, request: Value) -> impl Future<Output = (u64, String)> {
        let caller = std::panic::Location::caller();
        async move {
            let reply = self.post(method, request.to_string()).await;
            assert_eq!(reply.status, 200, "{caller}: {}", reply.text);
            reply.error()
        }
    }

    /// Asserts that a call gets this code and a message with these words.
    #[track_caller]
    pub(crate) fn refused(
        &self,
        method: &'static str,
        request: Value,
        code: u64,
        mentions: &'static str,
    ) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        let shown = request.to_string();
        let error = self.error(method, request);
        async move {
            let (got, message) = error.await;
            assert_eq!(got, code, "{caller}: {shown:.200}: {message}");
            assert!(message.contains(mentions), "{caller}: {message:?} lacks {mentions:?}");
        }
    }

    /// Payloads that reached the node.
    pub(crate) fn delivered(&self) -> Vec<String> {
        let events = self.recorder.events.lock().expect("no test panics under it");
        let payloads = events.iter().filter_map(|event| match event {
            Event::Publication(publication) => Some(String::from_utf8_lossy(&publication.data).into_owned()),
            _ => None,
        });
        payloads.collect()
    }

    /// The commands that reached the node, and forgets them.
    pub(crate) fn controls(&self) -> Vec<Control> {
        std::mem::take(&mut *self.recorder.controls.lock().expect("no test panics under it"))
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Code and message in the body.
    #[track_caller]
    pub(crate) fn error(&self) -> (u64, String) {
        let body = self.json();
        let code = body["error"]["code"].as_u64().unwrap_or_else(|| panic!("no error: {body}"));
        (code, body["error"]["message"].as_str().expect("a message").to_owned())
    }

    /// Asserts status, code and words of the message; every error is JSON.
    #[track_caller]
    pub(crate) fn check(&self, status: u16, code: u64, mentions: &str) {
        let (got, message) = self.error();
        assert_eq!((self.status.as_u16(), got), (status, code), "{message}");
        assert!(message.contains(mentions), "{message:?} lacks {mentions:?}");
        assert_eq!(self.headers["content-type"], "application/json");
    }
}

pub(crate) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).body(body.into()).expect("a valid request")
}

pub(crate) fn channel(name: &str) -> Channel {
    Channel::parse(name).expect("a valid name")
}

/// A publish with data.
pub(crate) fn publication(channel: &str, data: impl Into<Value>) -> Value {
    json!({"channel": channel, "data": data.into()})
}

fn namespaces() -> Namespaces {
    let retention = Retention { size: 10, ttl: Duration::from_secs(300), meta_ttl: Duration::from_secs(3600) };
    let full = ChannelOptions { retention: Some(retention), presence: true, ..ChannelOptions::default() };
    Namespaces::new(full, BTreeMap::from([("plain".to_owned(), ChannelOptions::default())]))
}
