//! What stands in PEM files: chains of certificates, keys, and whom to trust; with aws-lc-rs as the crypto provider.
//!
//! Which key of the configuration names a file is known to whoever reads it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// A file that is of no use. Says nothing of its content.
#[derive(Debug)]
pub(crate) struct Error {
    /// The file.
    pub(crate) path: PathBuf,
    /// What is wrong with it.
    pub(crate) reason: String,
}

impl Error {
    /// The error of a key of the configuration that names this file.
    pub(crate) fn of(self, key: impl Into<String>) -> FileError {
        FileError { key: key.into(), path: self.path, reason: self.reason }
    }
}

/// A file that is of no use, and the key of the configuration that names it.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {path:?}: {reason}")]
pub struct FileError {
    key: String,
    path: PathBuf,
    reason: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.path, self.reason)
    }
}

/// The certificates in a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| refused(path, &error))?;
    if certificates.is_empty() {
        return Err(refused(path, &pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

/// The first key in a file.
pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| refused(path, &error))
}

/// Whom to trust: the certificates in a file, or without one those of the machine, which perhaps trusts nobody.
pub(crate) fn trusted(path: Option<&Path>) -> Result<RootCertStore, Error> {
    path.map_or_else(|| Ok(system_roots()), roots)
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| Error { path: path.to_owned(), reason: error.to_string() })?;
    }
    Ok(roots)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// What a client needs that trusts these.
///
/// # Errors
/// No protocol version is left.
pub(crate) fn client(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let versions = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(roots))
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn refused(path: &Path, error: &pem::Error) -> Error {
    let reason = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "holds nothing of the kind, as PEM".to_owned(),
        _ => "is no PEM file".to_owned(),
    };
    Error { path: path.to_owned(), reason }
}
