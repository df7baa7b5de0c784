//! Whom to trust over TLS: the machine's certificates, or those of a file. aws-lc-rs is the crypto provider.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read, or holds no certificate.
    #[error("{0}")]
    File(String),
    /// No protocol version is left.
    #[error("no version of TLS is left: {0}")]
    Versions(rustls::Error),
}

/// What connections over TLS are made with: the certificates of a file as PEM, or those that the machine trusts. A
/// machine that trusts nobody is no error here: there may be no TLS, and if there is, it says so.
///
/// # Errors
/// See [`TrustError`].
pub fn trusting(file: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    match file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(file) => add(&mut roots, file).map_err(TrustError::File)?,
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.map_err(TrustError::Versions)?;
    Ok(Arc::new(versions.with_root_certificates(roots).with_no_client_auth()))
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("it holds no certificate, as PEM".to_owned());
    }
    certificates.into_iter().try_for_each(|certificate| roots.add(certificate)).map_err(|error| error.to_string())
}
