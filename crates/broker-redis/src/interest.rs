//! Which pub/sub channels this node wants from Redis, and how far that has come.
//!
//! Each goes through one state machine. [`Wire`] says what was said about it on the present connection to the shard
//! that has it:
//!
//! ```text
//!            SUBSCRIBE sent      confirmed
//!   Absent ─────────────▶ Subscribing ────▶ Subscribed
//!      ▲                      ▲                 │ no subscriber for as long as it lingers: UNSUBSCRIBE sent
//!      └──── confirmed ── Unsubscribing ◀───────┘
//!                             └──▶ Subscribing, if a subscriber comes meanwhile
//! ```
//!
//! UNSUBSCRIBE is only sent from Subscribed, and SUBSCRIBE only from Absent and Unsubscribing, so that of each at most
//! one is not confirmed, and a confirmation tells which one it belongs to. A lost connection brings everything that
//! was said on it back to Absent; so does a cluster that moves a slot. What is Absent and wanted waits in the queue of
//! the shard that has its slot, or apart as long as nobody is known to have it.
//!
//! With each channel goes the position up to which this node has seen it. After an interruption it is compared with
//! Redis, so that only those channels are read again of which something is missing. The position is that of the last
//! publication handed on, or before there is one, the lowest that a history read gave. A read that was under way
//! during an interruption has its channel compared once more, since it may have seen less than what is remembered.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_broker::fault_points::{self, Defect};
use fanfare_broker::{Error, StreamPosition};
use fanfare_protocol::Channel;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::keys::Keys;
use crate::slots::{Owners, ShardId, Slot};

/// The name of a pub/sub channel in Redis.
pub(crate) type Name = Arc<str>;

/// What was said about a pub/sub channel on the present connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Absent,
    Subscribing,
    Subscribed,
    Unsubscribing,
}

#[derive(Debug)]
struct Entry {
    /// The channel that it carries; none if it is the node's own.
    channel: Option<Channel>,
    slot: Slot,
    subscribers: usize,
    wire: Wire,
    /// On whose connection something was said.
    shard: Option<ShardId>,
    /// Since when nobody subscribes.
    idle_since: Option<Instant>,
    /// It was subscribed on a connection that is lost.
    interrupted: bool,
    /// It waits to be compared with Redis.
    unchecked: bool,
    waiting: Vec<oneshot::Sender<()>>,
    position: Option<StreamPosition>,
    /// Whether the position is that of a publication that was handed on.
    handed_on: bool,
}

impl Entry {
    fn new(channel: Option<Channel>, slot: Slot) -> Self {
        Self {
            channel,
            slot,
            subscribers: 0,
            wire: Wire::Absent,
            shard: None,
            idle_since: None,
            interrupted: false,
            unchecked: false,
            waiting: Vec::new(),
            position: None,
            handed_on: false,
        }
    }

    /// Whether this was said on that shard's connection.
    fn is(&self, wire: Wire, shard: ShardId) -> bool {
        self.wire == wire && self.shard == Some(shard)
    }

    /// What was said is void.
    fn interrupt(&mut self) {
        self.interrupted |= matches!(self.wire, Wire::Subscribed | Wire::Unsubscribing);
        self.wire = Wire::Absent;
        self.shard = None;
    }

    /// A history read gave this top to somebody who listens. What was handed on says more.
    fn note(&mut self, top: &StreamPosition) {
        match &mut self.position {
            _ if self.handed_on => {}
            None => self.position = Some(top.clone()),
            Some(lowest) if lowest.epoch == top.epoch => lowest.offset = lowest.offset.min(top.offset),
            Some(_) => {}
        }
    }
}

/// What is to be said on the connection of one shard.
#[derive(Debug, Default)]
struct Agenda {
    /// Whether there is a connection to say it on.
    connected: bool,
    /// To be asked for.
    wanted: BTreeSet<Name>,
    /// Without subscribers, by the time when the last one left.
    idle: VecDeque<(Instant, Name)>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Name, Entry>,
    agendas: BTreeMap<ShardId, Agenda>,
    owners: Arc<Owners>,
    /// Wanted, and no shard is known to have it.
    unrouted: BTreeSet<Name>,
    /// To be compared with Redis, each once.
    unchecked: VecDeque<Channel>,
    /// Counts interruptions.
    interruptions: u64,
}

impl Table {
    /// Puts something that is wanted where it will be asked for.
    fn want(&mut self, name: Name) {
        let Some(entry) = self.entries.get(&name) else { return };
        let agenda = self.owners.of(entry.slot).and_then(|shard| self.agendas.get_mut(&shard));
        match agenda {
            Some(agenda) => {
                agenda.wanted.insert(name);
                agenda.changed.notify_one();
            }
            None => drop(self.unrouted.insert(name)),
        }
    }

    /// Has a channel compared with Redis.
    fn doubt(&mut self, name: &str) {
        if let Some(entry) = self.entries.get_mut(name)
            && let Some(channel) = &entry.channel
            && !std::mem::replace(&mut entry.unchecked, true)
        {
            self.unchecked.push_back(channel.clone());
        }
    }

    /// Forgets something that nobody wants and about which nothing was said.
    fn forget(&mut self, name: &str) {
        let Some(entry) = self.entries.remove(name) else { return };
        self.unrouted.remove(name);
        if let Some(agenda) = self.owners.of(entry.slot).and_then(|shard| self.agendas.get_mut(&shard)) {
            agenda.wanted.remove(name);
        }
    }

    fn take_wanted(&mut self, shard: ShardId, max: usize) -> Vec<Name> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(name) = self.agendas.get_mut(&shard).and_then(|agenda| agenda.wanted.pop_first()) else { break };
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            if matches!(entry.wire, Wire::Absent | Wire::Unsubscribing) && entry.subscribers > 0 {
                entry.wire = Wire::Subscribing;
                entry.shard = Some(shard);
                taken.push(name);
            }
        }
        taken
    }

    fn take_left(&mut self, shard: ShardId, linger: Duration, max: usize) -> Vec<Name> {
        let (now, mut left) = (Instant::now(), Vec::new());
        let Some(agenda) = self.agendas.get_mut(&shard) else { return left };
        while left.len() < max && agenda.idle.front().is_some_and(|(since, _)| *since + linger <= now) {
            let Some((since, name)) = agenda.idle.pop_front() else { break };
            let entry = self.entries.get_mut(&name).filter(|entry| entry.idle_since == Some(since));
            let Some(entry) = entry.filter(|entry| entry.shard == Some(shard)) else { continue };
            match entry.wire {
                Wire::Subscribed => {
                    entry.wire = Wire::Unsubscribing;
                    left.push(name);
                }
                Wire::Subscribing => {
                    entry.idle_since = Some(now);
                    agenda.idle.push_back((now, name));
                }
                Wire::Absent | Wire::Unsubscribing => {}
            }
        }
        left
    }

    /// What was said on this shard's connection is void: what is still wanted is asked for again.
    fn interrupt(&mut self, shard: ShardId) {
        self.interruptions += 1;
        if let Some(agenda) = self.agendas.get_mut(&shard) {
            agenda.connected = false;
            agenda.idle.clear();
        }
        let said: Vec<Name> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.shard == Some(shard))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in said {
            self.void(&name);
        }
    }

    fn void(&mut self, name: &Name) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.interrupt();
        if entry.subscribers == 0 {
            self.forget(name);
        } else {
            self.want(Arc::clone(name));
        }
    }

    /// Sends everything that waits to where it belongs now.
    fn sort(&mut self) {
        let mut waiting = std::mem::take(&mut self.unrouted);
        for agenda in self.agendas.values_mut() {
            waiting.append(&mut agenda.wanted);
        }
        for name in waiting {
            self.want(name);
        }
    }
}

/// A subscriber that is taken away again unless its subscription was confirmed.
struct Added<'a> {
    interest: &'a Interest,
    channel: &'a Channel,
    kept: bool,
}

impl Drop for Added<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.interest.unsubscribe(self.channel);
        }
    }
}

/// The interest of a node.
pub(crate) struct Interest {
    table: Mutex<Table>,
    keys: Arc<Keys>,
    linger: Duration,
    /// The node's own pub/sub channels.
    own: Vec<Name>,
    to_check: Notify,
}

/// What is to be said to Redis next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Subscribe(Vec<Name>),
    Unsubscribe(Vec<Name>),
}

/// How a history read stands to interruptions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading(u64);

impl Interest {
    /// The interest of a node that listens to these pub/sub channels of its own for ever.
    pub(crate) fn new(linger: Duration, keys: Arc<Keys>, own: &[Name]) -> Self {
        let mut table = Table::default();
        for name in own {
            let entry = Entry { subscribers: 1, ..Entry::new(None, keys.slot(name)) };
            table.entries.insert(Arc::clone(name), entry);
            table.unrouted.insert(Arc::clone(name));
        }
        Self { table: Mutex::new(table), keys, linger, own: own.to_vec(), to_check: Notify::new() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These shards are there, and who has what.
    pub(crate) fn reroute(&self, owners: &Arc<Owners>, shards: &[ShardId]) {
        let mut guard = self.table();
        let table = &mut *guard;
        table.owners = Arc::clone(owners);
        for shard in shards {
            table.agendas.entry(*shard).or_default();
        }
        let gone: Vec<ShardId> = table.agendas.keys().filter(|shard| !shards.contains(shard)).copied().collect();
        for shard in gone {
            table.interrupt(shard);
            let agenda = table.agendas.remove(&shard).unwrap_or_default();
            table.unrouted.extend(agenda.wanted);
        }
        table.sort();
        // With classic pub/sub a subscription stays where it was: its stream is another one all the same.
        let moved = table.entries.iter().filter(|(_, entry)| {
            entry.wire == Wire::Subscribed && owners.of(entry.slot).is_some_and(|owner| entry.shard != Some(owner))
        });
        let moved: Vec<Name> = moved.map(|(name, _)| Arc::clone(name)).collect();
        moved.iter().for_each(|name| table.doubt(name));
        self.to_check.notify_one();
    }

    /// Nothing has moved; what nobody had is tried again.
    pub(crate) fn retry(&self) {
        self.table().sort();
    }

    /// This shard is about to be connected to, and will be among those of [`Self::reroute`].
    pub(crate) fn expect(&self, shard: ShardId) {
        self.table().agendas.entry(shard).or_default();
    }

    /// There is a connection to a shard to ask on. Gives what tells when there may be something to say.
    pub(crate) fn connect(&self, shard: ShardId) -> Arc<Notify> {
        let mut table = self.table();
        // A shard that is gone while its session opens is none any more.
        let Some(agenda) = table.agendas.get_mut(&shard) else { return Arc::default() };
        agenda.connected = true;
        Arc::clone(&agenda.changed)
    }

    /// Whether all shards are connected and the node hears what the others say to it.
    pub(crate) fn is_listening(&self) -> bool {
        let table = self.table();
        let is_subscribed = |name: &Name| table.entries.get(name).is_some_and(|entry| entry.wire == Wire::Subscribed);
        !table.agendas.is_empty()
            && table.agendas.values().all(|agenda| agenda.connected)
            && self.own.iter().all(is_subscribed)
    }

    /// Adds a subscriber and waits until Redis has confirmed the subscription. When it fails or is dropped, nothing
    /// was added.
    pub(crate) async fn subscribe(&self, channel: &Channel, deadline: Instant) -> Result<(), Error> {
        let Some(confirmed) = self.add(channel) else { return Ok(()) };
        let mut added = Added { interest: self, channel, kept: false };
        let late = Error::Unavailable("Redis did not confirm the subscription in time");
        let confirmed = tokio::time::timeout_at(deadline, confirmed).await.map_err(|_| late)?;
        confirmed.map_err(|_| Error::Unavailable("Redis refused the subscription"))?;
        added.kept = true;
        Ok(())
    }

    /// Adds a subscriber. What is returned has to be waited for.
    fn add(&self, channel: &Channel) -> Option<oneshot::Receiver<()>> {
        let name: Name = self.keys.live(channel).into();
        let slot = self.keys.slot(&name);
        let mut table = self.table();
        let entry = table.entries.entry(Arc::clone(&name)).or_insert_with(|| Entry::new(Some(channel.clone()), slot));
        entry.subscribers += 1;
        entry.idle_since = None;
        if entry.wire == Wire::Subscribed {
            return None;
        }
        let (confirm, confirmed) = oneshot::channel();
        entry.waiting.retain(|waiting| !waiting.is_closed());
        entry.waiting.push(confirm);
        if entry.wire != Wire::Subscribing {
            table.want(name);
        }
        Some(confirmed)
    }

    /// Takes a subscriber away.
    pub(crate) fn unsubscribe(&self, channel: &Channel) {
        let name = self.keys.live(channel);
        let mut guard = self.table();
        let table = &mut *guard;
        let Some((name, _)) = table.entries.get_key_value(&*name) else { return };
        let name = Arc::clone(name);
        let Some(entry) = table.entries.get_mut(&name) else { return };
        entry.subscribers = entry.subscribers.saturating_sub(1);
        if entry.subscribers > 0 || entry.idle_since.is_some() {
            return;
        }
        if entry.wire == Wire::Absent {
            return table.forget(&name);
        }
        let now = Instant::now();
        entry.idle_since = Some(now);
        if let Some(agenda) = entry.shard.and_then(|shard| table.agendas.get_mut(&shard)) {
            agenda.idle.push_back((now, name));
        }
    }

    /// What to ask a shard for next, of at most `max` pub/sub channels.
    pub(crate) fn next_request(&self, shard: ShardId, max: usize) -> Option<Request> {
        let mut table = self.table();
        let wanted = table.take_wanted(shard, max);
        if !wanted.is_empty() {
            return Some(Request::Subscribe(wanted));
        }
        let left = table.take_left(shard, self.linger, max);
        (!left.is_empty()).then_some(Request::Unsubscribe(left))
    }

    /// Redis confirmed a subscription.
    pub(crate) fn confirm_subscribe(&self, shard: ShardId, name: &str) {
        let mut guard = self.table();
        let table = &mut *guard;
        let Some(entry) = table.entries.get_mut(name).filter(|entry| entry.is(Wire::Subscribing, shard)) else {
            return;
        };
        entry.wire = Wire::Subscribed;
        for waiting in entry.waiting.drain(..) {
            // Whoever has given up takes itself away.
            let _ = waiting.send(());
        }
        if std::mem::take(&mut entry.interrupted) && !fault_points::on(Defect::SkipCheckAfterReconnect) {
            table.doubt(name);
            self.to_check.notify_one();
        }
    }

    /// Redis confirmed the end of a subscription.
    pub(crate) fn confirm_unsubscribe(&self, shard: ShardId, name: &str) {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(name).filter(|entry| entry.is(Wire::Unsubscribing, shard)) else {
            return;
        };
        entry.wire = Wire::Absent;
        entry.shard = None;
        if entry.subscribers == 0 {
            table.forget(name);
        }
    }

    /// A cluster ended a subscription since the slot is elsewhere now, or refused one: it is asked for again as soon
    /// as the cluster has said where.
    pub(crate) fn misdirected(&self, shard: ShardId, name: &str) {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(name).filter(|entry| entry.shard == Some(shard)) else { return };
        entry.interrupt();
        if entry.subscribers == 0 {
            return table.forget(name);
        }
        if let Some((name, _)) = table.entries.get_key_value(name) {
            let name = Arc::clone(name);
            table.unrouted.insert(name);
        }
    }

    /// Redis refused these subscriptions: whoever waits for them learns it.
    pub(crate) fn refuse(&self, shard: ShardId, names: &[Name]) {
        let mut table = self.table();
        for name in names {
            if let Some(entry) = table.entries.get_mut(name).filter(|entry| entry.is(Wire::Subscribing, shard)) {
                entry.waiting.clear();
            }
        }
    }

    /// The connection to a shard is lost: what is still wanted is asked for again on the next one.
    pub(crate) fn interrupt(&self, shard: ShardId) {
        self.table().interrupt(shard);
    }

    /// Every channel of a shard is to be compared with Redis.
    pub(crate) fn check_all(&self, shard: ShardId) {
        let mut guard = self.table();
        let table = &mut *guard;
        let subscribed = table.entries.iter().filter(|(_, entry)| entry.is(Wire::Subscribed, shard));
        let subscribed: Vec<Name> = subscribed.map(|(name, _)| Arc::clone(name)).collect();
        subscribed.iter().for_each(|name| table.doubt(name));
        self.to_check.notify_one();
    }

    /// Waits until there may be something to compare.
    pub(crate) async fn to_check(&self) {
        self.to_check.notified().await;
    }

    /// At most `max` channels to be compared.
    pub(crate) fn take_unchecked(&self, max: usize) -> Vec<Channel> {
        let mut guard = self.table();
        let table = &mut *guard;
        let count = max.min(table.unchecked.len());
        let channels: Vec<Channel> = table.unchecked.drain(..count).collect();
        for channel in &channels {
            if let Some(entry) = table.entries.get_mut(&*self.keys.live(channel)) {
                entry.unchecked = false;
            }
        }
        channels
    }

    /// These could not be compared: they come after all others, which may be on a shard that answers.
    pub(crate) fn put_back(&self, channels: &[Channel]) {
        let mut table = self.table();
        channels.iter().for_each(|channel| table.doubt(&self.keys.live(channel)));
    }

    /// Whether everything up to `top` was handed on, or was read by whoever listens.
    pub(crate) fn has_seen(&self, channel: &Channel, top: Option<&StreamPosition>) -> bool {
        let name = self.keys.live(channel);
        let table = self.table();
        let Some(entry) = table.entries.get(&*name) else { return true };
        match (&entry.position, top) {
            (Some(seen), Some(top)) => seen.epoch == top.epoch && seen.offset >= top.offset,
            _ => false,
        }
    }

    /// Whoever listens to the channel was told to read it again, which brings it to `top` at least.
    pub(crate) fn told(&self, channel: &Channel, top: Option<StreamPosition>) {
        if let Some(entry) = self.table().entries.get_mut(&*self.keys.live(channel)) {
            entry.position = top;
            entry.handed_on = false;
        }
    }

    /// A message came: its channel, if anybody wants it.
    pub(crate) fn wanted(&self, name: &str) -> Option<Channel> {
        self.table().entries.get(name)?.channel.clone()
    }

    /// A publication came: its channel and position, if anybody wants it. The epoch's text is shared.
    pub(crate) fn place(&self, name: &str, offset: u64, epoch: &str) -> Option<(Channel, StreamPosition)> {
        let mut table = self.table();
        let entry = table.entries.get_mut(name)?;
        let channel = entry.channel.clone()?;
        let known = entry.position.as_ref().filter(|position| *position.epoch == *epoch);
        let epoch = known.map_or_else(|| epoch.into(), |position| Arc::clone(&position.epoch));
        let position = StreamPosition { offset, epoch };
        entry.position = Some(position.clone());
        entry.handed_on = true;
        Some((channel, position))
    }

    /// A history read begins.
    pub(crate) fn begin_reading(&self) -> Reading {
        Reading(self.table().interruptions)
    }

    /// A history read gave the channel's top.
    pub(crate) fn end_reading(&self, reading: Reading, channel: &Channel, top: &StreamPosition) {
        let name = self.keys.live(channel);
        let mut guard = self.table();
        let table = &mut *guard;
        let Some(entry) = table.entries.get_mut(&*name) else { return };
        entry.note(top);
        if reading.0 != table.interruptions && entry.wire == Wire::Subscribed {
            table.doubt(&name);
            self.to_check.notify_one();
        }
    }

    /// How many channels the node is subscribed to or wants to be.
    pub(crate) fn channels(&self) -> usize {
        self.table().entries.len() - self.own.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(0);
    const OTHER: ShardId = ShardId(1);

    fn channel(name: &str) -> Channel {
        Channel::parse(name).unwrap()
    }

    fn name(channel: &str) -> Name {
        format!("p:live:{channel}").into()
    }

    fn interest() -> Interest {
        let keys = Arc::new(Keys::new("p", &"n".into(), false));
        let interest = Interest::new(Duration::from_secs(10), keys, &[]);
        interest.reroute(&Arc::new(Owners::One(SHARD)), &[SHARD]);
        interest
    }

    fn position(offset: u64, epoch: &str) -> StreamPosition {
        StreamPosition { offset, epoch: epoch.into() }
    }

    /// A channel whose subscription is confirmed.
    fn subscribed(interest: &Interest, label: &str) {
        drop(interest.add(&channel(label)));
        assert_eq!(interest.next_request(SHARD, 10), Some(Request::Subscribe(vec![name(label)])));
        interest.confirm_subscribe(SHARD, &name(label));
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_is_asked_for_once_and_left_after_it_lingered() {
        let interest = interest();
        subscribed(&interest, "a");
        assert!(interest.add(&channel("a")).is_none());
        interest.unsubscribe(&channel("a"));
        interest.unsubscribe(&channel("a"));
        assert_eq!(interest.next_request(SHARD, 10), None);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(interest.next_request(SHARD, 10), Some(Request::Unsubscribe(vec![name("a")])));
        interest.confirm_unsubscribe(SHARD, &name("a"));
        assert_eq!(interest.channels(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_that_comes_back_in_time_costs_nothing() {
        let interest = interest();
        subscribed(&interest, "a");
        interest.unsubscribe(&channel("a"));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(interest.add(&channel("a")).is_none());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(interest.next_request(SHARD, 10), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_that_comes_while_the_channel_is_left_waits_for_the_new_subscription() {
        let interest = interest();
        subscribed(&interest, "a");
        interest.unsubscribe(&channel("a"));
        tokio::time::advance(Duration::from_secs(10)).await;
        interest.next_request(SHARD, 10).unwrap();
        let mut confirmed = interest.add(&channel("a")).unwrap();
        assert_eq!(interest.next_request(SHARD, 10), Some(Request::Subscribe(vec![name("a")])));
        interest.confirm_unsubscribe(SHARD, &name("a"));
        assert!(confirmed.try_recv().is_err());
        interest.confirm_subscribe(SHARD, &name("a"));
        assert!(confirmed.try_recv().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_that_is_not_confirmed_in_time_leaves_nothing() {
        let interest = interest();
        let deadline = Instant::now() + Duration::from_secs(1);
        let late = interest.subscribe(&channel("a"), deadline).await;
        assert!(matches!(late, Err(Error::Unavailable(_))));
        assert_eq!(interest.next_request(SHARD, 10), None);
        assert_eq!(interest.channels(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_interruption_what_is_wanted_is_asked_for_and_checked() {
        let interest = interest();
        for label in ["a", "b", "c"] {
            subscribed(&interest, label);
        }
        interest.unsubscribe(&channel("c"));
        interest.interrupt(SHARD);
        assert_eq!(interest.next_request(SHARD, 10), Some(Request::Subscribe(vec![name("a"), name("b")])));
        assert!(interest.take_unchecked(10).is_empty());
        interest.confirm_subscribe(SHARD, &name("a"));
        assert_eq!(interest.take_unchecked(10), [channel("a")]);
        assert_eq!(interest.channels(), 2);
    }

    #[test]
    fn batches_are_bounded() {
        let interest = interest();
        let waiting: Vec<_> = (0..5).map(|number| interest.add(&channel(&number.to_string()))).collect();
        let sizes = std::iter::from_fn(|| interest.next_request(SHARD, 2)).map(|request| match request {
            Request::Subscribe(channels) | Request::Unsubscribe(channels) => channels.len(),
        });
        assert_eq!(sizes.collect::<Vec<_>>(), [2, 2, 1]);
        drop(waiting);
    }

    #[test]
    fn a_channel_has_been_seen_up_to_what_was_handed_on() {
        let interest = interest();
        subscribed(&interest, "a");
        let seen = |top: Option<StreamPosition>| interest.has_seen(&channel("a"), top.as_ref());
        assert!(!seen(Some(position(0, "e"))));
        interest.place(&name("a"), 5, "e").unwrap();
        assert!(seen(Some(position(5, "e"))) && seen(Some(position(4, "e"))));
        assert!(!seen(Some(position(6, "e"))) && !seen(Some(position(5, "f"))) && !seen(None));
        assert!(interest.place(&name("b"), 1, "e").is_none());
        interest.told(&channel("a"), Some(position(9, "f")));
        assert!(seen(Some(position(9, "f"))));
    }

    #[test]
    fn before_something_was_handed_on_the_lowest_read_counts() {
        let interest = interest();
        subscribed(&interest, "a");
        for top in [7, 5, 6] {
            interest.end_reading(interest.begin_reading(), &channel("a"), &position(top, "e"));
        }
        assert!(!interest.has_seen(&channel("a"), Some(&position(6, "e"))));
        assert!(interest.has_seen(&channel("a"), Some(&position(5, "e"))));
        interest.place(&name("a"), 8, "e").unwrap();
        interest.end_reading(interest.begin_reading(), &channel("a"), &position(2, "e"));
        assert!(interest.has_seen(&channel("a"), Some(&position(8, "e"))));
    }

    #[test]
    fn a_read_during_an_interruption_is_checked_again() {
        let interest = interest();
        subscribed(&interest, "a");
        let reading = interest.begin_reading();
        interest.interrupt(SHARD);
        interest.next_request(SHARD, 10).unwrap();
        interest.confirm_subscribe(SHARD, &name("a"));
        assert_eq!(interest.take_unchecked(10).len(), 1);
        interest.end_reading(reading, &channel("a"), &position(5, "e"));
        assert_eq!(interest.take_unchecked(10).len(), 1);
    }

    #[test]
    fn whoever_waits_for_a_refused_subscription_learns_it() {
        let interest = interest();
        let mut confirmed = interest.add(&channel("a")).unwrap();
        interest.next_request(SHARD, 10).unwrap();
        interest.refuse(SHARD, &[name("a")]);
        assert_eq!(confirmed.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
    /// Two shards, of which the second has the slot of `b` and the first the rest.
    fn clustered() -> Interest {
        let keys = Arc::new(Keys::new("p", &"n".into(), true));
        let interest = Interest::new(Duration::from_secs(10), keys, &["p:control".into()]);
        interest.reroute(&split("b", OTHER), &[SHARD, OTHER]);
        interest
    }

    fn braced(label: &str) -> Name {
        format!("p:live:{{{label}}}").into()
    }

    fn split(label: &str, shard: ShardId) -> Arc<Owners> {
        let mut owners = vec![Some(SHARD); usize::from(crate::slots::SLOTS)];
        owners[usize::from(Slot::of(label).number())] = Some(shard);
        Arc::new(Owners::BySlot(owners))
    }

    #[test]
    fn each_shard_is_asked_for_what_it_has() {
        let interest = clustered();
        let waiting = ["a", "b"].map(|label| interest.add(&channel(label)));
        assert!(!interest.is_listening());
        let asked = Request::Subscribe(vec!["p:control".into(), braced("a")]);
        assert_eq!(interest.next_request(SHARD, 10), Some(asked));
        assert_eq!(interest.next_request(OTHER, 10), Some(Request::Subscribe(vec![braced("b")])));
        for shard in [SHARD, OTHER] {
            interest.connect(shard);
            interest.confirm_subscribe(shard, "p:control");
        }
        assert!(interest.is_listening());
        interest.confirm_subscribe(SHARD, &braced("b"));
        assert!(waiting[1].as_ref().unwrap().is_empty(), "it was not asked there");
    }

    #[test]
    fn defect_a_shard_that_was_connected_before_the_map_was_taken_never_counted_as_connected() {
        let interest = clustered();
        let new = ShardId(7);
        interest.expect(new);
        interest.connect(new);
        let owners = Arc::clone(&interest.table().owners);
        interest.reroute(&owners, &[SHARD, OTHER, new]);
        assert!(interest.table().agendas.get(&new).is_some_and(|agenda| agenda.connected));
    }

    #[test]
    fn a_slot_that_moves_takes_its_channels_along_and_has_them_checked() {
        let interest = clustered();
        drop(interest.add(&channel("b")));
        interest.next_request(OTHER, 10).unwrap();
        interest.confirm_subscribe(OTHER, &braced("b"));
        interest.misdirected(OTHER, &braced("b"));
        assert_eq!(interest.next_request(OTHER, 10), None, "not before the cluster has said where");
        interest.next_request(SHARD, 10).unwrap();
        interest.reroute(&split("b", SHARD), &[SHARD, OTHER]);
        assert_eq!(interest.next_request(SHARD, 10), Some(Request::Subscribe(vec![braced("b")])));
        interest.confirm_subscribe(SHARD, &braced("b"));
        assert_eq!(interest.take_unchecked(10), [channel("b")]);
    }

    #[test]
    fn a_shard_that_is_gone_leaves_its_channels_to_the_next() {
        let interest = clustered();
        drop(interest.add(&channel("b")));
        interest.next_request(OTHER, 10).unwrap();
        interest.confirm_subscribe(OTHER, &braced("b"));
        let next = ShardId(2);
        interest.reroute(&split("b", next), &[SHARD, next]);
        assert_eq!(interest.next_request(next, 10), Some(Request::Subscribe(vec![braced("b")])));
        interest.confirm_subscribe(next, &braced("b"));
        assert_eq!(interest.take_unchecked(10), [channel("b")]);
    }

    /// What failed to be subscribed while no shard could be asked stayed in the table until one could.
    #[test]
    fn what_nobody_wants_any_more_is_not_kept_while_redis_is_away() {
        let keys = Arc::new(Keys::new("p", &"n".into(), true));
        let interest = Interest::new(Duration::from_secs(10), keys, &[]);
        for _ in 0..3 {
            drop(interest.add(&channel("a")));
            interest.unsubscribe(&channel("a"));
        }
        assert_eq!(interest.channels(), 0);
        assert!(interest.table().unrouted.is_empty());
    }

    /// Those that could not be compared came first again, and kept out all others.
    #[test]
    fn what_cannot_be_compared_comes_after_the_others_and_is_there_once() {
        let interest = interest();
        for label in ["a", "b", "c"] {
            subscribed(&interest, label);
        }
        interest.check_all(SHARD);
        interest.check_all(SHARD);
        let first = interest.take_unchecked(1);
        interest.put_back(&first);
        interest.put_back(&first);
        let rest = interest.take_unchecked(10);
        assert_eq!((rest.len(), &rest[2]), (3, &first[0]));
        assert!(interest.take_unchecked(10).is_empty());
    }
}
