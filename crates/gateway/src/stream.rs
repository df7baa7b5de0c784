//! What an HTTP server runs on until a connection becomes a session: a TCP socket, plain or with TLS around it.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use crate::limits;
use crate::tls::Tls;

/// A TCP socket, plain or with TLS.
#[derive(Debug)]
pub struct Stream(Kind);

#[derive(Debug)]
enum Kind {
    Plain(TcpStream),
    Tls(TcpStream, Box<Tls>),
}

/// Why there is no TLS on a connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// What came is a request in plain HTTP, of which nothing was read.
    #[error("plain HTTP came where TLS is spoken")]
    PlainHttp(TcpStream),
    /// What came is no TLS, or none that we speak; the peer was told so.
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error, TcpStream),
    /// The connection ended before.
    #[error("the connection ended within the TLS handshake: {0}")]
    Io(#[from] io::Error),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self(Kind::Plain(stream))
    }
}

impl Stream {
    /// Makes the server's side of a TLS handshake. Give it a deadline; it may be dropped.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn accept_tls(mut stream: TcpStream, config: Arc<ServerConfig>) -> Result<Self, HandshakeError> {
        let mut first = [0];
        if stream.peek(&mut first).await? > 0 && first[0].is_ascii_uppercase() {
            return Err(HandshakeError::PlainHttp(stream));
        }
        let mut tls = Box::new(Tls::new(config).map_err(io::Error::other)?);
        // Boxed: the buffer is not to be a part of every connection's task.
        let mut piece = vec![0; limits::TLS_PIECE_BYTES].into_boxed_slice();
        while tls.is_handshaking() {
            let length = stream.read(&mut piece).await?;
            if length == 0 {
                return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
            }
            let taken = tls.take(&piece[..length]);
            stream.write_all(tls.unwritten()).await?;
            tls.advance(tls.unwritten().len());
            if let Err(error) = taken {
                return Err(HandshakeError::Tls(error, stream));
            }
        }
        Ok(Self(Kind::Tls(stream, tls)))
    }

    /// Whether TLS is around it.
    pub fn is_tls(&self) -> bool {
        matches!(self.0, Kind::Tls(..))
    }

    /// Whether its TLS goes on from an earlier connection.
    pub fn is_resumed(&self) -> bool {
        matches!(&self.0, Kind::Tls(_, tls) if tls.is_resumed())
    }

    /// The socket, ready for another runtime, and its TLS.
    pub(crate) fn into_parts(self) -> io::Result<(std::net::TcpStream, Option<Box<Tls>>)> {
        match self.0 {
            Kind::Plain(stream) => Ok((stream.into_std()?, None)),
            Kind::Tls(stream, tls) => Ok((stream.into_std()?, Some(tls))),
        }
    }
}

/// Writes what is encrypted.
fn poll_write_out(stream: &mut TcpStream, tls: &mut Tls, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    while !tls.unwritten().is_empty() {
        let written = ready!(Pin::new(&mut *stream).poll_write(context, tls.unwritten()))?;
        tls.advance(written);
    }
    Poll::Ready(Ok(()))
}

/// Reads until there is plaintext, or the end.
fn poll_plaintext(stream: &mut TcpStream, tls: &mut Tls, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut piece = [0; limits::TLS_PIECE_BYTES];
    while !tls.has_plaintext() && !tls.has_ended() {
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Err(error) = tls.take(buffer.filled()) {
            // An alert that cannot leave at once is not waited for.
            let _ = poll_write_out(stream, tls, context);
            return Poll::Ready(Err(error));
        }
    }
    Poll::Ready(Ok(()))
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Kind::Tls(stream, tls) => {
                ready!(poll_plaintext(stream, tls, context))?;
                let length = tls.hand_out(buffer.initialize_unfilled());
                buffer.advance(length);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Kind::Tls(stream, tls) => {
                ready!(poll_write_out(stream, tls, context))?;
                let taken = tls.encrypt(bytes)?;
                // It is taken; what does not leave now is written with the next, or by a flush.
                if let Poll::Ready(Err(error)) = poll_write_out(stream, tls, context) {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(taken))
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Kind::Tls(..) => {
                let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
                self.poll_write(context, first)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        !self.is_tls()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_flush(context),
            Kind::Tls(stream, tls) => poll_write_out(stream, tls, context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Kind::Tls(stream, tls) => {
                tls.say_goodbye();
                ready!(poll_write_out(stream, tls, context))?;
                Pin::new(stream).poll_shutdown(context)
            }
        }
    }
}
