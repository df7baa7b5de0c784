//! A way to a server that can be cut, closed, turned elsewhere, slowed down, silenced, and that can lie.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Stands before a server.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

struct State {
    upstream: AtomicU16,
    closed: AtomicBool,
    delay_millis: AtomicU64,
    /// Whether nothing comes back: on connections for commands, on those for pub/sub.
    silent: watch::Sender<[bool; 2]>,
    /// A connection on which this is sent is cut as soon as the server has answered.
    doomed: Mutex<Option<String>>,
    connections: Mutex<Vec<Arc<Connection>>>,
}

struct Connection {
    subscribes: AtomicBool,
    cut: watch::Sender<bool>,
    lies: mpsc::Sender<Vec<u8>>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(State {
            upstream: AtomicU16::new(port),
            closed: AtomicBool::new(false),
            delay_millis: AtomicU64::new(0),
            silent: watch::Sender::default(),
            doomed: Mutex::default(),
            connections: Mutex::default(),
        });
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&state)));
        Self { port, state, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where new connections go.
    pub(crate) fn turn_to(&self, port: u16) {
        self.state.upstream.store(port, Ordering::SeqCst);
    }

    /// Whether new connections are refused.
    pub(crate) fn set_closed(&self, closed: bool) {
        self.state.closed.store(closed, Ordering::SeqCst);
    }

    /// How long whatever the server says is on its way.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.state.delay_millis.store(delay.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    /// Whether pub/sub connections, or those for commands, are open and bring nothing.
    pub(crate) fn set_silent(&self, subscribes: bool, silent: bool) {
        self.state.silent.send_modify(|all| all[usize::from(subscribes)] = silent);
    }

    /// Says something on pub/sub connections, or on those for commands, that the server did not say.
    pub(crate) fn lie(&self, subscribes: bool, bytes: &[u8]) {
        let connections = self.state.connections.lock().unwrap();
        for connection in connections.iter().filter(|it| it.subscribes.load(Ordering::SeqCst) == subscribes) {
            // One that has ended hears nothing.
            let _ = connection.lies.try_send(bytes.to_vec());
        }
    }

    /// Cuts pub/sub connections, or those for commands.
    pub(crate) fn cut(&self, subscribes: bool) {
        for connection in self.state.connections.lock().unwrap().iter() {
            if connection.subscribes.load(Ordering::SeqCst) == subscribes {
                connection.cut.send_replace(true);
            }
        }
    }

    /// Cuts the next connection on which `text` is sent, after the server has answered and before the client hears it.
    pub(crate) fn doom(&self, text: &str) {
        *self.state.doomed.lock().unwrap() = Some(text.to_owned());
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if !state.closed.load(Ordering::SeqCst) {
            connections.spawn(pass(client, Arc::clone(&state)));
        }
    }
}

async fn pass(mut client: TcpStream, state: Arc<State>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", state.upstream.load(Ordering::SeqCst))).await else { return };
    let (lies, mut told) = mpsc::channel(16);
    let connection = Arc::new(Connection { subscribes: AtomicBool::new(false), cut: watch::Sender::new(false), lies });
    state.connections.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&connection));
    let mut cut = connection.cut.subscribe();
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    let (mut doomed, mut silent) = (false, state.silent.subscribe());
    loop {
        let is_silent = silent.borrow_and_update()[usize::from(connection.subscribes.load(Ordering::SeqCst))];
        tokio::select! {
            () = async { let _ = cut.wait_for(|cut| *cut).await.is_ok(); } => return,
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&up[..length]);
                connection.subscribes.fetch_or(text.contains("SUBSCRIBE"), Ordering::SeqCst);
                doomed |= state.dooms(&text);
                if server.write_all(&up[..length]).await.is_err() {
                    return;
                }
            }
            _ = silent.changed() => {}
            Some(lie) = told.recv() => {
                if client.write_all(&lie).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down), if !is_silent => {
                let Ok(length @ 1..) = read else { return };
                tokio::time::sleep(Duration::from_millis(state.delay_millis.load(Ordering::SeqCst))).await;
                if doomed || client.write_all(&down[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl State {
    fn dooms(&self, text: &str) -> bool {
        let mut doomed = self.doomed.lock().unwrap();
        let dooms = doomed.as_ref().is_some_and(|doom| text.contains(doom));
        if dooms {
            *doomed = None;
        }
        dooms
    }
}
