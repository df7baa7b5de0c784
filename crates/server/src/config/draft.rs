//! From single values to the configuration: values are put into a draft, the draft is completed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanfare_api::{Key, Scope};
use fanfare_auth::{Algorithm, Pattern, Roles, Rules, Secret, Uses};
use fanfare_broker::Retention;
use fanfare_broker::namespaces::{Access, AsksBackend, ChannelOptions, Namespaces, SlowConsumer};
use fanfare_broker_redis::Server;
use fanfare_gateway::Hook;
use fanfare_hooks::SigningKey;
use fanfare_outbound::Endpoint;
use http::{HeaderName, HeaderValue};

use super::given::read_header;
use super::{ApiOptions, Config, HookConfig, Listen, Log, LogFormat, LogLevel, Redis, TokenIssuer, TokenKey};

/// A configuration in the making.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) tls_cert_file: Option<PathBuf>,
    pub(crate) tls_key_file: Option<PathBuf>,
    pub(crate) tls_handshake_timeout: Duration,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) header_timeout: Duration,
    pub(crate) arrivals: crate::arrivals::Options,
    pub(crate) api_keys: Vec<Secret>,
    pub(crate) named_api_keys: BTreeMap<String, ApiKeyDraft>,
    pub(crate) body_bytes_max: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) batch_commands_max: usize,
    pub(crate) broadcast_channels_max: usize,
    pub(crate) auth: fanfare_auth::Options,
    pub(crate) token_keys: BTreeMap<String, TokenKeyDraft>,
    pub(crate) token_issuers: BTreeMap<String, TokenIssuerDraft>,
    pub(crate) roles: BTreeMap<String, Rules>,
    pub(crate) hooks: BTreeMap<String, HookDraft>,
    pub(crate) gateway: fanfare_gateway::Options,
    pub(crate) broker: fanfare_broker::memory::Options,
    pub(crate) memory: crate::memory::Options,
    pub(crate) redis_url: Option<Secret>,
    pub(crate) redis: Redis,
    pub(crate) shards: Option<usize>,
    pub(crate) http_workers: Option<usize>,
    pub(crate) log_format: String,
    pub(crate) log_level: String,
    pub(crate) drain_window: Duration,
    pub(crate) channels: ChannelDraft,
    pub(crate) namespaces: BTreeMap<String, ChannelDraft>,
}

/// Options of channels in the making.
#[derive(Clone, Copy, Default)]
pub(crate) struct ChannelDraft {
    pub(crate) history_size: usize,
    pub(crate) history_ttl: Duration,
    pub(crate) history_meta_ttl: Duration,
    pub(crate) presence: bool,
    pub(crate) join_leave: bool,
    pub(crate) access: Access,
    pub(crate) asks_backend: AsksBackend,
    pub(crate) drops_oldest: bool,
}

/// A named key of the API in the making.
#[derive(Clone, Default)]
pub(crate) struct ApiKeyDraft {
    pub(crate) secret: Option<Secret>,
    pub(crate) previous: Option<Secret>,
    pub(crate) scopes: Vec<String>,
    pub(crate) channels: Vec<String>,
}

impl ApiKeyDraft {
    /// The key; `None` without a secret, of which the operator is told elsewhere.
    fn finish(self, name: &str) -> Option<Key> {
        self.secret.as_ref()?;
        Some(Key {
            name: name.into(),
            active: self.secret.into_iter().chain(self.previous).collect(),
            scopes: self.scopes.iter().filter_map(|name| Scope::named(name)).collect(),
            channels: self.channels.iter().filter_map(|text| Pattern::parse(text).ok()).collect(),
        })
    }
}

/// A key for tokens in the making.
#[derive(Clone, Default)]
pub(crate) struct TokenKeyDraft {
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) secret: Option<Secret>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) key_id: Option<String>,
    pub(crate) accept_until: Option<u64>,
    pub(crate) uses: String,
}

impl TokenKeyDraft {
    /// The key; `None` without an algorithm, of which the operator is told elsewhere.
    fn finish(self, name: String) -> Option<TokenKey> {
        Some(TokenKey {
            name,
            algorithm: self.algorithm?,
            secret: self.secret,
            file: self.file,
            key_id: self.key_id,
            accept_until: self.accept_until,
            uses: uses(&self.uses),
        })
    }
}

/// An issuer of tokens in the making.
#[derive(Clone, Default)]
pub(crate) struct TokenIssuerDraft {
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) jwks_url: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) uses: String,
    pub(crate) refresh_interval: Duration,
    pub(crate) stale_ttl: Duration,
}

impl TokenIssuerDraft {
    /// The issuer; `None` without what it needs, of which the operator is told elsewhere.
    fn finish(self, name: String) -> Option<TokenIssuer> {
        Some(TokenIssuer {
            name,
            issuer: self.issuer?,
            audience: self.audience?,
            jwks: self.jwks_url.and_then(|url| Endpoint::parse(&url).ok()),
            ca_file: self.ca_file,
            uses: uses(&self.uses),
            refresh_interval: self.refresh_interval,
            stale_ttl: self.stale_ttl,
        })
    }
}

/// A hook in the making.
#[derive(Clone, Default)]
pub(crate) struct HookDraft {
    pub(crate) url: Option<String>,
    pub(crate) allow_unencrypted: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) timeout: Duration,
    pub(crate) in_flight_max: usize,
    pub(crate) answer_bytes_max: usize,
    pub(crate) pass_headers: Vec<String>,
    pub(crate) headers: Vec<Secret>,
}

impl HookDraft {
    /// The hook; `None` without a URL, of which the operator is told elsewhere.
    fn finish(self, name: &str) -> Option<(Hook, HookConfig)> {
        let hook = HookConfig {
            endpoint: Endpoint::parse_unencrypted(&self.url?).ok()?,
            ca_file: self.ca_file,
            signing_keys: self.secrets.iter().filter_map(|secret| SigningKey::parse(secret).ok()).collect(),
            timeout: self.timeout,
            in_flight_max: self.in_flight_max,
            answer_bytes_max: self.answer_bytes_max,
            pass_headers: self.pass_headers.iter().filter_map(|name| name.parse().ok()).collect(),
            headers: self.headers.iter().filter_map(|line| read_header(line.expose())).map(sensitive).collect(),
        };
        Some((Hook::named(name)?, hook))
    }
}

/// A header whose value is shown by nobody.
fn sensitive((name, mut value): (HeaderName, HeaderValue)) -> (HeaderName, HeaderValue) {
    value.set_sensitive(true);
    (name, value)
}

/// Which tokens something is for, from the word for it.
fn uses(word: &str) -> Uses {
    match word {
        "connections" => Uses::Connections,
        "subscriptions" => Uses::Subscriptions,
        _ => Uses::Both,
    }
}

impl Draft {
    /// The named key of the API.
    pub(crate) fn api_key(&mut self, name: &str) -> &mut ApiKeyDraft {
        self.named_api_keys.entry(name.to_owned()).or_default()
    }

    /// The rules of this role.
    pub(crate) fn role(&mut self, name: &str) -> &mut Rules {
        self.roles.entry(name.to_owned()).or_default()
    }

    /// The issuer of tokens of this name.
    pub(crate) fn token_issuer(&mut self, name: &str) -> &mut TokenIssuerDraft {
        self.token_issuers.entry(name.to_owned()).or_default()
    }

    /// The hook of this name.
    pub(crate) fn hook(&mut self, name: &str) -> &mut HookDraft {
        self.hooks.entry(name.to_owned()).or_default()
    }

    /// The key for tokens of this name.
    pub(crate) fn token_key(&mut self, name: &str) -> &mut TokenKeyDraft {
        self.token_keys.entry(name.to_owned()).or_default()
    }

    /// The options of a namespace, or of channels without one.
    pub(crate) fn channel(&mut self, namespace: Option<&str>) -> &mut ChannelDraft {
        match namespace {
            Some(name) => self.namespaces.entry(name.to_owned()).or_default(),
            None => &mut self.channels,
        }
    }

    /// The configuration; what is left to the machine is decided here.
    pub(crate) fn finish(self) -> Config {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut gateway = self.gateway;
        gateway.shards = self.shards.unwrap_or(gateway.shards);
        Config {
            listen: Listen {
                address: self.address.unwrap_or(super::ADDRESS_DEFAULT),
                tls_cert_file: self.tls_cert_file,
                tls_key_file: self.tls_key_file,
                tls_handshake_timeout: self.tls_handshake_timeout,
                allowed_origins: self.allowed_origins,
                allowed_hosts: self.allowed_hosts,
                header_timeout: self.header_timeout,
            },
            arrivals: self.arrivals,
            api: ApiOptions {
                keys: self.api_keys,
                named_keys: self.named_api_keys.into_iter().filter_map(|(name, key)| key.finish(&name)).collect(),
                body_bytes_max: self.body_bytes_max,
                body_timeout: self.body_timeout,
                batch_commands_max: self.batch_commands_max,
                broadcast_channels_max: self.broadcast_channels_max,
            },
            auth: with_roles(self.auth, self.roles),
            token_keys: self.token_keys.into_iter().filter_map(|(name, key)| key.finish(name)).collect(),
            token_issuers: self.token_issuers.into_iter().filter_map(|(name, issuer)| issuer.finish(name)).collect(),
            gateway,
            hooks: self.hooks.into_iter().filter_map(|(name, hook)| hook.finish(&name)).collect(),
            broker: self.broker,
            memory: self.memory,
            redis: Redis { server: self.redis_url.and_then(|url| Server::parse(url.expose()).ok()), ..self.redis },
            namespaces: namespaces(self.channels, self.namespaces),
            log: log(&self.log_format, &self.log_level),
            drain_window: self.drain_window,
            http_workers: self.http_workers.unwrap_or_else(|| (cores / 2).max(1)),
            dev: false,
        }
    }
}

fn with_roles(auth: fanfare_auth::Options, roles: BTreeMap<String, Rules>) -> fanfare_auth::Options {
    let rules = roles.into_iter().map(|(name, rules)| (name, Arc::new(rules))).collect();
    fanfare_auth::Options { roles: Roles { rules, ..auth.roles }, ..auth }
}

fn namespaces(default: ChannelDraft, named: BTreeMap<String, ChannelDraft>) -> Namespaces {
    Namespaces::new(options(default), named.into_iter().map(|(name, draft)| (name, options(draft))).collect())
}

pub(crate) fn options(draft: ChannelDraft) -> ChannelOptions {
    let retention = Retention { size: draft.history_size, ttl: draft.history_ttl, meta_ttl: draft.history_meta_ttl };
    ChannelOptions {
        retention: (draft.history_size > 0).then_some(retention),
        presence: draft.presence,
        join_leave: draft.join_leave,
        access: draft.access,
        asks_backend: draft.asks_backend,
        slow_consumer: if draft.drops_oldest { SlowConsumer::DropOldest } else { SlowConsumer::Close },
    }
}

fn log(format: &str, level: &str) -> Log {
    let format = if format == "json" { LogFormat::Json } else { LogFormat::Text };
    let level = match level {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => LogLevel::Info,
    };
    Log { format, level }
}
