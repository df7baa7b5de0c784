//! What a backend answers, judged (H6). A refusal says what is wrong and repeats nothing of the answer.
//!
//! An answer is an object with `result`, or with `error` or `disconnect`, which count before it. Fields that are not
//! known are ignored; one of a wrong type makes the answer useless.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fanfare_auth::limits::DATE_SECONDS_MAX;
use fanfare_auth::{ConnectionClaims, ServerSubscription};
use fanfare_broker::Version;
use fanfare_gateway::{Connected, Payload, Publishing, Refreshed, Refusal, Subscribed};
use fanfare_protocol::{Channel, Disconnect, ErrorReply, PayloadLimits, SubscriptionOverrides, payload};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::limits::{ERROR_MESSAGE_BYTES_MAX, NAME_BYTES_MAX, TAGS_BYTES_MAX};

/// Codes of errors that an application may give.
const ERROR_CODES: std::ops::RangeInclusive<u32> = 400..=1999;

/// Codes of disconnects that an application may give.
const DISCONNECT_CODES: std::ops::RangeInclusive<u16> = 4000..=4999;

/// Why an answer grants nothing.
#[derive(Debug)]
pub(crate) enum NotGranted {
    /// The backend says so.
    Refused(Refusal),
    /// It cannot be used.
    Invalid(Cow<'static, str>),
}

fn invalid(why: impl Into<Cow<'static, str>>) -> NotGranted {
    NotGranted::Invalid(why.into())
}

/// Raw JSON; `null` counts as absent.
type Raw = Option<Box<RawValue>>;

#[derive(Deserialize)]
struct Answer {
    result: Raw,
    error: Option<ErrorAnswer>,
    disconnect: Option<DisconnectAnswer>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    code: u32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    temporary: bool,
}

#[derive(Deserialize)]
struct DisconnectAnswer {
    code: u16,
    #[serde(default)]
    reason: String,
}

/// The result of an answer, in its type; `None` without one.
fn result<T: DeserializeOwned>(text: &[u8]) -> Result<Option<T>, NotGranted> {
    let answer: Answer =
        object(text).ok_or_else(|| invalid("the answer is not an object with result, error or disconnect"))?;
    if let Some(disconnect) = answer.disconnect {
        return Err(disconnect.judge());
    }
    if let Some(error) = answer.error {
        return Err(error.judge());
    }
    let Some(result) = answer.result else { return Ok(None) };
    let typed = object(result.get().as_bytes());
    typed.map(Some).ok_or_else(|| invalid("the result is no object, or a field of it has a wrong type"))
}

/// The result of an answer that has to have one.
fn needed<T: DeserializeOwned>(text: &[u8]) -> Result<T, NotGranted> {
    result(text)?.ok_or_else(|| invalid("the answer has neither result nor error nor disconnect"))
}

/// Without the first check a struct would also be read from an array, by position.
fn object<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let is_object = text.trim_ascii_start().first() == Some(&b'{');
    is_object.then(|| serde_json::from_slice(text).ok()).flatten()
}

impl ErrorAnswer {
    fn judge(self) -> NotGranted {
        if !ERROR_CODES.contains(&self.code) {
            return invalid(format!("its error has the code {}; an application has 400 to 1999", self.code));
        }
        if self.message.len() > ERROR_MESSAGE_BYTES_MAX {
            return invalid(format!("its error has a message over {ERROR_MESSAGE_BYTES_MAX} bytes"));
        }
        let Self { code, message, temporary } = self;
        NotGranted::Refused(Refusal::Error(ErrorReply { code, message, temporary }))
    }
}

impl DisconnectAnswer {
    fn judge(self) -> NotGranted {
        if !DISCONNECT_CODES.contains(&self.code) {
            return invalid(format!("its disconnect has the code {}; an application has 4000 to 4999", self.code));
        }
        if self.reason.len() > Disconnect::REASON_BYTES_MAX {
            return invalid(format!("its disconnect has a reason over {} bytes", Disconnect::REASON_BYTES_MAX));
        }
        NotGranted::Refused(Refusal::Disconnect(Disconnect { code: self.code, reason: self.reason.into() }))
    }
}

#[derive(Deserialize)]
struct ConnectResult {
    user: Option<String>,
    expire_at: Option<u64>,
    info: Raw,
    b64info: Option<String>,
    data: Raw,
    b64data: Option<String>,
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, Option<Sub>>>,
    meta: Raw,
}

#[derive(Default, Deserialize)]
struct Sub {
    info: Raw,
    b64info: Option<String>,
    data: Raw,
    b64data: Option<String>,
    #[serde(rename = "override")]
    overrides: Option<SubscriptionOverrides>,
}

#[derive(Deserialize)]
struct RefreshResult {
    #[serde(default)]
    expired: bool,
    expire_at: Option<u64>,
    info: Raw,
    b64info: Option<String>,
    meta: Raw,
}

#[derive(Deserialize)]
struct SubscribeResult {
    expire_at: Option<u64>,
    info: Raw,
    b64info: Option<String>,
    data: Raw,
    b64data: Option<String>,
    #[serde(rename = "override")]
    overrides: Option<SubscriptionOverrides>,
}

#[derive(Deserialize)]
struct PublishResult {
    data: Raw,
    b64data: Option<String>,
    #[serde(default)]
    skip_history: bool,
    tags: Option<BTreeMap<String, String>>,
    idempotency_key: Option<String>,
    version: Option<u64>,
    version_epoch: Option<String>,
}

#[derive(Deserialize)]
struct RpcResult {
    data: Raw,
    b64data: Option<String>,
}

/// Judges answers by these limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge {
    pub(crate) payload: PayloadLimits,
}

impl Judge {
    /// Without a `user` there are no credentials; an empty one is the anonymous user.
    pub(crate) fn connect(self, text: &[u8]) -> Result<Connected, NotGranted> {
        let result: Option<ConnectResult> = result(text)?;
        let known = result.and_then(|mut result| result.user.take().map(|user| (user, result)));
        let Some((user, result)) = known else {
            return Err(NotGranted::Refused(Refusal::NoCredentials));
        };
        let subs = self.subscriptions(result.subs.unwrap_or_default(), result.channels.unwrap_or_default())?;
        let claims = ConnectionClaims {
            user: name(user, "user")?,
            expire_at: date(result.expire_at)?,
            info: self.json(result.info, result.b64info, "info")?,
            subs,
            rights: None,
            token: None,
            meta: self.json(result.meta, None, "meta")?,
        };
        Ok(Connected { claims, data: self.json(result.data, result.b64data, "data")? })
    }

    /// `subs` beats `channels`, as in tokens; empty names are skipped.
    fn subscriptions(
        self,
        subs: BTreeMap<String, Option<Sub>>,
        channels: Vec<String>,
    ) -> Result<BTreeMap<Channel, ServerSubscription>, NotGranted> {
        let wanted: Vec<(String, Option<Sub>)> = if subs.is_empty() {
            channels.into_iter().map(|name| (name, None)).collect()
        } else {
            subs.into_iter().collect()
        };
        let named = wanted.into_iter().filter(|(name, _)| !name.is_empty());
        named.map(|(name, sub)| Ok((channel(&name)?, self.subscription(sub.unwrap_or_default())?))).collect()
    }

    fn subscription(self, sub: Sub) -> Result<ServerSubscription, NotGranted> {
        Ok(ServerSubscription {
            info: self.json(sub.info, sub.b64info, "info of a subscription")?,
            data: self.json(sub.data, sub.b64data, "data of a subscription")?,
            overrides: sub.overrides.unwrap_or_default(),
        })
    }

    pub(crate) fn refresh(self, text: &[u8]) -> Result<Refreshed, NotGranted> {
        let result: RefreshResult = needed(text)?;
        let given = |bytes: Bytes| (!bytes.is_empty()).then_some(bytes);
        Ok(Refreshed {
            expired: result.expired,
            expire_at: date(result.expire_at)?,
            info: given(self.json(result.info, result.b64info, "info")?),
            meta: given(self.json(result.meta, None, "meta")?),
        })
    }

    pub(crate) fn subscribe(self, text: &[u8]) -> Result<Subscribed, NotGranted> {
        let result: SubscribeResult = needed(text)?;
        Ok(Subscribed {
            info: self.json(result.info, result.b64info, "info")?,
            data: self.json(result.data, result.b64data, "data")?,
            expire_at: date(result.expire_at)?,
            overrides: result.overrides.unwrap_or_default(),
        })
    }

    pub(crate) fn publish(self, text: &[u8]) -> Result<Publishing, NotGranted> {
        let result: PublishResult = needed(text)?;
        let tags = result.tags.unwrap_or_default();
        if tags.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > TAGS_BYTES_MAX {
            return Err(invalid(format!("the tags have over {TAGS_BYTES_MAX} bytes")));
        }
        let payload = self.payload(result.data, result.b64data)?;
        let epoch = name(result.version_epoch.unwrap_or_default(), "version_epoch")?;
        let key = name(result.idempotency_key.unwrap_or_default(), "idempotency_key")?;
        Ok(Publishing {
            payload: (!payload.data.is_empty()).then_some(payload),
            skip_history: result.skip_history,
            tags,
            idempotency_key: (!key.is_empty()).then_some(key),
            version: result.version.filter(|number| *number > 0).map(|number| Version { number, epoch }),
        })
    }

    pub(crate) fn rpc(self, text: &[u8]) -> Result<Payload, NotGranted> {
        let result: RpcResult = needed(text)?;
        self.payload(result.data, result.b64data)
    }

    /// A payload, plain or as base64; the latter wins.
    fn payload(self, plain: Raw, base64: Option<String>) -> Result<Payload, NotGranted> {
        let data = bytes(plain, base64, "data")?;
        let json = !data.is_empty()
            && payload::inspect(&data, &self.payload).map_err(|_| invalid("its data is too large or too deep"))?;
        Ok(Payload { data, json })
    }

    /// JSON for clients, or nothing.
    fn json(self, plain: Raw, base64: Option<String>, field: &str) -> Result<Bytes, NotGranted> {
        let data = bytes(plain, base64, field)?;
        if data.is_empty() {
            return Ok(data);
        }
        match payload::inspect(&data, &self.payload) {
            Ok(true) => Ok(data),
            Ok(false) => Err(invalid(format!("the field {field} does not hold JSON"))),
            Err(_) => Err(invalid(format!("the field {field} is too large or too deep"))),
        }
    }
}

fn bytes(plain: Raw, base64: Option<String>, field: &str) -> Result<Bytes, NotGranted> {
    match base64.filter(|encoded| !encoded.is_empty()) {
        Some(encoded) => match STANDARD.decode(encoded) {
            Ok(decoded) => Ok(decoded.into()),
            Err(_) => Err(invalid(format!("the field {field} is not base64"))),
        },
        None => Ok(plain.map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())).unwrap_or_default()),
    }
}

fn name(text: String, field: &str) -> Result<String, NotGranted> {
    if text.len() > NAME_BYTES_MAX {
        return Err(invalid(format!("the field {field} has over {NAME_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn channel(name: &str) -> Result<Channel, NotGranted> {
    Channel::parse(name).map_err(|_| invalid("a channel name is not a valid one"))
}

/// 0 is never.
fn date(seconds: Option<u64>) -> Result<Option<u64>, NotGranted> {
    match seconds {
        None | Some(0) => Ok(None),
        Some(at) if at <= DATE_SECONDS_MAX => Ok(Some(at)),
        Some(_) => Err(invalid("expire_at is not a Unix time in seconds (is it in milliseconds?)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUDGE: Judge = Judge { payload: PayloadLimits { bytes_max: 64, depth_max: 4 } };

    #[track_caller]
    fn refused<T: std::fmt::Debug>(judged: Result<T, NotGranted>) -> Refusal {
        match judged {
            Err(NotGranted::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn useless(text: &str) {
        let is_invalid = |judged: Result<(), NotGranted>| matches!(judged, Err(NotGranted::Invalid(_)));
        assert!(is_invalid(JUDGE.connect(text.as_bytes()).map(|_| ())), "connect: {text}");
        assert!(is_invalid(JUDGE.refresh(text.as_bytes()).map(|_| ())), "refresh: {text}");
        assert!(is_invalid(JUDGE.subscribe(text.as_bytes()).map(|_| ())), "subscribe: {text}");
        assert!(is_invalid(JUDGE.publish(text.as_bytes()).map(|_| ())), "publish: {text}");
        assert!(is_invalid(JUDGE.rpc(text.as_bytes()).map(|_| ())), "rpc: {text}");
    }

    #[test]
    fn what_is_no_answer_is_useless_for_every_hook() {
        for text in [
            "",
            "no JSON",
            "[]",
            "null",
            "5",
            r#"{"result":5}"#,
            r#"{"result":[]}"#,
            r#"[{"user":"42"},null,null]"#,
            r#"{"result":{"user":"42"},"result":{"user":"1"}}"#,
            r#"{"error":{}}"#,
            r#"{"error":{"code":"1000"}}"#,
            r#"{"error":{"code":-1}}"#,
            r#"{"error":{"code":100,"message":"internal"}}"#,
            r#"{"error":{"code":2000}}"#,
            r#"{"error":{"code":4294967696}}"#,
            r#"{"disconnect":{"code":3500,"reason":"x"}}"#,
            r#"{"disconnect":{"code":5000}}"#,
            r#"{"disconnect":{"code":70000}}"#,
            r#"{"result":{"user":"42"}"#,
        ] {
            useless(text);
        }
        useless(&format!(r#"{{"error":{{"code":400,"message":"{}"}}}}"#, "m".repeat(ERROR_MESSAGE_BYTES_MAX + 1)));
        useless(&format!(r#"{{"disconnect":{{"code":4000,"reason":"{}"}}}}"#, "r".repeat(124)));
        useless(&format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)));
    }

    #[test]
    fn an_answer_without_result_grants_nothing() {
        for text in ["{}", r#"{"result":null}"#, r#"{"other":1}"#] {
            assert!(matches!(JUDGE.publish(text.as_bytes()), Err(NotGranted::Invalid(_))), "{text}");
            assert!(matches!(JUDGE.subscribe(text.as_bytes()), Err(NotGranted::Invalid(_))), "{text}");
            assert_eq!(refused(JUDGE.connect(text.as_bytes())), Refusal::NoCredentials);
        }
        assert_eq!(refused(JUDGE.connect(br#"{"result":{}}"#)), Refusal::NoCredentials);
    }

    #[test]
    fn the_backends_own_refusals_come_before_a_result() {
        let text = br#"{"result":{"user":"42"},"error":{"code":1000,"message":"no","temporary":true}}"#;
        let error = ErrorReply { code: 1000, message: "no".to_owned(), temporary: true };
        assert_eq!(refused(JUDGE.connect(text)), Refusal::Error(error));
        let text = br#"{"error":{"code":1000},"disconnect":{"code":4501,"reason":"banned"}}"#;
        let disconnect = Disconnect { code: 4501, reason: "banned".into() };
        assert_eq!(refused(JUDGE.publish(text)), Refusal::Disconnect(disconnect));
    }

    #[test]
    fn a_connection_is_read_with_all_it_has() {
        let text = br#"{"result":{"user":"42","expire_at":1893456000,"info":{"n":1},"b64data":"eyJkIjoyfQ==",
            "channels":["ignored"],"meta":{"m":3},"caps":[],"subs":{"":{},"news":{"info":"i","override":{"presence":{"value":true}}},"box":null}}}"#;
        let connected = JUDGE.connect(text).unwrap();
        assert_eq!((connected.claims.user.as_str(), connected.claims.expire_at), ("42", Some(1_893_456_000)));
        assert_eq!(
            (&connected.claims.info[..], &connected.data[..], &connected.claims.meta[..]),
            (&br#"{"n":1}"#[..], &br#"{"d":2}"#[..], &br#"{"m":3}"#[..])
        );
        let names: Vec<_> = connected.claims.subs.keys().map(|channel| channel.as_str().to_owned()).collect();
        assert_eq!(names, ["box", "news"]);
        let news = &connected.claims.subs[&Channel::parse("news").unwrap()];
        assert_eq!((&news.info[..], news.overrides.presence), (&br#""i""#[..], Some(true)));
        let anonymous = JUDGE.connect(br#"{"result":{"user":"","expire_at":0,"channels":["a","","b"]}}"#).unwrap();
        assert_eq!(
            (anonymous.claims.user.as_str(), anonymous.claims.expire_at, anonymous.claims.subs.len()),
            ("", None, 2)
        );
    }

    #[test]
    fn fields_are_judged_as_claims_are() {
        for fields in [
            r#""expire_at":1893456000000"#,
            r#""expire_at":-1"#,
            r#""expire_at":"soon""#,
            r#""b64info":"not base64!""#,
            r#""b64info":"/wA=""#,
            r#""info":[[[[[1]]]]]"#,
            r#""info":"0123456789012345678901234567890123456789012345678901234567890123456789""#,
            r#""channels":["é"]"#,
            r#""channels":"news""#,
            r#""subs":{"ü":{}}"#,
            r#""subs":{"a":{"override":{"presence":true}}}"#,
            r#""user":"43""#,
        ] {
            let text = format!(r#"{{"result":{{"user":"42",{fields}}}}}"#);
            assert!(matches!(JUDGE.connect(text.as_bytes()), Err(NotGranted::Invalid(_))), "{fields}");
        }
        let long = format!(r#"{{"result":{{"user":"{}"}}}}"#, "u".repeat(NAME_BYTES_MAX + 1));
        assert!(matches!(JUDGE.connect(long.as_bytes()), Err(NotGranted::Invalid(_))));
    }

    #[test]
    fn a_publication_may_be_changed() {
        let text = br#"{"result":{"data":{"x":1},"skip_history":true,"tags":{"a":"b"},"idempotency_key":"k","version":7,"version_epoch":"e","delta":true}}"#;
        let publishing = JUDGE.publish(text).unwrap();
        assert_eq!(publishing.payload, Some(Payload { data: Bytes::from_static(br#"{"x":1}"#), json: true }));
        assert!(publishing.skip_history && publishing.tags["a"] == "b");
        assert_eq!(publishing.idempotency_key.as_deref(), Some("k"));
        assert_eq!(publishing.version, Some(Version { number: 7, epoch: "e".to_owned() }));
        let same = JUDGE.publish(br#"{"result":{}}"#).unwrap();
        assert!(same.payload.is_none() && same.version.is_none() && same.idempotency_key.is_none());
        let binary = JUDGE.publish(br#"{"result":{"b64data":"/wA="}}"#).unwrap();
        assert_eq!(binary.payload, Some(Payload { data: Bytes::from_static(b"\xff\x00"), json: false }));
        let large = format!(r#"{{"result":{{"data":"{}"}}}}"#, "x".repeat(64));
        assert!(matches!(JUDGE.publish(large.as_bytes()), Err(NotGranted::Invalid(_))));
    }

    #[test]
    fn a_refresh_says_whether_and_how_long() {
        let refreshed = JUDGE.refresh(br#"{"result":{"expire_at":5,"info":{"a":1}}}"#).unwrap();
        assert_eq!((refreshed.expired, refreshed.expire_at), (false, Some(5)));
        assert_eq!(refreshed.info.as_deref(), Some(&br#"{"a":1}"#[..]));
        assert!(JUDGE.refresh(br#"{"result":{"expired":true}}"#).unwrap().expired);
    }
}
