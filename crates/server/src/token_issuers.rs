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

/// The issuers of a running node, each with its keys being fetched.
#[derive(Debug, Clone, Default)]
pub struct TokenIssuers(Vec<(TokenIssuer, RemoteIssuer)>);

impl TokenIssuers {
    /// The issuers of a configuration. One that is configured as before goes on with the keys that it has. Call it
    /// within the node's runtime.
    ///
    /// # Errors
    /// See [`Error`]; nothing is begun then.
    pub fn start(&self, config: &Config) -> Result<Self, Error> {
        let each = config.token_issuers.iter().map(|issuer| {
            let running = self.0.iter().find(|(options, _)| options == issuer);
            let remote = running.map_or_else(|| start_one(issuer), |(_, remote)| Ok(remote.clone()))?;
            Ok((issuer.clone(), remote))
        });
        each.collect::<Result<_, _>>().map(Self)
    }

    /// As the verifier takes them.
    pub fn remotes(&self) -> Vec<RemoteIssuer> {
        self.0.iter().map(|(_, remote)| remote.clone()).collect()
    }
}

fn start_one(issuer: &TokenIssuer) -> Result<RemoteIssuer, Error> {
    let options = fanfare_key_sets::Options {
        name: issuer.name.clone(),
        issuer: issuer.issuer.clone(),
        jwks: issuer.jwks.clone(),
        tls: Arc::new(tls(issuer)?),
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
