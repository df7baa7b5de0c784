//! Keys that tokens are judged with. Each is for one algorithm, and says itself which tokens it is for.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;

use crate::algorithm::Scheme;
use crate::header::Header;
use crate::pem::{self, PemError};
use crate::{Algorithm, Secret};

/// A key as it is configured.
#[derive(Debug, Clone)]
pub struct KeyOptions {
    /// What it is called here, in messages and in the configuration.
    pub name: String,
    /// The one algorithm that it is for.
    pub algorithm: Algorithm,
    /// The key itself.
    pub material: KeyMaterial,
    /// The key id (`kid`) that tokens must name; `None` judges tokens whatever they name.
    pub key_id: Option<String>,
    /// Unix time in seconds from when on it is not used any more.
    pub accept_until: Option<u64>,
    /// Which tokens it is for.
    pub uses: Uses,
}

/// What a key is made of.
#[derive(Debug, Clone)]
pub enum KeyMaterial {
    /// A secret, for HS256, HS384 and HS512.
    Secret(Secret),
    /// A public key as PEM, for all others.
    PublicPem(String),
}

/// Which tokens a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uses {
    /// Both kinds.
    #[default]
    Both,
    /// Connection tokens alone.
    Connections,
    /// Subscription tokens alone.
    Subscriptions,
}

/// What a token is for, as the one says who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Connection,
    Subscription,
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A secret for an algorithm of public keys, or the other way round.
    #[error("{0} needs a public key, not a secret")]
    NeedsPublicKey(Algorithm),
    /// A public key where a secret belongs.
    #[error("{0} needs a secret, not a public key")]
    NeedsSecret(Algorithm),
    /// The secret is a PEM text: a public key in the place of a secret lets everybody sign who has seen it.
    #[error("the secret is a PEM file, which others may have too; is the algorithm right?")]
    SecretIsPem,
    /// The secret can be guessed.
    #[error("the secret has {bytes} bytes, {min} are needed; `openssl rand -hex {min}` makes one")]
    SecretTooShort {
        /// How long it is.
        bytes: usize,
        /// How long it has to be.
        min: usize,
    },
    /// No public key is in the text.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The key is of another kind, on another curve, or too small.
    #[error("it is not a public key for {0}{1}")]
    Unfit(Algorithm, &'static str),
}

/// Why a key does not vouch for a token, the nearest miss last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum KeyRefusal {
    /// The key is for another algorithm.
    #[error("it is for another algorithm")]
    Algorithm,
    /// The key is for the other kind of token.
    #[error("it is for the other kind of token")]
    Use,
    /// The token names another key, or none.
    #[error("the token names another key id (kid), or none")]
    KeyId,
    /// The end date of the key has come.
    #[error("its accept_until is over")]
    Retired,
    /// The signature is not one of this key.
    #[error("the signature does not match")]
    Signature,
}

/// A key that can judge.
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) algorithm: Algorithm,
    key_id: Option<String>,
    takes_unnamed: bool,
    accept_until: Option<u64>,
    uses: Uses,
    verifying: Verifying,
}

enum Verifying {
    Shared(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

/// A token, taken apart, as keys judge it.
pub(crate) struct Signed<'a> {
    pub(crate) header: &'a Header,
    pub(crate) message: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) purpose: Purpose,
    pub(crate) now_seconds: u64,
}

impl Key {
    /// A key of the configuration; `allow_short_secret` takes a secret that can be guessed.
    pub(crate) fn new(options: KeyOptions, allow_short_secret: bool) -> Result<Self, KeyError> {
        let KeyOptions { name, algorithm, material, key_id, accept_until, uses } = options;
        let verifying = match material {
            KeyMaterial::Secret(secret) => shared(algorithm, &secret, allow_short_secret)?,
            KeyMaterial::PublicPem(text) => public(algorithm, &pem::public_key(&text)?)?,
        };
        Ok(Self { name, algorithm, key_id, takes_unnamed: false, accept_until, uses, verifying })
    }

    /// A public key that an issuer publishes; `None` if it is none for this algorithm. A token that names no key may
    /// be judged by it: issuers with one key leave the name out.
    pub(crate) fn published(algorithm: Algorithm, key_id: Option<String>, encoded: &[u8]) -> Option<Self> {
        let verifying = public(algorithm, encoded).ok()?;
        let name = key_id.clone().unwrap_or_default();
        Some(Self { name, algorithm, key_id, takes_unnamed: true, accept_until: None, uses: Uses::Both, verifying })
    }

    /// Whether a token that names this key id, or none, may be signed with this key.
    pub(crate) fn may_be(&self, key_id: Option<&str>) -> bool {
        match (self.key_id.as_deref(), key_id) {
            (None, _) => true,
            (Some(_), None) => self.takes_unnamed,
            (Some(own), Some(named)) => own == named,
        }
    }

    /// Whether this key vouches for a token. What costs something is done last.
    pub(crate) fn judge(&self, signed: &Signed<'_>) -> Result<(), KeyRefusal> {
        if self.algorithm != signed.header.algorithm {
            return Err(KeyRefusal::Algorithm);
        }
        if !self.uses.take_in(signed.purpose) {
            return Err(KeyRefusal::Use);
        }
        if !self.may_be(signed.header.key_id.as_deref()) {
            return Err(KeyRefusal::KeyId);
        }
        if self.accept_until.is_some_and(|until| until <= signed.now_seconds) {
            return Err(KeyRefusal::Retired);
        }
        if self.verifying.matches(signed) { Ok(()) } else { Err(KeyRefusal::Signature) }
    }
}

impl Verifying {
    fn matches(&self, signed: &Signed<'_>) -> bool {
        match self {
            Self::Shared(key) => hmac::verify(key, signed.message, signed.signature).is_ok(),
            Self::Public(key) => key.verify_sig(signed.message, signed.signature).is_ok(),
        }
    }
}

impl Uses {
    pub(crate) fn take_in(self, purpose: Purpose) -> bool {
        match self {
            Self::Both => true,
            Self::Connections => purpose == Purpose::Connection,
            Self::Subscriptions => purpose == Purpose::Subscription,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn shared(algorithm: Algorithm, secret: &Secret, allow_short: bool) -> Result<Verifying, KeyError> {
    let Scheme::Shared(digest) = algorithm.scheme() else {
        return Err(KeyError::NeedsPublicKey(algorithm));
    };
    let text = secret.expose();
    if text.contains("-----BEGIN ") {
        return Err(KeyError::SecretIsPem);
    }
    let (bytes, min) = (text.len(), algorithm.secret_bytes_min());
    if bytes < min && !allow_short || bytes == 0 {
        return Err(KeyError::SecretTooShort { bytes, min });
    }
    Ok(Verifying::Shared(Box::new(hmac::Key::new(digest, text.as_bytes()))))
}

fn public(algorithm: Algorithm, der: &[u8]) -> Result<Verifying, KeyError> {
    let Scheme::Public(scheme) = algorithm.scheme() else {
        return Err(KeyError::NeedsSecret(algorithm));
    };
    let unfit = |why| KeyError::Unfit(algorithm, why);
    let key = ParsedPublicKey::new(scheme, der).map_err(|_| unfit(""))?;
    if algorithm.is_rsa() && rsa_is_small(der) {
        return Err(unfit(": it has less than 2048 bits"));
    }
    Ok(Verifying::Public(key))
}

/// Whether an RSA key is smaller than the library takes for judging: it reads such keys, and says no to every
/// signature. A modulus of 2048 bits has 256 bytes, and its DER some more.
fn rsa_is_small(der: &[u8]) -> bool {
    der.len() < 2048 / 8
}
