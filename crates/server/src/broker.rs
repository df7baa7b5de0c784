//! Which broker a node uses: its own memory, or Redis where one is configured.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::{Broker, MemoryBroker};
use fanfare_broker_redis::{IngestOptions, RedisBroker};
use fanfare_gateway::Directory;
use fanfare_protocol::PayloadLimits;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::node::Error;
use crate::redis_tls;

/// The broker of a node.
#[derive(Clone)]
pub(crate) enum NodeBroker {
    Memory(Arc<MemoryBroker>),
    Redis(Arc<RedisBroker>),
}

impl std::fmt::Debug for NodeBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory(_) => "Memory",
            Self::Redis(_) => "Redis",
        })
    }
}

impl NodeBroker {
    /// Starts the configured broker, which delivers to `directory`. One in Redis does not wait for Redis: the node is
    /// not ready until it is there.
    pub(crate) fn start(
        config: &Config,
        directory: &Arc<Directory>,
        metrics: &Metrics,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, Error> {
        let (sink, node) = (Arc::clone(directory), Arc::clone(directory));
        if let Some(mut options) = config.redis.options(payload_limits(config)) {
            if options.server.is_encrypted() {
                options.tls = Some(redis_tls::tls(&config.redis)?);
            }
            tracing::info!(redis = %options.server, prefix = options.prefix, "history and presence are kept in Redis");
            let broker = Arc::new(RedisBroker::start(options, sink, node));
            broker.collectors().into_iter().try_for_each(|collector| metrics.register(collector))?;
            if config.redis.ingest {
                let namespaces = Arc::new(config.namespaces.clone());
                broker.start_ingest(IngestOptions::new(namespaces, config.gateway.channel_bytes_max));
            }
            return Ok(Self::Redis(broker));
        }
        let broker = Arc::new(MemoryBroker::new(config.broker, sink, node));
        broker.collectors().into_iter().try_for_each(|collector| metrics.register(collector))?;
        tasks.spawn(broker.run_sweeper());
        Ok(Self::Memory(broker))
    }

    pub(crate) fn broker(&self) -> Arc<dyn Broker> {
        match self {
            Self::Memory(broker) => Arc::clone(broker) as Arc<dyn Broker>,
            Self::Redis(broker) => Arc::clone(broker) as Arc<dyn Broker>,
        }
    }

    /// Whether publications can get through; the text says why not.
    pub(crate) fn ready(&self) -> Result<(), String> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(broker) => broker.ready().map_err(|not_ready| format!("{not_ready} ({})", broker.judged_by())),
        }
    }

    /// Waits until publications can get through, where the start of the node is to wait for that.
    pub(crate) async fn wait_ready(&self, within: Option<Duration>) -> Result<(), Error> {
        let (Self::Redis(broker), Some(within)) = (self, within) else { return Ok(()) };
        broker.wait_ready(within).await.map_err(|reason| Error::Redis { within, reason })
    }

    /// Ends it, after the gateway has ended.
    pub(crate) async fn stop(&self) {
        if let Self::Redis(broker) = self {
            broker.stop().await;
        }
    }
}

/// The limits of a payload, wherever it comes in.
pub(crate) fn payload_limits(config: &Config) -> PayloadLimits {
    PayloadLimits { bytes_max: config.gateway.payload_bytes_max, ..PayloadLimits::default() }
}
