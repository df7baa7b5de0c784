//! Keys of the server API: their names, and what each may do.

use std::fmt;
use std::sync::Arc;

use fanfare_auth::{Pattern, Secret};

use crate::call::Method;

/// The user of whoever shows a key.
const NO_USER: &str = "";

/// A key of the server API.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name: what refusals call it.
    pub name: Arc<str>,
    /// What callers show: any of these. Two while one takes the place of the other.
    pub active: Vec<Secret>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Where it may do that: the channels of any of these. `**` alone is for every channel; otherwise wildcards do not
    /// stand for the `$` of a private channel. A key has no user, so that a pattern with `{user}` is for nothing.
    pub channels: Vec<Pattern>,
}

/// A group of methods that a key may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// publish, broadcast.
    Publish,
    /// history, presence, presence_stats, and channels, which names those that the key's patterns are for.
    Read,
    /// subscribe, unsubscribe, disconnect, refresh; block_user, unblock_user, revoke_token, invalidate_user_tokens,
    /// revocations, revocation_remove.
    Control,
    /// history_remove, info.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Publish, Self::Read, Self::Control, Self::Admin];

    /// Their names, in the same order.
    pub const NAMES: &[&str] = &["publish", "read", "control", "admin"];

    /// The scope of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Control => "control",
            Self::Admin => "admin",
        }
    }

    /// The scope that a method needs; a batch needs those of its commands.
    pub(crate) fn of(method: Method) -> Option<Self> {
        match method {
            Method::Publish | Method::Broadcast => Some(Self::Publish),
            Method::Presence | Method::PresenceStats | Method::History | Method::Channels => Some(Self::Read),
            Method::Subscribe | Method::Unsubscribe | Method::Disconnect | Method::Refresh => Some(Self::Control),
            Method::BlockUser
            | Method::UnblockUser
            | Method::RevokeToken
            | Method::InvalidateUserTokens
            | Method::Revocations
            | Method::RevocationRemove => Some(Self::Control),
            Method::HistoryRemove | Method::Info => Some(Self::Admin),
            Method::Batch => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Key {
    /// Name of the key that `api.keys` make up.
    pub const DEFAULT_NAME: &str = "default";

    /// A key that may do everything everywhere, called [`Key::DEFAULT_NAME`].
    pub fn with_all_rights(active: Vec<Secret>) -> Self {
        let name = Self::DEFAULT_NAME.into();
        Self { name, active, scopes: Scope::ALL.into(), channels: vec![Pattern::open()] }
    }

    /// Whether what was shown is this key. All are compared, so that the time does not tell which one came close.
    pub(crate) fn is(&self, shown: &str) -> bool {
        self.active.iter().fold(false, |found, secret| secret.matches(shown) | found)
    }

    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    pub(crate) fn is_for(&self, channel: &str) -> bool {
        self.channels.iter().any(|pattern| pattern.is_open() || pattern.matches(channel, NO_USER))
    }

    pub(crate) fn is_for_every_channel(&self) -> bool {
        self.channels.iter().any(Pattern::is_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_the_scopes() {
        assert_eq!(Scope::ALL.map(Scope::name), Scope::NAMES);
        assert!(Scope::ALL.into_iter().all(|scope| Scope::named(scope.name()) == Some(scope)));
        assert_eq!(Scope::named("everything"), None);
    }

    /// A key of `**` has to reach private channels: with `api.keys` every backend did.
    #[test]
    fn two_stars_alone_are_for_private_channels_and_no_other_wildcard_is() {
        let key = |text: &str| Key {
            channels: vec![Pattern::parse(text).unwrap()],
            ..Key::with_all_rights(vec![Secret::new("geheim".to_owned())])
        };
        for (pattern, channel, expected) in [
            ("**", "$news:a", true),
            ("**", "news", true),
            ("*", "$news", false),
            ("*:**", "$news:a", false),
            ("news:*", "$news:a", false),
            ("$news:*", "$news:a", true),
            ("$news:*", "news:a", false),
            ("{user}", "42", false),
            ("{user}", "", false),
        ] {
            assert_eq!(key(pattern).is_for(channel), expected, "{pattern} {channel}");
            assert_eq!(key(pattern).is_for_every_channel(), pattern == "**", "{pattern}");
        }
    }

    #[test]
    fn what_is_shown_of_a_key_is_not_the_key() {
        let key = Key::with_all_rights(vec![Secret::new("geheim".to_owned())]);
        assert!(!format!("{key:?}").contains("geheim"));
    }
}
