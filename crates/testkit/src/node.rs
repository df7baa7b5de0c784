//! A node in process, on a free port, with everything allowed unless a test says otherwise.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_auth::Secret;
use fanfare_broker::Retention;
use fanfare_broker::namespaces::{Access, Audience, ChannelOptions, Namespaces};
use fanfare_gateway::Hook;
use fanfare_outbound::Endpoint;
use fanfare_server::Config;
use fanfare_server::config::HookConfig;
use serde_json::{Value, json};

use crate::client::Opening;
use crate::http::{Http, Response};
use crate::patience::eventually;
use crate::tls::{Certificate, Tunnel};
use crate::token;

/// The key of the server API.
pub const API_KEY: &str = "a key for tests";

/// What a node is to be started with.
pub struct Setup {
    config: Config,
    channels: ChannelOptions,
    namespaces: BTreeMap<String, ChannelOptions>,
    /// The node speaks TLS only, and its address is that of a tunnel to it.
    tunnel: Option<Arc<Certificate>>,
}

/// A running node; it ends when it is dropped.
pub struct Node {
    running: fanfare_server::Node,
    tunnel: Option<Tunnel>,
    idle: Mutex<Vec<Http>>,
}

impl Setup {
    /// A node of so many shards: clients without a token are let in, channels have a history of 1,000 for five
    /// minutes, presence, joins and leaves, and anyone may do everything.
    pub fn new(shards: usize) -> Self {
        let mut config = Config::dev();
        config.dev = false;
        config.listen.address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.api.keys = vec![Secret::new(API_KEY.to_owned())];
        config.auth.hmac_secret = Some(Secret::new(token::SECRET.to_owned()));
        config.gateway.shards = shards;
        Self { config, channels: open_channels(), namespaces: BTreeMap::new(), tunnel: None }
    }

    /// Changes the configuration.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Keeps what there is in the Redis at this URL, and gives it time: the machine may be busy with other tests.
    pub fn redis(mut self, url: &str) -> Self {
        self.config.redis.server = Some(fanfare_broker_redis::Server::parse(url).expect("a test's Redis is near"));
        self.config.redis.command_timeout = Duration::from_secs(3);
        self
    }

    /// Speaks TLS with this certificate. The node's address is then that of a tunnel, so that everything that speaks no
    /// TLS reaches it all the same.
    pub fn tls(mut self, certificate: &Arc<Certificate>) -> Self {
        self.config.listen.tls_cert_file = Some(certificate.file("cert.pem"));
        self.config.listen.tls_key_file = Some(certificate.file("key.pem"));
        self.tunnel = Some(Arc::clone(certificate));
        self
    }

    /// Changes what sessions are run with.
    pub fn sessions(mut self, change: impl FnOnce(&mut fanfare_gateway::Options)) -> Self {
        change(&mut self.config.gateway);
        self
    }

    /// Changes the options of channels without a namespace.
    pub fn channels(mut self, change: impl FnOnce(&mut ChannelOptions)) -> Self {
        change(&mut self.channels);
        self
    }

    /// Adds a namespace that differs in this from the channels without one.
    pub fn namespace(mut self, name: &str, change: impl FnOnce(&mut ChannelOptions)) -> Self {
        let mut options = self.channels.clone();
        change(&mut options);
        self.namespaces.insert(name.to_owned(), options);
        self
    }

    /// Asks a backend at this URL about this; what else is to be, `change` says.
    pub fn hook(mut self, hook: Hook, url: &str, change: impl FnOnce(&mut HookConfig)) -> Self {
        let mut config = hook_config(url);
        change(&mut config);
        self.config.hooks.insert(hook, config);
        self
    }

    /// Starts the node.
    pub async fn start(mut self) -> Node {
        if self.tunnel.is_none() && std::env::var_os("FANFARE_TEST_TLS").is_some() {
            self = self.tls(&Arc::new(Certificate::new()));
        }
        self.config.namespaces = Namespaces::new(self.channels, self.namespaces);
        let running = fanfare_server::Node::start(self.config).await.expect("the node starts");
        let tunnel = match self.tunnel {
            Some(certificate) => Some(Tunnel::start(running.address(), certificate.client()).await),
            None => None,
        };
        Node { running, tunnel, idle: Mutex::default() }
    }
}

/// A hook at this URL, without anything else.
pub fn hook_config(url: &str) -> HookConfig {
    HookConfig {
        endpoint: Endpoint::parse(url).expect("a test's backend is near"),
        ca_file: None,
        signing_keys: Vec::new(),
        timeout: Duration::from_secs(2),
        in_flight_max: 256,
        answer_bytes_max: 256 * 1024,
        pass_headers: Vec::new(),
        headers: Vec::new(),
    }
}

/// The sum of those rows of a metric that have this label, in what `/metrics` shows.
pub(crate) fn sum_of(text: &str, name: &str, label: &str) -> f64 {
    let rows = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '{']) && rest.contains(label))
    });
    rows.filter_map(|row| row.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn open_channels() -> ChannelOptions {
    let anyone = Audience::Anyone;
    let retention = Retention { size: 1_000, ttl: Duration::from_secs(300), meta_ttl: Duration::from_secs(3_600) };
    ChannelOptions {
        retention: Some(retention),
        presence: true,
        join_leave: true,
        access: Access { subscribe: anyone, publish: anyone, read_history: anyone, read_presence: anyone },
        ..ChannelOptions::default()
    }
}

impl Node {
    /// Where it is reached without TLS, through a tunnel if it speaks nothing else.
    pub fn address(&self) -> SocketAddr {
        self.tunnel.as_ref().map_or_else(|| self.running.address(), Tunnel::address)
    }

    /// Where it listens.
    pub fn listening_address(&self) -> SocketAddr {
        self.running.address()
    }

    /// Reads its certificate again; whether that was of use.
    pub fn reload_certificate(&self) -> bool {
        self.running.tls().expect("the node speaks TLS").reload().is_ok()
    }

    /// A client of this node, to be opened.
    pub fn client(&self) -> Opening {
        Opening::new(self.address())
    }

    /// Sends a request, on a connection of its own or on one that lies idle.
    pub async fn request(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let idle = self.idle.lock().expect("no test panics with the lock").pop();
        let mut http = match idle {
            Some(http) => http,
            None => Http::connect(self.address()).await,
        };
        let response = http.request(line, headers, body).await;
        if response.header("connection") != Some("close") {
            self.idle.lock().expect("no test panics with the lock").push(http);
        }
        response
    }

    /// Gives up the connections that lie idle: the node may have closed them meanwhile.
    pub fn forget_idle(&self) {
        self.idle.lock().expect("no test panics with the lock").clear();
    }

    /// Calls the server API; returns the whole answer.
    pub async fn api(&self, method: &str, request: &Value) -> Value {
        let headers = [("X-API-Key", API_KEY), ("Content-Type", "application/json")];
        let response = self.request(&format!("POST /api/{method}"), &headers, &request.to_string()).await;
        assert_eq!(response.status, 200, "{method} {request}: {response:?}");
        response.json()
    }

    /// Calls the server API, where that has to succeed; returns the result.
    pub async fn call(&self, method: &str, request: Value) -> Value {
        let mut answer = self.api(method, &request).await;
        assert!(answer.get("result").is_some(), "{method} {request}: {answer}");
        answer["result"].take()
    }

    /// Publishes by the server API; returns offset and epoch.
    pub async fn publish(&self, channel: &str, data: Value) -> Value {
        self.call("publish", json!({"channel": channel, "data": data})).await
    }

    /// The sum of a metric over its rows; 0 if there are none.
    pub async fn metric(&self, name: &str) -> f64 {
        self.metric_row(name, "").await
    }

    /// The sum of those rows of a metric that have this label.
    pub async fn metric_row(&self, name: &str, label: &str) -> f64 {
        let text = self.request("GET /metrics", &[], "").await.body;
        sum_of(&text, name, label)
    }

    /// Waits until `/readyz` says that it is ready; shows what it said before.
    pub async fn becomes_ready(&self) {
        let said = RefCell::new(String::new());
        let ask = || async {
            let answer = self.request("GET /readyz", &[], "").await;
            if *said.borrow() != answer.body {
                eprintln!("{}", answer.body.trim_end());
                said.replace(answer.body);
            }
            (answer.status == 200).then_some(())
        };
        eventually("the node to be ready", ask).await;
    }

    /// Waits until a metric has this value.
    pub async fn metric_becomes(&self, name: &str, value: f64) {
        let what = format!("{name} to become {value}");
        eventually(&what, || async { (self.metric(name).await == value).then_some(()) }).await;
    }

    /// How many sessions were closed with this code.
    pub async fn closes(&self, code: u16) -> f64 {
        self.metric_row("fanfare_gateway_closes_total", &format!("code=\"{code}\"")).await
    }

    /// Waits until this client id stands in a channel's presence, or stands there no more.
    pub async fn presence_becomes(&self, channel: &str, client: &str, there: bool) {
        let what = format!("presence of {client} in {channel} to become {there}");
        let ask = || async {
            let presence = self.call("presence", json!({"channel": channel})).await;
            (presence["presence"].get(client).is_some() == there).then_some(())
        };
        eventually(&what, ask).await;
    }

    /// Drains the node over a window.
    pub async fn drain(&self, window: Duration) {
        self.running.drain(window).await;
    }

    /// Ends the node in order.
    pub async fn stop(self) {
        self.running.stop().await;
    }
}
