//! What a caller may do: the scopes of its key, and the channels that these are for.
//!
//! Judged before anything is done. A refusal names the key, never what was shown for it, and what is missing.

use fanfare_protocol::ErrorCode;

use crate::call::{Call, Method};
use crate::error::Error;
use crate::key::{Key, Scope};

/// How many of the channels that a broadcast may not reach are named: of 255 bytes each two fit into a message, of
/// usual ones some ten.
const NAMED_CHANNELS_MAX: usize = 10;

/// Why a caller is refused; the label of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No key was shown, or not in the form of one.
    NoKey,
    /// What was shown is no key.
    UnknownKey,
    /// The key lacks the scope.
    Scope,
    /// The key has the scope, but not for this channel.
    Channel,
}

impl Reason {
    pub(crate) const ALL: [Self; 4] = [Self::NoKey, Self::UnknownKey, Self::Scope, Self::Channel];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::UnknownKey => "unknown_key",
            Self::Scope => "scope",
            Self::Channel => "channel",
        }
    }
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Caller<'a> {
    /// Somebody of whom nothing is asked.
    Anyone,
    /// Who has shown this key.
    Key(&'a Key),
}

type Verdict = Result<(), (Reason, Error)>;

impl Caller<'_> {
    /// Whether it may call a method at all. Known before the body is read.
    pub(crate) fn may_call(self, method: Method) -> Verdict {
        match (self, Scope::of(method)) {
            (Self::Key(key), Some(scope)) if !key.has(scope) => Err((Reason::Scope, no_scope(key, scope, method))),
            _ => Ok(()),
        }
    }

    /// Whether it may make a call of a method that it may call.
    pub(crate) fn may_make(self, call: &Call<'_>) -> Verdict {
        match call.reach() {
            Reach::Channel(name) => self.may_reach([name]),
            Reach::Channels(names) => self.may_reach(names.iter().map(String::as_str)),
            Reach::Users(method) => self.may_reach_every_channel(method),
            Reach::Nothing => Ok(()),
        }
    }

    pub(crate) fn may_reach<'c>(self, channels: impl IntoIterator<Item = &'c str>) -> Verdict {
        let Self::Key(key) = self else { return Ok(()) };
        let refused: Vec<&str> = channels.into_iter().filter(|channel| !key.is_for(channel)).collect();
        if refused.is_empty() { Ok(()) } else { Err((Reason::Channel, no_channel(key, &refused))) }
    }

    /// Whether answers may name a channel to it.
    pub(crate) fn may_see(self, channel: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::Key(key) => key.is_for(channel),
        }
    }

    fn may_reach_every_channel(self, method: Method) -> Verdict {
        match self {
            Self::Key(key) if !key.is_for_every_channel() => Err((Reason::Channel, not_everywhere(key, method))),
            _ => Ok(()),
        }
    }
}

/// What of the node a call reaches.
pub(crate) enum Reach<'a> {
    /// One channel.
    Channel(&'a str),
    /// Several.
    Channels(&'a [String]),
    /// Sessions with all their channels.
    Users(Method),
    /// No channel, or those of the answer, which are sifted.
    Nothing,
}

fn no_scope(key: &Key, scope: Scope, method: Method) -> Error {
    let (name, method) = (&key.name, method.name());
    denied(format!("the key {name:?} lacks the scope \"{scope}\", which {method} needs"))
}

fn no_channel(key: &Key, refused: &[&str]) -> Error {
    let named: Vec<String> = refused.iter().take(NAMED_CHANNELS_MAX).map(|channel| format!("{channel:?}")).collect();
    let more = refused.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    denied(format!("no channel pattern of the key {:?} is for {}{more}", key.name, named.join(", ")))
}

fn not_everywhere(key: &Key, method: Method) -> Error {
    let (name, method) = (&key.name, method.name());
    denied(format!("{method} reaches sessions with all their channels, and the key {name:?} is not for \"**\""))
}

fn denied(detail: String) -> Error {
    Error::new(ErrorCode::PermissionDenied, detail)
}
