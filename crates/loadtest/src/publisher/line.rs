//! The connections that publications go over.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::dialect::Dialect;
use crate::target::Target;

/// How long opening a connection may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that wait on a connection whose socket takes no more: beyond that nothing is sent over it.
const UNSENT_BYTES_MAX: usize = 8 << 20;

/// Bytes of pongs and the like that may be added while a connection has something unsent: beyond that the server asks without
/// reading, and the connection ends. Eight thousand of the largest pongs.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// Whether a publication was put on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It goes out with the next flush.
    Done,
    /// It is written once the connection takes more than one publication, or a fresh one is there for it.
    Waits,
    /// Too much waits for the socket.
    Full,
    /// There is no connection at the moment.
    Broken,
}

/// A publication that waits for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) index: usize,
    /// It was written before, and the server has ended the connection without looking at it.
    pub(crate) again: bool,
}

/// Connections to publish over.
pub(crate) struct Lines {
    target: Target,
    dialect: Box<dyn Dialect>,
    lines: Vec<Mutex<Line>>,
}

/// One connection.
#[derive(Default)]
pub(crate) struct Line {
    /// `None` while it is broken.
    pub(crate) stream: Option<TcpStream>,
    /// Read by opening it, beyond what opening needed.
    pub(crate) read: Vec<u8>,
    unsent: Vec<u8>,
    /// Bytes that were added and are no publications, since nothing was unsent.
    replies: usize,
    /// Numbers of the publications without an answer, in order.
    pub(crate) in_flight: VecDeque<usize>,
    /// The server has ended a connection behind an answer. Until an answer does not end one, each publication has a
    /// connection of its own.
    pub(crate) one_by_one: bool,
    /// Publications that wait for that, in order.
    pub(crate) waiting: VecDeque<Waiting>,
    /// Publications that will have no answer, since their connection broke.
    unanswered: u64,
}

impl Line {
    /// Writes what waits, as much as the socket takes.
    pub(crate) fn flush(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut written = 0;
        let broken = loop {
            if written == self.unsent.len() {
                break false;
            }
            match stream.write(&self.unsent[written..]) {
                Ok(0) => break true,
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
        };
        self.unsent.drain(..written);
        if self.unsent.is_empty() {
            self.replies = 0;
        }
        if broken {
            self.cut();
        }
    }

    /// The connection is of no use any more. What was on its way has no answer.
    pub(crate) fn cut(&mut self) {
        self.stream = None;
        (self.unsent, self.replies) = (Vec::new(), 0);
        self.unanswered += self.in_flight.len() as u64;
        self.in_flight.clear();
    }

    /// The server has ended the connection behind an answer. What it has not looked at is said again, each on a connection of
    /// its own.
    pub(crate) fn begin_one_by_one(&mut self) {
        self.one_by_one = true;
        self.stream = None;
        (self.unsent, self.replies) = (Vec::new(), 0);
        while let Some(index) = self.in_flight.pop_back() {
            self.waiting.push_front(Waiting { index, again: true });
        }
    }

    /// Whether a publication may be written now: none waits before it, and the server takes one behind the other, or has
    /// answered what it has.
    fn is_free(&self) -> bool {
        let answered = self.stream.is_some() && self.in_flight.is_empty();
        self.waiting.is_empty() && (answered || !self.one_by_one)
    }

    /// Whether so much waits for the socket that nothing is added.
    pub(crate) fn is_full(&self) -> bool {
        self.unsent.len() > UNSENT_BYTES_MAX
    }

    /// Takes an open connection in place of the one that is gone.
    pub(crate) fn take_over(&mut self, opened: Self) {
        (self.stream, self.read) = (opened.stream, opened.read);
    }

    /// How many have become so since the last time.
    pub(crate) fn take_unanswered(&mut self) -> u64 {
        std::mem::take(&mut self.unanswered)
    }

    /// Whether an answer is still to come.
    pub(crate) fn is_open(&self) -> bool {
        !(self.in_flight.is_empty() && self.waiting.is_empty())
    }

    /// Something to say that is no publication.
    ///
    /// # Errors
    /// The connection is of no use any more: so much of it waits that the server does not read, or it broke.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.unsent.extend_from_slice(bytes);
        self.replies += bytes.len();
        self.flush();
        if self.replies > REPLY_BYTES_MAX {
            self.cut();
        }
        if self.stream.is_some() { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }
}

impl Lines {
    /// Opens so many.
    pub(crate) fn open(target: Target, dialect: Box<dyn Dialect>, count: usize) -> io::Result<Self> {
        let mut lines = Self { target, dialect, lines: Vec::new() };
        for _ in 0..count.max(1) {
            let line = lines.open_one()?;
            lines.lines.push(Mutex::new(line));
        }
        Ok(lines)
    }

    /// Opens a connection, waiting for it.
    pub(crate) fn open_one(&self) -> io::Result<Line> {
        let mut stream = TcpStream::connect_timeout(&self.target.address, OPEN_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(OPEN_TIMEOUT))?;
        let read = self.dialect.open(&mut stream)?;
        stream.set_nonblocking(true)?;
        Ok(Line { stream: Some(stream), read, ..Line::default() })
    }

    pub(crate) fn dialect(&self) -> &dyn Dialect {
        self.dialect.as_ref()
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(crate) fn line(&self, at: usize) -> MutexGuard<'_, Line> {
        self.lines[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a publication on the connection of its channel.
    pub(crate) fn enqueue(&self, channel: u32, index: usize, name: &str, payload: &[u8]) -> Queued {
        let mut line = self.line(channel as usize % self.lines.len());
        if !line.is_free() {
            line.waiting.push_back(Waiting { index, again: false });
            return Queued::Waits;
        }
        if line.stream.is_none() {
            return Queued::Broken;
        }
        if line.is_full() {
            return Queued::Full;
        }
        self.say(&mut line, index, name, payload);
        Queued::Done
    }

    /// Puts a publication behind what is to be written.
    pub(crate) fn say(&self, line: &mut Line, index: usize, name: &str, payload: &[u8]) {
        self.dialect.say(name, payload, &mut line.unsent);
        if self.dialect.answers() {
            line.in_flight.push_back(index);
        }
    }

    /// Writes what waits on all of them.
    pub(crate) fn flush(&self) {
        (0..self.lines.len()).for_each(|at| self.line(at).flush());
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn defect_pongs_piled_up_for_a_server_that_sent_pings_to_a_publisher_and_did_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut line = Line { stream: Some(stream), ..Line::default() };
        line.in_flight.extend([0, 1]);
        // Before it is reached the kernel's own buffers are full, which are some megabytes.
        let mut most = 0;
        while line.add(&[b'x'; 64 << 10]).is_ok() {
            most = most.max(line.unsent.len());
            assert!(most <= REPLY_BYTES_MAX, "{most} bytes wait");
        }
        assert!(line.stream.is_none() && line.unsent.is_empty() && most > REPLY_BYTES_MAX / 2, "{most} bytes waited");
        // What was on its way has no answer.
        assert_eq!((line.take_unanswered(), line.in_flight.len()), (2, 0));
    }
}
