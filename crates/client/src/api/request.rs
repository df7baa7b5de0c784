//! What the server API takes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{Error, HistoryQuery};

/// A publish.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Publish {
    /// The channel.
    pub channel: String,
    data: Box<RawValue>,
    /// Its options.
    #[serde(flatten)]
    pub options: PublishOptions,
}

/// A publish to many channels.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Broadcast {
    /// The channels.
    pub channels: Vec<String>,
    data: Box<RawValue>,
    /// Its options.
    #[serde(flatten)]
    pub options: PublishOptions,
}

/// What can be said beside channel and data.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PublishOptions {
    /// Deliver live only although the channel keeps history.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_history: bool,
    /// Tags to carry along.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// A repeated publish with the same key within five minutes does nothing and returns the first result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// A publish whose version is not above the highest one seen is ignored. Needs history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Versions of different epochs are not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_epoch: Option<String>,
}

impl Publish {
    /// Publishes JSON text as it is.
    pub fn json(channel: &str, data: &str) -> Result<Self, Error> {
        Ok(Self { channel: channel.to_owned(), data: raw(data)?, options: PublishOptions::default() })
    }

    /// Keeps the node from publishing twice when this is sent twice.
    #[must_use]
    pub fn idempotency_key(mut self, key: &str) -> Self {
        self.options.idempotency_key = Some(key.to_owned());
        self
    }
}

impl Broadcast {
    /// Publishes JSON text as it is.
    pub fn json<C: Into<String>>(channels: impl IntoIterator<Item = C>, data: &str) -> Result<Self, Error> {
        let channels = channels.into_iter().map(Into::into).collect();
        Ok(Self { channels, data: raw(data)?, options: PublishOptions::default() })
    }
}

/// Which connections an operation is for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Target {
    /// Those of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Only this connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

impl Target {
    /// All connections of a user.
    pub fn user(user: &str) -> Self {
        Self { user: Some(user.to_owned()), client: None }
    }
}

/// A subscription made by the server.
#[derive(Debug, Clone, Serialize)]
pub struct Subscribe {
    /// Whose.
    #[serde(flatten)]
    pub target: Target,
    /// To what.
    pub channel: String,
}

/// An end of connections.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Disconnect {
    /// Whose.
    #[serde(flatten)]
    pub target: Target,
    /// Connections that stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub whitelist: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect: Option<Close>,
}

#[derive(Debug, Clone, Serialize)]
struct Close {
    code: u32,
    reason: String,
}

impl Disconnect {
    /// With the node's own code: 3503, after which clients stay away.
    pub fn new(target: Target) -> Self {
        Self { target, whitelist: Vec::new(), disconnect: None }
    }

    /// With a code from 3000 to 4999 and a reason of at most 123 bytes. Clients come back after 3000 to 3499
    /// and 4000 to 4499.
    #[must_use]
    pub fn code(mut self, code: u32, reason: &str) -> Self {
        self.disconnect = Some(Close { code, reason: reason.to_owned() });
        self
    }
}

/// Another expiry of connections.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Refresh {
    /// Whose.
    #[serde(flatten)]
    pub target: Target,
    /// Expire them now.
    #[serde(skip_serializing_if = "is_false")]
    pub expired: bool,
    /// When they expire, in seconds since 1970; without it never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<i64>,
}

/// A block of a user.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Block {
    /// Whom.
    pub user: String,
    /// When it ends, in seconds since 1970; without it when it is taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<u64>,
}

/// A revocation of one token.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Revoke {
    /// The token's id: its claim `jti`.
    pub uid: String,
    /// When it is forgotten, in seconds since 1970; without it when the token cannot be good any more, if the node knows
    /// when that is, else when it is taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<u64>,
}

/// A revocation of tokens by their age.
#[derive(Debug, Clone, Default)]
pub struct Invalidate {
    /// Those of this user; `None` of everybody.
    pub user: Option<String>,
    /// Only subscription tokens for this channel.
    pub channel: Option<String>,
    /// Those issued before this time, in seconds since 1970; without it those issued until now.
    pub issued_before: Option<u64>,
    /// When it is forgotten; see [`Revoke::expire_at`].
    pub expire_at: Option<u64>,
}

impl Serialize for Invalidate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            user: Option<&'a str>,
            #[serde(skip_serializing_if = "is_false")]
            all_users: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            channel: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            issued_before: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            expire_at: Option<u64>,
        }
        let Self { user, channel, issued_before, expire_at } = self;
        let (user, channel) = (user.as_deref(), channel.as_deref());
        let (issued_before, expire_at) = (*issued_before, *expire_at);
        Written { user, all_users: user.is_none(), channel, issued_before, expire_at }.serialize(serializer)
    }
}

/// Which revocations to list.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RevocationQuery {
    /// Those of this kind: `user`, `token`, `user_tokens` or `all_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Those of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// At most so many; 1,000 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct User<'a> {
    pub(super) user: &'a str,
}

#[derive(Serialize)]
pub(super) struct OnChannel<'a> {
    #[serde(flatten)]
    pub(super) target: &'a Target,
    pub(super) channel: &'a str,
}

#[derive(Serialize)]
pub(super) struct Channel<'a> {
    pub(super) channel: &'a str,
}

#[derive(Serialize)]
pub(super) struct Pattern<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pattern: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Nothing {}

#[derive(Serialize)]
pub(super) struct History<'a> {
    channel: &'a str,
    limit: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Since<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    reverse: bool,
}

#[derive(Serialize)]
struct Since<'a> {
    offset: u64,
    epoch: &'a str,
}

impl<'a> History<'a> {
    pub(super) fn new(channel: &'a str, query: &'a HistoryQuery) -> Self {
        let since = query.since.as_ref().map(|since| Since { offset: since.offset, epoch: &since.epoch });
        Self { channel, limit: query.limit, since, reverse: query.reverse }
    }
}

fn raw(data: &str) -> Result<Box<RawValue>, Error> {
    RawValue::from_string(data.to_owned()).map_err(|error| Error::NotJson(error.to_string()))
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StreamPosition;

    #[track_caller]
    fn check(request: &impl Serialize, json: &str) {
        assert_eq!(serde_json::to_string(request).unwrap(), json);
    }

    #[test]
    fn requests_say_what_was_chosen_and_no_more() {
        check(&Publish::json("news", r#"{ "a":1 }"#).unwrap(), r#"{"channel":"news","data":{ "a":1 }}"#);
        let once = Publish::json("news", "1").unwrap().idempotency_key("k");
        check(&once, r#"{"channel":"news","data":1,"idempotency_key":"k"}"#);
        check(&Broadcast::json(["a", "b"], "null").unwrap(), r#"{"channels":["a","b"],"data":null}"#);
        check(&Disconnect::new(Target::user("42")), r#"{"user":"42"}"#);
        let banned = Disconnect::new(Target::user("42")).code(4500, "banned");
        check(&banned, r#"{"user":"42","disconnect":{"code":4500,"reason":"banned"}}"#);
        check(&Subscribe { target: Target::user("42"), channel: "a".into() }, r#"{"user":"42","channel":"a"}"#);
        check(&Refresh { expire_at: Some(9), ..Refresh::default() }, r#"{"expire_at":9}"#);
        check(&Block { user: "42".into(), expire_at: None }, r#"{"user":"42"}"#);
        check(&Revoke { uid: "t".into(), expire_at: Some(9) }, r#"{"uid":"t","expire_at":9}"#);
        check(
            &Invalidate { issued_before: Some(7), ..Invalidate::default() },
            r#"{"all_users":true,"issued_before":7}"#,
        );
        let of_user = Invalidate { user: Some("42".into()), channel: Some("a".into()), ..Invalidate::default() };
        check(&of_user, r#"{"user":"42","channel":"a"}"#);
        check(&RevocationQuery::default(), "{}");
        check(&Pattern { pattern: None }, "{}");
        check(&Nothing {}, "{}");
    }

    #[test]
    fn history_says_its_limit_and_its_begin() {
        let query = HistoryQuery { limit: -1, since: Some(StreamPosition::new(5, "e")), reverse: true };
        let json = r#"{"channel":"news","limit":-1,"since":{"offset":5,"epoch":"e"},"reverse":true}"#;
        check(&History::new("news", &query), json);
    }

    #[test]
    fn data_that_is_not_json_is_refused() {
        for data in ["", "hello", "{", "1 2"] {
            assert!(matches!(Publish::json("news", data), Err(Error::NotJson(_))), "{data}");
        }
    }
}
