//! From the text that a client shows to claims that can be believed.
//!
//! One algorithm, HS256, with one secret. The algorithm is ours, never the token's: a header that names another
//! one, `none` among them, is refused, and what else a header offers (`kid`, `jku`, `jwk`, `x5u`) is never
//! looked at. The signature is judged first, then audience and issuer, then the dates, then the rest. Of the
//! library only the signature is used: its checks of claims have other rules (60 s of leeway, `exp` demanded,
//! any `aud` refused) and read the clock themselves.
//!
//! The door for more: further algorithms, key sets by URL and rotated secrets become further pairs of a
//! decoding key and the one algorithm that it is for, in place of [`Verifier`]'s `key`, chosen by `kid` or by
//! the header's algorithm and tried with that algorithm alone. Nothing but `signed` has to know. A key set has
//! to be fetched, so it will want a lookup that may say "ask again when it is here"; the two public methods
//! are the place for it.

use std::borrow::Cow;

use jsonwebtoken::{Algorithm, DecodingKey, Header};

use crate::claims::Claims;
use crate::limits::{NOT_BEFORE_LEEWAY_SECONDS, SECRET_BYTES_MIN, TOKEN_BYTES_MAX};
use crate::{ConnectionClaims, Secret, SubscriptionClaims};

/// What tokens are judged by.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The secret that tokens are signed with; without one no token is accepted.
    pub hmac_secret: Option<Secret>,
    /// Take a secret shorter than [`SECRET_BYTES_MIN`] bytes.
    pub allow_short_secret: bool,
    /// Tokens must name this audience; `None` does not look at it.
    pub audience: Option<String>,
    /// Tokens must name this issuer; `None` does not look at it.
    pub issuer: Option<String>,
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
}

/// Why a token is refused. No variant holds anything of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was good, but its `exp` has come.
    #[error("the token is expired")]
    Expired,
    /// Its `nbf` lies further in the future than clocks may differ.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It is not a token that this node can believe.
    #[error("invalid token: {0}")]
    Invalid(Cow<'static, str>),
    /// No secret is configured, so no token can be judged.
    #[error("tokens are not accepted: auth.hmac_secret is not set")]
    NotConfigured,
}

const ALGORITHM: Algorithm = Algorithm::HS256;

const MALFORMED: TokenError = refused("it is not a well-formed token of a known algorithm");

/// Judges tokens.
pub struct Verifier {
    key: Option<DecodingKey>,
    audience: Option<String>,
    issuer: Option<String>,
}

impl Verifier {
    /// A verifier for these options.
    ///
    /// # Errors
    /// A secret that is empty, or short without the leave to be.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        if let Some(secret) = &options.hmac_secret {
            check_secret(secret, options.allow_short_secret)?;
        }
        Ok(Self {
            key: options.hmac_secret.map(|secret| DecodingKey::from_secret(secret.expose().as_bytes())),
            audience: options.audience,
            issuer: options.issuer,
        })
    }

    /// What a connection token grants at `now_seconds` (Unix time).
    ///
    /// # Errors
    /// See [`TokenError`]; a token with a claim `channel` is a subscription token and invalid here.
    pub fn connection(&self, token: &str, now_seconds: u64) -> Result<ConnectionClaims, TokenError> {
        self.verified(token, now_seconds)?.into_connection()
    }

    /// What a subscription token grants at `now_seconds` (Unix time). Whose token it is remains to be compared.
    ///
    /// # Errors
    /// See [`TokenError`]; a token without a claim `channel` is invalid here.
    pub fn subscription(&self, token: &str, now_seconds: u64) -> Result<SubscriptionClaims, TokenError> {
        self.verified(token, now_seconds)?.into_subscription()
    }

    /// The claims, once signature, audience, issuer and dates are found good.
    fn verified(&self, token: &str, now_seconds: u64) -> Result<Claims, TokenError> {
        let claims = self.signed(token)?;
        self.check_origin(&claims)?;
        check_dates(&claims, now_seconds)?;
        Ok(claims)
    }

    /// The claims, once the signature is found good; nothing else of them is judged.
    fn signed(&self, token: &str) -> Result<Claims, TokenError> {
        let key = self.key.as_ref().ok_or(TokenError::NotConfigured)?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid(format!("it is longer than {TOKEN_BYTES_MAX} bytes").into()));
        }
        let (message, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
        let (_, claims) = message.split_once('.').ok_or(MALFORMED)?;
        check_header(&jsonwebtoken::decode_header(token).map_err(|_| MALFORMED)?)?;
        check_signature(message, signature, key)?;
        Claims::decode(claims)
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
}

fn check_secret(secret: &Secret, allow_short: bool) -> Result<(), OptionsError> {
    match secret.expose().len() {
        0 => Err(OptionsError::SecretEmpty),
        bytes if bytes < SECRET_BYTES_MIN && !allow_short => Err(OptionsError::SecretTooShort { bytes }),
        _ => Ok(()),
    }
}

fn check_header(header: &Header) -> Result<(), TokenError> {
    if header.alg != ALGORITHM {
        return Err(refused("it is signed with another algorithm than HS256"));
    }
    // `crit` lists extensions that a reader has to understand or refuse (RFC 7515 §4.1.11); we have none.
    if header.crit.is_some() {
        return Err(refused("its header demands an extension (crit) that is not known"));
    }
    Ok(())
}

fn check_signature(message: &str, signature: &str, key: &DecodingKey) -> Result<(), TokenError> {
    let good = jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, ALGORITHM).map_err(|_| MALFORMED)?;
    if good { Ok(()) } else { Err(refused("the signature does not match; is it signed with auth.hmac_secret?")) }
}

fn check_dates(claims: &Claims, now_seconds: u64) -> Result<(), TokenError> {
    claims.check_issued_at()?;
    let (expires_at, not_before) = (claims.expires_at()?, claims.not_before()?);
    if expires_at.is_some_and(|at| at <= now_seconds) {
        return Err(TokenError::Expired);
    }
    if not_before.is_some_and(|at| at > now_seconds.saturating_add(NOT_BEFORE_LEEWAY_SECONDS)) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

const fn refused(reason: &'static str) -> TokenError {
    TokenError::Invalid(Cow::Borrowed(reason))
}
