//! Codes of error replies: the command failed, the connection stays.

use crate::ErrorReply;

/// Why a command failed, as the client is told. Custom codes of an application are 400 to 1999 and not
/// listed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum ErrorCode {
    /// Something unexpected on this side; trying again may succeed.
    Internal = 100,
    /// The client is not authenticated.
    Unauthorized,
    /// The channel's namespace is not configured.
    UnknownChannel,
    /// The client may not do this.
    PermissionDenied,
    /// No such method.
    MethodNotFound,
    /// The client is subscribed to the channel already.
    AlreadySubscribed,
    /// A limit of the connection is reached.
    LimitExceeded,
    /// The command makes no sense in any state.
    BadRequest,
    /// The feature is off.
    NotAvailable,
    /// The token has expired: the client fetches a new one.
    TokenExpired,
    /// What was asked for expires in the past.
    Expired,
    /// Over a rate limit; trying again later may succeed.
    TooManyRequests,
    /// The position belongs to another epoch, or is no longer kept.
    UnrecoverablePosition,
    /// One page of a channel's state is asked for at a time.
    ConcurrentPagination,
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The text that goes with the number.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Internal => "internal server error",
            Self::Unauthorized => "unauthorized",
            Self::UnknownChannel => "unknown channel",
            Self::PermissionDenied => "permission denied",
            Self::MethodNotFound => "method not found",
            Self::AlreadySubscribed => "already subscribed",
            Self::LimitExceeded => "limit exceeded",
            Self::BadRequest => "bad request",
            Self::NotAvailable => "not available",
            Self::TokenExpired => "token expired",
            Self::Expired => "expired",
            Self::TooManyRequests => "too many requests",
            Self::UnrecoverablePosition => "unrecoverable position",
            Self::ConcurrentPagination => "concurrent pagination",
        }
    }

    /// Whether the client may try the same again.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests | Self::ConcurrentPagination)
    }

    /// The error for a reply.
    pub fn reply(self) -> ErrorReply {
        ErrorReply { code: self.code(), message: self.text().into(), temporary: self.is_temporary() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_those_of_the_protocol() {
        for (code, number, text) in [
            (ErrorCode::Internal, 100, "internal server error"),
            (ErrorCode::Unauthorized, 101, "unauthorized"),
            (ErrorCode::UnknownChannel, 102, "unknown channel"),
            (ErrorCode::PermissionDenied, 103, "permission denied"),
            (ErrorCode::MethodNotFound, 104, "method not found"),
            (ErrorCode::AlreadySubscribed, 105, "already subscribed"),
            (ErrorCode::LimitExceeded, 106, "limit exceeded"),
            (ErrorCode::BadRequest, 107, "bad request"),
            (ErrorCode::NotAvailable, 108, "not available"),
            (ErrorCode::TokenExpired, 109, "token expired"),
            (ErrorCode::Expired, 110, "expired"),
            (ErrorCode::TooManyRequests, 111, "too many requests"),
            (ErrorCode::UnrecoverablePosition, 112, "unrecoverable position"),
            (ErrorCode::ConcurrentPagination, 113, "concurrent pagination"),
        ] {
            assert_eq!((code.code(), code.text()), (number, text));
            assert_eq!(code.is_temporary(), [100, 111, 113].contains(&number), "{number}");
        }
    }

    #[test]
    fn the_reply_carries_all_three() {
        let reply = ErrorCode::TooManyRequests.reply();
        assert_eq!((reply.code, reply.message.as_str(), reply.temporary), (111, "too many requests", true));
    }
}
