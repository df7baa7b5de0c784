//! Who may call: keys in a header.
//!
//! A key is never taken from the query, where proxies and histories keep it. A header `X-API-Key` decides alone:
//! if it is wrong, a right `Authorization` does not help.

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::caller::{Caller, Reason};
use crate::error::Failure;
use crate::key::Key;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SCHEME: &str = "apikey";

/// Who may call the server API.
#[derive(Debug, Clone)]
pub enum Authentication {
    /// Everyone who reaches it. For `dev`, which listens on loopback only and checks Host and Origin.
    Open,
    /// Who shows one of these keys. An empty list admits nobody.
    Keys(Vec<Key>),
}

impl Authentication {
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<Caller<'_>, (Reason, Failure)> {
        let Self::Keys(keys) = self else { return Ok(Caller::Anyone) };
        let shown = shown(headers).map_err(|failure| (Reason::NoKey, failure))?;
        let unknown = || Failure::unauthorized("the key is none of those in api.keys and api.named_keys");
        find(keys, shown).map(Caller::Key).ok_or_else(|| (Reason::UnknownKey, unknown()))
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
    let missing = || {
        Failure::unauthorized(
            "send one of api.keys or api.named_keys as X-API-Key: KEY or as Authorization: apikey KEY",
        )
    };
    let (scheme, key) = text(headers.get(AUTHORIZATION).ok_or_else(missing)?)?.split_once(' ').ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case(SCHEME) { Ok(key.trim()) } else { Err(missing()) }
}

fn text(value: &HeaderValue) -> Result<&str, Failure> {
    value.to_str().map_err(|_| Failure::unauthorized("the key has characters that are not ASCII"))
}

/// Compares with every key, found or not, so that the time does not tell which one came close.
fn find<'a>(keys: &'a [Key], shown: &str) -> Option<&'a Key> {
    keys.iter().fold(None, |found, key| if key.is(shown) { Some(key) } else { found })
}

#[cfg(test)]
mod tests {
    use fanfare_auth::Secret;

    use super::*;

    fn named(name: &str, active: &[&str]) -> Key {
        let active = active.iter().map(|text| Secret::new((*text).to_owned())).collect();
        Key { name: name.into(), ..Key::with_all_rights(active) }
    }

    fn keys() -> Authentication {
        Authentication::Keys(vec![named("one", &["first key"]), named("two", &["second-key", "previous-key"])])
    }

    #[test]
    fn a_caller_has_the_rights_of_the_key_that_it_shows() {
        for (shown, name) in [("first key", "one"), ("second-key", "two"), ("previous-key", "two")] {
            let mut headers = HeaderMap::new();
            headers.insert(API_KEY, HeaderValue::from_static(shown));
            let auth = keys();
            let Ok(Caller::Key(key)) = auth.check(&headers) else { panic!("{shown} is refused") };
            assert_eq!(&*key.name, name);
        }
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
