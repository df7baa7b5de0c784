//! Connections of one hook: kept open between questions, a bounded number of them, for a bounded time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use fanfare_outbound::{ConnectError, Endpoint, Trust, connect};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::limits::{HEAD_BYTES_MAX, IDLE_CONNECTIONS_MAX, IDLE_TIMEOUT};

/// Why a try has no answer. Nothing of what came is in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TryError {
    /// No connection: nothing was sent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection ended, or what came is not HTTP.
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
    /// Not in time.
    #[error("no answer in time")]
    TimedOut,
    /// An answer that sends elsewhere (H1).
    #[error("it answers with a redirect ({0}), which is not followed")]
    Redirect(u16),
    /// Another status than 200.
    #[error("it answers with status {0}")]
    Status(u16),
    /// More than is taken.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl TryError {
    /// Whether nothing of the request was sent.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, Self::Connect(_))
    }

    /// Whether the backend was not reached, or could not answer at the moment.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Broken(_) | Self::TimedOut => true,
            Self::Status(status) => matches!(status, 502..=504),
            Self::Redirect(_) | Self::TooLarge(_) => false,
        }
    }
}

type Sender = SendRequest<Full<Bytes>>;

#[derive(Debug)]
pub(crate) struct Pool {
    endpoint: Endpoint,
    tls: Arc<rustls::ClientConfig>,
    answer_bytes_max: usize,
    /// The connections that lie idle, the last used at the end.
    idle: Mutex<Vec<(Sender, Instant)>>,
    /// The owner of every connection's task: as many as questions are under way, and those that lie idle.
    connections: Mutex<JoinSet<()>>,
}

impl Pool {
    pub(crate) fn new(endpoint: Endpoint, tls: Arc<rustls::ClientConfig>, answer_bytes_max: usize) -> Self {
        Self { endpoint, tls, answer_bytes_max, idle: Mutex::default(), connections: Mutex::default() }
    }

    /// Sends a request and reads the answer. When this is dropped, the connection ends (H7).
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Bytes, TryError> {
        let (response, sender) = match self.idle() {
            Some(mut sender) => match sender.try_send_request(request).await {
                Ok(response) => (response, sender),
                // It had ended meanwhile: nothing was sent, and the request comes back.
                Err(mut error) => match error.take_message() {
                    Some(request) => self.send_on_new(request).await?,
                    None => return Err(TryError::Broken(error.into_error())),
                },
            },
            None => self.send_on_new(request).await?,
        };
        let body = self.read(response).await?;
        self.keep(sender);
        Ok(body)
    }

    async fn send_on_new(&self, request: Request<Full<Bytes>>) -> Result<(Response<Incoming>, Sender), TryError> {
        let stream = connect(&self.endpoint, Trust::Any, &self.tls).await?;
        let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(TryError::Broken)?;
        {
            let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            while connections.try_join_next().is_some() {}
            connections.spawn(async move {
                // How it ended shows where something was awaited from it.
                let _ = connection.await;
            });
        }
        let response = sender.send_request(request).await.map_err(TryError::Broken)?;
        Ok((response, sender))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, TryError> {
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(TryError::Redirect(status.as_u16())),
            status => return Err(TryError::Status(status.as_u16())),
        }
        let body = Limited::new(response.into_body(), self.answer_bytes_max).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => TryError::Broken(*error),
            Err(_) => TryError::TooLarge(self.answer_bytes_max),
        })
    }

    /// The connection that was used last, of those that are still good.
    fn idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(sender, since)| since.elapsed() < IDLE_TIMEOUT && !sender.is_closed());
        let at = idle.iter().rposition(|(sender, _)| sender.is_ready())?;
        Some(idle.remove(at).0)
    }

    /// Keeps a connection for the next question, if there is room.
    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !sender.is_closed() && idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push((sender, Instant::now()));
        }
    }
}
