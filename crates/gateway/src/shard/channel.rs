//! A channel as a shard sees it: who listens, and how far its stream has come.

use std::sync::Arc;

use fanfare_broker::{Event, StreamPosition};
use fanfare_protocol::{Channel, Encoding};

use crate::directory::Listeners;
use crate::limits::HELD_BACK_BYTES_MAX;
use crate::slots::SlotId;

/// A live subscription, in the order that the fan-out goes through: 32 bytes, read in sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listener {
    /// The session's place.
    pub(crate) slot: u32,
    /// The subscription's place in its session.
    pub(crate) subscription: u32,
    /// Offsets up to this one were part of the subscribe reply.
    pub(crate) after: u64,
    pub(crate) encoding: Encoding,
    pub(crate) join_leave: bool,
    pub(crate) positioned: bool,
}

/// A subscription that waits for its history.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) session: SlotId,
    pub(crate) held_back: HeldBack,
    /// Something of the channel found no room on the ring meanwhile.
    pub(crate) broken: bool,
}

/// Events kept until something else is known; bounded in bytes.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    /// What came first and is of another stream, newer or older than what is being read: an answer in the channel's own
    /// epoch proves it older.
    pub(crate) doubted: Option<Event>,
    pub(crate) events: Vec<Event>,
    /// The offset of the first one, if it showed the gap that is being read; 0 if something else did.
    pub(crate) claimed: u64,
    bytes: usize,
    /// Something found no room on the ring meanwhile.
    pub(crate) missed: bool,
    /// More came than may be kept: what is here is not whole.
    pub(crate) overflown: bool,
}

impl HeldBack {
    pub(crate) fn doubting(event: Event) -> Self {
        Self { bytes: cost(&event), doubted: Some(event), ..Self::default() }
    }

    pub(crate) fn push(&mut self, event: Event) {
        let bytes = cost(&event);
        if self.overflown || self.bytes + bytes > HELD_BACK_BYTES_MAX {
            self.overflown = true;
            self.events = Vec::new();
            self.bytes = 0;
            return;
        }
        self.bytes += bytes;
        self.events.push(event);
    }
}

/// What an event that is held back takes.
fn cost(event: &Event) -> usize {
    event.payload_bytes() + crate::limits::RING_ENTRY_BYTES
}

/// A missing part that is being read again.
#[derive(Debug)]
pub(crate) struct Repair {
    /// Where it is read from.
    pub(crate) from: StreamPosition,
    /// What arrives meanwhile.
    pub(crate) held_back: HeldBack,
}

/// A channel with subscribers on this shard.
#[derive(Debug)]
pub(crate) struct ChannelState {
    pub(crate) name: Channel,
    /// This channel's counters in the directory.
    pub(crate) directory: Arc<Listeners>,
    /// Whether publications that wait for a slow subscriber may be dropped.
    pub(crate) drops_oldest: bool,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) joining: Vec<Joining>,
    /// The position of the last publication that was fanned out; `None` until one is known.
    pub(crate) position: Option<StreamPosition>,
    pub(crate) repair: Option<Repair>,
    /// Repairs in a row that brought the channel on but did not end the gap.
    pub(crate) repairs_in_vain: u8,
    /// When it was last compared with the broker, in milliseconds.
    pub(crate) checked_millis: u64,
    /// The broker's top at that time, if it was ahead.
    pub(crate) suspected: Option<StreamPosition>,
}

impl ChannelState {
    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.joining.is_empty()
    }

    /// Takes out what a session has among the joining, and keeps no room when it was the last: it is needed for moments.
    pub(crate) fn take_joining_out(&mut self, session: SlotId) {
        self.joining.retain(|joining| joining.session != session);
        if self.joining.is_empty() {
            self.joining = Vec::new();
        }
    }

    /// What is held back. All that join hold the same events, whoever began first the most.
    pub(crate) fn held_back_bytes(&self) -> usize {
        let joining = self.joining.iter().map(|joining| joining.held_back.bytes).max().unwrap_or(0);
        joining + self.repair.as_ref().map_or(0, |repair| repair.held_back.bytes)
    }

    /// Subscriptions, live or not yet.
    pub(crate) fn subscribers(&self) -> usize {
        self.listeners.len() + self.joining.len()
    }
}

/// What a publication's position means for a stream that is at `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// The next one.
    Next,
    /// Seen before.
    Duplicate,
    /// Something is missing before it.
    Gap,
    /// It belongs to another life of the stream.
    OtherEpoch,
}

/// Compares a position with the last one (protocol §8.5).
pub(crate) fn continuity(last: &StreamPosition, next: &StreamPosition) -> Continuity {
    if last.epoch != next.epoch {
        return Continuity::OtherEpoch;
    }
    match next.offset {
        offset if offset <= last.offset => Continuity::Duplicate,
        offset if offset == last.offset + 1 => Continuity::Next,
        _ => Continuity::Gap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(offset: u64, epoch: &str) -> StreamPosition {
        StreamPosition { offset, epoch: epoch.into() }
    }

    #[test]
    fn a_position_is_next_or_says_why_not() {
        let last = position(5, "e");
        assert_eq!(continuity(&last, &position(6, "e")), Continuity::Next);
        assert_eq!(continuity(&last, &position(5, "e")), Continuity::Duplicate);
        assert_eq!(continuity(&last, &position(7, "e")), Continuity::Gap);
        assert_eq!(continuity(&last, &position(6, "f")), Continuity::OtherEpoch);
    }
}
