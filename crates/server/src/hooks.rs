//! From the configured hooks to what the gateway asks.

use std::sync::Arc;

use fanfare_gateway::{Backend, Hook};
use fanfare_hooks::{HookOptions, Hooks, Metrics, Options};
use http::HeaderName;

use crate::broker::payload_limits;
use crate::config::{Config, HookConfig};
use crate::pem_files::{self, FileError};

/// Why hooks cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificates cannot be read.
    #[error(transparent)]
    CaFile(#[from] FileError),
    /// No protocol version is left.
    #[error("TLS to hooks: {0}")]
    Versions(#[from] rustls::Error),
    /// The metrics cannot be made.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The hooks of a node, counted among its metrics; `None` without any. Call it within the node's runtime.
///
/// # Errors
/// See [`Error`].
pub(crate) fn backend(config: &Config, node: &crate::metrics::Metrics) -> Result<Option<Arc<dyn Backend>>, Error> {
    if config.hooks.is_empty() {
        return Ok(None);
    }
    let metrics = Metrics::new()?;
    metrics.collectors().into_iter().try_for_each(|collector| node.register(collector))?;
    let hooks = config.hooks.iter().map(|(hook, options)| Ok((*hook, with_tls(*hook, options)?)));
    let options = Options { hooks: hooks.collect::<Result<_, Error>>()?, payload: payload_limits(config) };
    Ok(Some(Arc::new(Hooks::new(options, &metrics))))
}

/// The headers that some hook passes on, each once.
pub(crate) fn passed_on(config: &Config) -> Vec<HeaderName> {
    let mut names: Vec<HeaderName> = config.hooks.values().flat_map(|hook| hook.pass_headers.iter().cloned()).collect();
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names
}

fn with_tls(hook: Hook, config: &HookConfig) -> Result<HookOptions, Error> {
    // A machine that trusts nobody is no error here: hooks may be asked without TLS, and if not, the log says why.
    let roots = pem_files::trusted(config.ca_file.as_deref());
    let roots = roots.map_err(|error| error.of(format!("hooks.{}.ca_file", hook.name())))?;
    Ok(HookOptions {
        endpoint: config.endpoint.clone(),
        tls: Arc::new(pem_files::client(roots)?.with_no_client_auth()),
        timeout: config.timeout,
        in_flight_max: config.in_flight_max,
        answer_bytes_max: config.answer_bytes_max,
        pass_headers: config.pass_headers.clone(),
        headers: config.headers.clone(),
        signing_keys: config.signing_keys.clone(),
    })
}
