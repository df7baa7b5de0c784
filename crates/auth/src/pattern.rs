//! Patterns of channel names, for rules.
//!
//! A name is divided into segments at each `:`. `*` stands for one segment, `**` at the end for whatever is left,
//! `{user}` for a segment that is the user's id. Every other segment stands for itself. A name is compared in one
//! pass, without going back: the work grows with the length of the name and no faster.

use std::fmt;

/// A pattern, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    segments: Vec<Segment>,
    /// Whether `**` stands at the end.
    is_open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Any,
    User,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is empty, longer than a channel's name, or not printable ASCII.
    #[error("is not 1 to 255 bytes of printable ASCII")]
    NotAName,
    /// `**` stands elsewhere than at the end.
    #[error("has ** before its end")]
    OpenInside,
    /// A wildcard shares its segment with something else.
    #[error("has a * or {{}} that is not a segment of its own; segments are separated by :")]
    NotAlone,
}

/// The longest pattern: as long as the longest channel name.
const BYTES_MAX: usize = fanfare_protocol::Channel::BYTES_MAX;

impl Pattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let is_printable = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if text.is_empty() || text.len() > BYTES_MAX || !is_printable {
            return Err(PatternError::NotAName);
        }
        let (closed, is_open) = match text.strip_suffix("**") {
            Some("") => (None, true),
            Some(rest) => (Some(rest.strip_suffix(':').ok_or(PatternError::NotAlone)?), true),
            None => (Some(text), false),
        };
        let segments = closed.into_iter().flat_map(|closed| closed.split(':'));
        let segments = segments.map(Segment::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), segments, is_open })
    }

    /// The pattern that is `**` alone.
    pub fn open() -> Self {
        Self { text: "**".into(), segments: Vec::new(), is_open: true }
    }

    /// Whether it is `**` alone: what is for every channel where a right needs no `$` written.
    pub fn is_open(&self) -> bool {
        self.is_open && self.segments.is_empty()
    }

    /// Whether `{user}` is in it, so that without a user it fits nothing.
    pub fn names_user(&self) -> bool {
        self.segments.contains(&Segment::User)
    }

    /// Whether a channel's name fits, for a user. Wildcards do not stand for the `$` of a private channel: it has to
    /// be written.
    pub fn matches(&self, channel: &str, user: &str) -> bool {
        let first = self.segments.first();
        if channel.starts_with('$') && !matches!(first, Some(Segment::Literal(_))) {
            return false;
        }
        let mut rest = Some(channel);
        for segment in &self.segments {
            let Some(left) = rest else { return false };
            let (here, after) = left.split_once(':').map_or((left, None), |(here, after)| (here, Some(after)));
            if !segment.matches(here, user) {
                return false;
            }
            rest = after;
        }
        match rest {
            Some(left) => self.is_open && !left.is_empty(),
            None => !self.is_open,
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PatternError> {
        match text {
            "*" => Ok(Self::Any),
            "{user}" => Ok(Self::User),
            "**" => Err(PatternError::OpenInside),
            _ if text.contains(['*', '{', '}']) => Err(PatternError::NotAlone),
            _ => Ok(Self::Literal(text.into())),
        }
    }

    fn matches(&self, segment: &str, user: &str) -> bool {
        match self {
            Self::Literal(text) => **text == *segment,
            Self::Any => !segment.is_empty(),
            // The anonymous user, whose id is empty, is nobody's.
            Self::User => !user.is_empty() && segment == user,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, fits: &[&str], others: &[&str]) {
        let parsed = Pattern::parse(pattern).unwrap();
        assert_eq!(parsed.as_str(), pattern);
        for channel in fits {
            assert!(parsed.matches(channel, "42"), "{pattern} {channel}");
        }
        for channel in others {
            assert!(!parsed.matches(channel, "42"), "{pattern} {channel}");
        }
    }

    #[test]
    fn a_literal_stands_for_itself() {
        check("news", &["news"], &["News", "news:", "new", "newss", "$news", "news:a"]);
        check("news:a", &["news:a"], &["news", "news:", "news:b", "news:a:b"]);
        check("$news:a", &["$news:a"], &["news:a"]);
        check("news:", &["news:"], &["news", "news:a"]);
    }

    #[test]
    fn a_star_stands_for_one_segment() {
        check("*", &["a", "a.b/c"], &["", "a:b", "a:", "$a"]);
        check("news:*", &["news:a", "news:*", "news:a#42"], &["news", "news:", "news:a:b", "news:a:"]);
        check("*:a", &["news:a"], &["$news:a", ":a", "news:b"]);
        check("a:*:c", &["a:b:c"], &["a::c", "a:b:d", "a:b:c:d", "a:c"]);
    }

    #[test]
    fn two_stars_stand_for_the_rest() {
        check("**", &["a", "a:b", ":", "a::"], &["$a", "$a:b"]);
        check("news:**", &["news:a", "news:a:b:c", "news::"], &["news", "news:", "newsa", "other:a", "$news:a"]);
        check("$news:**", &["$news:a", "$news:a:b"], &["news:a", "$news"]);
        check("*:a:**", &["n:a:b"], &["n:a", "n:b:c"]);
    }

    #[test]
    fn the_user_stands_for_a_segment_that_is_its_id() {
        check("box:{user}", &["box:42"], &["box:4", "box:421", "box:42:a", "box:{user}", "box:"]);
        check("{user}", &["42"], &["$42", "43"]);
        check("box:{user}:**", &["box:42:a:b"], &["box:43:a", "box:42"]);
        let own = Pattern::parse("box:{user}").unwrap();
        assert!(!own.matches("box:", "") && !own.matches("box:", "*"));
        assert!(own.matches("box:*", "*") && !own.matches("box:a", "*"), "an id is no pattern");
        assert!(!own.matches("box:a:b", "a:b"), "an id with a : is no segment");
    }

    #[test]
    fn two_stars_alone_and_patterns_with_a_user_are_known() {
        assert_eq!(Pattern::parse("**"), Ok(Pattern::open()));
        for (text, is_open, names_user) in [
            ("**", true, false),
            ("*", false, false),
            ("*:**", false, false),
            ("{user}:**", false, true),
            ("a:{user}", false, true),
            ("a", false, false),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!((pattern.is_open(), pattern.names_user()), (is_open, names_user), "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let long = "a".repeat(256);
        for text in ["", "é", "a\n", long.as_str()] {
            assert_eq!(Pattern::parse(text), Err(PatternError::NotAName), "{text:?}");
        }
        for text in ["**:a", "a:**:b", "**:**"] {
            assert_eq!(Pattern::parse(text), Err(PatternError::OpenInside), "{text:?}");
        }
        for text in ["a*", "*a", "a**", "***", "a:b*:c", "{user", "{user}s", "{id}", "a:{}", "}"] {
            assert_eq!(Pattern::parse(text), Err(PatternError::NotAlone), "{text:?}");
        }
    }

    #[test]
    fn a_long_name_costs_no_more_than_its_length() {
        let pattern = Pattern::parse(&format!("{}**", "*:".repeat(126))).unwrap();
        assert!(pattern.matches(&"a:".repeat(127), ""));
        assert!(!pattern.matches(&"a:".repeat(120), ""));
    }
}
