//! Payloads as text: on one line, in a JSON object, and how one that is no JSON was probably meant.

use std::borrow::Cow;
use std::fmt::Write as _;

use fanfare_client::{ClientInfo, Publication};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Failure, Io};

/// Prints a value as one line of JSON.
pub(crate) fn print(io: &mut Io, value: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
    io.line(&line)
}

/// A payload on one line, harmless for a terminal: white space between tokens becomes a space, other control
/// characters their JSON escape. What is not JSON is named with its length.
pub(crate) fn one_line(data: &[u8]) -> Cow<'_, str> {
    match text(data) {
        Some(text) => flattened(text),
        None => Cow::Owned(format!("({} bytes that are not JSON)", data.len())),
    }
}

/// A payload inside a JSON object: as it is, or as a list of bytes would be too long, as nothing.
pub(crate) fn raw(data: &[u8]) -> Option<Box<RawValue>> {
    text(data).and_then(|text| RawValue::from_string(flattened(text).into_owned()).ok())
}

fn text(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok()?;
    serde_json::from_str::<&RawValue>(text).is_ok().then_some(text)
}

fn flattened(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => line.push(' '),
            control if control.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(line, "\\u{:04x}", u32::from(control));
            }
            other => line.push(other),
        }
    }
    Cow::Owned(line)
}

/// Something that happened in a channel, as `--json` prints it.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) info: Option<Info<'a>>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(crate) tags: Cow<'a, std::collections::BTreeMap<String, String>>,
}

/// A client, as `--json` prints it.
#[derive(Serialize)]
pub(crate) struct Info<'a> {
    client: &'a str,
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn_info: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chan_info: Option<Box<RawValue>>,
}

impl<'a> Line<'a> {
    pub(crate) fn publication(channel: &'a str, publication: &'a Publication) -> Self {
        Self {
            kind: "publication",
            channel,
            offset: publication.position.as_ref().map(|position| position.offset),
            epoch: publication.position.as_ref().map(|position| position.epoch.as_ref()),
            data: raw(&publication.data),
            info: publication.info.as_ref().map(Info::new),
            tags: Cow::Borrowed(&publication.tags),
        }
    }

    pub(crate) fn client(kind: &'static str, channel: &'a str, info: &'a ClientInfo) -> Self {
        let (info, tags) = (Some(Info::new(info)), Cow::default());
        Self { kind, channel, offset: None, epoch: None, data: None, info, tags }
    }
}

impl<'a> Info<'a> {
    pub(crate) fn new(info: &'a ClientInfo) -> Self {
        let (conn_info, chan_info) = (raw(&info.conn_info), raw(&info.chan_info));
        Self { client: &info.client, user: &info.user, conn_info, chan_info }
    }
}

/// What is wrong with `text` as JSON, if something is.
pub(crate) fn problem(text: &str) -> Option<String> {
    serde_json::from_str::<&RawValue>(text).err().map(|error| error.to_string())
}

/// The JSON that `text` was probably meant to be: an object or a list that has lost its quotes to the shell, or
/// has got single ones, or a comma too many. Anything else was probably meant as text.
pub(crate) fn corrected(text: &str) -> Option<String> {
    let text = text.trim();
    let corrected = text.starts_with(['{', '[']).then(|| quoted_anew(text))?;
    problem(&corrected).is_none().then_some(corrected)
}

fn quoted_anew(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => quoted_length(rest, first),
            '{' | '}' | '[' | ']' | ':' | ',' => 1,
            white if white.is_whitespace() => white.len_utf8(),
            _ => rest.find(['{', '}', '[', ']', ':', ',', '"', '\'']).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        push_token(&mut out, token);
        rest = after;
    }
    out
}

/// The length of a string with its quotes, or of all that is left if it does not end.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            end if end == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn push_token(out: &mut String, token: &str) {
    match token {
        "}" | "]" => {
            if out.trim_end().ends_with(',') {
                out.truncate(out.trim_end().len() - 1);
            }
            out.push_str(token);
        }
        "{" | "[" | ":" | "," => out.push_str(token),
        _ if token.starts_with('"') || token.trim().is_empty() => out.push_str(token),
        _ if token.starts_with('\'') => out.push_str(&as_text(token.trim_matches('\''))),
        _ if problem(token.trim()).is_none() => out.push_str(token),
        _ => out.push_str(&as_text(token.trim())),
    }
}

/// Text as a JSON string.
pub(crate) fn as_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An argument as a shell takes it.
pub(crate) fn shell_quoted(argument: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:@%+,".contains(character);
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.to_owned(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_shell_took_is_given_back() {
        for (text, meant) in [
            ("{text:hi}", Some(r#"{"text":"hi"}"#)),
            ("{text:hi there}", Some(r#"{"text":"hi there"}"#)),
            ("{'text':'hi'}", Some(r#"{"text":"hi"}"#)),
            (r#"{'text':'say "hi"'}"#, Some(r#"{"text":"say \"hi\""}"#)),
            ("{n:1,ok:true,none:null,f:-1.5}", Some(r#"{"n":1,"ok":true,"none":null,"f":-1.5}"#)),
            (r#"{"a":1,}"#, Some(r#"{"a":1}"#)),
            ("[a, b, ]", Some(r#"["a", "b"]"#)),
            ("{a:{b:[c]}}", Some(r#"{"a":{"b":["c"]}}"#)),
            ("{a:1", None),
            ("{a:http://x}", None),
            ("{'a", None),
            ("hello", None),
            ("", None),
        ] {
            assert_eq!(corrected(text).as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn arguments_are_quoted_for_the_shell_where_they_have_to_be() {
        for (argument, quoted) in [
            ("news", "news"),
            ("", "''"),
            ("a b", "'a b'"),
            (r#"{"a":"it's"}"#, r#"'{"a":"it'\''s"}'"#),
            ("$HOME", "'$HOME'"),
            ("user#42", "'user#42'"),
        ] {
            assert_eq!(shell_quoted(argument), quoted, "{argument}");
        }
    }

    #[test]
    fn a_payload_becomes_one_harmless_line() {
        assert_eq!(one_line(b"{\r\n\t\"a\": 1\n}"), "{   \"a\": 1 }");
        assert_eq!(one_line("\"\u{9b}2J\"".as_bytes()), "\"\\u009b2J\"");
        assert_eq!(one_line(b"\xff\xfe"), "(2 bytes that are not JSON)");
        assert_eq!(one_line(b"boom"), "(4 bytes that are not JSON)");
        assert_eq!(raw(b"[1,\n2]").unwrap().get(), "[1, 2]");
        assert!(raw(b"boom").is_none());
    }
}
