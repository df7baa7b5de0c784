//! A session's socket: TCP, plain or with TLS around it. The outbox knows of plaintext only.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::limits;
use crate::tls::Tls;

/// The transport under a session.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP as it is.
    Plain(TcpStream),
    /// TCP with TLS.
    Tls(TcpStream, RefCell<Box<Tls>>),
}

impl Socket {
    /// Takes a socket over from another runtime and sets what a session's socket needs: no Nagle, little unsent
    /// data in the kernel (a stalled reader would hide megabytes there), and an end for a peer that is gone.
    pub(crate) fn adopt(
        stream: std::net::TcpStream,
        tls: Option<Box<Tls>>,
        settings: SocketSettings,
    ) -> io::Result<Self> {
        let socket = SockRef::from(&stream);
        socket.set_tcp_nodelay(true)?;
        set_kernel_limits(&socket, settings)?;
        let stream = TcpStream::from_std(stream)?;
        Ok(match tls {
            None => Self::Plain(stream),
            Some(mut tls) => {
                tls.count_anew();
                Self::Tls(stream, RefCell::new(tls))
            }
        })
    }

    /// Whether there is something to read, or else whom to wake. For one task only. What is decrypted already does not
    /// wait for the socket.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(_, tls) if tls.borrow().has_plaintext() => Poll::Ready(Ok(())),
            Self::Plain(stream) | Self::Tls(stream, _) => stream.poll_read_ready(context),
        }
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.tcp().writable().await
    }

    /// Reads plaintext; 0 bytes are the end.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read(buffer),
            Self::Tls(stream, tls) => read_tls(stream, &mut tls.borrow_mut(), buffer),
        }
    }

    /// Whether something has come that was not counted, though none of it could be read yet.
    pub(crate) fn has_come(&self) -> bool {
        matches!(self, Self::Tls(_, tls) if tls.borrow().has_come())
    }

    /// Counts what the peer has sent for what was read: with TLS its ciphertext, for a record may hold next to nothing.
    pub(crate) fn came(&self, plaintext: usize) -> usize {
        match self {
            Self::Plain(_) => plaintext,
            Self::Tls(_, tls) => tls.borrow_mut().came(),
        }
    }

    /// Takes as much as can be on its way now. What TLS has taken may still wait for the socket: see [`Self::flush`].
    #[inline]
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Tls(stream, tls) => write_tls(stream, &mut tls.borrow_mut(), bytes),
        }
    }

    /// Writes what TLS has taken and not written.
    pub(crate) fn flush(&self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream, tls) => write_out(stream, &mut tls.borrow_mut()),
        }
    }

    /// Whether TLS has taken something that is not written.
    pub(crate) fn has_unwritten(&self) -> bool {
        matches!(self, Self::Tls(_, tls) if !tls.borrow().unwritten().is_empty())
    }

    /// Tells the peer that nothing more comes. Errors mean that the peer is gone already, but for one: what is
    /// still to be written before has to wait for the socket.
    pub(crate) fn finish(&self) -> io::Result<()> {
        if let Self::Tls(stream, tls) = self {
            let mut tls = tls.borrow_mut();
            tls.say_goodbye();
            write_out(stream, &mut tls)?;
        }
        self.shut_down(Shutdown::Write);
        Ok(())
    }

    /// Ends both directions; the read task sees the end of input.
    pub(crate) fn cut(&self) {
        self.shut_down(Shutdown::Both);
    }

    fn shut_down(&self, how: Shutdown) {
        if let Err(error) = SockRef::from(self.tcp()).shutdown(how) {
            tracing::trace!(%error, "socket was already shut down");
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) | Self::Tls(stream, _) => stream,
        }
    }
}

/// Reads from the socket once, so that a peer whose records hold nothing does not keep the thread to itself.
fn read_tls(stream: &TcpStream, tls: &mut Tls, buffer: &mut [u8]) -> io::Result<usize> {
    if !tls.has_plaintext() && !tls.has_ended() {
        let mut piece = [0; limits::TLS_PIECE_BYTES];
        let length = stream.try_read(&mut piece)?;
        if length == 0 {
            return Ok(0);
        }
        if let Err(error) = tls.take(&piece[..length]) {
            // An alert that cannot leave at once is not waited for.
            let _ = write_out(stream, tls);
            return Err(error);
        }
        if !tls.has_plaintext() && !tls.has_ended() {
            return Err(ErrorKind::WouldBlock.into());
        }
    }
    Ok(tls.hand_out(buffer))
}

fn write_tls(stream: &TcpStream, tls: &mut Tls, bytes: &[u8]) -> io::Result<usize> {
    let before = tls.unwritten().len();
    match write_out(stream, tls) {
        Ok(()) => {}
        // The socket has taken something, so it is not stalled.
        Err(error) if error.kind() == ErrorKind::WouldBlock && tls.unwritten().len() < before => return Ok(0),
        Err(error) => return Err(error),
    }
    let mut taken = 0;
    while taken < bytes.len() {
        taken += tls.encrypt(&bytes[taken..])?;
        match write_out(stream, tls) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

fn write_out(stream: &TcpStream, tls: &mut Tls) -> io::Result<()> {
    while !tls.unwritten().is_empty() {
        let written = stream.try_write(tls.unwritten())?;
        tls.advance(written);
    }
    Ok(())
}

/// What the kernel is told about a session's socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketSettings {
    pub(crate) unsent_bytes_max: usize,
    pub(crate) peer_timeout: Duration,
}

#[cfg(target_os = "linux")]
fn set_kernel_limits(socket: &SockRef<'_>, settings: SocketSettings) -> io::Result<()> {
    socket.set_tcp_notsent_lowat(u32::try_from(settings.unsent_bytes_max).unwrap_or(u32::MAX))?;
    socket.set_tcp_user_timeout(Some(settings.peer_timeout))
}

#[cfg(not(target_os = "linux"))]
fn set_kernel_limits(socket: &SockRef<'_>, settings: SocketSettings) -> io::Result<()> {
    socket.set_send_buffer_size(settings.unsent_bytes_max)
}
