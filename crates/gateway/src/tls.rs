//! TLS of one connection, without its socket: ciphertext in and out on one side, plaintext on the other.
//!
//! The same for the HTTP part of a connection ([`crate::stream`]) and for its session ([`crate::socket`]), so that it
//! changes hands between two bytes. It is built on rustls' unbuffered interface: the ordinary one keeps 4 KiB for input
//! as long as the connection lives, this one keeps nothing between two records.
//!
//! What is held is bounded: of input a record that is not whole, or of a handshake one message; of plaintext what one
//! read brought; of output one record, since nothing more is encrypted before it has left.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use crate::limits;

/// What the peers have agreed on, and what is between them.
pub(crate) struct Tls {
    connection: UnbufferedServerConnection,
    /// Ciphertext that is no whole record yet.
    received: Vec<u8>,
    /// Decrypted and not handed out, from `handed_out` on.
    plaintext: Vec<u8>,
    handed_out: usize,
    /// Encrypted and not written, from `written` on.
    unwritten: Vec<u8>,
    written: usize,
    /// Ciphertext taken in and not counted yet.
    came: u32,
    has_ended: bool,
    /// Nothing more can be said or understood.
    has_failed: bool,
    says_goodbye: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither keys nor what is said.
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// What rustls wants next.
enum Step {
    Again,
    /// Input, or something to encrypt.
    Wait,
}

impl Tls {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            received: Vec::new(),
            plaintext: Vec::new(),
            handed_out: 0,
            unwritten: Vec::new(),
            written: 0,
            came: 0,
            has_ended: false,
            has_failed: false,
            says_goodbye: false,
        })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether a client that was here before has shown its ticket.
    pub(crate) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Takes ciphertext as it came. After an error what is unwritten tells the peer, and then nothing more is said.
    pub(crate) fn take(&mut self, ciphertext: &[u8]) -> io::Result<()> {
        self.received.extend_from_slice(ciphertext);
        self.came = self.came.saturating_add(ciphertext.len() as u32);
        let taken = self.process();
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        taken?;
        let is_held = self.received.len() > limits::TLS_INPUT_BYTES_MAX
            || self.unwritten.len() - self.written > limits::TLS_UNWRITTEN_BYTES_MAX;
        if is_held { Err(invalid("a TLS peer makes us hold too much")) } else { Ok(()) }
    }

    fn process(&mut self) -> io::Result<()> {
        let mut discarded = 0;
        let processed = loop {
            match self.step(&mut discarded) {
                Ok(Step::Again) => {}
                Ok(Step::Wait) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.received.drain(..discarded);
        if processed.is_err() {
            self.encode_alert();
            self.has_failed = true;
        }
        if self.has_failed || self.has_ended {
            self.received.clear();
        }
        processed
    }

    fn step(&mut self, discarded: &mut usize) -> io::Result<Step> {
        let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.received[*discarded..]);
        *discarded += discard;
        let step = match state.map_err(tls_error)? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    self.plaintext.extend_from_slice(record.map_err(tls_error)?.payload);
                }
                Step::Again
            }
            ConnectionState::EncodeTlsData(mut data) => {
                append(&mut self.unwritten, |buffer| data.encode(buffer).map_err(encode_shortage))?;
                Step::Again
            }
            ConnectionState::TransmitTlsData(data) => {
                // It leaves before anything else, since all that leaves does so in order.
                data.done();
                Step::Again
            }
            ConnectionState::PeerClosed => {
                self.has_ended = true;
                Step::Again
            }
            ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) | ConnectionState::Closed => {
                Step::Wait
            }
            // Early data is not offered.
            _ => return Err(invalid("an unexpected state of TLS")),
        };
        Ok(step)
    }

    /// What rustls says to the peer about an error, behind what was to be said before. Only as long as there is something:
    /// asked further it would read on, and find the same error.
    fn encode_alert(&mut self) {
        while self.connection.wants_write() {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.received);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            let encoded = append(&mut self.unwritten, |buffer| data.encode(buffer).map_err(encode_shortage));
            encoded.unwrap_or_else(|error| tracing::trace!(%error, "an alert could not be encoded"));
        }
    }

    /// Begins to count what comes; what has come and was not handed out is counted too.
    pub(crate) fn count_anew(&mut self) {
        self.came = (self.received.len() + self.plaintext.len() - self.handed_out) as u32;
    }

    /// Whether ciphertext has come since it was last counted.
    pub(crate) fn has_come(&self) -> bool {
        self.came > 0
    }

    /// Counts the ciphertext that has come since the last time.
    pub(crate) fn came(&mut self) -> usize {
        std::mem::take(&mut self.came) as usize
    }

    pub(crate) fn has_plaintext(&self) -> bool {
        self.handed_out < self.plaintext.len()
    }

    /// Whether the peer has said that nothing more comes.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Hands out what is decrypted, as much as fits.
    pub(crate) fn hand_out(&mut self, buffer: &mut [u8]) -> usize {
        let left = &self.plaintext[self.handed_out..];
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        self.handed_out += length;
        if !self.has_plaintext() {
            self.plaintext = Vec::new();
            self.handed_out = 0;
        }
        length
    }

    /// Encrypts one record; returns how much of the plaintext is in it. What was encrypted before has left.
    pub(crate) fn encrypt(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        if self.has_failed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let length = plaintext.len().min(limits::TLS_RECORD_BYTES);
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.received);
        match state.map_err(tls_error)? {
            ConnectionState::WriteTraffic(mut traffic) => append(&mut self.unwritten, |buffer| {
                traffic.encrypt(&plaintext[..length], buffer).map_err(encrypt_shortage)
            })?,
            _ => return Err(ErrorKind::BrokenPipe.into()),
        }
        Ok(length)
    }

    /// Encrypts the end of what we say, once.
    pub(crate) fn say_goodbye(&mut self) {
        if std::mem::replace(&mut self.says_goodbye, true) || self.has_failed {
            return;
        }
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.received);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            let queued =
                append(&mut self.unwritten, |buffer| traffic.queue_close_notify(buffer).map_err(encrypt_shortage));
            queued.unwrap_or_else(|error| tracing::trace!(%error, "the end could not be encrypted"));
        }
    }

    /// What is encrypted and not written.
    pub(crate) fn unwritten(&self) -> &[u8] {
        &self.unwritten[self.written..]
    }

    /// Takes `written` bytes off the front of what is unwritten.
    pub(crate) fn advance(&mut self, written: usize) {
        self.written += written;
        if self.unwritten().is_empty() {
            self.unwritten = Vec::new();
            self.written = 0;
        }
    }
}

/// How much room is missing, or why there is none.
type Shortage = Result<usize, io::Error>;

/// Appends what `encode` writes: it is asked for its size first.
fn append(output: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, Shortage>) -> io::Result<()> {
    let start = output.len();
    let required = match encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(shortage) => shortage?,
    };
    output.resize(start + required, 0);
    let encoded = encode(&mut output[start..]);
    output.truncate(start + encoded.as_ref().map_or(0, |length| *length));
    match encoded {
        Ok(_) => Ok(()),
        Err(shortage) => shortage.and_then(|_| Err(invalid("TLS asks for ever more room"))),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn encode_shortage(error: EncodeError) -> Shortage {
    match error {
        EncodeError::InsufficientSize(size) => Ok(size.required_size),
        EncodeError::AlreadyEncoded => Err(invalid("TLS data was encoded already")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn encrypt_shortage(error: EncryptError) -> Shortage {
    match error {
        EncryptError::InsufficientSize(size) => Ok(size.required_size),
        EncryptError::EncryptExhausted => Err(invalid("the keys of a TLS connection are used up")),
    }
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}
