//! What the codes of the protocol mean for a client: try again, or give up.

/// Code for what the token callback refuses, as the field's clients use it.
pub(crate) const UNAUTHORIZED: u32 = 1;
/// Unsubscribe code that announces a gap: subscribe again with recovery.
pub(crate) const UNSUBSCRIBE_RETRY_FIRST: u32 = 2500;
/// Unsubscribe code: the subscription's token has expired.
pub(crate) const UNSUBSCRIBE_EXPIRED: u32 = 2501;
/// Unsubscribe code: tokens and positions held for the subscription are void.
pub(crate) const UNSUBSCRIBE_STATE_INVALIDATED: u32 = 2502;
/// Close code: tokens and positions held for the connection are void.
pub(crate) const CLOSE_STATE_INVALIDATED: u32 = 3014;
/// Error code: the token has expired.
pub(crate) const TOKEN_EXPIRED: u32 = 109;
/// Close code: the server got a bigger frame than it takes.
const CLOSE_MESSAGE_TOO_BIG: u32 = 1009;

/// Whether a connection that was closed with `code` is worth another attempt.
pub(crate) fn close_reconnects(code: u32) -> bool {
    !(code == CLOSE_MESSAGE_TOO_BIG || (3500..4000).contains(&code) || (4500..5000).contains(&code))
}

/// Whether a subscription that the server ended with `code` is to be made again.
pub(crate) fn unsubscribe_resubscribes(code: u32) -> bool {
    code >= UNSUBSCRIBE_RETRY_FIRST
}

/// Whether a command that failed with `code` is worth another attempt as it is.
pub(crate) fn error_is_temporary(code: u32, temporary: bool) -> bool {
    temporary || code < 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_fall_into_their_ranges() {
        for code in [0, 1000, 1001, 1006, 1011, 2999, 3000, 3001, 3014, 3499, 4000, 4499, 5000, 65535] {
            assert!(close_reconnects(code), "{code}");
        }
        for code in [1009, 3500, 3501, 3509, 3999, 4500, 4999] {
            assert!(!close_reconnects(code), "{code}");
        }
    }

    #[test]
    fn unsubscribe_codes_from_2500_on_come_back() {
        for (code, back) in [(2000, false), (2499, false), (2500, true), (2501, true), (2502, true), (2999, true)] {
            assert_eq!(unsubscribe_resubscribes(code), back, "{code}");
        }
    }

    #[test]
    fn local_and_temporary_errors_are_tried_again() {
        assert!(error_is_temporary(1, false));
        assert!(error_is_temporary(100, true));
        assert!(!error_is_temporary(103, false));
    }
}
