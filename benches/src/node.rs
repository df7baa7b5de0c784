//! The node under measurement: the release program, with default settings.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fanfare_auth::{Issuer, NewToken, Secret};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::clients::{Stream, Target};
use fanfare_loadtest::Process;

/// Asks a node for its metrics.
pub(crate) const METRICS_REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";

pub(crate) const API_KEY: &str = "measure-key-0123456789abcdefghij";
pub(crate) const SECRET: &str = "measure-secret-0123456789abcdefghijklmnop";

/// A running node; ended when dropped.
pub(crate) struct Node {
    child: Child,
    address: SocketAddr,
    api: Mutex<Stream>,
}

impl Node {
    /// Starts `fanfare serve` from the directory of this program, on a free port.
    pub(crate) async fn start() -> io::Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same without pings, for measurements that outlast a ping: the plain clients do not answer them.
    pub(crate) async fn start_without_pings() -> io::Result<Self> {
        Self::start_with(&[("FANFARE_SESSION__PING_INTERVAL", "off")]).await
    }

    /// The same on a Redis server, with pings off too.
    pub(crate) async fn start_on(redis: &str) -> io::Result<Self> {
        let node =
            Self::start_with(&[("FANFARE_SESSION__PING_INTERVAL", "off"), ("FANFARE_REDIS__URL", redis)]).await?;
        for _ in 0..200 {
            if node.publish("{}").await.is_ok() {
                return Ok(node);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Err(io::Error::other("the node does not come to terms with Redis"))
    }

    /// The same with this configuration file.
    pub(crate) async fn start_from(file: &std::path::Path) -> io::Result<Self> {
        Self::start_with(&[("FANFARE_CONFIG", &file.to_string_lossy())]).await
    }

    /// The same with TLS: it shows this certificate, and is trusted by these clients.
    pub(crate) async fn start_tls(files: [&str; 2], client: Arc<ClientConfig>) -> io::Result<Self> {
        let [certificate, key] = files;
        let settings = [
            ("FANFARE_SESSION__PING_INTERVAL", "off"),
            ("FANFARE_LISTEN__TLS_CERT_FILE", certificate),
            ("FANFARE_LISTEN__TLS_KEY_FILE", key),
        ];
        Self::start_as(&settings, Some(client)).await
    }

    async fn start_with(settings: &[(&str, &str)]) -> io::Result<Self> {
        Self::start_as(settings, None).await
    }

    async fn start_as(settings: &[(&str, &str)], tls: Option<Arc<ClientConfig>>) -> io::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("fanfare");
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(program)
            .args(["serve", "--listen", &address.to_string()])
            .env("FANFARE_API__KEYS", API_KEY)
            .env("FANFARE_AUTH__HMAC_SECRET", SECRET)
            .env("FANFARE_CHANNELS__SUBSCRIBE", "users")
            .env("FANFARE_LOG__LEVEL", "error")
            .envs(settings.iter().copied())
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let api = Mutex::new(connect_patiently(Target { tls, ..Target::from(address) }).await?);
        Ok(Self { child, address, api })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn process(&self) -> Process {
        Process::of(self.child.id())
    }

    /// The sum of the rows of a metric that begin so.
    pub(crate) async fn metric(&self, row: &str) -> io::Result<f64> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(METRICS_REQUEST).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(sum_of(&text, row).unwrap_or(0.0))
    }

    /// Publishes over one kept connection and waits for the answer.
    pub(crate) async fn publish(&self, payload: &str) -> io::Result<()> {
        let request = format!(
            "POST /api/publish/news HTTP/1.1\r\nHost: node\r\nX-API-Key: {API_KEY}\r\nContent-Length: {}\r\n\r\n{payload}",
            payload.len()
        );
        let mut api = self.api.lock().await;
        api.write_all(request.as_bytes()).await?;
        let mut answer = [0; 4_096];
        let length = api.read(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer[..length]);
        if text.starts_with("HTTP/1.1 200") && text.contains("\"offset\"") {
            return Ok(());
        }
        Err(io::Error::other(format!("the node refused a publication: {text}")))
    }
}

/// The sum of the rows of metrics that begin so; none of none.
pub(crate) fn sum_of(metrics: &str, row: &str) -> Option<f64> {
    let rows = metrics.lines().filter(|line| line.starts_with(row));
    rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).reduce(|sum, value| sum + value)
}

/// A connection token of a user.
pub(crate) fn token(user: usize) -> String {
    let claims = NewToken { user: format!("user-{user}"), ..NewToken::default() };
    Issuer::new(&Secret::new(SECRET.to_owned())).connection(&claims)
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn connect_patiently(target: Target) -> io::Result<Stream> {
    for _ in 0..200 {
        if let Ok(stream) = target.connect().await {
            return Ok(stream);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Err(io::Error::other("the node did not start: build it with `cargo build --release --bin fanfare`"))
}
