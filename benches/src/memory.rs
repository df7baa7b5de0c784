//! What a node accounts for of its memory, against what its process has: at rest, under load, and under attack.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::clients::Clients;
use crate::node::Node;
use crate::{Outcome, say};

/// Pings that each sends in a second or a little more: below the limit, so that nobody is closed for it.
const PINGS: usize = 45;
const PAUSE: Duration = Duration::from_millis(1_100);

/// Connections that send pings, never read, and never log in.
pub(crate) async fn pingers(count: usize) -> Outcome {
    let node = Node::start().await?;
    drop(Clients::connect(node.address(), 100).await?);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = node.process().resident_bytes()?;
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(open(node.address()).await?);
    }
    let idle = node.process().resident_bytes()?;
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'x'; 125]].concat().repeat(PINGS);
    let (mut most, mut accounted) = (0, 0.0);
    for _ in 0..9 {
        for stream in &mut streams {
            // Those that were closed meanwhile have nothing more to say.
            let _ = stream.write_all(&ping).await;
        }
        tokio::time::sleep(PAUSE).await;
        most = most.max(node.process().resident_bytes()?);
        accounted = f64::max(accounted, node.metric("fanfare_memory_accounted_bytes{kind=\"outboxes\"}").await?);
    }
    let kib = |bytes: u64| bytes as f64 / 1_024.0;
    say(&format!(
        "pingers: {count} that never read: {:.0} KiB resident before, {:.0} with them connected, {:.0} at most; \
         {:.1} KiB each for pinging; {:.1} KiB each accounted in outboxes at most",
        kib(before),
        kib(idle),
        kib(most),
        kib(most.saturating_sub(idle)) / count as f64,
        accounted / 1_024.0 / count as f64,
    ))
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4_096)?;
    let mut stream = socket.connect(address).await?;
    let request = format!(
        "GET /connection/websocket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.read_exact(&mut [0]).await?;
    Ok(stream)
}

/// What is accounted for and what the process has, in a line.
pub(crate) async fn compared(node: &Node) -> Result<String, Box<dyn std::error::Error>> {
    // The node looks four times a second.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let accounted = node.metric("fanfare_memory_accounted_bytes").await?;
    let resident = node.process().resident_bytes()? as f64;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    Ok(format!("{:.1} MiB accounted for, {:.1} MiB resident", mib(accounted), mib(resident)))
}
