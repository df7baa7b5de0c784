//! URLs that are asked: scheme, host, port and path, judged once.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

use crate::address;

/// Where something is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(crate) is_tls: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// With its query.
    pub(crate) path: String,
}

/// Why a text is no URL that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is no URL of HTTP.
    #[error("is no URL that begins with https://")]
    Malformed,
    /// It holds a name or a password.
    #[error("holds a user name, which is never sent")]
    UserInfo,
    /// It is not encrypted, and the host is not this machine or its own network.
    #[error("is not encrypted: http:// is taken for addresses of this machine and of private networks only")]
    NotEncrypted,
}

impl Endpoint {
    /// Reads a URL. Plain `http://` is taken where the host is literally a local one.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let endpoint = Self::parse_unencrypted(url)?;
        if endpoint.is_tls || endpoint.is_local() { Ok(endpoint) } else { Err(EndpointError::NotEncrypted) }
    }

    /// Reads a URL; plain `http://` is taken for any host.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn parse_unencrypted(url: &str) -> Result<Self, EndpointError> {
        let uri: Uri = url.parse().map_err(|_| EndpointError::Malformed)?;
        let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or(EndpointError::Malformed)?;
        let is_tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(EndpointError::Malformed),
        };
        if authority.as_str().contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() || url.contains('#') {
            return Err(EndpointError::Malformed);
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { is_tls, host, port, path })
    }

    /// The discovery document of an issuer (OpenID Connect Discovery §4).
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn discovery(issuer: &str) -> Result<Self, EndpointError> {
        let issuer = Self::parse(issuer)?;
        if issuer.path.contains('?') {
            return Err(EndpointError::Malformed);
        }
        let path = format!("{}/.well-known/openid-configuration", issuer.path.trim_end_matches('/'));
        Ok(Self { path, ..issuer })
    }

    /// Whether the host is literally this machine or an address that the internet does not know.
    pub fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| !address::is_public(ip))
    }

    /// Whether it is asked over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.is_tls
    }

    /// What is asked for on the host: its path with its query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What stands in the header `Host`.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.is_tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, shown) in [
            ("https://id.example.com", "https://id.example.com/"),
            ("https://ID.example.com:443/a/keys?x=1", "https://id.example.com/a/keys?x=1"),
            ("https://id.example.com:8443/keys", "https://id.example.com:8443/keys"),
            ("http://127.0.0.1:9/keys", "http://127.0.0.1:9/keys"),
            ("http://localhost/keys", "http://localhost/keys"),
            ("http://[::1]:9/keys", "http://[::1]:9/keys"),
            ("http://10.0.0.7/keys", "http://10.0.0.7/keys"),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for (url, error) in [
            ("", EndpointError::Malformed),
            ("keys.json", EndpointError::Malformed),
            ("/keys", EndpointError::Malformed),
            ("file:///etc/passwd", EndpointError::Malformed),
            ("ftp://id.example.com/", EndpointError::Malformed),
            ("https://", EndpointError::Malformed),
            ("https://id.example.com/#a", EndpointError::Malformed),
            ("https://user:pass@id.example.com/", EndpointError::UserInfo),
            ("https://id.example.com@127.0.0.1/", EndpointError::UserInfo),
            ("http://id.example.com/", EndpointError::NotEncrypted),
            ("http://8.8.8.8/", EndpointError::NotEncrypted),
            ("http://localhost.example.com/", EndpointError::NotEncrypted),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn discovery_is_below_the_issuer() {
        for issuer in ["https://id.example.com/realms/a", "https://id.example.com/realms/a/"] {
            let shown = Endpoint::discovery(issuer).unwrap().to_string();
            assert_eq!(shown, "https://id.example.com/realms/a/.well-known/openid-configuration");
        }
        assert!(Endpoint::discovery("https://id.example.com/?a").is_err());
    }
}
