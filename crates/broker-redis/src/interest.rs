//! Which channels this node wants from Redis, and how far that has come.
//!
//! Each channel goes through one state machine. [`Wire`] says what was said about it on the present connection:
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
//! one is not confirmed, and a confirmation tells which one it belongs to. A lost connection brings every channel
//! back to Absent.
//!
//! With each channel goes the position up to which this node has seen it. After an interruption it is compared with
//! Redis, so that only those channels are read again of which something is missing. The position is that of the last
//! publication handed on, or before there is one, the lowest that a history read gave. A read that was under way
//! during an interruption has its channel compared once more, since it may have seen less than what is remembered.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_broker::{Error, StreamPosition};
use fanfare_protocol::Channel;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// What was said about a channel on the present connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Absent,
    Subscribing,
    Subscribed,
    Unsubscribing,
}

#[derive(Debug)]
struct Entry {
    subscribers: usize,
    wire: Wire,
    /// Since when nobody subscribes.
    idle_since: Option<Instant>,
    /// Waits for a connection to be asked for.
    queued: bool,
    /// It was subscribed on a connection that is lost.
    interrupted: bool,
    waiting: Vec<oneshot::Sender<()>>,
    position: Option<StreamPosition>,
    /// Whether the position is that of a publication that was handed on.
    handed_on: bool,
}

impl Entry {
    fn new() -> Self {
        Self {
            subscribers: 0,
            wire: Wire::Absent,
            idle_since: None,
            queued: false,
            interrupted: false,
            waiting: Vec::new(),
            position: None,
            handed_on: false,
        }
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

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Channel, Entry>,
    /// To be asked for.
    queue: VecDeque<Channel>,
    /// Without subscribers, by the time when the last one left.
    idle: VecDeque<(Instant, Channel)>,
    /// To be compared with Redis.
    unchecked: Vec<Channel>,
    /// Whether there is a connection to ask on.
    connected: bool,
    /// Counts interruptions.
    interruptions: u64,
}

impl Table {
    fn take_wanted(&mut self, max: usize) -> Vec<Channel> {
        let mut wanted = Vec::new();
        while wanted.len() < max {
            let Some(channel) = self.queue.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(&channel) else { continue };
            entry.queued = false;
            match entry.wire {
                Wire::Absent if entry.subscribers == 0 => drop(self.entries.remove(&channel)),
                Wire::Absent | Wire::Unsubscribing if entry.subscribers > 0 => {
                    entry.wire = Wire::Subscribing;
                    wanted.push(channel);
                }
                _ => {}
            }
        }
        wanted
    }

    fn take_left(&mut self, linger: Duration, max: usize) -> Vec<Channel> {
        let (now, mut left) = (Instant::now(), Vec::new());
        while left.len() < max && self.idle.front().is_some_and(|(since, _)| *since + linger <= now) {
            let Some((since, channel)) = self.idle.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(&channel).filter(|entry| entry.idle_since == Some(since)) else {
                continue;
            };
            match entry.wire {
                Wire::Subscribed => {
                    entry.wire = Wire::Unsubscribing;
                    left.push(channel);
                }
                Wire::Subscribing => {
                    entry.idle_since = Some(now);
                    self.idle.push_back((now, channel));
                }
                Wire::Absent => drop(self.entries.remove(&channel)),
                Wire::Unsubscribing => {}
            }
        }
        left
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
    linger: Duration,
    changed: Notify,
    to_check: Notify,
}

/// What is to be said to Redis next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Subscribe(Vec<Channel>),
    Unsubscribe(Vec<Channel>),
}

/// How a history read stands to interruptions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading(u64);

impl Interest {
    pub(crate) fn new(linger: Duration) -> Self {
        Self { table: Mutex::default(), linger, changed: Notify::new(), to_check: Notify::new() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a connection to ask on.
    pub(crate) fn connect(&self) {
        self.table().connected = true;
    }

    /// Whether there is a connection to ask on.
    pub(crate) fn is_connected(&self) -> bool {
        self.table().connected
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
        let mut table = self.table();
        let entry = table.entries.entry(channel.clone()).or_insert_with(Entry::new);
        entry.subscribers += 1;
        entry.idle_since = None;
        if entry.wire == Wire::Subscribed {
            return None;
        }
        let (confirm, confirmed) = oneshot::channel();
        entry.waiting.retain(|waiting| !waiting.is_closed());
        entry.waiting.push(confirm);
        if entry.wire != Wire::Subscribing && !std::mem::replace(&mut entry.queued, true) {
            table.queue.push_back(channel.clone());
            self.changed.notify_one();
        }
        Some(confirmed)
    }

    /// Takes a subscriber away.
    pub(crate) fn unsubscribe(&self, channel: &Channel) {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(channel) else { return };
        entry.subscribers = entry.subscribers.saturating_sub(1);
        if entry.subscribers == 0 && entry.idle_since.is_none() {
            let now = Instant::now();
            entry.idle_since = Some(now);
            table.idle.push_back((now, channel.clone()));
        }
    }

    /// Waits until there may be something to say.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What to ask for next, of at most `max` channels.
    pub(crate) fn next_request(&self, max: usize) -> Option<Request> {
        let mut table = self.table();
        let wanted = table.take_wanted(max);
        if !wanted.is_empty() {
            return Some(Request::Subscribe(wanted));
        }
        let left = table.take_left(self.linger, max);
        (!left.is_empty()).then_some(Request::Unsubscribe(left))
    }

    /// Redis confirmed a subscription.
    pub(crate) fn confirm_subscribe(&self, name: &str) {
        let mut table = self.table();
        let Some((channel, entry)) = table.entries.get_key_value(name) else { return };
        let (channel, interrupted) = (channel.clone(), entry.interrupted);
        if let Some(entry) = table.entries.get_mut(name).filter(|entry| entry.wire == Wire::Subscribing) {
            entry.wire = Wire::Subscribed;
            entry.interrupted = false;
            for waiting in entry.waiting.drain(..) {
                // Whoever has given up takes itself away.
                let _ = waiting.send(());
            }
            if interrupted {
                table.unchecked.push(channel);
                self.to_check.notify_one();
            }
        }
    }

    /// Redis confirmed the end of a subscription.
    pub(crate) fn confirm_unsubscribe(&self, name: &str) {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(name).filter(|entry| entry.wire == Wire::Unsubscribing) else { return };
        entry.wire = Wire::Absent;
        if entry.subscribers == 0 {
            table.entries.remove(name);
        }
    }

    /// Redis refused these subscriptions: whoever waits for them learns it.
    pub(crate) fn refuse(&self, channels: &[Channel]) {
        let mut table = self.table();
        for channel in channels {
            if let Some(entry) = table.entries.get_mut(channel).filter(|entry| entry.wire == Wire::Subscribing) {
                entry.wire = Wire::Absent;
                entry.waiting.clear();
            }
        }
    }

    /// The connection is lost: what is still wanted is asked for again on the next one.
    pub(crate) fn interrupt(&self) {
        let mut guard = self.table();
        let table = &mut *guard;
        table.connected = false;
        table.interruptions += 1;
        table.idle.clear();
        table.queue.clear();
        table.unchecked.clear();
        table.entries.retain(|_, entry| entry.subscribers > 0);
        for (channel, entry) in &mut table.entries {
            entry.interrupted |= entry.wire == Wire::Subscribed || entry.wire == Wire::Unsubscribing;
            entry.wire = Wire::Absent;
            entry.queued = true;
            table.queue.push_back(channel.clone());
        }
    }

    /// Every channel is to be compared with Redis.
    pub(crate) fn check_all(&self) {
        let mut guard = self.table();
        let table = &mut *guard;
        let subscribed = table.entries.iter().filter(|(_, entry)| entry.wire == Wire::Subscribed);
        table.unchecked = subscribed.map(|(channel, _)| channel.clone()).collect();
        self.to_check.notify_one();
    }

    /// Waits until there may be something to compare.
    pub(crate) async fn to_check(&self) {
        self.to_check.notified().await;
    }

    /// At most `max` channels to be compared.
    pub(crate) fn take_unchecked(&self, max: usize) -> Vec<Channel> {
        let mut table = self.table();
        let rest = table.unchecked.len().saturating_sub(max);
        table.unchecked.split_off(rest)
    }

    /// These could not be compared.
    pub(crate) fn put_back(&self, channels: Vec<Channel>) {
        self.table().unchecked.extend(channels);
    }

    /// Whether everything up to `top` was handed on, or was read by whoever listens.
    pub(crate) fn has_seen(&self, channel: &Channel, top: Option<&StreamPosition>) -> bool {
        let table = self.table();
        let Some(entry) = table.entries.get(channel) else { return true };
        match (&entry.position, top) {
            (Some(seen), Some(top)) => seen.epoch == top.epoch && seen.offset >= top.offset,
            _ => false,
        }
    }

    /// Whoever listens to the channel was told to read it again, which brings it to `top` at least.
    pub(crate) fn told(&self, channel: &Channel, top: Option<StreamPosition>) {
        if let Some(entry) = self.table().entries.get_mut(channel) {
            entry.position = top;
            entry.handed_on = false;
        }
    }

    /// A message came: its channel, if anybody wants it.
    pub(crate) fn wanted(&self, name: &str) -> Option<Channel> {
        let table = self.table();
        table.entries.get_key_value(name).map(|(channel, _)| channel.clone())
    }

    /// A publication came: its channel and position, if anybody wants it. The epoch's text is shared.
    pub(crate) fn place(&self, name: &str, offset: u64, epoch: &str) -> Option<(Channel, StreamPosition)> {
        let mut table = self.table();
        let channel = table.entries.get_key_value(name).map(|(channel, _)| channel.clone())?;
        let entry = table.entries.get_mut(name)?;
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
        let mut guard = self.table();
        let table = &mut *guard;
        let Some(entry) = table.entries.get_mut(channel) else { return };
        entry.note(top);
        if reading.0 != table.interruptions && entry.wire == Wire::Subscribed {
            table.unchecked.push(channel.clone());
            self.to_check.notify_one();
        }
    }

    /// How many channels the node is subscribed to or wants to be.
    pub(crate) fn channels(&self) -> usize {
        self.table().entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::parse(name).unwrap()
    }

    fn interest() -> Interest {
        Interest::new(Duration::from_secs(10))
    }

    fn position(offset: u64, epoch: &str) -> StreamPosition {
        StreamPosition { offset, epoch: epoch.into() }
    }

    /// A channel whose subscription is confirmed.
    fn subscribed(interest: &Interest, name: &str) {
        drop(interest.add(&channel(name)));
        assert_eq!(interest.next_request(10), Some(Request::Subscribe(vec![channel(name)])));
        interest.confirm_subscribe(name);
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_is_asked_for_once_and_left_after_it_lingered() {
        let interest = interest();
        subscribed(&interest, "a");
        assert!(interest.add(&channel("a")).is_none());
        interest.unsubscribe(&channel("a"));
        interest.unsubscribe(&channel("a"));
        assert_eq!(interest.next_request(10), None);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(interest.next_request(10), Some(Request::Unsubscribe(vec![channel("a")])));
        interest.confirm_unsubscribe("a");
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
        assert_eq!(interest.next_request(10), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_that_comes_while_the_channel_is_left_waits_for_the_new_subscription() {
        let interest = interest();
        subscribed(&interest, "a");
        interest.unsubscribe(&channel("a"));
        tokio::time::advance(Duration::from_secs(10)).await;
        interest.next_request(10).unwrap();
        let mut confirmed = interest.add(&channel("a")).unwrap();
        assert_eq!(interest.next_request(10), Some(Request::Subscribe(vec![channel("a")])));
        interest.confirm_unsubscribe("a");
        assert!(confirmed.try_recv().is_err());
        interest.confirm_subscribe("a");
        assert!(confirmed.try_recv().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_that_is_not_confirmed_in_time_leaves_nothing() {
        let interest = interest();
        let deadline = Instant::now() + Duration::from_secs(1);
        let late = interest.subscribe(&channel("a"), deadline).await;
        assert!(matches!(late, Err(Error::Unavailable(_))));
        assert_eq!(interest.next_request(10), None);
        assert_eq!(interest.channels(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_interruption_what_is_wanted_is_asked_for_and_checked() {
        let interest = interest();
        for name in ["a", "b", "c"] {
            subscribed(&interest, name);
        }
        interest.unsubscribe(&channel("c"));
        interest.interrupt();
        let Some(Request::Subscribe(mut wanted)) = interest.next_request(10) else { panic!("they are wanted") };
        wanted.sort();
        assert_eq!(wanted, [channel("a"), channel("b")]);
        assert!(interest.take_unchecked(10).is_empty());
        interest.confirm_subscribe("a");
        assert_eq!(interest.take_unchecked(10), [channel("a")]);
        assert_eq!(interest.channels(), 2);
    }

    #[test]
    fn batches_are_bounded() {
        let interest = interest();
        let waiting: Vec<_> = (0..5).map(|number| interest.add(&channel(&number.to_string()))).collect();
        let sizes = std::iter::from_fn(|| interest.next_request(2)).map(|request| match request {
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
        interest.place("a", 5, "e").unwrap();
        assert!(seen(Some(position(5, "e"))) && seen(Some(position(4, "e"))));
        assert!(!seen(Some(position(6, "e"))) && !seen(Some(position(5, "f"))) && !seen(None));
        assert!(interest.place("b", 1, "e").is_none());
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
        interest.place("a", 8, "e").unwrap();
        interest.end_reading(interest.begin_reading(), &channel("a"), &position(2, "e"));
        assert!(interest.has_seen(&channel("a"), Some(&position(8, "e"))));
    }

    #[test]
    fn a_read_during_an_interruption_is_checked_again() {
        let interest = interest();
        subscribed(&interest, "a");
        let reading = interest.begin_reading();
        interest.interrupt();
        interest.next_request(10).unwrap();
        interest.confirm_subscribe("a");
        assert_eq!(interest.take_unchecked(10).len(), 1);
        interest.end_reading(reading, &channel("a"), &position(5, "e"));
        assert_eq!(interest.take_unchecked(10).len(), 1);
    }

    #[test]
    fn whoever_waits_for_a_refused_subscription_learns_it() {
        let interest = interest();
        let mut confirmed = interest.add(&channel("a")).unwrap();
        interest.next_request(10).unwrap();
        interest.refuse(&[channel("a")]);
        assert_eq!(confirmed.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
