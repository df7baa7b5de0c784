//! Many plain clients: as little work as possible between the socket and a counter.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::node::{self, Node};

/// Connects under way at once.
const CONCURRENCY: usize = 256;

/// The frame of a ping in JSON: an empty reply.
const PING: &[u8] = b"\x81\x02{}";

/// How long a measurement waits for what has to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connected clients, which read and count.
pub(crate) struct Clients {
    received: Arc<AtomicU64>,
    count: usize,
    _readers: JoinSet<()>,
}

impl Clients {
    /// Connects and subscribes; returns when every client has both replies.
    pub(crate) async fn connect(target: impl Into<Target>, count: usize) -> io::Result<Self> {
        Self::connect_as(target, count, count).await
    }

    /// The same as so many users.
    pub(crate) async fn connect_as(target: impl Into<Target>, count: usize, users: usize) -> io::Result<Self> {
        let target = target.into();
        let places = Arc::new(Semaphore::new(target.concurrency));
        let mut opening = JoinSet::new();
        for session in 0..count {
            let (places, token, target) = (Arc::clone(&places), node::token(session % users.max(1)), target.clone());
            opening.spawn(async move {
                let _place = places.acquire_owned().await.map_err(io::Error::other)?;
                target.open(&token).await
            });
        }
        let mut streams = Vec::with_capacity(count);
        while let Some(opened) = opening.join_next().await {
            streams.push(opened.map_err(io::Error::other)??);
        }
        Ok(Self::reading(streams))
    }

    /// Connects plain sockets.
    pub(crate) async fn read_only(address: SocketAddr, count: usize) -> io::Result<Self> {
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let stream: Stream = Box::new(TcpStream::connect(address).await?);
            streams.push(stream);
        }
        Ok(Self::reading(streams))
    }

    fn reading(streams: Vec<Stream>) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        let mut readers = JoinSet::new();
        let count = streams.len();
        for stream in streams {
            readers.spawn(read(stream, Arc::clone(&received)));
        }
        Self { received, count, _readers: readers }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn received_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Publishes until the offsets have as many digits as in the measurement, and learns a frame's length.
    pub(crate) async fn learn_frame(&self, node: &Node, payload: &str) -> io::Result<usize> {
        for _ in 0..1_000 {
            node.publish(payload).await?;
        }
        self.settle().await;
        let before = self.received_bytes();
        node.publish(payload).await?;
        self.settle().await;
        Ok((self.received_bytes() - before) as usize / self.count)
    }

    async fn settle(&self) {
        let mut last = u64::MAX;
        while last != self.received_bytes() {
            last = self.received_bytes();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until all clients together have received so many bytes.
    pub(crate) async fn wait_for(&self, bytes: u64) -> io::Result<()> {
        let arrived = async {
            while self.received_bytes() < bytes {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let missing = |_| io::Error::other(format!("{} of {bytes} bytes arrived", self.received_bytes()));
        tokio::time::timeout(PATIENCE, arrived).await.map_err(missing)
    }
}

/// Counts what comes and answers pings, if they are what came last: others are not measured together with deliveries.
async fn read(mut stream: Stream, received: Arc<AtomicU64>) {
    let pong = masked_text("{}");
    let mut buffer = [0; 2_048];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        received.fetch_add(length as u64, Ordering::Relaxed);
        if buffer[..length].ends_with(PING) && stream.write_all(&pong).await.is_err() {
            return;
        }
    }
}

/// What bytes go through, plain or with TLS.
pub(crate) type Stream = Box<dyn Bytes>;

/// Both directions of it.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Where clients connect to, and how.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Connects under way at once.
    pub(crate) concurrency: usize,
    /// Channels that each client subscribes to.
    pub(crate) channels: usize,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, tls: None, concurrency: CONCURRENCY, channels: 1 }
    }
}

impl Target {
    /// The bytes' way.
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::from(self.address.ip());
        Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
    }

    /// A session that has connected and subscribed.
    async fn open(&self, token: &str) -> io::Result<Stream> {
        let mut stream = self.connect().await?;
        introduce(&mut stream, self.address, token, self.channels).await?;
        Ok(stream)
    }
}

/// A session without TLS that has connected and subscribed to one channel.
pub(crate) async fn open(address: SocketAddr, token: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    introduce(&mut stream, address, token, 1).await?;
    Ok(stream)
}

/// A WebSocket on which nothing was said yet.
pub(crate) async fn upgraded(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    upgrade(&mut stream, address).await?;
    Ok(stream)
}

/// Connects and subscribes to the channel `news`, and to more that nobody publishes to.
async fn introduce(stream: &mut impl Bytes, address: SocketAddr, token: &str, channels: usize) -> io::Result<()> {
    upgrade(stream, address).await?;
    let mut commands = format!("{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}");
    for channel in 1..=channels {
        let (id, name) = (channel + 1, if channel == 1 { "news".to_owned() } else { format!("quiet-{channel}") });
        commands += &format!("\n{{\"id\":{id},\"subscribe\":{{\"channel\":\"{name}\"}}}}");
    }
    stream.write_all(&masked_text(&commands)).await?;
    read_until(stream, &format!("{{\"id\":{},\"subscribe\":{{", channels + 1)).await
}

async fn upgrade(stream: &mut impl Bytes, address: SocketAddr) -> io::Result<()> {
    let upgrade = format!(
        "GET /connection/websocket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).await?;
    read_until(stream, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=").await
}

/// Says something and waits for the answer.
pub(crate) async fn ask(stream: &mut TcpStream, command: &str, answer: &str) -> io::Result<()> {
    stream.write_all(&masked_text(command)).await?;
    read_until(stream, answer).await
}

/// Reads until a text has come by; refuses an error reply.
pub(crate) async fn read_until(stream: &mut impl Bytes, wanted: &str) -> io::Result<()> {
    let mut seen = String::new();
    let mut buffer = [0; 2_048];
    while !seen.contains(wanted) {
        let length = stream.read(&mut buffer).await?;
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if length == 0 || seen.contains("\"error\"") {
            return Err(io::Error::other(format!("instead of {wanted:?} came {seen:?}")));
        }
    }
    Ok(())
}

/// A text frame of a client, masked with zeros.
pub(crate) fn masked_text(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}
