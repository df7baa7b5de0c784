//! One WebSocket: opened, introduced by the connect command, then frames in and commands out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{Command, ConnectRequest, ConnectResult, Encoding, Reply, ReplyFrames, SubscribeRequest};
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::Ending;
use crate::api::words;
use crate::limits::{BATCH_BYTES_MAX, COMMAND_TIMEOUT, CONNECT_TIMEOUT, websocket_config};
use crate::options::Settings;
use crate::stream::Stream;
use crate::{Error, TokenError, TokenSource};

/// The id of the connect command. The ids of what follows start at 1 again, since it has been answered then.
const CONNECT_ID: u32 = 1;

/// How long the farewell may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Link {
    socket: WebSocketStream<Stream>,
    encoding: Encoding,
}

/// A link whose connect command the server has accepted.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) link: Link,
    pub(crate) token: Option<String>,
    pub(crate) result: ConnectResult,
    /// What came behind the connect reply in the same frame.
    pub(crate) rest: Vec<Reply>,
}

/// A frame of the server.
#[derive(Debug)]
pub(crate) struct Frame(Message);

impl Frame {
    pub(crate) fn replies(&self, encoding: Encoding) -> ReplyFrames<'_> {
        encoding.decode_replies(match &self.0 {
            Message::Text(text) => text.as_str().as_bytes(),
            Message::Binary(bytes) => bytes,
            _ => &[],
        })
    }
}

impl Link {
    /// Opens a connection and introduces itself. May be dropped at any time.
    pub(crate) async fn establish(
        settings: Arc<Settings>,
        (token, source): (Option<String>, Option<TokenSource>),
        subs: BTreeMap<String, SubscribeRequest>,
    ) -> Result<Established, Error> {
        let token = match (token, source) {
            (None, Some(source)) => Some(source.fetch().await.map_err(no_token)?),
            (token, _) => token,
        };
        let attempt = async {
            let link = Self::open(&settings).await?;
            link.introduce(&settings.name, token, subs).await
        };
        match timeout(CONNECT_TIMEOUT, Box::pin(attempt)).await {
            Ok(result) => result,
            Err(_) => Err(unreachable(&settings, &"no answer in time")),
        }
    }

    async fn open(settings: &Settings) -> Result<Self, Error> {
        let socket = settings.way.connect().await.map_err(|error| unreachable(settings, &error))?;
        let request = upgrade_request(settings)?;
        match client_async_with_config(request, socket, Some(websocket_config())).await {
            Ok((socket, _)) => Ok(Self { socket, encoding: settings.encoding }),
            Err(SocketError::Http(response)) => {
                let status = response.status();
                let body = response.body().as_deref().unwrap_or_default();
                Err(Error::Http { status: status.as_u16(), message: words(status, body) })
            }
            Err(error) => Err(unreachable(settings, &error)),
        }
    }

    async fn introduce(
        mut self,
        name: &str,
        token: Option<String>,
        subs: BTreeMap<String, SubscribeRequest>,
    ) -> Result<Established, Error> {
        let connect = ConnectRequest {
            token: token.clone().unwrap_or_default(),
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            subs,
            ..Default::default()
        };
        let command = Command { id: CONNECT_ID, connect: Some(connect), ..Default::default() };
        self.send(vec![command]).await.map_err(ended)?;
        let frame = self.receive().await.map_err(ended)?;
        let mut replies = frame.replies(self.encoding);
        let result = match replies.next() {
            Some(Ok(reply)) => connect_result(reply)?,
            Some(Err(error)) => return Err(Error::Answer(error.to_string())),
            None => return Err(Error::Answer("an empty frame instead of a connect reply".to_owned())),
        };
        let rest = replies.collect::<Result<_, _>>().map_err(|error| Error::Answer(error.to_string()))?;
        Ok(Established { link: self, token, result, rest })
    }

    /// Sends commands in as few frames as their sizes allow. To be dropped only with the link.
    pub(crate) async fn send(&mut self, commands: Vec<Command>) -> Result<(), Ending> {
        let mut batch = Vec::new();
        let mut unit = Vec::new();
        for command in commands {
            unit.clear();
            self.encoding.encode_command(&command, &mut unit);
            if !batch.is_empty() && batch.len() + unit.len() >= BATCH_BYTES_MAX {
                self.send_batch(std::mem::take(&mut batch)).await?;
            }
            if !batch.is_empty() {
                batch.extend_from_slice(self.encoding.separator());
            }
            batch.extend_from_slice(&unit);
        }
        match batch.is_empty() {
            true => Ok(()),
            false => self.send_batch(batch).await,
        }
    }

    /// The next frame with replies. May be dropped without loss.
    pub(crate) async fn receive(&mut self) -> Result<Frame, Ending> {
        loop {
            match self.socket.next().await {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => return Ok(Frame(message)),
                Some(Ok(Message::Close(Some(close)))) => {
                    return Err(Ending::closed(u16::from(close.code).into(), close.reason.as_str().to_owned()));
                }
                Some(Ok(Message::Close(None))) | None => return Err(Ending::lost("connection closed")),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Err(Ending::lost(format!("connection lost: {error}"))),
            }
        }
    }

    /// Says goodbye, or answers a goodbye, as far as the socket allows in a second.
    pub(crate) async fn close(mut self) {
        // What fails here was to be closed anyway.
        let _ = timeout(CLOSE_TIMEOUT, self.socket.close(None)).await;
    }

    async fn send_batch(&mut self, batch: Vec<u8>) -> Result<(), Ending> {
        let message = match self.encoding {
            Encoding::Protobuf => Message::Binary(batch.into()),
            Encoding::Json => {
                let text =
                    Utf8Bytes::try_from(batch).map_err(|_| Ending::terminal(0, "a command that is not UTF-8"))?;
                Message::Text(text)
            }
        };
        match timeout(COMMAND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ending::lost(format!("connection lost: {error}"))),
            Err(_) => Err(Ending::lost("the node takes no commands")),
        }
    }
}

fn upgrade_request(settings: &Settings) -> Result<http::Request<()>, Error> {
    let url = settings.way.address().websocket_url();
    let request = url.as_str().into_client_request();
    let mut request =
        request.map_err(|_| Error::Address { address: url, problem: "it cannot be part of a request" })?;
    if settings.encoding == Encoding::Protobuf {
        let protocol = HeaderValue::from_static("centrifuge-protobuf");
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(request)
}

fn connect_result(reply: Reply) -> Result<ConnectResult, Error> {
    match (reply.error, reply.connect) {
        (Some(error), _) => Err(error.into()),
        (None, Some(result)) => Ok(result),
        (None, None) => Err(Error::Answer("something else came before the connect reply".to_owned())),
    }
}

/// Before the connect reply every code is worth telling, those of reconnects too.
fn ended(ending: Ending) -> Error {
    match ending.code {
        0 if ending.reconnects => Error::Disconnected,
        code => Error::Closed { code, reason: ending.reason.into_owned() },
    }
}

fn no_token(error: TokenError) -> Error {
    match error {
        TokenError::Unauthorized => Error::Token("not authorized".to_owned()),
        TokenError::Temporary(reason) => {
            Error::Refused { code: 1, message: format!("no token: {reason}"), temporary: true }
        }
    }
}

fn unreachable(settings: &Settings, cause: &dyn std::fmt::Display) -> Error {
    Error::Unreachable { address: settings.way.address().host_and_port().to_owned(), cause: cause.to_string() }
}
