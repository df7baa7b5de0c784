//! From the configured issuers to what the verifier takes: their keys begin to be fetched here.

use std::sync::Arc;

use fanfare_auth::RemoteIssuer;
use fanfare_key_sets::{KeySets, limits};
use fanfare_outbound::EndpointError;
use rustls::ClientConfig;

use crate::config::{Config, TokenIssuer};
use crate::pem_files::{self, FileError};

/// Why the keys of an issuer cannot be fetched at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its certificates cannot be read.
    #[error(transparent)]
    CaFile(#[from] FileError),
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
pub struct TokenIssuers {
    each: Vec<(TokenIssuer, RemoteIssuer)>,
    metrics: fanfare_key_sets::Metrics,
}

impl TokenIssuers {
    /// None yet, whose fetching is counted here.
    pub(crate) fn counted(metrics: fanfare_key_sets::Metrics) -> Self {
        Self { each: Vec::new(), metrics }
    }

    /// The issuers of a configuration. One that is configured as before goes on with the keys that it has. Call it
    /// within the node's runtime.
    ///
    /// # Errors
    /// See [`Error`]; nothing is begun then.
    pub fn start(&self, config: &Config) -> Result<Self, Error> {
        let each = config.token_issuers.iter().map(|issuer| {
            let running = self.each.iter().find(|(options, _)| options == issuer);
            let remote = running.map_or_else(|| start_one(issuer, &self.metrics), |(_, remote)| Ok(remote.clone()))?;
            Ok((issuer.clone(), remote))
        });
        Ok(Self { each: each.collect::<Result<_, Error>>()?, metrics: self.metrics.clone() })
    }

    /// As the verifier takes them.
    pub fn remotes(&self) -> Vec<RemoteIssuer> {
        self.each.iter().map(|(_, remote)| remote.clone()).collect()
    }

    /// What is worth knowing of a node that is ready: issuers whose tokens it cannot judge now. It stays ready, since no
    /// other node is better off.
    pub fn without_keys(&self) -> Option<String> {
        let without = self.each.iter().filter(|(_, issuer)| issuer.keys.held().keys.is_none());
        let names: Vec<String> = without.map(|(_, issuer)| format!("auth.issuers.{}", issuer.name)).collect();
        (!names.is_empty())
            .then(|| format!("no keys, or too old ones, of {}: its tokens are refused for now", names.join(", ")))
    }
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
    let roots = pem_files::trusted(issuer.ca_file.as_deref());
    let roots = roots.map_err(|error| error.of(format!("auth.issuers.{}.ca_file", issuer.name)))?;
    Ok(pem_files::client(roots)?.with_no_client_auth())
}
