//! The broker of a single node: everything in its memory, nothing survives it.
//!
//! Not here: who may publish, which channels keep history (it comes with each publish), and sessions.
//!
//! # One order per channel
//!
//! M1. A channel belongs to one stripe, by its name's hash, for ever. M2. Its offsets are given, and
//! [`PublicationSink::deliver`] is called, under that stripe's mutex: ring order is offset order. M3. Room on
//! the rings is reserved before the mutex is taken, and given back when the publish is refused or ignored:
//! nothing waits under the mutex. M4. All that can refuse (idempotency key, channel limit, byte budget) comes
//! before the first change: an error has stored and delivered nothing. M5. What is delivered is in the history
//! and its idempotency key remembered before the sink hears of it, so a sink that panics leaves the stripe
//! whole, and the lock's poison is ignored. No code here holds two locks at once.
//!
//! A publish to a channel with history takes one lock and one look-up, and allocates the future, the
//! publication and the copy of its payload; what the sink does comes on top. With an idempotency key, one
//! more lock to answer a repetition without waiting for room.
//!
//! # Epochs without state
//!
//! A channel costs nothing until its first publication with history; until then its position is offset 0 under
//! the epoch of its stripe, which the stream begins with. So whoever subscribed before the first publication
//! holds a position that it continues. When the meta of a channel expires, positions above 0 are still out
//! there, and they must never match again. Giving the whole stripe another epoch then would do, but would
//! show a gap to every subscriber of its silent channels where there is none. So the one channel that expired
//! is remembered, as a fingerprint with the number of its next life, until it has a stream again. The number
//! of those is bounded. Beyond it the stripe does begin a new epoch, which makes all of them needless. Then,
//! and only then, a subscriber at offset 0 of a silent channel gets a gap announced with its first
//! publication; nothing is lost, it recovers. This errs to the safe side: no old position ever matches.
//!
//! # Expiry
//!
//! Every stream and every presence entry has one deadline in its stripe; idempotency keys queue by age. What
//! is due is handled by [`MemoryBroker::run_sweeper`], in small portions, so that expiry costs what expires
//! and not what is stored. Whatever is read or published to is brought up to date first: nothing expired is
//! ever shown, with or without the sweeper. Without it, however, the budgets fill up.

mod deadlines;
mod epochs;
mod fingerprint;
mod keys;
mod ledger;
pub mod limits;
mod metrics;
mod rosters;
mod stream;
mod stripe;
mod weight;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fanfare_protocol::{Channel, ClientInfo};
use prometheus::core::Collector;
use tokio::time::timeout;

use self::epochs::Lives;
use self::fingerprint::{Fingerprint, Fingerprints};
use self::ledger::{Ledger, Limit};
use self::limits::{LIFETIME_MAX, ROOM_WAIT_MAX, STRIPES, SWEEP_BATCH, SWEEP_INTERVAL};
use self::rosters::Rosters;
use self::stream::{Appended, Draft};
use self::stripe::Stripe;
use crate::revocations::{RevocationMetrics, unix_now};
use crate::{
    Control, Error, Event, History, HistoryQuery, NodeReport, NodeSink, Nodes, Outcome, Presence, PresenceStats,
    PublicationSink, Publications, Publish, Published, Revocation, Revocations, Revoked, Room, Subject,
};

/// How much the memory broker may keep. At a limit a publish is refused with [`Error::Budget`] and counted;
/// nothing is evicted to make room. What has expired counts until it is swept, at most
/// [`limits::SWEEP_INTERVAL`] later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// `broker.history_bytes_max`: bytes of all retained publications: payload, tags, publisher's info, and
    /// [overhead](limits::PUBLICATION_OVERHEAD_BYTES). Remembered version epochs are counted in.
    pub history_bytes_max: usize,
    /// `broker.channels_max`: channels with a stream, each up to [`limits::CHANNEL_BYTES_MAX`] bytes beside
    /// the publications.
    pub channels_max: usize,
    /// `broker.idempotency_keys_max`: idempotency keys remembered at once, about 150 bytes each at most.
    pub idempotency_keys_max: usize,
}

impl Default for Options {
    /// 256 MiB of publications (of 128 bytes: 0.7 million), a million channels (0.4 GB at worst), a million
    /// keys (150 MB): 3,300 keyed publications a second.
    fn default() -> Self {
        Self { history_bytes_max: 256 * 1024 * 1024, channels_max: 1_000_000, idempotency_keys_max: 1_000_000 }
    }
}

/// The broker of a single node.
pub struct MemoryBroker {
    state: Arc<State>,
    node: Arc<dyn NodeSink>,
    revoked: Arc<Revoked>,
}

impl MemoryBroker {
    /// A broker with nothing in it. Its expiry runs in [`Self::run_sweeper`], which the caller owns.
    pub fn new(options: Options, sink: Arc<dyn PublicationSink>, node: Arc<dyn NodeSink>) -> Self {
        Self { state: Arc::new(State::new(&options, sink)), node, revoked: Arc::new(Revoked::nothing()) }
    }

    /// Sweeps every [`limits::SWEEP_INTERVAL`]; ends on its own after the broker is dropped. May be dropped at
    /// any time.
    pub fn run_sweeper(&self) -> impl Future<Output = ()> + Send + use<> {
        let (state, revoked) = (Arc::downgrade(&self.state), Arc::downgrade(&self.revoked));
        async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                let Some((state, revoked)) = state.upgrade().zip(revoked.upgrade()) else { return };
                state.sweep_in_turns().await;
                revoked.trim(unix_now());
            }
        }
    }

    /// Frees everything that has expired by `now`, at once. Costs what has expired; each lock is held for a
    /// bounded number of steps.
    pub fn sweep(&self, now: Instant) {
        for index in 0..STRIPES {
            while self.state.sweep_stripe(index, now) {}
        }
    }

    /// The metrics, to be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 2] {
        let revocations = RevocationMetrics::new(Arc::clone(&self.revoked));
        [Box::new(metrics::Metrics::new(self.state.ledger.clone())), Box::new(revocations)]
    }
}

#[async_trait]
impl Publications for MemoryBroker {
    async fn publish(&self, channel: &Channel, publish: Publish) -> Result<Published, Error> {
        let published = self.state.publish(channel, publish).await?;
        self.state.ledger.counters.published(published.outcome);
        Ok(published)
    }

    async fn publish_join(&self, channel: &Channel, info: Arc<ClientInfo>) -> Result<(), Error> {
        let bytes = weight::of_presence_change(&info);
        self.state.pass_on(Event::Join(channel.clone(), info), bytes).await
    }

    async fn publish_leave(&self, channel: &Channel, info: Arc<ClientInfo>) -> Result<(), Error> {
        let bytes = weight::of_presence_change(&info);
        self.state.pass_on(Event::Leave(channel.clone(), info), bytes).await
    }

    async fn subscribe(&self, _channel: &Channel) -> Result<(), Error> {
        Ok(())
    }

    fn unsubscribe(&self, _channel: &Channel) {}

    async fn history(&self, channel: &Channel, query: HistoryQuery) -> Result<History, Error> {
        let mut stripe = self.state.stripe(channel);
        stripe.history(&self.state.ledger, channel, &query, now())
    }

    async fn history_remove(&self, channel: &Channel) -> Result<(), Error> {
        self.state.stripe(channel).clear(&self.state.ledger, channel);
        Ok(())
    }
}

#[async_trait]
impl Presence for MemoryBroker {
    async fn presence_add(&self, channel: &Channel, info: Arc<ClientInfo>, ttl: Duration) -> Result<(), Error> {
        let expires_at = now() + ttl.min(LIFETIME_MAX);
        self.state.rosters(channel).add(channel, info, expires_at);
        Ok(())
    }

    async fn presence_remove(&self, channel: &Channel, client: &str) -> Result<(), Error> {
        self.state.rosters(channel).remove(channel, client);
        Ok(())
    }

    async fn presence(&self, channel: &Channel) -> Result<BTreeMap<String, Arc<ClientInfo>>, Error> {
        let members = self.state.rosters(channel).members(channel, now());
        Ok(members.into_iter().map(|info| (info.client.clone(), info)).collect())
    }

    async fn presence_stats(&self, channel: &Channel) -> Result<PresenceStats, Error> {
        Ok(self.state.rosters(channel).stats(channel, now()))
    }
}

#[async_trait]
impl Nodes for MemoryBroker {
    async fn control(&self, control: Control) -> Result<(), Error> {
        self.node.apply(control).await
    }

    async fn nodes(&self) -> Result<Vec<NodeReport>, Error> {
        Ok(vec![self.node.report()])
    }

    async fn channels(&self, pattern: Option<&str>) -> Result<BTreeMap<String, u64>, Error> {
        Ok(self.node.channels(pattern))
    }
}

#[async_trait]
impl Revocations for MemoryBroker {
    fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    fn is_durable(&self) -> bool {
        false
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        let whom = revocation.subject.whom();
        self.revoked.keep(revocation, unix_now())?;
        self.node.judge_again(whom).await
    }

    async fn unrevoke(&self, subject: &Subject) -> Result<bool, Error> {
        Ok(self.revoked.forget(subject))
    }
}

/// What the broker and its sweeper share.
struct State {
    stripes: Box<[Mutex<Stripe>]>,
    rosters: Box<[Mutex<Rosters>]>,
    hasher: RandomState,
    fingerprints: Fingerprints,
    ledger: Arc<Ledger>,
    sink: Arc<dyn PublicationSink>,
}

impl State {
    fn new(options: &Options, sink: Arc<dyn PublicationSink>) -> Self {
        let lives = Arc::new(Lives::new());
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::new(Stripe::new(lives.clone()))).collect(),
            rosters: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            fingerprints: Fingerprints::default(),
            ledger: Arc::new(Ledger::new(options)),
            sink,
        }
    }

    async fn publish(&self, channel: &Channel, publish: Publish) -> Result<Published, Error> {
        let key = publish.idempotency_key.as_ref().map(|key| self.fingerprints.of(&(channel, key)));
        if let Some(first) = key.and_then(|key| self.repeated(&mut self.stripe(channel), key)) {
            return Ok(first);
        }
        let room = self.room(channel, weight::of_publish(&publish)).await?;
        self.place(channel, publish, key, room)
    }

    /// Gives the publication its place and hands it on. Synchronous, under the channel's mutex.
    fn place(
        &self,
        channel: &Channel,
        publish: Publish,
        key: Option<Fingerprint>,
        room: Room,
    ) -> Result<Published, Error> {
        let mut stripe = self.stripe(channel);
        // Looked at again: the same key may have come in while this publish waited for room.
        if let Some(first) = key.and_then(|key| self.repeated(&mut stripe, key)) {
            return Ok(first);
        }
        let claim = key.map(|_| self.ledger.claim(Limit::IdempotencyKeys, 1)).transpose()?;
        let draft = Draft { channel, publish, now: now() };
        let publication = match self.append(&mut stripe, draft)? {
            Appended::Accepted(publication) => publication,
            Appended::Outdated(top) => {
                return Ok(Published { position: Some(top), outcome: Outcome::Outdated });
            }
        };
        let position = publication.position.clone();
        if let (Some(key), Some(claim)) = (key, claim) {
            stripe.keys.insert(key, position.clone(), publication.accepted_at);
            claim.keep();
        }
        self.sink.deliver(Event::Publication(publication), room);
        Ok(Published { position, outcome: Outcome::Accepted })
    }

    /// Puts the draft into the channel's stream, or beside it if it is live only.
    fn append(&self, stripe: &mut Stripe, draft: Draft<'_>) -> Result<Appended, Error> {
        let retention = draft.publish.retention.filter(|retention| retention.size > 0 && !draft.publish.skip_history);
        match retention {
            Some(retention) => stripe.append(&self.ledger, draft, retention),
            None => Ok(Appended::Accepted(Arc::new(draft.into_live()))),
        }
    }

    /// The answer to a key that was seen before.
    fn repeated(&self, stripe: &mut Stripe, key: Fingerprint) -> Option<Published> {
        stripe.keys.expire(&self.ledger, now(), usize::MAX);
        let position = stripe.keys.get(key)?.clone();
        Some(Published { position, outcome: Outcome::Repeated })
    }

    /// Hands a join or leave on, in its place among the channel's publications.
    async fn pass_on(&self, event: Event, bytes: usize) -> Result<(), Error> {
        let room = self.room(event.channel(), bytes).await?;
        let _order = self.stripe(event.channel());
        self.sink.deliver(event, room);
        Ok(())
    }

    /// Room on the rings, at once or within [`ROOM_WAIT_MAX`].
    async fn room(&self, channel: &Channel, bytes: usize) -> Result<Room, Error> {
        if let Ok(room) = self.sink.try_reserve(channel, bytes) {
            return Ok(room);
        }
        let Ok(Ok(room)) = timeout(ROOM_WAIT_MAX, self.sink.reserve(channel, bytes)).await else {
            self.ledger.counters.refused_for_room();
            return Err(Error::Overloaded("a shard has had no room for a second"));
        };
        Ok(room)
    }

    async fn sweep_in_turns(&self) {
        let now = now();
        for index in 0..STRIPES {
            while self.sweep_stripe(index, now) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// One portion of what is due in a stripe. Says whether there is more.
    fn sweep_stripe(&self, index: usize, now: Instant) -> bool {
        let more_streams = lock(&self.stripes[index]).sweep(&self.ledger, now, SWEEP_BATCH);
        let more_members = lock(&self.rosters[index]).expire(now, SWEEP_BATCH);
        more_streams || more_members
    }

    fn stripe(&self, channel: &Channel) -> MutexGuard<'_, Stripe> {
        lock(&self.stripes[self.index(channel)])
    }

    fn rosters(&self, channel: &Channel) -> MutexGuard<'_, Rosters> {
        lock(&self.rosters[self.index(channel)])
    }

    fn index(&self, channel: &Channel) -> usize {
        self.hasher.hash_one(channel) as usize % STRIPES
    }
}

/// Poison says that a sink panicked; by then the stripe was whole again (M5).
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The runtime's clock, so that tests move it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
