//! Reading the units of a frame, lazily and in order.
//!
//! What a peer declares is believed only as far as its bytes go: a Protobuf length is compared with what is
//! left of the frame before anything is allocated, and a JSON text is checked for UTF-8 as a whole before
//! its first unit is read. Errors never carry any of the input.

use prost::Message;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::{Command, Encoding, Reply};

/// Why a frame cannot be read. Nothing after it in the frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A unit is not what the encoding demands.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
    /// A JSON frame is not UTF-8.
    #[error("the frame is not valid UTF-8")]
    InvalidUtf8,
    /// A Protobuf unit says that it is longer than the rest of the frame.
    #[error("a unit of {declared_bytes} bytes is declared where {left_bytes} are left in the frame")]
    TooLong {
        /// What the length prefix says.
        declared_bytes: u64,
        /// What there is.
        left_bytes: usize,
    },
    /// The frame has no bytes.
    #[error("the frame is empty")]
    Empty,
}

/// The commands of a frame; ends after the first error.
#[derive(Debug)]
pub struct CommandFrames<'a>(Units<'a>);

/// The replies of a frame; ends after the first error.
#[derive(Debug)]
pub struct ReplyFrames<'a>(Units<'a>);

impl<'a> CommandFrames<'a> {
    pub(crate) fn new(encoding: Encoding, frame: &'a [u8]) -> Self {
        Self(Units::new(encoding, frame))
    }
}

impl<'a> ReplyFrames<'a> {
    pub(crate) fn new(encoding: Encoding, frame: &'a [u8]) -> Self {
        Self(Units::new(encoding, frame))
    }
}

impl Iterator for CommandFrames<'_> {
    type Item = Result<Command, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(Unit::command)
    }
}

impl Iterator for ReplyFrames<'_> {
    type Item = Result<Reply, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(Unit::read)
    }
}

impl std::iter::FusedIterator for CommandFrames<'_> {}
impl std::iter::FusedIterator for ReplyFrames<'_> {}

/// What is still to be read of a frame.
#[derive(Debug, Clone, Copy)]
enum Units<'a> {
    Json(&'a str),
    Protobuf(&'a [u8]),
    Failed(DecodeError),
    Done,
}

impl<'a> Units<'a> {
    fn new(encoding: Encoding, frame: &'a [u8]) -> Self {
        if frame.is_empty() {
            return Self::Failed(DecodeError::Empty);
        }
        match encoding {
            Encoding::Protobuf => Self::Protobuf(frame),
            Encoding::Json => std::str::from_utf8(frame).map_or(Self::Failed(DecodeError::InvalidUtf8), Self::Json),
        }
    }

    fn next<M>(&mut self, read: impl FnOnce(Unit<'a>) -> Result<M, DecodeError>) -> Option<Result<M, DecodeError>> {
        let message = self.split()?.and_then(read);
        if message.is_err() {
            *self = Self::Done;
        }
        Some(message)
    }

    /// Takes the first unit off.
    fn split(&mut self) -> Option<Result<Unit<'a>, DecodeError>> {
        match *self {
            Self::Json(text) => Some(Ok(self.split_json(text))),
            Self::Protobuf(bytes) => Some(self.split_protobuf(bytes)),
            Self::Failed(error) => Some(Err(error)),
            Self::Done => None,
        }
    }

    fn split_json(&mut self, text: &'a str) -> Unit<'a> {
        let (unit, rest) = text.split_once('\n').unwrap_or((text, ""));
        *self = if rest.is_empty() { Self::Done } else { Self::Json(rest) };
        Unit::Json(unit)
    }

    fn split_protobuf(&mut self, bytes: &'a [u8]) -> Result<Unit<'a>, DecodeError> {
        let (unit, rest) = split_delimited(bytes)?;
        *self = if rest.is_empty() { Self::Done } else { Self::Protobuf(rest) };
        Ok(Unit::Protobuf(unit))
    }
}

/// Splits the first unit off its length prefix and from what follows.
fn split_delimited(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let mut rest = bytes;
    let declared_bytes = prost::encoding::decode_varint(&mut rest)
        .map_err(|_| DecodeError::Malformed("a length prefix is cut or too large"))?;
    let length = usize::try_from(declared_bytes).ok();
    length
        .and_then(|length| rest.split_at_checked(length))
        .ok_or(DecodeError::TooLong { declared_bytes, left_bytes: rest.len() })
}

/// One unit, without what separates it from others.
#[derive(Debug, Clone, Copy)]
enum Unit<'a> {
    Json(&'a str),
    Protobuf(&'a [u8]),
}

impl Unit<'_> {
    fn read<M: Message + Default + DeserializeOwned>(self) -> Result<M, DecodeError> {
        match self {
            Self::Json(text) => read_json(text),
            Self::Protobuf(bytes) => {
                M::decode(bytes).map_err(|_| DecodeError::Malformed("a unit is not a message of the schema"))
            }
        }
    }

    /// Reads a command. One of unknown fields alone is refused: it would pass for a pong.
    fn command(self) -> Result<Command, DecodeError> {
        let command: Command = self.read()?;
        if command.is_pong() && !self.has_no_fields() {
            return Err(DecodeError::Malformed("a command asks for nothing that is known"));
        }
        Ok(command)
    }

    /// Whether a unit that could be read is an object without keys.
    fn has_no_fields(self) -> bool {
        match self {
            Self::Json(text) => text.bytes().all(|byte| matches!(byte, b'{' | b'}' | b' ' | b'\t' | b'\r')),
            Self::Protobuf(bytes) => bytes.is_empty(),
        }
    }
}

fn read_json<M: DeserializeOwned>(unit: &str) -> Result<M, DecodeError> {
    if unit.trim_ascii().is_empty() {
        return Err(DecodeError::Malformed("a line is blank"));
    }
    serde_json::from_str(unit).map_err(|error| DecodeError::Malformed(describe(error.classify())))
}

/// The parser's own text could quote the input.
fn describe(category: Category) -> &'static str {
    match category {
        Category::Data => "a value of the wrong type, a key twice, or one in the wrong case",
        Category::Eof => "a line ends before its object",
        Category::Syntax | Category::Io => "a line is not one JSON object",
    }
}

#[cfg(test)]
mod tests;
