//! WebSocket frames towards clients (RFC 6455 §5.2): never masked, never fragmented, so that all recipients of a
//! publication get the same bytes.

use std::rc::Rc;

/// A whole frame, header included, shared by the outboxes of one shard.
pub(crate) type Frame = Rc<[u8]>;

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

/// Builds frames; keeps its buffer from one to the next.
#[derive(Debug, Default)]
pub(crate) struct FrameEncoder {
    buffer: Vec<u8>,
}

impl FrameEncoder {
    /// The frame around what `write` appends.
    pub(crate) fn frame(&mut self, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
        self.buffer.clear();
        self.buffer.resize(HEADER_BYTES_MAX, 0);
        write(&mut self.buffer);
        let start = put_header(&mut self.buffer, opcode);
        let frame = Frame::from(&self.buffer[start..]);
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

/// Writes the header just before the payload, which begins at [`HEADER_BYTES_MAX`]; returns where it begins.
fn put_header(buffer: &mut [u8], opcode: Opcode) -> usize {
    let length = buffer.len() - HEADER_BYTES_MAX;
    let (start, marker) = match length {
        0..=125 => (8, length as u8),
        126..=0xFFFF => (6, 126),
        _ => (0, 127),
    };
    buffer[start] = 0x80 | opcode as u8;
    buffer[start + 1] = marker;
    let bytes = (length as u64).to_be_bytes();
    let extended = HEADER_BYTES_MAX - start - 2;
    buffer[start + 2..HEADER_BYTES_MAX].copy_from_slice(&bytes[8 - extended..]);
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
    fn a_close_frame_carries_code_and_reason() {
        let frame = FrameEncoder::default().close(3501, "bad request");
        assert_eq!(&frame[..4], &[0x88, 13, 0x0D, 0xAD]);
        assert_eq!(&frame[4..], b"bad request");
    }
}
