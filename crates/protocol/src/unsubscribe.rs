//! Why the server ends a subscription: the code and reason of an unsubscribe push.

use std::borrow::Cow;

use crate::UnsubscribePush;

/// Code and reason of an unsubscribe push. The code tells the client whether to subscribe again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unsubscribe {
    /// 2000 to 2999.
    pub code: u32,
    /// Text for people.
    pub reason: Cow<'static, str>,
}

/// The code of a custom unsubscribe is not within 2000 to 2999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unsubscribe code {code} is not within 2000 to 2999")]
pub struct UnsubscribeError {
    /// The code asked for.
    pub code: u32,
}

impl Unsubscribe {
    /// The server ended the subscription, for good.
    pub const SERVER: Self = Self::new(2000, "server unsubscribe");
    /// The subscription's position was lost: the client subscribes again and recovers.
    pub const INSUFFICIENT_STATE: Self = Self::new(2500, "insufficient state");
    /// The subscription expired: the client fetches a token and subscribes again.
    pub const EXPIRED: Self = Self::new(2501, "subscription expired");
    /// What the client knows is void: it drops token and position and subscribes again.
    pub const STATE_INVALIDATED: Self = Self::new(2502, "state invalidated");

    const fn new(code: u32, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// An unsubscribe with a code of 2000 to 2999 and a reason that an application gives.
    pub fn custom(code: u32, reason: String) -> Result<Self, UnsubscribeError> {
        if !(2000..=2999).contains(&code) {
            return Err(UnsubscribeError { code });
        }
        Ok(Self { code, reason: Cow::Owned(reason) })
    }

    /// Whether a client subscribes again by itself after this code.
    pub fn resubscribes(&self) -> bool {
        self.code >= 2500
    }

    /// The message for a push.
    pub fn push(&self) -> UnsubscribePush {
        UnsubscribePush { code: self.code, reason: self.reason.clone().into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_from_2500_lead_back() {
        assert!(!Unsubscribe::SERVER.resubscribes());
        for again in [Unsubscribe::INSUFFICIENT_STATE, Unsubscribe::EXPIRED, Unsubscribe::STATE_INVALIDATED] {
            assert!(again.resubscribes(), "{again:?}");
        }
    }

    #[test]
    fn an_application_gives_codes_of_its_range_only() {
        assert_eq!(Unsubscribe::custom(2000, "left".into()).unwrap().push().reason, "left");
        assert_eq!(Unsubscribe::custom(2999, String::new()).unwrap().code, 2999);
        for code in [0, 1999, 3000] {
            assert_eq!(Unsubscribe::custom(code, String::new()), Err(UnsubscribeError { code }));
        }
    }
}
