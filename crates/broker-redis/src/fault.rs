//! What went wrong with Redis, and what that means for the caller.
//!
//! Errors that come out of a script are wrapped, differently by each version of Redis ("ERR Error running script …
//! -READONLY …"): they are told apart by the code that they carry, wherever it stands.

use std::fmt;

use fanfare_broker::Error;
use redis::{ErrorKind, RedisError};

/// Why Redis did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// There is no connection, and nothing was sent.
    Disconnected,
    /// The connection broke while an answer was due: the outcome is unknown.
    Cut,
    /// No answer came in time: the outcome is unknown.
    Timeout,
    /// The server is a replica.
    ReadOnly,
    /// The server reads its data.
    Loading,
    /// The server's memory is full.
    OutOfMemory,
    /// The server does not know the script any more.
    NoScript,
    /// The server wants to be logged in to.
    NoAuth,
    /// The user may not do this.
    NoPermission,
    /// A script runs for too long.
    Busy,
    /// A key holds something that is not ours.
    WrongType,
    /// A replica has lost its master.
    MasterDown,
    /// The server cannot write its snapshot, and is set to refuse writes then.
    Misconfigured,
    /// Fewer replicas are attached than the server is set to want.
    NoReplicas,
    /// The key is on another shard of the cluster.
    Moved,
    /// The key is on its way to another shard of the cluster.
    Ask,
    /// Some of the keys are on their way to another shard of the cluster.
    TryAgain,
    /// The cluster lacks the shard of the key.
    ClusterDown,
    /// The Sentinels do not know the master's name.
    UnknownMaster,
    /// The answer is not what the command is documented to give.
    Nonsense,
    /// Anything else that the server refused.
    Other,
}

/// The codes that errors carry.
const CODES: [(&str, Fault); 18] = [
    ("READONLY", Fault::ReadOnly),
    ("LOADING", Fault::Loading),
    ("OOM", Fault::OutOfMemory),
    ("NOSCRIPT", Fault::NoScript),
    ("NOAUTH", Fault::NoAuth),
    ("WRONGPASS", Fault::NoAuth),
    ("NOPERM", Fault::NoPermission),
    ("BUSY", Fault::Busy),
    ("WRONGTYPE", Fault::WrongType),
    ("MASTERDOWN", Fault::MasterDown),
    ("MISCONF", Fault::Misconfigured),
    ("NOREPLICAS", Fault::NoReplicas),
    ("MOVED", Fault::Moved),
    ("ASK", Fault::Ask),
    ("TRYAGAIN", Fault::TryAgain),
    ("CLUSTERDOWN", Fault::ClusterDown),
    // What scripts get of a command that the user may not use has no code in Redis 6.2, nor in Valkey 9.
    ("user executing the script can't", Fault::NoPermission),
    ("ACL failure in script", Fault::NoPermission),
];

impl Fault {
    /// All of them, in the order of declaration.
    pub(crate) const ALL: [(Self, &'static str); 21] = [
        (Self::Disconnected, "disconnected"),
        (Self::Cut, "cut"),
        (Self::Timeout, "timeout"),
        (Self::ReadOnly, "read_only"),
        (Self::Loading, "loading"),
        (Self::OutOfMemory, "out_of_memory"),
        (Self::NoScript, "no_script"),
        (Self::NoAuth, "no_auth"),
        (Self::NoPermission, "no_permission"),
        (Self::Busy, "busy"),
        (Self::WrongType, "wrong_type"),
        (Self::MasterDown, "master_down"),
        (Self::Misconfigured, "misconfigured"),
        (Self::NoReplicas, "no_replicas"),
        (Self::Moved, "moved"),
        (Self::Ask, "ask"),
        (Self::TryAgain, "try_again"),
        (Self::ClusterDown, "cluster_down"),
        (Self::UnknownMaster, "unknown_master"),
        (Self::Nonsense, "nonsense"),
        (Self::Other, "other"),
    ];

    /// What an error's text says.
    pub(crate) fn of_text(text: &str) -> Self {
        let carried = |code: &str| text.match_indices(code).any(|(at, _)| is_word(text, at, code.len()));
        CODES.iter().find(|(code, _)| carried(code)).map_or(Self::Other, |(_, fault)| *fault)
    }

    /// Whether the server may have done it all the same. An error without a code that we know may be a script's, from
    /// anywhere within.
    fn is_unknown(self) -> bool {
        matches!(self, Self::Cut | Self::Timeout | Self::Nonsense | Self::Other)
    }

    /// The same of a command that was not sent, since the connection could not be made for this reason.
    pub(crate) fn unsent(self) -> Self {
        if self.is_unknown() { Self::Disconnected } else { self }
    }

    /// What the caller of a command is told that was sent once at most.
    pub(crate) fn error(self) -> Error {
        match self {
            Self::OutOfMemory => Error::Overloaded(self.reason()),
            _ if self.is_unknown() => self.unsure(),
            _ => Error::Refused(self.reason()),
        }
    }

    /// What the caller is told where a part may be done, or where the command was sent before: that Redis refuses it
    /// now says nothing of then.
    pub(crate) fn unsure(self) -> Error {
        Error::Unavailable(self.reason())
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Disconnected => "Redis is not connected",
            Self::Cut => "the connection to Redis broke",
            Self::Timeout => "Redis did not answer in time",
            Self::ReadOnly => "Redis is a replica",
            Self::Loading => "Redis is loading its data",
            Self::OutOfMemory => "Redis is out of memory",
            Self::NoScript => "Redis lost the script",
            Self::NoAuth => "Redis refuses the login",
            Self::NoPermission => "the Redis user lacks a permission",
            Self::Busy => "Redis is busy with a script",
            Self::WrongType => "a key in Redis holds something else",
            Self::MasterDown => "Redis has lost its master",
            Self::Misconfigured => "Redis cannot write to its disk",
            Self::NoReplicas => "Redis has too few replicas",
            Self::Moved => "Redis has moved",
            Self::Ask | Self::TryAgain => "Redis moves the channel to another shard",
            Self::ClusterDown => "the Redis Cluster lacks the channel's shard",
            Self::UnknownMaster => "the Sentinels do not know the master's name",
            Self::Nonsense => "Redis answered something else",
            Self::Other => "Redis refused the command",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

fn is_word(text: &str, at: usize, length: usize) -> bool {
    let inside = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    !inside(at.checked_sub(1).and_then(|before| bytes.get(before))) && !inside(bytes.get(at + length))
}

impl From<&RedisError> for Fault {
    fn from(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        match error.kind() {
            ErrorKind::Io => Self::Cut,
            ErrorKind::AuthenticationFailed => Self::NoAuth,
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Nonsense,
            _ => Self::of_text(&format!("{} {}", error.code().unwrap_or_default(), error.detail().unwrap_or_default())),
        }
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        Self::from(&error)
    }
}

/// A fault, and where a cluster says that the key is.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    /// `host:port`.
    pub(crate) to: Option<String>,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, to: None }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self { fault: Fault::from(&error), to: error.redirect_node().map(|(to, _)| to.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_the_code_they_carry() {
        let wrapped = "ERR Error running script (call to f_1): @user_script:9: -READONLY You can't write";
        for (text, fault) in [
            (wrapped, Fault::ReadOnly),
            ("@user_script: 3: -OOM command not allowed when used memory > 'maxmemory'.", Fault::OutOfMemory),
            ("OOM command not allowed script: f_1, on @user_script:3.", Fault::OutOfMemory),
            ("LOADING Redis is loading the dataset in memory", Fault::Loading),
            ("WRONGTYPE Operation against a key", Fault::WrongType),
            ("BUSY Redis is busy running a script", Fault::Busy),
            ("MASTERDOWN Link with MASTER is down", Fault::MasterDown),
            ("NOAUTH Authentication required.", Fault::NoAuth),
            ("NOPERM this user has no permissions to run the 'info' command", Fault::NoPermission),
            ("ERR The user executing the script can't run this command or subcommand", Fault::NoPermission),
            ("ERR ACL failure in script: User ann has no permissions to run the 'info' command", Fault::NoPermission),
            ("MOVED 3999 127.0.0.1:6381", Fault::Moved),
            ("CLUSTERDOWN Hash slot not served", Fault::ClusterDown),
            ("ERR syntax error", Fault::Other),
            ("ERR unknown key ROOMBUSYNESS", Fault::Other),
        ] {
            assert_eq!(Fault::of_text(text), fault, "{text}");
        }
    }

    #[test]
    fn every_fault_has_its_label() {
        for (at, (fault, _)) in Fault::ALL.iter().enumerate() {
            assert_eq!(*fault as usize, at);
        }
    }

    #[test]
    fn what_may_have_happened_is_never_called_refused() {
        for fault in [Fault::Cut, Fault::Timeout, Fault::Nonsense, Fault::Other] {
            assert!(matches!(fault.error(), Error::Unavailable(_)));
        }
        for (fault, _) in Fault::ALL {
            assert!(matches!(fault.unsure(), Error::Unavailable(_)));
        }
    }

    #[test]
    fn what_redis_names_a_reason_for_did_not_happen() {
        for fault in [
            Fault::Disconnected,
            Fault::ReadOnly,
            Fault::Loading,
            Fault::NoScript,
            Fault::NoAuth,
            Fault::NoPermission,
            Fault::Busy,
            Fault::WrongType,
            Fault::MasterDown,
            Fault::Misconfigured,
            Fault::NoReplicas,
            Fault::ClusterDown,
        ] {
            assert!(matches!(fault.error(), Error::Refused(_)), "{fault:?}");
        }
        assert!(matches!(Fault::OutOfMemory.error(), Error::Overloaded(_)));
    }
}
