//! A session's bounded queue to its socket.
//!
//! Frames wait here by reference until the end of the tick, when one write takes as many as it can. The head
//! frame may be partly written: it has to be finished before anything else may follow, a close frame included.

use std::collections::{BTreeSet, VecDeque};

use crate::frame::Frame;
use crate::slots::SlotId;

/// Places kept for reuse by an empty outbox: 4 × 16 bytes.
const SPARE_FRAMES: usize = 4;

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

/// Frames on their way to one socket, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
    head_written: usize,
}

impl Outbox {
    /// Appends a frame. The caller looks at [`Self::bytes`] afterwards and ends a session that is over its bound.
    pub(crate) fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Bytes not yet written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The unwritten part of the first frame.
    pub(crate) fn head(&self) -> &[u8] {
        self.frames.front().map_or(&[], |frame| &frame[self.head_written..])
    }

    /// Whether more than the first frame waits.
    pub(crate) fn has_more_than_head(&self) -> bool {
        self.frames.len() > 1
    }

    /// Copies frames to `cork`, as many as fit in `bytes_max`, the unwritten part of the first one always.
    pub(crate) fn gather(&self, cork: &mut Vec<u8>, bytes_max: usize) {
        cork.extend_from_slice(self.head());
        for frame in self.frames.iter().skip(1) {
            if cork.len() + frame.len() > bytes_max {
                return;
            }
            cork.extend_from_slice(frame);
        }
    }

    /// Takes `written` bytes off the front; returns how much memory that freed.
    pub(crate) fn advance(&mut self, mut written: usize) -> usize {
        self.bytes -= written;
        let mut freed = 0;
        while let Some(head) = self.frames.front() {
            let left = head.len() - self.head_written;
            if written < left {
                self.head_written += written;
                return freed;
            }
            written -= left;
            self.head_written = 0;
            freed += freed_with(head);
            self.frames.pop_front();
        }
        self.frames.shrink_to(SPARE_FRAMES);
        freed
    }

    /// Drops everything but the frame in progress; returns how much memory that freed.
    pub(crate) fn cut(&mut self) -> usize {
        let freed = self.frames.drain(self.in_progress()..).map(|frame| freed_with(&frame)).sum();
        self.frames.shrink_to(SPARE_FRAMES);
        self.bytes = self.head().len();
        freed
    }

    /// Drops publications of these channels, the oldest first, until not more than `bytes_max` waits. The frame in
    /// progress stays, and everything else.
    pub(crate) fn drop_oldest(&mut self, bytes_max: usize, channels: &BTreeSet<SlotId>) -> Dropped {
        let mut dropped = Dropped::default();
        let (before, mut to_finish) = (self.bytes, self.in_progress());
        self.frames.retain(|frame| {
            if to_finish > 0 {
                to_finish -= 1;
                return true;
            }
            let channel = frame.droppable().filter(|channel| channels.contains(channel));
            let Some(channel) = channel.filter(|_| before - dropped.bytes > bytes_max) else { return true };
            dropped.frames += 1;
            dropped.bytes += frame.len();
            dropped.memory_bytes += freed_with(frame);
            dropped.channels.insert(channel);
            false
        });
        self.bytes -= dropped.bytes;
        dropped
    }

    /// Drops everything; returns how much memory that freed.
    pub(crate) fn clear(&mut self) -> usize {
        self.head_written = 0;
        self.cut()
    }

    /// How many frames have to be finished before anything else may follow.
    fn in_progress(&self) -> usize {
        usize::from(self.head_written > 0)
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
        assert!(outbox.frames.capacity() >= 1_000);
        outbox.advance(2_999);
        outbox.advance(1);
        assert_eq!(outbox.frames.capacity(), SPARE_FRAMES);
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
