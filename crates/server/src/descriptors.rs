//! File descriptors: how many the process may have, and how many of them connections get.
//!
//! Without any left the node could not accept, and could not read the keys of an issuer either. So sessions and HTTP
//! connections are bounded such that some are always left.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For everything but connections of clients: the runtimes' own, Redis, issuers, files. A quarter where there are few.
pub(crate) const OTHERS: usize = 128;

/// HTTP connections at once; further ones wait in the backlog. An upgraded one counts no more. Each may hold
/// [`crate::head::HEAD_BYTES_MAX`], in the gate or in hyper: 8,192 × 16 KiB = 128 MiB. An eighth of the descriptors, where
/// these are fewer.
pub(crate) const HTTP_CONNECTIONS_MAX: usize = 8_192;

/// How descriptors are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) sessions: usize,
    pub(crate) http_connections: usize,
}

impl Shares {
    fn of(descriptors: usize) -> Self {
        let others = OTHERS.min(descriptors / 4);
        let http_connections = HTTP_CONNECTIONS_MAX.min(descriptors / 8).max(1);
        Self { sessions: descriptors.saturating_sub(others + http_connections).max(1), http_connections }
    }

    /// Shares out what the process may have, which is first raised as far as it may be; with at most so many sessions. An
    /// operator who wrote that many is told if there are fewer.
    pub(crate) fn find(sessions_max: usize) -> Self {
        let descriptors = raised();
        let shares = Self::of(descriptors);
        if shares.sessions >= sessions_max {
            return Self { sessions: sessions_max, ..shares };
        }
        let (sessions, http_connections) = (shares.sessions, shares.http_connections);
        if sessions_max == fanfare_gateway::Options::default().sessions_max {
            tracing::info!(
                descriptors,
                sessions,
                http_connections,
                "file descriptors bound how many sessions there may be"
            );
        } else {
            tracing::warn!(
                descriptors,
                sessions_max,
                sessions,
                http_connections,
                needed = sessions_max + HTTP_CONNECTIONS_MAX + OTHERS,
                "limits.sessions_max is more than the limit of file descriptors (LimitNOFILE, ulimit -n) has room for: \
                 fewer sessions are taken"
            );
        }
        shares
    }
}

/// How many descriptors the process may have, after it has asked for as many as it may ask for.
fn raised() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::debug!(%error, "the limit of file descriptors was not raised");
    }
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(descriptors: usize, sessions: usize, http_connections: usize) {
        assert_eq!(Shares::of(descriptors), Shares { sessions, http_connections });
    }

    #[test]
    fn some_are_always_left() {
        check(0, 1, 1);
        check(64, 40, 8);
        check(1_024, 768, 128);
        check(20_000, 17_372, 2_500);
        check(1_048_576, 1_040_256, 8_192);
        check(usize::MAX, usize::MAX - 8_320, 8_192);
    }

    #[test]
    fn nobody_gets_more_sessions_than_were_asked_for() {
        assert_eq!(Shares::find(7).sessions, 7);
    }
}
