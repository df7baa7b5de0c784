//! Which keys does an issuer sign with now?
//!
//! [`KeySets::start`] keeps the keys of one issuer current: from a JWKS by URL, or by OIDC discovery. It is a
//! [`KeySource`](fanfare_auth::KeySource) for the verifier, which never waits in the middle of judging.
//!
//! What holds:
//!
//! - **K1** One task fetches for an issuer, one fetch at a time; who waits for keys waits for that task.
//! - **K2** A key id that is not known leads to one fetch, and to no further one within [`limits::RETRY_INTERVAL`].
//! - **K3** No URL is made from anything that a token says: the URLs are the configured one and the `jwks_uri` of a
//!   discovery document that came from it.
//! - **K4** An address that comes out of such a document is resolved once, judged, and connected to as it was judged.
//!   Redirects are not followed.
//! - **K5** Keys that cannot be renewed are used for a bounded time.
//! - **K6** An answer is bounded in bytes and in time, a key set in keys.

#![warn(missing_docs)]

mod address;
mod endpoint;
mod fetch;
pub mod limits;
mod metrics;
mod refresh;

use std::sync::Arc;
use std::time::Duration;

pub use endpoint::{Endpoint, EndpointError};
pub use fetch::FetchError;
pub use metrics::Metrics;
pub use refresh::KeySets;

/// How the keys of one issuer are found and kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the issuer is called here, in the log.
    pub name: String,
    /// What it calls itself: `iss`, and `issuer` in its discovery document.
    pub issuer: String,
    /// Where its keys are; `None` asks the issuer's discovery document.
    pub jwks: Option<Endpoint>,
    /// Whom to trust on the way.
    pub tls: Arc<rustls::ClientConfig>,
    /// How often keys are fetched again.
    pub refresh_interval: Duration,
    /// How long keys are used when they cannot be fetched again.
    pub stale_ttl: Duration,
    /// Time for one answer, from the name to the last byte.
    pub timeout: Duration,
    /// Where it is counted how that goes.
    pub metrics: Metrics,
}
