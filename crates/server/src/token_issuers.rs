//! From the configured issuers to what the verifier takes: their keys begin to be fetched here.

use std::path::PathBuf;
use std::sync::Arc;

use fanfare_auth::RemoteIssuer;
use fanfare_key_sets::{KeySets, limits};
use fanfare_outbound::{EndpointError, TrustError, trusting};

use crate::config::{Config, TokenIssuer};

/// Why the keys of an issuer cannot be fetched at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its certificates cannot be read.
    #[error("auth.issuers.{name}.ca_file = {path:?}: {reason}")]
    CaFile {
        /// The issuer.
        name: String,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: TrustError,
    },
    /// It is no URL.
    #[error("auth.issuers.{name}.issuer {reason}")]
    Place {
        /// The issuer.
        name: String,
        /// Why not.
        reason: EndpointError,
    },
}

/// The issuers, each with its keys being fetched. Call it within the node's runtime.
///
/// # Errors
/// See [`Error`].
pub fn start(config: &Config) -> Result<Vec<RemoteIssuer>, Error> {
    config.token_issuers.iter().map(start_one).collect()
}

fn start_one(issuer: &TokenIssuer) -> Result<RemoteIssuer, Error> {
    let options = fanfare_key_sets::Options {
        name: issuer.name.clone(),
        issuer: issuer.issuer.clone(),
        jwks: issuer.jwks.clone(),
        tls: trusting(issuer.ca_file.as_deref()).map_err(|reason| ca_file_error(issuer, reason))?,
        refresh_interval: issuer.refresh_interval,
        stale_ttl: issuer.stale_ttl,
        timeout: limits::FETCH_TIMEOUT,
    };
    let keys = KeySets::start(options).map_err(|reason| Error::Place { name: issuer.name.clone(), reason })?;
    Ok(RemoteIssuer {
        name: issuer.name.clone(),
        issuer: issuer.issuer.clone(),
        audience: issuer.audience.clone(),
        uses: issuer.uses,
        keys: Arc::new(keys),
    })
}

fn ca_file_error(issuer: &TokenIssuer, reason: TrustError) -> Error {
    Error::CaFile { name: issuer.name.clone(), path: issuer.ca_file.clone().unwrap_or_default(), reason }
}
