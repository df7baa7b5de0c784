//! A TCP proxy on loopback that harms the connections through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cut {
    /// Both sides see an end of input.
    #[default]
    Finish,
    /// Both sides see a reset.
    Reset,
}

/// What is done to a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Cut when so many bytes have gone to the client.
    pub cut_after_bytes_down: Option<usize>,
    /// Cut when so many bytes have gone to the node.
    pub cut_after_bytes_up: Option<usize>,
    /// How it is cut.
    pub cut: Cut,
    /// Held back so long, in both directions.
    pub delay: Duration,
}

/// A proxy; it ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

struct Shared {
    node: SocketAddr,
    faults: Mutex<Faults>,
    stalled: watch::Sender<bool>,
    cuts: watch::Sender<u64>,
    half_closes: watch::Sender<u64>,
}

/// How the pump of one direction ended.
#[derive(PartialEq, Eq)]
enum Pumped {
    Finished,
    Cut,
}

impl Proxy {
    /// A proxy to a node, harmless so far.
    pub async fn start(node: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let shared = Arc::new(Shared {
            node,
            faults: Mutex::default(),
            stalled: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            half_closes: watch::Sender::new(0),
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, _task: task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is done to connections that begin from now on.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().expect("no test panics with the lock") = faults;
    }

    /// Lets nothing through in either direction, until [`Self::resume`].
    pub fn stall(&self) {
        self.shared.stalled.send_replace(true);
    }

    /// Lets bytes through again.
    pub fn resume(&self) {
        self.shared.stalled.send_replace(false);
    }

    /// Cuts all connections now.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Tells the node, on all connections, that the client has ended its side; the other direction goes on.
    pub fn half_close(&self) {
        self.shared.half_closes.send_modify(|closes| *closes += 1);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(connect(client, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(mut client: TcpStream, shared: Arc<Shared>) {
    let faults = *shared.faults.lock().expect("no test panics with the lock");
    let Ok(mut node) = TcpStream::connect(shared.node).await else { return };
    let mut cuts = shared.cuts.subscribe();
    let nodelay = client.set_nodelay(true).and_then(|()| node.set_nodelay(true));
    if nodelay.is_err() {
        return;
    }
    let pumped = {
        let (from_client, to_client) = client.split();
        let (from_node, to_node) = node.split();
        let up =
            pump(from_client, to_node, Pump::new(faults.cut_after_bytes_up, faults, &shared).half_closing(&shared));
        let down = pump(from_node, to_client, Pump::new(faults.cut_after_bytes_down, faults, &shared));
        tokio::select! {
            pumped = both(up, down) => pumped,
            _ = cuts.changed() => Pumped::Cut,
        }
    };
    if pumped == Pumped::Cut && faults.cut == Cut::Reset {
        let lingers = [client.set_zero_linger(), node.set_zero_linger()];
        assert!(lingers.iter().all(Result::is_ok), "sockets that are open can be reset");
    }
}

/// Runs both directions until both have finished or one is to be cut.
async fn both(up: impl Future<Output = Pumped>, down: impl Future<Output = Pumped>) -> Pumped {
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        Pumped::Cut = up.as_mut() => Pumped::Cut,
        pumped = down.as_mut() => pumped,
    }
}

struct Pump {
    left: usize,
    delay: Duration,
    stalled: watch::Receiver<bool>,
    half_closes: Option<watch::Receiver<u64>>,
}

impl Pump {
    fn new(bytes: Option<usize>, faults: Faults, shared: &Shared) -> Self {
        Self {
            left: bytes.unwrap_or(usize::MAX),
            delay: faults.delay,
            stalled: shared.stalled.subscribe(),
            half_closes: None,
        }
    }

    fn half_closing(self, shared: &Shared) -> Self {
        Self { half_closes: Some(shared.half_closes.subscribe()), ..self }
    }

    async fn half_closed(&mut self) {
        let changed = match &mut self.half_closes {
            Some(closes) => closes.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            std::future::pending::<()>().await;
        }
    }
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut rules: Pump) -> Pumped {
    let mut buffer = vec![0; 4 * 1024];
    loop {
        if rules.left == 0 {
            return Pumped::Cut;
        }
        if rules.stalled.wait_for(|stalled| !stalled).await.is_err() {
            return Pumped::Finished;
        }
        let room = buffer.len().min(rules.left);
        let read = tokio::select! {
            read = from.read(&mut buffer[..room]) => read.unwrap_or(0),
            () = rules.half_closed() => 0,
        };
        // A stall that began while it waited holds these bytes too.
        let resumed = rules.stalled.wait_for(|stalled| !stalled).await.is_ok();
        if read == 0 || !resumed {
            // The other side may be gone already.
            return to.shutdown().await.map_or(Pumped::Cut, |()| Pumped::Finished);
        }
        if !rules.delay.is_zero() {
            tokio::time::sleep(rules.delay).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return Pumped::Finished;
        }
        rules.left -= read;
    }
}
