//! The WebSocket handshake (RFC 6455 §4.2), on top of an HTTP server.
//!
//! Everything that can be refused is refused before the 101: afterwards there is only a close code. The socket is
//! taken back from the HTTP server together with what it had already read, and goes to its shard as it is.

use base64::Engine as _;
use bytes::Bytes;
use fanfare_protocol::Encoding;
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::backend::Headers;
use crate::connection::NewSocket;
use crate::gateway::Handle;
use crate::limits::HOOK_HEADERS_BYTES_MAX;
use crate::places::{Companion, NoPlace};
use crate::stream::Stream;
use crate::tls::Tls;

const PROTOBUF: &str = "centrifuge-protobuf";
const JSON: &str = "centrifuge-json";

/// Seconds after which a client that found no room may try again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// What a handshake agreed on.
#[derive(Debug, PartialEq, Eq)]
struct Agreed {
    encoding: Encoding,
    native_ping: bool,
    subprotocol: Option<&'static str>,
}

/// Why there is no WebSocket.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    text: &'static str,
    header: Option<(HeaderName, HeaderValue)>,
}

fn refusal(status: StatusCode, text: &'static str) -> Refusal {
    Refusal { status, text, header: None }
}

/// What the HTTP server runs on: a stream, or something around one that gives it back.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The stream, and what was read from it and not handed on.
    fn into_stream(self) -> (Stream, Bytes);
}

impl Transport for TcpStream {
    fn into_stream(self) -> (Stream, Bytes) {
        (self.into(), Bytes::new())
    }
}

impl Handle {
    /// Answers an upgrade request: 101 where a session will follow, else what is wrong with it. The server's
    /// connection has to allow upgrades, over a `T` in [`TokioIo`].
    pub fn upgrade<T: Transport>(&self, request: &mut Request<impl Sized>) -> Response<String> {
        match self.try_upgrade::<T>(request) {
            Ok(response) => response,
            Err(refusal) => refuse(refusal),
        }
    }

    fn try_upgrade<T: Transport>(&self, request: &mut Request<impl Sized>) -> Result<Response<String>, Refusal> {
        let key = check(request)?;
        let agreed = agree(request.headers(), request.uri().query().unwrap_or_default());
        let kept = kept(request.headers(), &self.options().hook_headers)?;
        let (mut place, permit) = self.reserve().map_err(unavailable)?;
        place.keep(request.extensions_mut().remove::<Companion>());
        let upgraded = hyper::upgrade::on(request);
        let accepted = accept(&key, &agreed);
        self.spawn(async move {
            let Some((stream, tls, read)) = raw_socket::<T>(upgraded).await else {
                return;
            };
            let Agreed { encoding, native_ping, .. } = agreed;
            permit.send(NewSocket { stream, tls, read, encoding, native_ping, headers: kept, place });
        });
        Ok(accepted)
    }
}

/// The headers that hooks pass on.
fn kept(headers: &HeaderMap, names: &[HeaderName]) -> Result<Headers, Refusal> {
    let of = |name| headers.get_all(name).iter().map(move |value| (HeaderName::clone(name), value.clone()));
    let kept: Headers = names.iter().flat_map(of).collect();
    let bytes: usize = kept.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HOOK_HEADERS_BYTES_MAX {
        let text = "the headers that are passed on to the application are too large\n";
        return Err(refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text));
    }
    Ok(kept)
}

/// What a request is answered where there is a place for its session.
#[cfg(feature = "fuzzing")]
pub(crate) fn answer(request: &Request<()>) -> Response<String> {
    match check(request) {
        Ok(key) => accept(&key, &agree(request.headers(), request.uri().query().unwrap_or_default())),
        Err(refusal) => refuse(refusal),
    }
}

fn unavailable(no_place: NoPlace) -> Refusal {
    let text = match no_place {
        NoPlace::Full => "no room for another connection on this node (limits.sessions_max); try again later\n",
        NoPlace::Busy => "too many connects at once on this node; try again\n",
        NoPlace::Memory => "this node is short of memory (limits.memory_max); try again later\n",
        NoPlace::Draining => "this node is about to end; connect again to reach another\n",
    };
    let retry = Some((RETRY_AFTER, RETRY_AFTER_SECONDS));
    Refusal { header: retry, ..refusal(StatusCode::SERVICE_UNAVAILABLE, text) }
}

/// A socket, its TLS, and what was read from it already.
type RawSocket = (std::net::TcpStream, Option<Box<Tls>>, Bytes);

/// Takes the socket back from the HTTP server.
async fn raw_socket<T: Transport>(upgraded: OnUpgrade) -> Option<RawSocket> {
    let upgraded = upgraded.await.ok()?;
    let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<T>>() else {
        tracing::error!("the HTTP server runs on something else than was said: this connection cannot be upgraded");
        return None;
    };
    let (stream, unread) = io.into_inner().into_stream();
    let read = if unread.is_empty() { read_buf } else { [read_buf, unread].concat().into() };
    let (stream, tls) = stream.into_parts().ok()?;
    Some((stream, tls, read))
}

/// The checks of RFC 6455 §4.2.1; returns the client's key.
fn check<B>(request: &Request<B>) -> Result<String, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET || request.version() < Version::HTTP_11 {
        return Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with GET over HTTP/1.1\n"));
    }
    if !names(headers, &CONNECTION, "upgrade") || !names(headers, &UPGRADE, "websocket") {
        return Err(Refusal {
            header: Some((UPGRADE, HeaderValue::from_static("websocket"))),
            ..refusal(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint: connect with a WebSocket client\n")
        });
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal {
            header: Some((SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))),
            ..refusal(StatusCode::UPGRADE_REQUIRED, "only version 13 of the WebSocket protocol is spoken here\n")
        });
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).filter(|key| is_key(key));
    key.map(str::to_owned)
        .ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key has to be 16 bytes in base64\n"))
}

fn is_key(key: &str) -> bool {
    base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// Whether a header lists a token, in any case.
fn names(headers: &HeaderMap, header: &HeaderName, token: &str) -> bool {
    listed(headers, header).any(|name| name.eq_ignore_ascii_case(token))
}

fn listed<'a>(headers: &'a HeaderMap, header: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Chooses the encoding (protocol §1.1): the query beats the subprotocol; the first known subprotocol counts.
fn agree(headers: &HeaderMap, query: &str) -> Agreed {
    let known = |offered: &str| [PROTOBUF, JSON].into_iter().find(|known| *known == offered);
    let subprotocol = listed(headers, &SEC_WEBSOCKET_PROTOCOL).find_map(known);
    let asked = |pair: &str| query.split('&').any(|part| part == pair);
    let protobuf = subprotocol == Some(PROTOBUF) || asked("format=protobuf") || asked("cf_protocol=protobuf");
    Agreed {
        encoding: if protobuf { Encoding::Protobuf } else { Encoding::Json },
        native_ping: asked("cf_ws_frame_ping_pong=true"),
        subprotocol,
    }
}

fn accept(key: &str, agreed: &Agreed) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(subprotocol) = agreed.subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    response
}

fn refuse(refusal: Refusal) -> Response<String> {
    let mut response = Response::new(refusal.text.to_owned());
    *response.status_mut() = refusal.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some((name, value)) = refusal.header {
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::get("/connection/websocket");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn a_good_handshake_gets_the_accept_key_of_the_rfc() {
        let key = check(&request(&GOOD)).unwrap();
        let response = accept(&key, &agree(&HeaderMap::new(), ""));
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[track_caller]
    fn refused(missing: &str, with: Option<(&str, &str)>, status: u16) {
        let headers: Vec<_> = GOOD.into_iter().filter(|(name, _)| *name != missing).chain(with).collect();
        assert_eq!(check(&request(&headers)).unwrap_err().status.as_u16(), status);
    }

    #[test]
    fn a_bad_handshake_is_told_what_is_wrong() {
        refused("upgrade", None, 426);
        refused("connection", None, 426);
        refused("sec-websocket-version", Some(("sec-websocket-version", "8")), 426);
        refused("sec-websocket-key", None, 400);
        refused("sec-websocket-key", Some(("sec-websocket-key", "c2hvcnQ=")), 400);
    }

    #[track_caller]
    fn agreed(protocols: &str, query: &str, encoding: Encoding, subprotocol: Option<&str>) {
        let agreed = agree(request(&[("sec-websocket-protocol", protocols)]).headers(), query);
        assert_eq!((agreed.encoding, agreed.subprotocol), (encoding, subprotocol));
    }

    #[test]
    fn the_encoding_comes_from_the_subprotocol_or_the_query() {
        agreed("", "", Encoding::Json, None);
        agreed("centrifuge-json", "", Encoding::Json, Some(JSON));
        agreed("chat, centrifuge-protobuf", "", Encoding::Protobuf, Some(PROTOBUF));
        agreed("centrifuge-json", "format=protobuf", Encoding::Protobuf, Some(JSON));
        agreed("chat", "a=b&cf_protocol=protobuf", Encoding::Protobuf, None);
        agreed("chat", "format=protobufx", Encoding::Json, None);
    }
}
