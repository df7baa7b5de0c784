//! A TCP proxy that can lead elsewhere, cut, stall and refuse, and that understands enough of Redis's protocol to cut
//! an answer off after its script has run.

mod redis;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use self::redis::{Scanner, Seen};
use super::board::Board;
use super::history::Met;

/// What the kernel holds of a connection in either direction: little, so that a stall is felt at the other end soon.
const BUFFER_BYTES: u32 = 8 * 1024;

/// Connections that wait to be accepted: all clients at once.
const BACKLOG: u32 = 1024;

/// What is done to what passes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mode {
    /// Nothing passes.
    pub stalled: bool,
    /// Nothing comes in on connections that are subscribed in Redis.
    pub stalled_pubsub: bool,
    /// New connections are closed.
    pub refusing: bool,
    /// Connections that subscribe in Redis are closed.
    pub refusing_pubsub: bool,
    /// Answers of the publish script are held back and their connections cut.
    pub cutting_answers: bool,
}

/// A proxy; it ends when it is dropped.
pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    mode: watch::Sender<Mode>,
    connections: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
    next: AtomicU64,
    answers_cut: AtomicU32,
    /// What was under way at the node when an answer was cut last.
    met: Mutex<Met>,
    /// The node whose way to Redis this is, and where to note what Redis says to it.
    redis: Option<(Arc<Board>, usize)>,
}

impl Wire {
    /// A proxy that leads somewhere.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        Self::begin(target, None)
    }

    /// A node's way to Redis.
    pub fn to_redis(target: SocketAddr, board: Arc<Board>, node: usize) -> io::Result<Self> {
        Self::begin(target, Some((board, node)))
    }

    fn begin(target: SocketAddr, redis: Option<(Arc<Board>, usize)>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_send_buffer_size(BUFFER_BYTES)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            mode: watch::Sender::new(Mode::default()),
            connections: Mutex::default(),
            next: AtomicU64::new(0),
            answers_cut: AtomicU32::new(0),
            met: Mutex::default(),
            redis,
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _task: task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections lead there from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Changes what is done.
    pub fn set(&self, change: impl FnOnce(&mut Mode)) {
        self.shared.mode.send_modify(change);
    }

    /// Cuts at most so many connections, the oldest first; says how many.
    pub fn cut(&self, max: usize) -> u32 {
        let mut connections = self.shared.connections();
        let mut cut = 0;
        while let Some((_, connection)) = (cut < max).then(|| connections.pop_first()).flatten() {
            // It may have ended by itself.
            let _ = connection.send(());
            cut += 1;
        }
        cut as u32
    }

    /// How many answers were cut off so far.
    pub fn answers_cut(&self) -> u32 {
        self.shared.answers_cut.load(Ordering::Acquire)
    }

    /// What was under way at the node when an answer was cut off last.
    pub fn met(&self) -> Met {
        *self.shared.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut_off(&self, answers: u32) {
        if let Some((board, node)) = &self.redis {
            *self.met.lock().unwrap_or_else(PoisonError::into_inner) = board.met(Some(*node));
        }
        self.answers_cut.fetch_add(answers, Ordering::AcqRel);
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(BUFFER_BYTES)?;
        socket.connect(target).await
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        // Out of descriptors or the like: a node that is not reached tries again.
        let Ok((near, _)) = listener.accept().await else { continue };
        if !shared.mode.borrow().refusing {
            connections.spawn(connect(near, Arc::clone(&shared)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(mut near: TcpStream, shared: Arc<Shared>) {
    let Ok(mut far) = shared.dial().await else { return };
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let id = shared.next.fetch_add(1, Ordering::Relaxed);
    let (cut, cutting) = oneshot::channel();
    shared.connections().insert(id, cut);
    let pubsub = AtomicBool::new(false);
    let was_cut = {
        let (from_near, to_near) = near.split();
        let (from_far, to_far) = far.split();
        let pump = |scanner| Pump { mode: shared.mode.subscribe(), shared: &shared, pubsub: &pubsub, scanner };
        tokio::select! {
            _ = cutting => true,
            () = pump(None).up(from_near, to_far) => false,
            () = pump(shared.redis.is_some().then(Scanner::default)).down(from_far, to_near) => false,
        }
    };
    if was_cut && id.is_multiple_of(2) {
        // Every other one sees a reset in place of an end.
        let lingers = [near.set_zero_linger(), far.set_zero_linger()];
        debug_assert!(lingers.iter().all(Result::is_ok), "sockets that are open can be reset");
    }
    shared.connections().remove(&id);
    if let Some((board, node)) = shared.redis.as_ref().filter(|_| pubsub.load(Ordering::Acquire)) {
        board.lost(*node);
    }
}

struct Pump<'a> {
    mode: watch::Receiver<Mode>,
    shared: &'a Shared,
    pubsub: &'a AtomicBool,
    scanner: Option<Scanner>,
}

impl Pump<'_> {
    async fn up(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) {
        let mut buffer = vec![0; 16 * 1024];
        while let Some(read) = self.read(&mut from, &mut buffer, |mode, _| mode.stalled).await {
            if self.shared.redis.is_some() && buffer[..read].windows(9).any(|nine| nine == b"SUBSCRIBE") {
                self.pubsub.store(true, Ordering::Release);
            }
            let refused = self.pubsub.load(Ordering::Acquire) && self.mode.borrow().refusing_pubsub;
            if refused || to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    async fn down(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) {
        let mut buffer = vec![0; 16 * 1024];
        let holds = |mode: &Mode, pubsub: bool| mode.stalled || (pubsub && mode.stalled_pubsub);
        while let Some(read) = self.read(&mut from, &mut buffer, holds).await {
            let answers = self.inspect(&buffer[..read]);
            if answers > 0 && self.mode.borrow().cutting_answers {
                return self.shared.cut_off(answers);
            }
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    /// Reads when it may; `None` at the end.
    async fn read(
        &mut self,
        from: &mut ReadHalf<'_>,
        buffer: &mut [u8],
        holds: impl Fn(&Mode, bool) -> bool,
    ) -> Option<usize> {
        let pubsub = self.pubsub;
        let passes = |mode: &Mode| !holds(mode, pubsub.load(Ordering::Acquire));
        loop {
            self.mode.wait_for(passes).await.ok()?;
            tokio::select! {
                biased;
                changed = self.mode.changed() => changed.ok()?,
                read = from.read(buffer) => {
                    let read = read.ok().filter(|read| *read > 0)?;
                    // A stall that began meanwhile holds these bytes too.
                    self.mode.wait_for(passes).await.ok()?;
                    return Some(read);
                }
            }
        }
    }

    /// Notes what Redis says; gives how many publications it acknowledges.
    fn inspect(&mut self, bytes: &[u8]) -> u32 {
        let (Some(scanner), Some((board, node))) = (&mut self.scanner, &self.shared.redis) else { return 0 };
        let mut acknowledged = 0;
        scanner.feed(bytes, |seen| match seen {
            Seen::Subscribed(channel) => board.confirmed(*node, channel),
            Seen::Unsubscribed(channel) => board.unconfirmed(*node, &channel),
            Seen::Acknowledged => acknowledged += 1,
        });
        acknowledged
    }
}
