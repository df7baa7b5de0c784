//! Which channels a right is for: patterns over the segments of a channel's name.
//!
//! The segments of a name stand between its colons. In a pattern a segment is literal, or `*` for any one segment,
//! or, as the last one, `**` for one segment or more. Nothing else is special, and nothing ever goes back: a name is
//! judged in one walk over both, whatever the pattern.
//!
//! `news:*` is for `news:today`, not for `news` nor for `news:today:late`; `news:**` is for both of the latter two
//! but not for `news`; `**` is for every channel. The `$` of a private channel is part of its first segment, so that
//! `news:*` is not for `$news:today`.

use std::fmt;
use std::sync::Arc;

const SEPARATOR: char = ':';
const ANY_SEGMENT: &str = "*";
const ANY_TAIL: &str = "**";

/// A pattern of channels, checked. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The pattern has no characters.
    #[error("is empty")]
    Empty,
    /// The pattern is over [`Pattern::BYTES_MAX`].
    #[error("has {bytes} bytes, at most {} are allowed", Pattern::BYTES_MAX)]
    TooLong {
        /// Length of the pattern.
        bytes: usize,
    },
    /// The pattern has a byte that no channel's name has.
    #[error("has a character at byte {at} that is not printable ASCII")]
    NotPrintable {
        /// Where the first such byte is.
        at: usize,
    },
    /// `**` is followed by something.
    #[error("has something after \"**\", which stands for all that follows")]
    AfterTail,
    /// A `*` is a part of a segment.
    #[error("has a \"*\" within a segment; it stands for a whole one")]
    WithinSegment,
}

impl Pattern {
    /// Longest pattern in bytes: as long as the longest name.
    pub const BYTES_MAX: usize = fanfare_protocol::Channel::BYTES_MAX;

    /// Checks a pattern.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(PatternError::TooLong { bytes: text.len() });
        }
        if let Some(at) = text.bytes().position(|byte| !(0x20..=0x7e).contains(&byte)) {
            return Err(PatternError::NotPrintable { at });
        }
        check_segments(text).map(|()| Self(text.into()))
    }

    /// The pattern for every channel.
    pub fn every() -> Self {
        Self(ANY_TAIL.into())
    }

    /// Whether it is for every channel.
    pub fn is_every(&self) -> bool {
        &*self.0 == ANY_TAIL
    }

    /// Whether it is for the channel of this name. Takes as long as both are, at most.
    pub fn matches(&self, channel: &str) -> bool {
        let (mut wanted, mut segments) = (self.0.split(SEPARATOR), channel.split(SEPARATOR));
        loop {
            match (wanted.next(), segments.next()) {
                (None, None) => return true,
                (Some(ANY_TAIL), Some(_)) => return true,
                (Some(wanted), Some(segment)) if wanted == ANY_SEGMENT || wanted == segment => {}
                _ => return false,
            }
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_segments(text: &str) -> Result<(), PatternError> {
    let mut segments = text.split(SEPARATOR);
    while let Some(segment) = segments.next() {
        match segment {
            ANY_TAIL if segments.next().is_some() => return Err(PatternError::AfterTail),
            ANY_TAIL | ANY_SEGMENT => {}
            literal if literal.contains('*') => return Err(PatternError::WithinSegment),
            _ => {}
        }
    }
    Ok(())
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, inside: &[&str], outside: &[&str]) {
        let pattern = Pattern::parse(pattern).unwrap();
        inside.iter().for_each(|name| assert!(pattern.matches(name), "{pattern} is for {name:?}"));
        outside.iter().for_each(|name| assert!(!pattern.matches(name), "{pattern} is not for {name:?}"));
    }

    #[test]
    fn a_literal_is_for_one_channel() {
        check("news", &["news"], &["", "new", "newss", "News", "news:", "news:a", ":news", "$news", "news#42"]);
        check("news:a", &["news:a"], &["news", "news:", "news:ab", "news:a:b", "news:*"]);
        check("a.b?[c]", &["a.b?[c]"], &["axb?[c]", "a.b", "a.bb"]);
        check("news:", &["news:"], &["news", "news::", "news:a"]);
    }

    #[test]
    fn one_star_is_for_one_segment() {
        check("news:*", &["news:a", "news:", "news:*", "news:a#1,2"], &["news", "news:a:b", "new:a", "$news:a"]);
        check("*", &["news", "$news", ""], &["news:a", ":"]);
        check("*:b", &["a:b", ":b", "$a:b"], &["b", "a:b:c", "a:c"]);
        check("a:*:c", &["a:b:c", "a::c"], &["a:c", "a:b:b:c", "a:b:c:d", "a:b"]);
        check("*:*", &["a:b"], &["a", "a:b:c"]);
    }

    #[test]
    fn two_stars_are_for_one_segment_or_more_at_the_end() {
        check("news:**", &["news:a", "news:", "news:a:b:c"], &["news", "newsa:b", "$news:a"]);
        check("*:b:**", &["a:b:c", "a:b:c:d"], &["a:b", "a:c:b"]);
        check("**", &["news", "$news", "a:b:c", ":", "#1"], &[]);
        assert!(Pattern::every().is_every() && Pattern::every().matches("a:b"));
        assert!(!Pattern::parse("*").unwrap().is_every());
    }

    #[test]
    fn what_would_mean_something_else_elsewhere_is_refused() {
        for (text, error) in [
            ("", PatternError::Empty),
            ("news*", PatternError::WithinSegment),
            ("news:a*", PatternError::WithinSegment),
            ("news:***", PatternError::WithinSegment),
            ("**a", PatternError::WithinSegment),
            ("**:a", PatternError::AfterTail),
            ("news:**:", PatternError::AfterTail),
            ("**:**", PatternError::AfterTail),
            ("new\u{7f}s", PatternError::NotPrintable { at: 3 }),
            ("é", PatternError::NotPrintable { at: 0 }),
            (&"a".repeat(256), PatternError::TooLong { bytes: 256 }),
        ] {
            assert_eq!(Pattern::parse(text), Err(error), "{text:?}");
        }
        assert!(Pattern::parse(&"a".repeat(255)).is_ok());
    }

    /// What the rules say, without regard for time: every way to spread the segments over the pattern is tried.
    fn by_the_rules(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (["**"], [_, ..]) => true,
            (["*", pattern @ ..], [_, name @ ..]) => by_the_rules(pattern, name),
            ([literal, pattern @ ..], [segment, name @ ..]) => literal == segment && by_the_rules(pattern, name),
            _ => false,
        }
    }

    #[test]
    fn every_short_pattern_judges_every_short_name_by_the_rules() {
        let texts = |words: &[&str]| -> Vec<String> {
            let one = words.iter().map(|a| (*a).to_owned());
            let two = words.iter().flat_map(|a| words.iter().map(move |b| format!("{a}:{b}")));
            let three = words
                .iter()
                .flat_map(|a| words.iter().flat_map(move |b| words.iter().map(move |c| format!("{a}:{b}:{c}"))));
            one.chain(two).chain(three).collect()
        };
        let mut judged = 0;
        for pattern in texts(&["", "a", "b", "*", "**"]).iter().filter_map(|text| Pattern::parse(text).ok()) {
            for name in texts(&["", "a", "b", "*"]) {
                let (split, segments): (Vec<_>, Vec<_>) =
                    (pattern.as_str().split(':').collect(), name.split(':').collect());
                assert_eq!(pattern.matches(&name), by_the_rules(&split, &segments), "{pattern} {name:?}");
                judged += 1;
            }
        }
        assert!(judged > 8_000, "{judged}");
    }
}
