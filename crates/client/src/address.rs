//! Where a node is. Reads what people type: `127.0.0.1:8000`, `https://host/prefix`, `wss://host/connection/websocket`.

use http::uri::Authority;

use crate::Error;

const WEBSOCKET_PATH: &str = "/connection/websocket";
const PORT_DEFAULT: u16 = 8000;

/// A checked address: host, port and the path in front of the node's own paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    is_tls: bool,
    host_and_port: String,
    prefix: String,
}

impl Address {
    /// Reads an address. Without a scheme the port is 8000, with one it is 80, with TLS 443.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (scheme, rest) = match text.trim().split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text.trim()),
        };
        let (is_tls, port) = match scheme.as_deref() {
            None => (false, PORT_DEFAULT),
            Some("http" | "ws") => (false, 80),
            Some("https" | "wss") => (true, 443),
            Some(_) => return Err(invalid(text, "use host:port, http://host:port or https://host:port")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Ok(Self { is_tls, host_and_port: host_and_port(text, authority, port)?, prefix: prefix(text, path)? })
    }

    /// `host:port`, as a TCP connect wants it.
    pub fn host_and_port(&self) -> &str {
        &self.host_and_port
    }

    /// Whether TLS is spoken there.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The name that its certificate has to bear.
    pub fn host(&self) -> &str {
        let host = self.host_and_port.rsplit_once(':').map_or(&*self.host_and_port, |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// Host and port as they stand in `Host`: without the port that the scheme has anyway.
    pub fn authority(&self) -> &str {
        let usual = if self.is_tls { ":443" } else { ":80" };
        self.host_and_port.strip_suffix(usual).unwrap_or(&self.host_and_port)
    }

    /// The path in front of the node's own paths; mostly empty.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The WebSocket endpoint.
    pub fn websocket_url(&self) -> String {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}{WEBSOCKET_PATH}", self.host_and_port, self.prefix)
    }

    /// The endpoint of a server API method.
    pub fn api_url(&self, method: &str) -> String {
        self.page_url(&format!("/api/{method}"))
    }

    /// What is at a path of the node.
    pub fn page_url(&self, path: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{}{path}", self.host_and_port, self.prefix)
    }
}

fn host_and_port(text: &str, authority: &str, port: u16) -> Result<String, Error> {
    if authority.contains('@') {
        return Err(invalid("(hidden)", "a user name or password does not belong in an address"));
    }
    let authority: Authority = authority.parse().map_err(|_| invalid(text, "use host:port, as in 127.0.0.1:8000"))?;
    if authority.host().is_empty() {
        return Err(invalid(text, "the host is missing"));
    }
    let given = authority.as_str()[authority.host().len()..].strip_prefix(':');
    match (given, authority.port_u16()) {
        (None, _) => Ok(format!("{}:{port}", authority.host())),
        (Some(_), Some(given)) => Ok(format!("{}:{given}", authority.host())),
        (Some(_), None) => Err(invalid(text, "the port is a number from 1 to 65535")),
    }
}

fn prefix(text: &str, path: &str) -> Result<String, Error> {
    if path.contains(['?', '#']) {
        return Err(invalid(text, "a query does not belong in an address"));
    }
    let path = path.trim_end_matches('/');
    Ok(path.strip_suffix(WEBSOCKET_PATH).unwrap_or(path).to_owned())
}

fn invalid(text: &str, problem: &'static str) -> Error {
    Error::Address { address: text.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, websocket: &str, api: &str) {
        let address = Address::parse(text).unwrap();
        assert_eq!((address.websocket_url().as_str(), address.api_url("info").as_str()), (websocket, api), "{text}");
    }

    #[test]
    fn what_people_type_is_understood() {
        let (socket, api) = ("ws://127.0.0.1:8000/connection/websocket", "http://127.0.0.1:8000/api/info");
        check("127.0.0.1:8000", socket, api);
        check("127.0.0.1", socket, api);
        check("http://127.0.0.1:8000/", socket, api);
        check("ws://127.0.0.1:8000/connection/websocket", socket, api);
        check("HTTP://hub.example", "ws://hub.example:80/connection/websocket", "http://hub.example:80/api/info");
        check("http://h/hub/", "ws://h:80/hub/connection/websocket", "http://h:80/hub/api/info");
        check("[::1]:8000", "ws://[::1]:8000/connection/websocket", "http://[::1]:8000/api/info");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["", ":8000", "host:", "host:port", "host:70000", "ftp://h", "a b", "h/x?key=1"] {
            assert!(matches!(Address::parse(text), Err(Error::Address { .. })), "{text}");
        }
    }

    #[test]
    fn a_certificate_has_to_bear_the_host() {
        check("https://h", "wss://h:443/connection/websocket", "https://h:443/api/info");
        check("wss://h:8000", "wss://h:8000/connection/websocket", "https://h:8000/api/info");
        for (text, tls, host) in [
            ("https://hub.example", true, "hub.example"),
            ("wss://[::1]:8000", true, "::1"),
            ("http://127.0.0.1", false, "127.0.0.1"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.is_tls(), address.host()), (tls, host));
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        let error = Address::parse("http://user:geheim@h").unwrap_err().to_string();
        assert!(!error.contains("geheim"), "{error}");
    }
}
