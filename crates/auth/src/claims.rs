//! What tokens say: from claims as they stand in a token to what they grant.
//!
//! Every claim that has a meaning here is taken as raw JSON first and judged under its own name, so that a
//! refusal says which claim is wrong without repeating what stood in it. Unknown claims are ignored.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use fanfare_protocol::{Channel, SubscriptionOverrides, payload};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::limits::{DATE_SECONDS_MAX, ROLES_MAX, TOKEN_PATTERNS_MAX};
use crate::{Allowed, Operation, Pattern, Rights, Roles, Rules, TokenError};

/// What a connection token grants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionClaims {
    /// The user id; `""` is the anonymous user.
    pub user: String,
    /// Unix time in seconds when the connection expires; `None` never.
    pub expire_at: Option<u64>,
    /// Connection info as JSON text, or empty.
    pub info: Bytes,
    /// Server-side subscriptions that the connection begins with.
    pub subs: BTreeMap<Channel, ServerSubscription>,
    /// What its roles and its own rules allow; `None` is nothing.
    pub rights: Option<Arc<Rights>>,
    /// Which token said all this; `None` if none did.
    pub token: Option<TokenId>,
}

/// What tells a token from others, and by which it can be revoked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenId {
    /// Its id (`jti`); `None` where it has none, or an empty one.
    pub id: Option<String>,
    /// Unix time in seconds when it was issued (`iat`); 0 if it does not say.
    pub issued_at: u64,
}

/// A server-side subscription in a connection token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerSubscription {
    /// Channel info as JSON text, or empty.
    pub info: Bytes,
    /// Data for the client as JSON text, or empty.
    pub data: Bytes,
    /// Options of this subscription alone.
    pub overrides: SubscriptionOverrides,
}

/// What a subscription token grants. The caller compares user, channel and client with its session's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionClaims {
    /// The user id; `""` is the anonymous user.
    pub user: String,
    /// The one channel that the token is for.
    pub channel: Channel,
    /// The one client id that the token is for; `None` leaves it open.
    pub client: Option<String>,
    /// Channel info as JSON text, or empty.
    pub info: Bytes,
    /// Data for the client as JSON text, or empty.
    pub data: Bytes,
    /// Unix time in seconds when the subscription expires; `None` never.
    pub expire_at: Option<u64>,
    /// Options of this subscription alone.
    pub overrides: SubscriptionOverrides,
    /// What else the subscriber may do in the channel.
    pub allowed: Allowed,
    /// Which token this is.
    pub token: TokenId,
}

/// A claim as it stands in the token; `null` counts as absent.
type Claim = Option<Box<RawValue>>;

/// The claims of either kind of token, unjudged but for their being one JSON object without duplicates.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object of claims")]
pub(crate) struct Claims {
    sub: Claim,
    exp: Claim,
    nbf: Claim,
    iat: Claim,
    jti: Claim,
    aud: Claim,
    iss: Claim,
    expire_at: Claim,
    info: Claim,
    b64info: Claim,
    data: Claim,
    b64data: Claim,
    channels: Claim,
    subs: Claim,
    channel: Claim,
    client: Claim,
    #[serde(rename = "override")]
    overrides: Claim,
    rights: Claim,
    allow: Claim,
    /// All of it as text, where a claim of another name may be asked for.
    #[serde(skip)]
    text: Vec<u8>,
}

/// An object of JSON, each name once.
struct Object(BTreeMap<String, Box<RawValue>>);

/// What the claim `rights` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRules {
    #[serde(default)]
    subscribe: Vec<String>,
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    read_history: Vec<String>,
    #[serde(default)]
    read_presence: Vec<String>,
}

/// `aud` is one name or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

/// One entry of `subs`.
#[derive(Default, Deserialize)]
struct Sub {
    info: Claim,
    b64info: Claim,
    data: Claim,
    b64data: Claim,
    #[serde(rename = "override")]
    overrides: Claim,
}

impl Claims {
    /// The claims in the middle part of a token.
    pub(crate) fn decode(encoded: &str) -> Result<Self, TokenError> {
        let text = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| invalid("its claims are not base64url"))?;
        let refused = || invalid("its claims are not one JSON object without duplicates");
        // Without this a struct would also be read from an array, by position.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(refused());
        }
        let claims: Self = serde_json::from_slice(&text).map_err(|_| refused())?;
        Ok(Self { text, ..claims })
    }

    pub(crate) fn expires_at(&self) -> Result<Option<u64>, TokenError> {
        date("exp", &self.exp)
    }

    pub(crate) fn not_before(&self) -> Result<Option<u64>, TokenError> {
        date("nbf", &self.nbf)
    }

    pub(crate) fn issued_at(&self) -> Result<Option<u64>, TokenError> {
        date("iat", &self.iat)
    }

    pub(crate) fn issuer(&self) -> Result<Option<String>, TokenError> {
        typed("iss", &self.iss)
    }

    pub(crate) fn audience(&self) -> Result<Vec<String>, TokenError> {
        Ok(match typed("aud", &self.aud)? {
            None => Vec::new(),
            Some(Names::One(name)) => vec![name],
            Some(Names::Many(names)) => names,
        })
    }

    pub(crate) fn into_connection(self, roles: &Roles) -> Result<ConnectionClaims, TokenError> {
        if text("channel", &self.channel)?.is_some() {
            return Err(invalid("a connection token has no claim channel; this is a subscription token"));
        }
        Ok(ConnectionClaims {
            user: text("sub", &self.sub)?.unwrap_or_default(),
            expire_at: self.expiry()?,
            info: json("info", &self.info, "b64info", &self.b64info)?,
            subs: self.server_subscriptions()?,
            rights: self.rights(roles)?,
            token: Some(self.token_id()?),
        })
    }

    pub(crate) fn into_subscription(self) -> Result<SubscriptionClaims, TokenError> {
        let name = text("channel", &self.channel)?;
        let name = name.ok_or_else(|| invalid("a subscription token needs the claim channel"))?;
        Ok(SubscriptionClaims {
            user: text("sub", &self.sub)?.unwrap_or_default(),
            channel: channel(&name)?,
            client: text("client", &self.client)?,
            info: json("info", &self.info, "b64info", &self.b64info)?,
            data: json("data", &self.data, "b64data", &self.b64data)?,
            expire_at: self.expiry()?,
            overrides: typed("override", &self.overrides)?.unwrap_or_default(),
            allowed: self.allowed()?,
            token: self.token_id()?,
        })
    }

    fn token_id(&self) -> Result<TokenId, TokenError> {
        Ok(TokenId { id: text("jti", &self.jti)?, issued_at: self.issued_at()?.unwrap_or_default() })
    }

    fn rights(&self, roles: &Roles) -> Result<Option<Arc<Rights>>, TokenError> {
        let names = roles.wanted_claim().map_or_else(|| Ok(Vec::new()), |claim| self.role_names(claim))?;
        let rights = Rights { roles: roles.of(&names), own: self.own_rules()? };
        Ok((!rights.is_empty()).then(|| Arc::new(rights)))
    }

    /// The roles in a claim: a list of texts, or one text with blanks between them as in `scope`.
    fn role_names(&self, claim: &str) -> Result<Vec<String>, TokenError> {
        let wrong = || invalid("the claim of roles is not a list of texts, or is there twice");
        let Some(raw) = find(&self.text, claim).map_err(|()| wrong())? else {
            return Ok(Vec::new());
        };
        let names = match serde_json::from_str(raw.get()).map_err(|_| wrong())? {
            None => Vec::new(),
            Some(Names::One(names)) => names.split_ascii_whitespace().map(str::to_owned).collect(),
            Some(Names::Many(names)) => names,
        };
        if names.len() > ROLES_MAX { Err(invalid(format!("it names more than {ROLES_MAX} roles"))) } else { Ok(names) }
    }

    fn own_rules(&self) -> Result<Rules, TokenError> {
        let Some(written) = typed::<WrittenRules>("rights", &self.rights)? else {
            return Ok(Rules::default());
        };
        let WrittenRules { subscribe, publish, read_history, read_presence } = written;
        let mut rules = Rules::default();
        for (operation, texts) in Operation::ALL.into_iter().zip([subscribe, publish, read_history, read_presence]) {
            let patterns = texts.iter().map(|text| Pattern::parse(text)).collect::<Result<Vec<_>, _>>();
            let patterns = patterns.map_err(|error| invalid(format!("a pattern in the claim rights {error}")))?;
            rules.allow(operation, patterns);
        }
        match rules.len() {
            0..=TOKEN_PATTERNS_MAX => Ok(rules),
            _ => Err(invalid(format!("the claim rights has more than {TOKEN_PATTERNS_MAX} patterns"))),
        }
    }

    fn allowed(&self) -> Result<Allowed, TokenError> {
        let names: Vec<String> = typed("allow", &self.allow)?.unwrap_or_default();
        names.iter().try_fold(Allowed::NOTHING, |allowed, name| match Operation::named(name) {
            Some(operation) => Ok(allowed.and(operation)),
            None => Err(invalid("the claim allow names something else than an operation")),
        })
    }

    /// When what the token grants expires: `expire_at` beats `exp`, and 0 in it means never.
    fn expiry(&self) -> Result<Option<u64>, TokenError> {
        Ok(match date("expire_at", &self.expire_at)? {
            Some(0) => None,
            Some(at) => Some(at),
            None => self.expires_at()?,
        })
    }

    /// `subs` beats `channels`; empty names are skipped.
    fn server_subscriptions(&self) -> Result<BTreeMap<Channel, ServerSubscription>, TokenError> {
        let subs: BTreeMap<String, Option<Sub>> = typed("subs", &self.subs)?.unwrap_or_default();
        let channels: Vec<String> = typed("channels", &self.channels)?.unwrap_or_default();
        let wanted: Vec<_> = if subs.is_empty() {
            channels.into_iter().map(|name| (name, None)).collect()
        } else {
            subs.into_iter().collect()
        };
        let named = wanted.into_iter().filter(|(name, _)| !name.is_empty());
        named.map(|(name, sub)| Ok((channel(&name)?, sub.unwrap_or_default().grant()?))).collect()
    }
}

impl Sub {
    fn grant(&self) -> Result<ServerSubscription, TokenError> {
        Ok(ServerSubscription {
            info: json("subs.info", &self.info, "subs.b64info", &self.b64info)?,
            data: json("subs.data", &self.data, "subs.b64data", &self.b64data)?,
            overrides: typed("subs.override", &self.overrides)?.unwrap_or_default(),
        })
    }
}

/// A claim by its name, or by a path of names with dots between them.
fn find(text: &[u8], path: &str) -> Result<Option<Box<RawValue>>, ()> {
    let Object(mut entries) = serde_json::from_slice(text).map_err(|_| ())?;
    if let Some(raw) = entries.remove(path) {
        return Ok(Some(raw));
    }
    let Some((first, rest)) = path.split_once('.') else { return Ok(None) };
    match entries.remove(first) {
        Some(raw) => find(raw.get().as_bytes(), rest),
        None => Ok(None),
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object without duplicates")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            if entries.insert(name, value).is_some() {
                return Err(serde::de::Error::custom("a name is there twice"));
            }
        }
        Ok(Object(entries))
    }
}

fn invalid(reason: impl Into<Cow<'static, str>>) -> TokenError {
    TokenError::Invalid(reason.into())
}

fn channel(name: &str) -> Result<Channel, TokenError> {
    Channel::parse(name).map_err(|_| invalid("a channel name in the claims is not a valid one"))
}

/// The claim in its type. The error names the claim only: what stood in it may be somebody's secret.
fn typed<T: DeserializeOwned>(name: &str, claim: &Claim) -> Result<Option<T>, TokenError> {
    let Some(raw) = claim else { return Ok(None) };
    serde_json::from_str(raw.get()).map_err(|_| invalid(format!("the claim {name} has a wrong type")))
}

/// A text claim; an empty text counts as absent.
fn text(name: &str, claim: &Claim) -> Result<Option<String>, TokenError> {
    Ok(typed::<String>(name, claim)?.filter(|text| !text.is_empty()))
}

/// A date in seconds. A fraction is cut off: a token may expire a moment early, never late.
fn date(name: &str, claim: &Claim) -> Result<Option<u64>, TokenError> {
    let Some(seconds) = typed::<f64>(name, claim)? else {
        return Ok(None);
    };
    if (0.0..=DATE_SECONDS_MAX as f64).contains(&seconds) {
        return Ok(Some(seconds as u64));
    }
    Err(invalid(format!("the claim {name} is not a Unix time in seconds (is it in milliseconds?)")))
}

/// JSON for clients, plain or as base64; the latter wins. It must be JSON either way, since it goes into JSON
/// replies as it is.
fn json(name: &str, plain: &Claim, name64: &str, base64: &Claim) -> Result<Bytes, TokenError> {
    if let Some(encoded) = text(name64, base64)? {
        let decoded = STANDARD.decode(encoded).map_err(|_| invalid(format!("the claim {name64} is not base64")))?;
        return checked_json(name64, decoded.into());
    }
    let Some(raw) = plain else { return Ok(Bytes::new()) };
    checked_json(name, Bytes::copy_from_slice(raw.get().as_bytes()))
}

fn checked_json(name: &str, text: Bytes) -> Result<Bytes, TokenError> {
    match payload::inspect(&text, &payload::PayloadLimits::default()) {
        Ok(true) => Ok(text),
        Ok(false) => Err(invalid(format!("the claim {name} does not hold JSON"))),
        Err(_) => Err(invalid(format!("the claim {name} is too large or too deep"))),
    }
}
