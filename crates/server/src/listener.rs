//! The listening socket: accepts connections and serves HTTP on them.
//!
//! A connection of an address that has too many, or makes too many, gets 503 before anything of it is read.
//!
//! An own accept loop, since the socket of an upgraded connection has to come back as it is. An error of accept
//! (no descriptors left, mostly) makes it wait and try again, longer each time; it never spins and never ends. For want of
//! descriptors those who wait are told so, by means of one that is kept for that.
//!
//! hyper reads from a [`Gate`], which judges every request's head before hyper sees it.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use fanfare_gateway::{HandshakeError, Stream};
use futures_util::FutureExt as _;
use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::arrivals::{Arrivals, Seat, TooMany};
use crate::gate::Gate;
use crate::head::{self, HEAD_BYTES_MAX, Refusal};
use crate::origin::Scheme;
use crate::routes::RETRY_AFTER_SECONDS;
use crate::tls::{Tls, Trouble};

/// Connections waiting to be accepted. The usual 128 overflow in a burst of connects, and each one that does waits
/// a whole second.
pub(crate) const BACKLOG: i32 = 4_096;

/// Refused requests that are logged in a second; the rest is counted.
const LOG_LINES_PER_SECOND: u32 = 5;

/// What a client without TLS is told where TLS is spoken.
const PLAIN_HTTP: &str = "this port speaks HTTPS: begin with https:// or wss://\n";

/// The label of requests whose head did not come within the time for it.
pub(crate) const TIMEOUT: &str = "timeout";

/// First wait after an error of accept; it doubles up to [`BACK_OFF_MAX`].
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Connections that are turned away for want of descriptors before the next wait.
const TURNED_AWAY_AT_ONCE: usize = 64;

/// Refused connections that are still told so; further ones are closed without a word. Each is a task of some 2 KiB
/// and a socket: 512 KiB and 256 descriptors.
const REFUSALS_MAX: usize = 256;

/// How long connections are read from when the node ends.
const LAST_REQUESTS_WAIT: Duration = Duration::from_millis(100);

/// How long a refused connection is read from, so that the refusal arrives, and how much of it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const REFUSED_BYTES_MAX: u64 = HEAD_BYTES_MAX as u64;

/// What the listener counts.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) accept_errors: IntCounter,
    /// Connections that got 503 for want of descriptors.
    pub(crate) turned_away: IntCounter,
    pub(crate) connections: IntGauge,
    /// By [`Refusal::label`], and [`TIMEOUT`].
    pub(crate) refusals: IntCounterVec,
    /// By [`Trouble::label`].
    pub(crate) tls_errors: IntCounterVec,
    /// Full ones and resumed ones.
    pub(crate) tls_handshakes: IntCounterVec,
}

/// Binds an address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts and serves until it is told to end.
pub(crate) struct Listener {
    pub(crate) listener: TcpListener,
    pub(crate) router: Router,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) tls_handshake_timeout: Duration,
    pub(crate) header_timeout: Duration,
    /// HTTP connections at once; further ones wait in the backlog.
    pub(crate) connections_max: usize,
    pub(crate) spare: Spare,
    pub(crate) counts: Counts,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) log: Arc<RefusalLog>,
    /// Cleared when the node drains: what is answered from then on is the last on its connection, so that a proxy keeps
    /// none that is about to end.
    pub(crate) takes_connections: Arc<AtomicBool>,
    /// Changes to `true` when no further connection is to be accepted.
    pub(crate) ending: watch::Receiver<bool>,
}

/// A connection, whose it is, and its place among those of HTTP.
type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

impl Listener {
    /// Runs the accept loop. Afterwards requests under way are finished; dropping the future ends them.
    pub(crate) async fn run(mut self) {
        let places = Arc::new(Semaphore::new(self.connections_max));
        let mut connections = JoinSet::new();
        let mut back_off = BACK_OFF_MIN;
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        while let Some(accepted) = self.accept(&places, &mut back_off).await {
            self.serve_or_refuse(accepted, &refusals, &mut connections);
            while connections.try_join_next().is_some() {}
        }
        // Who is connected already, as far as the kernel goes, may have sent a request: closing would take it back.
        for _ in 0..BACKLOG {
            let Some(Ok((stream, peer))) = self.listener.accept().now_or_never() else { break };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { break };
            self.serve_or_refuse((stream, peer, place), &refusals, &mut connections);
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }

    /// Serves a connection, unless its address has too many.
    fn serve_or_refuse(
        &self,
        (stream, peer, place): Accepted,
        refusals: &Arc<Semaphore>,
        connections: &mut JoinSet<()>,
    ) {
        match self.arrivals.accept(peer.ip()) {
            Ok(seat) => _ = connections.spawn(self.connection(seat, place).run(stream)),
            // Where TLS is spoken there is no way to say it.
            Err(_) if self.tls.is_some() => {}
            Err(why) => {
                if let Ok(place) = Arc::clone(refusals).try_acquire_owned() {
                    connections.spawn(refuse(stream, why, place));
                }
            }
        }
    }

    /// The next connection; `None` when the listener is to end.
    async fn accept(&mut self, places: &Arc<Semaphore>, back_off: &mut Duration) -> Option<Accepted> {
        let place = tokio::select! {
            () = told(&mut self.ending) => return None,
            place = Arc::clone(places).acquire_owned() => place.ok()?,
        };
        loop {
            // The end first: a stream of connects must not keep a node from draining.
            let accepted = tokio::select! {
                biased;
                () = told(&mut self.ending) => return None,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    *back_off = BACK_OFF_MIN;
                    // A long answer is several writes, and the last one must not wait for the peer to acknowledge.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection was lost before it was served");
                    }
                    return Some((stream, peer, place));
                }
                Err(error) => {
                    if is_without_descriptors(&error) {
                        self.turn_away();
                    }
                    self.wait_after(&error, back_off).await;
                }
            }
        }
    }

    /// Tells some of those who wait that there is no room, with the descriptor that is kept for that.
    fn turn_away(&mut self) {
        for _ in 0..TURNED_AWAY_AT_ONCE {
            self.spare.release();
            let accepted = self.listener.accept().now_or_never();
            let Some(Ok((stream, _))) = accepted else { break };
            self.counts.turned_away.inc();
            // Where there is TLS there is nothing to say it in.
            if self.tls.is_none()
                && let Err(error) = say_no_room(stream)
            {
                tracing::trace!(%error, "a connection that was turned away has gone");
            }
            self.spare.take();
        }
        self.spare.take();
    }

    async fn wait_after(&self, error: &io::Error, back_off: &mut Duration) {
        self.counts.accept_errors.inc();
        if self.log.may_log(Instant::now()) {
            tracing::warn!(%error, wait = ?back_off, "cannot accept connections: check the limit of file descriptors");
        }
        tokio::time::sleep(*back_off).await;
        *back_off = (*back_off * 2).min(BACK_OFF_MAX);
    }

    fn connection(&self, seat: Arc<Seat>, place: OwnedSemaphorePermit) -> Connection {
        self.counts.connections.inc();
        Connection {
            router: self.router.clone(),
            tls: self.tls.clone(),
            tls_handshake_timeout: self.tls_handshake_timeout,
            header_timeout: self.header_timeout,
            arrivals: Arc::clone(&self.arrivals),
            log: Arc::clone(&self.log),
            takes_connections: Arc::clone(&self.takes_connections),
            ending: self.ending.clone(),
            seat,
            counted: Counted(self.counts.clone()),
            _place: place,
        }
    }
}

/// A connection that counts as one of HTTP until this is dropped, which a panic does too.
struct Counted(Counts);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// What one connection is served with.
struct Connection {
    router: Router,
    tls: Option<Arc<Tls>>,
    tls_handshake_timeout: Duration,
    header_timeout: Duration,
    arrivals: Arc<Arrivals>,
    log: Arc<RefusalLog>,
    takes_connections: Arc<AtomicBool>,
    ending: watch::Receiver<bool>,
    seat: Arc<Seat>,
    counted: Counted,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let stream = match &self.tls {
            None => Stream::from(stream),
            // Boxed: a connection does not carry its handshake around.
            Some(tls) => match Box::pin(self.shake_hands(stream, tls.config())).await {
                Ok(stream) => stream,
                Err(trouble) => return self.count(trouble),
            },
        };
        self.serve(stream).await;
    }

    /// Makes the TLS handshake in time; an error is told to the peer.
    async fn shake_hands(&self, stream: TcpStream, config: Arc<ServerConfig>) -> Result<Stream, Option<Trouble>> {
        // Without a word, since there is no TLS to say it in. It is counted there.
        self.arrivals.tls_handshake(&self.seat).map_err(|_| None)?;
        match timeout(self.tls_handshake_timeout, Stream::accept_tls(stream, config)).await {
            Ok(Ok(stream)) => {
                let kind = if stream.is_resumed() { "resumed" } else { "full" };
                self.counted.0.tls_handshakes.with_label_values(&[kind]).inc();
                Ok(stream)
            }
            Ok(Err(HandshakeError::PlainHttp(stream))) => {
                say_last(stream, &answer("400 Bad Request", "", PLAIN_HTTP)).await;
                Err(Some(Trouble::PlainHttp))
            }
            Ok(Err(HandshakeError::Tls(error, stream))) => {
                tracing::debug!(%error, "a TLS handshake failed");
                say_last(stream, "").await;
                Err(Some(Trouble::Handshake))
            }
            Ok(Err(HandshakeError::Io(error))) => {
                tracing::debug!(%error, "a TLS handshake was not finished");
                Err(Some(Trouble::Ended))
            }
            Err(_) => Err(Some(Trouble::Timeout)),
        }
    }

    fn count(&self, trouble: Option<Trouble>) {
        if let Some(trouble) = trouble {
            self.counted.0.tls_errors.with_label_values(&[trouble.label()]).inc();
        }
    }

    async fn serve(mut self, stream: Stream) {
        let scheme = if stream.is_tls() { Scheme::Https } else { Scheme::Http };
        let gate = Gate::new(stream, self.header_timeout);
        let (refusal, not_upgraded) = (gate.refusal(), Arc::<Mutex<Option<OnUpgrade>>>::default());
        let answers = Answers {
            router: self.router.clone(),
            scheme,
            seat: Arc::clone(&self.seat),
            refusal: Arc::clone(&refusal),
            not_upgraded: Arc::clone(&not_upgraded),
            counts: self.counted.0.clone(),
            log: Arc::clone(&self.log),
            takes_connections: Arc::clone(&self.takes_connections),
        };
        let service = service_fn(move |request| answers.clone().answer(request));
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(self.header_timeout).max_buf_size(HEAD_BYTES_MAX);
        let served = {
            let mut connection = pin!(server.serve_connection(TokioIo::new(gate), service).with_upgrades());
            tokio::select! {
                served = connection.as_mut() => served,
                () = told_and_read(&mut self.ending) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        if refusal.get() == Some(&Refusal::Tls) {
            let of_record = scheme == Scheme::Https;
            self.count(Some(if of_record { Trouble::Record } else { Trouble::TlsOnPlain }));
        }
        if let Err(error) = served {
            self.count_error(&error);
        }
        let not_upgraded = not_upgraded.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(upgrade) = not_upgraded {
            // The connection is dropped: its socket is here, or there is none to wait for.
            end_not_upgraded(upgrade).await;
        }
    }

    fn count_error(&self, error: &hyper::Error) {
        if error.is_timeout() {
            self.counted.0.refusals.with_label_values(&[TIMEOUT]).inc();
        }
        tracing::debug!(%error, "an HTTP connection ended with an error");
    }
}

/// A descriptor that is kept for the moment when there is no other.
#[derive(Debug, Default)]
pub(crate) struct Spare(Option<File>);

impl Spare {
    /// Takes one, if there is one to be had.
    pub(crate) fn take(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }

    fn release(&mut self) {
        self.0 = None;
    }
}

/// Whether the process, or the machine, has no descriptors left.
fn is_without_descriptors(error: &io::Error) -> bool {
    let codes = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

/// Says why, without waiting for anything.
fn say_no_room(stream: TcpStream) -> io::Result<()> {
    let mut stream = stream.into_std()?;
    stream.write_all(unavailable("no file descriptors are left on this node; try again later\n").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    // A socket that is closed with unread bytes takes back what it has said: what is there by now is read.
    stream.read(&mut [0; 4_096]).map(drop)
}

/// The answer 503, as it is written to a socket that no HTTP server has.
fn unavailable(text: &str) -> String {
    answer("503 Service Unavailable", &format!("retry-after: {RETRY_AFTER_SECONDS}\r\n"), text)
}

/// Ends a connection that wanted to become a WebSocket in order: dropped with unread input it would take back the
/// refusal.
async fn end_not_upgraded(upgrade: OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let Ok(Parts { io, .. }) = upgraded.downcast::<TokioIo<Gate>>() else { return };
    if let Err(error) = io.into_inner().shutdown().await {
        tracing::trace!(%error, "a refused connection has gone");
    }
}

/// Waits until the listener is to end; the other side being gone means the same.
async fn told(ending: &mut watch::Receiver<bool>) {
    if ending.wait_for(|ending| *ending).await.is_err() {
        tracing::debug!("the node was dropped");
    }
}

/// The same, and a moment more: what was sent before is on its way in, and a connection of which nothing was read would be
/// closed at once, the request with it.
async fn told_and_read(ending: &mut watch::Receiver<bool>) {
    told(ending).await;
    tokio::time::sleep(LAST_REQUESTS_WAIT).await;
}

/// Answers the requests of one connection.
#[derive(Clone)]
struct Answers {
    router: Router,
    scheme: Scheme,
    /// Of the connection: taken as long as it is, and handed on to the session with an upgrade.
    seat: Arc<Seat>,
    refusal: Arc<OnceLock<Refusal>>,
    /// The socket of a request for a WebSocket that was refused: hyper gives it away all the same.
    not_upgraded: Arc<Mutex<Option<OnUpgrade>>>,
    counts: Counts,
    log: Arc<RefusalLog>,
    takes_connections: Arc<AtomicBool>,
}

impl Answers {
    async fn answer(self, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        // The gate's substitute: a client's request for this is refused by the gate.
        if request.uri() == "*" && request.method() == http::Method::GET {
            return Ok(self.refuse());
        }
        let (last, upgrade) = (is_last(&request), request.extensions().get::<OnUpgrade>().cloned());
        request.extensions_mut().insert(self.scheme);
        request.extensions_mut().insert(self.seat);
        let mut response = self.router.oneshot(request.map(Body::new)).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            if last || !self.takes_connections.load(Ordering::Acquire) {
                response.headers_mut().insert(CONNECTION, CLOSE);
            }
            *self.not_upgraded.lock().unwrap_or_else(PoisonError::into_inner) = upgrade;
        }
        Ok(response)
    }

    fn refuse(&self) -> Response {
        let refusal = self.refusal.get().copied().unwrap_or(Refusal::Target);
        self.counts.refusals.with_label_values(&[refusal.label()]).inc();
        if self.log.may_log(Instant::now()) {
            // Nothing of the request: it may carry a token, and who sends this may send anything.
            tracing::info!(reason = refusal.label(), status = refusal.status().as_u16(), "a request was refused");
        }
        (refusal.status(), [(CONNECTION, CLOSE)], format!("{}\n", refusal.text())).into_response()
    }
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Whether the gate judges nothing behind this request.
fn is_last(request: &Request<Incoming>) -> bool {
    let mut upgrades = request.headers().get_all(UPGRADE).into_iter();
    request.headers().contains_key(TRANSFER_ENCODING) || upgrades.any(|value| head::names_websocket(value.as_bytes()))
}

/// How much was logged of refused requests.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    window: Mutex<Option<(Instant, u32)>>,
}

impl RefusalLog {
    pub(crate) fn may_log(&self, now: Instant) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, lines) = match *window {
            Some((began, lines)) if now.duration_since(began) < Duration::from_secs(1) => (began, lines + 1),
            _ => (now, 1),
        };
        *window = Some((began, lines));
        lines <= LOG_LINES_PER_SECOND
    }
}

/// Says why, where there is no TLS to say it in.
async fn refuse(stream: TcpStream, why: TooMany, place: OwnedSemaphorePermit) {
    say_last(stream, &unavailable(why.text())).await;
    drop(place);
}

fn answer(status: &str, headers: &str, text: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// Says something for the last time, and reads for a while: a socket that is closed with unread bytes takes back what it
/// has said.
async fn say_last(mut stream: TcpStream, answer: &str) {
    let said = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(REFUSED_BYTES_MAX), &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = timeout(REFUSAL_TIMEOUT, said).await {
        tracing::trace!(%error, "a refused connection has gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a refusal ended without a carriage return, which is no HTTP.
    #[test]
    fn the_lines_of_a_refusal_end_as_those_of_http_do() {
        let answer = unavailable("no room\n");
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!((head.lines().count(), head.matches("\r\n").count()), (5, 4));
        assert_eq!(text, "no room\n");
    }

    /// A listener that nobody else has, without routes.
    fn listener(ending: watch::Receiver<bool>) -> (Listener, SocketAddr) {
        let listener = TcpListener::from_std(bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = crate::metrics::Metrics::default();
        let (header_timeout, takes_connections) = (Duration::from_secs(1), !*ending.borrow());
        let listener = Listener {
            listener,
            router: Router::new(),
            header_timeout,
            connections_max: 1,
            spare: Spare::default(),
            counts: metrics.listener().unwrap(),
            arrivals: Arrivals::new(crate::arrivals::Options::default(), metrics.arrivals().unwrap()),
            log: Arc::default(),
            takes_connections: Arc::new(AtomicBool::new(takes_connections)),
            ending,
            tls: None,
            tls_handshake_timeout: header_timeout,
        };
        (listener, address)
    }

    /// Only the sockets of sessions had it: the end of a long answer waited for an acknowledgement.
    #[tokio::test]
    async fn http_connections_do_not_wait_for_acknowledgements() {
        let (_node, ending) = watch::channel(false);
        let (mut listener, address) = listener(ending);
        let _client = TcpStream::connect(address).await.unwrap();
        let accepted = listener.accept(&Arc::new(Semaphore::new(1)), &mut BACK_OFF_MIN.clone()).await;
        assert!(accepted.unwrap().0.nodelay().unwrap());
    }

    /// The kernel had taken the connection, and the request with it: both were reset when the listener was closed.
    #[tokio::test]
    async fn a_request_that_waited_to_be_accepted_was_lost_when_the_node_ended() {
        let (_node, ending) = watch::channel(true);
        let (listener, address) = listener(ending);
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: fanfare\r\n\r\n").await.unwrap();
        listener.run().await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("connection: close"), "{answer}");
    }
}
