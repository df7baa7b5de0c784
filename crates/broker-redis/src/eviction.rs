//! Whether the server throws keys away when its memory is full, looked up on each new connection.
//!
//! All that is kept here has a lifetime, so that every policy but `noeviction` may take it. Nothing is lost silently
//! then, but positions go, and with them recovery, and keys that make a publish idempotent: an operator is warned.

use crate::fault::Fault;
use crate::link::Live;
use crate::metrics::Counters;
use crate::options::Options;

/// Asks for the policy, and warns once each time that one begins to evict.
pub(crate) async fn look(live: &Live, options: &Options, counters: &Counters) -> Result<(), Fault> {
    let memory: String = live.send(redis::cmd("INFO").arg("memory")).await?;
    // A server that does not tell, as some that are offered as a service, is not accused.
    let policy = memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).unwrap_or("noeviction");
    let evicts = policy != "noeviction";
    if evicts && counters.evicting.get() == 0 {
        let server = &options.server;
        tracing::warn!(%server, policy, "Redis is set to evict keys at maxmemory: set maxmemory-policy to noeviction");
    }
    counters.evicting.set(i64::from(evicts));
    Ok(())
}
