//! How the commands find a node, and what they show it.

use std::path::PathBuf;
use std::sync::Arc;

use fanfare_client::api::ApiKey;
use fanfare_client::{Api, TokenSource};
use rustls::ClientConfig;

use super::advice::failure;
use super::output::read_secret;
use super::{Failure, Io};
use crate::{config, pem_files};

/// Which node to talk to.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct NodeFlags {
    /// The node, as host:port, http://… or https://… [default: $FANFARE_SERVER, else 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) server: Option<String>,
    /// Certificates to trust with https://, as PEM [default: $FANFARE_CA_FILE, else those that the machine trusts]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

impl NodeFlags {
    /// Whether a node was named, rather than the default being meant.
    pub(crate) fn is_named(&self, io: &Io) -> bool {
        self.server.is_some() || (io.environment)("FANFARE_SERVER").is_some()
    }

    pub(crate) fn address(&self, io: &Io) -> String {
        let given = self.server.clone().or_else(|| (io.environment)("FANFARE_SERVER"));
        given.unwrap_or_else(|| config::ADDRESS_DEFAULT.to_string())
    }

    /// The server API, with the key of the environment if there is one.
    pub(crate) fn api(&self, io: &Io) -> Result<Api, Failure> {
        let key = io.secret("FANFARE_API_KEY")?;
        let key = key.map(|key| ApiKey::new(key.expose().to_owned())).transpose();
        let (address, key) = (self.address(io), key.map_err(failure)?);
        match self.tls(io)? {
            Some(tls) => Api::with_tls(&address, key, tls).map_err(failure),
            None => Api::new(&address, key).map_err(failure),
        }
    }

    /// Whom to trust, where the address asks for TLS.
    pub(crate) fn tls(&self, io: &Io) -> Result<Option<Arc<ClientConfig>>, Failure> {
        let address = self.address(io).to_ascii_lowercase();
        if !["https://", "wss://"].iter().any(|scheme| address.trim_start().starts_with(scheme)) {
            return Ok(None);
        }
        let file = self.ca_file.clone().or_else(|| (io.environment)("FANFARE_CA_FILE").map(PathBuf::from));
        let roots = pem_files::trusted(file.as_deref());
        let roots = roots.map_err(|error| Failure::usage(format!("--ca-file {error}")))?;
        let client = pem_files::client(roots).map_err(|error| Failure::failed(format!("TLS: {error}")))?;
        Ok(Some(Arc::new(client.with_no_client_auth())))
    }
}

/// As whom to connect.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TokenFlags {
    /// The file that holds the connection token [default: $FANFARE_TOKEN, else the file $FANFARE_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<String>,
}

impl TokenFlags {
    /// The token, if there is one. Out of a file it is read again when it has expired, so that it can be renewed
    /// from outside.
    pub(crate) fn source(&self, io: &Io) -> Result<Option<TokenSource>, Failure> {
        if let Some(path) = &self.token_file {
            return from_file(path.clone()).map(Some);
        }
        if let Some(token) = (io.environment)("FANFARE_TOKEN") {
            return Ok(Some(TokenSource::fixed(token.trim())));
        }
        (io.environment)("FANFARE_TOKEN_FILE").map(from_file).transpose()
    }
}

fn from_file(path: String) -> Result<TokenSource, Failure> {
    let first = read_secret(&path)?.expose().to_owned();
    // An unchanged file holds the token that has just been refused.
    let last = std::sync::Mutex::new(None);
    let read = move || {
        let token = read_secret(&path).map(|secret| secret.expose().to_owned()).unwrap_or_else(|_| first.clone());
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match last.replace(token.clone()).is_some_and(|last| last == token) {
            true => Err(fanfare_client::TokenError::Unauthorized),
            false => Ok(token),
        }
    };
    Ok(TokenSource::callback(move || std::future::ready(read())))
}
