//! Which web pages may talk to a node.
//!
//! A browser says in `Origin` which page a request comes from; programs send none. A production node lets pages of
//! its own host and of `listen.allowed_origins` open WebSockets, and answers to the names in `listen.allowed_hosts`, if
//! there are any. `fanfare dev`, which asks for no credentials,
//! also checks the `Host` of every request: a foreign page that made its own name resolve to this machine would
//! otherwise be of "the same host".

use std::net::Ipv4Addr;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, StatusCode};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How a request came to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Without TLS; there may be a proxy that does it.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// What a proxy says; of a list nobody knows which of its hops is meant.
    pub(crate) fn named(headers: &HeaderMap) -> Option<Self> {
        match headers.get(FORWARDED_PROTO)?.as_bytes() {
            b"http" => Some(Self::Http),
            b"https" => Some(Self::Https),
            _ => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that browsers leave out.
    fn default_port(self) -> &'static str {
        match self {
            Self::Http => ":80",
            Self::Https => ":443",
        }
    }
}

/// Whether a page of this origin may connect. Without a scheme the node's own host counts with either: a proxy may do
/// TLS in front.
pub(crate) fn is_allowed(headers: &HeaderMap, scheme: Option<Scheme>, allowed: &[String]) -> bool {
    let mut origins = headers.get_all(ORIGIN).into_iter();
    let Some(origin) = origins.next() else { return true };
    if allowed.iter().any(|allowed| allowed == "*") {
        return true;
    }
    let Ok(origin) = origin.to_str().map(str::to_ascii_lowercase) else { return false };
    let is_own = || match scheme {
        Some(scheme) => is_same_host(headers, scheme, &origin),
        None => [Scheme::Http, Scheme::Https].into_iter().any(|scheme| is_same_host(headers, scheme, &origin)),
    };
    origins.next().is_none() && (is_own() || allowed.iter().any(|allowed| fits(&origin, allowed)))
}

/// Whether the page came from the host that the request is for.
fn is_same_host(headers: &HeaderMap, scheme: Scheme, origin: &str) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
    let served_by = origin.strip_prefix(scheme.text()).and_then(|rest| rest.strip_prefix("://"));
    let host = host.as_deref().map(|host| host.strip_suffix(scheme.default_port()).unwrap_or(host));
    host.is_some() && served_by == host
}

/// Whether an origin is the one that is allowed, or has one name in place of the star.
fn fits(origin: &str, allowed: &str) -> bool {
    let Some((scheme, domain)) = allowed.split_once("*") else { return origin == allowed };
    let name = origin.strip_prefix(scheme).and_then(|rest| rest.strip_suffix(domain));
    name.is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    })
}

/// Whether a request for this host may be answered; without any in the list all are.
pub(crate) fn is_served(headers: &HeaderMap, allowed_hosts: &[String]) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
    allowed_hosts.is_empty() || host.is_some_and(|host| allowed_hosts.iter().any(|allowed| allowed == name_of(&host)))
}

/// The answer to a page that may not connect.
pub(crate) fn refuse() -> Response {
    let text = "pages of this origin may not connect here: add it to allowed_origins in the [listen] section of the \
                node's configuration (listen.allowed_origins)\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

/// The answer to a request for another host.
pub(crate) fn refuse_host() -> Response {
    let text = "this node does not answer to this Host: add its name to allowed_hosts in the [listen] section of the \
                node's configuration (listen.allowed_hosts)\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// A `Host` without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Lets only requests to this machine by its own names pass, and only from pages that it served itself.
pub(crate) async fn guard_loopback(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_loopback(host) {
        let text = "fanfare dev answers to 127.0.0.1, [::1] and localhost only: for other names run `fanfare serve`\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    if !is_allowed(headers, None, &[]) {
        let text = "fanfare dev needs no credentials and so takes nothing from foreign web pages\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Whether a `Host` names this machine.
fn is_loopback(host: &str) -> bool {
    let name = name_of(host);
    let is_address = |name: &str| name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    name.eq_ignore_ascii_case("localhost") || name == "[::1]" || is_address(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_by(scheme: Option<Scheme>, host: &str, origin: Option<&str>, allowed: &[&str], expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        let allowed: Vec<String> = allowed.iter().map(|&origin| origin.to_owned()).collect();
        assert_eq!(is_allowed(&headers, scheme, &allowed), expected, "{scheme:?} {host} {origin:?} {allowed:?}");
    }

    #[track_caller]
    fn check(host: &str, origin: Option<&str>, allowed: &[&str], expected: bool) {
        check_by(None, host, origin, allowed, expected);
    }

    #[test]
    fn programs_and_pages_of_the_same_host_may_connect() {
        check("hub.example", None, &[], true);
        check("hub.example", Some("https://hub.example"), &[], true);
        check("Hub.Example:8000", Some("http://hub.example:8000"), &[], true);
        check("hub.example:443", Some("https://hub.example"), &[], true);
        check("hub.example:443", Some("http://hub.example"), &[], false);
    }

    #[test]
    fn where_the_scheme_is_known_the_own_host_has_it() {
        check_by(Some(Scheme::Https), "hub.example", Some("https://hub.example"), &[], true);
        check_by(Some(Scheme::Https), "hub.example", Some("http://hub.example"), &[], false);
        check_by(Some(Scheme::Http), "hub.example", Some("https://hub.example"), &[], false);
        check_by(Some(Scheme::Https), "hub.example", Some("http://hub.example"), &["http://hub.example"], true);
    }

    #[test]
    fn other_pages_may_not_unless_they_are_listed() {
        check("hub.example", Some("https://evil.example"), &[], false);
        check("hub.example", Some("https://hub.example.evil"), &[], false);
        check("hub.example", Some("https://hub.example:444"), &[], false);
        check("hub.example", Some("null"), &[], false);
        check("hub.example", Some("https://APP.example"), &["https://app.example"], true);
        check("hub.example", Some("https://app.example.evil"), &["https://app.example"], false);
        check("hub.example", Some("https://any.example"), &["*"], true);
    }

    #[test]
    fn a_star_is_one_name() {
        let allowed = &["https://*.example.com"];
        check("hub", Some("https://app.example.com"), allowed, true);
        check("hub", Some("https://A-1.Example.com"), allowed, true);
        for origin in [
            "https://example.com",
            "https://.example.com",
            "https://a.b.example.com",
            "https://evil-example.com",
            "https://app.example.com.evil",
            "https://app.example.com:444",
            "https://evil/.example.com",
            "https://user@app.example.com",
            "http://app.example.com",
            "null",
        ] {
            check("hub", Some(origin), allowed, false);
        }
        check("hub", Some("https://app.example.com:444"), &["https://*.example.com:444"], true);
    }

    #[test]
    fn two_origins_are_none() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "hub".parse().unwrap());
        headers.append(ORIGIN, "https://app.example".parse().unwrap());
        headers.append(ORIGIN, "https://app.example".parse().unwrap());
        assert!(!is_allowed(&headers, None, &["https://app.example".to_owned()]));
    }

    #[test]
    fn a_proxy_names_one_scheme_or_none() {
        for (text, expected) in
            [("https", Some(Scheme::Https)), ("http", Some(Scheme::Http)), ("https, http", None), ("", None)]
        {
            let headers = HeaderMap::from_iter([(FORWARDED_PROTO, text.parse().unwrap())]);
            assert_eq!(Scheme::named(&headers), expected, "{text}");
        }
    }

    #[test]
    fn a_list_of_hosts_is_for_names_without_ports() {
        let is_served = |host: &str, allowed: &[&str]| {
            let allowed: Vec<String> = allowed.iter().map(|&host| host.to_owned()).collect();
            super::is_served(&HeaderMap::from_iter([(HOST, host.parse().unwrap())]), &allowed)
        };
        assert!(is_served("anything", &[]));
        for host in ["hub.example", "HUB.example:8000", "[::1]:80", "[::1]"] {
            assert!(is_served(host, &["hub.example", "[::1]"]), "{host}");
        }
        for host in ["hub.example.evil", "evil.hub.example", "", ":80", "hub.example:80:80", "[::2]"] {
            assert!(!is_served(host, &["hub.example", "[::1]"]), "{host}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "127.9.9.9", "[::1]", "[::1]:8000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil", "10.0.0.1", "[::2]:80", "::1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
