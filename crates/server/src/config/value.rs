//! Values of keys: what kinds there are, and how they are written. How they are read stands in `given.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use fanfare_auth::{Pattern, Secret};
use fanfare_broker::namespaces::Audience;

use super::units;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// A duration with its unit, within bounds.
    Duration(Duration, Duration),
    /// A size with its unit, within bounds in bytes.
    Size(usize, usize),
    /// A whole number within bounds.
    Count(usize, usize),
    /// `true` or `false`.
    Bool,
    /// Text of 1 to so many bytes.
    Text(usize),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Who may: one of these audiences.
    Audience(&'static [Audience]),
    /// IP and port.
    Address,
    /// Origins of web pages, or `*`.
    Origins,
    /// Names of hosts, without ports.
    Hosts,
    /// A name of channels without its user: `#`, or `NAMESPACE:#`.
    PersonalChannel,
    /// A secret.
    Secret,
    /// Secrets of at least so many bytes.
    Secrets(usize),
    /// A secret that travels in a header, of at least so many bytes.
    HeaderSecret(usize),
    /// A list of these words.
    Words(&'static [&'static str]),
    /// At most so many patterns of channels, for somebody without a user.
    KeyPatterns(usize),
    /// Networks of addresses.
    Networks,
    /// Where Redis is. Never shown: it may hold a password.
    RedisUrl,
    /// A day, or a moment.
    Date,
    /// Patterns of channel names.
    Patterns,
    /// A URL that is fetched from.
    HttpsUrl,
}

/// A value that fits its key.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Nothing is set, and there is no default.
    Unset,
    /// The word that stands in place of a value: `off` or `auto`.
    Word(&'static str),
    /// A duration.
    Duration(Duration),
    /// A size or a count.
    Number(usize, Unit),
    /// A switch.
    Bool(bool),
    /// Text, a word of a choice, a namespace.
    Text(String),
    /// A moment in Unix time in seconds, as it was written.
    Date(u64, String),
    /// Who may.
    Audience(Audience),
    /// Where to listen.
    Address(SocketAddr),
    /// Origins.
    List(Vec<String>),
    /// A secret.
    Secret(Secret),
    /// Secrets.
    Secrets(Vec<Secret>),
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// As a plain number.
    One,
    /// With a unit of bytes.
    Bytes,
}

impl Kind {
    /// Whether values are never shown.
    pub(crate) fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Secrets(_) | Self::HeaderSecret(_) | Self::RedisUrl)
    }

    /// Whether it takes several values.
    pub(crate) fn is_list(self) -> bool {
        matches!(
            self,
            Self::Origins
                | Self::Hosts
                | Self::Patterns
                | Self::Secrets(_)
                | Self::Words(_)
                | Self::KeyPatterns(_)
                | Self::Networks
        )
    }

    /// What fits, in words: completes "write …".
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Duration(min, max) => {
                format!(
                    "a duration with its unit (ms, s, m, h, d), {} to {}",
                    units::duration_text(min),
                    units::duration_text(max)
                )
            }
            Self::Size(min, max) => {
                format!(
                    "a size with its unit (B, KiB, MiB, GiB), {} to {}",
                    units::size_text(min),
                    units::size_text(max)
                )
            }
            Self::Count(min, max) => format!("a whole number, {min} to {max}"),
            Self::Bool => "true or false".to_owned(),
            Self::Text(bytes_max) => format!("text in quotes, 1 to {bytes_max} bytes"),
            Self::Choice(words) => one_of(words),
            Self::Audience(audiences) => one_of(&audiences.iter().map(|a| audience_text(*a)).collect::<Vec<_>>()),
            Self::Address => r#"IP and port in quotes, such as "127.0.0.1:8000" or "[::1]:8000""#.to_owned(),
            Self::Origins => r#"a list of origins, such as ["https://app.example.com", "https://*.example.com"], or ["*"] for any"#.to_owned(),
            Self::Hosts => r#"a list of host names or addresses without ports, such as ["hub.example.com"]"#.to_owned(),
            Self::PersonalChannel => r##""#" or "NAMESPACE:#""##.to_owned(),
            Self::Secret => "a secret in quotes".to_owned(),
            Self::RedisUrl => {
                r#"a URL in quotes, such as "redis://127.0.0.1:6379", "redis+sentinel://HOST,HOST/MASTER" or "redis+cluster://HOST,HOST""#.to_owned()
            }
            Self::Networks => r#"a list of addresses or networks, such as ["10.0.0.0/8", "::1"]"#.to_owned(),
            Self::HeaderSecret(bytes_min) => format!("a secret in quotes of at least {bytes_min} bytes"),
            Self::Words(words) => format!("a list of {}", one_of(words)),
            Self::KeyPatterns(max) => {
                format!(r#"a list of at most {max} patterns of channels, such as ["news:*", "alerts:**"]"#)
            }
            Self::Patterns => r#"a list of patterns, such as ["news:*", "box:{user}:**"]"#.to_owned(),
            Self::HttpsUrl => r#"a URL in quotes, such as "https://id.example.com/keys""#.to_owned(),
            Self::Date => r#"a date or a moment in UTC, such as "2026-12-31" or "2026-12-31T18:00:00Z""#.to_owned(),
            Self::Secrets(bytes_min) => format!("a list of secrets of at least {bytes_min} bytes each"),
        }
    }
}

/// Reading a value back: each is called for the kind that it belongs to.
impl Value {
    pub(crate) fn duration(&self) -> Duration {
        self.duration_or_off().expect("a key that takes no word has a duration")
    }

    pub(crate) fn duration_or_off(&self) -> Option<Duration> {
        match self {
            Self::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> usize {
        self.number_or_word().expect("a key that takes no word has a number")
    }

    pub(crate) fn number_or_word(&self) -> Option<usize> {
        match self {
            Self::Number(number, _) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(crate) fn date(&self) -> Option<u64> {
        match self {
            Self::Date(seconds, _) => Some(*seconds),
            _ => None,
        }
    }

    pub(crate) fn audience(&self) -> Audience {
        match self {
            Self::Audience(audience) => *audience,
            _ => Audience::Nobody,
        }
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Vec<String> {
        match self {
            Self::List(list) => list.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn patterns(&self) -> Vec<Pattern> {
        self.list().iter().filter_map(|text| Pattern::parse(text).ok()).collect()
    }

    pub(crate) fn secret(&self) -> Option<Secret> {
        match self {
            Self::Secret(secret) => Some(secret.clone()),
            _ => None,
        }
    }

    pub(crate) fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Secrets(secrets) => secrets.clone(),
            _ => Vec::new(),
        }
    }

    /// The value as a file would have it; a secret as the remark that it is there.
    pub(crate) fn to_toml(&self) -> String {
        match self {
            Self::Unset => r#""(not set)""#.to_owned(),
            Self::Word(word) => quoted(word),
            Self::Duration(duration) => quoted(&units::duration_text(*duration)),
            Self::Number(bytes, Unit::Bytes) => quoted(&units::size_text(*bytes)),
            Self::Number(number, Unit::One) => number.to_string(),
            Self::Bool(on) => on.to_string(),
            Self::Text(text) | Self::Date(_, text) => quoted(text),
            Self::Audience(audience) => quoted(audience_text(*audience)),
            Self::Address(address) => quoted(&address.to_string()),
            Self::List(list) => format!("[{}]", list.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")),
            Self::Secrets(secrets) if secrets.is_empty() => "[]".to_owned(),
            Self::Secret(_) | Self::Secrets(_) => r#""(set, hidden)""#.to_owned(),
        }
    }
}

impl Value {
    /// The value as JSON, written as in a file; what is not set is null.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Unset => serde_json::Value::Null,
            Self::Number(number, Unit::One) => (*number).into(),
            Self::Text(text) => text.clone().into(),
            Self::Bool(on) => (*on).into(),
            Self::List(list) => list.clone().into(),
            Self::Secrets(secrets) if secrets.is_empty() => Vec::<String>::new().into(),
            _ => self.to_toml().trim_matches('"').into(),
        }
    }
}

/// An audience as it is written.
pub(crate) fn audience_text(audience: Audience) -> &'static str {
    match audience {
        Audience::Nobody => "nobody",
        Audience::Users => "users",
        Audience::Subscribers => "subscribers",
        Audience::Anyone => "anyone",
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn one_of(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let (last, rest) = words.split_last().expect("a choice has words");
    format!("{} or {last}", rest.join(", "))
}
