//! Reads what an operator wrote, in a file, a variable or a flag, into a value of the key's kind, or says what is
//! wrong with it.

use std::time::Duration;

use fanfare_auth::{Pattern, Secret};
use fanfare_broker::namespaces::Audience;
use fanfare_broker_redis::{Server, UrlError};
use fanfare_hooks::is_header_for_hooks;
use fanfare_hooks::limits::HEADERS_MAX;
use fanfare_outbound::Endpoint;
use http::{HeaderName, HeaderValue};

use super::units::{self, Refused};
use super::value::{Kind, Unit, Value, audience_text};
use super::{dates, origins, schema, spelling};
use crate::network::Network;

/// What somebody wrote, before it is known whether it fits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// Text.
    Text(String),
    /// A whole number; one that does not fit is held at the end of the range.
    Integer(i128),
    /// A switch.
    Bool(bool),
    /// A list.
    List(Vec<Given>),
    /// A date, as it is written.
    Date(String),
    /// Anything else, by the name of its type.
    Other(&'static str),
}

/// Why a value does not fit; `complaint` reads on after the name of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What is wrong.
    pub(crate) complaint: String,
    /// What to do.
    pub(crate) hint: String,
    /// Which element of a list is meant.
    pub(crate) element: Option<usize>,
}

impl Refusal {
    pub(crate) fn new(complaint: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { complaint: complaint.into(), hint: hint.into(), element: None }
    }
}

impl Kind {
    /// Reads what was written; `word` is what may stand in place of a value.
    pub(crate) fn read(self, given: &Given, word: Option<&'static str>) -> Result<Value, Refusal> {
        if let (Given::Text(text), Some(word)) = (given, word)
            && text == word
        {
            return Ok(Value::Word(word));
        }
        let hint = self.hint(word);
        match (self, given) {
            (Self::Duration(min, max), Given::Text(text)) => match units::duration(text) {
                Ok(duration) if (min..=max).contains(&duration) => Ok(Value::Duration(duration)),
                Ok(Duration::ZERO) => self.zero(word, &hint),
                read => Err(quantity(text, read.err(), &hint)),
            },
            (Self::Size(min, max), Given::Text(text)) => match units::size(text) {
                Ok(bytes) if (min..=max).contains(&bytes) => Ok(Value::Number(bytes, Unit::Bytes)),
                Ok(0) => self.zero(word, &hint),
                read => Err(quantity(text, read.err(), &hint)),
            },
            (Self::Memory(min), Given::Text(text)) => memory(text, min, hint),
            (Self::Duration(..) | Self::Size(..) | Self::Memory(_) | Self::Count(..), Given::Integer(0)) => {
                self.zero(word, &hint)
            }
            (Self::Duration(..) | Self::Size(..) | Self::Memory(_), Given::Integer(_)) => {
                Err(Refusal::new("has no unit", hint))
            }
            (Self::Count(min, max), Given::Integer(number)) => count(*number, min, max, hint),
            (Self::Bool, Given::Bool(on)) => Ok(Value::Bool(*on)),
            (Self::Text(bytes_max), Given::Text(text)) => plain_text(text, bytes_max, hint),
            (Self::Choice(words), Given::Text(text)) => choice(text, words, hint),
            (Self::Audience(audiences), Given::Text(text)) => audience(text, audiences, hint),
            (Self::Address, Given::Text(text)) => address(text, hint),
            (Self::Origins, Given::List(list)) => each(list, |given| origin(given, &hint)).map(Value::List),
            (Self::Hosts, Given::List(list)) => each(list, |given| host(given, &hint)).map(Value::List),
            (Self::Patterns, Given::List(list)) => each(list, |given| pattern(given, &hint)).map(Value::List),
            (Self::PersonalChannel, Given::Text(text)) => personal_channel(text, hint),
            (Self::Secret, Given::Text(text)) => secret(text).map(Value::Secret),
            (Self::RedisUrl, Given::Text(text)) => redis_url(text, hint).map(Value::Secret),
            (Self::HeaderSecret(bytes_min), Given::Text(_)) => {
                one_of_secrets(given, bytes_min, &hint).map(Value::Secret)
            }
            (Self::Words(words), Given::List(list)) => {
                each(list, |given| word_of(given, words, &hint)).map(Value::List)
            }
            (Self::KeyPatterns(max), Given::List(list)) if list.len() > max => {
                Err(Refusal::new(format!("has {} patterns", list.len()), hint))
            }
            (Self::KeyPatterns(_), Given::List(list)) => each(list, |given| key_pattern(given, &hint)).map(Value::List),
            (Self::Networks, Given::List(list)) => each(list, |given| network(given, &hint)).map(Value::List),
            (Self::Secrets(bytes_min), Given::List(list)) => secrets(list, bytes_min, &hint).map(Value::Secrets),
            (Self::HttpsUrl, Given::Text(text)) => https_url(text, hint),
            (Self::HttpUrl, Given::Text(text)) => http_url(text, hint),
            (Self::HeaderNames | Self::HeaderLines, Given::List(list)) if list.len() > HEADERS_MAX => {
                Err(Refusal::new(format!("has {} headers, {HEADERS_MAX} at most are taken", list.len()), hint))
            }
            (Self::HeaderNames, Given::List(list)) => each(list, |given| header_name(given, &hint)).map(Value::List),
            (Self::HeaderLines, Given::List(list)) => each(list, |given| header_line(given, &hint)).map(Value::Secrets),
            (Self::Date, Given::Date(text) | Given::Text(text)) => date(text, hint),
            _ if self.is_secret() => Err(Refusal::new(format!("is {}", given.type_name()), hint)),
            (_, Given::Text(text)) if text == "off" => Err(Refusal::new(r#"cannot be "off""#, hint)),
            _ => Err(Refusal::new(format!("is {}", given.type_text()), hint)),
        }
    }

    fn hint(self, word: Option<&str>) -> String {
        let words = word.map(|word| format!(", or {word:?}"));
        format!("write {}{}", self.describe(), words.unwrap_or_default())
    }

    /// 0 where it is taken for "no limit" elsewhere. Only a count that begins at 0 takes it, as a number.
    fn zero(self, word: Option<&str>, hint: &str) -> Result<Value, Refusal> {
        if let Self::Count(0, _) = self {
            return Ok(Value::Number(0, Unit::One));
        }
        let off = if word == Some("off") { r#""off" is the word for it"# } else { "this key always has one" };
        Err(Refusal::new("cannot be 0", format!(r#"0 never means "no limit", {off}; {hint}"#)))
    }
}

impl Given {
    /// A variable or a flag, read in the way of the key's kind.
    pub(crate) fn from_text(text: &str, kind: Kind) -> Self {
        match kind {
            _ if kind.is_list() => Self::List(text.split(',').map(|part| Self::Text(part.trim().to_owned())).collect()),
            Kind::Bool => text.parse().map_or_else(|_| Self::Text(text.to_owned()), Self::Bool),
            Kind::Count(..) | Kind::Duration(..) | Kind::Size(..) | Kind::Memory(_) => {
                text.parse().map_or_else(|_| Self::Text(text.to_owned()), Self::Integer)
            }
            _ => Self::Text(text.to_owned()),
        }
    }

    /// What it is, without what it says.
    fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Date(_) => "a date",
            Self::Other(name) => name,
        }
    }

    fn type_text(&self) -> String {
        match self {
            Self::Text(text) if text.is_empty() => "empty".to_owned(),
            Self::Text(text) => format!("the text {text:?}"),
            Self::Integer(number) => format!("the number {number}"),
            Self::Bool(on) => on.to_string(),
            Self::List(_) | Self::Date(_) | Self::Other(_) => self.type_name().to_owned(),
        }
    }
}

/// A text that is no quantity, or one that is out of range.
fn quantity(text: &str, refused: Option<Refused>, hint: &str) -> Refusal {
    let complaint = match refused.unwrap_or(Refused::TooLarge) {
        Refused::NoNumber if text.is_empty() => "is empty".to_owned(),
        Refused::NoNumber if text == "off" => r#"cannot be "off""#.to_owned(),
        Refused::NoNumber => format!("does not begin with a number: {text:?}"),
        Refused::Negative => format!("cannot be negative: {text}"),
        Refused::Fraction => format!("cannot have a fraction: {text} (take a smaller unit)"),
        Refused::NoUnit(number) => format!("has no unit: {number}"),
        Refused::UnknownUnit(unit) => format!("has an unknown unit {unit:?}"),
        Refused::TooLarge => format!("is out of range: {text}"),
    };
    Refusal::new(complaint, hint)
}

fn memory(text: &str, min: usize, hint: String) -> Result<Value, Refusal> {
    if let Some(share) = text.trim().strip_suffix('%') {
        let percent = share.parse().ok().filter(|percent| (1..=100).contains(percent));
        return percent.map(Value::Share).ok_or_else(|| Refusal::new(format!("is no share: {text:?}"), hint));
    }
    match units::size(text) {
        Ok(bytes) if bytes >= min => Ok(Value::Number(bytes, Unit::Bytes)),
        read => Err(quantity(text, read.err(), &hint)),
    }
}

fn count(number: i128, min: usize, max: usize, hint: String) -> Result<Value, Refusal> {
    match usize::try_from(number) {
        Ok(number) if (min..=max).contains(&number) => Ok(Value::Number(number, Unit::One)),
        _ if number < 0 => Err(Refusal::new(format!("cannot be negative: {number}"), hint)),
        _ => Err(Refusal::new(format!("is out of range: {number}"), hint)),
    }
}

fn plain_text(text: &str, bytes_max: usize, hint: String) -> Result<Value, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new("is empty", hint));
    }
    if text.len() > bytes_max {
        return Err(Refusal::new(format!("is too long: {} bytes", text.len()), hint));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::new("holds a control character", hint));
    }
    Ok(Value::Text(text.to_owned()))
}

fn https_url(text: &str, hint: String) -> Result<Value, Refusal> {
    match Endpoint::parse(text) {
        Ok(_) => Ok(Value::Text(text.to_owned())),
        Err(error) => Err(Refusal::new(error.to_string(), hint)),
    }
}

fn http_url(text: &str, hint: String) -> Result<Value, Refusal> {
    match Endpoint::parse_unencrypted(text) {
        Ok(_) => Ok(Value::Text(text.to_owned())),
        Err(error) => Err(Refusal::new(error.to_string(), hint)),
    }
}

fn header_name(given: &Given, hint: &str) -> Result<String, Refusal> {
    let Given::Text(text) = given else {
        return Err(Refusal::new(format!("holds {}", given.type_text()), hint));
    };
    match text.parse::<HeaderName>() {
        Ok(name) if is_header_for_hooks(&name) => Ok(name.as_str().to_owned()),
        Ok(name) => Err(Refusal::new(format!("holds {name}, which the request has for itself"), hint)),
        Err(_) => Err(Refusal::new(format!("holds {text:?}, which is no name of a header"), hint)),
    }
}

/// What is refused is not repeated: it may hold a password.
fn header_line(given: &Given, hint: &str) -> Result<Secret, Refusal> {
    let Given::Text(text) = given else {
        return Err(Refusal::new(format!("holds {}", given.type_name()), hint));
    };
    match read_header(text) {
        Some((name, _)) if is_header_for_hooks(&name) => Ok(Secret::new(text.clone())),
        Some((name, _)) => Err(Refusal::new(format!("holds {name}, which the request has for itself"), hint)),
        None => Err(Refusal::new("holds something that is no header", hint)),
    }
}

/// A header as it is written: `Name: value`.
pub(crate) fn read_header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
}

fn date(text: &str, hint: String) -> Result<Value, Refusal> {
    match dates::unix_seconds(text) {
        Some(seconds) => Ok(Value::Date(seconds, text.to_owned())),
        None => Err(Refusal::new(format!("is not a date: {text:?}"), hint)),
    }
}

fn choice(text: &str, words: &'static [&'static str], hint: String) -> Result<Value, Refusal> {
    if words.contains(&text) {
        return Ok(Value::Text(text.to_owned()));
    }
    Err(Refusal::new(format!("cannot be {text:?}"), with_nearest(text, words, hint)))
}

fn audience(text: &str, audiences: &[Audience], hint: String) -> Result<Value, Refusal> {
    if let Some(audience) = audiences.iter().find(|audience| audience_text(**audience) == text) {
        return Ok(Value::Audience(*audience));
    }
    let complaint = format!("cannot be {text:?}");
    if text == "subscribers" {
        let hint = format!("only a subscriber would be let in, and nobody could become one; {hint}");
        return Err(Refusal::new(complaint, hint));
    }
    let words: Vec<&str> = audiences.iter().map(|audience| audience_text(*audience)).collect();
    Err(Refusal::new(complaint, with_nearest(text, &words, hint)))
}

fn with_nearest(text: &str, words: &[&str], hint: String) -> String {
    match spelling::nearest(text, words.iter().copied()) {
        Some(word) => format!("did you mean {word:?}? {hint}"),
        None => hint,
    }
}

fn address(text: &str, hint: String) -> Result<Value, Refusal> {
    text.parse()
        .map(Value::Address)
        .map_err(|_| Refusal::new(format!("is not an address: {text:?}"), address_hint(text, hint)))
}

fn address_hint(text: &str, hint: String) -> String {
    if let Some(port) = text.strip_prefix(':') {
        return format!(r#"write "0.0.0.0:{port}" for every IPv4 address of this machine, "[::]:{port}" for IPv6 too"#);
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return format!(r#"names are not looked up: write "127.0.0.1:{port}""#);
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return format!("the port is missing; {hint}");
    }
    hint
}

fn each<T>(list: &[Given], mut read: impl FnMut(&Given) -> Result<T, Refusal>) -> Result<Vec<T>, Refusal> {
    let numbered = list.iter().enumerate();
    numbered.map(|(index, given)| read(given).map_err(|refusal| Refusal { element: Some(index), ..refusal })).collect()
}

fn origin(given: &Given, hint: &str) -> Result<String, Refusal> {
    let Given::Text(text) = given else {
        return Err(Refusal::new(format!("holds {}", given.type_text()), hint));
    };
    origins::read(text).map_err(|refused| Refusal::new(refused.to_string(), refused.hint(hint)))
}

/// In lower case, as it is compared.
fn host(given: &Given, hint: &str) -> Result<String, Refusal> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_v6 = |text: &str| {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
    };
    match given {
        Given::Text(text) if is_v6(text) || (!text.is_empty() && text.chars().all(in_name)) => {
            Ok(text.to_ascii_lowercase())
        }
        Given::Text(text) => Err(Refusal::new(format!("holds {text:?}, which is no host"), hint)),
        other => Err(Refusal::new(format!("holds {}", other.type_text()), hint)),
    }
}

fn word_of(given: &Given, words: &'static [&'static str], hint: &str) -> Result<String, Refusal> {
    match given {
        Given::Text(text) if words.contains(&text.as_str()) => Ok(text.clone()),
        Given::Text(text) => {
            Err(Refusal::new(format!("cannot hold {text:?}"), with_nearest(text, words, hint.to_owned())))
        }
        other => Err(Refusal::new(format!("holds {}", other.type_text()), hint)),
    }
}

fn network(given: &Given, hint: &str) -> Result<String, Refusal> {
    match given {
        Given::Text(text) if Network::parse(text).is_some() => Ok(text.clone()),
        Given::Text(text) => Err(Refusal::new(format!("holds {text:?}, which is no network"), hint)),
        other => Err(Refusal::new(format!("holds {}", other.type_text()), hint)),
    }
}

fn pattern(given: &Given, hint: &str) -> Result<String, Refusal> {
    let Given::Text(text) = given else {
        return Err(Refusal::new(format!("holds {}", given.type_text()), hint));
    };
    match Pattern::parse(text) {
        Ok(_) => Ok(text.clone()),
        Err(error) => Err(Refusal::new(format!("holds {text:?}, which {error}"), hint)),
    }
}

/// A pattern for a key of the API: nobody's user id is there to compare with.
fn key_pattern(given: &Given, hint: &str) -> Result<String, Refusal> {
    let text = pattern(given, hint)?;
    match Pattern::parse(&text).is_ok_and(|pattern| pattern.names_user()) {
        true => Err(Refusal::new(format!("holds {text:?}, but a key has no user that {{user}} could stand for"), hint)),
        false => Ok(text),
    }
}

fn personal_channel(text: &str, hint: String) -> Result<Value, Refusal> {
    let namespace = text.strip_suffix('#').map(|rest| rest.strip_suffix(':').unwrap_or(rest));
    match namespace {
        Some("") if text == "#" => Ok(Value::Text(String::new())),
        Some(name) if text.ends_with(":#") && schema::is_namespace_name(name) => Ok(Value::Text(name.to_owned())),
        _ => Err(Refusal::new(format!("cannot be {text:?}"), hint)),
    }
}

fn secret(text: &str) -> Result<Secret, Refusal> {
    let generate = "`openssl rand -hex 32` makes one";
    if text.is_empty() {
        return Err(Refusal::new("is empty", format!("{generate}; leave the key out to have none")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::new("holds a control character", generate));
    }
    Ok(Secret::new(text.to_owned()))
}

/// Judged as the broker will read it; kept as text, since it may hold a password.
fn redis_url(text: &str, hint: String) -> Result<Secret, Refusal> {
    match Server::parse(text) {
        Ok(_) => Ok(Secret::new(text.to_owned())),
        Err(UrlError::Malformed) => Err(Refusal::new("is no URL of a Redis server", hint)),
        Err(UrlError::MasterName) => Err(Refusal::new("lacks the name of the master behind the Sentinels", hint)),
        Err(UrlError::ClusterDatabase) => Err(Refusal::new("has a database, of which a Redis Cluster has none", hint)),
    }
}

fn secrets(list: &[Given], bytes_min: usize, hint: &str) -> Result<Vec<Secret>, Refusal> {
    let secrets = each(list, |given| one_of_secrets(given, bytes_min, hint))?;
    for (index, secret) in secrets.iter().enumerate() {
        if secrets[..index].iter().any(|earlier| earlier.expose() == secret.expose()) {
            let refusal = Refusal::new("holds the same secret twice", "take one of them out");
            return Err(Refusal { element: Some(index), ..refusal });
        }
    }
    Ok(secrets)
}

fn one_of_secrets(given: &Given, bytes_min: usize, hint: &str) -> Result<Secret, Refusal> {
    let generate = "`openssl rand -hex 32` makes one";
    let Given::Text(text) = given else {
        return Err(Refusal::new("holds something that is not text", hint));
    };
    if text.is_empty() {
        return Err(Refusal::new("holds an empty secret", generate));
    }
    if text.len() < bytes_min {
        return Err(Refusal::new(format!("holds a secret of {} bytes, {bytes_min} are needed", text.len()), generate));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refusal::new(
            "holds a secret with blanks or other than ASCII characters",
            "it could not travel in a header",
        ));
    }
    if is_sample(text) {
        return Err(Refusal::new("holds a secret that is easily guessed", generate));
    }
    Ok(Secret::new(text.clone()))
}

/// Whether a secret is a filler: of 32 random hexadecimal digits, fewer than five different ones do not come up.
pub(crate) fn is_sample(text: &str) -> bool {
    let different: std::collections::BTreeSet<char> = text.chars().collect();
    different.len() < 5
}
