//! What the Redis user has to be allowed, tried out on each new connection.
//!
//! A script does once what the others do, with keys of its own that it deletes. So a right that is missing, of which
//! `INFO` is the likeliest, since it counts as dangerous, is found at the start and not by the first publication that
//! needs it.

use crate::fault::Fault;
use crate::link::Live;
use crate::options::Options;

/// What is sent as it is, and not done in scripts.
const SENT: [&str; 7] = ["eval", "evalsha", "publish", "subscribe", "unsubscribe", "ping", "info"];

/// What an operator has to do; `None` if nothing is missing.
pub(crate) async fn missing(live: &Live, options: &Options) -> Result<Option<String>, Fault> {
    let mut rehearsal = redis::cmd("EVAL");
    let (key, set) = (format!("{}:rights", options.prefix), format!("{}:rights-set", options.prefix));
    let stream = format!("{}:rights-stream", options.prefix);
    rehearsal.arg(include_str!("script/rights.lua")).arg(3).arg(key).arg(set).arg(stream);
    match live.send::<Vec<String>>(&rehearsal).await {
        Ok(missing) if missing.is_empty() => Ok(None),
        Ok(missing) => Ok(Some(advice(options, &missing))),
        Err(Fault::NoPermission) => Ok(Some(advice(options, &[]))),
        Err(fault) => Err(fault),
    }
}

fn advice(options: &Options, missing: &[String]) -> String {
    let user = options.server.info().redis_settings().username().unwrap_or("default");
    let missing = missing.iter().map(String::as_str);
    let commands: Vec<String> = SENT.into_iter().chain(missing).map(|command| format!("+{command}")).collect();
    let (commands, prefix) = (commands.join(" "), &options.prefix);
    format!(
        "the Redis user lacks a permission; an administrator adds it with: ACL SETUSER {user} ~{prefix}:* resetchannels &{prefix}:* {commands}"
    )
}
