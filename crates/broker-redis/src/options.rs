//! What a node has to be told to use Redis. Validated once, here; nobody downstream checks again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::PayloadLimits;
use tokio_rustls::rustls::ClientConfig;

use crate::server::Server;

/// What encrypted connections are made with: whom to trust, and who this node is.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificates and versions. It brings its crypto provider.
    pub client: Arc<ClientConfig>,
    /// `redis.tls_server_name`: the name that certificates have to bear, in place of the host's.
    pub server_name: Option<String>,
}

/// How to log in to Sentinels, which have users of their own.
#[derive(Clone, Default)]
pub struct SentinelLogin {
    /// `redis.sentinel_user`.
    pub user: Option<String>,
    /// `redis.sentinel_password`.
    pub password: Option<String>,
}

impl fmt::Debug for SentinelLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.password.is_some() { "with a password" } else { "without a password" })
    }
}

/// How the broker uses Redis.
#[derive(Debug, Clone)]
pub struct Options {
    /// `redis.url`: where Redis is.
    pub server: Server,
    /// What encrypted connections are made with; needed where the URL asks for them.
    pub tls: Option<Tls>,
    /// How to log in to Sentinels.
    pub sentinel_login: SentinelLogin,
    /// `redis.prefix`: every key and every Redis channel begins with it and a `:`.
    pub prefix: String,
    /// `redis.connect_timeout`: how long a connection may take until it is usable.
    pub connect_timeout: Duration,
    /// `redis.command_timeout`: how long a command may take, its waits included.
    pub command_timeout: Duration,
    /// `redis.in_flight_max`: commands sent and not answered; one more is refused as overloaded at once.
    pub in_flight_max: usize,
    /// `redis.in_flight_bytes_max`: bytes of the publications among them.
    pub in_flight_bytes_max: usize,
    /// `redis.linger`: how long the node stays subscribed to a channel after its last subscriber has left.
    pub linger: Duration,
    /// `redis.silent_ttl`: how long the position of a channel without publications is kept after somebody last
    /// asked for it.
    pub silent_ttl: Duration,
    /// `redis.message_bytes_max`: what a message from Redis may have; a larger one is skipped and counted.
    pub message_bytes_max: usize,
    /// What the payload of a publication may have that a program publishes straight into Redis.
    pub payload: PayloadLimits,
}

impl Options {
    /// The defaults for a server.
    pub fn new(server: Server) -> Self {
        Self {
            server,
            tls: None,
            sentinel_login: SentinelLogin::default(),
            prefix: "fanfare".to_owned(),
            connect_timeout: Duration::from_secs(1),
            command_timeout: Duration::from_millis(500),
            in_flight_max: 8192,
            in_flight_bytes_max: 64 * 1024 * 1024,
            linger: Duration::from_secs(10),
            silent_ttl: Duration::from_secs(3600),
            message_bytes_max: 4 * 1024 * 1024,
            payload: PayloadLimits::default(),
        }
    }
}
