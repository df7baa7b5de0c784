//! Reading a request's body within its limits.
//!
//! Types that are taken for `/api/METHOD`: JSON in any spelling, none, and `application/x-www-form-urlencoded`,
//! since `curl -d` says so of whatever it sends. The last is also what a foreign web page can send without being
//! asked: with keys that is harmless, since the page has none, and `dev`, which needs none, checks Host and
//! Origin. The type never changes how a body is read.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::Limits;
use crate::error::Failure;
use crate::limits::{DISCARD_TIMEOUT, DISCARDED_BYTES_MAX};

const FORM: &str = "application/x-www-form-urlencoded";

/// Refuses types that are not JSON.
pub(crate) fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let full = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let essence = full.split(';').next().unwrap_or_default().trim();
    if essence.is_empty() || essence == FORM || is_json(essence) {
        return Ok(());
    }
    Err(Failure::media_type("the body has to be JSON; send it with Content-Type: application/json"))
}

fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// Refuses compressed bodies: they are not unpacked, so a small body cannot become a large one.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(CONTENT_ENCODING) {
        None => Ok(()),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"identity") => Ok(()),
        Some(_) => Err(Failure::media_type("compressed bodies are not taken; send it without Content-Encoding")),
    }
}

/// The whole body, within size and time.
pub(crate) async fn read(headers: &HeaderMap, body: &mut Body, limits: &Limits) -> Result<Bytes, Failure> {
    let max = limits.body_bytes_max;
    if declared_bytes(headers).is_some_and(|bytes| bytes > max as u64) {
        return Err(too_large(max));
    }
    match tokio::time::timeout(limits.body_timeout, Limited::new(body, max).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(max)),
        Ok(Err(_)) => Err(Failure::bad_body("the body ended before it was complete")),
        Err(_) => Err(Failure::timed_out("the body did not arrive in time (api.body_timeout)")),
    }
}

/// Reads on for a bounded time and throws away what comes, before a refusal is answered: a connection that is
/// closed with unread input is reset, and the reset takes the answer along. Who waits for `100 Continue` has sent
/// nothing, and is not asked to.
pub(crate) async fn discard(headers: &HeaderMap, body: &mut Body) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let rest = async {
        let mut discarded_bytes = 0;
        while discarded_bytes < DISCARDED_BYTES_MAX {
            let Some(Ok(frame)) = body.frame().await else { return };
            discarded_bytes += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    if tokio::time::timeout(DISCARD_TIMEOUT, rest).await.is_err() {
        tracing::debug!("a refused body did not end in time");
    }
}

fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(max: usize) -> Failure {
    Failure::too_large(format!("the body is larger than the {max} bytes of api.body_bytes_max; send less at once"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accepted(content_type: &'static str) -> bool {
        check_type(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])).is_ok()
    }

    #[test]
    fn json_in_any_spelling_and_what_curl_says_is_taken() {
        assert!(check_type(&HeaderMap::new()).is_ok());
        for good in
            ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json", "text/json", FORM, ""]
        {
            assert!(accepted(good), "{good}");
        }
    }

    #[test]
    fn other_types_are_not() {
        for bad in ["text/plain", "multipart/form-data; boundary=x", "application/xml", "application/jsonp", "json"] {
            assert!(!accepted(bad), "{bad}");
        }
    }

    #[test]
    fn a_compressed_body_is_not_taken() {
        let encoded = |value| HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(value))]);
        assert!(check_encoding(&HeaderMap::new()).is_ok());
        assert!(check_encoding(&encoded("identity")).is_ok());
        assert!(check_encoding(&encoded("gzip")).is_err());
    }
}
