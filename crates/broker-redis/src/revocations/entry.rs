//! One revocation as a field of the hash and its value: texts that a person can read.
//!
//! | field | value |
//! |---|---|
//! | `u:USER` | `0 EXPIRY` |
//! | `t:TOKEN` | `0 EXPIRY` |
//! | `i:LENGTH:CHANNEL:=USER`, or `*` in place of `=USER`; LENGTH and CHANNEL may be missing together | `BEFORE EXPIRY` |
//!
//! The expiry is empty where there is none. The channel comes with its length, so that no two names meet.

use fanfare_broker::revocations::REVOKED_NAME_BYTES_MAX;
use fanfare_broker::{Revocation, Subject};
use fanfare_protocol::Channel;

/// A field with what it has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Kept(Revocation),
    TakenBack(Subject),
}

impl Entry {
    pub(super) fn subject(&self) -> &Subject {
        match self {
            Self::Kept(revocation) => &revocation.subject,
            Self::TakenBack(subject) => subject,
        }
    }
}

/// The field of a subject.
pub(super) fn field_of(subject: &Subject) -> String {
    match subject {
        Subject::User(user) => format!("u:{user}"),
        Subject::Token(id) => format!("t:{id}"),
        Subject::Tokens { user, channel } => {
            let user = user.as_ref().map_or_else(|| "*".to_owned(), |user| format!("={user}"));
            match channel {
                Some(channel) => format!("i:{}:{channel}:{user}", channel.as_str().len()),
                None => format!("i:::{user}"),
            }
        }
    }
}

/// The revocation of a field and its value, if it is one.
pub(super) fn read(field: &[u8], value: &[u8]) -> Option<Revocation> {
    let subject = subject(field)?;
    let (before, expire_at) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let expire_at = if expire_at.is_empty() { None } else { Some(number(expire_at)?) };
    Some(Revocation { subject, issued_before: number(before)?, expire_at })
}

/// The same where an empty value says that it was taken back.
pub(super) fn read_change(field: &[u8], value: &[u8]) -> Option<Entry> {
    if value.is_empty() {
        return subject(field).map(Entry::TakenBack);
    }
    read(field, value).map(Entry::Kept)
}

fn subject(field: &[u8]) -> Option<Subject> {
    let (kind, rest) = std::str::from_utf8(field).ok()?.split_once(':')?;
    match kind {
        "u" => Some(Subject::User(name(rest)?)),
        "t" => Some(Subject::Token(name(rest)?)),
        "i" => tokens(rest),
        _ => None,
    }
}

fn tokens(text: &str) -> Option<Subject> {
    let (length, rest) = text.split_once(':')?;
    let length = if length.is_empty() { 0 } else { usize::try_from(number(length)?).ok()? };
    let (channel, user) = rest.split_at_checked(length)?;
    let channel = if channel.is_empty() { None } else { Some(Channel::parse(channel).ok()?) };
    let user = match user.strip_prefix(':')? {
        "*" => None,
        named => Some(name(named.strip_prefix('=')?)?),
    };
    Some(Subject::Tokens { user, channel })
}

fn name(text: &str) -> Option<String> {
    (text.len() <= REVOKED_NAME_BYTES_MAX).then(|| text.to_owned())
}

/// A number without a sign, as it is written here.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens_of(user: Option<&str>, channel: Option<&str>) -> Subject {
        let channel = channel.map(|channel| Channel::parse(channel).unwrap());
        Subject::Tokens { user: user.map(str::to_owned), channel }
    }

    #[test]
    fn what_is_written_is_read() {
        for (subject, field) in [
            (Subject::User("42".to_owned()), "u:42"),
            (Subject::User("a:b".to_owned()), "u:a:b"),
            (Subject::Token("t".to_owned()), "t:t"),
            (tokens_of(None, None), "i:::*"),
            (tokens_of(Some("*"), None), "i:::=*"),
            (tokens_of(Some("x"), Some("a:=x")), "i:4:a:=x:=x"),
            (tokens_of(Some("x:=x"), Some("a")), "i:1:a:=x:=x"),
            (tokens_of(None, Some("a b")), "i:3:a b:*"),
        ] {
            assert_eq!(field_of(&subject), field);
            for (value, issued_before, expire_at) in [("7 ", 7, None), ("0 9", 0, Some(9))] {
                let revocation = Revocation { subject: subject.clone(), issued_before, expire_at };
                assert_eq!(read(field.as_bytes(), value.as_bytes()), Some(revocation.clone()), "{field}");
                assert_eq!(read_change(field.as_bytes(), value.as_bytes()), Some(Entry::Kept(revocation)));
            }
            assert_eq!(read_change(field.as_bytes(), b""), Some(Entry::TakenBack(subject)));
        }
    }

    #[test]
    fn anything_else_is_no_revocation() {
        let long = format!("u:{}", "x".repeat(REVOKED_NAME_BYTES_MAX + 1));
        for field in ["", "u", "x:1", "i:", "i:::", "i:::x", "i:9:a:*", "i:+1:a:*", "i:1:\u{e9}:*", "i:0::", &long] {
            assert_eq!(read(field.as_bytes(), b"0 "), None, "{field}");
        }
        assert_eq!(read(b"u:\xff", b"0 "), None);
        for value in ["", "0", "-1 ", "+1 ", "1e3 ", "0 x", "0 -1", "99999999999999999999 ", "0  ", " "] {
            assert_eq!(
                read(b"u:42", value.as_bytes()).filter(|kept| value != " " || kept.issued_before > 0),
                None,
                "{value}"
            );
        }
    }
}
