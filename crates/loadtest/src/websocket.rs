//! The client's side of the WebSocket protocol (RFC 6455) over bytes in memory: the upgrade, masked frames out, frames in.
//!
//! As little as a load tester needs: no extensions, and a server's frames are read without a copy where a read ends
//! with a frame.

use std::ops::Range;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rand::RngExt as _;

use crate::plan::PAYLOAD_BYTES_MAX;

/// A server's frame or message that is larger ends the connection: above the largest payload with what is around it, and
/// above what recovery sends at once.
pub(crate) const FRAME_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;

/// The largest payload of a control frame, which may not come in parts either (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: u8 = 125;

/// The most that the answer to an upgrade may take.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong]
            .into_iter()
            .find(|opcode| *opcode as u8 == bits)
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of a frame, and where its payload lies in the bytes that were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) last: bool,
    pub(crate) opcode: Opcode,
    pub(crate) payload: Range<usize>,
}

/// What is wrong with what a server sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("the server sent a frame that no server may send")]
    Frame,
    #[error("the server sent a frame of more than {FRAME_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the server answered the upgrade with \"{0}\"")]
    Refused(String),
    #[error("the server's answer to the upgrade is no HTTP")]
    Head,
}

/// Looks at the first frame of these bytes; `None` if it is not whole yet.
pub(crate) fn first_frame(bytes: &[u8]) -> Result<Option<Frame>, Violation> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    // Neither reserved bits nor masked frames may come from a server that was asked for no extension.
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(Violation::Frame);
    }
    let opcode = Opcode::of(first & 0x0f).ok_or(Violation::Frame)?;
    let last = first & 0x80 != 0;
    // A longer payload has a larger number here, which tells where its length is.
    if opcode.is_control() && (!last || second > CONTROL_BYTES_MAX) {
        return Err(Violation::Frame);
    }
    let (header, length) = match second & 0x7f {
        126 => (4, bytes.get(2..4).map(number)),
        127 => (10, bytes.get(2..10).map(number)),
        length => (2, Some(u64::from(length))),
    };
    let Some(length) = length else { return Ok(None) };
    let length = usize::try_from(length).ok().filter(|length| *length <= FRAME_BYTES_MAX).ok_or(Violation::TooLarge)?;
    let payload = header..header + length;
    Ok((bytes.len() >= payload.end).then_some(Frame { last, opcode, payload }))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Appends a frame, masked as a client has to.
pub(crate) fn write_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode as u8);
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask: [u8; 4] = rand::rng().random();
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Appends the request to upgrade. `headers` are further lines, each with its line end.
pub(crate) fn write_upgrade(host: &str, path: &str, headers: &str, out: &mut Vec<u8>) {
    let key = BASE64_STANDARD.encode(rand::rng().random::<[u8; 16]>());
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{headers}\r\n"
    );
    out.extend_from_slice(head.as_bytes());
}

/// The length of the answer to an upgrade, if it is whole and says yes.
pub(crate) fn read_upgrade(bytes: &[u8]) -> Result<Option<usize>, Violation> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(Violation::Head) } else { Ok(None) };
    };
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.strip_prefix("HTTP/1.1 ").ok_or(Violation::Head)?;
    if !status.starts_with("101") {
        return Err(Violation::Refused(status.chars().filter(|letter| !letter.is_control()).take(60).collect()));
    }
    Ok(Some(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server would send it.
    fn unmasked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut masked = Vec::new();
        write_frame(opcode, payload, &mut masked);
        let header = masked.len() - payload.len() - 4;
        let mut frame = masked[..header].to_vec();
        frame[1] &= 0x7f;
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_of_all_lengths_are_read_once_they_are_whole() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
            let payload = vec![b'x'; length];
            let frame = unmasked(Opcode::Text, &payload);
            assert_eq!(first_frame(&frame[..frame.len() - 1]), Ok(None), "{length}");
            let read = first_frame(&frame).unwrap().unwrap();
            assert_eq!((read.last, read.opcode, &frame[read.payload]), (true, Opcode::Text, payload.as_slice()));
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        assert_eq!(first_frame(&[0xc1, 0]), Err(Violation::Frame));
        assert_eq!(first_frame(&[0x81, 0x80]), Err(Violation::Frame));
        assert_eq!(first_frame(&[0x83, 0]), Err(Violation::Frame));
        assert_eq!(first_frame(&[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0]), Err(Violation::TooLarge));
    }

    #[test]
    fn defect_control_frames_of_any_length_and_in_parts_were_taken() {
        for opcode in [Opcode::Close, Opcode::Ping, Opcode::Pong] {
            assert!(first_frame(&unmasked(opcode, &[b'x'; 125])).unwrap().is_some(), "{opcode:?}");
            assert_eq!(first_frame(&unmasked(opcode, &[b'x'; 126])[..2]), Err(Violation::Frame), "{opcode:?}");
            assert_eq!(first_frame(&unmasked(opcode, &[b'x'; 70_000])[..2]), Err(Violation::Frame), "{opcode:?}");
            assert_eq!(first_frame(&[opcode as u8, 0]), Err(Violation::Frame), "{opcode:?}");
        }
    }

    #[test]
    fn a_frame_is_masked() {
        let mut out = Vec::new();
        write_frame(Opcode::Text, b"hello", &mut out);
        assert_eq!(out[..2], [0x81, 0x85]);
        let plain: Vec<u8> = out[6..].iter().zip(out[2..6].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        assert_eq!(plain, b"hello");
    }

    #[test]
    fn an_upgrade_is_done_or_refused() {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\0";
        assert_eq!(read_upgrade(&answer[..30]), Ok(None));
        assert_eq!(read_upgrade(answer), Ok(Some(answer.len() - 2)));
        let refused = read_upgrade(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!(refused, Err(Violation::Refused("503 Service Unavailable".to_owned())));
        assert_eq!(read_upgrade(b"SSH-2.0\r\n\r\n"), Err(Violation::Head));
    }
}
