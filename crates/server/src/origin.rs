//! Which web pages may talk to a node.
//!
//! A browser says in `Origin` which page a request comes from; programs send none. A production node lets pages of
//! its own host and of `listen.allowed_origins` open WebSockets. `fanfare dev`, which asks for no credentials,
//! also checks the `Host` of every request: a foreign page that made its own name resolve to this machine would
//! otherwise be of "the same host".

use std::net::Ipv4Addr;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, StatusCode};

/// Whether a page of this origin may connect.
pub(crate) fn is_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    if allowed.iter().any(|allowed| allowed == "*") {
        return true;
    }
    let Ok(origin) = origin.to_str().map(str::to_ascii_lowercase) else { return false };
    is_same_host(headers, &origin) || allowed.contains(&origin)
}

/// Whether the page came from the host that the request is for.
fn is_same_host(headers: &HeaderMap, origin: &str) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
    let served_by = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some() && served_by == host.as_deref()
}

/// The answer to a page that may not connect.
pub(crate) fn refuse() -> Response {
    let text = "pages of this origin may not connect here: add it to allowed_origins in the [listen] section of the \
                node's configuration\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

/// Lets only requests to this machine by its own names pass, and only from pages that it served itself.
pub(crate) async fn guard_loopback(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_loopback(host) {
        let text = "fanfare dev answers to 127.0.0.1, [::1] and localhost only: for other names run `fanfare serve`\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    if !is_allowed(headers, &[]) {
        let text = "fanfare dev needs no credentials and so takes nothing from foreign web pages\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Whether a `Host` names this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let is_address = |name: &str| name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    name.eq_ignore_ascii_case("localhost") || name == "[::1]" || is_address(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, origin: Option<&str>, allowed: &[&str], expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        let allowed: Vec<String> = allowed.iter().map(|&origin| origin.to_owned()).collect();
        assert_eq!(is_allowed(&headers, &allowed), expected, "{host} {origin:?} {allowed:?}");
    }

    #[test]
    fn programs_and_pages_of_the_same_host_may_connect() {
        check("hub.example", None, &[], true);
        check("hub.example", Some("https://hub.example"), &[], true);
        check("Hub.Example:8000", Some("http://hub.example:8000"), &[], true);
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
    fn only_names_of_this_machine_are_loopback() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "127.9.9.9", "[::1]", "[::1]:8000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil", "10.0.0.1", "[::2]:80", "::1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
