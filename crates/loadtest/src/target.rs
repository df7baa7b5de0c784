//! Where a server is, and from which addresses its clients come.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

/// Addresses of clients on loopback: as many as that, then they are used again.
const SOURCES: usize = 60_000;

/// An address without TLS: `ws://`, `http://` or `redis://`, with host, port and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(crate) address: SocketAddr,
    /// As it was given, for the `Host` header.
    pub(crate) host: String,
    /// Path and query, from the slash on; empty if there was none.
    pub(crate) path: String,
    scheme: String,
}

/// Why an address is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// TLS is not spoken.
    #[error("{} asks for TLS, which the load tester does not speak: measure the node behind its TLS", without_user(.0))]
    Tls(String),
    /// Another scheme.
    #[error("{} begins with none of ws://, http:// and redis://", without_user(.0))]
    Scheme(String),
    /// A user, a password or a database.
    #[error("{} names a database or a user: publications go to database 0, without a password", without_user(.0))]
    Redis(String),
    /// No host and port, or none that can be found.
    #[error("{} names no host and port that can be found", without_user(.0))]
    Host(String),
}

/// Of a name's addresses an IPv4 one, if there is any: on loopback there are many of those to come from.
fn nearest(found: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    found.min_by_key(SocketAddr::is_ipv6)
}

/// Without what may be a password.
fn without_user(address: &str) -> String {
    match (address.find("://"), address.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}…{}", &address[..scheme + 3], &address[at..]),
        _ => address.to_owned(),
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// `host:port` alone counts as `ws://host:port`.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("ws", text));
        match scheme {
            "ws" | "http" | "redis" => {}
            "wss" | "https" | "rediss" => return Err(TargetError::Tls(text.to_owned())),
            _ => return Err(TargetError::Scheme(text.to_owned())),
        }
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let with_port = match (host.rsplit_once(':'), scheme) {
            (Some((_, port)), _) if port.parse::<u16>().is_ok() => host.to_owned(),
            (_, "redis") => format!("{host}:6379"),
            _ => format!("{host}:80"),
        };
        if scheme == "redis" && (host.contains('@') || !matches!(path, "" | "/" | "/0")) {
            return Err(TargetError::Redis(text.to_owned()));
        }
        let address = with_port.to_socket_addrs().ok().and_then(nearest);
        let address = address.ok_or_else(|| TargetError::Host(text.to_owned()))?;
        Ok(Self { address, host: host.to_owned(), path: path.to_owned(), scheme: scheme.to_owned() })
    }
}

impl Target {
    /// The same with this path, unless it has one.
    pub(crate) fn or_path(mut self, path: &str) -> Self {
        if matches!(self.path.as_str(), "" | "/") {
            path.clone_into(&mut self.path);
        }
        self
    }

    pub(crate) fn without_path(self) -> Self {
        Self { path: String::new(), ..self }
    }

    /// Whether it is on this machine, by its address.
    pub(crate) fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// The address that a connection comes from: on loopback one of many, so that limits by address see what they would
    /// see of as many clients, and ports do not run out. Elsewhere the machine chooses.
    pub(crate) fn source(&self, connection: usize) -> Option<SocketAddr> {
        let IpAddr::V4(address) = self.address.ip() else { return None };
        let number = connection % SOURCES;
        let source = Ipv4Addr::new(127, 1, (number / 250) as u8, (number % 250 + 1) as u8);
        address.is_loopback().then_some(SocketAddr::from((source, 0)))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}{}", self.scheme, self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(target("127.0.0.1:8000").to_string(), "ws://127.0.0.1:8000");
        assert_eq!(target("ws://127.0.0.1:8000/a?b=1").path, "/a?b=1");
        assert_eq!(target("redis://127.0.0.1").address.port(), 6_379);
        assert_eq!(target("http://127.0.0.1").address.port(), 80);
        assert_eq!(target("ws://[::1]:8000/").or_path("/x").to_string(), "ws://[::1]:8000/x");
        assert_eq!(target("ws://127.0.0.1:1/y").or_path("/x").path, "/y");
    }

    #[test]
    fn what_is_not_spoken_is_refused() {
        let refused = |text: &str| text.parse::<Target>().unwrap_err();
        assert!(matches!(refused("wss://127.0.0.1"), TargetError::Tls(_)));
        assert!(matches!(refused("ftp://127.0.0.1"), TargetError::Scheme(_)));
        assert!(matches!(refused("ws://"), TargetError::Host(_)));
        for address in ["redis://127.0.0.1/2", "redis://:hidden@127.0.0.1:6379"] {
            let why = refused(address).to_string();
            assert!(why.contains("database 0") && !why.contains("hidden"), "{why}");
        }
        assert!(!refused("rediss://:hidden@127.0.0.1").to_string().contains("hidden"));
    }

    #[test]
    fn defect_localhost_was_whichever_address_came_first() {
        let addresses = ["[::1]:8000", "127.0.0.1:8000"].map(|address| address.parse().unwrap());
        assert_eq!(nearest(addresses.into_iter()), Some(addresses[1]));
        assert_eq!(nearest(addresses[..1].iter().copied()), Some(addresses[0]));
    }

    #[test]
    fn clients_on_loopback_come_from_many_addresses() {
        let sources: std::collections::BTreeSet<_> =
            (0..SOURCES).filter_map(|connection| target("127.0.0.1:1").source(connection)).collect();
        assert_eq!(sources.len(), SOURCES);
        assert_eq!(target("[::1]:1").source(0), None);
    }
}
