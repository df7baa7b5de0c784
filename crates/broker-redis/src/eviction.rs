//! Whether the server throws keys away when its memory is full, looked up on each new connection.
//!
//! All that is kept here has a lifetime, so that every policy but `noeviction` may take it. Nothing is lost silently
//! then, but positions go, and with them recovery, and keys that make a publish idempotent: an operator is warned.

use crate::fault::Fault;
use crate::link::Live;

/// Whether it does; an operator is warned then.
pub(crate) async fn evicts(live: &Live) -> Result<bool, Fault> {
    let memory = live.info("memory").await?;
    // A server that does not tell, as some that are offered as a service, is not accused.
    let policy = memory.field("maxmemory_policy").unwrap_or("noeviction");
    let evicts = policy != "noeviction";
    if evicts {
        let server = &live.address;
        tracing::warn!(%server, policy, "Redis is set to evict keys at maxmemory: set maxmemory-policy to noeviction");
    }
    Ok(evicts)
}
