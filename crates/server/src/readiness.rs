//! What `/readyz` says: whether the node should get new connections, and what else is worth knowing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_auth::RemoteIssuer;

use crate::broker::NodeBroker;
use crate::token_issuers;

/// Everything that is asked.
#[derive(Clone)]
pub(crate) struct Readiness {
    /// Cleared when the node drains.
    pub(crate) takes_connections: Arc<AtomicBool>,
    pub(crate) broker: NodeBroker,
    pub(crate) issuers: Vec<RemoteIssuer>,
}

impl Readiness {
    /// What is worth knowing of a node that is ready.
    ///
    /// # Errors
    /// Why it is not ready.
    pub(crate) fn ask(&self) -> Result<Option<String>, String> {
        if !self.takes_connections.load(Ordering::Acquire) {
            return Err("the node is draining".to_owned());
        }
        self.broker.ready()?;
        Ok(token_issuers::without_keys(&self.issuers))
    }
}
