//! Which client a trusted proxy names.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Each proxy writes down, at the end, from whom it got the request. Read from there, the first address that is no
/// trusted proxy is the client; what stands before it may be made up. If all are trusted, it is the foremost. What is
/// no address ends the list: nobody vouches for what stands before it.
pub(super) fn named(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let lines = headers.get_all(FORWARDED_FOR).iter().collect::<Vec<_>>();
    let mut client = None;
    for hop in lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        let Some(address) = std::str::from_utf8(hop).ok().and_then(address) else { break };
        client = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// An address, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        lines.iter().for_each(|line| _ = headers.append(FORWARDED_FOR, line.parse().unwrap()));
        let found = named(&headers, |address| address.to_string().starts_with("10."));
        assert_eq!(found.map(|address| address.to_string()).as_deref(), expected, "{lines:?}");
    }

    #[test]
    fn it_is_the_first_from_the_right_that_is_no_proxy() {
        check(&[], None);
        check(&["203.0.113.1"], Some("203.0.113.1"));
        check(&["203.0.113.1, 10.0.0.1"], Some("203.0.113.1"));
        check(&["6.6.6.6, 203.0.113.1,10.0.0.1 , 10.0.0.2"], Some("203.0.113.1"));
        check(&["6.6.6.6", "203.0.113.1", "10.0.0.1"], Some("203.0.113.1"));
        check(&["10.0.0.2, 10.0.0.1"], Some("10.0.0.2"));
        check(&["2001:db8::1"], Some("2001:db8::1"));
        check(&["[2001:db8::1]:443"], Some("2001:db8::1"));
        check(&["203.0.113.1:5000"], Some("203.0.113.1"));
    }

    #[test]
    fn nobody_vouches_for_what_stands_before_something_else() {
        check(&["203.0.113.1, unknown"], None);
        check(&["203.0.113.1, unknown, 10.0.0.1"], Some("10.0.0.1"));
        check(&["203.0.113.1, "], None);
        check(&[""], None);
    }
}
