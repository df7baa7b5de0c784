//! Sessions and subscriptions that the revocations keep out.
//!
//! Who connects is judged when it is entered under its user, by the same thread and without waiting in between
//! ([`crate::commands`]); what was live before a revocation is judged here, when the shard is told to.

use fanfare_auth::TokenId;
use fanfare_broker::revocations::Fingerprint;
use fanfare_broker::{Barred, Bearer, Revoked};
use fanfare_protocol::{Channel, Disconnect, Unsubscribe};

use super::Shard;
use crate::slots::SlotId;
use crate::stats::Judged;

/// What a session remembers of a token, so that it can be found when the token is revoked: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenStamp {
    id: Option<Fingerprint>,
    /// In seconds until the year 2106, so that a stamp stays small.
    issued_at: u32,
}

impl TokenStamp {
    /// The stamp of a session without a token.
    pub(crate) const NONE: Self = Self { id: None, issued_at: u32::MAX };

    /// What is remembered of a token.
    pub(crate) fn of(token: &TokenId, revoked: &Revoked) -> Self {
        let id = token.id.as_deref().map(|id| revoked.fingerprint(id));
        Self { id, issued_at: u32::try_from(token.issued_at).unwrap_or(u32::MAX - 1).min(u32::MAX - 1) }
    }

    /// Who shows it.
    pub(crate) fn bearer<'a>(&self, user: &'a str, channel: Option<&'a Channel>) -> Bearer<'a> {
        let issued_at = if *self == Self::NONE { Bearer::NO_TOKEN } else { u64::from(self.issued_at) };
        Bearer { user, token: self.id, issued_at, channel }
    }
}

/// How a connection ends that is kept out; `None` while the revocations are not known.
pub(crate) fn end_of(barred: Barred) -> Option<Disconnect> {
    match barred {
        Barred::Blocked => Some(Disconnect::FORCE_DISCONNECT),
        Barred::Revoked => Some(Disconnect::INVALID_TOKEN),
        Barred::NotKnown => None,
    }
}

impl Shard {
    /// Ends a session if it is kept out now, else those of its subscriptions that are.
    pub(crate) fn judge_again(&mut self, id: SlotId, revoked: &Revoked) {
        let now = self.now.unix_seconds;
        let Some(session) = self.sessions.get(id) else { return };
        let Some(user) = session.user.clone().filter(|_| self.is_open(id)) else { return };
        let judged = revoked.judge(&session.token.bearer(user.id(), None), now);
        if let Some(end) = judged.err().and_then(end_of) {
            self.stats.count_barred(Judged::Session);
            return self.close(id, &end);
        }
        for channel in self.barred_subscriptions(id, user.id(), revoked) {
            self.stats.count_barred(Judged::Subscription);
            self.unsubscribe_with_push(id, channel, &Unsubscribe::SERVER);
        }
    }

    /// Those that were made by a subscription token which is revoked now.
    fn barred_subscriptions(&self, id: SlotId, user: &str, revoked: &Revoked) -> Vec<SlotId> {
        let Some(session) = self.sessions.get(id) else { return Vec::new() };
        let is_barred = |channel: SlotId, stamp: &TokenStamp| {
            let name = self.channel(channel).map(|channel| &channel.name);
            revoked.judge(&stamp.bearer(user, name), self.now.unix_seconds) == Err(Barred::Revoked)
        };
        let with_token = session.subscriptions.iter().filter_map(|own| Some((own.channel, own.token.as_deref()?)));
        with_token.filter(|(channel, stamp)| is_barred(*channel, stamp)).map(|(channel, _)| channel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_small_and_says_when_its_token_was_issued() {
        assert_eq!(size_of::<TokenStamp>(), 16);
        let revoked = Revoked::nothing();
        let issued_at = |issued_at| {
            let token = TokenId { id: None, issued_at };
            TokenStamp::of(&token, &revoked).bearer("42", None).issued_at
        };
        assert_eq!(issued_at(0), 0);
        assert_eq!(issued_at(1_790_000_000), 1_790_000_000);
        assert_eq!(issued_at(u64::MAX), u64::from(u32::MAX - 1), "late, and yet no session without a token");
        assert_eq!(TokenStamp::NONE.bearer("42", None).issued_at, Bearer::NO_TOKEN);
    }
}
