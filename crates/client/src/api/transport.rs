//! HTTP to a node: one POST, its answer bounded in size and time.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use crate::Error;
use crate::address::Address;
use crate::limits::{ANSWER_BYTES_MAX, API_TIMEOUT, CONNECT_TIMEOUT};

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

#[derive(Debug, Clone)]
pub(super) struct Transport {
    http: Client<HttpConnector, Full<Bytes>>,
    address: Address,
    key: Option<ApiKey>,
}

impl Transport {
    pub(super) fn new(address: Address, key: Option<ApiKey>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Self { http, address, key }
    }

    pub(super) async fn post(&self, method: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), Error> {
        let request = self.request(method, body)?;
        match timeout(API_TIMEOUT, Box::pin(self.exchange(request))).await {
            Ok(result) => result,
            Err(_) => Err(Error::TimedOut),
        }
    }

    fn request(&self, method: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, Error> {
        let url = self.address.api_url(method);
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
            true => Error::Unreachable { address: self.address.host_and_port().to_owned(), cause: cause.to_string() },
            false => Error::Answer(format!("it broke off: {cause}")),
        }
    }
}
