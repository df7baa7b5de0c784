//! What a caller is told when something is refused: codes, HTTP statuses and the two error modes.
//!
//! An [`Error`] is an answer of the API: HTTP 200 with `{"error":{"code":…,"message":…}}`. A [`Failure`] may also
//! stem from HTTP itself (no route, no key, no JSON) and then has a status of its own. With the header
//! `X-Centrifugo-Error-Mode: transport` errors of the API get a status by their code, and the body of either is
//! the bare `{"code":…,"message":…}`.

use std::fmt::Display;

use axum::body::Body;
use axum::response::Response;
use fanfare_protocol::ErrorCode;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::json::Object;
use crate::limits::MESSAGE_CHARS_MAX;

const ERROR_MODE: HeaderName = HeaderName::from_static("x-centrifugo-error-mode");

/// An error of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Error {
    /// The code's own text, and what is wrong in this case.
    pub(crate) fn new(code: ErrorCode, detail: impl Display) -> Self {
        let message = format!("{}: {detail}", code.text());
        Self { code, message: message.chars().take(MESSAGE_CHARS_MAX).collect() }
    }

    pub(crate) fn bad_request(detail: impl Display) -> Self {
        Self::new(ErrorCode::BadRequest, detail)
    }

    /// `{"code":…,"message":…}`
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.number("code", self.code.code().into());
        object.text("message", &self.message);
        object.end();
    }

    /// `{"error":{…}}`
    pub(crate) fn write_enveloped(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        self.write(object.value("error"));
        object.end();
    }

    fn status(&self) -> StatusCode {
        match self.code {
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorCode::PermissionDenied => StatusCode::FORBIDDEN,
            ErrorCode::UnknownChannel | ErrorCode::MethodNotFound => StatusCode::NOT_FOUND,
            ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::UnrecoverablePosition => StatusCode::RANGE_NOT_SATISFIABLE,
            ErrorCode::ConcurrentPagination => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<fanfare_broker::Error> for Error {
    fn from(error: fanfare_broker::Error) -> Self {
        match error {
            fanfare_broker::Error::BadRequest(detail) => Self::bad_request(detail),
            other => Self::new(other.code(), other),
        }
    }
}

/// How errors are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorMode {
    Body,
    Transport,
}

impl ErrorMode {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let transport =
            headers.get(ERROR_MODE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"transport"));
        if transport { Self::Transport } else { Self::Body }
    }
}

/// A request that got an error. Large beside what succeeds, hence boxed inside.
#[derive(Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    error: Error,
    /// The status where HTTP itself refuses; `None` for errors of the API.
    status: Option<StatusCode>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(Box::new(Inner { error, status: None, header: None }))
    }
}

impl Failure {
    fn http(status: StatusCode, error: Error) -> Self {
        Self(Box::new(Inner { error, status: Some(status), header: None }))
    }

    fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.0.header = Some((name, HeaderValue::from_static(value)));
        self
    }

    pub(crate) fn bad_body(detail: impl Display) -> Self {
        Self::http(StatusCode::BAD_REQUEST, Error::bad_request(detail))
    }

    pub(crate) fn unauthorized(detail: impl Display) -> Self {
        let failure = Self::http(StatusCode::UNAUTHORIZED, Error::new(ErrorCode::Unauthorized, detail));
        failure.with_header(WWW_AUTHENTICATE, "apikey")
    }

    pub(crate) fn not_found(detail: impl Display) -> Self {
        Self::http(StatusCode::NOT_FOUND, Error::new(ErrorCode::MethodNotFound, detail))
    }

    pub(crate) fn from_unknown_method(error: Error) -> Self {
        Self::http(StatusCode::NOT_FOUND, error)
    }

    pub(crate) fn http_method(allowed: &'static str, detail: impl Display) -> Self {
        Self::http(StatusCode::METHOD_NOT_ALLOWED, Error::bad_request(detail)).with_header(ALLOW, allowed)
    }

    pub(crate) fn timed_out(detail: impl Display) -> Self {
        Self::http(StatusCode::REQUEST_TIMEOUT, Error::bad_request(detail))
    }

    pub(crate) fn too_large(detail: impl Display) -> Self {
        Self::http(StatusCode::PAYLOAD_TOO_LARGE, Error::bad_request(detail))
    }

    pub(crate) fn media_type(detail: impl Display) -> Self {
        Self::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, Error::bad_request(detail))
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.0.error.code
    }

    /// The status where HTTP itself refused.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    pub(crate) fn into_response(self, mode: ErrorMode) -> Response {
        let Inner { error, status, header } = *self.0;
        let mut body = Vec::new();
        let status = match mode {
            ErrorMode::Body => {
                error.write_enveloped(&mut body);
                status.unwrap_or(StatusCode::OK)
            }
            ErrorMode::Transport => {
                error.write(&mut body);
                status.unwrap_or_else(|| error.status())
            }
        };
        let mut response = json_response(body);
        *response.status_mut() = status;
        response.headers_mut().extend(header);
        response
    }
}

/// 200 with a JSON body.
pub(crate) fn json_response(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_the_transport_mode_follow_the_code() {
        for (code, status) in [
            (ErrorCode::Internal, 500),
            (ErrorCode::UnknownChannel, 404),
            (ErrorCode::MethodNotFound, 404),
            (ErrorCode::BadRequest, 400),
            (ErrorCode::NotAvailable, 400),
            (ErrorCode::UnrecoverablePosition, 416),
            (ErrorCode::ConcurrentPagination, 409),
        ] {
            assert_eq!(Error::new(code, "x").status().as_u16(), status, "{code:?}");
        }
    }

    #[test]
    fn what_the_broker_refuses_keeps_its_reason() {
        let budget = Error::from(fanfare_broker::Error::Budget { limit: "broker.history_bytes_max" });
        assert_eq!(budget.code, ErrorCode::Internal);
        assert!(budget.message.contains("broker.history_bytes_max"), "{}", budget.message);
        let missing = Error::from(fanfare_broker::Error::NodesMissing(vec!["web-2".to_owned()]));
        assert_eq!(missing.message, "internal server error: unavailable: no answer from web-2");
        let not_stored = Error::from(fanfare_broker::Error::Refused("Redis is a replica"));
        assert_eq!(not_stored.message, "internal server error: refused: Redis is a replica");
        let refused = Error::from(fanfare_broker::Error::BadRequest("no such thing"));
        assert_eq!(refused.message, "bad request: no such thing");
    }

    #[test]
    fn a_message_is_bounded() {
        assert_eq!(Error::bad_request("é".repeat(5_000)).message.chars().count(), MESSAGE_CHARS_MAX);
    }
}
