//! A session's bounded queue to its socket.
//!
//! Frames wait here by reference until the end of the tick, when one write takes as many as it can. The head
//! frame may be partly written: it has to be finished before anything else may follow, a close frame included.

use std::collections::{BTreeSet, VecDeque};

use crate::frame::Frame;
use crate::limits::{CORK_BYTES, LARGE_FRAME_BYTES};
use crate::slots::SlotId;

/// Places kept by an outbox that is filled faster than it is written: 32 × 16 bytes. With one that is not, no place beside
/// the first frame's is kept.
const SPARE_FRAMES: usize = 32;

/// What a frame's place takes, in a queue that is half full.
pub(crate) const PLACE_BYTES: usize = 2 * size_of::<Frame>();

/// The memory that goes when a frame leaves an outbox.
fn freed_with(frame: &Frame) -> usize {
    PLACE_BYTES + frame.own_memory_bytes()
}

/// What was dropped from an outbox.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    pub(crate) frames: u64,
    pub(crate) bytes: usize,
    /// The memory that this freed.
    pub(crate) memory_bytes: usize,
    /// Whose publications they were.
    pub(crate) channels: BTreeSet<SlotId>,
}

/// Frames on their way to one socket, in order. Mostly there is one, which needs no memory beside the outbox.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    head: Option<Frame>,
    /// What follows; empty without a head.
    rest: VecDeque<Frame>,
    bytes: usize,
    head_written: usize,
}

impl Outbox {
    /// Appends a frame. The caller looks at [`Self::bytes`] afterwards and ends a session that is over its bound.
    #[inline]
    pub(crate) fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        if self.head.is_none() {
            self.head = Some(frame);
        } else {
            self.rest.push_back(frame);
        }
    }

    /// Bytes not yet written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// What to write next: the first frame by itself if it is alone or large, else as many as fit together, copied to
    /// `cork`.
    #[inline]
    pub(crate) fn next_write<'a>(&'a self, cork: &'a mut Vec<u8>) -> &'a [u8] {
        if self.rest.is_empty() || self.head().len() >= LARGE_FRAME_BYTES {
            return self.head();
        }
        cork.clear();
        self.gather(cork, CORK_BYTES);
        cork
    }

    /// The unwritten part of the first frame.
    pub(crate) fn head(&self) -> &[u8] {
        self.head.as_ref().map_or(&[], |frame| &frame[self.head_written..])
    }

    /// Copies frames to `cork`, as many as fit in `bytes_max`, the unwritten part of the first one always.
    pub(crate) fn gather(&self, cork: &mut Vec<u8>, bytes_max: usize) {
        cork.extend_from_slice(self.head());
        for frame in &self.rest {
            if cork.len() + frame.len() > bytes_max {
                return;
            }
            cork.extend_from_slice(frame);
        }
    }

    /// Takes `written` bytes off the front; returns how much memory that freed.
    pub(crate) fn advance(&mut self, mut written: usize) -> usize {
        self.bytes -= written;
        if self.bytes == 0 {
            return self.take_all();
        }
        let mut freed = 0;
        while let Some(head) = &self.head {
            let left = head.len() - self.head_written;
            if written < left {
                self.head_written += written;
                break;
            }
            written -= left;
            self.head_written = 0;
            freed += freed_with(head);
            self.head = self.rest.pop_front();
        }
        self.shrink();
        freed
    }

    /// Gives back the places of a burst where most of them are free: an outbox may never become empty again, and
    /// places are accounted for only as far as frames stand in them.
    fn shrink(&mut self) {
        let (frames, places) = (self.rest.len(), self.rest.capacity());
        if places > SPARE_FRAMES && frames <= places / 4 {
            self.rest.shrink_to(SPARE_FRAMES.max(2 * frames));
        }
    }

    /// Takes everything out; returns how much memory that freed.
    fn take_all(&mut self) -> usize {
        self.head_written = 0;
        let head = self.head.take().map_or(0, |frame| freed_with(&frame));
        if self.rest.capacity() == 0 { head } else { head + self.drop_rest() }
    }

    /// Drops what follows the head. Where nothing did, its places go too: it was not filled faster than written.
    fn drop_rest(&mut self) -> usize {
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
            return 0;
        }
        let freed = self.rest.drain(..).map(|frame| freed_with(&frame)).sum();
        self.rest.shrink_to(SPARE_FRAMES);
        freed
    }

    /// Drops everything but the frame in progress; returns how much memory that freed.
    pub(crate) fn cut(&mut self) -> usize {
        let freed = if self.is_in_progress() { self.drop_rest() } else { self.take_all() };
        self.bytes = self.head().len();
        freed
    }

    /// Drops publications of these channels, the oldest first, until not more than `bytes_max` waits. The frame in
    /// progress stays, and everything else.
    pub(crate) fn drop_oldest(&mut self, bytes_max: usize, channels: &BTreeSet<SlotId>) -> Dropped {
        let mut dropped = Dropped::default();
        let before = self.bytes;
        let mut stays = |frame: &Frame| {
            let channel = frame.droppable().filter(|channel| channels.contains(channel));
            let Some(channel) = channel.filter(|_| before - dropped.bytes > bytes_max) else { return true };
            dropped.frames += 1;
            dropped.bytes += frame.len();
            dropped.memory_bytes += freed_with(frame);
            dropped.channels.insert(channel);
            false
        };
        if !self.is_in_progress() {
            self.head.take_if(|head| !stays(head));
        }
        self.rest.retain(stays);
        if self.head.is_none() {
            self.head = self.rest.pop_front();
        }
        self.bytes -= dropped.bytes;
        dropped
    }

    /// Drops everything; returns how much memory that freed.
    pub(crate) fn clear(&mut self) -> usize {
        self.bytes = 0;
        self.take_all()
    }

    /// Whether the first frame has to be finished before anything else may follow.
    fn is_in_progress(&self) -> bool {
        self.head_written > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameEncoder, Opcode};

    fn outbox(frames: &[&str]) -> Outbox {
        let mut outbox = Outbox::default();
        for frame in frames {
            outbox.push(Frame::from(frame.as_bytes()));
        }
        outbox
    }

    fn gathered(outbox: &Outbox, max: usize) -> String {
        let mut cork = Vec::new();
        outbox.gather(&mut cork, max);
        String::from_utf8(cork).unwrap()
    }

    #[test]
    fn gathers_whole_frames_in_order_and_goes_on_after_a_partial_write() {
        let mut outbox = outbox(&["abc", "def", "ghi"]);
        assert_eq!(gathered(&outbox, 6), "abcdef");
        outbox.advance(4);
        assert_eq!(outbox.bytes(), 5);
        assert_eq!(gathered(&outbox, 100), "efghi");
        outbox.advance(5);
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn no_room_is_kept_of_a_burst() {
        let mut outbox = outbox(&["abc"; 1_000]);
        assert!(outbox.rest.capacity() >= 999);
        outbox.advance(3_000);
        assert_eq!(outbox.rest.capacity(), SPARE_FRAMES);
        outbox.push(Frame::from(&b"abc"[..]));
        outbox.advance(3);
        assert_eq!(outbox.rest.capacity(), 0);
    }

    #[test]
    fn defect_an_outbox_that_never_became_empty_kept_the_places_of_a_burst() {
        let mut outbox = outbox(&["abc"; 1_000]);
        outbox.advance(2_400);
        assert!(outbox.rest.capacity() <= 2 * outbox.rest.len(), "{} places", outbox.rest.capacity());
        outbox.advance(3 * 190);
        assert_eq!((outbox.rest.len(), outbox.rest.capacity()), (9, SPARE_FRAMES));
    }

    #[test]
    fn a_first_frame_over_the_cork_is_gathered_alone() {
        assert_eq!(gathered(&outbox(&["abcdef", "g"]), 4), "abcdef");
    }

    #[test]
    fn the_oldest_of_some_channels_go_until_there_is_room_and_the_frame_in_progress_stays() {
        let [drops, keeps] = [1, 2].map(|index| SlotId { index, generation: 0 });
        let mut outbox = Outbox::default();
        for (channel, text) in [(drops, "a"), (drops, "b"), (keeps, "c"), (drops, "d"), (drops, "e")] {
            outbox.push(
                FrameEncoder::default().droppable(channel, Opcode::Text, |out| out.extend_from_slice(text.as_bytes())),
            );
        }
        outbox.push(Frame::from(&b"reply"[..]));
        outbox.advance(1);
        let dropped = outbox.drop_oldest(13, &BTreeSet::from([drops]));
        assert_eq!((dropped.frames, dropped.bytes, dropped.channels), (2, 6, BTreeSet::from([drops])));
        let mut left = Vec::new();
        outbox.gather(&mut left, 100);
        assert_eq!(left, b"\x01a\x81\x01c\x81\x01ereply");
        assert_eq!(outbox.bytes(), 13);
        assert_eq!(outbox.drop_oldest(0, &BTreeSet::from([drops])).frames, 1);
        assert_eq!(outbox.drop_oldest(0, &BTreeSet::from([drops])).frames, 0);
    }

    #[test]
    fn places_are_kept_only_while_frames_wait_behind_others() {
        let mut outbox = outbox(&["abc", "def"]);
        outbox.advance(6);
        assert!(outbox.rest.capacity() > 0);
        outbox.push(Frame::from(&b"ghi"[..]));
        outbox.advance(3);
        assert_eq!(outbox.rest.capacity(), 0);
    }

    #[test]
    fn a_cut_keeps_the_frame_in_progress() {
        let mut started = outbox(&["abc", "def", "ghi"]);
        started.advance(1);
        started.cut();
        assert_eq!(gathered(&started, 100), "bc");
        assert_eq!(started.bytes(), 2);
        let mut fresh = outbox(&["abc", "def"]);
        fresh.cut();
        assert!(fresh.is_empty());
        assert_eq!(fresh.bytes(), 0);
    }
}
