//! Reads a request's JSON, and says in a caller's words what is wrong with it.

use serde::Deserialize;

use crate::suggestion::did_you_mean;

/// Longest name of a field that is repeated in a message.
const SHOWN_CHARS_MAX: usize = 64;

/// A body as text.
pub(crate) fn body_text(body: &[u8]) -> Result<&str, String> {
    if body.trim_ascii().is_empty() {
        return Err("the body is empty; send a JSON object, at least {}".to_owned());
    }
    std::str::from_utf8(body).map_err(|error| format!("the body is not UTF-8, from byte {} on", error.valid_up_to()))
}

/// A request from JSON text. The error says what is wrong, and where.
pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    // Without this a struct would also be read from an array, by position.
    if !text.trim_ascii_start().starts_with('{') {
        return Err("a JSON object is expected, beginning with {".to_owned());
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let request = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        explain(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| explain(".", &error))?;
    Ok(request)
}

fn explain(path: &str, error: &serde_json::Error) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let what = text.strip_suffix(&format!(" at {place}")).unwrap_or(&text);
    if let Some(refusal) = unknown_field(what, &place) {
        return refusal;
    }
    if !error.is_data() {
        return format!("the body is not valid JSON: {what} at {place}");
    }
    let field = if path == "." { String::new() } else { format!("{}: ", shortened(path)) };
    format!("{field}{what} (at {place})")
}

/// Serde's "unknown field `x`, expected one of `a`, `b`" with a suggestion.
fn unknown_field(what: &str, place: &str) -> Option<String> {
    let rest = what.strip_prefix("unknown field `")?;
    // From the right: the name comes from outside and may hold anything, the rest is ours.
    let (name, expected) = rest.rsplit_once("`, expected ").or_else(|| rest.rsplit_once("`, "))?;
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let hint = did_you_mean(name, known.iter().copied());
    let name = shortened(name);
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Some(format!("unknown field \"{name}\" (at {place}){hint} (known fields: {known})"))
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// The fields of a request, as serde knows them; for tests of the document.
#[cfg(test)]
pub(crate) fn fields<'a, T: Deserialize<'a> + std::fmt::Debug>() -> Vec<String> {
    let error = serde_json::from_str::<T>(r#"{"\u0000":0}"#).unwrap_err().to_string();
    let expected = error.split_once("`, ").map(|(_, expected)| expected).unwrap_or_default();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Broadcast, Channels, History, Info, Publish, Subscribe};

    #[track_caller]
    fn refused<'a, T: Deserialize<'a> + std::fmt::Debug>(text: &'a str, mentions: &[&str]) {
        let error = parse::<T>(text).unwrap_err();
        for word in mentions {
            assert!(error.contains(word), "{error:?} lacks {word:?}");
        }
    }

    #[test]
    fn a_payload_is_kept_byte_for_byte() {
        let text = r#"{"channel":"a","data": {"n" : 1.50,"é":"\u00e9",  "big":123456789012345678901234567890} }"#;
        let data = parse::<Publish<'_>>(text).unwrap().content().data.unwrap();
        assert_eq!(data.get(), r#"{"n" : 1.50,"é":"\u00e9",  "big":123456789012345678901234567890}"#);
    }

    #[test]
    fn null_is_a_payload_and_elsewhere_counts_as_absent() {
        let publish = parse::<Publish<'_>>(r#"{"channel":null,"data":null,"tags":null,"version":null}"#).unwrap();
        assert_eq!(publish.channel, None);
        assert_eq!(publish.content().data.unwrap().get(), "null");
        assert!(parse::<Publish<'_>>("{}").unwrap().content().data.is_none());
    }

    #[test]
    fn an_unknown_field_is_named_with_what_may_be_meant() {
        refused::<Publish<'_>>(
            "{\"chanel\":1}",
            &["\"chanel\"", "did you mean \"channel\"?", "line 1 column 9", "skip_history"],
        );
        refused::<Channels>(r#"{"patern":"x"}"#, &["\"patern\"", "did you mean \"pattern\"?"]);
        refused::<Info>(r#"{"x":1}"#, &["\"x\"", "known fields: none"]);
        refused::<History>(r#"{"since":{"ofset":1}}"#, &["\"ofset\"", "did you mean \"offset\"?"]);
        refused::<Publish<'_>>(r#"{"a`, expected `b":1}"#, &["a`, expected `b", "channel"]);
    }

    #[test]
    fn a_wrong_type_is_told_with_its_path_and_place() {
        refused::<Publish<'_>>(r#"{"tags":{"a":"x","b":5}}"#, &["tags.b", "expected a string", "line 1 column"]);
        refused::<Broadcast<'_>>(r#"{"channels":["a",5]}"#, &["channels[1]"]);
        refused::<Broadcast<'_>>(r#"{"channels":"a"}"#, &["channels", "sequence"]);
        refused::<Subscribe<'_>>(r#"{"override":{"presence":true}}"#, &["override.presence"]);
        refused::<Subscribe<'_>>(r#"{"override":{"presnce":{"value":true}}}"#, &["did you mean \"presence\""]);
        for number in ["-1", "1.5", "1e3", "\"1\"", "18446744073709551616", "true"] {
            let text = format!(r#"{{"version":{number}}}"#);
            assert!(parse::<Publish<'_>>(&text).is_err(), "{number}");
        }
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        refused::<Publish<'_>>("{\"channel\":\n \"a\",}", &["not valid JSON", "line 2 column"]);
        refused::<Publish<'_>>(r#"{"channel":"a""#, &["not valid JSON", "EOF"]);
        refused::<Publish<'_>>("{} {}", &["trailing"]);
        for text in ["[]", r#"["a",1]"#, "null", "5", "\"x\"", "boom", "\u{feff}{}"] {
            refused::<Publish<'_>>(text, &["JSON object"]);
        }
        refused::<Publish<'_>>(r#"{"channel":"a","channel":"b"}"#, &["duplicate field", "channel"]);
    }

    #[test]
    fn a_deep_body_is_read_without_harm() {
        let deep = format!(r#"{{"channel":"a","data":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
        assert!(parse::<Publish<'_>>(&deep).is_ok());
    }

    #[test]
    fn a_body_must_be_text() {
        assert!(body_text(b" \n").unwrap_err().contains("{}"));
        assert!(body_text(b"{\"a\":\"\xff\"}").unwrap_err().contains("byte 6"));
        assert_eq!(body_text(b"{}"), Ok("{}"));
    }
}
