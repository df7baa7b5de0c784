//! What a node is run with: read from a file, the environment and flags, checked as a whole, then plain data.
//!
//! A flag counts before an environment variable, a variable before a credential of systemd, that before the file, the
//! file before the default. Every problem is found before anything is said, and each says where it is and what to do. Downstream nobody checks
//! again. What a running node takes of a configuration that is read anew is decided in `reload.rs`.
//!
//! [`Config::load`] reads, [`Config::dev`] is what `fanfare dev` runs with. The keys are in `schema.rs`.

mod checks;
mod credentials;
mod dates;
mod draft;
mod file;
mod given;
mod origins;
mod problem;
mod reload;
mod schema;
mod settings;
mod source;
pub(crate) mod spelling;
mod template;
mod units;
mod value;
mod variables;

#[cfg(test)]
mod accepted;
#[cfg(test)]
mod refused;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fanfare_api::Key;
use fanfare_auth::{Algorithm, Secret, Uses};
use fanfare_broker::namespaces::{Access, Audience, Namespaces};
use fanfare_broker_redis::{SentinelLogin, Server};
use fanfare_gateway::Hook;
use fanfare_hooks::SigningKey;
use fanfare_outbound::Endpoint;
use fanfare_protocol::PayloadLimits;
use http::{HeaderName, HeaderValue};

pub use problem::{Problem, Problems};
pub use reload::Reloaded;
pub use settings::Settings;
pub use source::Source;
pub(crate) use source::others_may_read;
pub use variables::Variables;

pub(crate) use units::duration as parse_duration;

use given::Given;
use settings::{Origin, Target};

/// Where a node listens when nobody says otherwise.
pub const ADDRESS_DEFAULT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8000));

/// The file that is read when none is named and it is there.
pub const FILE_DEFAULT: &str = "fanfare.toml";

/// Everything that a node is run with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it takes connections.
    pub listen: Listen,
    /// What one address may have of it.
    pub arrivals: crate::arrivals::Options,
    /// The HTTP API for backends.
    pub api: ApiOptions,
    /// What tokens are judged by, but for the keys below.
    pub auth: fanfare_auth::Options,
    /// Keys for tokens; their files are not read yet.
    pub token_keys: Vec<TokenKey>,
    /// Issuers whose keys are fetched.
    pub token_issuers: Vec<TokenIssuer>,
    /// What the user's own backend is asked.
    pub hooks: BTreeMap<Hook, HookConfig>,
    /// Sessions and their limits; the node's name and its shards too.
    pub gateway: fanfare_gateway::Options,
    /// What is kept in memory.
    pub broker: fanfare_broker::memory::Options,
    /// How much memory the node may take.
    pub memory: crate::memory::Options,
    /// What is kept in Redis instead, if there is one.
    pub redis: Redis,
    /// Options of channels.
    pub namespaces: Namespaces,
    /// What is logged.
    pub log: Log,
    /// Time over which sessions are closed on SIGTERM; zero closes all at once.
    pub drain_window: Duration,
    /// Threads for HTTP requests, at least 1.
    pub http_workers: usize,
    /// Whether this is `fanfare dev`: the API needs no key, and Host and Origin are checked in its place.
    pub dev: bool,
}

/// How a node uses Redis.
#[derive(Debug, Clone, Default)]
pub struct Redis {
    /// Where it is; without it everything is kept in memory.
    pub server: Option<Server>,
    /// Certificates to trust; without it those that the machine trusts.
    pub tls_ca_file: Option<PathBuf>,
    /// The certificate that this node shows.
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    pub tls_key_file: Option<PathBuf>,
    /// The name that certificates have to bear, in place of the host's.
    pub tls_server_name: Option<String>,
    /// The user to log in as to Sentinels.
    pub sentinel_user: Option<String>,
    /// Its password.
    pub sentinel_password: Option<Secret>,
    /// Every key and every Redis channel begins with it.
    pub prefix: String,
    /// How long the start of the node waits for Redis; without it, not at all.
    pub start_timeout: Option<Duration>,
    /// Time for a connection to become usable.
    pub connect_timeout: Duration,
    /// Time for a command.
    pub command_timeout: Duration,
    /// Publications not answered yet.
    pub in_flight_max: usize,
    /// Bytes of those.
    pub in_flight_bytes_max: usize,
    /// How long a channel is listened to after its last subscriber has left.
    pub linger: Duration,
    /// How long the position of a channel without publications is kept.
    pub silent_ttl: Duration,
    /// Largest message taken from Redis.
    pub message_bytes_max: usize,
    /// Whether the node takes its turn in reading the ingest stream.
    pub ingest: bool,
}

impl Redis {
    /// What the broker is run with, if there is a Redis; encrypted connections still lack their certificates.
    pub fn options(&self, payload: PayloadLimits) -> Option<fanfare_broker_redis::Options> {
        Some(fanfare_broker_redis::Options {
            server: self.server.clone()?,
            tls: None,
            sentinel_login: SentinelLogin {
                user: self.sentinel_user.clone(),
                password: self.sentinel_password.as_ref().map(|password| password.expose().to_owned()),
            },
            prefix: self.prefix.clone(),
            connect_timeout: self.connect_timeout,
            command_timeout: self.command_timeout,
            in_flight_max: self.in_flight_max,
            in_flight_bytes_max: self.in_flight_bytes_max,
            linger: self.linger,
            silent_ttl: self.silent_ttl,
            message_bytes_max: self.message_bytes_max,
            payload,
        })
    }
}

/// A key for tokens: a secret, or the file that holds it or the public key.
#[derive(Debug, Clone)]
pub struct TokenKey {
    /// Its name.
    pub name: String,
    /// The one algorithm that it is for.
    pub algorithm: Algorithm,
    /// The secret.
    pub secret: Option<Secret>,
    /// The file with the secret or the public key.
    pub file: Option<PathBuf>,
    /// The key id that tokens must name.
    pub key_id: Option<String>,
    /// Unix time in seconds from when on it is not used any more.
    pub accept_until: Option<u64>,
    /// Which tokens it is for.
    pub uses: Uses,
}

/// An issuer of tokens whose keys are fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenIssuer {
    /// Its name.
    pub name: String,
    /// What its tokens say in `iss`.
    pub issuer: String,
    /// What its tokens have to name in `aud`.
    pub audience: String,
    /// Where its keys are; without it the discovery document is asked.
    pub jwks: Option<Endpoint>,
    /// Certificates to trust when fetching.
    pub ca_file: Option<PathBuf>,
    /// Which tokens its keys are for.
    pub uses: Uses,
    /// How often its keys are fetched again.
    pub refresh_interval: Duration,
    /// How long they are used when they cannot be.
    pub stale_ttl: Duration,
}

/// A hook; its certificates are not read yet.
#[derive(Debug, Clone)]
pub struct HookConfig {
    /// Where it is asked.
    pub endpoint: Endpoint,
    /// Certificates to trust on the way.
    pub ca_file: Option<PathBuf>,
    /// What requests are signed with.
    pub signing_keys: Vec<SigningKey>,
    /// Time for an answer, with all tries.
    pub timeout: Duration,
    /// Questions under way.
    pub in_flight_max: usize,
    /// Largest answer.
    pub answer_bytes_max: usize,
    /// Headers of the client's request that are passed on.
    pub pass_headers: Vec<HeaderName>,
    /// Headers that are added.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Where a node takes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Address and port; port 0 takes any.
    pub address: SocketAddr,
    /// The certificate that TLS is spoken with, as PEM with its chain; without it there is no TLS.
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    pub tls_key_file: Option<PathBuf>,
    /// Time for a TLS handshake.
    pub tls_handshake_timeout: Duration,
    /// Origins of web pages that may connect besides the node's own, in lower case; `*` lets any.
    pub allowed_origins: Vec<String>,
    /// Hosts that requests may be for, in lower case; without any, all.
    pub allowed_hosts: Vec<String>,
    /// Time to send the headers of a request.
    pub header_timeout: Duration,
}

impl Listen {
    /// What TLS is spoken with; one file without the other is refused when the configuration is read.
    pub fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles { certificate: self.tls_cert_file.clone()?, key: self.tls_key_file.clone()? })
    }
}

/// A certificate and its key, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with its chain behind it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The HTTP API for backends.
#[derive(Debug, Clone)]
pub struct ApiOptions {
    /// Its keys that may do everything. In `serve` there is at least one of these or of the named ones, in `dev` none.
    pub keys: Vec<Secret>,
    /// Its keys that may do what is said of each.
    pub named_keys: Vec<Key>,
    /// Largest body of a request.
    pub body_bytes_max: usize,
    /// Time to send it.
    pub body_timeout: Duration,
    /// Commands in one batch.
    pub batch_commands_max: usize,
    /// Channels in one broadcast.
    pub broadcast_channels_max: usize,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How.
    pub format: LogFormat,
    /// From which level on.
    pub level: LogLevel,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// To be read.
    Text,
    /// To be collected: an object a line.
    Json,
}

/// The least that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What an operator has to act on.
    Error,
    /// What may become that.
    Warn,
    /// Starts, stops, changes.
    Info,
    /// Misbehaviour of peers, and decisions.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// As it is written in filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<Source>,
    /// The environment.
    pub variables: Variables,
    /// The flags that were given.
    pub flags: Vec<Flag>,
}

/// A flag that stands for a key.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The flag: `--listen`.
    pub name: &'static str,
    /// The key: `listen.address`.
    pub key: &'static str,
    /// What was given.
    pub value: String,
}

/// A configuration that a node can be started with.
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed, but perhaps not meant; for the operator's eyes.
    pub warnings: Vec<Problem>,
    /// Every key with its value and where that comes from.
    pub settings: Settings,
}

impl Config {
    /// Reads a configuration for `serve`.
    ///
    /// # Errors
    /// Everything that is wrong, what `serve` needs and is not set included.
    pub fn load(sources: Sources) -> Result<Loaded, Problems> {
        read(sources, checks::missing)
    }

    /// Reads a configuration to look at, or for the sake of one key: what `serve` needs may be missing.
    ///
    /// # Errors
    /// Everything that is wrong with what is there.
    pub fn load_partial(sources: Sources) -> Result<Loaded, Problems> {
        read(sources, |_| Vec::new())
    }

    /// What `fanfare dev` runs with: nothing has to be configured, and everybody may do everything. Its secret is
    /// made anew each time, so that its tokens are worth nothing elsewhere.
    pub fn dev() -> Self {
        let mut draft = Settings::defaults().draft();
        draft.auth.hmac_secret = Some(random_secret());
        draft.gateway.allow_anonymous = true;
        // No other node takes its clients: there is nothing to spread.
        draft.drain_window = Duration::ZERO;
        draft.channels.presence = true;
        draft.channels.join_leave = true;
        let anyone = Audience::Anyone;
        draft.channels.access =
            Access { subscribe: anyone, publish: anyone, read_history: anyone, read_presence: anyone };
        let namespaces = Namespaces::open(draft::options(draft.channels));
        Self { dev: true, namespaces, ..draft.finish() }
    }
}

impl Sources {
    /// The file that was named by a flag, else by `FANFARE_CONFIG`, else `fanfare.toml` where it is there, else none;
    /// and the environment of this process.
    ///
    /// # Errors
    /// A file that was named and cannot be read.
    pub fn find(named: Option<&Path>, variables: Variables, flags: Vec<Flag>) -> Result<Self, Problems> {
        let file = file_to_read(named, &variables).map(|path| Source::read(&path)).transpose()?;
        Ok(Self { file, variables, flags })
    }
}

/// The annotated file with every key at its default.
pub fn annotated() -> String {
    template::render(&[])
}

/// The annotated file as `fanfare init` writes it: with new secrets, and users may subscribe.
pub fn annotated_with_secrets() -> String {
    let filled = |title, toml: String| template::Filled { title, toml };
    template::render(&[
        filled("api.keys", format!("[\"{}\"]", random_secret().expose())),
        filled("auth.hmac_secret", format!("\"{}\"", random_secret().expose())),
        filled("channels.subscribe", "\"users\"".to_owned()),
    ])
}

fn file_to_read(named: Option<&Path>, variables: &Variables) -> Option<PathBuf> {
    let by_variable = || variables.get("FANFARE_CONFIG").map(PathBuf::from);
    let by_default = || Some(PathBuf::from(FILE_DEFAULT)).filter(|path| path.exists());
    named.map(Path::to_owned).or_else(by_variable).or_else(by_default)
}

fn read(sources: Sources, missing: fn(&Settings) -> Vec<Problem>) -> Result<Loaded, Problems> {
    let mut settings = Settings::defaults();
    let file = sources.file.map_or_else(|| Ok(Vec::new()), |source| file::overlay(source, &mut settings));
    let is_readable = file.is_ok();
    let mut problems = file.unwrap_or_else(|problems| problems);
    problems.extend(credentials::overlay(&sources.variables, &mut settings));
    problems.extend(variables::overlay(&sources.variables, &mut settings));
    problems.extend(sources.flags.iter().filter_map(|flag| put_flag(flag, &mut settings).err()));
    // Without the file's values nothing can be said of how they go together.
    if is_readable {
        problems.extend(checks::relations(&settings));
        problems.extend(missing(&settings));
    }
    if !problems.is_empty() {
        return Err(Problems::sorted(problems));
    }
    Ok(Loaded { config: settings.draft().finish(), warnings: checks::warnings(&settings), settings })
}

fn put_flag(flag: &Flag, settings: &mut Settings) -> Result<(), Problem> {
    let (section, key) = flag.key.split_once('.').expect("a flag stands for section.key");
    let section = schema::section(section).expect("a flag stands for a key of the schema");
    let key = section.key(key).expect("a flag stands for a key of the schema");
    let target = Target { section, namespace: None, key };
    let put = settings.put(target, &Given::from_text(&flag.value, key.kind), Origin::Flag(flag.name));
    put.map_err(|refusal| {
        let message = format!("{} {}", target.title(), refusal.complaint);
        Problem::new(problem::Place::Flag(flag.name), message).hint(refusal.hint)
    })
}

/// 256 random bits in hexadecimal.
fn random_secret() -> Secret {
    let bytes: [u8; 32] = rand::random();
    Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
