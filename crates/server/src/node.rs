//! A node: its parts, wired together.
//!
//! The directory comes first, since it is what the broker delivers to; then the broker, the gateway on top of both,
//! and the HTTP routes in front.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_api::Api;
use fanfare_gateway::{Application, Backend, ClientProtocol, Directory, Gateway, Handle, Parts, Settings};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::arrivals::Arrivals;
use crate::broker::NodeBroker;
use crate::config::Config;
use crate::descriptors::Shares;
use crate::listener::{self, Listener, RefusalLog, Spare};
use crate::memory::{self, Memory};
use crate::metrics::{Metrics, Reloads};
use crate::readiness::Readiness;
use crate::redis_tls;
use crate::reload::{self, Live, Running};
use crate::routes::{self, Routes};
use crate::tls::{self, Tls};
use crate::token_issuers::{self, TokenIssuers};
use crate::{hooks, token_keys};

/// How long requests under way may take when a node ends.
const REQUESTS_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a node was not started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The token secret is no good.
    #[error(transparent)]
    Auth(#[from] fanfare_auth::OptionsError),
    /// A key for tokens cannot be read.
    #[error(transparent)]
    TokenKeys(#[from] token_keys::Error),
    /// The keys of an issuer cannot be fetched at all.
    #[error(transparent)]
    TokenIssuers(#[from] token_issuers::Error),
    /// The user's backend cannot be asked at all.
    #[error(transparent)]
    Hooks(#[from] hooks::Error),
    /// The shard threads could not be started.
    #[error(transparent)]
    Gateway(#[from] fanfare_gateway::Error),
    /// Encrypted connections to Redis cannot be made.
    #[error(transparent)]
    RedisTls(#[from] redis_tls::Error),
    /// Redis was not there in time.
    #[error("Redis cannot be used, tried for {within:?} (redis.start_timeout): {reason}")]
    Redis {
        /// The configured time.
        within: Duration,
        /// What is missing.
        reason: fanfare_broker_redis::NotReady,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// A metric could not be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// How long a node that ends goes on to answer, for proxies that look at `/readyz` once a second.
const NOTICE: Duration = Duration::from_secs(2);

/// A running node. Dropping it ends it at once, without a word to its clients.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    gateway: Gateway,
    broker: NodeBroker,
    live: Arc<Live>,
    reloads: Reloads,
    ready: Arc<AtomicBool>,
    ending: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Runs as long as the node does: nobody waits for its end.
    _sweeper: JoinSet<()>,
}

impl Node {
    /// Starts a node. Call it within a multi-threaded tokio runtime, which serves HTTP; the shards have threads of
    /// their own.
    ///
    /// # Errors
    /// See [`Error`]; nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, Error> {
        Self::start_with(config, Arc::new(ClientProtocol)).await
    }

    /// Starts a node whose connections do not speak the client protocol. For tests of what lies in front of it.
    ///
    /// # Errors
    /// The same.
    pub async fn start_with(mut config: Config, application: Arc<dyn Application>) -> Result<Self, Error> {
        let descriptors = Shares::find(config.gateway.sessions_max);
        config.gateway.sessions_max = descriptors.sessions;
        let mut spare = Spare::default();
        spare.take();
        let bind_error = |source| Error::Bind { address: config.listen.address, source };
        let listener = listener::bind(config.listen.address).and_then(TcpListener::from_std).map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let metrics = Metrics::default();
        let (mut tasks, mut sweeper) = (JoinSet::new(), JoinSet::new());
        let tls = match config.listen.tls() {
            Some(files) => Some(Arc::new(Tls::new(files, metrics.tls()?)?)),
            None => None,
        };
        if let Some(tls) = &tls {
            sweeper.spawn(Arc::clone(tls).watch());
        }
        let fetching = fanfare_key_sets::Metrics::default();
        metrics.register(fetching.collector())?;
        let issuers = TokenIssuers::counted(fetching).start(&config)?;
        let settings = reload::settings(&config, &issuers)?;
        let directory = Directory::new(&settings.options);
        let broker = NodeBroker::start(&config, &directory, &metrics, &mut sweeper)?;
        let backend = hooks::backend(&config, &metrics)?;
        let gateway = start_gateway(settings, directory, &broker, application, backend)?;
        metrics.register(Box::new(gateway.handle().metrics()))?;
        gateway.handle().started().await?;
        broker.wait_ready(config.redis.start_timeout).await?;
        let ready = Arc::new(AtomicBool::new(true));
        let (ending, told) = watch::channel(false);
        let (counts, log) = (metrics.listener()?, Arc::<RefusalLog>::default());
        let memory = Memory::new(
            config.memory,
            memory::Parts {
                gateway: gateway.handle(),
                broker: broker.clone(),
                http_connections: counts.connections.clone(),
                gauges: metrics.memory()?,
            },
        );
        sweeper.spawn(Arc::clone(&memory).watch());
        let arrivals = Arrivals::new(config.arrivals.clone(), metrics.arrivals()?);
        let running = Running {
            gateway: gateway.handle(),
            broker: broker.clone(),
            arrivals: Arc::clone(&arrivals),
            tls: tls.clone(),
        };
        let (live, ends) = Live::new(&config, running, issuers);
        let takes_connections = Arc::clone(&ready);
        let readiness =
            Readiness { takes_connections: Arc::clone(&ready), broker: broker.clone(), issuers: ends.issuers, memory };
        let routes = Routes {
            gateway: gateway.handle(),
            arrivals: Arc::clone(&arrivals),
            metrics: metrics.clone(),
            handshakes_refused: metrics.handshakes()?,
            refusals: counts.refusals.clone(),
            log: Arc::clone(&log),
            allowed_origins: ends.allowed_origins,
            allowed_hosts: config.listen.allowed_hosts.clone().into(),
            readiness,
        };
        let reloads = metrics.reloads()?;
        let router = routes::router(routes, api(ends.api, &metrics)?, config.dev);
        let listener = Listener {
            listener,
            router,
            tls: tls.clone(),
            tls_handshake_timeout: config.listen.tls_handshake_timeout,
            header_timeout: config.listen.header_timeout,
            connections_max: descriptors.http_connections,
            spare,
            counts,
            arrivals,
            log,
            takes_connections,
            ending: told,
        };
        tasks.spawn(listener.run());
        tracing::info!(%address, name = config.gateway.node_name, shards = config.gateway.shards, "listening");
        Ok(Self { address, gateway, broker, live: Arc::new(live), reloads, ready, ending, tasks, _sweeper: sweeper })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The way to its sessions.
    pub fn gateway(&self) -> Handle {
        self.gateway.handle()
    }

    /// The certificate that it speaks TLS with, to be read again; `None` without TLS.
    pub fn tls(&self) -> Option<&Tls> {
        self.live.tls()
    }

    /// What takes another configuration, for a thread that may wait for files.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// What is counted of reloads.
    pub(crate) fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Takes no new sessions and closes those that are there over `window`. Requests are answered meanwhile, and until
    /// proxies had time to see that the node is not ready, if the window is as long as that.
    pub async fn drain(&self, window: Duration) {
        self.ready.store(false, Ordering::Release);
        tracing::info!(sessions = self.gateway.handle().sessions(), ?window, "draining");
        let gateway = self.gateway.handle();
        tokio::join!(gateway.drain(window), tokio::time::sleep(window.min(NOTICE)));
    }

    /// Ends the node: no connection is accepted any more, requests under way are finished.
    pub async fn stop(mut self) {
        self.ready.store(false, Ordering::Release);
        self.ending.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(REQUESTS_TIMEOUT, ended).await.is_err() {
            tracing::debug!("some requests did not end in time");
        }
        self.tasks.shutdown().await;
        // Its threads are waited for, which must not hold up the others of this runtime.
        if tokio::task::spawn_blocking(move || drop(self.gateway)).await.is_err() {
            tracing::error!("the gateway did not end in order");
        }
        self.broker.stop().await;
    }
}

fn start_gateway(
    settings: Settings,
    directory: Arc<Directory>,
    broker: &NodeBroker,
    application: Arc<dyn Application>,
    backend: Option<Arc<dyn Backend>>,
) -> Result<Gateway, Error> {
    let (Settings { options, verifier, namespaces }, broker) = (settings, broker.broker());
    Ok(Gateway::start(Parts { options, directory, broker, verifier, namespaces, application, backend })?)
}

/// The routes of the API.
fn api(api: watch::Receiver<Arc<Api>>, metrics: &Metrics) -> Result<axum::Router, Error> {
    let counts = fanfare_api::Metrics::default();
    counts.collectors().into_iter().try_for_each(|collector| metrics.register(collector))?;
    Ok(fanfare_api::router(api, counts))
}
