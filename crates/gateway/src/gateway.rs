//! The gateway as a whole: its threads, and the handle by which the rest of the node reaches it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fanfare_auth::Verifier;
use fanfare_broker::Broker;
use fanfare_broker::namespaces::Namespaces;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::application::Application;
use crate::backend::Backend;
use crate::connection::NewSocket;
use crate::directory::Directory;
use crate::driver;
use crate::limits;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::places::{NoPlace, Place, Places};
use crate::ring::Entry;
use crate::settings::Settings;
use crate::stats::Stats;

/// Why a gateway was not started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A thread could not be started.
    #[error("cannot start the thread of shard {shard}: {source}")]
    Thread {
        /// Which one.
        shard: usize,
        /// Why not.
        source: std::io::Error,
    },
    /// A shard could not be run.
    #[error("a shard could not be run; see the log")]
    Shard,
}

/// What a gateway is put together from.
#[derive(Clone)]
pub struct Parts {
    /// Its settings.
    pub options: Arc<Options>,
    /// Where its events and commands come from; made with the same options.
    pub directory: Arc<Directory>,
    /// What it asks for interest, history and presence.
    pub broker: Arc<dyn Broker>,
    /// What it judges tokens by.
    pub verifier: Arc<Verifier>,
    /// Options of channels.
    pub namespaces: Arc<Namespaces>,
    /// What takes the messages of its connections.
    pub application: Arc<dyn Application>,
    /// The user's own backend, where it is asked something.
    pub backend: Option<Arc<dyn Backend>>,
}

/// The shard threads of a node. Dropping it ends them.
#[derive(Debug)]
pub struct Gateway {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
}

/// The way to the gateway; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: Arc<Directory>,
    options: Arc<Options>,
    places: Places,
    intakes: Vec<mpsc::Sender<NewSocket>>,
    upgrades: Mutex<JoinSet<()>>,
    failed: Arc<AtomicBool>,
}

impl Gateway {
    /// Starts the shard threads of a node.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(parts: Parts) -> Result<Self, Error> {
        let failed = Arc::new(AtomicBool::new(false));
        let (mut threads, mut intakes) = (Vec::new(), Vec::new());
        for shard in 0..parts.directory.shards() {
            let (intake, sockets) = mpsc::channel(limits::SOCKETS_WAITING_MAX);
            threads.push(start_shard(shard, parts.clone(), sockets, Arc::clone(&failed))?);
            intakes.push(intake);
        }
        let places = Places::new(parts.directory.shards(), parts.options.sessions_max);
        let Parts { directory, options, .. } = parts;
        let inner = Inner { directory, options, places, intakes, upgrades: Mutex::default(), failed };
        Ok(Self { handle: Handle { inner: Arc::new(inner) }, threads })
    }

    /// The way to this gateway.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.handle.inner.directory.push_everywhere(|| Entry::Stop);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard thread ended by a panic");
            }
        }
    }
}

/// A shard that ends by a panic leaves sessions that nobody serves: the node has to end (it is told by
/// [`Handle::is_alive`]).
fn start_shard(
    shard: usize,
    parts: Parts,
    sockets: mpsc::Receiver<NewSocket>,
    failed: Arc<AtomicBool>,
) -> Result<JoinHandle<()>, Error> {
    let run = move || {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| driver::run(shard, parts, sockets)));
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(shard, %error, "the shard could not be run");
                failed.store(true, Ordering::Release);
            }
            Err(_) => {
                tracing::error!(shard, "the shard ended by a panic: this node cannot go on");
                failed.store(true, Ordering::Release);
            }
        }
    };
    std::thread::Builder::new()
        .name(format!("fanfare-shard-{shard}"))
        .spawn(run)
        .map_err(|source| Error::Thread { shard, source })
}

impl Handle {
    /// What sessions are run with.
    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    /// A place for one more session, and the way to its shard.
    pub(crate) fn reserve(&self) -> Result<(Place, mpsc::OwnedPermit<NewSocket>), NoPlace> {
        self.try_reserve().inspect_err(|why| self.inner.directory.count_refused(*why))
    }

    fn try_reserve(&self) -> Result<(Place, mpsc::OwnedPermit<NewSocket>), NoPlace> {
        if self.inner.directory.is_draining() {
            return Err(NoPlace::Draining);
        }
        if self.inner.directory.is_short_of_memory() {
            return Err(NoPlace::Memory);
        }
        let place = self.inner.places.take().ok_or(NoPlace::Full)?;
        let permit = self.inner.intakes[place.shard()].clone().try_reserve_owned().map_err(|_| NoPlace::Busy)?;
        Ok((place, permit))
    }

    /// Keeps the task of an upgrade; those that have ended are let go.
    pub(crate) fn spawn(&self, upgrade: impl Future<Output = ()> + Send + 'static) {
        let mut upgrades = self.inner.upgrades.lock().unwrap_or_else(PoisonError::into_inner);
        upgrades.spawn(upgrade);
        while upgrades.try_join_next().is_some() {}
    }

    /// Waits until every shard runs.
    ///
    /// # Errors
    /// A shard that could not be run; the log says why.
    pub async fn started(&self) -> Result<(), Error> {
        let runs = |stats: &Arc<Stats>| stats.heartbeat_millis.get() > 0;
        while !self.inner.directory.stats().iter().all(runs) {
            if self.has_failed() {
                return Err(Error::Shard);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Goes on with other settings: each shard as soon as it has taken what waits on its ring. Sessions and
    /// subscriptions that are there stay.
    pub fn reload(&self, settings: Settings) {
        self.inner.places.set_max(settings.options.sessions_max);
        let settings = Arc::new(settings);
        self.inner.directory.push_everywhere(|| Entry::Reload(Arc::clone(&settings)));
    }

    /// Sessions, live or about to be.
    pub fn sessions(&self) -> usize {
        self.inner.places.total()
    }

    /// Takes no new sessions and closes all others with 3001, spread over `window`. Returns when all have ended and
    /// their leaves are told, or `limits::CLOSE_TIMEOUT` after the window.
    pub async fn drain(&self, window: Duration) {
        self.inner.directory.start_draining();
        let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.inner.directory.push_everywhere(|| Entry::Drain(millis));
        let all_ended = async {
            while self.sessions() > 0 || self.leaves_waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(window + limits::CLOSE_TIMEOUT, all_ended).await.is_err() {
            let (sessions, leaves) = (self.sessions(), self.leaves_waiting());
            tracing::warn!(sessions, leaves, "some sessions did not end in time and are cut");
        }
    }

    /// Changes of presence that the broker has not taken yet. Where a session has ended, what it left is among them.
    fn leaves_waiting(&self) -> u64 {
        self.inner.directory.stats().iter().map(|stats| stats.leaves_waiting.get()).sum()
    }

    /// Whether every shard shows signs of life: `false` after a panic in one, or 5 s without a heartbeat.
    pub fn is_alive(&self) -> bool {
        let now = u64::try_from(self.inner.directory.uptime().as_millis()).unwrap_or(u64::MAX);
        let timeout = u64::try_from(limits::HEARTBEAT_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let beats = |heartbeat: u64| heartbeat.saturating_add(timeout) >= now;
        let stats = self.inner.directory.stats();
        !self.has_failed() && stats.iter().all(|stats| beats(stats.heartbeat_millis.get()))
    }

    /// Whether a shard has ended by a panic.
    pub fn has_failed(&self) -> bool {
        self.inner.failed.load(Ordering::Acquire)
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    /// What `/metrics` shows of the gateway.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(Arc::clone(&self.inner.directory))
    }
}
