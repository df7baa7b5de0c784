//! What a running node takes anew: keys, access rules, limits, origins (see `config/reload.rs`).
//!
//! Everything that can fail comes first; then all of it is handed over. Each part takes its own at one moment: the API
//! with its next request, a shard with its next tick. Sessions that are there stay, whatever the new limits are.

use std::fmt;
use std::sync::Arc;

use fanfare_api::{Api, Authentication, Key, Limits};
use fanfare_auth::Verifier;
use fanfare_gateway::{Handle, Options, Settings};
use tokio::sync::watch;

use crate::arrivals::Arrivals;
use crate::broker::{NodeBroker, payload_limits};
use crate::config::Config;
use crate::descriptors::Shares;
use crate::node::Error;
use crate::tls::Tls;
use crate::token_issuers::TokenIssuers;
use crate::{hooks, token_keys};

/// The parts of a node that take settings.
pub(crate) struct Running {
    pub(crate) gateway: Handle,
    pub(crate) broker: NodeBroker,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) tls: Option<Arc<Tls>>,
}

/// What a node's settings are handed to.
pub(crate) struct Live {
    running: Running,
    api: watch::Sender<Arc<Api>>,
    allowed_origins: watch::Sender<Arc<[String]>>,
    issuers: watch::Sender<TokenIssuers>,
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
    pub(crate) issuers: watch::Receiver<TokenIssuers>,
}

impl Live {
    /// For a node that starts with this configuration.
    pub(crate) fn new(config: &Config, running: Running, issuers: TokenIssuers) -> (Self, Ends) {
        let (api, at_api) = watch::channel(Arc::new(api(config, &running.broker)));
        let (allowed_origins, at_routes) = watch::channel(origins(config));
        let (issuers, at_readiness) = watch::channel(issuers);
        let ends = Ends { api: at_api, allowed_origins: at_routes, issuers: at_readiness };
        (Self { running, api, allowed_origins, issuers }, ends)
    }

    /// The certificate, where TLS is spoken.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.running.tls.as_deref()
    }

    /// Hands a configuration over. Call it within the node's runtime.
    ///
    /// # Errors
    /// Keys or a certificate that cannot be read or are no good; nothing has changed then.
    pub(crate) fn take(&self, config: &Config) -> Result<(), Error> {
        let Running { gateway, broker, arrivals, tls } = &self.running;
        let mut config = config.clone();
        config.gateway.sessions_max = Shares::find(config.gateway.sessions_max).sessions;
        let config = &config;
        let issuers = self.issuers.borrow().start(config)?;
        let settings = settings(config, &issuers)?;
        // The last that may fail, since it is taken at once.
        tls.as_ref().map_or(Ok(()), |tls| tls.reload())?;
        self.issuers.send_replace(issuers);
        let (sessions, max) = (gateway.sessions(), config.gateway.sessions_max);
        if sessions > max {
            let key = "limits.sessions_max";
            tracing::warn!(sessions, key, max, "there are more sessions than the new limit: they stay");
        }
        gateway.reload(settings);
        self.api.send_replace(Arc::new(api(config, broker)));
        self.allowed_origins.send_replace(origins(config));
        arrivals.reload(config.arrivals.clone());
        Ok(())
    }
}

/// What the gateway runs with.
pub(crate) fn settings(config: &Config, issuers: &TokenIssuers) -> Result<Settings, Error> {
    let verifier = Verifier::new(token_keys::options(config)?)?.with_issuers(issuers.remotes());
    Ok(Settings {
        options: Arc::new(Options { hook_headers: hooks::passed_on(config), ..config.gateway.clone() }),
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
        token_lifetime_max: config.auth.lifetime_max,
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
