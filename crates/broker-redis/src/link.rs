//! The connection for commands: one, shared and pipelined, kept by a supervisor that tries for ever.
//!
//! Every second the supervisor asks Redis who it is. No answer within [`HEARTBEAT_TIMEOUT`] ends the connection;
//! so does its breaking. Whoever waits for an answer then learns at once that there will be none.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisResult};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::backoff::Backoff;
use crate::dial::dial;
use crate::fault::Fault;
use crate::keys::Keys;
use crate::limits::{HEARTBEAT, HEARTBEAT_TIMEOUT};
use crate::metrics::Counters;
use crate::options::Options;
use crate::rights;
use crate::script::Call;

/// Whether commands can be sent.
#[derive(Clone)]
pub(crate) enum State {
    /// Not now.
    Down {
        /// Since when.
        since: Instant,
        /// Why not.
        fault: Fault,
    },
    /// Now.
    Up(Live),
}

/// What moves a connection's bytes; it ends with the connection.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection that works.
#[derive(Clone)]
pub(crate) struct Live {
    connection: MultiplexedConnection,
    /// Identity of the server's data: another one after a failover or a restart.
    pub(crate) replid: Arc<str>,
}

/// The way to Redis for commands.
pub(crate) struct Link {
    state: watch::Sender<State>,
    options: Arc<Options>,
    keys: Arc<Keys>,
    counters: Arc<Counters>,
    /// The last probe that Redis has taken.
    probes: AtomicU64,
    /// What an operator has to do so that the user may what it has to.
    missing_rights: Mutex<Option<String>>,
}

impl Link {
    pub(crate) fn new(options: Arc<Options>, keys: Arc<Keys>, counters: Arc<Counters>) -> Self {
        let down = State::Down { since: Instant::now(), fault: Fault::Disconnected };
        Self {
            state: watch::Sender::new(down),
            options,
            keys,
            counters,
            probes: AtomicU64::new(0),
            missing_rights: Mutex::default(),
        }
    }

    /// Tells of every change of the state.
    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Why commands cannot be sent, if they cannot.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match &*self.state.borrow() {
            State::Up(_) => None,
            State::Down { fault, .. } => Some(*fault),
        }
    }

    /// What an operator has to do, if the last attempt to connect failed because the user lacks rights.
    pub(crate) fn missing_rights(&self) -> Option<String> {
        self.missing_rights.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of the last probe that Redis has taken.
    pub(crate) fn probes(&self) -> u64 {
        self.probes.load(Ordering::Acquire)
    }

    /// The connection, at once or when a short interruption is over. One that lasts for longer than a command may
    /// take fails without waiting. May be dropped.
    pub(crate) async fn live(&self, deadline: Instant) -> Result<Live, Fault> {
        let mut states = self.state.subscribe();
        let wait = states.wait_for(|state| match state {
            State::Up(_) => true,
            State::Down { since, .. } => since.elapsed() > self.options.command_timeout,
        });
        match timeout_at(deadline, wait).await {
            Ok(Ok(state)) => match &*state {
                State::Up(live) => Ok(live.clone()),
                State::Down { fault, .. } => Err(fault.unsent()),
            },
            _ => Err(Fault::Disconnected),
        }
    }

    /// When a command that is sent now has to be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.options.command_timeout
    }

    /// Sends a command once. May be dropped: it may be carried out all the same.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        let deadline = self.deadline();
        let live = self.live(deadline).await;
        let asked = match live {
            Ok(live) => live.ask(command, deadline).await,
            Err(fault) => Err(fault),
        };
        asked.inspect_err(|fault| self.counters.fault(*fault))
    }

    /// Calls a script that may be called twice. May be dropped.
    pub(crate) async fn call<T: FromRedisValue>(&self, call: &Call) -> Result<T, Fault> {
        let deadline = self.deadline();
        loop {
            let called = match self.live(deadline).await {
                Ok(live) => live.call(call, deadline).await,
                Err(fault) => Err(fault),
            };
            match called {
                Err(Fault::Cut) if Instant::now() < deadline => self.counters.fault(Fault::Cut),
                Err(fault) => {
                    self.counters.fault(fault);
                    return Err(fault);
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// Keeps the connection for ever.
    pub(crate) async fn run(&self) {
        let mut backoff = Backoff::default();
        loop {
            let fault = match self.open().await {
                Ok((live, driver)) => {
                    backoff.reset();
                    let server = &self.options.server;
                    tracing::info!(%server, "connected to Redis");
                    let fault = self.keep(live, driver).await;
                    tracing::warn!(%server, ?fault, "the connection to Redis is lost");
                    fault
                }
                Err(fault) => fault,
            };
            self.counters.link_lost(fault);
            self.down(fault);
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Remembers the beginning of an outage, not its latest attempt.
    fn down(&self, fault: Fault) {
        self.state.send_if_modified(|state| {
            let since = match state {
                State::Down { since, .. } => *since,
                State::Up(_) => Instant::now(),
            };
            let reported = matches!(state, State::Down { fault: before, .. } if *before == fault);
            *state = State::Down { since, fault };
            if !reported {
                tracing::warn!(?fault, server = %self.options.server, "no connection to Redis");
            }
            true
        });
    }

    async fn open(&self) -> Result<(Live, Driver), Fault> {
        let socket = dial(&self.options.server, self.options.connect_timeout).await;
        let socket = socket.map_err(|_| Fault::Disconnected)?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let settings = self.options.server.info().redis_settings();
        let opening = MultiplexedConnection::new_with_config(settings, socket, config);
        let (connection, driver) = within(self.options.connect_timeout, opening).await?;
        let mut driver: Driver = Box::pin(driver);
        let mut live = Live { connection, replid: "".into() };
        live.replid = tokio::select! {
            () = &mut driver => return Err(Fault::Cut),
            replid = timeout(self.options.connect_timeout, self.introduce(&live)) => replid.unwrap_or(Err(Fault::Timeout))?,
        };
        Ok((live, driver))
    }

    /// Asks who the server is, and what the user may do there.
    async fn introduce(&self, live: &Live) -> Result<Arc<str>, Fault> {
        let missing = rights::missing(live, &self.options).await?;
        let reported = {
            let mut known = self.missing_rights.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, missing.clone()) == missing
        };
        let Some(missing) = missing else { return live.identify().await };
        if !reported {
            tracing::error!(server = %self.options.server, "{missing}");
        }
        Err(Fault::NoPermission)
    }

    /// Until the connection is lost; says why.
    async fn keep(&self, live: Live, driver: Driver) -> Fault {
        self.state.send_replace(State::Up(live.clone()));
        tokio::select! {
            () = driver => Fault::Cut,
            fault = self.heartbeats(live) => fault,
        }
    }

    async fn heartbeats(&self, mut live: Live) -> Fault {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            match timeout(HEARTBEAT_TIMEOUT, self.heartbeat(&live)).await {
                Err(_) => return Fault::Timeout,
                Ok(Err(fault)) => return fault,
                Ok(Ok(replid)) if replid == live.replid => {}
                Ok(Ok(replid)) => {
                    tracing::warn!("Redis has another replication id: every position is checked");
                    live.replid = replid;
                    self.state.send_replace(State::Up(live.clone()));
                }
            }
        }
    }

    /// Asks who the server is, and has it send the consumer a probe.
    async fn heartbeat(&self, live: &Live) -> Result<Arc<str>, Fault> {
        let replid = live.identify().await?;
        let number = self.probes() + 1;
        let _: i64 = live.send(redis::cmd("PUBLISH").arg(&*self.keys.probe).arg(number)).await?;
        self.probes.store(number, Ordering::Release);
        Ok(replid)
    }
}

impl Live {
    /// Sends a command and waits for the answer until the deadline.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd, deadline: Instant) -> Result<T, Fault> {
        timeout_at(deadline, self.send(command)).await.unwrap_or(Err(Fault::Timeout))
    }

    /// Calls a script, by text if the server does not know it.
    pub(crate) async fn call<T: FromRedisValue>(&self, call: &Call, deadline: Instant) -> Result<T, Fault> {
        match self.ask(call.by_hash(), deadline).await {
            Err(Fault::NoScript) => self.ask(&call.by_text(), deadline).await,
            answer => answer,
        }
    }

    pub(crate) async fn send<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        command.query_async(&mut self.connection.clone()).await.map_err(Fault::from)
    }

    /// The server's replication id. A replica is none that we can use.
    async fn identify(&self) -> Result<Arc<str>, Fault> {
        let info: String = self.send(redis::cmd("INFO").arg("replication")).await?;
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        if field("role") != Some("master") {
            return Err(Fault::ReadOnly);
        }
        field("master_replid").filter(|replid| replid.len() >= 10).map(Arc::from).ok_or(Fault::Nonsense)
    }
}

async fn within<T>(limit: Duration, opening: impl Future<Output = RedisResult<T>>) -> Result<T, Fault> {
    timeout(limit, opening).await.map_or(Err(Fault::Timeout), |opened| opened.map_err(Fault::from))
}
