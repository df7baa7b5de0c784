//! What can go wrong, said so that the reader knows what to do.

use fanfare_protocol::{ChannelError, ErrorReply};

/// Why an operation failed. Ask [`Error::code`], [`Error::is_temporary`] and [`Error::is_unreachable`] instead of
/// matching where you can.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of the node is not one.
    #[error("{address:?} is not the address of a node: {problem}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The address asks for TLS, and nobody has said whom to trust.
    #[error("{0} asks for TLS, and the program does not say whose certificates it trusts")]
    NobodyTrusted(String),
    /// The channel's name is outside the grammar.
    #[error("{name:?} cannot be a channel: {problem}")]
    Channel {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: ChannelError,
    },
    /// The payload is not JSON, which the JSON encoding and the server API need.
    #[error("the data is not JSON: {0}")]
    NotJson(String),
    /// No connection came about.
    #[error("cannot reach {address}: {cause}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why not.
        cause: String,
    },
    /// Something answered, but not as a node does.
    #[error("the node answered HTTP {status}: {message}")]
    Http {
        /// The status.
        status: u16,
        /// What the answer says.
        message: String,
    },
    /// The node refused the operation.
    #[error("{message} (code {code})")]
    Refused {
        /// The protocol's error code.
        code: u32,
        /// The node's words.
        message: String,
        /// Whether the same operation may succeed later.
        temporary: bool,
    },
    /// The node closed the connection, mostly for good: its code says so. An operation that waited for its reply may
    /// or may not have been done.
    #[error("the node closed the connection: {reason} (code {code})")]
    Closed {
        /// The protocol's disconnect code.
        code: u32,
        /// The node's words.
        reason: String,
    },
    /// The connection was lost before the reply came. The operation may or may not have been done.
    #[error("the connection was lost before the reply came")]
    Disconnected,
    /// No reply in time. The operation may or may not have been done.
    #[error("no reply in time")]
    TimedOut,
    /// This client has a subscription to the channel already.
    #[error("there is a subscription to {0} already")]
    AlreadySubscribed(String),
    /// No token could be had.
    #[error("no token: {0}")]
    Token(String),
    /// An answer that is not to be understood.
    #[error("the node's answer is not to be understood: {0}")]
    Answer(String),
    /// The client was closed.
    #[error("the client is closed")]
    Stopped,
}

impl Error {
    /// The protocol's error or disconnect code, when the node gave one.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } | Self::Closed { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same operation may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Refused { temporary, .. } => *temporary,
            Self::Unreachable { .. } | Self::Disconnected | Self::TimedOut => true,
            Self::Http { status, .. } => matches!(status, 429 | 502..=504),
            _ => false,
        }
    }

    /// Whether no node was reached at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl From<ErrorReply> for Error {
    fn from(reply: ErrorReply) -> Self {
        Self::Refused { code: reply.code, message: reply.message, temporary: reply.temporary }
    }
}

/// What keeps `data` from being JSON, if something does.
pub(crate) fn json_problem(data: &[u8]) -> Option<String> {
    serde_json::from_slice::<&serde_json::value::RawValue>(data).err().map(|error| error.to_string())
}
