//! Why a connection is closed: the code and reason of a close frame.

use std::borrow::Cow;

/// Code and reason of a close. The code tells the client whether to come back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Disconnect {
    /// Close code.
    pub code: u16,
    /// Text for people, at most [`Disconnect::REASON_BYTES_MAX`].
    pub reason: Cow<'static, str>,
}

/// Why a custom disconnect is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectError {
    /// The code is not the application's to give.
    #[error("disconnect code {code} is not within 3000 to 4999")]
    Code {
        /// The code asked for.
        code: u32,
    },
    /// A close frame has no room for the reason.
    #[error("the disconnect reason has {bytes} bytes, at most {} are allowed", Disconnect::REASON_BYTES_MAX)]
    Reason {
        /// Length of the reason.
        bytes: usize,
    },
}

/// Declares the constants: name, code, reason, and the reason again as documentation.
macro_rules! disconnects {
    ($($name:ident = $code:literal, $reason:literal;)*) => {
        impl Disconnect {
            $(
                #[doc = concat!("Code ", $code, ": ", $reason, ".")]
                pub const $name: Self = Self { code: $code, reason: Cow::Borrowed($reason) };
            )*

            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

disconnects! {
    NORMAL = 1000, "normal closure";
    PROTOCOL_ERROR = 1002, "protocol error";
    UNSUPPORTED_DATA = 1003, "unsupported data";
    INVALID_PAYLOAD = 1007, "invalid payload";
    POLICY = 1008, "policy violation";
    MESSAGE_TOO_BIG = 1009, "message too big";
    PANIC = 1011, "internal error";

    CONNECTION_CLOSED = 3000, "connection closed";
    SHUTDOWN = 3001, "shutdown";
    INTERNAL_ERROR = 3004, "internal server error";
    CONNECTION_EXPIRED = 3005, "connection expired";
    SUBSCRIPTION_EXPIRED = 3006, "subscription expired";
    SLOW = 3008, "slow";
    WRITE_ERROR = 3009, "write error";
    INSUFFICIENT_STATE = 3010, "insufficient state";
    FORCE_RECONNECT = 3011, "force reconnect";
    NO_PONG = 3012, "no pong";
    TOO_MANY_REQUESTS = 3013, "too many requests";
    STATE_INVALIDATED = 3014, "state invalidated";

    INVALID_TOKEN = 3500, "invalid token";
    BAD_REQUEST = 3501, "bad request";
    STALE = 3502, "stale";
    FORCE_DISCONNECT = 3503, "force disconnect";
    CONNECTION_LIMIT = 3504, "connection limit";
    CHANNEL_LIMIT = 3505, "channel limit";
    INAPPROPRIATE_PROTOCOL = 3506, "inappropriate protocol";
    PERMISSION_DENIED = 3507, "permission denied";
    NOT_AVAILABLE = 3508, "not available";
    TOO_MANY_ERRORS = 3509, "too many errors";
}

impl Disconnect {
    /// Longest reason in bytes: a control frame carries 125, the code takes 2.
    pub const REASON_BYTES_MAX: usize = 123;

    /// A disconnect with a code of 3000 to 4999 and a reason that an application gives.
    pub fn custom(code: u32, reason: String) -> Result<Self, DisconnectError> {
        let refused = DisconnectError::Code { code };
        let code = u16::try_from(code).map_err(|_| refused)?;
        if !(3000..=4999).contains(&code) {
            return Err(refused);
        }
        if reason.len() > Self::REASON_BYTES_MAX {
            return Err(DisconnectError::Reason { bytes: reason.len() });
        }
        Ok(Self { code, reason: Cow::Owned(reason) })
    }

    /// Whether a client comes back by itself after this code.
    pub fn reconnects(&self) -> bool {
        !matches!(self.code, 1009 | 3500..=3999 | 4500..=4999)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_error(code: u32) -> Result<Disconnect, DisconnectError> {
        Err(DisconnectError::Code { code })
    }

    #[test]
    fn the_ranges_say_who_comes_back() {
        for (code, expected) in [
            (1000, true),
            (1008, true),
            (1009, false),
            (2999, true),
            (3000, true),
            (3499, true),
            (3500, false),
            (3999, false),
            (4000, true),
            (4499, true),
            (4500, false),
            (4999, false),
            (5000, true),
        ] {
            assert_eq!(Disconnect { code, reason: "".into() }.reconnects(), expected, "{code}");
        }
    }

    #[test]
    fn every_reason_fits_a_close_frame_and_no_code_is_given_twice() {
        let mut codes: Vec<u16> = Disconnect::ALL.iter().map(|disconnect| disconnect.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Disconnect::ALL.len());
        assert!(Disconnect::ALL.iter().all(|disconnect| disconnect.reason.len() <= Disconnect::REASON_BYTES_MAX));
    }

    #[test]
    fn an_application_gives_codes_of_its_range() {
        for code in [3000, 3503, 4000, 4999] {
            assert_eq!(Disconnect::custom(code, "x".repeat(123)).unwrap().code, code as u16);
        }
    }

    #[test]
    fn other_codes_and_long_reasons_are_refused() {
        for code in [0, 1000, 2999, 5000, 65_536 + 4000, u32::MAX] {
            assert_eq!(Disconnect::custom(code, String::new()), code_error(code));
        }
        assert_eq!(Disconnect::custom(4000, "é".repeat(62)), Err(DisconnectError::Reason { bytes: 124 }));
    }
}
