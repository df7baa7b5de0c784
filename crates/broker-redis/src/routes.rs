//! The ways to the Redis shards: which there are, which slots each has, and how a command finds its own.
//!
//! A single server and a master behind Sentinels are one shard that has everything. A cluster's shards are asked for,
//! now and then and whenever an answer says that something has moved. Each shard is served by tasks of its own: its
//! link, its consumer, and the watch on its identity. A shard that has no slots any more is dropped with its tasks.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::{Cmd, FromRedisValue};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::fault::{Failure, Fault};
use crate::limits::REDIRECT_PAUSE;
use crate::link::{Link, Live};
use crate::metrics::Counters;
use crate::options::Options;
use crate::script::Call;
use crate::server::Address;
use crate::slots::{Owners, ShardId, Slot};

/// One Redis shard.
pub(crate) struct RedisShard {
    pub(crate) id: ShardId,
    /// Where its master is; `None` where Sentinels say.
    pub(crate) address: Option<Arc<Address>>,
    pub(crate) link: Arc<Link>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Map {
    pub(crate) shards: Vec<Arc<RedisShard>>,
    pub(crate) owners: Arc<Owners>,
    /// Why a cluster could not be asked, if it could not.
    pub(crate) fault: Option<Fault>,
}

impl Map {
    /// The shard that has the slot.
    pub(crate) fn of(&self, slot: Slot) -> Option<&Arc<RedisShard>> {
        let owner = self.owners.of(slot)?;
        self.shards.iter().find(|shard| shard.id == owner)
    }

    /// The shard whose master is there.
    pub(crate) fn at(&self, told: &str) -> Option<&Arc<RedisShard>> {
        self.shards.iter().find(|shard| {
            let by = shard.address.as_deref();
            by.is_some_and(|by| Address::told(told, by).as_ref() == Some(by))
        })
    }
}

/// The ways to the shards.
pub(crate) struct Routes {
    map: RwLock<Arc<Map>>,
    changes: watch::Sender<u64>,
    stale: Notify,
    options: Arc<Options>,
    counters: Arc<Counters>,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) enum Request<'a> {
    Command(&'a Cmd),
    Script(&'a Call),
}

impl Routes {
    pub(crate) fn new(options: Arc<Options>, counters: Arc<Counters>) -> Self {
        Self { map: RwLock::default(), changes: watch::Sender::new(0), stale: Notify::new(), options, counters }
    }

    /// The shards as they are known now.
    pub(crate) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something has changed.
    pub(crate) fn set_map(&self, map: Map) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
        self.changes.send_modify(|change| *change += 1);
    }

    /// Something has moved: the cluster is to be asked.
    pub(crate) fn set_stale(&self) {
        self.stale.notify_one();
    }

    /// Waits until something has moved.
    pub(crate) async fn stale(&self) {
        self.stale.notified().await;
    }

    /// When a command that is sent now has to be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.options.command_timeout
    }

    /// Sends a command once. May be dropped: it may be carried out all the same.
    pub(crate) async fn ask<T: FromRedisValue>(&self, slot: Slot, command: &Cmd) -> Result<T, Fault> {
        let asked = self.send(slot, Request::Command(command), self.deadline()).await;
        asked.inspect_err(|fault| self.counters.fault(*fault))
    }

    /// Calls a script that may be called twice. May be dropped.
    pub(crate) async fn call<T: FromRedisValue>(&self, slot: Slot, call: &Call) -> Result<T, Fault> {
        let deadline = self.deadline();
        loop {
            match self.send(slot, Request::Script(call), deadline).await {
                Err(Fault::Cut) if Instant::now() < deadline => self.counters.fault(Fault::Cut),
                Err(fault) => {
                    self.counters.fault(fault);
                    return Err(fault);
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// Sends to the shard of the slot, and on to another where a shard answers that it has not done it.
    pub(crate) async fn send<T: FromRedisValue>(
        &self,
        slot: Slot,
        request: Request<'_>,
        deadline: Instant,
    ) -> Result<T, Fault> {
        let mut told: Option<Live> = None;
        loop {
            let sent = match told.take() {
                None => self.live(slot, deadline).await?.send_once(request, deadline).await,
                Some(live) => live.send_as_told(request, deadline).await,
            };
            let Failure { fault, to } = match sent {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !matches!(fault, Fault::Moved | Fault::Ask | Fault::TryAgain | Fault::ClusterDown) {
                return Err(fault);
            }
            told = match fault {
                Fault::Ask => to.and_then(|to| self.map().at(&to).and_then(|shard| shard.link.now())),
                _ => None,
            };
            if told.is_none() {
                self.wait_for_change(REDIRECT_PAUSE, deadline).await.ok_or(fault)?;
            }
        }
    }

    /// Has the cluster asked, and waits for what it says or for a pause; `None` when the time is over.
    async fn wait_for_change(&self, pause: Duration, deadline: Instant) -> Option<()> {
        let mut changes = self.changes.subscribe();
        changes.mark_unchanged();
        self.set_stale();
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep(pause) => {}
        }
        (Instant::now() < deadline).then_some(())
    }

    /// The connection to the shard of a slot.
    pub(crate) async fn live(&self, slot: Slot, deadline: Instant) -> Result<Live, Fault> {
        self.shard(slot, deadline).await?.link.live(deadline).await
    }

    /// The shard of a slot, at once or when the cluster has told.
    pub(crate) async fn shard(&self, slot: Slot, deadline: Instant) -> Result<Arc<RedisShard>, Fault> {
        let mut changes = self.changes.subscribe();
        loop {
            let map = self.map();
            if let Some(shard) = map.of(slot) {
                return Ok(Arc::clone(shard));
            }
            let late = map.fault.map_or(Fault::ClusterDown, Fault::unsent);
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(late);
            }
        }
    }
}

impl Live {
    async fn send_once<T: FromRedisValue>(&self, request: Request<'_>, deadline: Instant) -> Result<T, Failure> {
        match request {
            Request::Command(command) => self.ask(command, deadline).await,
            Request::Script(call) => self.call(call, deadline).await,
        }
    }

    async fn send_as_told<T: FromRedisValue>(&self, request: Request<'_>, until: Instant) -> Result<T, Failure> {
        match request {
            Request::Command(command) => self.ask_as_told(command, until).await,
            Request::Script(call) => self.ask_as_told(&call.by_text(), until).await,
        }
    }
}
