//! What encrypted connections to Redis are made with: files become a rustls configuration.

use std::path::Path;
use std::sync::Arc;

use fanfare_broker_redis::Tls;
use rustls::RootCertStore;

use crate::config::Redis;
use crate::pem_files::{self, FileError};

/// Why encrypted connections cannot be made. Says which file, and nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or is not what it should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// The machine trusts nobody.
    #[error("no certificates to trust are installed on this machine: name some in redis.tls_ca_file")]
    NoSystemRoots,
    /// Only one of certificate and key is there.
    #[error("redis.tls_cert_file and redis.tls_key_file belong together: one of them is missing")]
    Half,
    /// They do not fit together.
    #[error("redis.tls_cert_file and redis.tls_key_file: {0}")]
    Identity(rustls::Error),
    /// No protocol version is left.
    #[error("TLS to Redis: {0}")]
    Versions(rustls::Error),
}

/// Reads the files.
///
/// # Errors
/// See [`Error`].
pub fn tls(redis: &Redis) -> Result<Tls, Error> {
    let trusting = pem_files::client(roots(redis.tls_ca_file.as_deref())?).map_err(Error::Versions)?;
    let client = match (&redis.tls_cert_file, &redis.tls_key_file) {
        (None, None) => trusting.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = pem_files::certificates(cert).map_err(|error| error.of("redis.tls_cert_file"))?;
            let key = pem_files::key(key).map_err(|error| error.of("redis.tls_key_file"))?;
            trusting.with_client_auth_cert(chain, key).map_err(Error::Identity)?
        }
        _ => return Err(Error::Half),
    };
    Ok(Tls { client: Arc::new(client), server_name: redis.tls_server_name.clone() })
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let roots = pem_files::trusted(file).map_err(|error| error.of("redis.tls_ca_file"))?;
    if roots.is_empty() { Err(Error::NoSystemRoots) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn files_that_are_of_no_use_are_named() {
        let dir = std::env::temp_dir().join(format!("fanfare-redis-tls-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let empty = dir.join("empty.pem");
        std::fs::write(&empty, "nothing").unwrap();
        let with = |change: fn(&mut Redis, PathBuf), file: &Path| {
            let mut redis = Redis::default();
            change(&mut redis, file.to_owned());
            tls(&redis).unwrap_err().to_string()
        };
        let missing = with(|redis, file| redis.tls_ca_file = Some(file), &dir.join("none.pem"));
        assert!(missing.starts_with("redis.tls_ca_file = ") && missing.contains("No such file"), "{missing}");
        let holds = with(|redis, file| redis.tls_ca_file = Some(file), &empty);
        assert!(holds.contains("empty.pem") && holds.contains("nothing of the kind"), "{holds}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = std::env::temp_dir().join(format!("fanfare-redis-identity-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&cert, ca.cert.pem()).unwrap();
        std::fs::write(&key, ca.signing_key.serialize_pem()).unwrap();
        let half = Redis { tls_ca_file: Some(cert.clone()), tls_cert_file: Some(cert), ..Redis::default() };
        assert!(matches!(tls(&half), Err(Error::Half)));
        assert!(tls(&Redis { tls_key_file: Some(key), ..half }).is_ok());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
