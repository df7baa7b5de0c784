//! Where Redis is, in one line: a URL.
//!
//! ```text
//! redis://[user:password@]host[:port][/database]                          one server
//! unix:///path                                                            the same, by a socket
//! redis+sentinel://[user:password@]host[:port],…/master-name[/database]   the master that Sentinels name
//! redis+cluster://[user:password@]host[:port],…                           a cluster, by some of its nodes
//! ```
//!
//! `rediss` in place of `redis` encrypts every connection.

use std::fmt;
use std::path::PathBuf;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

const SENTINEL_PORT: u16 = 26_379;
const REDIS_PORT: u16 = 6_379;

/// Why a text is no address of a Redis server. Never contains the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It cannot be read.
    #[error("not a Redis URL; expected redis://[user:password@]host[:port][/database] or unix:///path")]
    Malformed,
    /// Sentinels without the name of the master.
    #[error("expected redis+sentinel://[user:password@]host[:port],…/master-name[/database]")]
    MasterName,
    /// A cluster with a database.
    #[error("a Redis Cluster has no databases; expected redis+cluster://[user:password@]host[:port],…")]
    ClusterDatabase,
}

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// How the servers belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Single,
    Sentinel { master: String },
    Cluster,
}

/// A Redis server, or several, and how to log in. `Debug` and `Display` show neither user nor password.
#[derive(Clone)]
pub struct Server {
    kind: Kind,
    encrypted: bool,
    /// The server, or the Sentinels, or some nodes of the cluster; at least one.
    seeds: Vec<Address>,
    login: RedisConnectionInfo,
}

impl Server {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Malformed)?;
        match scheme {
            "unix" => Self::single(url, false),
            "redis" => Self::single(url, false),
            "rediss" => Self::single(&format!("redis://{rest}"), true),
            "redis+sentinel" | "rediss+sentinel" => Self::sentinel(rest, scheme.starts_with("rediss")),
            "redis+cluster" | "rediss+cluster" => Self::cluster(rest, scheme.starts_with("rediss")),
            _ => Err(UrlError::Malformed),
        }
    }

    fn single(url: &str, encrypted: bool) -> Result<Self, UrlError> {
        let info = read(url)?;
        Ok(Self { kind: Kind::Single, encrypted, seeds: vec![address(&info)?], login: info.redis_settings().clone() })
    }

    fn sentinel(rest: &str, encrypted: bool) -> Result<Self, UrlError> {
        let (authority, path) = rest.split_once('/').ok_or(UrlError::MasterName)?;
        let (master, database) = path.split_once('/').unwrap_or((path, ""));
        if master.is_empty() || master.contains(['?', '#', '@']) {
            return Err(UrlError::MasterName);
        }
        let kind = Kind::Sentinel { master: master.to_owned() };
        Self::several(authority, database, SENTINEL_PORT).map(|server| Self { kind, encrypted, ..server })
    }

    fn cluster(rest: &str, encrypted: bool) -> Result<Self, UrlError> {
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(database, "" | "0") {
            return Err(UrlError::ClusterDatabase);
        }
        Self::several(authority, "", REDIS_PORT).map(|server| Self { kind: Kind::Cluster, encrypted, ..server })
    }

    /// Several hosts with one login.
    fn several(authority: &str, database: &str, port: u16) -> Result<Self, UrlError> {
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let at = if login.is_empty() { "" } else { "@" };
        let seeds = hosts.split(',').map(|host| address_with(host, port)).collect::<Result<Vec<_>, _>>()?;
        let info = read(&format!("redis://{login}{at}localhost/{database}"))?;
        Ok(Self { kind: Kind::Single, encrypted: false, seeds, login: info.redis_settings().clone() })
    }

    /// Whether it is a cluster, where names of keys and pub/sub channels differ.
    pub fn is_cluster(&self) -> bool {
        self.kind == Kind::Cluster
    }

    /// Whether connections are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Whether Sentinels are asked for the master.
    pub fn has_sentinels(&self) -> bool {
        matches!(self.kind, Kind::Sentinel { .. })
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(crate) fn seeds(&self) -> &[Address] {
        &self.seeds
    }

    pub(crate) fn login(&self) -> &RedisConnectionInfo {
        &self.login
    }
}

fn read(url: &str) -> Result<ConnectionInfo, UrlError> {
    url.into_connection_info().map_err(|_| UrlError::Malformed)
}

fn address(info: &ConnectionInfo) -> Result<Address, UrlError> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => Ok(Address::Tcp(host.clone(), *port)),
        ConnectionAddr::Unix(path) => Ok(Address::Unix(path.clone())),
        _ => Err(UrlError::Malformed),
    }
}

/// A host with a port, or with the default one.
fn address_with(host: &str, port: u16) -> Result<Address, UrlError> {
    if host.contains(['/', '?', '#', '@']) {
        return Err(UrlError::Malformed);
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let url = if has_port { format!("redis://{host}") } else { format!("redis://{host}:{port}") };
    address(&read(&url)?)
}

impl Address {
    /// Reads what a server says of another: `host:port`, where the host may be an IPv6 address without brackets. An
    /// empty host is the one that said it.
    pub(crate) fn told(text: &str, by: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::told_apart(host, port.parse().ok()?, by)
    }

    /// The same in two parts.
    pub(crate) fn told_apart(host: &str, port: u16, by: &Self) -> Option<Self> {
        match (host, by) {
            ("" | "?", Self::Tcp(own, _)) => Some(Self::Tcp(own.clone(), port)),
            ("" | "?", Self::Unix(_)) => None,
            (host, _) => Some(Self::Tcp(host.to_owned(), port)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "rediss" } else { "redis" };
        let seeds = self.seeds.iter().map(Address::to_string).collect::<Vec<_>>().join(",");
        match (&self.kind, &self.seeds[..]) {
            (Kind::Single, [Address::Unix(path)]) => write!(f, "unix://{}", path.display()),
            (Kind::Single, _) => write!(f, "{scheme}://{seeds}/{}", self.login.db()),
            (Kind::Sentinel { master }, _) => write!(f, "{scheme}+sentinel://{seeds}/{master}/{}", self.login.db()),
            (Kind::Cluster, _) => write!(f, "{scheme}+cluster://{seeds}"),
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
        for (url, shown) in [
            ("redis://ann:s3cret@127.0.0.1:7000/2", "redis://127.0.0.1:7000/2"),
            ("rediss://ann:s3cret@redis.example", "rediss://redis.example:6379/0"),
            ("redis+sentinel://ann:s3cret@a,b:7000,[::1]/main/3", "redis+sentinel://a:26379,b:7000,[::1]:26379/main/3"),
            ("rediss+cluster://ann:s3cret@a:1,b", "rediss+cluster://a:1,b:6379"),
        ] {
            let server = Server::parse(url).unwrap();
            assert_eq!(format!("{server} {server:?}"), format!("{shown} \"{shown}\""));
            assert_eq!(server.login().password(), Some("s3cret"));
            assert_eq!(server.login().username(), Some("ann"));
        }
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused() {
        assert!(Server::parse("unix:///run/redis.sock").is_ok());
        for url in [
            "",
            "127.0.0.1:6379 s3cret",
            "http://s3cret@localhost",
            "redis://host:port",
            "redis+cluster://",
            "redis+cluster://a,,b",
            "redis+cluster://a:port",
            "redis+sentinel://a?x=y/main",
        ] {
            assert_eq!(Server::parse(url).unwrap_err(), UrlError::Malformed, "{url}");
        }
        for url in ["redis+sentinel://a", "redis+sentinel://a/", "redis+sentinel://a//0"] {
            assert_eq!(Server::parse(url).unwrap_err(), UrlError::MasterName, "{url}");
        }
        assert_eq!(Server::parse("redis+cluster://a/1").unwrap_err(), UrlError::ClusterDatabase);
        assert!(Server::parse("redis+cluster://a/0").unwrap().is_cluster());
    }

    #[test]
    fn what_a_server_says_of_another_is_read() {
        let by = Address::Tcp("10.0.0.1".to_owned(), 1);
        let tcp = |host: &str, port| Some(Address::Tcp(host.to_owned(), port));
        assert_eq!(Address::told("10.0.0.2:7000", &by), tcp("10.0.0.2", 7000));
        assert_eq!(Address::told("::1:7000", &by), tcp("::1", 7000));
        assert_eq!(Address::told(":7000", &by), tcp("10.0.0.1", 7000));
        assert_eq!(Address::told("?:7000", &by), tcp("10.0.0.1", 7000));
        assert_eq!(Address::told("host:port", &by), None);
        assert_eq!(Address::told("host", &by), None);
    }
}
