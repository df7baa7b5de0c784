//! A session as a client has it: connected, and then quiet for a while, which is when something on the way may cut it.

use std::time::{Duration, Instant};

use fanfare_client::{Client, ConnectionEvent, Error, Events, TokenSource};
use serde_json::Value;
use tokio::time::timeout;

use super::super::advice::hint_for_code;
use super::super::node_flags::TokenFlags;
use super::super::output::read_secret;
use super::super::{Failure, Io};
use super::Finding;
use super::way::Way;

/// A session, and what happens to its connection.
pub(super) struct Session {
    client: Client,
    events: Events,
}

/// Connects as a client does.
///
/// # Errors
/// What keeps it from being let in.
pub(super) async fn open(way: &Way, token: Option<TokenSource>) -> Result<Session, Finding> {
    let has_token = token.is_some();
    let mut builder = Client::builder(&way.address.websocket_url()).name("doctor");
    if let Some(tls) = &way.tls {
        builder = builder.tls(tls.clone());
    }
    if let Some(source) = token {
        builder = builder.token(source);
    }
    let connected = builder.connect_with_events().await;
    connected.map(|(client, events)| Session { client, events }).map_err(|error| of_refusal(&error, has_token))
}

impl Session {
    /// Says nothing for so long but answers to pings, and ends.
    pub(super) async fn be_quiet(mut self, idle: Duration) -> Finding {
        let found = be_quiet(&mut self.events, idle).await;
        self.client.close().await;
        found
    }
}

fn of_refusal(error: &Error, has_token: bool) -> Finding {
    if !has_token && matches!(error.code(), Some(3501 | 3507 | 101)) {
        return Finding::skipped("session", "the hub wants a token: give one by --token-file or FANFARE_TOKEN");
    }
    let remedy = error.code().and_then(hint_for_code).unwrap_or("see the log of the node");
    Finding::problem("session", error.to_string(), remedy)
}

async fn be_quiet(events: &mut Events, idle: Duration) -> Finding {
    let begun = Instant::now();
    while let Ok(event) = timeout(idle.saturating_sub(begun.elapsed()), events.next()).await {
        match event {
            Some(ConnectionEvent::Disconnected { code, reason, .. }) => {
                return of_cut(begun.elapsed(), code, &reason);
            }
            Some(_) => {}
            None => return of_cut(begun.elapsed(), 0, "the connection has ended"),
        }
    }
    Finding::good("idle", format!("a quiet connection was still there after {} s", idle.as_secs()))
}

fn of_cut(after: Duration, code: u32, reason: &str) -> Finding {
    let text = format!("a quiet connection was cut after {} s: {reason} ({code})", after.as_secs());
    let remedy = match code {
        3001 | 3005 => "a node has drained: try again when nobody deploys",
        _ => {
            "something on the way cuts quiet connections: its time-out has to be longer than two pings of a node \
             (session.ping_interval, 25 s each); deploy/proxies has 75 s"
        }
    };
    Finding::problem("idle", text, remedy)
}

/// Compares what a token says of its time with the clock of the hub.
pub(super) fn look_at_token(flags: &TokenFlags, server_time: Option<u64>, io: &Io) -> Result<Vec<Finding>, Failure> {
    let Some(now) = server_time else { return Ok(Vec::new()) };
    let text = match &flags.token_file {
        Some(path) => Some(read_secret(path)?),
        None => io.secret("FANFARE_TOKEN")?,
    };
    let Some(text) = text else { return Ok(Vec::new()) };
    Ok(vec![match fanfare_auth::inspect(text.expose()) {
        Ok(inspection) => of_times(&inspection.claims, now),
        Err(error) => Finding::problem("token", error.to_string(), "give the token alone, as your backend makes it"),
    }])
}

fn of_times(claims: &Value, now: u64) -> Finding {
    let time = |name: &str| claims.get(name).and_then(Value::as_f64).map(|seconds| seconds as u64);
    let keep_time = "let the machine that makes tokens and the nodes keep time (NTP)";
    match (time("nbf"), time("iat"), time("exp")) {
        (_, _, Some(ends)) if ends <= now => Finding::problem(
            "token",
            format!("by the hub's clock it has ended {} s ago", now - ends),
            format!("make a new one; if it is new, {keep_time}"),
        ),
        (Some(begins), _, _) if begins > now => {
            Finding::problem("token", format!("by the hub's clock it is good from in {} s on", begins - now), keep_time)
        }
        (_, Some(made), _) if made > now + 5 => {
            Finding::warning("token", format!("by the hub's clock it was made in {} s", made - now), keep_time)
        }
        (_, _, Some(ends)) => Finding::good("token", format!("good for another {} s by the hub's clock", ends - now)),
        (_, _, None) => {
            Finding::warning("token", "it never ends", "give tokens an end (exp), and let clients get new ones")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_token_is_judged_by_the_clock_of_the_hub() {
        for (claims, verdict, part) in [
            (json!({"iat": 990, "exp": 1_060}), Verdict::Good, "another 60 s"),
            (json!({"exp": 900}), Verdict::Problem, "ended 100 s ago"),
            (json!({"nbf": 1_100, "exp": 2_000}), Verdict::Problem, "in 100 s on"),
            (json!({"iat": 1_040, "exp": 2_000}), Verdict::Warning, "made in 40 s"),
            (json!({"sub": "42"}), Verdict::Warning, "never ends"),
        ] {
            let finding = of_times(&claims, 1_000);
            assert!(finding.verdict == verdict && finding.text.contains(part), "{claims}: {finding:?}");
        }
    }

    #[test]
    fn without_a_token_nothing_is_held_against_the_hub() {
        let refused = Error::Closed { code: 3501, reason: "invalid token".to_owned() };
        assert_eq!(of_refusal(&refused, false).verdict, Verdict::Skipped);
        assert_eq!(of_refusal(&refused, true).verdict, Verdict::Problem);
    }

    #[test]
    fn a_cut_by_a_drain_is_told_apart() {
        let remedy = |code| of_cut(Duration::from_secs(30), code, "gone").remedy.unwrap();
        assert!(remedy(3001).contains("drained") && remedy(0).contains("time-out"));
    }
}
