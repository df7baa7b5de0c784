//! A node under attack, and a client on it that behaves.
//!
//! The one that behaves is the canary: it publishes numbers and receives them, one after another and all the time. One
//! that is missing, doubled or out of order fails the test, whatever happens on the node meanwhile.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bad_input::Case;
use crate::client::{Client, Opening};
use crate::node::{Node, Setup};
use crate::patience::within;
use crate::raw::Raw;
use crate::{Value, json};

/// Where the canary sings; it is alone there.
const CHANNEL: &str = "canary";

/// Between two of its publications: within what a session may publish in a second.
const PAUSE: Duration = Duration::from_millis(25);

/// A client that behaves, and misses nothing.
pub struct Canary {
    singing: JoinSet<Vec<Duration>>,
    heard: watch::Receiver<u64>,
    ends: watch::Sender<bool>,
}

impl Canary {
    /// Connects; it has to be let in, and to be allowed to publish.
    pub async fn start(opening: Opening) -> Self {
        let mut client = opening.connect().await;
        client.subscribe(CHANNEL).await;
        let ((hears, heard), (ends, told)) = (watch::channel(0), watch::channel(false));
        let mut singing = JoinSet::new();
        singing.spawn(sing(client, hears, told));
        let mut canary = Self { singing, heard, ends };
        canary.goes_on("the beginning").await;
        canary
    }

    /// It hears what it publishes from now on.
    ///
    /// # Panics
    /// If it has missed something; so does [`Self::end`].
    pub async fn goes_on(&mut self, what: &str) {
        // One may be under way.
        let heard = *self.heard.borrow_and_update() + 2;
        let goes_on = self.heard.wait_for(|number| *number >= heard);
        let silent = within(&format!("the canary, after {what}"), goes_on).await.is_err();
        if silent {
            self.join().await;
            panic!("the canary fell silent after {what}");
        }
    }

    /// Lets it end.
    pub async fn end(mut self) {
        self.goes_on("everything").await;
        self.ends.send_replace(true);
        let round_trips = self.join().await;
        eprintln!("the canary's 99th percentile: {:?} of {}", percentile(&round_trips), round_trips.len());
    }

    /// How long each of its publications was under way. If it failed, so does this.
    async fn join(&mut self) -> Vec<Duration> {
        let ended = within("the canary to end", self.singing.join_next()).await.expect("it is ended once");
        ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

/// A node and its canary.
pub struct Stage {
    /// The node.
    pub node: Node,
    canary: Canary,
}

impl Stage {
    /// Starts a node as it is by default in tests.
    pub async fn set(shards: usize) -> Self {
        Self::set_up(Setup::new(shards)).await
    }

    /// Starts a node; anybody has to be let in, and to be allowed to publish.
    pub async fn set_up(setup: Setup) -> Self {
        let node = setup.start().await;
        let canary = Canary::start(node.client()).await;
        Self { node, canary }
    }

    /// A connection below the WebSocket protocol.
    pub async fn raw(&self) -> Raw {
        Raw::upgrade(self.node.address(), "", b"").await
    }

    /// The canary hears what it publishes from now on.
    pub async fn goes_on(&mut self, what: &str) {
        self.canary.goes_on(what).await;
    }

    /// What a case's counter says.
    pub async fn counted(&self, case: &Case) -> f64 {
        let (name, label) = case.counter();
        self.node.metric_row(name, label).await
    }

    /// Waits until a case's counter has moved by so much.
    pub async fn moved(&self, case: &Case, before: f64, by: f64) {
        let (name, label) = case.counter();
        let what = format!("{name}{{{label}}} to move by {by}");
        let ask = || async { (self.node.metric_row(name, label).await == before + by).then_some(()) };
        crate::patience::eventually(&what, ask).await;
    }

    /// Sends bytes on a new connection; they have to be answered with the case's close frame, and to be counted.
    pub async fn closes(&mut self, what: &str, case: &Case, bytes: &[u8]) {
        let raw = self.raw().await;
        self.closes_on(raw, what, case, bytes).await;
    }

    /// The same on a connection that is open already.
    pub async fn closes_on(&mut self, mut raw: Raw, what: &str, case: &Case, bytes: &[u8]) {
        let before = self.counted(case).await;
        let closes = self.node.closes(case.close()).await;
        raw.write(bytes).await;
        let mut last = None;
        while let Some(frame) = raw.frame().await {
            last = Some(frame);
        }
        let last = last.unwrap_or_else(|| panic!("{what}: no close frame"));
        assert_eq!(last.close_code(), Some(case.close()), "{what}");
        assert_eq!(self.node.closes(case.close()).await, closes + 1.0, "{what}");
        assert_eq!(self.counted(case).await, before + 1.0, "{what}: {:?}", case.counter());
        self.goes_on(what).await;
    }

    /// Sends a command, which has to be answered with the case's error, and to be counted; the connection goes on.
    pub async fn refuses(&mut self, what: &str, case: &Case, client: &mut Client, command: (&str, Value)) {
        let before = self.counted(case).await;
        assert_eq!(client.refused(command.0, command.1).await, case.error(), "{what}");
        assert_eq!(self.counted(case).await, before + 1.0, "{what}: {:?}", case.counter());
        assert_eq!(client.refused("rpc", json!({})).await, 108, "{what}: the connection goes on");
        self.goes_on(what).await;
    }

    /// Nothing is left of all who misbehaved, and the canary has missed nothing.
    pub async fn is_clean(self) {
        self.canary.end().await;
        // Nothing was asked meanwhile.
        self.node.forget_idle();
        for gauge in ["sessions", "subscriptions", "outbox_bytes", "ring_entries", "presence_changes_waiting"] {
            self.node.metric_becomes(&format!("fanfare_gateway_{gauge}"), 0.0).await;
        }
        // The one that asks.
        self.node.forget_idle();
        self.node.metric_becomes("fanfare_http_connections", 1.0).await;
        assert_eq!(self.node.metric("fanfare_gateway_panics_total").await, 0.0);
    }
}

/// Publishes and receives until it is told to end.
async fn sing(mut client: Client, hears: watch::Sender<u64>, told: watch::Receiver<bool>) -> Vec<Duration> {
    let mut round_trips = Vec::new();
    for number in 1_u64.. {
        if *told.borrow() {
            break;
        }
        let sent = Instant::now();
        client.call("publish", json!({"channel": CHANNEL, "data": number})).await;
        let publication = client.expect_publication(CHANNEL).await;
        assert_eq!((&publication["data"], &publication["offset"]), (&json!(number), &json!(number)));
        round_trips.push(sent.elapsed());
        hears.send_replace(number);
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(client.so_far().await, [], "there is nothing but what it publishes");
    client.close().await;
    round_trips
}

fn percentile(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
}
