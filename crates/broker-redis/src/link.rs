//! The connection for commands to one Redis shard: one, shared and pipelined, kept by a supervisor that tries for ever.
//!
//! Every second the supervisor asks Redis who it is. No answer within [`HEARTBEAT_TIMEOUT`] ends the connection;
//! so does its breaking, and so do Sentinels that name another master. Whoever waits for an answer then learns at once
//! that there will be none.

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
use crate::eviction;
use crate::fault::{Failure, Fault};
use crate::keys::Keys;
use crate::limits::{HEARTBEAT, HEARTBEAT_TIMEOUT, SENTINEL_INTERVAL};
use crate::metrics::{Counters, Up};
use crate::options::Options;
use crate::rights;
use crate::script::Call;
use crate::sentinel;
use crate::server::Address;
use crate::slots::Slot;

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
    /// Where it goes.
    pub(crate) address: Arc<Address>,
    /// Identity of the server's data: another one after a failover or a restart.
    pub(crate) replid: Arc<str>,
    /// Whether the server throws keys away when its memory is full.
    evicts: bool,
}

/// Where a link goes.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// There.
    Fixed(Arc<Address>),
    /// To the master of this name, wherever the Sentinels say that it is.
    Master(String),
}

/// The way to a Redis shard for commands.
pub(crate) struct Link {
    state: watch::Sender<State>,
    target: Target,
    options: Arc<Options>,
    keys: Arc<Keys>,
    counters: Arc<Counters>,
    /// One of the shard's slots.
    slot: Mutex<Slot>,
    /// The last probe that Redis has taken.
    probes: AtomicU64,
    /// What an operator has to do so that the user may what it has to.
    missing_rights: Mutex<Option<String>>,
}

impl Link {
    pub(crate) fn new(target: Target, options: Arc<Options>, keys: Arc<Keys>, counters: Arc<Counters>) -> Self {
        let down = State::Down { since: Instant::now(), fault: Fault::Disconnected };
        Self {
            state: watch::Sender::new(down),
            target,
            options,
            keys,
            counters,
            slot: Mutex::new(Slot::ONLY),
            probes: AtomicU64::new(0),
            missing_rights: Mutex::default(),
        }
    }

    /// Tells of every change of the state.
    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// One of the shard's slots, for what belongs to the shard and to no channel.
    pub(crate) fn slot(&self) -> Slot {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_slot(&self, slot: Slot) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = slot;
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

    /// The connection, if there is one right now.
    pub(crate) fn now(&self) -> Option<Live> {
        match &*self.state.borrow() {
            State::Up(live) => Some(live.clone()),
            State::Down { .. } => None,
        }
    }

    /// The connection, at once or when a short interruption is over. One that lasts for longer than a command may
    /// take fails without waiting. May be dropped.
    pub(crate) async fn live(&self, deadline: Instant) -> Result<Live, Fault> {
        let mut states = self.state.subscribe();
        let wait = states.wait_for(|state| match state {
            State::Up(_) => true,
            State::Down { since, .. } => since.elapsed() > self.options.command_timeout,
        });
        // Whichever came first, the state says why there is none.
        let _ = timeout_at(deadline, wait).await;
        match &*self.state.borrow() {
            State::Up(live) => Ok(live.clone()),
            State::Down { fault, .. } => Err(fault.unsent()),
        }
    }

    /// Waits for a connection, for ever; says where it goes.
    pub(crate) async fn address(&self) -> Arc<Address> {
        let mut states = self.state.subscribe();
        loop {
            if let State::Up(live) = &*states.borrow_and_update() {
                return Arc::clone(&live.address);
            }
            if states.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Keeps the connection for ever.
    pub(crate) async fn run(&self) {
        let mut backoff = Backoff::default();
        for turn in 0.. {
            let fault = match self.open(turn).await {
                Ok((live, driver)) => {
                    backoff.reset();
                    let server = Arc::clone(&live.address);
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

    async fn locate(&self, turn: usize) -> Result<Arc<Address>, Fault> {
        match &self.target {
            Target::Fixed(address) => Ok(Arc::clone(address)),
            Target::Master(name) => sentinel::master(&self.options, name, turn).await.map(Arc::new),
        }
    }

    async fn open(&self, turn: usize) -> Result<(Live, Driver), Fault> {
        let address = self.locate(turn).await?;
        let (mut live, mut driver) = connect(address, &self.options).await?;
        let asking = async { Ok((self.introduce(&live).await?, eviction::evicts(&live).await?)) };
        (live.replid, live.evicts) = tokio::select! {
            () = &mut driver => return Err(Fault::Cut),
            told = timeout(self.options.connect_timeout, asking) => told.unwrap_or(Err(Fault::Timeout))?,
        };
        Ok((live, driver))
    }

    /// Asks who the server is, and what the user may do there.
    async fn introduce(&self, live: &Live) -> Result<Arc<str>, Fault> {
        let replid = live.identify().await;
        if let Err(fault) = replid
            && fault != Fault::NoPermission
        {
            return Err(fault);
        }
        let missing = rights::missing(live, &self.options, &self.keys, self.slot()).await?;
        let reported = {
            let mut known = self.missing_rights.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, missing.clone()) == missing
        };
        let Some(missing) = missing else { return replid };
        if !reported {
            tracing::error!(server = %live.address, "{missing}");
        }
        Err(Fault::NoPermission)
    }

    /// Until the connection is lost; says why.
    async fn keep(&self, live: Live, driver: Driver) -> Fault {
        let _up = Up::new(&self.counters.connected);
        let _evicting = live.evicts.then(|| Up::new(&self.counters.evicting));
        let address = Arc::clone(&live.address);
        self.state.send_replace(State::Up(live.clone()));
        tokio::select! {
            () = driver => Fault::Cut,
            fault = self.heartbeats(live) => fault,
            fault = self.follow_master(&address) => fault,
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
        let probe = self.keys.publish(&self.keys.probe(self.slot()), number.to_string().as_bytes());
        match live.send::<i64>(&probe).await {
            Ok(_) => self.probes.store(number, Ordering::Release),
            // The slot is on its way to another shard: this connection is as good as it was.
            Err(Failure { fault: Fault::Moved | Fault::Ask | Fault::ClusterDown, .. }) => {}
            Err(failure) => return Err(failure.fault),
        }
        Ok(replid)
    }

    /// An old master that is cut off from the others still calls itself one: the Sentinels know better. Two of them
    /// have to say so, one after another, since a single one may be cut off itself.
    async fn follow_master(&self, address: &Arc<Address>) -> Fault {
        let Target::Master(name) = &self.target else { return std::future::pending().await };
        let (mut against, needed) = (0, self.options.server.seeds().len().min(2));
        for turn in 0.. {
            tokio::time::sleep(SENTINEL_INTERVAL).await;
            match sentinel::master(&self.options, name, turn).await {
                Ok(master) if master != **address => against += 1,
                Ok(_) => against = 0,
                Err(_) => {}
            }
            if against >= needed {
                break;
            }
        }
        Fault::Moved
    }
}

/// Connects to a server and logs in. May be dropped.
pub(crate) async fn connect(address: Arc<Address>, options: &Options) -> Result<(Live, Driver), Fault> {
    let socket = dial(&address, options).await.map_err(|error| {
        tracing::debug!(%address, %error, "Redis cannot be reached");
        Fault::Disconnected
    })?;
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let opening = MultiplexedConnection::new_with_config(options.server.login(), socket, config);
    let (connection, driver) = within(options.connect_timeout, opening).await?;
    Ok((Live { connection, address, replid: "".into(), evicts: false }, Box::pin(driver)))
}

impl Live {
    /// Sends a command and waits for the answer until the deadline.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd, deadline: Instant) -> Result<T, Failure> {
        timeout_at(deadline, self.send(command)).await.unwrap_or(Err(Fault::Timeout.into()))
    }

    /// Sends a command that another shard of the cluster said belongs here.
    pub(crate) async fn ask_as_told<T: FromRedisValue>(&self, command: &Cmd, until: Instant) -> Result<T, Failure> {
        let mut both = redis::pipe();
        both.cmd("ASKING").ignore().add_command(command.clone());
        let mut connection = self.connection.clone();
        let answer = async { both.query_async::<(T,)>(&mut connection).await.map_err(Failure::from) };
        timeout_at(until, answer).await.unwrap_or(Err(Fault::Timeout.into())).map(|(answer,)| answer)
    }

    /// Calls a script, by text if the server does not know it.
    pub(crate) async fn call<T: FromRedisValue>(&self, call: &Call, deadline: Instant) -> Result<T, Failure> {
        match self.ask(call.by_hash(), deadline).await {
            Err(Failure { fault: Fault::NoScript, .. }) => self.ask(&call.by_text(), deadline).await,
            answer => answer,
        }
    }

    pub(crate) async fn send<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        command.query_async(&mut self.connection.clone()).await.map_err(Failure::from)
    }

    /// What the server tells of itself, of a section.
    pub(crate) async fn info(&self, section: &str) -> Result<Info, Fault> {
        self.send(redis::cmd("INFO").arg(section)).await.map(Info).map_err(|failure| failure.fault)
    }

    /// The server's replication id. A replica is none that we can use.
    async fn identify(&self) -> Result<Arc<str>, Fault> {
        let info = self.info("replication").await?;
        if info.field("role") != Some("master") {
            return Err(Fault::ReadOnly);
        }
        info.field("master_replid").filter(|replid| replid.len() >= 10).map(Arc::from).ok_or(Fault::Nonsense)
    }
}

/// The answer to INFO: lines of a name, a colon and a value.
pub(crate) struct Info(String);

impl Info {
    /// The value of this name; `None` where the server does not tell it.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }
}

/// Connects, does something within this time, and ends the connection.
pub(crate) async fn visit<T>(
    options: &Options,
    address: &Address,
    limit: Duration,
    act: impl AsyncFnOnce(&Live) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let (live, driver) = connect(Arc::new(address.clone()), options).await?;
    tokio::select! {
        done = timeout(limit, act(&live)) => done.unwrap_or(Err(Fault::Timeout)),
        () = driver => Err(Fault::Cut),
    }
}

async fn within<T>(limit: Duration, opening: impl Future<Output = RedisResult<T>>) -> Result<T, Fault> {
    timeout(limit, opening).await.map_or(Err(Fault::Timeout), |opened| opened.map_err(Fault::from))
}
