//! HTTP for tests: one connection, requests one after another, the answer as it came.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::node::API_KEY;
use crate::patience::within;

/// A connection that is kept alive.
pub struct Http {
    stream: BufReader<TcpStream>,
    host: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in the answer {self:?}"))
    }
}

impl Http {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("an HTTP connection", TcpStream::connect(address)).await.expect("the node listens");
        stream.set_nodelay(true).expect("the socket is open");
        Self { stream: BufReader::new(stream), host: address.to_string() }
    }

    /// Publishes by the server API, again as long as there is no room, which on a busy machine may be a second and longer:
    /// nothing is published then. Returns the answer.
    pub async fn publish(&mut self, request: &Value) -> Value {
        let (headers, body) = ([("X-API-Key", API_KEY)], request.to_string());
        loop {
            let answer = self.request("POST /api/publish", &headers, &body).await.json();
            if !answer["error"]["message"].as_str().is_some_and(|message| message.contains("overloaded")) {
                return answer;
            }
        }
    }

    /// Sends a request and waits for the answer.
    pub async fn request(&mut self, line: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut head = format!("{line} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {}\r\n", self.host));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let request = format!("{head}\r\n{body}");
        self.stream.write_all(request.as_bytes()).await.expect("the node reads requests");
        within(&format!("the answer to {line}"), self.response()).await
    }

    async fn response(&mut self) -> Response {
        let status = self.line().await;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.expect("an answer begins with its status");
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let response = Response { status, headers, body: String::new() };
        let body = if response.header("transfer-encoding") == Some("chunked") {
            self.chunks().await
        } else {
            let length = response.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            self.bytes(length).await
        };
        Response { body: String::from_utf8(body).expect("an answer is text"), ..response }
    }

    /// A body in chunks, as programs other than ours send it.
    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line().await, 16).expect("a chunk begins with its length");
            body.extend(self.bytes(length).await);
            self.line().await;
            if length == 0 {
                return body;
            }
        }
    }

    async fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await.expect("an answer is whole");
        bytes
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.expect("an answer's head is text");
        assert!(!line.is_empty(), "the connection ended before the answer");
        line.trim_end().to_owned()
    }
}
