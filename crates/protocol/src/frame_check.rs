//! The headers of a client's WebSocket frames (RFC 6455 §5.2), judged before a WebSocket library sees the bytes.
//!
//! A library finds most violations by itself, but late: when a frame is whole, after it has made room for what was
//! only declared, and without a bound on fragments and control frames. The check looks at each header as its bytes
//! come, keeps numbers and no bytes, and names what it refuses. Payloads pass by unseen but for the code of a close.

use crate::Disconnect;

/// What a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of a message, all its fragments together; declaring more is refused.
    pub message_bytes_max: u32,
    /// Frames of one message.
    pub fragments_max: u32,
    /// Pings and pongs in one second.
    pub control_frames_per_second: u32,
}

/// Declares the violations: name, label, disconnect, documentation.
macro_rules! violations {
    ($($name:ident = $label:literal, $disconnect:ident, $documentation:literal;)*) => {
        /// How a client's bytes violate the WebSocket protocol, or what they take too much of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FrameViolation {
            $(#[doc = $documentation] $name,)*
        }

        impl FrameViolation {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The violation's name in metrics and logs.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// What the connection is closed with.
            pub fn disconnect(self) -> Disconnect {
                match self {
                    $(Self::$name => Disconnect::$disconnect,)*
                }
            }
        }
    };
}

violations! {
    ReservedBits = "reserved_bits", PROTOCOL_ERROR, "A reserved bit is set: no extension is ever agreed on.";
    Opcode = "opcode", PROTOCOL_ERROR, "A reserved opcode.";
    Unmasked = "unmasked", PROTOCOL_ERROR, "A frame without a mask.";
    LengthForm = "length_form", PROTOCOL_ERROR, "A length that is not in its shortest form, or of 2^63 and more.";
    ControlLength = "control_length", PROTOCOL_ERROR, "A control frame of more than 125 bytes.";
    ControlFragment = "control_fragment", PROTOCOL_ERROR, "A control frame in fragments.";
    Continuation = "continuation", PROTOCOL_ERROR, "A continuation of no message.";
    Interleaved = "interleaved", PROTOCOL_ERROR, "A new message within the fragments of another.";
    ClosePayload = "close_payload", PROTOCOL_ERROR, "A close frame of one byte, or with a code that is not to be sent.";
    InvalidText = "invalid_text", INVALID_PAYLOAD, "A text, or the reason of a close, is not UTF-8: not found here.";
    MessageBytes = "message_bytes", MESSAGE_TOO_BIG, "More than [`FrameLimits::message_bytes_max`] is declared.";
    Fragments = "fragments", POLICY, "More than [`FrameLimits::fragments_max`] frames in one message.";
    ControlRate = "control_rate", POLICY, "More than [`FrameLimits::control_frames_per_second`].";
    Other = "other", PROTOCOL_ERROR, "What the WebSocket library refuses beyond these: not found here.";
}

/// What the check says of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// So many of them, from the first on, may be handed on. Nothing counts behind a violation or a close frame.
    pub accepted: usize,
    /// What the byte behind the accepted ones violates.
    pub violation: Option<FrameViolation>,
}

/// Which part of a frame the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    First,
    Second,
    /// The length in two or eight bytes, of which so many are to come; the number as far as it has come.
    Length {
        bytes: u8,
        left: u8,
        number: u64,
    },
    /// Mask and code of a close frame, of which so many bytes are to come, and how many bytes of payload follow.
    CloseCode {
        left: u8,
        behind: u8,
        number: u64,
    },
    /// Mask and payload, of which so many bytes are to come.
    Payload {
        left: u64,
    },
    /// Behind a close frame.
    Closed,
}

/// What is remembered of one connection's frames.
#[derive(Debug)]
pub struct FrameCheck {
    stage: Stage,
    /// The first byte of the frame in hand.
    first: u8,
    /// Bytes declared so far of a message whose last fragment has not begun.
    message_bytes: u32,
    /// Frames so far of such a message; 0 between two messages.
    fragments: u32,
    /// The second that pings and pongs are counted in.
    second: u32,
    control_frames: u32,
}

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;
const MASK_BYTES: u8 = 4;
const CLOSE_CODE_BYTES: u8 = 2;
const CONTROL_BYTES_MAX: u8 = 125;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

impl Default for FrameCheck {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameCheck {
    /// The check of a new connection.
    pub fn new() -> Self {
        Self { stage: Stage::First, first: 0, message_bytes: 0, fragments: 0, second: 0, control_frames: 0 }
    }

    /// Judges the next bytes of the connection, which came in the given second. Of no use after a violation.
    pub fn take(&mut self, input: &[u8], limits: &FrameLimits, second: u32) -> Judged {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            let judged = match self.stage {
                Stage::First => self.take_first(byte, limits, second),
                Stage::Second => self.take_second(byte, limits),
                Stage::Length { bytes, left, number } => {
                    self.take_length(bytes, left - 1, number << 8 | u64::from(byte), limits)
                }
                Stage::CloseCode { left, behind, number } => {
                    self.take_close_code(left - 1, behind, number << 8 | u64::from(byte))
                }
                Stage::Payload { left } => {
                    at += self.pass(left, input.len() - at);
                    continue;
                }
                Stage::Closed => break,
            };
            if let Err(violation) = judged {
                return Judged { accepted: at, violation: Some(violation) };
            }
            at += 1;
        }
        Judged { accepted: at, violation: None }
    }

    /// Whether nothing has begun that is not whole: no frame and no message.
    pub fn is_between_messages(&self) -> bool {
        self.stage == Stage::First && self.fragments == 0
    }

    fn opcode(&self) -> u8 {
        self.first & OPCODE
    }

    fn is_control(&self) -> bool {
        self.opcode() >= CLOSE
    }

    /// Lets what is there of mask and payload pass; returns how many bytes these are.
    fn pass(&mut self, left: u64, available: usize) -> usize {
        let passed = usize::try_from(left).map_or(available, |left| left.min(available));
        self.expect_payload(left - passed as u64);
        passed
    }

    fn expect_payload(&mut self, left: u64) {
        self.stage = match (left, self.opcode()) {
            (1.., _) => Stage::Payload { left },
            (0, CLOSE) => Stage::Closed,
            (0, _) => Stage::First,
        };
    }

    fn take_first(&mut self, byte: u8, limits: &FrameLimits, second: u32) -> Result<(), FrameViolation> {
        if byte & RESERVED_BITS != 0 {
            return Err(FrameViolation::ReservedBits);
        }
        self.first = byte;
        self.stage = Stage::Second;
        let within_message = self.fragments > 0;
        match self.opcode() {
            CONTINUATION if !within_message => Err(FrameViolation::Continuation),
            TEXT | BINARY if within_message => Err(FrameViolation::Interleaved),
            CONTINUATION | TEXT | BINARY => self.count_fragment(limits),
            CLOSE | PING | PONG if byte & FIN == 0 => Err(FrameViolation::ControlFragment),
            PING | PONG => self.count_control(limits, second),
            CLOSE => Ok(()),
            _ => Err(FrameViolation::Opcode),
        }
    }

    fn count_fragment(&mut self, limits: &FrameLimits) -> Result<(), FrameViolation> {
        self.fragments += 1;
        within(self.fragments <= limits.fragments_max, FrameViolation::Fragments)
    }

    fn count_control(&mut self, limits: &FrameLimits, second: u32) -> Result<(), FrameViolation> {
        if self.second != second {
            self.second = second;
            self.control_frames = 0;
        }
        self.control_frames = self.control_frames.saturating_add(1);
        within(self.control_frames <= limits.control_frames_per_second, FrameViolation::ControlRate)
    }

    fn take_second(&mut self, byte: u8, limits: &FrameLimits) -> Result<(), FrameViolation> {
        let length = byte & !MASKED;
        within(byte & MASKED != 0, FrameViolation::Unmasked)?;
        within(!self.is_control() || length <= CONTROL_BYTES_MAX, FrameViolation::ControlLength)?;
        match length {
            126 => self.stage = Stage::Length { bytes: 2, left: 2, number: 0 },
            127 => self.stage = Stage::Length { bytes: 8, left: 8, number: 0 },
            _ => return self.take_declared(u64::from(length), limits),
        }
        Ok(())
    }

    fn take_length(&mut self, bytes: u8, left: u8, number: u64, limits: &FrameLimits) -> Result<(), FrameViolation> {
        if left > 0 {
            self.stage = Stage::Length { bytes, left, number };
            return Ok(());
        }
        let shortest = match bytes {
            2 => 126..=0xFFFF,
            _ => 0x1_0000..=u64::MAX >> 1,
        };
        within(shortest.contains(&number), FrameViolation::LengthForm)?;
        self.take_declared(number, limits)
    }

    fn take_declared(&mut self, length: u64, limits: &FrameLimits) -> Result<(), FrameViolation> {
        if !self.is_control() {
            self.count_message(length, limits)?;
        } else if self.opcode() == CLOSE && length > 0 {
            return self.expect_close_code(length as u8);
        }
        self.expect_payload(u64::from(MASK_BYTES) + length);
        Ok(())
    }

    fn count_message(&mut self, length: u64, limits: &FrameLimits) -> Result<(), FrameViolation> {
        // The length is below 2^63, so this is no overflow; what is within the limit has 32 bits.
        let bytes = u64::from(self.message_bytes) + length;
        within(bytes <= u64::from(limits.message_bytes_max), FrameViolation::MessageBytes)?;
        self.message_bytes = bytes as u32;
        if self.first & FIN != 0 {
            (self.message_bytes, self.fragments) = (0, 0);
        }
        Ok(())
    }

    fn expect_close_code(&mut self, length: u8) -> Result<(), FrameViolation> {
        within(length >= CLOSE_CODE_BYTES, FrameViolation::ClosePayload)?;
        let behind = length - CLOSE_CODE_BYTES;
        self.stage = Stage::CloseCode { left: MASK_BYTES + CLOSE_CODE_BYTES, behind, number: 0 };
        Ok(())
    }

    fn take_close_code(&mut self, left: u8, behind: u8, number: u64) -> Result<(), FrameViolation> {
        if left > 0 {
            self.stage = Stage::CloseCode { left, behind, number };
            return Ok(());
        }
        // Four bytes of mask, then two of code; the first two of the mask are for the code.
        let code = (number ^ number >> 32) & 0xFFFF;
        within(is_sent(code), FrameViolation::ClosePayload)?;
        self.expect_payload(u64::from(behind));
        Ok(())
    }
}

/// Whether an endpoint may send a close code (RFC 6455 §7.4, and the registry it made: 1012 and 1013).
fn is_sent(code: u64) -> bool {
    matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999)
}

fn within(kept: bool, violation: FrameViolation) -> Result<(), FrameViolation> {
    if kept { Ok(()) } else { Err(violation) }
}

#[cfg(test)]
mod tests;
