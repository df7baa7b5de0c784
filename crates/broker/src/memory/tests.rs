//! The conformance suite against the memory broker, and what only this broker promises: budgets, lives of
//! epochs, sweeping.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fanfare_protocol::Channel;
use prometheus::Registry;
use tokio::time::advance;

use super::ledger::Limit;
use super::limits::{CHANNEL_BYTES_MAX, PUBLICATION_OVERHEAD_BYTES, SWEEP_BATCH, VERSION_EPOCH_OVERHEAD_BYTES};
use super::{MemoryBroker, Options, now};
use crate::conformance::{self, Harness, Node, Recorder};
use crate::{
    Broker, Error, Event, HistoryQuery, NoRoom, NodeSink, Outcome, Presence, PublicationSink, Publications, Publish,
    Published, Retention, Room, StreamPosition, Version,
};

struct Memory;

#[async_trait]
impl Harness for Memory {
    async fn broker(&self, sink: Arc<dyn PublicationSink>, node: Arc<dyn NodeSink>) -> Arc<dyn Broker> {
        Arc::new(MemoryBroker::new(Options::default(), sink, node))
    }

    async fn advance(&self, by: Duration) -> bool {
        advance(by).await;
        true
    }

    fn waits_for_room(&self) -> bool {
        true
    }
}

mod suite {
    use super::Memory;

    crate::conformance!(Memory; #[tokio::test(start_paused = true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_on_several_threads() {
    for _ in 0..10 {
        conformance::offsets_are_contiguous_under_concurrent_publishers(&Memory).await;
        conformance::concurrent_publishes_with_one_key_publish_once(&Memory).await;
    }
}

/// A broker, and short words for what the tests do with it.
struct Bench {
    broker: MemoryBroker,
    recorder: Arc<Recorder>,
}

impl Bench {
    fn new(options: Options) -> Self {
        let recorder = Recorder::new();
        Self { broker: MemoryBroker::new(options, recorder.clone(), Arc::new(Node::default())), recorder }
    }

    async fn publish(&self, name: &str, publish: Publish) -> Result<Published, Error> {
        self.broker.publish(&channel(name), publish).await
    }

    async fn top(&self, name: &str) -> StreamPosition {
        self.broker.history(&channel(name), HistoryQuery::default()).await.unwrap().top
    }

    fn used(&self, limit: Limit) -> usize {
        self.broker.state.ledger.used(limit)
    }

    fn refused(&self, limit: Limit) -> u64 {
        self.broker.state.ledger.counters.refused(limit)
    }

    fn sweep(&self) {
        self.broker.sweep(now());
    }
}

fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

fn kept(bytes: usize, size: usize) -> Publish {
    let retention = Retention { size, ttl: Duration::from_secs(10), meta_ttl: Duration::from_secs(100) };
    Publish { data: Bytes::from(vec![b'x'; bytes]), retention: Some(retention), ..Publish::default() }
}

fn keyed(key: &str) -> Publish {
    Publish { idempotency_key: Some(key.to_owned()), ..Publish::default() }
}

fn budget(limit: Limit) -> Error {
    Error::Budget { limit: limit.key() }
}

const ONE: usize = PUBLICATION_OVERHEAD_BYTES + 100;

#[tokio::test(start_paused = true)]
async fn the_byte_budget_refuses_and_changes_nothing() {
    let bench = Bench::new(Options { history_bytes_max: 2 * ONE, ..Options::default() });
    bench.publish("a", kept(100, 10)).await.unwrap();
    bench.publish("b", kept(100, 10)).await.unwrap();
    let before = bench.top("a").await;
    for name in ["a", "new"] {
        let keyed = Publish { idempotency_key: Some("k".to_owned()), ..kept(0, 10) };
        assert_eq!(bench.publish(name, keyed).await, Err(budget(Limit::HistoryBytes)));
    }
    assert_eq!(bench.top("a").await, before);
    assert_eq!(bench.top("new").await.offset, 0);
    assert_eq!((bench.used(Limit::Channels), bench.used(Limit::IdempotencyKeys)), (2, 0));
    assert_eq!((bench.used(Limit::HistoryBytes), bench.refused(Limit::HistoryBytes)), (2 * ONE, 2));
    assert_eq!(bench.recorder.events_so_far().len(), 2);
    assert!(bench.recorder.is_free());
}

#[tokio::test(start_paused = true)]
async fn a_full_byte_budget_still_takes_what_replaces_as_much() {
    let bench = Bench::new(Options { history_bytes_max: ONE, ..Options::default() });
    bench.publish("a", kept(100, 1)).await.unwrap();
    assert_eq!(bench.publish("a", kept(101, 1)).await, Err(budget(Limit::HistoryBytes)));
    assert_eq!(bench.publish("a", kept(100, 1)).await.unwrap().position.unwrap().offset, 2);
    assert_eq!(bench.publish("a", Publish::default()).await.unwrap().outcome, Outcome::Accepted);
    assert_eq!(bench.used(Limit::HistoryBytes), ONE);
}

#[tokio::test(start_paused = true)]
async fn bytes_come_back_by_expiry_removal_and_trimming() {
    let bench = Bench::new(Options::default());
    for _ in 0..3 {
        bench.publish("a", kept(100, 10)).await.unwrap();
    }
    assert_eq!(bench.used(Limit::HistoryBytes), 3 * ONE);
    bench.publish("a", kept(100, 2)).await.unwrap();
    assert_eq!(bench.used(Limit::HistoryBytes), 2 * ONE);
    bench.broker.history_remove(&channel("a")).await.unwrap();
    assert_eq!(bench.used(Limit::HistoryBytes), 0);
    bench.publish("a", kept(100, 2)).await.unwrap();
    advance(Duration::from_secs(10)).await;
    bench.sweep();
    assert_eq!((bench.used(Limit::HistoryBytes), bench.used(Limit::Channels)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_expired_in_a_channel_makes_way_for_its_next_publication_unswept() {
    let bench = Bench::new(Options { history_bytes_max: ONE, ..Options::default() });
    bench.publish("a", kept(100, 10)).await.unwrap();
    assert!(bench.publish("a", kept(100, 10)).await.is_err());
    advance(Duration::from_secs(10)).await;
    assert_eq!(bench.publish("a", kept(100, 10)).await.unwrap().position.unwrap().offset, 2);
}

#[tokio::test(start_paused = true)]
async fn version_epochs_are_paid_for_and_given_back() {
    let bench = Bench::new(Options::default());
    let versioned =
        |number, epoch: &str| Publish { version: Some(Version { number, epoch: epoch.to_owned() }), ..kept(100, 1) };
    bench.publish("a", versioned(1, "x")).await.unwrap();
    let one = ONE + VERSION_EPOCH_OVERHEAD_BYTES + 1;
    assert_eq!(bench.used(Limit::HistoryBytes), one);
    bench.publish("a", versioned(2, "x")).await.unwrap();
    assert_eq!(bench.used(Limit::HistoryBytes), one);
    bench.publish("a", versioned(1, "yy")).await.unwrap();
    assert_eq!(bench.used(Limit::HistoryBytes), one + VERSION_EPOCH_OVERHEAD_BYTES + 2);
    advance(Duration::from_secs(100)).await;
    bench.sweep();
    assert_eq!(bench.used(Limit::HistoryBytes), 0);
}

#[tokio::test(start_paused = true)]
async fn the_channel_limit_refuses_new_streams_only() {
    let bench = Bench::new(Options { channels_max: 1, ..Options::default() });
    bench.publish("a", kept(1, 10)).await.unwrap();
    assert_eq!(bench.publish("b", kept(1, 10)).await, Err(budget(Limit::Channels)));
    assert_eq!(bench.refused(Limit::Channels), 1);
    bench.publish("a", kept(1, 10)).await.unwrap();
    bench.publish("b", Publish::default()).await.unwrap();
    bench.publish("b", keyed("k")).await.unwrap();
    assert_eq!(bench.top("b").await.offset, 0);
    advance(Duration::from_secs(100)).await;
    bench.sweep();
    bench.publish("b", kept(1, 10)).await.unwrap();
    assert_eq!(bench.used(Limit::Channels), 1);
}

#[tokio::test(start_paused = true)]
async fn the_key_limit_refuses_new_keys_only() {
    let bench = Bench::new(Options { idempotency_keys_max: 1, ..Options::default() });
    bench.publish("a", keyed("first")).await.unwrap();
    assert_eq!(bench.publish("a", keyed("second")).await, Err(budget(Limit::IdempotencyKeys)));
    let refused = Publish { idempotency_key: Some("second".to_owned()), ..kept(1, 1) };
    assert_eq!(bench.publish("a", refused).await, Err(budget(Limit::IdempotencyKeys)));
    assert_eq!((bench.refused(Limit::IdempotencyKeys), bench.used(Limit::Channels)), (2, 0));
    assert_eq!(bench.publish("a", keyed("first")).await.unwrap().outcome, Outcome::Repeated);
    bench.publish("a", Publish::default()).await.unwrap();
    advance(Duration::from_secs(300)).await;
    bench.sweep();
    assert_eq!(bench.used(Limit::IdempotencyKeys), 0);
    assert_eq!(bench.publish("a", keyed("second")).await.unwrap().outcome, Outcome::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_repetition_is_answered_without_room() {
    let bench = Bench::new(Options::default());
    bench.publish("a", keyed("k")).await.unwrap();
    bench.recorder.fill();
    assert_eq!(bench.publish("a", keyed("k")).await.unwrap().outcome, Outcome::Repeated);
    assert!(matches!(bench.publish("a", keyed("other")).await, Err(Error::Overloaded(_))));
}

#[tokio::test(start_paused = true)]
async fn the_same_key_may_wait_for_room_twice_and_publishes_once() {
    let bench = Bench::new(Options::default());
    bench.recorder.fill();
    let free = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bench.recorder.drain();
    };
    let (first, second, ()) = tokio::join!(bench.publish("a", keyed("k")), bench.publish("a", keyed("k")), free);
    let outcomes = [first.unwrap().outcome, second.unwrap().outcome];
    assert!(outcomes.contains(&Outcome::Accepted) && outcomes.contains(&Outcome::Repeated), "{outcomes:?}");
    assert_eq!(bench.recorder.events_so_far().len(), 1);
    assert!(bench.recorder.is_free());
}

#[tokio::test(start_paused = true)]
async fn reading_a_channel_without_state_costs_nothing() {
    let bench = Bench::new(Options::default());
    for number in 0..100 {
        bench.top(&format!("silent:{number}")).await;
        bench.broker.subscribe(&channel(&format!("silent:{number}"))).await.unwrap();
        bench.publish(&format!("silent:{number}"), Publish::default()).await.unwrap();
        bench.broker.history_remove(&channel(&format!("silent:{number}"))).await.unwrap();
    }
    assert_eq!(bench.used(Limit::Channels), 0);
    assert_eq!(bench.used(Limit::HistoryBytes), 0);
}

/// Many channels of every stripe live and expire; whoever listens to a silent one keeps a valid position.
#[tokio::test(start_paused = true)]
async fn the_end_of_some_channels_is_no_gap_in_silent_ones() {
    let bench = Bench::new(Options::default());
    let silent: Vec<String> = (0..200).map(|number| format!("silent:{number}")).collect();
    let mut before = Vec::new();
    for name in &silent {
        before.push(bench.top(name).await);
    }
    for number in 0..500 {
        bench.publish(&format!("brief:{number}"), kept(1, 1)).await.unwrap();
    }
    advance(Duration::from_secs(100)).await;
    bench.sweep();
    assert_eq!(bench.used(Limit::Channels), 0);
    for (name, before) in silent.iter().zip(before) {
        assert_eq!(bench.top(name).await, before);
        let first = bench.publish(name, kept(1, 1)).await.unwrap().position.unwrap();
        assert_eq!(first, StreamPosition { offset: 1, epoch: before.epoch });
    }
}

/// Lives follow one another; no position of one is valid in another, whether it was seen before or after the
/// first publication.
#[tokio::test(start_paused = true)]
async fn every_life_of_a_channel_has_an_epoch_of_its_own() {
    let bench = Bench::new(Options::default());
    let mut seen = Vec::new();
    for _ in 0..10 {
        let silent = bench.top("a").await;
        assert!(!seen.contains(&silent.epoch));
        let first = bench.publish("a", kept(1, 1)).await.unwrap().position.unwrap();
        assert_eq!((first.offset, &first.epoch), (1, &silent.epoch));
        seen.push(silent.epoch);
        advance(Duration::from_secs(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_broker_has_other_epochs() {
    let (one, other) = (Bench::new(Options::default()), Bench::new(Options::default()));
    assert_ne!(one.top("a").await.epoch, other.top("a").await.epoch);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_retention_holds_for_what_is_there_already() {
    let bench = Bench::new(Options::default());
    bench.publish("a", kept(1, 10)).await.unwrap();
    let mut brief = kept(1, 10);
    brief.retention = Some(Retention { size: 10, ttl: Duration::from_secs(2), meta_ttl: Duration::from_secs(4) });
    bench.publish("a", brief).await.unwrap();
    advance(Duration::from_secs(2)).await;
    bench.sweep();
    assert_eq!(bench.used(Limit::HistoryBytes), 0);
    advance(Duration::from_secs(2)).await;
    bench.sweep();
    assert_eq!(bench.used(Limit::Channels), 0);
}

#[tokio::test(start_paused = true)]
async fn lifetimes_without_end_and_without_length_are_taken() {
    let bench = Bench::new(Options::default());
    let lasting = |lifetime| Retention { size: 1, ttl: lifetime, meta_ttl: lifetime };
    let forever = Publish { retention: Some(lasting(Duration::MAX)), ..Publish::default() };
    bench.publish("a", forever).await.unwrap();
    let at_once = Publish { retention: Some(lasting(Duration::ZERO)), ..Publish::default() };
    bench.publish("b", at_once).await.unwrap();
    let info = Arc::new(fanfare_protocol::ClientInfo::default());
    bench.broker.presence_add(&channel("a"), info, Duration::MAX).await.unwrap();
    bench.sweep();
    assert_eq!(bench.used(Limit::Channels), 1);
    assert_eq!(bench.top("a").await.offset, 1);
    assert_eq!(bench.top("b").await.offset, 0);
}

#[tokio::test(start_paused = true)]
async fn history_of_size_zero_is_no_history() {
    let bench = Bench::new(Options::default());
    assert_eq!(bench.publish("a", kept(1, 0)).await.unwrap().position, None);
    assert_eq!(bench.used(Limit::Channels), 0);
}

/// The stripe is locked for one portion at a time, however much is due.
#[tokio::test(start_paused = true)]
async fn sweeping_takes_bounded_portions() {
    let bench = Bench::new(Options::default());
    let state = &bench.broker.state;
    let mut same_stripe = (0..).map(|number| format!("c:{number}")).filter(|name| state.index(&channel(name)) == 0);
    for name in same_stripe.by_ref().take(SWEEP_BATCH + 10) {
        bench.publish(&name, kept(1, 1)).await.unwrap();
    }
    advance(Duration::from_secs(100)).await;
    assert!(state.sweep_stripe(0, now()));
    assert_eq!(bench.used(Limit::Channels), 10);
    assert!(!state.sweep_stripe(0, now()));
    assert_eq!(bench.used(Limit::Channels), 0);
}

#[tokio::test(start_paused = true)]
async fn the_sweeper_frees_on_its_own_and_ends_with_the_broker() {
    let bench = Bench::new(Options::default());
    let mut sweeper = Box::pin(bench.broker.run_sweeper());
    bench.publish("a", kept(1, 1)).await.unwrap();
    bench.publish("a", keyed("k")).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(400), &mut sweeper).await;
    assert!(waited.is_err());
    let used = [Limit::HistoryBytes, Limit::Channels, Limit::IdempotencyKeys].map(|limit| bench.used(limit));
    assert_eq!(used, [0, 0, 0]);
    drop(bench);
    tokio::time::timeout(Duration::from_secs(2), sweeper).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_holds_no_larger_buffer_alive() {
    let bench = Bench::new(Options::default());
    let body = Bytes::from(vec![b'x'; 4096]);
    let slice = Publish { data: body.slice(..10), ..kept(0, 1) };
    bench.publish("a", slice).await.unwrap();
    assert!(body.is_unique());
}

/// A sink that panics once, as a defect in a shard's code would.
struct Panics(std::sync::atomic::AtomicBool);

#[async_trait]
impl PublicationSink for Panics {
    fn try_reserve(&self, _channel: &Channel, _bytes: usize) -> Result<Room, NoRoom> {
        Ok(Room::default())
    }

    async fn reserve(&self, _channel: &Channel, _bytes: usize) -> Result<Room, NoRoom> {
        Ok(Room::default())
    }

    fn deliver(&self, _event: Event, _room: Room) {
        assert!(self.0.swap(true, std::sync::atomic::Ordering::Relaxed), "the first delivery panics");
    }
}

#[tokio::test]
async fn a_panic_in_the_sink_leaves_the_channel_usable() {
    let broker = MemoryBroker::new(Options::default(), Arc::new(Panics(false.into())), Arc::new(Node::default()));
    let broker = Arc::new(broker);
    let publisher = broker.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { publisher.publish(&channel("a"), kept(1, 10)).await });
    assert!(tasks.join_next().await.unwrap().unwrap_err().is_panic());
    let second = broker.publish(&channel("a"), kept(1, 10)).await.unwrap();
    assert_eq!(second.position.unwrap().offset, 2);
}

#[tokio::test(start_paused = true)]
async fn the_metrics_say_what_happened() {
    let bench = Bench::new(Options { channels_max: 1, ..Options::default() });
    let registry = Registry::new();
    bench.broker.collectors().into_iter().for_each(|collector| registry.register(collector).unwrap());
    bench.publish("a", kept(100, 10)).await.unwrap();
    bench.publish("a", keyed("k")).await.unwrap();
    bench.publish("a", keyed("k")).await.unwrap();
    bench.publish("b", kept(100, 10)).await.unwrap_err();
    bench.recorder.fill();
    bench.publish("a", kept(100, 10)).await.unwrap_err();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        &format!("fanfare_broker_history_bytes {ONE}"),
        "fanfare_broker_channels 1",
        "fanfare_broker_idempotency_keys 1",
        "fanfare_broker_publications_total{outcome=\"accepted\"} 2",
        "fanfare_broker_publications_total{outcome=\"repeated\"} 1",
        "fanfare_broker_publications_total{outcome=\"outdated\"} 0",
        "fanfare_broker_refused_total{limit=\"broker.channels_max\"} 1",
        "fanfare_broker_refused_total{limit=\"broker.history_bytes_max\"} 0",
        "fanfare_broker_refused_total{limit=\"room\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}

#[test]
fn the_default_budgets_are_what_their_arithmetic_says() {
    let options = Options::default();
    assert!(options.history_bytes_max / (PUBLICATION_OVERHEAD_BYTES + 128) > 700_000);
    assert!(options.channels_max * CHANNEL_BYTES_MAX <= 800_000_000);
}
