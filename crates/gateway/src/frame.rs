//! WebSocket frames towards clients (RFC 6455 §5.2): never masked, never fragmented, so that all recipients of a
//! publication get the same bytes.

use std::ops::Deref;
use std::rc::Rc;

use crate::slots::SlotId;

/// A whole frame, header included, shared by the outboxes of one shard.
///
/// In front of its bytes stands a mark of eight: the channel whose publication may be dropped for a slow consumer, or
/// zeros. There it costs no place in an outbox, of which there are as many as recipients.
#[derive(Debug, Clone)]
pub(crate) struct Frame(Rc<[u8]>);

/// Bytes of the mark.
const MARK_BYTES: usize = 8;

/// What a frame takes beside its bytes: the mark, two counts of references, and the allocator's own.
const OVERHEAD_BYTES: usize = MARK_BYTES + 16 + 16;

impl Frame {
    /// The channel of a publication that may be dropped.
    pub(crate) fn droppable(&self) -> Option<SlotId> {
        let mark = u64::from_le_bytes(*self.0.first_chunk()?);
        // The index is one higher, so that no channel is all zeros.
        let index = (mark as u32).checked_sub(1)?;
        Some(SlotId { index, generation: (mark >> 32) as u32 })
    }

    /// The memory that it takes, whoever shares it.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.len() - MARK_BYTES + OVERHEAD_BYTES
    }

    /// The memory that goes with this reference: none while there are others.
    pub(crate) fn own_memory_bytes(&self) -> usize {
        if Rc::strong_count(&self.0) == 1 { self.memory_bytes() } else { 0 }
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0[MARK_BYTES..]
    }
}

impl From<&[u8]> for Frame {
    fn from(bytes: &[u8]) -> Self {
        Self([&[0; MARK_BYTES], bytes].concat().into())
    }
}

fn mark_of(channel: SlotId) -> [u8; MARK_BYTES] {
    (u64::from(channel.index) + 1 | u64::from(channel.generation) << 32).to_le_bytes()
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
}

/// The longest header of an unmasked frame.
const HEADER_BYTES_MAX: usize = 10;

/// Where a payload begins in the encoder's buffer.
const PAYLOAD_AT: usize = MARK_BYTES + HEADER_BYTES_MAX;

/// Builds frames; keeps its buffer from one to the next.
#[derive(Debug, Default)]
pub(crate) struct FrameEncoder {
    buffer: Vec<u8>,
}

impl FrameEncoder {
    /// The frame around what `write` appends.
    pub(crate) fn frame(&mut self, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
        self.marked([0; MARK_BYTES], opcode, write)
    }

    /// The same, of a publication of this channel that may be dropped for a slow consumer.
    pub(crate) fn droppable(&mut self, channel: SlotId, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
        self.marked(mark_of(channel), opcode, write)
    }

    fn marked(&mut self, mark: [u8; MARK_BYTES], opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
        self.buffer.clear();
        self.buffer.resize(PAYLOAD_AT, 0);
        write(&mut self.buffer);
        let start = put_header(&mut self.buffer, opcode);
        self.buffer[start - MARK_BYTES..start].copy_from_slice(&mark);
        let frame = Frame(Rc::from(&self.buffer[start - MARK_BYTES..]));
        self.buffer.shrink_to(crate::limits::LARGE_FRAME_BYTES);
        frame
    }

    /// A close frame.
    pub(crate) fn close(&mut self, code: u16, reason: &str) -> Frame {
        self.frame(Opcode::Close, |out| {
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(reason.as_bytes());
        })
    }
}

/// Writes the header just before the payload, which begins at [`PAYLOAD_AT`]; returns where it begins.
fn put_header(buffer: &mut [u8], opcode: Opcode) -> usize {
    let length = buffer.len() - PAYLOAD_AT;
    let (header, form) = match length {
        0..=125 => (2, length as u8),
        126..=0xFFFF => (4, 126),
        _ => (HEADER_BYTES_MAX, 127),
    };
    let start = PAYLOAD_AT - header;
    buffer[start] = 0x80 | opcode as u8;
    buffer[start + 1] = form;
    let bytes = (length as u64).to_be_bytes();
    buffer[start + 2..PAYLOAD_AT].copy_from_slice(&bytes[8 + 2 - header..]);
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_of(length: usize) -> Frame {
        FrameEncoder::default().frame(Opcode::Text, |out| out.resize(out.len() + length, b'x'))
    }

    #[test]
    fn the_length_takes_the_shortest_form() {
        assert_eq!(&frame_of(0)[..], &[0x81, 0]);
        assert_eq!(&frame_of(125)[..2], &[0x81, 125]);
        assert_eq!(&frame_of(126)[..4], &[0x81, 126, 0, 126]);
        assert_eq!(&frame_of(65_535)[..4], &[0x81, 126, 0xFF, 0xFF]);
        assert_eq!(&frame_of(65_536)[..10], &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(frame_of(65_536).len(), 65_546);
    }

    #[test]
    fn a_frame_knows_the_channel_whose_publication_may_be_dropped() {
        assert_eq!(frame_of(3).droppable(), None);
        assert_eq!(Frame::from(&b"pong"[..]).droppable(), None);
        for channel in [SlotId { index: 0, generation: 0 }, SlotId { index: u32::MAX - 1, generation: u32::MAX }] {
            let frame = FrameEncoder::default().droppable(channel, Opcode::Text, |out| out.extend_from_slice(b"hi"));
            assert_eq!(frame.droppable(), Some(channel));
            assert_eq!(&frame[..], &[0x81, 2, b'h', b'i']);
        }
    }

    #[test]
    fn memory_goes_with_the_last_reference() {
        let frame = frame_of(100);
        let other = frame.clone();
        assert_eq!((frame.own_memory_bytes(), other.own_memory_bytes()), (0, 0));
        drop(other);
        assert_eq!(frame.own_memory_bytes(), 102 + OVERHEAD_BYTES);
    }

    #[test]
    fn a_close_frame_carries_code_and_reason() {
        let frame = FrameEncoder::default().close(3501, "bad request");
        assert_eq!(&frame[..4], &[0x88, 13, 0x0D, 0xAD]);
        assert_eq!(&frame[4..], b"bad request");
    }
}
