//! From the text that a client shows to claims that can be believed.
//!
//! Keys are the node's, never the token's: each has one algorithm and, if it was given one, one key id. A header
//! chooses among them, and what else it offers (`jku`, `jwk`, `x5u`, `x5c`) is never looked at. The signature is
//! judged first, then audience and issuer, then the dates, then the rest.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::claims::Claims;
use crate::header::Header;
use crate::key::{Key, KeyError, KeyMaterial, KeyOptions, KeyRefusal, Purpose, Signed, Uses};
use crate::limits::{KEYS_MAX, LEEWAY_SECONDS, SECRET_BYTES_MIN, TOKEN_BYTES_MAX};
use crate::{Algorithm, ConnectionClaims, RemoteIssuer, Roles, Secret, SubscriptionClaims};

/// What tokens are judged by.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The secret that tokens are signed with (HS256); a key without a name.
    pub hmac_secret: Option<Secret>,
    /// Take secrets that are shorter than they should be.
    pub allow_short_secret: bool,
    /// Further keys. Without any key at all no token is accepted.
    pub keys: Vec<KeyOptions>,
    /// Tokens must name this audience; `None` does not look at it.
    pub audience: Option<String>,
    /// Tokens must name this issuer; `None` does not look at it.
    pub issuer: Option<String>,
    /// What roles may do.
    pub roles: Roles,
    /// How long a token may live; with a limit each has to say when it was issued and when it expires.
    pub lifetime_max: Option<Duration>,
}

/// Why [`Options`] cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The secret is empty.
    #[error(
        "auth.hmac_secret is empty; make one with `openssl rand -hex 32`, or leave the key out to accept no tokens"
    )]
    SecretEmpty,
    /// The secret is so short that it can be guessed.
    #[error(
        "auth.hmac_secret has {bytes} bytes, but HS256 needs at least {min}: make one with `openssl rand -hex 32`, \
         or set auth.allow_short_secret = true to use it all the same",
        min = SECRET_BYTES_MIN
    )]
    SecretTooShort {
        /// How long it is.
        bytes: usize,
    },
    /// The secret is a PEM file.
    #[error("auth.hmac_secret: {0}")]
    Secret(KeyError),
    /// A key is no good.
    #[error("auth.keys.{name}: {error}")]
    Key {
        /// Which.
        name: String,
        /// Why.
        error: KeyError,
    },
    /// More keys than are tried for one token.
    #[error("auth.keys has {count} keys, at most {KEYS_MAX} are taken")]
    TooManyKeys {
        /// How many.
        count: usize,
    },
}

/// Why a token is refused. No variant holds anything of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was good, but its `exp` has come.
    #[error("the token is expired")]
    Expired,
    /// Its `nbf` or `iat` lies further in the future than clocks may differ.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It is not a token that this node can believe.
    #[error("invalid token: {0}")]
    Invalid(Cow<'static, str>),
    /// The keys of its issuer cannot be had at the moment, or not all of them: it may be good.
    #[error("the keys of the token's issuer are not known at the moment")]
    KeysUnavailable,
    /// No key is configured, so no token can be judged.
    #[error("tokens are not accepted: neither auth.hmac_secret nor a key in [auth.keys] or [auth.issuers] is set")]
    NotConfigured,
}

/// What one key says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVerdict {
    /// The key: `auth.hmac_secret`, or its place in the configuration.
    pub key: String,
    /// The algorithm that it is for.
    pub algorithm: Algorithm,
    /// Whether it vouches for the token.
    pub judged: Result<(), KeyRefusal>,
}

/// What the key without a name is called in messages.
const UNNAMED: &str = "auth.hmac_secret";

const MALFORMED: TokenError = refused("it is not three parts of base64url, separated by dots");

/// Judges tokens.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<Key>,
    audience: Option<String>,
    issuer: Option<String>,
    issuers: Vec<RemoteIssuer>,
    roles: Roles,
    lifetime_seconds_max: Option<u64>,
}

/// A token in its parts; nothing of them is believed yet.
struct Parts<'a> {
    header: Header,
    message: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid(format!("it is longer than {TOKEN_BYTES_MAX} bytes").into()));
        }
        let (message, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, claims) = message.split_once('.').ok_or(MALFORMED)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| MALFORMED)?;
        Ok(Self { header: Header::decode(header)?, message, claims, signature })
    }

    fn signed(&self, purpose: Purpose, now_seconds: u64) -> Signed<'_> {
        let (message, signature) = (self.message.as_bytes(), self.signature.as_slice());
        Signed { header: &self.header, message, signature, purpose, now_seconds }
    }
}

impl Verifier {
    /// A verifier for these options.
    ///
    /// # Errors
    /// A secret that is empty, or short without the leave to be; a key that is none.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        if options.keys.len() > KEYS_MAX {
            return Err(OptionsError::TooManyKeys { count: options.keys.len() });
        }
        let allow_short = options.allow_short_secret;
        let mut keys = Vec::with_capacity(options.keys.len() + 1);
        if let Some(secret) = options.hmac_secret {
            keys.push(unnamed(secret, allow_short)?);
        }
        for key in options.keys {
            let name = key.name.clone();
            keys.push(Key::new(key, allow_short).map_err(|error| OptionsError::Key { name, error })?);
        }
        Ok(Self {
            keys,
            audience: options.audience,
            issuer: options.issuer,
            issuers: Vec::new(),
            roles: options.roles,
            lifetime_seconds_max: options.lifetime_max.map(|max| max.as_secs()),
        })
    }

    /// The same with issuers whose keys are fetched. Tokens that say they are of one of them are judged by its keys
    /// alone, all others by the keys of the options alone.
    #[must_use]
    pub fn with_issuers(self, issuers: Vec<RemoteIssuer>) -> Self {
        Self { issuers, ..self }
    }

    /// Waits until the keys that a token may need are known, or known not to be had. Call it before judging, under a
    /// time limit; may be cancelled at any time.
    pub async fn prepare(&self, token: &str) {
        if self.issuers.is_empty() {
            return;
        }
        let Ok(parts) = Parts::of(token) else { return };
        if let Some(issuer) = self.issuer_of(&parts) {
            issuer.keys.ready(parts.header.key_id.as_deref()).await;
        }
    }

    /// What a connection token grants at `now_seconds` (Unix time).
    ///
    /// # Errors
    /// See [`TokenError`]; a token with a claim `channel` is a subscription token and invalid here.
    pub fn connection(&self, token: &str, now_seconds: u64) -> Result<ConnectionClaims, TokenError> {
        self.verified(token, Purpose::Connection, now_seconds)?.into_connection(&self.roles)
    }

    /// What a subscription token grants at `now_seconds` (Unix time). Whose token it is remains to be compared.
    ///
    /// # Errors
    /// See [`TokenError`]; a token without a claim `channel` is invalid here.
    pub fn subscription(&self, token: &str, now_seconds: u64) -> Result<SubscriptionClaims, TokenError> {
        self.verified(token, Purpose::Subscription, now_seconds)?.into_subscription()
    }

    /// What each key says of a token, for an operator's eyes: a token is good if one of them vouches for it, and its
    /// claims are good too.
    ///
    /// # Errors
    /// [`TokenError::Invalid`] for what no key has to look at.
    pub fn verdicts(
        &self,
        token: &str,
        is_for_subscription: bool,
        now_seconds: u64,
    ) -> Result<Vec<KeyVerdict>, TokenError> {
        let parts = Parts::of(token)?;
        let purpose = if is_for_subscription { Purpose::Subscription } else { Purpose::Connection };
        let signed = parts.signed(purpose, now_seconds);
        let verdict = |key: &Key, name| KeyVerdict { key: name, algorithm: key.algorithm, judged: key.judge(&signed) };
        let Some(issuer) = self.issuer_of(&parts) else {
            return Ok(self.keys.iter().map(|key| verdict(key, configured_name(key))).collect());
        };
        let held = issuer.keys.held().keys.unwrap_or_default();
        let name = |key: &Key| format!("auth.issuers.{} kid {:?}", issuer.name, key.name);
        Ok(held.keys().iter().map(|key| verdict(key, name(key))).collect())
    }

    /// The claims, once signature, audience, issuer and dates are found good.
    fn verified(&self, token: &str, purpose: Purpose, now_seconds: u64) -> Result<Claims, TokenError> {
        if self.keys.is_empty() && self.issuers.is_empty() {
            return Err(TokenError::NotConfigured);
        }
        let parts = Parts::of(token)?;
        let signed = parts.signed(purpose, now_seconds);
        let claims = match self.issuer_of(&parts) {
            Some(issuer) => published(issuer, &signed).and_then(|()| Claims::decode(parts.claims))?.of(issuer)?,
            None => {
                let claims = vouched(&self.keys, &signed).and_then(|()| Claims::decode(parts.claims))?;
                self.check_origin(&claims)?;
                claims
            }
        };
        check_dates(&claims, now_seconds)?;
        self.check_lifetime(&claims, now_seconds)?;
        Ok(claims)
    }

    /// The issuer with fetched keys that a token says it is of. That it says so proves nothing, and chooses among
    /// those that are configured.
    fn issuer_of(&self, parts: &Parts<'_>) -> Option<&RemoteIssuer> {
        if self.issuers.is_empty() {
            return None;
        }
        let named = Claims::decode(parts.claims).ok()?.issuer().ok()??;
        self.issuers.iter().find(|issuer| issuer.issuer == named)
    }

    fn check_origin(&self, claims: &Claims) -> Result<(), TokenError> {
        let (audience, issuer) = (claims.audience()?, claims.issuer()?);
        if self.audience.as_ref().is_some_and(|wanted| !audience.contains(wanted)) {
            return Err(refused("it is for another audience than auth.audience"));
        }
        if self.issuer.is_some() && self.issuer != issuer {
            return Err(refused("it is from another issuer than auth.issuer"));
        }
        Ok(())
    }

    /// With a limit, a token expires at most so long after it was issued, and not later than so long from now. One that
    /// does not say when it was issued was so at 0: else it could be made anew from an old one for ever, and revoked
    /// tokens could not be forgotten when the limit has passed.
    fn check_lifetime(&self, claims: &Claims, now_seconds: u64) -> Result<(), TokenError> {
        let Some(max) = self.lifetime_seconds_max else { return Ok(()) };
        let expires_at = claims.expires_at()?;
        let expires_at = expires_at.ok_or_else(|| refused("it has no exp, which auth.token_lifetime_max demands"))?;
        let issued_at = claims.issued_at()?;
        let issued_at = issued_at.ok_or_else(|| refused("it has no iat, which auth.token_lifetime_max demands"))?;
        // Clocks may differ, so that a fresh token of the full length can seem to end too late.
        let ends_late = expires_at > now_seconds.saturating_add(max).saturating_add(LEEWAY_SECONDS);
        if ends_late || expires_at.saturating_sub(issued_at) > max {
            return Err(refused("it lives longer than auth.token_lifetime_max"));
        }
        Ok(())
    }
}

fn configured_name(key: &Key) -> String {
    if key.name == UNNAMED { UNNAMED.to_owned() } else { format!("auth.keys.{}", key.name) }
}

/// Whether one of an issuer's keys vouches for a token.
fn published(issuer: &RemoteIssuer, signed: &Signed<'_>) -> Result<(), TokenError> {
    if !issuer.uses.take_in(signed.purpose) {
        return Err(refused("the keys of its issuer are for the other kind of token"));
    }
    let held = issuer.keys.held();
    let keys = held.keys.ok_or(TokenError::KeysUnavailable)?;
    // A key that the issuer has begun to use since.
    if !held.is_fresh && !keys.has(signed.header.key_id.as_deref()) {
        return Err(TokenError::KeysUnavailable);
    }
    vouched(keys.keys(), signed)
}

impl Claims {
    /// The claims of a token whose signature is one of this issuer's, once they are found to be meant for this node.
    fn of(self, issuer: &RemoteIssuer) -> Result<Self, TokenError> {
        if self.issuer()?.as_ref() != Some(&issuer.issuer) {
            return Err(refused("it is from another issuer than its keys"));
        }
        if !self.audience()?.contains(&issuer.audience) {
            return Err(refused("it is for another audience than that of its issuer here"));
        }
        if self.expires_at()?.is_none() {
            return Err(refused("it has no exp, which tokens of fetched keys need"));
        }
        Ok(self)
    }
}

/// Whether one of the keys vouches for a token; else the reason of the one that came nearest.
fn vouched(keys: &[Key], signed: &Signed<'_>) -> Result<(), TokenError> {
    let mut nearest = KeyRefusal::Algorithm;
    for key in keys {
        match key.judge(signed) {
            Ok(()) => return Ok(()),
            Err(refusal) => nearest = nearest.max(refusal),
        }
    }
    Err(match nearest {
        KeyRefusal::Algorithm => TokenError::Invalid(other_algorithm(keys).into()),
        KeyRefusal::Use => refused("the keys for its algorithm are for the other kind of token"),
        KeyRefusal::KeyId => refused("no key here has the key id (kid) that it names"),
        KeyRefusal::Retired => refused("the key that it is signed with is not accepted any more (accept_until)"),
        KeyRefusal::Signature => refused("the signature does not match; is it signed with the key of this node?"),
    })
}

fn other_algorithm(keys: &[Key]) -> String {
    let mut names: Vec<&str> = keys.iter().map(|key| key.algorithm.name()).collect();
    names.sort_unstable();
    names.dedup();
    format!("it is signed with another algorithm than {}", names.join(", "))
}

fn unnamed(secret: Secret, allow_short: bool) -> Result<Key, OptionsError> {
    if secret.expose().is_empty() {
        return Err(OptionsError::SecretEmpty);
    }
    let options = KeyOptions {
        name: UNNAMED.to_owned(),
        algorithm: Algorithm::HS256,
        material: KeyMaterial::Secret(secret),
        key_id: None,
        accept_until: None,
        uses: Uses::Both,
    };
    Key::new(options, allow_short).map_err(|error| match error {
        KeyError::SecretTooShort { bytes, .. } => OptionsError::SecretTooShort { bytes },
        error => OptionsError::Secret(error),
    })
}

fn check_dates(claims: &Claims, now_seconds: u64) -> Result<(), TokenError> {
    let (expires_at, not_before, issued_at) = (claims.expires_at()?, claims.not_before()?, claims.issued_at()?);
    if expires_at.is_some_and(|at| at <= now_seconds) {
        return Err(TokenError::Expired);
    }
    let latest = now_seconds.saturating_add(LEEWAY_SECONDS);
    if not_before.is_some_and(|at| at > latest) || issued_at.is_some_and(|at| at > latest) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

const fn refused(reason: &'static str) -> TokenError {
    TokenError::Invalid(Cow::Borrowed(reason))
}
