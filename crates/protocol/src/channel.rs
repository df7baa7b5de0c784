//! The channel grammar: what a channel may be called, and what its name says.
//!
//! Not here: which namespaces exist and who may subscribe.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Name of a channel, checked. Cloning shares the text.
///
/// A name is 1 to 255 bytes of printable ASCII. `$` as its first character makes the channel private, the
/// text before the first `:` is its namespace, and the text after the last `#` lists the users it is for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

/// Why a text is no channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The name has no characters.
    #[error("the channel name is empty")]
    Empty,
    /// The name is over [`Channel::BYTES_MAX`].
    #[error("the channel name has {bytes} bytes, at most {} are allowed", Channel::BYTES_MAX)]
    TooLong {
        /// Length of the name.
        bytes: usize,
    },
    /// The name has a byte outside 0x20 to 0x7e.
    #[error("the channel name has a character at byte {at} that is not printable ASCII")]
    NotPrintable {
        /// Where the first such byte is.
        at: usize,
    },
}

impl Channel {
    /// Longest name in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Checks a name.
    pub fn parse(name: &str) -> Result<Self, ChannelError> {
        if name.is_empty() {
            return Err(ChannelError::Empty);
        }
        if name.len() > Self::BYTES_MAX {
            return Err(ChannelError::TooLong { bytes: name.len() });
        }
        match name.bytes().position(|byte| !(0x20..=0x7e).contains(&byte)) {
            Some(at) => Err(ChannelError::NotPrintable { at }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace: the text before the first `:`, without the `$` of a private channel. `None` where
    /// there is no such text; the channel then has the options of channels without a namespace.
    pub fn namespace(&self) -> Option<&str> {
        Self::namespace_of(&self.0)
    }

    /// The namespace that a name asks for, whether or not it is a good name otherwise.
    pub fn namespace_of(name: &str) -> Option<&str> {
        let name = name.strip_prefix('$').unwrap_or(name);
        let (namespace, _) = name.split_once(':')?;
        Some(namespace).filter(|namespace| !namespace.is_empty())
    }

    /// Whether subscribing needs a subscription token: the name begins with `$`.
    pub fn is_private(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The users that the channel is for: the text after the last `#`, at each `,`. `None` without a `#`.
    ///
    /// Empty entries are left out, so that no list admits the anonymous user, whose id is empty.
    pub fn users(&self) -> Option<impl Iterator<Item = &str>> {
        let (_, users) = self.0.rsplit_once('#')?;
        Some(users.split(',').filter(|user| !user.is_empty()))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Channel {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::parse(name).unwrap()
    }

    fn users(name: &str) -> Option<Vec<String>> {
        channel(name).users().map(|users| users.map(str::to_owned).collect())
    }

    #[test]
    fn takes_printable_ascii_up_to_255_bytes() {
        for name in ["a", " ", "~", "$ns:room#1,2", &"x".repeat(255)] {
            assert_eq!(channel(name).as_str(), name);
        }
    }

    #[test]
    fn refuses_what_is_empty_long_or_not_printable() {
        assert_eq!(Channel::parse(""), Err(ChannelError::Empty));
        assert_eq!(Channel::parse(&"x".repeat(256)), Err(ChannelError::TooLong { bytes: 256 }));
        for (name, at) in [("a\u{7f}", 1), ("\0", 0), ("ab\n", 2), ("grüße", 2), ("\u{202e}a", 0), ("\u{1f}", 0)] {
            assert_eq!(Channel::parse(name), Err(ChannelError::NotPrintable { at }), "{name:?}");
        }
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        let text = ChannelError::TooLong { bytes: 300 }.to_string();
        assert_eq!(text, "the channel name has 300 bytes, at most 255 are allowed");
    }

    #[test]
    fn the_namespace_ends_at_the_first_colon() {
        for (name, namespace) in [
            ("chat:room", Some("chat")),
            ("$chat:room", Some("chat")),
            ("chat:a:b", Some("chat")),
            ("chat:", Some("chat")),
            ("room", None),
            ("$room", None),
            (":room", None),
            ("$:room", None),
        ] {
            assert_eq!(channel(name).namespace(), namespace, "{name}");
        }
    }

    #[test]
    fn private_means_a_leading_dollar() {
        assert!(channel("$chat:room").is_private());
        assert!(!channel("chat:$room").is_private());
    }

    #[test]
    fn users_stand_after_the_last_hash() {
        assert_eq!(users("dialog#42,56"), Some(vec!["42".into(), "56".into()]));
        assert_eq!(users("a#b#c"), Some(vec!["c".into()]));
        assert_eq!(users("dialog"), None);
    }

    #[test]
    fn an_empty_list_or_entry_names_nobody() {
        assert_eq!(users("ns:x#"), Some(vec![]));
        assert_eq!(users("ns:x#,"), Some(vec![]));
        assert_eq!(users("ns:x#,7"), Some(vec!["7".into()]));
    }

    #[test]
    fn a_map_keyed_by_channel_is_asked_by_text() {
        let map = HashMap::from([(channel("a"), 1)]);
        assert_eq!(map.get("a"), Some(&1));
        assert_eq!(map.get("b"), None);
    }
}
