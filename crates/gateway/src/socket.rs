//! A session's socket. An enum, so that TLS comes in here without touching the outbox.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The transport under a session.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP as it is.
    Plain(TcpStream),
}

impl Socket {
    /// Takes a socket over from another runtime and sets what a session's socket needs: no Nagle, little unsent
    /// data in the kernel (a stalled reader would hide megabytes there), and an end for a peer that is gone.
    pub(crate) fn adopt(stream: std::net::TcpStream, settings: SocketSettings) -> io::Result<Self> {
        let socket = SockRef::from(&stream);
        socket.set_tcp_nodelay(true)?;
        set_kernel_limits(&socket, settings)?;
        Ok(Self::Plain(TcpStream::from_std(stream)?))
    }

    /// Waits until there is something to read. For one task only: by polling it takes no place of its own in the
    /// waiting task, and an idle connection is little but that.
    pub(crate) fn readable(&self) -> impl Future<Output = io::Result<()>> + '_ {
        std::future::poll_fn(|context| match self {
            Self::Plain(stream) => stream.poll_read_ready(context),
        })
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.writable().await,
        }
    }

    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read(buffer),
        }
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
        }
    }

    /// Tells the peer that nothing more comes. Errors mean that the peer is gone already.
    pub(crate) fn finish(&self) {
        self.shut_down(Shutdown::Write);
    }

    /// Ends both directions; the read task sees the end of input.
    pub(crate) fn cut(&self) {
        self.shut_down(Shutdown::Both);
    }

    fn shut_down(&self, how: Shutdown) {
        let Self::Plain(stream) = self;
        if let Err(error) = SockRef::from(stream).shutdown(how) {
            tracing::trace!(%error, "socket was already shut down");
        }
    }
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
