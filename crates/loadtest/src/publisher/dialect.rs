//! How a publication is said on a connection, and what comes back.

use std::io;
use std::net::TcpStream;

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// The server has it.
    Acknowledged,
    /// The server does not take it, and why.
    Refused(String),
}

impl Known {
    /// With words of the server that are harmless to a terminal and not too many.
    pub(crate) fn refused(why: &[u8]) -> Self {
        let text = String::from_utf8_lossy(why);
        Self::Refused(text.chars().filter(|letter| !letter.is_control()).take(160).collect())
    }
}

/// An answer at the front of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Bytes that it takes.
    pub(crate) bytes: usize,
    /// What it says of publications, in their order.
    pub(crate) known: Vec<Known>,
    /// The server ends the connection behind it, and has not looked at what was said after this (RFC 9112, 9.6).
    pub(crate) closes: bool,
}

impl Heard {
    pub(crate) fn of(bytes: usize, known: Vec<Known>) -> Self {
        Self { bytes, known, closes: false }
    }
}

/// A way to publish. Answers come in the order of what was said.
pub(crate) trait Dialect: Send + Sync {
    /// Opens a fresh connection, waiting for what has to be waited for. What was read beyond that is returned.
    fn open(&self, _stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Appends a publication.
    fn say(&self, channel: &str, payload: &[u8], out: &mut Vec<u8>);

    /// Looks at the first answer of the bytes, if it is whole. Anything to say at once goes to `out`.
    ///
    /// # Errors
    /// Nothing more can be read from this connection.
    fn hear(&self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<Option<Heard>>;

    /// Whether there is an answer to each publication. Else it counts as acknowledged once it is written.
    fn answers(&self) -> bool {
        true
    }
}
