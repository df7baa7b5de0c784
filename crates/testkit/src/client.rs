//! A client that says exactly what it is told and remembers what it hears, in order.
//!
//! Commands are written as JSON values whatever the encoding; on a Protobuf connection they are translated, and so
//! is what comes back. It answers pings unless told not to, and does nothing else by itself.

use std::collections::VecDeque;
use std::net::SocketAddr;

use fanfare_protocol::{Encoding, Reply, WriteJson as _};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::patience::within;
use crate::token;

/// The largest frame that a test expects.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How a connection is to be opened.
#[derive(Debug, Clone)]
pub struct Opening {
    address: SocketAddr,
    encoding: Encoding,
    query: String,
    request: Value,
    headers: Vec<(String, String)>,
    receive_buffer_bytes: Option<u32>,
}

/// One reply, push or ping of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// As JSON; null if a payload in it is none, which only Protobuf allows.
    pub value: Value,
    /// The JSON text as it came; of Protobuf the translation.
    pub text: String,
    /// Decoded.
    pub reply: Reply,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// By a close frame.
    Closed(u16, String),
    /// Without one.
    Dropped(String),
}

/// An open connection.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    encoding: Encoding,
    next_id: u32,
    arrived: VecDeque<Unit>,
    answers_pings: bool,
    pings: usize,
    ended: Option<Ending>,
    /// The client id of the connect reply.
    pub id: String,
    /// The connect reply.
    pub connected: Value,
}

impl Opening {
    /// A connection to this address; JSON, without a token.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            encoding: Encoding::Json,
            query: String::new(),
            request: json!({}),
            headers: Vec::new(),
            receive_buffer_bytes: None,
        }
    }

    /// Goes to another address: that of a proxy.
    pub fn through(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    /// Uses this encoding.
    pub fn encoding(self, encoding: Encoding) -> Self {
        Self { encoding, ..self }
    }

    /// Uses Protobuf.
    pub fn protobuf(self) -> Self {
        self.encoding(Encoding::Protobuf)
    }

    /// Asks with a query.
    pub fn query(self, query: &str) -> Self {
        Self { query: query.to_owned(), ..self }
    }

    /// Connects as a user.
    pub fn user(self, user: &str) -> Self {
        self.token(&token::connection(user))
    }

    /// Connects with a token.
    pub fn token(mut self, token: &str) -> Self {
        self.request["token"] = json!(token);
        self
    }

    /// Connects with `connect.subs`.
    pub fn subs(mut self, subs: Value) -> Self {
        self.request["subs"] = subs;
        self
    }

    /// Connects with this field of the command `connect`.
    pub fn saying(mut self, field: &str, value: Value) -> Self {
        self.request[field] = value;
        self
    }

    /// Sends a header with the upgrade request.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes little from the network unless it is read, so that the node soon notices a client that does not read.
    pub fn narrow(self) -> Self {
        Self { receive_buffer_bytes: Some(4_096), ..self }
    }

    /// Opens the connection and says nothing yet; the error is what became of it.
    pub async fn try_open(&self) -> Result<Client, tungstenite::Error> {
        let url = format!("ws://{}/connection/websocket?{}", self.address, self.query);
        let mut request = url.into_client_request()?;
        if self.encoding == Encoding::Protobuf {
            let header = HeaderValue::from_static("centrifuge-protobuf");
            request.headers_mut().insert("sec-websocket-protocol", header);
        }
        for (name, value) in &self.headers {
            let (name, value) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>());
            request.headers_mut().append(name.expect("a header's name"), value.expect("a header's value"));
        }
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        let config = fanfare_gateway::limits::websocket_config(MESSAGE_BYTES_MAX)
            .max_write_buffer_size(MESSAGE_BYTES_MAX)
            .read_buffer_size(64 * 1024);
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(Client {
            socket,
            encoding: self.encoding,
            next_id: 1,
            arrived: VecDeque::new(),
            answers_pings: true,
            pings: 0,
            ended: None,
            id: String::new(),
            connected: Value::Null,
        })
    }

    /// Opens the connection and says nothing yet.
    pub async fn open(&self) -> Client {
        within("a WebSocket", self.try_open()).await.expect("the handshake succeeds")
    }

    /// Opens the connection and sends `connect`; returns the client and the reply.
    pub async fn ask(&self) -> (Client, Value) {
        let mut client = self.open().await;
        let reply = client.ask(json!({"connect": self.request})).await;
        (client, reply)
    }

    /// Connects, which has to succeed.
    pub async fn connect(&self) -> Client {
        let (mut client, mut reply) = self.ask().await;
        client.connected = reply["connect"].take();
        let id = client.connected["client"].as_str();
        client.id = id.unwrap_or_else(|| panic!("not connected: {reply}")).to_owned();
        client
    }

    /// Opens the connection and sends `connect`, which has to close it.
    pub async fn closed(&self) -> (u16, String) {
        let mut client = self.open().await;
        client.command(json!({"connect": self.request})).await;
        client.expect_close().await
    }
}

impl Client {
    /// The encoding of this connection.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Leaves pings without an answer from now on.
    pub fn ignore_pings(&mut self) {
        self.answers_pings = false;
    }

    /// How many pings have come.
    pub fn pings(&self) -> usize {
        self.pings
    }

    /// Sends a frame.
    pub async fn send_message(&mut self, message: Message) {
        let sent = within("a frame to be sent", self.socket.send(message)).await;
        // The node may have closed meanwhile: what it says about that is still to be read.
        if let Err(error) = sent {
            eprintln!("a frame was not sent: {error}");
        }
    }

    /// Sends bytes as a frame of the connection's kind.
    pub async fn send_frame(&mut self, bytes: &[u8]) {
        let message = match self.encoding {
            Encoding::Json => Message::text(String::from_utf8(bytes.to_vec()).expect("JSON is text")),
            Encoding::Protobuf => Message::binary(bytes.to_vec()),
        };
        self.send_message(message).await;
    }

    /// Writes bytes to the socket beneath the WebSocket protocol.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let written = within("bytes to be written", self.socket.get_mut().write_all(bytes)).await;
        written.expect("the socket takes bytes");
    }

    /// Sends commands as they are, in one frame.
    pub async fn send(&mut self, commands: &[Value]) {
        let texts: Vec<String> = commands.iter().map(Value::to_string).collect();
        self.send_text(&texts.join("\n")).await;
    }

    /// Sends commands that are written as JSON, byte for byte if the connection is JSON, else translated.
    pub async fn send_text(&mut self, commands: &str) {
        let frame = match self.encoding {
            Encoding::Json => commands.as_bytes().to_vec(),
            Encoding::Protobuf => translated(commands),
        };
        self.send_frame(&frame).await;
    }

    /// Sends a command under the next id; returns the id.
    pub async fn command(&mut self, mut command: Value) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        command["id"] = json!(id);
        self.send(&[command]).await;
        id
    }

    /// Sends a command and waits for its reply, error or not.
    pub async fn ask(&mut self, command: Value) -> Value {
        let id = self.command(command).await;
        self.expect_reply(id).await
    }

    /// Sends a command that has to succeed; returns the result, which stands in the reply under the command's name.
    pub async fn call(&mut self, name: &str, request: Value) -> Value {
        let mut reply = self.ask(json!({name: request})).await;
        assert!(reply.get(name).is_some(), "{name}: {reply}");
        reply[name].take()
    }

    /// Sends a command that has to be answered with an error; returns its code.
    pub async fn refused(&mut self, name: &str, request: Value) -> u64 {
        let reply = self.ask(json!({name: request})).await;
        reply["error"]["code"].as_u64().unwrap_or_else(|| panic!("{name} was not refused: {reply}"))
    }

    /// Sends a command that has to close the connection.
    pub async fn closed_by(&mut self, name: &str, request: Value) -> (u16, String) {
        self.command(json!({name: request})).await;
        self.expect_close().await
    }

    /// Subscribes without anything else; returns the result.
    pub async fn subscribe(&mut self, channel: &str) -> Value {
        self.call("subscribe", json!({"channel": channel})).await
    }

    /// Waits for the reply to a command; pushes that come before it stay to be read.
    pub async fn expect_reply(&mut self, id: u32) -> Value {
        let what = format!("the reply to command {id}");
        self.take_unit(&what, |unit| unit.reply.id == id && unit.reply.push.is_none()).await.value
    }

    /// The next push, whatever it is about.
    pub async fn expect_push(&mut self) -> Value {
        self.expect_push_unit().await.value["push"].take()
    }

    /// The next push, in all its forms.
    pub async fn expect_push_unit(&mut self) -> Unit {
        self.take_unit("a push", |unit| unit.reply.push.is_some()).await
    }

    /// The next publication of a channel; other channels' pushes stay to be read.
    pub async fn expect_publication(&mut self, channel: &str) -> Value {
        let of_channel = |unit: &Unit| {
            let push = unit.reply.push.as_ref();
            push.is_some_and(|push| push.channel == channel && push.publication.is_some())
        };
        let mut unit = self.take_unit(&format!("a publication in {channel}"), of_channel).await;
        unit.value["push"]["pub"].take()
    }

    /// The next reply or push, in the order in which they came.
    pub async fn expect_next(&mut self) -> Unit {
        self.take_unit("a reply or push", |_| true).await
    }

    /// Everything that has come until now: a command goes out and its answer is awaited, which comes behind all
    /// that was queued for this session before.
    pub async fn so_far(&mut self) -> Vec<Unit> {
        assert_eq!(self.refused("rpc", json!({})).await, 108);
        self.arrived.drain(..).collect()
    }

    /// Waits for the end of the connection, which has to be a close frame.
    pub async fn expect_close(&mut self) -> (u16, String) {
        match self.ending().await {
            Ending::Closed(code, reason) => (code, reason),
            Ending::Dropped(error) => panic!("the connection ended without a close frame: {error}"),
        }
    }

    /// Waits for the end of the connection; what comes before it stays to be read.
    pub async fn ending(&mut self) -> Ending {
        loop {
            if let Some(ended) = &self.ended {
                return ended.clone();
            }
            within("the end of the connection", self.read()).await;
        }
    }

    /// Whether the connection has ended; what came before may be unread.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// How the connection ended, if it has.
    pub fn ended(&self) -> Option<&Ending> {
        self.ended.as_ref()
    }

    /// Everything that came and was not taken yet.
    pub fn take_arrived(&mut self) -> Vec<Unit> {
        self.arrived.drain(..).collect()
    }

    /// Sends a close frame and waits for the answer.
    pub async fn close(mut self) {
        self.send_message(Message::Close(None)).await;
        self.ending().await;
    }

    /// Drops the connection by a reset, as a network that fails does.
    pub fn reset(self) {
        self.socket.get_ref().set_zero_linger().expect("the socket is open");
    }

    /// The socket below.
    pub fn socket(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    async fn take_unit(&mut self, what: &str, fits: impl Fn(&Unit) -> bool) -> Unit {
        loop {
            if let Some(at) = self.arrived.iter().position(&fits) {
                return self.arrived.remove(at).expect("it was found there");
            }
            if let Some(ended) = &self.ended {
                panic!("waited for {what}, but the connection ended: {ended:?}; unread: {:?}", self.texts());
            }
            let waited = tokio::time::timeout(crate::patience::PATIENCE, self.read()).await;
            assert!(waited.is_ok(), "waited too long for {what}; unread: {:?}", self.texts());
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.arrived.iter().map(|unit| unit.text.as_str()).collect()
    }

    /// Reads one frame, or finds the end. Without effect after that. May be dropped: nothing is lost.
    pub async fn read(&mut self) {
        if self.ended.is_some() {
            return;
        }
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => {
                assert_eq!(self.encoding, Encoding::Json, "a text frame on a Protobuf connection");
                self.take_frame(text.as_bytes()).await;
            }
            Some(Ok(Message::Binary(bytes))) => {
                assert_eq!(self.encoding, Encoding::Protobuf, "a binary frame on a JSON connection");
                self.take_frame(&bytes).await;
            }
            Some(Ok(Message::Ping(_))) => self.pings += 1,
            Some(Ok(Message::Close(Some(frame)))) => {
                self.ended = Some(Ending::Closed(frame.code.into(), frame.reason.as_str().to_owned()));
            }
            Some(Ok(Message::Close(None))) => self.ended = Some(Ending::Closed(1005, String::new())),
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => self.ended = Some(Ending::Dropped(error.to_string())),
            None => self.ended = Some(Ending::Dropped("end of input".to_owned())),
        }
    }

    async fn take_frame(&mut self, frame: &[u8]) {
        for unit in units(self.encoding, frame) {
            if unit.reply == Reply::default() {
                self.pings += 1;
                if self.answers_pings {
                    self.send_text("{}").await;
                }
            } else {
                self.arrived.push_back(unit);
            }
        }
    }
}

fn units(encoding: Encoding, frame: &[u8]) -> Vec<Unit> {
    match encoding {
        Encoding::Json => {
            let text = std::str::from_utf8(frame).expect("a text frame is UTF-8");
            text.split('\n').map(json_unit).collect()
        }
        Encoding::Protobuf => {
            encoding.decode_replies(frame).map(|reply| protobuf_unit(reply.expect("a reply"))).collect()
        }
    }
}

fn json_unit(text: &str) -> Unit {
    let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in what the node sent: {text}"));
    let mut replies = Encoding::Json.decode_replies(text.as_bytes());
    let reply = replies.next().expect("a line is a unit").expect("a unit is a reply");
    Unit { value, text: text.to_owned(), reply }
}

fn protobuf_unit(reply: Reply) -> Unit {
    let mut text = Vec::new();
    reply.write_json(&mut text);
    Unit {
        value: serde_json::from_slice(&text).unwrap_or(Value::Null),
        text: String::from_utf8_lossy(&text).into_owned(),
        reply,
    }
}

fn translated(commands: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    for command in Encoding::Json.decode_commands(commands.as_bytes()) {
        Encoding::Protobuf.encode_command(&command.expect("tests translate good commands only"), &mut frame);
    }
    frame
}
