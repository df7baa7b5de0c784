//! An HTTP server of an issuer: publishes keys, well or badly, and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::port::{Connection, Port};

/// What a path is answered with.
#[derive(Debug, Clone)]
pub enum Page {
    /// This JSON.
    Json(Value),
    /// This JSON with an entity tag; 304 to who has it.
    Tagged(Value, &'static str),
    /// This status and nothing else.
    Status(u16),
    /// A redirect to there.
    Redirect(String),
    /// So many bytes of a body that is no JSON, with their length or without.
    Huge(usize, bool),
    /// Nothing at all.
    Silent,
    /// A head that never ends, a byte now and then.
    Dripping,
    /// The end of the connection.
    HangUp,
}

/// The server; it ends when it is dropped.
pub struct KeyServer {
    port: Port,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    pages: BTreeMap<String, Page>,
    asked: Vec<String>,
}

impl KeyServer {
    /// A server without pages, on 127.0.0.1.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same behind TLS.
    pub async fn start_tls(tls: rustls::ServerConfig) -> Self {
        Self::start_with(Some(tls)).await
    }

    async fn start_with(tls: Option<rustls::ServerConfig>) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let pages = Arc::clone(&state);
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let port = Port::start(any_port, tls, move |stream| answer(stream, Arc::clone(&pages))).await;
        Self { port, state }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        self.port.url(path)
    }

    /// Answers a path with this from now on.
    pub fn put(&self, path: &str, page: Page) {
        lock(&self.state).pages.insert(path.to_owned(), page);
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        lock(&self.state).asked.iter().filter(|asked| *asked == path).count()
    }

    /// How often anything was asked for.
    pub fn asked_in_total(&self) -> usize {
        lock(&self.state).asked.len()
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(mut stream: Connection, state: Arc<Mutex<State>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16_384 {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let page = {
        let mut state = lock(&state);
        state.asked.push(path.clone());
        state.pages.get(&path).cloned().unwrap_or(Page::Status(404))
    };
    write(&mut stream, page, &head).await;
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), page: Page, head: &str) {
    let json = |value: &Value, tag: &str| {
        let body = value.to_string();
        format!("HTTP/1.1 200 OK\r\n{tag}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let bytes = match page {
        Page::Json(value) => json(&value, ""),
        Page::Tagged(_, tag) if head.contains(&format!("if-none-match: \"{tag}\"")) => {
            b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()
        }
        Page::Tagged(value, tag) => json(&value, &format!("ETag: \"{tag}\"\r\n")),
        Page::Status(status) => format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n\r\n").into_bytes(),
        Page::Redirect(url) => {
            format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n").into_bytes()
        }
        Page::Huge(bytes, with_length) => {
            let length = if with_length { format!("Content-Length: {bytes}\r\n") } else { String::new() };
            let mut answer = format!("HTTP/1.1 200 OK\r\n{length}\r\n").into_bytes();
            answer.resize(answer.len() + bytes, b' ');
            answer
        }
        Page::Silent => return std::future::pending().await,
        Page::Dripping => return drip(stream).await,
        Page::HangUp => return,
    };
    // A client that has seen enough ends the connection.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}

async fn drip(stream: &mut (impl AsyncWrite + Unpin)) {
    while stream.write_all(b"H").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
