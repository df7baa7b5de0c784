//! How the commands find a node, and what they show it.

use fanfare_client::api::ApiKey;
use fanfare_client::{Api, TokenSource};

use super::advice::failure;
use super::output::read_secret;
use super::{Failure, Io};
use crate::config;

/// Which node to talk to.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct NodeFlags {
    /// The node, as host:port or http://… [default: $FANFARE_SERVER, else 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) server: Option<String>,
}

impl NodeFlags {
    pub(crate) fn address(&self, io: &Io) -> String {
        let given = self.server.clone().or_else(|| (io.environment)("FANFARE_SERVER"));
        given.unwrap_or_else(|| config::ADDRESS_DEFAULT.to_string())
    }

    /// The server API, with the key of the environment if there is one.
    pub(crate) fn api(&self, io: &Io) -> Result<Api, Failure> {
        let key = io.secret("FANFARE_API_KEY")?;
        let key = key.map(|key| ApiKey::new(key.expose().to_owned())).transpose();
        Api::new(&self.address(io), key.map_err(failure)?).map_err(failure)
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
