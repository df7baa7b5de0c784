//! From the configured keys for tokens to what the verifier takes: their files are read here.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use fanfare_auth::{KeyMaterial, KeyOptions, Secret};

use crate::config::{Config, TokenKey};

/// The largest file of a key that is read: the public key of RSA with 8192 bits has 1.4 KiB.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A key's file that cannot be used. Says which, and nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("auth.keys.{name}.file = {path:?}: {reason}")]
    File {
        /// The key.
        name: String,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What tokens are judged by, with all keys.
///
/// # Errors
/// A file that cannot be read.
pub fn options(config: &Config) -> Result<fanfare_auth::Options, Error> {
    let keys = config.token_keys.iter().map(key).collect::<Result<_, _>>()?;
    Ok(fanfare_auth::Options { keys, ..config.auth.clone() })
}

fn key(key: &TokenKey) -> Result<KeyOptions, Error> {
    Ok(KeyOptions {
        name: key.name.clone(),
        algorithm: key.algorithm,
        material: material(key)?,
        key_id: key.key_id.clone(),
        accept_until: key.accept_until,
        uses: key.uses,
    })
}

fn material(key: &TokenKey) -> Result<KeyMaterial, Error> {
    if let Some(secret) = &key.secret {
        return Ok(KeyMaterial::Secret(secret.clone()));
    }
    let path = key.file.clone().unwrap_or_default();
    let text = read(&path);
    let text = text.map_err(|error| Error::File { name: key.name.clone(), path, reason: error.to_string() })?;
    Ok(match key.algorithm.is_shared() {
        true => KeyMaterial::Secret(Secret::new(text.trim().to_owned())),
        false => KeyMaterial::PublicPem(text),
    })
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
