//! What the listener speaks TLS with: two files become a rustls configuration, which can be read again.
//!
//! Connections that are there go on with what they began with; those that come see what was read last. A file that is
//! of no use leaves the former certificate where it is.
//!
//! Nothing is kept of a session: a client that comes back shows a ticket, which only this node can read, encrypted with
//! keys of which nobody knows the ones of twelve hours ago. With a new certificate the tickets of the old one are
//! worth nothing.

pub(crate) mod validity;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{IntCounterVec, IntGauge};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;

use crate::config::{Problem, TlsFiles};
use crate::pem_files::{self, FileError};

/// The key that names the certificate.
pub(crate) const CERTIFICATE_KEY: &str = "listen.tls_cert_file";

/// The key that names the certificate's key.
pub(crate) const KEY_KEY: &str = "listen.tls_key_file";

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Tickets given to a client. It opens one connection at a time, and gets another with that.
const TICKETS: usize = 1;

/// Why there is no TLS. Says which file, and nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or is not what it should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key is of another certificate.
    #[error("{KEY_KEY} = {key:?} is not the key of the certificate in {CERTIFICATE_KEY} = {certificate:?}")]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// They cannot be used.
    #[error("{CERTIFICATE_KEY} = {path:?}: {source}")]
    Unusable {
        /// The file with the certificate.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
}

/// What is counted of certificates.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    /// When the certificate ends.
    pub(crate) expiry: IntGauge,
    /// Certificates read again, well or not.
    pub(crate) reloads: IntCounterVec,
}

/// Declares what may be wrong: name, label, doc.
macro_rules! troubles {
    ($($name:ident = $label:literal, $doc:literal;)*) => {
        /// What is wrong with a connection's TLS.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Trouble {
            $(#[doc = $doc] $name,)*
        }

        impl Trouble {
            pub(crate) const ALL: [Self; [$($label),*].len()] = [$(Self::$name),*];

            /// Its name in metrics.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

troubles! {
    Handshake = "handshake", "What came was no TLS, or none that is spoken here.";
    PlainHttp = "plain_http", "A request without TLS came where TLS is spoken.";
    TlsOnPlain = "tls_on_plain_port", "TLS came where none is spoken.";
    Timeout = "timeout", "The handshake was not made in time.";
    Ended = "ended", "The client went away within the handshake.";
    Record = "record", "What came behind the handshake could not be decrypted.";
}

/// The certificate and what is done with it.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Option<[Stamp; 2]>>,
    counts: Counts,
}

/// By what a change of a file is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

/// What was read from the files.
struct Loaded {
    config: Arc<ServerConfig>,
    not_after: Option<u64>,
}

impl Tls {
    pub(crate) fn new(files: TlsFiles, counts: Counts) -> Result<Self, Error> {
        let seen = stamps(&files);
        let loaded = load(&files)?;
        let tls = Self { files, config: RwLock::new(Arc::clone(&loaded.config)), seen: Mutex::new(seen), counts };
        tls.show(&loaded);
        Ok(tls)
    }

    /// What the next connection is served with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads both files again; connections that come from now on are served with them.
    ///
    /// # Errors
    /// Files of no use; then the former certificate stays, and the log and a counter say so too.
    pub fn reload(&self) -> Result<(), Error> {
        // Before they are read: what changes meanwhile is found the next time.
        let seen = stamps(&self.files);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        match load(&self.files) {
            Ok(loaded) => {
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&loaded.config);
                self.counts.reloads.with_label_values(&["ok"]).inc();
                tracing::info!(file = ?self.files.certificate, not_after = loaded.not_after, "the TLS certificate was read again");
                self.show(&loaded);
                if let Some(warning) = expired(&self.files, loaded.not_after) {
                    tracing::warn!(hint = warning.hint.as_deref(), "{}", warning.message);
                }
                Ok(())
            }
            Err(error) => {
                self.counts.reloads.with_label_values(&["failed"]).inc();
                tracing::error!(%error, "the TLS certificate could not be read again: the former one stays");
                Err(error)
            }
        }
    }

    /// Reads the files again when they have changed, for as long as it is run.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let tls = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || tls.reload_if_changed()).await.is_err() {
                tracing::error!("the TLS certificate could not be looked at");
            }
        }
    }

    /// Whether the files had changed and are of use.
    fn reload_if_changed(&self) -> bool {
        let changed = stamps(&self.files) != *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        changed && self.reload().is_ok()
    }

    fn show(&self, loaded: &Loaded) {
        let not_after = loaded.not_after.and_then(|at| i64::try_from(at).ok());
        self.counts.expiry.set(not_after.unwrap_or(0));
    }
}

/// What an operator should know of files that are of use.
///
/// # Errors
/// Files of no use.
pub fn check(files: &TlsFiles) -> Result<Vec<Problem>, Error> {
    let loaded = load(files)?;
    Ok(exposed_key(files).into_iter().chain(expired(files, loaded.not_after)).collect())
}

/// What an operator should know of a file with a key.
fn exposed_key(files: &TlsFiles) -> Option<Problem> {
    let metadata = std::fs::metadata(&files.key).ok()?;
    let is_exposed = crate::config::others_may_read(&metadata);
    is_exposed.then(|| {
        let message = format!("{KEY_KEY} = {:?} can be read by everybody on this machine", files.key);
        Problem::nowhere(message, format!("chmod 600 {}", files.key.display()))
    })
}

fn expired(files: &TlsFiles, not_after: Option<u64>) -> Option<Problem> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let days = now.checked_sub(not_after?)? / (24 * 3_600);
    let message = format!("{CERTIFICATE_KEY} = {:?} has expired {days} days ago: clients refuse it", files.certificate);
    Some(Problem::nowhere(message, "renew it; a running node takes the new one within half a minute"))
}

fn load(files: &TlsFiles) -> Result<Loaded, Error> {
    let chain = pem_files::certificates(&files.certificate).map_err(|error| error.of(CERTIFICATE_KEY))?;
    let key = pem_files::key(&files.key).map_err(|error| error.of(KEY_KEY))?;
    let unusable = |source| match source {
        rustls::Error::InconsistentKeys(_) => {
            Error::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() }
        }
        source => Error::Unusable { path: files.certificate.clone(), source },
    };
    let not_after = ends_first(&chain);
    let versions = ServerConfig::builder_with_provider(pem_files::provider()).with_safe_default_protocol_versions();
    let mut config =
        versions.map_err(unusable)?.with_no_client_auth().with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(unusable)?;
    config.send_tls13_tickets = TICKETS;
    config.max_tls13_tickets = TICKETS;
    Ok(Loaded { config: Arc::new(config), not_after })
}

/// When the first of a chain ends.
fn ends_first(chain: &[CertificateDer<'_>]) -> Option<u64> {
    chain.iter().filter_map(|certificate| validity::not_after(certificate)).min()
}

fn stamps(files: &TlsFiles) -> Option<[Stamp; 2]> {
    Some([stamp(&files.certificate)?, stamp(&files.key)?])
}

#[cfg(unix)]
fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp { modified: metadata.modified().ok(), bytes: metadata.len(), inode: metadata.ino() })
}

#[cfg(not(unix))]
fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp { modified: metadata.modified().ok(), bytes: metadata.len(), inode: 0 })
}
