//! A socket that hands on only what has been judged.
//!
//! It stands between a TCP socket and hyper: it holds a request's head back until it is whole, has it judged
//! ([`crate::head`]), and hands it on unchanged. A body is counted through to the next head. What comes behind a body in
//! chunks is not judged, and what comes behind a request for a WebSocket is kept for the session; the listener makes such
//! a request the connection's last.
//!
//! In place of a head that is refused hyper gets [`SUBSTITUTE`], which no client can send, and the listener answers it
//! with the refusal: behind the answers to all requests before it, and as the last one. Nothing is handed on then.
//!
//! When a connection ends while its client may still send, input is discarded for a bounded time and amount, so that it
//! does not turn the answer into a reset.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use fanfare_gateway::{Stream, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::head::{self, Follows, Refusal, Scan};

/// What is asked of hyper in place of a refused request. A client's own is refused for its target.
const SUBSTITUTE: &[u8] = b"GET * HTTP/1.1\r\nHost: refused\r\n\r\n";

/// Bytes read from the socket at a time.
const READ_BYTES: usize = 4 * 1024;

/// How long, and how much of, the input is discarded at the end of a connection.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    /// Of a body, so many of them.
    Body(u64),
    /// A body in chunks, and what follows it; the connection ends with it.
    Chunks,
    /// Frames: not for hyper, which takes bytes behind a handshake that is refused for a fault of the connection.
    WebSocket,
    /// Of no interest.
    Ended,
}

/// A socket behind the judge.
#[derive(Debug)]
pub(crate) struct Gate {
    stream: Stream,
    /// Read and not handed on: a head and a piece at most.
    held: BytesMut,
    /// So many of the held bytes may be handed on.
    released: usize,
    stage: Stage,
    scan: Scan,
    refusal: Arc<OnceLock<Refusal>>,
    linger: Option<Pin<Box<Sleep>>>,
    discarded: usize,
    write_timeout: Duration,
    /// Until when what waits to be written has to be through.
    unwritten: Option<Pin<Box<Sleep>>>,
}

impl Gate {
    /// A gate whose client has so much time to take an answer: one that does not read would keep its place for ever.
    pub(crate) fn new(stream: Stream, write_timeout: Duration) -> Self {
        Self {
            stream,
            held: BytesMut::new(),
            released: 0,
            stage: Stage::Head,
            scan: Scan::default(),
            refusal: Arc::default(),
            linger: None,
            discarded: 0,
            write_timeout,
            unwritten: None,
        }
    }

    /// What a write came to, or its end when the client has had its time. The time begins when the client first takes
    /// nothing more, and ends when everything is through: what trickles away does not prolong it.
    fn in_time<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let timeout = self.write_timeout;
        let deadline = self.unwritten.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Where a refusal will be found.
    pub(crate) fn refusal(&self) -> Arc<OnceLock<Refusal>> {
        Arc::clone(&self.refusal)
    }

    /// Releases what can be; returns whether something was.
    fn release(&mut self) -> bool {
        match self.stage {
            Stage::Head => self.release_head(),
            Stage::Body(left) => {
                self.released = usize::try_from(left).map_or(self.held.len(), |left| left.min(self.held.len()));
                self.stage = body(left - self.released as u64);
            }
            Stage::Chunks => self.released = self.held.len(),
            Stage::WebSocket | Stage::Ended => {}
        }
        self.released > 0
    }

    fn release_head(&mut self) {
        let judged = match self.scan.take(&self.held) {
            Ok(None) => return,
            Ok(Some(length)) => head::judge(&self.held[..length]).map(|follows| (length, follows)),
            Err(refusal) => Err(refusal),
        };
        self.scan = Scan::default();
        match judged {
            Ok((length, follows)) => {
                self.released = length;
                self.stage = match follows {
                    Follows::Body(length) => body(length),
                    Follows::Chunks => Stage::Chunks,
                    Follows::WebSocket => Stage::WebSocket,
                };
            }
            // Whoever speaks TLS does not understand an answer.
            Err(Refusal::Tls) if self.refusal.set(Refusal::Tls).is_ok() => self.stage = Stage::Ended,
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        // The stage is left by nothing, so there is one refusal only.
        if self.refusal.set(refusal).is_ok() {
            self.held = BytesMut::from(SUBSTITUTE);
            self.released = self.held.len();
            self.stage = Stage::Ended;
        }
    }

    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.released.min(buffer.remaining());
        buffer.put_slice(&self.held[..length]);
        self.held.advance(length);
        self.released -= length;
        if self.held.is_empty() {
            // A connection that waits for its next request keeps no buffer.
            self.held = BytesMut::new();
        }
    }

    /// Reads a piece into a buffer of its own; its length is 0 at the end of input.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        if self.stage != Stage::Ended {
            self.held.extend_from_slice(buffer.filled());
        }
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Discards input until the peer ends its side, or for long enough.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(read) = self.poll_piece(context) {
            let length = read.unwrap_or(0);
            self.discarded += length;
            if length == 0 || self.discarded > LINGER_BYTES_MAX {
                return Poll::Ready(());
            }
        }
        let linger = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        linger.as_mut().poll(context)
    }
}

fn body(left: u64) -> Stage {
    if left > 0 { Stage::Body(left) } else { Stage::Head }
}

impl AsyncRead for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = &mut *self;
        while gate.released == 0 && !gate.release() {
            if gate.refusal.get() == Some(&Refusal::Tls) {
                return Poll::Ready(Ok(()));
            }
            if matches!(gate.stage, Stage::WebSocket | Stage::Ended) {
                // Nothing will come: the connection ends with the answer, or becomes a WebSocket.
                return Poll::Pending;
            }
            let read = ready!(gate.poll_piece(context));
            if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
                // hyper keeps what it was to itself.
                let _ = gate.refusal.set(Refusal::Tls);
            }
            if read? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        gate.hand_on(buffer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gate {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper comes here when it has written all that it had; TLS may hold some of it.
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.unwritten = None;
        }
        self.in_time(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.stream).poll_shutdown(context);
        ready!(self.in_time(context, shut_down))?;
        // Between two requests there is nothing to wait for.
        if self.stage != Stage::Head {
            self.stage = Stage::Ended;
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}

impl Transport for Gate {
    fn into_stream(self) -> (Stream, Bytes) {
        (self.stream, self.held.freeze())
    }
}
