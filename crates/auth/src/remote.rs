//! Issuers whose keys are fetched from elsewhere. This crate fetches nothing: it asks a [`KeySource`].

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{KeySet, Uses};

/// Where the keys of one issuer come from.
#[async_trait]
pub trait KeySource: Send + Sync + fmt::Debug {
    /// The keys that are known now.
    fn held(&self) -> Held;

    /// Returns when a token that names this key id, or none, can be judged, or when it is known that this will not be
    /// soon. May be cancelled at any time: what was begun for it goes on.
    async fn ready(&self, key_id: Option<&str>);
}

/// The keys of an issuer, as far as they are known.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The keys; `None` if none could be fetched, or too long ago.
    pub keys: Option<Arc<KeySet>>,
    /// Whether they were fetched just now, so that a key which is not among them is none of the issuer's.
    pub is_fresh: bool,
}

/// An issuer whose keys are fetched. Its tokens need `exp`, and `aud` has to name the audience: else a token that the
/// same issuer made for any other application would do.
#[derive(Debug, Clone)]
pub struct RemoteIssuer {
    /// What it is called here, in messages and in the configuration.
    pub name: String,
    /// Its tokens say this in `iss`, to the letter.
    pub issuer: String,
    /// Its tokens have to name this in `aud`.
    pub audience: String,
    /// Which tokens its keys are for.
    pub uses: Uses,
    /// Its keys.
    pub keys: Arc<dyn KeySource>,
}
