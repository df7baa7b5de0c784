//! tungstenite's protocol without a socket: bytes in, messages and answers out.
//!
//! Before tungstenite sees them, the bytes pass [`FrameCheck`], which judges every header and picks the close code.
//! What is left to tungstenite to refuse is what stands in payloads: text that is not UTF-8.

use std::io::{self, ErrorKind, Read, Write};

use fanfare_protocol::{FrameCheck, FrameLimits, FrameViolation};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketContext};
use tokio_tungstenite::tungstenite::{self, Error};

use crate::application::Message;
use crate::limits;
use crate::rates::Reading;

/// What came in.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    /// Whole messages.
    pub(crate) messages: Vec<Message>,
    /// Pong frames, if pings are frames on this connection.
    pub(crate) pongs: u32,
    /// Behind these there is a message that is not whole.
    pub(crate) is_followed: bool,
    /// The peer has ended the connection, in order or by a violation.
    pub(crate) ended: Option<Result<(), FrameViolation>>,
    /// What is answered to the end: to be queued behind the replies to `messages`, for nothing may follow a close.
    pub(crate) last_answers: Vec<u8>,
    /// Whether the next read has to wait.
    pub(crate) reading: Reading,
}

impl Inbound {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.pongs == 0 && self.ended.is_none() && self.reading == Reading::GoesOn
    }

    /// Bytes of the messages.
    pub(crate) fn bytes(&self) -> u32 {
        // One read completes one message that was begun before, and those that lie whole in it.
        self.messages.iter().map(|message| message.data().len() as u32).sum()
    }
}

/// What is kept of a connection's input between two reads.
#[derive(Debug)]
pub(crate) struct Intake {
    check: FrameCheck,
    /// tungstenite's state while a message is not whole. Between two messages there is nothing to keep, and a new state
    /// for the next one costs less than what an old one would take of an idle connection: half of it (I11).
    websocket: Option<Box<WebSocketContext>>,
    /// What is counted for this connection: of a message that is not whole, and of those that are carried out.
    pub(crate) counted_bytes: u32,
    native_ping: bool,
}

/// One read's bytes, and what is to be written for them.
struct Wire<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Intake {
    pub(crate) fn new(native_ping: bool) -> Self {
        Self { check: FrameCheck::new(), websocket: None, counted_bytes: 0, native_ping }
    }

    /// What is kept of a message that is not whole, after a read of this length: at most, since what else the read brought
    /// is counted too.
    pub(crate) fn partial_bytes(&self, inbound: &Inbound, length: usize, message_bytes_max: usize) -> u32 {
        if !inbound.is_followed {
            return 0;
        }
        let state = limits::WEBSOCKET_STATE_BYTES as u32;
        let before = if inbound.messages.is_empty() { self.counted_bytes.saturating_sub(state) } else { 0 };
        let message_bytes_max = u32::try_from(message_bytes_max).unwrap_or(u32::MAX);
        before.saturating_add(length as u32).min(message_bytes_max).saturating_add(state)
    }

    /// Takes what one read brought, in the given second. Returns what came in and what is to be answered.
    pub(crate) fn take(&mut self, input: &[u8], limits: &FrameLimits, second: u64) -> (Inbound, Vec<u8>) {
        // The first turn of a connection, or TLS records that hold nothing: no state is made for that.
        if input.is_empty() {
            return (Inbound { is_followed: self.websocket.is_some(), ..Inbound::default() }, Vec::new());
        }
        // Only whether it is the same second is of interest.
        let judged = self.check.take(input, limits, second as u32);
        let mut websocket = self.websocket.take().map_or_else(|| websocket(limits), |kept| *kept);
        let mut wire = Wire { input: &input[..judged.accepted], output: Vec::new() };
        let mut inbound = Inbound::default();
        while inbound.ended.is_none() {
            match websocket.read(&mut wire) {
                Ok(message) => self.take_message(message, &mut inbound),
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => inbound.ended = Some(Ok(())),
                Err(error) => inbound.ended = Some(Err(violation(&error))),
            }
        }
        if inbound.ended.is_none() {
            inbound.ended = judged.violation.map(Err);
        }
        inbound.is_followed = !self.check.is_between_messages();
        if inbound.is_followed {
            self.websocket = Some(Box::new(websocket));
        }
        (inbound, wire.output)
    }

    fn take_message(&self, message: tungstenite::Message, inbound: &mut Inbound) {
        use tungstenite::Message::{Binary, Close, Frame, Ping, Pong, Text};
        match message {
            Text(text) => inbound.messages.push(Message::Text(text.into())),
            Binary(bytes) => inbound.messages.push(Message::Binary(bytes)),
            Pong(_) => inbound.pongs += u32::from(self.native_ping),
            // The answer to a ping or a close is written by the next read, which after a close then ends.
            Ping(_) | Close(_) | Frame(_) => {}
        }
    }
}

/// The server's end of a WebSocket, which has read nothing yet.
fn websocket(limits: &FrameLimits) -> WebSocketContext {
    let config = limits::websocket_config(limits.message_bytes_max as usize);
    WebSocketContext::new(Role::Server, Some(config))
}

/// What tungstenite found. But for text it has nothing left to find (see the properties).
fn violation(error: &Error) -> FrameViolation {
    match error {
        Error::Utf8(_) => FrameViolation::InvalidText,
        _ => FrameViolation::Other,
    }
}

#[cfg(test)]
mod properties;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod verdicts;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::options::Options;

    fn text(payload: &'static str) -> Message {
        Message::Text(Bytes::from_static(payload.as_bytes()))
    }

    /// A masked client frame with an all-zero mask.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
        bytes.extend_from_slice(payload);
        bytes
    }

    struct Peer {
        limits: FrameLimits,
        intake: Intake,
    }

    impl Peer {
        fn new(message_bytes_max: usize) -> Self {
            let options = Options { message_bytes_max, ..Options::default() };
            Self { limits: options.frame_limits(), intake: Intake::new(true) }
        }

        fn take(&mut self, input: &[u8]) -> (Inbound, Vec<u8>) {
            self.intake.take(input, &self.limits, 1)
        }

        fn code(&mut self, input: &[u8]) -> u16 {
            self.take(input).0.ended.unwrap().unwrap_err().disconnect().code
        }
    }

    #[test]
    fn messages_come_out_whole_even_byte_by_byte() {
        let mut peer = Peer::new(1_000);
        let mut messages = Vec::new();
        for byte in [frame(0x81, b"one"), frame(0x82, b"two")].concat() {
            messages.extend(peer.take(&[byte]).0.messages);
        }
        assert_eq!(messages, [text("one"), Message::Binary(Bytes::from_static(b"two"))]);
    }

    #[test]
    fn a_ping_is_answered_and_a_pong_is_told() {
        let (inbound, answers) = Peer::new(1_000).take(&[frame(0x89, b"hi"), frame(0x8A, b"")].concat());
        assert_eq!(answers, [0x8A, 2, b'h', b'i']);
        assert_eq!(inbound.pongs, 1);
        assert!(inbound.ended.is_none());
    }

    #[test]
    fn a_close_is_answered_and_ends_in_order() {
        let (inbound, answers) = Peer::new(1_000).take(&frame(0x88, &1000_u16.to_be_bytes()));
        assert_eq!(inbound.ended, Some(Ok(())));
        assert_eq!(answers, [0x88, 2, 0x03, 0xE8]);
    }

    #[test]
    fn violations_get_the_codes_of_rfc_6455() {
        assert_eq!(Peer::new(1_000).code(&[0x83, 0x80, 0, 0, 0, 0]), 1002, "reserved opcode");
        assert_eq!(Peer::new(1_000).code(&[0xC1, 0x80, 0, 0, 0, 0]), 1002, "RSV1");
        assert_eq!(Peer::new(1_000).code(&[0x81, 0x01, b'x']), 1002, "unmasked");
        assert_eq!(Peer::new(1_000).code(&frame(0x81, &[0xFF])), 1007, "not UTF-8");
        assert_eq!(Peer::new(10).code(&frame(0x81, &[b'x'; 11])), 1009, "too large");
    }

    #[test]
    fn a_declared_length_is_refused_before_the_data_is_there() {
        let mut header = vec![0x82, 0xFF];
        header.extend_from_slice(&(1_u64 << 40).to_be_bytes());
        header.extend_from_slice(&[0; 4]);
        assert_eq!(Peer::new(1_000).code(&header), 1009);
    }

    #[test]
    fn a_flood_of_pings_is_a_violation() {
        let per_second_max = Options::default().control_frames_per_second_max.unwrap();
        let flood = frame(0x89, b"").repeat(per_second_max as usize + 1);
        assert_eq!(Peer::new(1_000).code(&flood), 1008);
    }

    #[test]
    fn control_frames_do_not_count_as_an_unfinished_message() {
        let mut peer = Peer::new(1_000);
        for second in 0..1_000 {
            let input = frame(0x8A, &[b'x'; 125]);
            assert!(peer.intake.take(&input, &peer.limits, second).0.ended.is_none());
        }
    }

    #[test]
    fn endless_empty_fragments_are_a_violation() {
        let mut peer = Peer::new(100);
        assert!(peer.take(&frame(0x01, b"")).0.ended.is_none());
        let fragments = frame(0x00, b"").repeat(100);
        let ended = (0..11).find_map(|_| peer.take(&fragments).0.ended);
        assert_eq!(ended.unwrap(), Err(FrameViolation::Fragments));
    }

    #[test]
    fn between_two_messages_no_state_is_kept() {
        let mut peer = Peer::new(10_000);
        let keeps = |peer: &mut Peer, input: &[u8]| {
            peer.take(input);
            peer.intake.websocket.is_some()
        };
        let (next, fragment) = (frame(0x81, b"next"), frame(0x01, b"a"));
        assert!(!keeps(&mut peer, b""));
        assert!(!keeps(&mut peer, &next));
        assert!(keeps(&mut peer, &[&next[..], &next[..3]].concat()), "a part of the next frame came");
        assert!(!keeps(&mut peer, &next[3..]));
        assert!(keeps(&mut peer, &fragment));
        assert!(keeps(&mut peer, &frame(0x89, b"hi")), "the message is not whole");
        assert!(keeps(&mut peer, b""), "nothing has come");
        assert!(!keeps(&mut peer, &frame(0x80, b"b")));
    }

    #[test]
    fn defect_the_state_of_a_message_that_is_not_whole_was_not_counted() {
        let mut peer = Peer::new(1_000);
        let mut counted = |input: &[u8]| {
            let (inbound, _) = peer.take(input);
            peer.intake.counted_bytes = peer.intake.partial_bytes(&inbound, input.len(), 1_000);
            peer.intake.counted_bytes
        };
        let state = limits::WEBSOCKET_STATE_BYTES as u32;
        let message = frame(0x81, &[b' '; 100]);
        assert_eq!(counted(b""), 0);
        assert_eq!(counted(&message[..10]), 10 + state);
        assert_eq!(counted(b""), 10 + state);
        assert_eq!(counted(&message[10..50]), 50 + state, "the state is there once");
        assert_eq!(counted(&message[50..]), 0);
    }
}
