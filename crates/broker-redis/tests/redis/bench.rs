//! A broker on a server, and short words for what the tests do with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use fanfare_broker::conformance::{Node, Recorder};
use fanfare_broker::{
    Error, Event, History, HistoryQuery, NoRoom, PublicationSink, Publications, Publish, Published, Retention, Room,
    StreamPosition,
};
use fanfare_broker_redis::{Options, RedisBroker, Server as Address};
use fanfare_protocol::{Channel, PayloadLimits, payload};

use crate::server::Server;

/// How long something may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take here what takes five seconds where nothing else runs.
pub(crate) const FOUND_WITHIN: Duration = Duration::from_secs(10);

/// A prefix that nobody else has.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn address(url: &str) -> Address {
    Address::parse(url).unwrap()
}

pub(crate) fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

/// Options with a prefix of their own.
pub(crate) fn options_of(server: &Server) -> Options {
    // The machine may be busy with other tests.
    let command_timeout = Duration::from_secs(5);
    Options { prefix: prefix(), command_timeout, ..Options::new(address(&server.url())) }
}

/// The longest that a sink is held up: longer than a silent server is waited for.
const HELD_UP_MAX: Duration = Duration::from_secs(8);

/// A sink that remembers what it was given and told, and can be held up.
pub(crate) struct Ears {
    recorder: Arc<Recorder>,
    broken: Mutex<Vec<Channel>>,
    held_up: Mutex<bool>,
    goes_on: Condvar,
}

#[async_trait]
impl PublicationSink for Ears {
    fn try_reserve(&self, channel: &Channel, bytes: usize) -> Result<Room, NoRoom> {
        self.recorder.try_reserve(channel, bytes)
    }

    async fn reserve(&self, channel: &Channel, bytes: usize) -> Result<Room, NoRoom> {
        self.recorder.reserve(channel, bytes).await
    }

    fn deliver(&self, event: Event, room: Room) {
        let held_up = self.held_up.lock().unwrap_or_else(PoisonError::into_inner);
        // What was woken last on this thread is taken over by no other: it must not be what ends the wait.
        let waited = self.goes_on.wait_timeout_while(held_up, HELD_UP_MAX, |held_up| *held_up);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.recorder.deliver(event, room);
    }

    fn broken(&self, channel: &Channel) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).push(channel.clone());
    }
}

pub(crate) struct Bench {
    pub(crate) server: Arc<Server>,
    pub(crate) prefix: String,
    pub(crate) broker: Arc<RedisBroker>,
    pub(crate) node: Arc<Node>,
    ears: Arc<Ears>,
}

impl Bench {
    /// A broker on the shared server, if there is one.
    pub(crate) async fn new() -> Option<Self> {
        Some(Self::on(Server::shared()?).await)
    }

    pub(crate) async fn on(server: Arc<Server>) -> Self {
        Self::with(server, |_| {}).await
    }

    pub(crate) async fn with(server: Arc<Server>, change: impl FnOnce(&mut Options)) -> Self {
        let bench = Self::unready(server, change);
        bench.broker.wait_ready(PATIENCE).await.unwrap();
        bench
    }

    /// A broker that was only started.
    pub(crate) fn unready(server: Arc<Server>, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = options_of(&server);
        change(&mut options);
        let ears = Arc::new(Ears {
            recorder: Recorder::new(),
            broken: Mutex::default(),
            held_up: Mutex::default(),
            goes_on: Condvar::new(),
        });
        let node = Arc::new(Node::default());
        let prefix = options.prefix.clone();
        let broker = Arc::new(RedisBroker::start(options, ears.clone(), node.clone()));
        Self { server, prefix, broker, node, ears }
    }

    pub(crate) async fn listen(&self, name: &str) {
        self.broker.subscribe(&channel(name)).await.unwrap();
    }

    pub(crate) async fn try_publish(&self, name: &str, publish: Publish) -> Result<Published, Error> {
        self.broker.publish(&channel(name), publish).await
    }

    pub(crate) async fn publish(&self, name: &str, publish: Publish) -> StreamPosition {
        self.try_publish(name, publish).await.unwrap().position.unwrap()
    }

    pub(crate) async fn history(&self, name: &str) -> History {
        let query = HistoryQuery { limit: 1000, ..HistoryQuery::default() };
        self.broker.history(&channel(name), query).await.unwrap()
    }

    pub(crate) async fn top(&self, name: &str) -> StreamPosition {
        self.broker.history(&channel(name), HistoryQuery::default()).await.unwrap().top
    }

    /// What came, after waiting for `count` events: offset (or `-`) and payload.
    pub(crate) async fn seen(&self, count: usize) -> Vec<String> {
        self.ears.recorder.events(count).await.iter().map(label).collect()
    }

    /// The channels that the sink was told to be broken.
    pub(crate) fn broken(&self) -> Vec<String> {
        let broken = self.ears.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.iter().map(Channel::to_string).collect()
    }

    /// Lets the sink take nothing more, or go on. The consumer stands meanwhile, on a thread that does nothing else.
    pub(crate) fn hold_up(&self, held_up: bool) {
        *self.ears.held_up.lock().unwrap_or_else(PoisonError::into_inner) = held_up;
        self.ears.goes_on.notify_all();
    }

    /// The positions of a channel's publications that came, in their order.
    pub(crate) fn heard(&self, name: &str) -> Vec<StreamPosition> {
        let events = self.ears.recorder.events_so_far();
        let publications = events.iter().filter_map(|event| match event {
            Event::Publication(publication) if publication.channel.as_str() == name => Some(publication),
            _ => None,
        });
        publications.filter_map(|publication| publication.position.clone()).collect()
    }

    /// Waits until whoever listens to a channel has come to its top without a hole, or was told to read it again.
    pub(crate) async fn is_continuous_or_told(&self, name: &str) -> Ending {
        // Right after an outage a command may still fail.
        let mut top = self.broker.history(&channel(name), HistoryQuery::default()).await;
        while top.is_err() {
            top = self.broker.history(&channel(name), HistoryQuery::default()).await;
        }
        let top = top.unwrap().top;
        until(&format!("{name} is continuous or told"), || self.ending(name, &top).is_some()).await;
        self.ending(name, &top).unwrap()
    }

    fn ending(&self, name: &str, top: &StreamPosition) -> Option<Ending> {
        let heard = self.heard(name);
        let follows = |two: &[StreamPosition]| two[0].epoch == two[1].epoch && two[0].offset + 1 == two[1].offset;
        let whole = heard.windows(2).all(follows) && heard.last() == Some(top);
        // A publication of another epoch tells as well: a shard reads the channel again then.
        let begins_anew = heard.windows(2).any(|two| two[0].epoch != two[1].epoch) && heard.last() == Some(top);
        if begins_anew || self.broken().iter().any(|broken| broken == name) {
            return Some(Ending::Told);
        }
        whole.then_some(Ending::Continuous)
    }

    /// A metric's value, all its labels together, or those of one label.
    pub(crate) fn metric(&self, name: &str, label: Option<&str>) -> f64 {
        let families: Vec<_> = self.broker.collectors().iter().flat_map(|collector| collector.collect()).collect();
        let of_label = |metric: &&prometheus::proto::Metric| {
            label.is_none_or(|label| metric.get_label().iter().any(|pair| pair.value() == label))
        };
        let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        metrics.filter(of_label).map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }
}

/// What became of a channel's listener in an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Continuous,
    Told,
}

fn label(event: &Event) -> String {
    match event {
        Event::Publication(publication) => {
            let data = String::from_utf8_lossy(&publication.data);
            let offset =
                publication.position.as_ref().map_or_else(|| "-".to_owned(), |position| position.offset.to_string());
            format!("{offset}:{data}")
        }
        Event::Join(_, info) => format!("+{}", info.client),
        Event::Leave(_, info) => format!("-{}", info.client),
    }
}

pub(crate) const RETENTION: Retention =
    Retention { size: 100, ttl: Duration::from_secs(60), meta_ttl: Duration::from_secs(600) };

pub(crate) fn kept(text: &str) -> Publish {
    Publish { retention: Some(RETENTION), ..live(text) }
}

pub(crate) fn live(text: &str) -> Publish {
    let json = payload::inspect(text.as_bytes(), &PayloadLimits::default()) == Ok(true);
    Publish { data: Bytes::copy_from_slice(text.as_bytes()), json, ..Publish::default() }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
