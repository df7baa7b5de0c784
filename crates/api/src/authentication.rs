//! Who may call: keys in a header.
//!
//! A key is never taken from the query, where proxies and histories keep it. A header `X-API-Key` decides alone:
//! if it is wrong, a right `Authorization` does not help.

use fanfare_auth::Secret;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::error::Failure;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SCHEME: &str = "apikey";

/// Who may call the server API.
#[derive(Debug, Clone)]
pub enum Authentication {
    /// Everyone who reaches it. For `dev`, which listens on loopback only and checks Host and Origin.
    Open,
    /// Who shows one of these keys. An empty list admits nobody.
    Keys(Vec<Secret>),
}

impl Authentication {
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let Self::Keys(keys) = self else { return Ok(()) };
        match shown(headers)? {
            key if is_one_of(keys, key) => Ok(()),
            _ => Err(Failure::unauthorized("the key is none of those in api.keys")),
        }
    }
}

/// The key in the headers.
fn shown(headers: &HeaderMap) -> Result<&str, Failure> {
    let mut given = headers.get_all(API_KEY).iter();
    if let Some(first) = given.next() {
        return match given.next() {
            None => text(first),
            Some(_) => Err(Failure::unauthorized("there is more than one X-API-Key header")),
        };
    }
    let missing = || Failure::unauthorized("send one of api.keys as X-API-Key: KEY or as Authorization: apikey KEY");
    let (scheme, key) = text(headers.get(AUTHORIZATION).ok_or_else(missing)?)?.split_once(' ').ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case(SCHEME) { Ok(key.trim()) } else { Err(missing()) }
}

fn text(value: &HeaderValue) -> Result<&str, Failure> {
    value.to_str().map_err(|_| Failure::unauthorized("the key has characters that are not ASCII"))
}

/// Compares with every key, found or not, so that the time does not tell which one came close.
fn is_one_of(keys: &[Secret], shown: &str) -> bool {
    keys.iter().fold(false, |found, key| key.matches(shown) | found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Authentication {
        Authentication::Keys(["first key", "second-key"].map(|key| Secret::new(key.to_owned())).into())
    }

    #[track_caller]
    fn check(auth: &Authentication, headers: &[(&'static str, &'static str)], admitted: bool) {
        let pairs =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        pairs.for_each(|(name, value)| _ = map.append(name, value));
        assert_eq!(auth.check(&map).is_ok(), admitted, "{headers:?}");
    }

    #[test]
    fn each_key_is_good_in_either_header() {
        check(&keys(), &[("x-api-key", "first key")], true);
        check(&keys(), &[("x-api-key", "second-key")], true);
        check(&keys(), &[("authorization", "apikey second-key")], true);
        check(&keys(), &[("authorization", "ApiKey first key")], true);
    }

    #[test]
    fn anything_else_is_refused() {
        check(&keys(), &[], false);
        check(&keys(), &[("x-api-key", "")], false);
        check(&keys(), &[("x-api-key", "second-ke")], false);
        check(&keys(), &[("x-api-key", "second-key2")], false);
        check(&keys(), &[("authorization", "second-key")], false);
        check(&keys(), &[("authorization", "apikey")], false);
        check(&keys(), &[("authorization", "Bearer second-key")], false);
        check(&keys(), &[("authorization", "apikeysecond-key")], false);
    }

    #[test]
    fn a_wrong_key_is_not_rescued_by_another_header() {
        check(&keys(), &[("x-api-key", "wrong"), ("authorization", "apikey second-key")], false);
        check(&keys(), &[("x-api-key", "wrong"), ("x-api-key", "second-key")], false);
        check(&keys(), &[("x-api-key", "second-key"), ("authorization", "apikey wrong")], true);
    }

    #[test]
    fn without_keys_nobody_is_admitted_unless_it_is_open() {
        check(&Authentication::Keys(Vec::new()), &[("x-api-key", "")], false);
        check(&Authentication::Open, &[], true);
        check(&Authentication::Open, &[("x-api-key", "any")], true);
    }
}
