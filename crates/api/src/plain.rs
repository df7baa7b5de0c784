//! `POST /api/publish/CHANNEL`: the body is the payload, whatever type it says it has.
//!
//! For shells and small scripts. Everything beyond channel and payload needs `POST /api/publish`.

use std::borrow::Cow;

use bytes::Bytes;
use http::Uri;
use http::header::HOST;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::error::{Error, Failure};
use crate::{Api, Authentication};

/// Longest text that is put into the corrected line; a longer one is replaced by an example.
const QUOTED_CHARS_MAX: usize = 80;

/// What is to be published, and where.
pub(crate) struct Publication<'a> {
    pub(crate) channel: Cow<'a, str>,
    payload: Bytes,
}

impl Publication<'_> {
    pub(crate) async fn publish(self, api: &Api) -> Result<Vec<u8>, Error> {
        api.publish_json(&self.channel, self.payload).await
    }
}

pub(crate) fn read<'a>(api: &Api, channel: &'a str, parts: &Parts, body: &Bytes) -> Result<Publication<'a>, Failure> {
    check_query(&parts.uri)?;
    let channel = percent_decode_str(channel).decode_utf8();
    let channel = channel.map_err(|_| Error::bad_request("the channel in the path is not UTF-8 once decoded"))?;
    let payload = body.slice_ref(body.trim_ascii());
    if !api.is_json(&payload)? {
        return Err(not_json(api, parts, &payload));
    }
    Ok(Publication { channel, payload })
}

/// An unencoded `?` would silently publish to another channel.
fn check_query(uri: &Uri) -> Result<(), Failure> {
    match uri.query() {
        None => Ok(()),
        Some(_) => Err(Failure::bad_body(
            "nothing is taken from the query; in a channel's name write %3F for ?, and send keys in a header",
        )),
    }
}

/// Names what is wrong and gives a line that works.
fn not_json(api: &Api, parts: &Parts, body: &[u8]) -> Failure {
    let why = if body.is_empty() { "empty" } else { "not JSON" };
    let key = match api.auth {
        Authentication::Open => "",
        Authentication::Keys(_) => " -H 'X-API-Key: KEY'",
    };
    let (host, path) = (host(parts), parts.uri.path());
    let data = example(body);
    Failure::bad_body(format!(
        "the body is {why}, and a text has to be quoted to be JSON; this works: curl -d {data}{key} http://{host}{path}"
    ))
}

/// The body as a quoted JSON text, in the quotes of bash and zsh that mean the same whether the line is copied
/// from the raw reply, where `"` is written `\"`, or from the decoded one.
fn example(body: &[u8]) -> String {
    let simple = |char: char| !char.is_control() && !"'\"\\{}[]=&".contains(char);
    match std::str::from_utf8(body) {
        Ok(text) if !text.is_empty() && text.chars().count() <= QUOTED_CHARS_MAX && text.chars().all(simple) => {
            format!("$'\"{text}\"'")
        }
        _ => r#"$'{"text":"hi"}'"#.to_owned(),
    }
}

fn host(parts: &Parts) -> &str {
    let plain = |host: &&str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    parts.headers.get(HOST).and_then(|host| host.to_str().ok()).filter(plain).unwrap_or("HOST")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simple_text_is_quoted_and_anything_else_replaced() {
        assert_eq!(example("hello, wörld".as_bytes()), "$'\"hello, wörld\"'");
        for other in ["", "{text: hi}", "it's", "a=b", "a\nb", "\\", &"x".repeat(81)] {
            assert_eq!(example(other.as_bytes()), "$'{\"text\":\"hi\"}'", "{other}");
        }
        assert_eq!(example(b"\xff"), "$'{\"text\":\"hi\"}'");
    }
}
