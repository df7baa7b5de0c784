//! One subscriber's connection: its socket, how far it has come, and what it is subscribed to.

use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use crate::adapter::{Membership, Subscription};
use crate::channels::Channels;
use crate::target::Target;

/// The receive buffer of a slow reader: what the kernel takes for it is soon full.
const SLOW_BUFFER_BYTES: usize = 4_096;

/// What waits for a server that does not read, at most; the connection ends beyond it. Ten thousand subscriptions, with names
/// of 200 letters, take 4 MB at once.
pub(crate) const OUTBOUND_BYTES_MAX: usize = 8 << 20;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is no socket.
    Away,
    /// The socket is being connected.
    Connecting,
    /// The upgrade was asked for.
    Upgrading,
    /// The upgrade is done, and not all subscriptions are live.
    Joining,
    /// All subscriptions are live.
    Ready,
}

impl Phase {
    /// Whether it is on its way to being ready.
    pub(crate) fn is_opening(self) -> bool {
        matches!(self, Self::Connecting | Self::Upgrading | Self::Joining)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Option<TcpStream>,
    pub(crate) phase: Phase,
    /// The beginning of a frame whose end has not come. Empty most of the time, and without memory then.
    pub(crate) inbound: Vec<u8>,
    /// The parts of a fragmented message.
    pub(crate) fragments: Vec<u8>,
    /// What the socket has not taken, up to [`OUTBOUND_BYTES_MAX`] and what answers one read.
    pub(crate) outbound: Vec<u8>,
    pub(crate) subscriptions: Box<[Subscription]>,
    /// Since when it should be ready: the time at which it was to be opened, or was lost.
    pub(crate) due: u64,
    /// Whether it was ready before.
    pub(crate) returning: bool,
    /// Whether its subscriptions were live before the first publication: then all are expected.
    pub(crate) counted: bool,
    /// Whether it is one of the slow readers.
    pub(crate) slow: bool,
    /// Connects since it was last ready.
    pub(crate) tries: u32,
    /// Connects in all.
    pub(crate) attempt: u64,
    /// Whether all subscriptions are live.
    pub(crate) joined: bool,
    /// Whether it was let go to come back, and has not yet.
    pub(crate) churning: bool,
}

impl Connection {
    pub(crate) fn new(channels: impl Iterator<Item = u32>, slow: bool) -> Self {
        Self {
            stream: None,
            phase: Phase::Away,
            inbound: Vec::new(),
            fragments: Vec::new(),
            outbound: Vec::new(),
            subscriptions: channels.map(Subscription::new).collect(),
            due: 0,
            returning: false,
            counted: false,
            slow,
            tries: 0,
            attempt: 0,
            joined: false,
            churning: false,
        }
    }

    /// What an adapter sees of it.
    pub(crate) fn membership<'a>(&'a mut self, who: usize, channels: &'a Channels) -> Membership<'a> {
        Membership { who, subscriptions: &mut self.subscriptions, channels, out: &mut self.outbound }
    }

    /// Begins to connect.
    pub(crate) fn connect(&mut self, target: &Target, number: usize) -> io::Result<()> {
        self.tries += 1;
        self.attempt += 1;
        let socket = Socket::new(Domain::for_address(target.address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.slow {
            socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
        }
        if let Some(source) = target.source(number) {
            socket.bind(&source.into())?;
        }
        match socket.connect(&target.address.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        self.stream = Some(TcpStream::from_std(socket.into()));
        self.phase = Phase::Connecting;
        Ok(())
    }

    /// Whether the connect is done; an error if it failed.
    pub(crate) fn connected(&self) -> io::Result<bool> {
        let Some(stream) = &self.stream else { return Ok(false) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads once; `None` when there is nothing.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        loop {
            match stream.read(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what waits, as much as the socket takes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while !self.outbound.is_empty() {
            match stream.write(&self.outbound) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.outbound.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outbound = Vec::new();
        Ok(())
    }

    /// Lets the kernel acknowledge what comes with the next but one, as it does for clients that talk back. It forgets this
    /// whenever an acknowledgement was delayed. On one machine half of what receiving costs is the acknowledgements; without
    /// this it costs a tenth more.
    pub(crate) fn acknowledge_later(&self) {
        if let Some(stream) = &self.stream {
            // Where it is not to be had, receiving costs more.
            let _ = rustix::net::sockopt::set_tcp_quickack(stream, false);
        }
    }

    /// Lets go of the socket. What the subscriptions have received stays.
    pub(crate) fn disconnect(&mut self) {
        self.stream = None;
        self.phase = Phase::Away;
        self.inbound = Vec::new();
        self.fragments = Vec::new();
        self.outbound = Vec::new();
        self.joined = false;
        for subscription in &mut self.subscriptions {
            (subscription.joined, subscription.rejoining) = (false, false);
        }
    }
}
