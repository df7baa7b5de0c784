//! One request, one answer, over a connection of its own. Bounded in bytes and in time (K6), to addresses that were
//! judged (K4).

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, ETAG, HOST, HeaderValue, IF_NONE_MATCH, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::{self, AddressError, Trust};
use crate::endpoint::Endpoint;
use crate::limits::{ANSWER_BYTES_MAX, HEAD_BYTES_MAX};

/// Why there is no answer. Nothing of what came is in it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No address to connect to.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No connection.
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    /// The host cannot be named in TLS.
    #[error("the host has no name for TLS")]
    ServerName,
    /// No answer that is HTTP.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// Not in time.
    #[error("no answer in time")]
    TimedOut,
    /// An answer that sends elsewhere.
    #[error("it answers with a redirect ({0}), which is not followed")]
    Redirect(u16),
    /// Another answer than the one asked for.
    #[error("it answers with status {0}")]
    Status(u16),
    /// More than anybody needs, or an answer that breaks off.
    #[error("the answer breaks off, or is larger than {ANSWER_BYTES_MAX} bytes")]
    Body,
    /// The answer is no discovery document of the issuer.
    #[error("the discovery document {0}")]
    Discovery(&'static str),
    /// The answer is no key set.
    #[error("the key set cannot be used: {0}")]
    KeySet(#[from] fanfare_auth::KeySetError),
}

impl FetchError {
    /// The label under which it is counted.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Address(_) | Self::ServerName => "address",
            Self::Connect(_) => "connect",
            Self::Http(_) => "http",
            Self::TimedOut => "timeout",
            Self::Redirect(_) => "redirect",
            Self::Status(_) => "status",
            Self::Body => "body",
            Self::Discovery(_) => "discovery",
            Self::KeySet(_) => "key_set",
        }
    }
}

/// What came.
#[derive(Debug)]
pub(crate) enum Answer {
    /// What the entity tag stands for is still so.
    NotModified,
    /// The body, with its entity tag.
    Body(Bytes, Option<HeaderValue>),
}

/// What is needed to ask.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) timeout: Duration,
}

impl Asking {
    /// Asks for what is there, unless it is what the entity tag stands for.
    pub(crate) async fn get(
        &self,
        endpoint: &Endpoint,
        trust: Trust,
        entity_tag: Option<&HeaderValue>,
    ) -> Result<Answer, FetchError> {
        let answer = self.get_in_any_time(endpoint, trust, entity_tag);
        tokio::time::timeout(self.timeout, answer).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn get_in_any_time(
        &self,
        endpoint: &Endpoint,
        trust: Trust,
        entity_tag: Option<&HeaderValue>,
    ) -> Result<Answer, FetchError> {
        let stream = connect(&address::resolve(endpoint, trust).await?).await?;
        let request = request(endpoint, entity_tag);
        if !endpoint.is_tls {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(endpoint.host.clone()).map_err(|_| FetchError::ServerName)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        exchange(connector.connect(name, stream).await.map_err(FetchError::Connect)?, request).await
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, FetchError> {
    let mut failure = std::io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(FetchError::Connect(failure))
}

fn request(endpoint: &Endpoint, entity_tag: Option<&HeaderValue>) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = endpoint.path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::try_from(endpoint.authority()) {
        headers.insert(HOST, host);
    }
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("fanfare"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(entity_tag) = entity_tag {
        headers.insert(IF_NONE_MATCH, entity_tag.clone());
    }
    request
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
    let mut answer = pin!(async move { read(sender.send_request(request).await?).await });
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        // What it has read before it ended is still there.
        _ended = connection => {}
    }
    answer.await
}

async fn read(response: Response<Incoming>) -> Result<Answer, FetchError> {
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED => return Ok(Answer::NotModified),
        status if status.is_redirection() => return Err(FetchError::Redirect(status.as_u16())),
        status => return Err(FetchError::Status(status.as_u16())),
    }
    let entity_tag = response.headers().get(ETAG).cloned();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(Answer::Body(body.map_err(|_| FetchError::Body)?.to_bytes(), entity_tag))
}
