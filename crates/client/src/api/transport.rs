//! HTTP to a node: one POST, its answer bounded in size and time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::{fmt, io};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;
use tower::Service;

use crate::Error;
use crate::limits::{ANSWER_BYTES_MAX, API_TIMEOUT, CONNECT_TIMEOUT};
use crate::stream::{Stream, Way};

/// A key of the server API. Never shows itself.
#[derive(Clone)]
pub struct ApiKey(HeaderValue);

impl ApiKey {
    /// Takes a key. Fails on characters that cannot stand in an HTTP header.
    pub fn new(key: String) -> Result<Self, Error> {
        let mut value = HeaderValue::try_from(key)
            .map_err(|_| Error::Token("the API key has characters that cannot stand in a header".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(…)")
    }
}

/// Makes the connections of the HTTP client, all to one node.
#[derive(Debug, Clone)]
struct Connector(Way);

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let way = self.0.clone();
        Box::pin(async move {
            match timeout(CONNECT_TIMEOUT, way.connect()).await {
                Ok(connected) => connected.map(TokioIo::new),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
            }
        })
    }
}

#[derive(Debug, Clone)]
pub(super) struct Transport {
    http: Client<Connector, Full<Bytes>>,
    way: Way,
    key: Option<ApiKey>,
}

impl Transport {
    pub(super) fn new(way: Way, key: Option<ApiKey>) -> Self {
        let http = Client::builder(TokioExecutor::new()).build(Connector(way.clone()));
        Self { http, way, key }
    }

    pub(super) async fn post(&self, method: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), Error> {
        self.exchange(self.request(method, body)?).await
    }

    /// Reads a page of the node, without the key.
    pub(super) async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), Error> {
        let url = self.way.address().page_url(path);
        let request = Request::get(url.as_str()).body(Full::default());
        let request =
            request.map_err(|_| Error::Address { address: url, problem: "it cannot be part of a request" })?;
        self.exchange(request).await
    }

    fn request(&self, method: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, Error> {
        let url = self.way.address().api_url(method);
        let mut request = Request::post(url.as_str())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| Error::Address { address: url, problem: "it cannot be part of a request" })?;
        if let Some(key) = &self.key {
            request.headers_mut().insert("x-api-key", key.0.clone());
        }
        Ok(request)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Error> {
        timeout(API_TIMEOUT, Box::pin(self.exchanged(request))).await.unwrap_or(Err(Error::TimedOut))
    }

    async fn exchanged(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Error> {
        let response = self.http.request(request).await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        match body {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) => Err(Error::Answer(format!("it broke off: {error}"))),
        }
    }

    fn failed(&self, error: &hyper_util::client::legacy::Error) -> Error {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        match error.is_connect() {
            true => {
                Error::Unreachable { address: self.way.address().host_and_port().to_owned(), cause: cause.to_string() }
            }
            false => Error::Answer(format!("it broke off: {cause}")),
        }
    }
}
