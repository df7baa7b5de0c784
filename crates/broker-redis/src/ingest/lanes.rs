//! Entries in memory: those of one channel one after another, those of others beside them.

use std::collections::{BTreeSet, HashMap, VecDeque};

use fanfare_protocol::Channel;

use super::entry::{Entry, Id};
use crate::limits::{LANES_AT_ONCE_MAX, QUEUED_BYTES_MAX, QUEUED_ENTRIES_MAX};

/// What orders an entry: its channel. Poison has none, and is alone.
pub(super) type Lane = Option<Channel>;

/// Entries that were read and are not done. A channel is here while one of its entries is under way; the queue is
/// what waits behind it.
#[derive(Default)]
pub(super) struct Lanes {
    behind: HashMap<Channel, VecDeque<Entry>>,
    /// May be begun.
    ready: VecDeque<(Lane, Entry)>,
    under_way: usize,
    open: BTreeSet<Id>,
    bytes: usize,
}

impl Lanes {
    /// Takes an entry in, unless it is here.
    pub(super) fn push(&mut self, lane: Lane, entry: Entry) {
        if !self.open.insert(entry.id) {
            return;
        }
        self.bytes += entry.bytes;
        match lane {
            Some(channel) => match self.behind.get_mut(&channel) {
                Some(behind) => behind.push_back(entry),
                None => {
                    self.behind.insert(channel.clone(), VecDeque::new());
                    self.ready.push_back((Some(channel), entry));
                }
            },
            None => self.ready.push_back((None, entry)),
        }
    }

    /// The next one to be carried out.
    pub(super) fn begin(&mut self) -> Option<(Lane, Entry)> {
        if self.under_way >= LANES_AT_ONCE_MAX {
            return None;
        }
        let begun = self.ready.pop_front()?;
        self.under_way += 1;
        Some(begun)
    }

    /// It is done: the next one of its channel may be begun.
    pub(super) fn finish(&mut self, lane: Lane, entry: &Entry) {
        self.under_way -= 1;
        self.open.remove(&entry.id);
        self.bytes -= entry.bytes;
        let Some(channel) = lane else { return };
        match self.behind.get_mut(&channel).and_then(VecDeque::pop_front) {
            Some(next) => self.ready.push_back((Some(channel), next)),
            None => drop(self.behind.remove(&channel)),
        }
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < QUEUED_ENTRIES_MAX && self.bytes < QUEUED_BYTES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The one that has been waiting for longest.
    pub(super) fn oldest(&self) -> Option<Id> {
        self.open.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        let id = format!("{number}-0").parse().unwrap();
        Entry { id, fields: Vec::new(), bytes: 10, too_large: false, poison: None }
    }

    fn channel(name: &str) -> Lane {
        Some(Channel::parse(name).unwrap())
    }

    fn begun(lanes: &mut Lanes) -> Vec<String> {
        std::iter::from_fn(|| lanes.begin()).map(|(_, entry)| entry.id.to_string()).collect()
    }

    #[test]
    fn a_channel_waits_for_itself_alone() {
        let mut lanes = Lanes::default();
        for (number, lane) in [(1, channel("a")), (2, channel("a")), (3, None), (4, channel("b")), (5, channel("a"))] {
            lanes.push(lane, entry(number));
        }
        assert_eq!(begun(&mut lanes), ["1-0", "3-0", "4-0"]);
        lanes.finish(channel("b"), &entry(4));
        assert!(begun(&mut lanes).is_empty());
        lanes.finish(channel("a"), &entry(1));
        assert_eq!(begun(&mut lanes), ["2-0"]);
        assert_eq!(lanes.oldest(), Some(entry(2).id));
        lanes.push(channel("a"), entry(5));
        lanes.finish(channel("a"), &entry(2));
        assert_eq!(begun(&mut lanes), ["5-0"], "what is here already is not taken again");
        lanes.finish(None, &entry(3));
        lanes.finish(channel("a"), &entry(5));
        assert!(lanes.is_empty() && lanes.behind.is_empty());
        assert_eq!((lanes.bytes, lanes.under_way), (0, 0));
    }

    #[test]
    fn what_is_read_and_what_is_under_way_have_bounds() {
        let mut lanes = Lanes::default();
        let mut number = 0;
        while lanes.has_room() {
            number += 1;
            lanes.push(None, entry(number));
        }
        assert_eq!(number as usize, QUEUED_ENTRIES_MAX);
        assert_eq!(begun(&mut lanes).len(), LANES_AT_ONCE_MAX);
        lanes.push(None, Entry { bytes: QUEUED_BYTES_MAX, ..entry(number + 1) });
        lanes.finish(None, &entry(1));
        lanes.finish(None, &entry(2));
        assert!(!lanes.has_room(), "the bytes count as well");
    }
}
