//! What may change while a node runs.

use std::sync::Arc;

use fanfare_auth::Verifier;
use fanfare_broker::namespaces::Namespaces;

use crate::options::Options;

/// Settings that a running gateway takes in place of those that it was started with. Of the options these have to be
/// as before: the node's name and version, the number of shards, the size of rings, and the times of pings, of which
/// clients were told. A limit that is lowered holds for what comes: nobody is closed for it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What sessions are run with.
    pub options: Arc<Options>,
    /// What tokens are judged by.
    pub verifier: Arc<Verifier>,
    /// Options of channels.
    pub namespaces: Arc<Namespaces>,
}
