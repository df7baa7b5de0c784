//! An HTTP server in the place of a user's backend: answers hooks, well or badly, and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::port::{Connection, Port};
use crate::token;

/// What a question is answered with.
#[derive(Debug, Clone)]
pub enum HookAnswer {
    /// This JSON.
    Json(Value),
    /// `{"result":…}` with an `expire_at` so many seconds after the question.
    Lasting(u64, Value),
    /// The same as the first after this time.
    Late(Duration, Value),
    /// This text, whatever it is.
    Text(String),
    /// This status and nothing else.
    Status(u16),
    /// A redirect to there.
    Redirect(String),
    /// So many bytes that are no JSON, without a length.
    Huge(usize),
    /// Nothing at all.
    Silent,
    /// The end of the connection.
    HangUp,
}

/// A question.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body, to the letter.
    pub body: String,
}

impl Asked {
    /// Its body.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// The server; it ends when it is dropped, and another one can begin at its address.
pub struct HookServer {
    port: Port,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: BTreeMap<String, HookAnswer>,
    /// Answers that are given once, before the others.
    once: BTreeMap<String, VecDeque<HookAnswer>>,
    asked: BTreeMap<String, Vec<Asked>>,
    under_way: usize,
    busiest: usize,
    bytes_taken: Arc<Mutex<usize>>,
}

impl HookServer {
    /// A server on 127.0.0.1 that answers `{"result":{}}`.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// The same at an address that may have had one before.
    pub async fn start_at(address: SocketAddr) -> Self {
        Self::start_with(address, None).await
    }

    /// The same behind TLS.
    pub async fn start_tls(tls: rustls::ServerConfig) -> Self {
        Self::start_with(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Some(tls)).await
    }

    async fn start_with(address: SocketAddr, tls: Option<rustls::ServerConfig>) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let asked = Arc::clone(&state);
        let port = Port::start(address, tls, move |stream| converse(stream, Arc::clone(&asked))).await;
        Self { port, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        self.port.url(path)
    }

    /// Answers a path with this from now on.
    pub fn put(&self, path: &str, answer: HookAnswer) {
        lock(&self.state).answers.insert(path.to_owned(), answer);
    }

    /// Answers the next question to a path with this; a second one is for the question after it.
    pub fn once(&self, path: &str, answer: HookAnswer) {
        lock(&self.state).once.entry(path.to_owned()).or_default().push_back(answer);
    }

    /// What a path was asked.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        lock(&self.state).asked.get(path).cloned().unwrap_or_default()
    }

    /// The last of that.
    pub fn last(&self, path: &str) -> Asked {
        self.asked(path).pop().expect("it was asked")
    }

    /// Connections that were made.
    pub fn connections(&self) -> usize {
        self.port.accepted()
    }

    /// The most questions that were under way at once.
    pub fn busiest(&self) -> usize {
        lock(&self.state).busiest
    }

    /// Bytes of huge answers that somebody took.
    pub fn bytes_taken(&self) -> usize {
        *lock(&lock(&self.state).bytes_taken)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn converse(stream: Connection, state: Arc<Mutex<State>>) {
    let service = service_fn(|request| answer(request, Arc::clone(&state)));
    // How a connection ended is no matter of the server.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type Answered = Response<BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Answered, &'static str> {
    let path = request.uri().path().to_owned();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let method = request.method().clone();
    let body = request.into_body().collect().await.map_err(|_| "the question breaks off")?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    let answer = {
        let mut state = lock(&state);
        state.under_way += 1;
        state.busiest = state.busiest.max(state.under_way);
        state.asked.entry(path.clone()).or_default().push(Asked { headers, body });
        let once = state.once.get_mut(&path).and_then(VecDeque::pop_front);
        once.or_else(|| state.answers.get(&path).cloned()).unwrap_or_else(|| HookAnswer::Json(json!({"result": {}})))
    };
    let answer = if method == hyper::Method::POST { answer } else { HookAnswer::Status(405) };
    let given = give(answer, &state).await;
    lock(&state).under_way -= 1;
    given
}

async fn give(answer: HookAnswer, state: &Mutex<State>) -> Result<Answered, &'static str> {
    Ok(match answer {
        HookAnswer::Json(value) => text_answer(value.to_string()),
        HookAnswer::Lasting(seconds, mut result) => {
            result["expire_at"] = json!(token::now() + seconds);
            text_answer(json!({ "result": result }).to_string())
        }
        HookAnswer::Late(pause, value) => {
            tokio::time::sleep(pause).await;
            text_answer(value.to_string())
        }
        HookAnswer::Text(text) => text_answer(text),
        HookAnswer::Status(status) => with_status(status),
        HookAnswer::Redirect(url) => {
            let mut answer = with_status(307);
            answer.headers_mut().insert("location", url.parse().expect("a URL is a header's value"));
            answer
        }
        HookAnswer::Huge(bytes) => huge(bytes, Arc::clone(&lock(state).bytes_taken)),
        HookAnswer::Silent => std::future::pending().await,
        HookAnswer::HangUp => return Err("told to"),
    })
}

fn text_answer(text: String) -> Answered {
    Response::new(Full::new(Bytes::from(text)).boxed())
}

fn with_status(status: u16) -> Answered {
    let mut answer = text_answer(String::new());
    *answer.status_mut() = status.try_into().expect("a status");
    answer
}

fn huge(bytes: usize, taken: Arc<Mutex<usize>>) -> Answered {
    const PIECE: usize = 64 * 1024;
    let piece = Bytes::from(vec![b' '; PIECE]);
    let pieces = (0..bytes.div_ceil(PIECE)).map(move |_| {
        *lock(&taken) += PIECE;
        Ok(Frame::data(piece.clone()))
    });
    Response::new(StreamBody::new(stream::iter(pieces)).boxed())
}
