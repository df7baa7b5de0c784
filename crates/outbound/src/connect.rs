//! A connection to an endpoint.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::{self, AddressError, Trust};
use crate::endpoint::Endpoint;

/// How long an address may be silent until the next one is tried beside it (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No address to connect to.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nobody takes it.
    #[error("no connection: {0}")]
    Io(io::Error),
    /// The two ends do not agree on TLS, or the certificate is not trusted.
    #[error("no connection over TLS: {0}")]
    Tls(io::Error),
    /// The host cannot be named in TLS.
    #[error("the host has no name for TLS")]
    ServerName,
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to an endpoint: its name is looked up once, judged, and connected to as it was judged.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    endpoint: &Endpoint,
    trust: Trust,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Stream, ConnectError> {
    let stream = connect_any(&address::resolve(endpoint, trust).await?).await.map_err(ConnectError::Io)?;
    stream.set_nodelay(true).map_err(ConnectError::Io)?;
    if !endpoint.is_tls {
        return Ok(Stream::Plain(stream));
    }
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|_| ConnectError::ServerName)?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
    stream.map(|stream| Stream::Tls(Box::new(stream))).map_err(ConnectError::Tls)
}

/// The first connection that comes about. An address that is silent delays the next one and is not given up, as it may
/// only be far away.
async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    let (mut left, mut attempts) = (addresses.iter(), JoinSet::new());
    loop {
        let next = left.next();
        next.into_iter().for_each(|address| drop(attempts.spawn(TcpStream::connect(*address))));
        // Without another address there is nothing to wait for but these.
        let patience = if left.len() > 0 { NEXT_ADDRESS_AFTER } else { Duration::MAX };
        match timeout(patience, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(error)))) => failure = error,
            Ok(Some(Err(error))) => failure = io::Error::other(error),
            Ok(None) => return Err(failure),
            Err(_) => {}
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Whose queue is full, so that the next connection gets no answer. With what keeps it so.
    async fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let (address, mut queued) = (listener.local_addr().unwrap(), Vec::new());
        while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
            assert!(queued.len() < 100, "the queue has an end");
        }
        (address, listener, queued)
    }

    /// One address that did not answer used up all the time that there was, whatever the others did.
    #[tokio::test]
    async fn defect_a_silent_address_does_not_keep_from_the_next() {
        let (dead, _listener, _queued) = silent().await;
        let (_listening, live) = listener().await;
        let begun = Instant::now();
        let stream = connect_any(&[dead, dead, live]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next_at_once() {
        let (gone, refuses) = listener().await;
        drop(gone);
        let (_listening, live) = listener().await;
        // So many that to wait after each is told from a machine that is slow.
        let addresses = [&[refuses; 20][..], &[live]].concat();
        let begun = Instant::now();
        assert_eq!(connect_any(&addresses).await.unwrap().peer_addr().unwrap(), live);
        assert!(begun.elapsed() < NEXT_ADDRESS_AFTER * 19);
        assert_eq!(connect_any(&[refuses, refuses]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect_any(&[]).await.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }
}
