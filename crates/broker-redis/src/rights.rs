//! What the Redis user has to be allowed, tried out on each new connection.
//!
//! A script does once what the others do, with keys of its own that it deletes. So a right that is missing, of which
//! `INFO` is the likeliest, since it counts as dangerous, is found at the start and not by the first publication that
//! needs it.

use crate::fault::Fault;
use crate::keys::{Keys, PubSub};
use crate::link::Live;
use crate::options::Options;
use crate::slots::Slot;

/// What is sent as it is, and not done in scripts.
const SENT: [&str; 7] = ["eval", "evalsha", "publish", "subscribe", "unsubscribe", "ping", "info"];

/// What is sent besides to a cluster.
const SENT_TO_CLUSTERS: [&str; 3] = ["cluster", "command", "asking"];

/// And to one with sharded pub/sub. Others do not know these words, and refuse a rule that has them.
const SENT_TO_SHARDS: [&str; 3] = ["spublish", "ssubscribe", "sunsubscribe"];

/// What an operator has to do; `None` if nothing is missing.
pub(crate) async fn missing(live: &Live, options: &Options, keys: &Keys, slot: Slot) -> Result<Option<String>, Fault> {
    let mut rehearsal = redis::cmd("EVAL");
    rehearsal.arg(include_str!("script/rights.lua")).arg(3).arg(&keys.rehearsal(slot)).arg(keys.publish_word());
    match live.send::<Vec<String>>(&rehearsal).await.map_err(|failure| failure.fault) {
        Ok(missing) if missing.is_empty() => Ok(None),
        Ok(missing) => Ok(Some(advice(options, keys, &missing))),
        Err(Fault::NoPermission) => Ok(Some(advice(options, keys, &[]))),
        // The slot on which it is tried is on its way to another shard, which says nothing of rights.
        Err(Fault::Moved | Fault::Ask | Fault::TryAgain) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The line that adds what is needed, and what was found missing in scripts.
pub(crate) fn advice(options: &Options, keys: &Keys, missing: &[String]) -> String {
    let user = options.server.login().username().unwrap_or("default");
    let clustered = if options.server.is_cluster() { &SENT_TO_CLUSTERS[..] } else { &[] };
    let sharded = if keys.pubsub() == PubSub::Sharded { &SENT_TO_SHARDS[..] } else { &[] };
    let missing = missing.iter().map(String::as_str);
    let commands: Vec<String> = SENT
        .iter()
        .chain(clustered)
        .chain(sharded)
        .copied()
        .chain(missing)
        .map(|command| format!("+{command}"))
        .collect();
    let (commands, prefix) = (commands.join(" "), &options.prefix);
    format!(
        "the Redis user lacks a permission; an administrator adds it with: ACL SETUSER {user} ~{prefix}:* resetchannels &{prefix}:* {commands}"
    )
}
