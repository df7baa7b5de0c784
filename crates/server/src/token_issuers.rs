//! From the configured issuers to what the verifier takes: their keys begin to be fetched here.

use std::path::PathBuf;
use std::sync::Arc;

use fanfare_auth::RemoteIssuer;
use fanfare_key_sets::{EndpointError, KeySets, limits};
use rustls::ClientConfig;

use crate::config::{Config, TokenIssuer};
use crate::pem_files;

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
        reason: String,
    },
    /// It is no URL.
    #[error("auth.issuers.{name}.issuer {reason}")]
    Place {
        /// The issuer.
        name: String,
        /// Why not.
        reason: EndpointError,
    },
    /// No protocol version is left.
    #[error("TLS to issuers: {0}")]
    Versions(#[from] rustls::Error),
}

/// The issuers, each with its keys being fetched. Call it within the node's runtime.
///
/// # Errors
/// See [`Error`].
pub fn start(config: &Config, metrics: &fanfare_key_sets::Metrics) -> Result<Vec<RemoteIssuer>, Error> {
    config.token_issuers.iter().map(|issuer| start_one(issuer, metrics)).collect()
}

/// What is worth knowing of a node that is ready: issuers whose tokens it cannot judge now. It stays ready, since no
/// other node is better off.
pub fn without_keys(issuers: &[RemoteIssuer]) -> Option<String> {
    let without = issuers.iter().filter(|issuer| issuer.keys.held().keys.is_none());
    let names: Vec<String> = without.map(|issuer| format!("auth.issuers.{}", issuer.name)).collect();
    (!names.is_empty())
        .then(|| format!("no keys, or too old ones, of {}: its tokens are refused for now", names.join(", ")))
}

fn start_one(issuer: &TokenIssuer, metrics: &fanfare_key_sets::Metrics) -> Result<RemoteIssuer, Error> {
    let options = fanfare_key_sets::Options {
        name: issuer.name.clone(),
        issuer: issuer.issuer.clone(),
        jwks: issuer.jwks.clone(),
        tls: Arc::new(tls(issuer)?),
        refresh_interval: issuer.refresh_interval,
        stale_ttl: issuer.stale_ttl,
        timeout: limits::FETCH_TIMEOUT,
        metrics: metrics.clone(),
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

/// A machine that trusts nobody is no error here: the keys may be fetched without TLS, and if not, the log says why.
fn tls(issuer: &TokenIssuer) -> Result<ClientConfig, Error> {
    let roots = match &issuer.ca_file {
        None => pem_files::system_roots(),
        Some(file) => pem_files::roots(file).map_err(|error| Error::CaFile {
            name: issuer.name.clone(),
            path: error.path,
            reason: error.reason,
        })?,
    };
    Ok(pem_files::client(roots)?.with_no_client_auth())
}
