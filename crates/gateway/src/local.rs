//! What the tasks of one shard thread share: the shard, its sockets, its buffers and the ways out.
//!
//! Everything here lives on one thread. A borrow of the shard never lives across an await: it is reached through
//! [`Local::with`] only.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_auth::Verifier;
use fanfare_broker::Broker;
use fanfare_broker::namespaces::Namespaces;
use tokio::task::JoinSet;

use crate::application::Application;
use crate::backend::{Backend, Headers, Hook};
use crate::directory::Directory;
use crate::gateway::Parts;
use crate::limits;
use crate::options::Options;
use crate::presence_changes::{Number, PresenceChanges};
use crate::rates::Excess;
use crate::ring::Ring;
use crate::settings::Settings;
use crate::shard::{Now, Shard};
use crate::slots::SlotId;
use crate::socket::Socket;

/// What the backend is told of a session beside who it is.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    /// Headers of its request.
    pub(crate) headers: Headers,
    /// What the backend said of it earlier.
    pub(crate) meta: Bytes,
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.meta.is_empty()
    }
}

/// The state of a shard thread.
pub(crate) struct Local {
    shard: RefCell<Shard>,
    sockets: RefCell<Vec<Option<Rc<Socket>>>>,
    /// Read buffer of all connections.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// Where small frames are put together for one write.
    pub(crate) cork: RefCell<Vec<u8>>,
    pub(crate) presence_changes: PresenceChanges,
    pub(crate) broker: Arc<dyn Broker>,
    verifier: RefCell<Arc<Verifier>>,
    /// Copies of this thread: each command takes a reference to them.
    namespaces: RefCell<Rc<Namespaces>>,
    options: RefCell<Rc<Options>>,
    pub(crate) application: Arc<dyn Application>,
    pub(crate) backend: Option<Arc<dyn Backend>>,
    /// Of the sessions of which something is kept; without a backend of none.
    kept: RefCell<HashMap<SlotId, Kept>>,
    pub(crate) ring: Arc<Ring>,
    directory: Arc<Directory>,
    /// The owner of every task of this thread.
    tasks: RefCell<JoinSet<()>>,
    logged: Cell<(u64, u32)>,
    /// What the wall clock would have said when the node began.
    began_unix_millis: Cell<u64>,
}

impl Local {
    pub(crate) fn new(index: usize, parts: Parts) -> Self {
        let Parts { broker, verifier, namespaces, options, directory, backend, application } = parts;
        let mut shard = Shard::new(index, Arc::clone(&options), Arc::clone(&directory), rand::random());
        shard.refreshes_by_backend(backend.as_ref().is_some_and(|backend| backend.has(Hook::Refresh)));
        let local = Self {
            shard: RefCell::new(shard),
            sockets: RefCell::default(),
            scratch: RefCell::new(vec![0; limits::READ_BYTES].into_boxed_slice()),
            cork: RefCell::new(Vec::with_capacity(limits::CORK_BYTES)),
            presence_changes: PresenceChanges::default(),
            ring: directory.ring(index),
            broker,
            verifier: RefCell::new(verifier),
            namespaces: RefCell::new(Rc::new((*namespaces).clone())),
            options: RefCell::new(Rc::new((*options).clone())),
            application,
            backend,
            kept: RefCell::default(),
            directory,
            tasks: RefCell::default(),
            logged: Cell::default(),
            began_unix_millis: Cell::default(),
        };
        local.read_wall_clock();
        local
    }

    fn read_wall_clock(&self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        self.began_unix_millis.set(millis.saturating_sub(self.millis()));
    }

    /// What sessions are run with; what was got before a reload stays as it was.
    pub(crate) fn options(&self) -> Rc<Options> {
        Rc::clone(&self.options.borrow())
    }

    /// What tokens are judged by.
    pub(crate) fn verifier(&self) -> Arc<Verifier> {
        Arc::clone(&self.verifier.borrow())
    }

    /// The options of channels.
    pub(crate) fn namespaces(&self) -> Rc<Namespaces> {
        Rc::clone(&self.namespaces.borrow())
    }

    /// Goes on with other settings.
    pub(crate) fn reload(&self, settings: &Settings) {
        self.in_tick(|shard| shard.set_options(Arc::clone(&settings.options)));
        self.verifier.replace(Arc::clone(&settings.verifier));
        self.namespaces.replace(Rc::new((*settings.namespaces).clone()));
        self.options.replace(Rc::new((*settings.options).clone()));
    }

    /// The present, for the shard. The wall clock is read once in a tick, which there is every second at least.
    pub(crate) fn now(&self) -> Now {
        let millis = self.millis();
        Now { millis, unix_seconds: (self.began_unix_millis.get() + millis) / 1_000 }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.directory.uptime().as_millis()).unwrap_or(u64::MAX)
    }

    /// Looks at the shard, where neither the time is of concern nor the loop.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Shard) -> T) -> T {
        look(&self.shard.borrow())
    }

    /// Calls `act` on the shard, told the time, and wakes the loop if that left something to do.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Shard) -> T) -> T {
        let mut shard = self.shard.borrow_mut();
        shard.set_now(self.now());
        let result = act(&mut shard);
        if shard.has_dirty() || shard.has_effects() {
            self.ring.wake();
        }
        result
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.directory.is_draining()
    }

    /// Runs a task on this thread.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().spawn_local(task);
    }

    /// Lets go of the tasks that have ended.
    pub(crate) fn reap(&self) {
        while let Some(ended) = self.tasks.borrow_mut().try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of a shard failed");
                self.with(|shard| shard.stats().panics.add(1));
            }
        }
    }

    /// Ends all tasks: the sockets close.
    pub(crate) fn end_tasks(&self) {
        self.tasks.borrow_mut().abort_all();
    }

    /// Calls `act` on the shard within a tick: at the tick's time, and without waking the loop that is running.
    pub(crate) fn in_tick<T>(&self, act: impl FnOnce(&mut Shard) -> T) -> T {
        act(&mut self.shard.borrow_mut())
    }

    /// Counts a change of presence as carried out and lets those who wait for it go on.
    pub(crate) fn presence_changed(&self, number: Number) {
        let settled = self.presence_changes.finish(number);
        self.with(|shard| shard.presence_changed(settled));
    }

    /// Waits until all changes of presence up to this one are carried out.
    pub(crate) async fn presence_settled(&self, number: Number) {
        while self.in_tick(|shard| shard.presence_settled()) < number {
            self.presence_changes.progress().await;
        }
    }

    /// Tells the shard the time, at the begin of a tick.
    pub(crate) fn tell_time(&self) {
        self.read_wall_clock();
        self.shard.borrow_mut().set_now(self.now());
    }

    pub(crate) fn add_socket(&self, id: SlotId, socket: Rc<Socket>) {
        let mut sockets = self.sockets.borrow_mut();
        let index = id.index as usize;
        if sockets.len() <= index {
            sockets.resize_with(index + 1, || None);
        }
        sockets[index] = Some(socket);
    }

    pub(crate) fn remove_socket(&self, id: SlotId) {
        if let Some(socket) = self.sockets.borrow_mut().get_mut(id.index as usize) {
            *socket = None;
        }
    }

    /// Keeps something of a session for the backend, in place of what was kept. Nothing is kept of a session that is
    /// gone: nobody would forget it again.
    pub(crate) fn keep(&self, id: SlotId, kept: Kept) {
        let is_gone = self.in_tick(|shard| shard.session(id).is_none());
        if self.backend.is_none() || kept.is_empty() || is_gone {
            return self.forget(id);
        }
        self.kept.borrow_mut().insert(id, kept);
    }

    /// What is kept of a session.
    pub(crate) fn kept(&self, id: SlotId) -> Kept {
        self.kept.borrow().get(&id).cloned().unwrap_or_default()
    }

    pub(crate) fn forget(&self, id: SlotId) {
        self.kept.borrow_mut().remove(&id);
    }

    pub(crate) fn socket(&self, id: SlotId) -> Option<Rc<Socket>> {
        self.sockets.borrow().get(id.index as usize)?.clone()
    }

    /// Logs, now and then, that somebody sends too much.
    pub(crate) fn tell_excess(&self, excess: Excess) {
        if self.may_log() {
            tracing::info!(
                reason = excess.label(),
                key = excess.key(),
                "a client sends more than it may: see this key"
            );
        }
    }

    /// Whether this thread may write another line about a peer's behaviour in this second.
    pub(crate) fn may_log(&self) -> bool {
        let second = self.directory.uptime().as_secs();
        let (logged_second, lines) = self.logged.get();
        let lines = if logged_second == second { lines } else { 0 };
        self.logged.set((second, lines + 1));
        lines < limits::LOG_LINES_PER_SECOND
    }
}

#[cfg(test)]
mod tests;
