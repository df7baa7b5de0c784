//! A proxy that harms one publication on its way to a client, and nothing else: a load tester has to notice.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What is done to a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It does not arrive.
    Drop,
    /// It arrives twice.
    Double,
    /// It arrives after the next one of its connection.
    Swap,
}

/// A proxy; it ends when it is dropped.
pub struct FrameProxy {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl FrameProxy {
    /// A proxy to a node, which harms one publication after so many have gone through, over all connections.
    pub async fn start(node: SocketAddr, harm: Harm, after: i64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let left = Arc::new(AtomicI64::new(after));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connect(client, node, harm, Arc::clone(&left)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, _task: task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn connect(client: TcpStream, node: SocketAddr, harm: Harm, left: Arc<AtomicI64>) {
    let Ok(node) = TcpStream::connect(node).await else { return };
    if client.set_nodelay(true).and_then(|()| node.set_nodelay(true)).is_err() {
        return;
    }
    let ((mut from_client, to_client), (from_node, mut to_node)) = (client.into_split(), node.into_split());
    let up = async {
        // Either side may be gone at any time.
        _ = tokio::io::copy(&mut from_client, &mut to_node).await;
    };
    let down = Down { from: from_node, to: to_client, harm, left, held: None };
    tokio::select! {
        () = up => {}
        _ = down.pump() => {}
    }
}

/// The direction to the client.
struct Down {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    harm: Harm,
    left: Arc<AtomicI64>,
    /// The publication that comes after the next one.
    held: Option<Vec<u8>>,
}

impl Down {
    async fn pump(mut self) -> std::io::Result<()> {
        let head = self.head().await?;
        self.to.write_all(&head).await?;
        loop {
            let frame = self.frame().await?;
            let publication = frame.windows(6).any(|part| part == b"\"pub\":");
            let harmed = publication && self.left.fetch_sub(1, Ordering::Relaxed) == 1;
            match (harmed, self.harm) {
                (false, _) => self.to.write_all(&frame).await?,
                (true, Harm::Drop) => {}
                (true, Harm::Double) => self.to.write_all(&frame.repeat(2)).await?,
                (true, Harm::Swap) => self.held = Some(frame),
            }
            if publication
                && !harmed
                && let Some(held) = self.held.take()
            {
                self.to.write_all(&held).await?;
            }
        }
    }

    /// The answer to the upgrade.
    async fn head(&mut self) -> std::io::Result<Vec<u8>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.from.read_u8().await?);
        }
        Ok(head)
    }

    /// A frame of the node, which is not masked.
    async fn frame(&mut self) -> std::io::Result<Vec<u8>> {
        let mut frame = vec![0; 2];
        self.from.read_exact(&mut frame).await?;
        let extended = match frame[1] {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        frame.resize(2 + extended, 0);
        self.from.read_exact(&mut frame[2..]).await?;
        let length = match extended {
            0 => usize::from(frame[1]),
            _ => frame[2..].iter().fold(0, |value, byte| value << 8 | usize::from(*byte)),
        };
        let header = frame.len();
        frame.resize(header + length, 0);
        self.from.read_exact(&mut frame[header..]).await?;
        Ok(frame)
    }
}
