//! What a running node takes anew: keys, access rules, limits, origins (see `config/reload.rs`).
//!
//! Everything that can fail comes first; then all of it is handed over. Each part takes its own at one moment: the API
//! with its next request, a shard with its next tick. Sessions that are there stay, whatever the new limits are.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use fanfare_api::{Api, Authentication, Key, Limits};
use fanfare_auth::Verifier;
use fanfare_gateway::{Handle, Settings};
use tokio::sync::watch;

use crate::arrivals::Arrivals;
use crate::broker::{NodeBroker, payload_limits};
use crate::config::Config;
use crate::node::Error;
use crate::token_issuers::TokenIssuers;
use crate::token_keys;

/// The ends that a node's settings are handed to.
pub(crate) struct Live {
    gateway: Handle,
    broker: NodeBroker,
    arrivals: Arc<Arrivals>,
    api: watch::Sender<Arc<Api>>,
    allowed_origins: watch::Sender<Arc<[String]>>,
    issuers: Mutex<TokenIssuers>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Where the settings arrive.
pub(crate) struct Ends {
    pub(crate) api: watch::Receiver<Arc<Api>>,
    pub(crate) allowed_origins: watch::Receiver<Arc<[String]>>,
}

impl Live {
    /// The ends of a node that starts with this configuration.
    pub(crate) fn new(
        config: &Config,
        gateway: Handle,
        broker: NodeBroker,
        arrivals: Arc<Arrivals>,
        issuers: TokenIssuers,
    ) -> (Self, Ends) {
        let (api, at_api) = watch::channel(Arc::new(api(config, &broker)));
        let (allowed_origins, at_routes) = watch::channel(origins(config));
        let live = Self { gateway, broker, arrivals, api, allowed_origins, issuers: Mutex::new(issuers) };
        (live, Ends { api: at_api, allowed_origins: at_routes })
    }

    /// Hands a configuration over. Call it within the node's runtime.
    ///
    /// # Errors
    /// Keys that cannot be read or are no good; nothing has changed then.
    pub(crate) fn take(&self, config: &Config) -> Result<(), Error> {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = issuers.start(config)?;
        let settings = settings(config, &new)?;
        *issuers = new;
        let (sessions, max) = (self.gateway.sessions(), config.gateway.sessions_max);
        if sessions > max {
            tracing::warn!(
                sessions,
                key = "limits.sessions_max",
                max,
                "there are more sessions than the new limit: they stay"
            );
        }
        self.gateway.reload(settings);
        self.api.send_replace(Arc::new(api(config, &self.broker)));
        self.allowed_origins.send_replace(origins(config));
        self.arrivals.reload(config.arrivals.clone());
        Ok(())
    }
}

/// What the gateway runs with.
pub(crate) fn settings(config: &Config, issuers: &TokenIssuers) -> Result<Settings, Error> {
    let verifier = Verifier::new(token_keys::options(config)?)?.with_issuers(issuers.remotes());
    Ok(Settings {
        options: Arc::new(config.gateway.clone()),
        verifier: Arc::new(verifier),
        namespaces: Arc::new(config.namespaces.clone()),
    })
}

fn api(config: &Config, broker: &NodeBroker) -> Api {
    Api {
        broker: broker.broker(),
        namespaces: Arc::new(config.namespaces.clone()),
        auth: authentication(config),
        limits: Limits {
            body_bytes_max: config.api.body_bytes_max,
            body_timeout: config.api.body_timeout,
            batch_commands_max: config.api.batch_commands_max,
            broadcast_channels_max: config.api.broadcast_channels_max,
            channel_bytes_max: config.gateway.channel_bytes_max,
            payload: payload_limits(config),
        },
    }
}

fn authentication(config: &Config) -> Authentication {
    if config.dev {
        return Authentication::Open;
    }
    let with_all_rights = Key::with_all_rights(config.api.keys.clone());
    Authentication::Keys([with_all_rights].into_iter().chain(config.api.named_keys.iter().cloned()).collect())
}

fn origins(config: &Config) -> Arc<[String]> {
    config.listen.allowed_origins.clone().into()
}
