//! One channel's stream: what is retained, and where its top is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_protocol::Channel;

use super::ledger::{Ledger, Limit};
use super::limits::{LIFETIME_MAX, VERSION_EPOCH_OVERHEAD_BYTES};
use super::weight;
use crate::{Error, HistoryQuery, Publication, Publish, Retention, StreamPosition, Version};

/// A publish whose room is reserved, on its way to its place.
pub(super) struct Draft<'a> {
    pub(super) channel: &'a Channel,
    pub(super) publish: Publish,
    pub(super) now: Instant,
}

impl Draft<'_> {
    /// The version given by the publisher; 0 counts as none.
    fn version(&self) -> Option<&Version> {
        self.publish.version.as_ref().filter(|version| version.number > 0)
    }

    /// A publication without a place.
    pub(super) fn into_live(self) -> Publication {
        let data = self.publish.data.clone();
        self.into_publication(None, data)
    }

    /// A publication at its place. Copies the payload: what is retained must not hold more alive than it was
    /// charged for.
    fn into_retained(self, position: StreamPosition) -> Publication {
        let data = Bytes::copy_from_slice(&self.publish.data);
        self.into_publication(Some(position), data)
    }

    fn into_publication(self, position: Option<StreamPosition>, data: Bytes) -> Publication {
        Publication {
            channel: self.channel.clone(),
            data,
            json: self.publish.json,
            position,
            info: self.publish.info,
            tags: self.publish.tags,
            version: self.publish.version.map_or(0, |version| version.number),
            accepted_at: self.now,
        }
    }
}

/// What became of a draft for a stream.
pub(super) enum Appended {
    Accepted(Arc<Publication>),
    /// The version guard ignored it; the stream's top.
    Outdated(StreamPosition),
}

/// The retained publications have the offsets up to `top` without a hole, so an offset is an index.
#[derive(Debug)]
pub(super) struct Stream {
    epoch: Arc<str>,
    top: u64,
    publications: VecDeque<Arc<Publication>>,
    /// The highest version of each version epoch.
    versions: BTreeMap<Box<str>, u64>,
    retention: Retention,
    last_at: Instant,
    /// When the stripe looks at this stream again: never later than [`Self::deadline`].
    pub(super) wake_at: Instant,
}

impl Stream {
    pub(super) fn new(epoch: Arc<str>, retention: Retention, now: Instant) -> Self {
        Self {
            epoch,
            top: 0,
            publications: VecDeque::new(),
            versions: BTreeMap::new(),
            retention,
            last_at: now,
            wake_at: now,
        }
    }

    pub(super) fn top(&self) -> StreamPosition {
        StreamPosition { offset: self.top, epoch: self.epoch.clone() }
    }

    /// Gives the draft the next offset and keeps it. An error has changed nothing.
    pub(super) fn append(
        &mut self,
        ledger: &Ledger,
        draft: Draft<'_>,
        retention: Retention,
    ) -> Result<Appended, Error> {
        if draft.version().is_some_and(|version| self.is_outdated(version)) {
            return Ok(Appended::Outdated(self.top()));
        }
        let excess = (self.publications.len() + 1).saturating_sub(retention.size);
        self.pay(ledger, excess, &draft)?;
        self.publications.drain(..excess);
        self.retention = retention;
        Ok(Appended::Accepted(self.push(draft)))
    }

    /// The part of the stream that was asked for; the caller has checked the query.
    pub(super) fn read(&self, query: &HistoryQuery) -> Vec<Arc<Publication>> {
        if query.reverse {
            let below = self.publications.range(..self.count_below(query));
            return below.rev().take(query.limit).cloned().collect();
        }
        let above = self.publications.range(self.count_up_to(query)..);
        above.take(query.limit).cloned().collect()
    }

    /// Drops all publications, keeps the position and the versions.
    pub(super) fn clear(&mut self, ledger: &Ledger) {
        self.drop_oldest(ledger, self.publications.len());
    }

    /// Drops the publications whose time is over.
    pub(super) fn expire(&mut self, ledger: &Ledger, now: Instant) {
        let ttl = self.ttl();
        let over = self.publications.partition_point(|publication| publication.accepted_at + ttl <= now);
        self.drop_oldest(ledger, over);
    }

    /// Whether nothing needs to be known of the stream any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.publications.is_empty() && self.over_at() <= now
    }

    /// When the next thing about the stream expires.
    pub(super) fn deadline(&self) -> Instant {
        self.publications.front().map_or_else(|| self.over_at(), |oldest| oldest.accepted_at + self.ttl())
    }

    /// Gives back what the stream still holds in the ledger.
    pub(super) fn close(mut self, ledger: &Ledger) {
        self.clear(ledger);
        let versions = self.versions.keys().map(|epoch| weight_of_version(epoch)).sum();
        ledger.release(Limit::HistoryBytes, versions);
    }

    /// Takes what the draft needs out of the ledger, against what the oldest publications give back.
    fn pay(&self, ledger: &Ledger, excess: usize, draft: &Draft<'_>) -> Result<(), Error> {
        let needed = weight::of_publish(&draft.publish) + self.weight_of_new_version(draft.version());
        ledger.exchange(Limit::HistoryBytes, self.weight_of_oldest(excess), needed)
    }

    fn push(&mut self, draft: Draft<'_>) -> Arc<Publication> {
        if let Some(version) = draft.version() {
            self.raise_version(version);
        }
        self.top += 1;
        self.last_at = draft.now;
        let publication = Arc::new(draft.into_retained(self.top()));
        self.publications.push_back(publication.clone());
        publication
    }

    fn ttl(&self) -> Duration {
        self.retention.ttl.min(LIFETIME_MAX)
    }

    fn over_at(&self) -> Instant {
        self.last_at + self.retention.meta_ttl.max(self.retention.ttl).min(LIFETIME_MAX)
    }

    fn drop_oldest(&mut self, ledger: &Ledger, count: usize) {
        ledger.release(Limit::HistoryBytes, self.weight_of_oldest(count));
        if count == self.publications.len() {
            // An emptied queue would keep its capacity for the whole lifetime of the meta.
            self.publications = VecDeque::new();
            return;
        }
        self.publications.drain(..count);
    }

    fn weight_of_oldest(&self, count: usize) -> usize {
        self.publications.iter().take(count).map(|publication| weight::of_publication(publication)).sum()
    }

    fn weight_of_new_version(&self, version: Option<&Version>) -> usize {
        let new = version.filter(|version| !self.versions.contains_key(version.epoch.as_str()));
        new.map_or(0, |version| weight_of_version(&version.epoch))
    }

    fn is_outdated(&self, version: &Version) -> bool {
        self.versions.get(version.epoch.as_str()).is_some_and(|highest| version.number <= *highest)
    }

    fn raise_version(&mut self, version: &Version) {
        match self.versions.get_mut(version.epoch.as_str()) {
            Some(highest) => *highest = version.number,
            None => drop(self.versions.insert(version.epoch.as_str().into(), version.number)),
        }
    }

    fn lowest_offset(&self) -> u64 {
        self.top + 1 - self.publications.len() as u64
    }

    /// How many of the publications a forward read leaves out.
    fn count_up_to(&self, query: &HistoryQuery) -> usize {
        let Some(since) = &query.since else { return 0 };
        self.bounded(since.offset.saturating_add(1).saturating_sub(self.lowest_offset()))
    }

    /// How many of the publications a reverse read may show.
    fn count_below(&self, query: &HistoryQuery) -> usize {
        let Some(since) = &query.since else {
            return self.publications.len();
        };
        if since.offset > self.top.saturating_add(1) {
            return 0;
        }
        self.bounded(since.offset.saturating_sub(self.lowest_offset()))
    }

    fn bounded(&self, count: u64) -> usize {
        usize::try_from(count).unwrap_or(usize::MAX).min(self.publications.len())
    }
}

fn weight_of_version(epoch: &str) -> usize {
    VERSION_EPOCH_OVERHEAD_BYTES + epoch.len()
}

#[cfg(test)]
mod tests {
    use super::super::limits::CHANNEL_BYTES_MAX;
    use super::*;

    #[test]
    fn the_figure_for_a_channel_covers_its_parts() {
        let entry = (size_of::<Stream>() + size_of::<Channel>() + 1) * 16 / 7;
        let deadline = 2 * size_of::<(Instant, Channel)>();
        let name = Channel::BYTES_MAX + 16 + 16;
        assert!(entry + deadline + name <= CHANNEL_BYTES_MAX, "{entry} + {deadline} + {name}");
    }
}
