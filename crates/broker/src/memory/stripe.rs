//! A part of the channels behind one lock: streams, idempotency keys, deadlines, epochs.
//!
//! Synchronous, with the time passed in. The lock is the caller's.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use fanfare_protocol::Channel;

use super::deadlines::Deadlines;
use super::epochs::{Epochs, Lives};
use super::keys::Keys;
use super::ledger::{Ledger, Limit};
use super::stream::{Appended, Draft, Stream};
use crate::{Error, History, HistoryQuery, Retention, StreamPosition};

#[derive(Debug)]
pub(super) struct Stripe {
    streams: HashMap<Channel, Stream>,
    /// One entry for each stream, at its `wake_at`.
    deadlines: Deadlines<Channel>,
    epochs: Epochs,
    pub(super) keys: Keys,
}

impl Stripe {
    pub(super) fn new(lives: Arc<Lives>) -> Self {
        Self {
            streams: HashMap::new(),
            deadlines: Deadlines::default(),
            epochs: Epochs::new(lives),
            keys: Keys::default(),
        }
    }

    /// Puts a draft into its channel's stream, which begins here if there is none. One look-up in the map.
    pub(super) fn append(
        &mut self,
        ledger: &Ledger,
        draft: Draft<'_>,
        retention: Retention,
    ) -> Result<Appended, Error> {
        self.settle(ledger, draft.channel, draft.now);
        match self.streams.entry(draft.channel.clone()) {
            Entry::Occupied(mut entry) => {
                let appended = entry.get_mut().append(ledger, draft, retention)?;
                let (channel, stream) = (entry.key().clone(), entry.into_mut());
                bring_forward(&mut self.deadlines, channel, stream);
                Ok(appended)
            }
            Entry::Vacant(entry) => {
                let claim = ledger.claim(Limit::Channels, 1)?;
                let mut stream = Stream::new(self.epochs.of(entry.key()), retention, draft.now);
                let appended = stream.append(ledger, draft, retention)?;
                claim.keep();
                self.epochs.begun(entry.key());
                stream.wake_at = stream.deadline();
                self.deadlines.schedule(stream.wake_at, entry.key().clone());
                entry.insert(stream);
                Ok(appended)
            }
        }
    }

    /// Reads a channel's stream; never makes one.
    pub(super) fn history(
        &mut self,
        ledger: &Ledger,
        channel: &Channel,
        query: &HistoryQuery,
        now: Instant,
    ) -> Result<History, Error> {
        self.settle(ledger, channel, now);
        let Some(stream) = self.streams.get(channel) else {
            let top = StreamPosition { offset: 0, epoch: self.epochs.of(channel) };
            query.check(&top)?;
            return Ok(History { publications: Vec::new(), top });
        };
        let top = stream.top();
        query.check(&top)?;
        Ok(History { publications: stream.read(query), top })
    }

    /// Drops a channel's publications, keeps its position.
    pub(super) fn clear(&mut self, ledger: &Ledger, channel: &Channel) {
        if let Some(stream) = self.streams.get_mut(channel) {
            stream.clear(ledger);
        }
    }

    /// Handles at most `max` streams and `max` keys that are due. Says whether there is more to do.
    pub(super) fn sweep(&mut self, ledger: &Ledger, now: Instant, max: usize) -> bool {
        let keys = self.keys.expire(ledger, now, max);
        let mut streams = 0;
        while streams < max {
            let Some(channel) = self.deadlines.pop_due(now) else {
                break;
            };
            self.wake(ledger, channel, now);
            streams += 1;
        }
        self.shrink();
        keys == max || streams == max
    }

    /// Brings one channel up to date. Costs a look at the earliest deadline, unless something of the stripe
    /// waits for the sweeper.
    fn settle(&mut self, ledger: &Ledger, channel: &Channel, now: Instant) {
        if !self.deadlines.any_due(now) {
            return;
        }
        let Some(stream) = self.streams.get(channel) else {
            return;
        };
        if stream.wake_at > now {
            return;
        }
        self.deadlines.cancel(stream.wake_at, channel.clone());
        self.wake(ledger, channel.clone(), now);
    }

    /// Drops what has expired of a stream whose deadline was taken out, the stream itself if it is over.
    fn wake(&mut self, ledger: &Ledger, channel: Channel, now: Instant) {
        let Entry::Occupied(mut entry) = self.streams.entry(channel) else {
            return;
        };
        let stream = entry.get_mut();
        stream.expire(ledger, now);
        if !stream.is_over(now) {
            stream.wake_at = stream.deadline();
            self.deadlines.schedule(stream.wake_at, entry.key().clone());
            return;
        }
        let (channel, stream) = entry.remove_entry();
        stream.close(ledger);
        ledger.release(Limit::Channels, 1);
        self.epochs.retire(&channel);
    }

    /// Gives the memory of a map back that has become almost empty.
    fn shrink(&mut self) {
        let (len, capacity) = (self.streams.len(), self.streams.capacity());
        if capacity > 1024 && len < capacity / 8 {
            self.streams.shrink_to(len * 2);
        }
    }
}

/// Moves a stream's deadline if a shorter retention made it come earlier.
fn bring_forward(deadlines: &mut Deadlines<Channel>, channel: Channel, stream: &mut Stream) {
    let at = stream.deadline();
    if at >= stream.wake_at {
        return;
    }
    deadlines.cancel(stream.wake_at, channel.clone());
    deadlines.schedule(at, channel);
    stream.wake_at = at;
}
