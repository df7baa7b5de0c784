//! After an interruption: which channels have something missing?
//!
//! Every channel that was subscribed on a lost connection is compared with Redis once it is subscribed again, and all
//! of them when the server's replication id has changed, which gives all streams another epoch. Positions are read a
//! few hundred at a time. Only the channels of which something is missing, or of which nothing is known, are told to
//! the sink; the shards then read those again. Nobody is told before Redis answers, since a read that fails would
//! announce a gap where there may be none.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_broker::{PublicationSink, fault_points};
use fanfare_protocol::Channel;
use futures_util::stream::{self, StreamExt};

use crate::fault::Fault;
use crate::interest::Interest;
use crate::keys::Keys;
use crate::limits::{CHECK_BATCH, CHECK_PAUSE, CHECK_RETRY, CHECKS_IN_FLIGHT_MAX};
use crate::link::State;
use crate::metrics::Counters;
use crate::publisher::read_position;
use crate::routes::{RedisShard, Routes};
use crate::script::{self, Call};
use crate::slots::Slot;

/// What the checker works with.
pub(crate) struct Checker {
    pub(crate) keys: Arc<Keys>,
    pub(crate) interest: Arc<Interest>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) sink: Arc<dyn PublicationSink>,
    pub(crate) counters: Arc<Counters>,
}

/// Has all channels of a shard compared whenever its identity changes.
pub(crate) async fn watch_replid(shard: Arc<RedisShard>, interest: Arc<Interest>) {
    let (mut states, mut last) = (shard.link.watch(), None::<Arc<str>>);
    // The link may have come up before anybody watched.
    states.mark_changed();
    while states.changed().await.is_ok() {
        let replid = match &*states.borrow_and_update() {
            State::Up(live) => Arc::clone(&live.replid),
            State::Down { .. } => continue,
        };
        if last.replace(Arc::clone(&replid)).is_some_and(|last| last != replid) {
            interest.check_all(shard.id);
        }
    }
}

impl Checker {
    /// Checks for ever.
    pub(crate) async fn run(&self) {
        loop {
            let channels = self.interest.take_unchecked(CHECK_BATCH);
            if channels.is_empty() {
                self.interest.to_check().await;
                continue;
            }
            let failed = self.compare(channels).await;
            if failed.is_empty() {
                tokio::time::sleep(CHECK_PAUSE).await;
            } else {
                self.interest.put_back(&failed);
                tokio::time::sleep(CHECK_RETRY).await;
            }
        }
    }

    /// Compares channels; gives those that could not be.
    async fn compare(&self, channels: Vec<Channel>) -> Vec<Channel> {
        let mut by_slot = BTreeMap::<Slot, Vec<Channel>>::new();
        for channel in channels {
            by_slot.entry(self.keys.slot(&self.keys.meta(&channel))).or_default().push(channel);
        }
        let comparing = by_slot.into_iter().map(|(slot, channels)| async move {
            let compared = self.compare_in(slot, &channels).await;
            compared
                .inspect_err(|fault| tracing::debug!(?fault, "channels could not be compared with Redis"))
                .map_or(channels, |()| Vec::new())
        });
        stream::iter(comparing).buffer_unordered(CHECKS_IN_FLIGHT_MAX).concat().await
    }

    async fn compare_in(&self, slot: Slot, channels: &[Channel]) -> Result<(), Fault> {
        let metas: Vec<String> = channels.iter().map(|channel| self.keys.meta(channel)).collect();
        let tops: Vec<String> = self.routes.call(slot, &Call::new(&script::POSITIONS, &metas)).await?;
        if tops.len() != channels.len() {
            return Err(Fault::Nonsense);
        }
        self.counters.checked.inc_by(channels.len() as u64);
        for (channel, top) in channels.iter().zip(tops) {
            let top = read_position(&fault_points::unfenced(top));
            if !self.interest.has_seen(channel, top.as_ref()) {
                self.counters.broken.inc();
                self.interest.told(channel, top);
                self.sink.broken(channel);
            }
        }
        Ok(())
    }
}
