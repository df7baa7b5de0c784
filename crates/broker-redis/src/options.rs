//! What a node has to be told to use Redis. Validated once, here; nobody downstream checks again.

use std::fmt;
use std::time::Duration;

use fanfare_protocol::PayloadLimits;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// How the broker uses Redis.
#[derive(Debug, Clone)]
pub struct Options {
    /// `redis.url`: where Redis is.
    pub server: Server,
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

/// Why a text is no address of a Redis server. Never contains the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It cannot be read.
    #[error("not a Redis URL; expected redis://[user:password@]host[:port][/database] or unix:///path")]
    Malformed,
    /// The connection would be encrypted.
    #[error("TLS to Redis (rediss://) is not supported yet")]
    Tls,
}

/// A Redis server and how to log in. `Debug` and `Display` show neither user nor password.
#[derive(Clone)]
pub struct Server {
    info: ConnectionInfo,
}

impl Server {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let info = url.into_connection_info().map_err(|_| UrlError::Malformed)?;
        match info.addr() {
            ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_) => Ok(Self { info }),
            _ if url.starts_with("rediss") => Err(UrlError::Tls),
            _ => Err(UrlError::Malformed),
        }
    }

    pub(crate) fn info(&self) -> &ConnectionInfo {
        &self.info
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.info.addr() {
            ConnectionAddr::Unix(path) => write!(f, "unix://{}", path.display()),
            address => write!(f, "redis://{address}/{}", self.info.redis_settings().db()),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let options = Options::new(Server::parse("redis://ann:s3cret@127.0.0.1:7000/2").unwrap());
        let shown = format!("{options:?} {}", options.server);
        assert!(shown.contains("redis://127.0.0.1:7000/2"), "{shown}");
        assert!(!shown.contains("s3cret") && !shown.contains("ann"), "{shown}");
        assert_eq!(options.server.info().redis_settings().password(), Some("s3cret"));
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused() {
        assert!(Server::parse("unix:///run/redis.sock").is_ok());
        for url in ["", "127.0.0.1:6379 s3cret", "http://s3cret@localhost", "redis://host:port"] {
            assert_eq!(Server::parse(url).unwrap_err(), UrlError::Malformed, "{url}");
        }
        assert!(Server::parse("rediss://localhost").is_err());
    }
}
