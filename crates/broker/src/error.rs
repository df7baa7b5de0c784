//! Why a broker refused.

use fanfare_protocol::ErrorCode;

/// The reason why a broker did not do what it was asked. [`Error::code`] gives the code for the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The node cannot take the publication now; nothing was stored. Trying again later may succeed.
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// A configured budget is used up; nothing was stored and nothing was evicted.
    #[error("the broker's limit {limit} is reached")]
    Budget {
        /// The configuration key of the limit.
        limit: &'static str,
    },
    /// The position asked for belongs to another life of the stream.
    #[error("the position belongs to another epoch of the channel")]
    UnrecoverablePosition,
    /// The request cannot be answered in any state.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// What the broker is built on refused; nothing was stored. Trying again later may succeed.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// These nodes did not answer in time, by name. The others have done what was asked.
    #[error("unavailable: no answer from {}", .0.join(", "))]
    NodesMissing(Vec<String>),
    /// The broker or a node behind it did not answer in time; the outcome is unknown.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
}

impl Error {
    /// The error code that a client or a backend gets.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Overloaded(_)
            | Self::Budget { .. }
            | Self::Refused(_)
            | Self::NodesMissing(_)
            | Self::Unavailable(_) => ErrorCode::Internal,
            Self::UnrecoverablePosition => ErrorCode::UnrecoverablePosition,
            Self::BadRequest(_) => ErrorCode::BadRequest,
        }
    }
}
