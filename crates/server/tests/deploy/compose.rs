//! What `deploy/compose` starts, as processes: two nodes on a Redis, HAProxy in front, Prometheus beside, all with the
//! files of that folder.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use fanfare_client::api::{ApiKey, Publish};
use fanfare_client::{Api, Client, SubscribeOptions, Subscription, SubscriptionEvent};
use fanfare_testkit::patience::eventually;
use fanfare_testkit::{Certificate, Http, Program, RedisServer, Tunnel, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::MissedTickBehavior;

use crate::surroundings::{Process, deployed, installed, read};
use crate::{BINARY, KEY};

/// Clients that are connected while nodes come and go.
const CLIENTS: usize = 50;

/// Publications meanwhile. The history of 1,000 is then one of 25 s.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(25);

async fn node(redis: &RedisServer, name: &str, listen: &str) -> Program {
    let url = redis.url();
    Program::start(
        BINARY,
        &[
            ("FANFARE_NODE__NAME", name),
            ("FANFARE_REDIS__URL", &url),
            // The machine may be busy with other tests.
            ("FANFARE_REDIS__COMMAND_TIMEOUT", "5s"),
            ("FANFARE_LISTEN__ADDRESS", listen),
            ("FANFARE_LISTEN__TRUSTED_PROXIES", "127.0.0.1"),
            ("FANFARE_DRAIN__WINDOW", "2s"),
            // What covers the time in which a client is away, at this many publications.
            ("FANFARE_CHANNELS__HISTORY_SIZE", "1000"),
            ("FANFARE_LIMITS__RECOVERY_PUBLICATIONS_MAX", "1000"),
        ],
    )
    .await
}

/// HAProxy with the configuration of `deploy/compose`; names of containers become addresses. A node that says that it
/// drains is left at once, as there; one that is slow to say that it is ready is not, on a machine that is busy.
async fn balancer(nodes: [SocketAddr; 2]) -> Process {
    let config = |port: u16| {
        read("compose/haproxy.cfg")
            .replace("bind :8000", &format!("bind 127.0.0.1:{port}"))
            .replace("node-1:8000", &nodes[0].to_string())
            .replace("node-2:8000", &nodes[1].to_string())
            .replace(" resolvers docker init-addr last,libc,none", "")
            .replace("maxconn 200000", "maxconn 2000\n    stats socket unix@stats")
            .replace("timeout connect 3s", "timeout connect 3s\n    timeout check 10s")
    };
    Process::start("haproxy", "haproxy.cfg", config, &["-db", "-f", "haproxy.cfg"]).await
}

async fn ready(address: SocketAddr) {
    answers(address, "/readyz", "a node that is ready").await;
}

/// Waits until a page is there.
async fn answers(address: SocketAddr, path: &str, what: &str) {
    let line = format!("GET {path}");
    eventually(what, || async {
        (Http::connect(address).await.request(&line, &[], "").await.status == 200).then_some(())
    })
    .await;
}

/// Two nodes that are ready, and a balancer that sends requests on to them.
async fn hub(redis: &RedisServer) -> ([Program; 2], Process) {
    let nodes = [node(redis, "node-1", "127.0.0.1:0").await, node(redis, "node-2", "127.0.0.1:0").await];
    for node in &nodes {
        ready(node.address()).await;
    }
    let balancer = balancer(nodes.each_ref().map(Program::address)).await;
    answers(balancer.address(), "/", "a node behind the balancer").await;
    (nodes, balancer)
}

/// Waits until the balancer calls both nodes up, which it wants to see twice for that.
async fn serves_both(balancer: &Process) {
    eventually("both nodes to be up for the balancer", || async {
        let mut socket = UnixStream::connect(balancer.folder().join("stats")).await.unwrap();
        socket.write_all(b"show stat nodes -1 -1\n").await.unwrap();
        let mut table = String::new();
        socket.read_to_string(&mut table).await.unwrap();
        let is_up = |line: &&str| line.starts_with("nodes,node-") && line.contains(",UP,");
        (table.lines().filter(is_up).count() == 2).then_some(())
    })
    .await;
}

fn api(address: SocketAddr) -> Api {
    Api::new(&address.to_string(), Some(ApiKey::new(KEY.to_owned()).unwrap())).unwrap()
}

async fn subscribe(address: SocketAddr) -> (Client, Subscription) {
    let client = Client::builder(&address.to_string()).connect().await.unwrap();
    let mut subscription = client.subscribe("news", SubscribeOptions::default()).await.unwrap();
    // What is published before it is live is not for it.
    let event = subscription.next().await.unwrap();
    assert!(matches!(event, SubscriptionEvent::Subscribed { .. }), "{event:?}");
    (client, subscription)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_on_one_node_arrives_through_the_balancer() {
    if !installed(&["haproxy"]) {
        return;
    }
    let Some(redis) = RedisServer::start() else { return };
    let (nodes, balancer) = hub(&redis).await;
    // leastconn gives each node one of them.
    let mut subscribers = [subscribe(balancer.address()).await, subscribe(balancer.address()).await];
    api(nodes[0].address()).publish(&Publish::json("news", r#"{"n":1}"#).unwrap()).await.unwrap();
    for (_, subscription) in &mut subscribers {
        assert_eq!(numbers(subscription, 1).await, [1]);
    }
    for node in &nodes {
        assert_eq!(node.metric_row("fanfare_gateway_sessions", "").await, 1.0);
    }
    // The client's own address, as the balancer tells it, and nothing from outside about the inside.
    let denied = Http::connect(balancer.address()).await.request("GET /metrics", &[], "").await;
    assert_eq!(denied.status, 404);
}

/// The numbers of the next publications; a gap ends the test.
async fn numbers(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    let mut numbers = Vec::with_capacity(count);
    while numbers.len() < count {
        let event = tokio::time::timeout(Duration::from_secs(60), subscription.next()).await.expect("it comes in time");
        match event.expect("the subscription goes on") {
            SubscriptionEvent::Publication(publication) => {
                let data: Value = serde_json::from_slice(&publication.data).unwrap();
                numbers.push(data["n"].as_u64().unwrap());
            }
            SubscriptionEvent::Gap(gap) => panic!("{gap:?}"),
            SubscriptionEvent::Unsubscribed { code, reason } => panic!("{reason} ({code})"),
            _ => {}
        }
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_no_request_and_no_publication() {
    if !installed(&["haproxy"]) {
        return;
    }
    let Some(redis) = RedisServer::start() else { return };
    let (mut nodes, balancer) = hub(&redis).await;
    let (told, seen) = tokio::sync::watch::channel(0_u64);
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, mut subscription) = subscribe(balancer.address()).await;
        let mut seen = seen.clone();
        // All the time, as clients do: what nobody reads holds the connection up.
        readers.spawn(async move {
            let mut received = Vec::new();
            while *seen.borrow_and_update() == 0 || (received.len() as u64) < *seen.borrow() {
                received.extend(numbers(&mut subscription, 1).await);
            }
            drop(client);
            received
        });
    }
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let api = api(balancer.address());
    let mut publishing = tokio::task::JoinSet::new();
    publishing.spawn(async move {
        let mut published = 0;
        let mut ticks = tokio::time::interval(PUBLISH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !*stopped.borrow_and_update() {
            ticks.tick().await;
            let payload = format!(r#"{{"n":{}}}"#, published + 1);
            api.publish(&Publish::json("news", &payload).unwrap()).await.expect("no request is lost");
            published += 1;
        }
        published
    });
    for (node, name) in nodes.iter_mut().zip(["node-1", "node-2"]) {
        restart(node, &redis, name).await;
        ready(node.address()).await;
        serves_both(&balancer).await;
    }
    stop.send(true).unwrap();
    let published: u64 = publishing.join_next().await.unwrap().unwrap();
    println!("{published} publications over two restarts, to {CLIENTS} clients");
    let expected: Vec<u64> = (1..=published).collect();
    // One more, since each looks at the number after a publication.
    told.send(published + 1).unwrap();
    let last = format!(r#"{{"n":{}}}"#, published + 1);
    self::api(balancer.address()).publish(&Publish::json("news", &last).unwrap()).await.unwrap();
    while let Some(received) = readers.join_next().await {
        let received = received.unwrap();
        assert_eq!(received[..expected.len()], expected);
    }
}

/// Ends a node as a process manager does, waits, and starts it again at its address.
async fn restart(node: &mut Program, redis: &RedisServer, name: &str) {
    let (id, address) = (node.id(), node.address().to_string());
    let sent = Command::new("kill").args(["-TERM", &id.to_string()]).status().unwrap();
    assert!(sent.success());
    let ending = RefCell::new(&mut *node);
    eventually("the end of a node that drains", || async { ending.borrow_mut().ended() }).await;
    *node = self::node(redis, name, &address).await;
}

/// Every name of a metric in a text, without what Prometheus adds to a histogram's.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("fanfare_") {
        let name: String = text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let plain = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        found.insert(plain.to_owned());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_the_nodes_and_every_metric_of_dashboard_and_alerts_is_there() {
    if !installed(&["prometheus"]) {
        return;
    }
    let Some(redis) = RedisServer::start() else { return };
    let nodes = [node(&redis, "node-1", "127.0.0.1:0").await, node(&redis, "node-2", "127.0.0.1:0").await];
    let config = |_| {
        read("compose/prometheus.yml")
            .replace("node-1:8000", &nodes[0].address().to_string())
            .replace("node-2:8000", &nodes[1].address().to_string())
            .replace("scrape_interval: 15s", "scrape_interval: 1s")
            .replace("evaluation_interval: 15s", "evaluation_interval: 1s")
            .replace("- alerts.yml", &format!("- {}", deployed("monitoring/alerts.yml").display()))
    };
    let arguments = ["--config.file=prometheus.yml", "--web.listen-address=127.0.0.1:PORT", "--storage.tsdb.path=data"];
    let prometheus = Process::start("prometheus", "prometheus.yml", config, &arguments).await;
    eventually("both nodes to be scraped", || async {
        (value(&prometheus, "sum(up)").await == Some(2.0)).then_some(())
    })
    .await;
    let rules = Http::connect(prometheus.address()).await.request("GET /api/v1/rules", &[], "").await.json();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().len();
    assert_eq!(rules, read("monitoring/alerts.yml").matches("- alert: ").count());
    is_told_by_label(&prometheus).await;
    // Calls are counted from the first one on.
    api(nodes[0].address()).publish(&Publish::json("news", "1").unwrap()).await.unwrap();
    let text = Http::connect(nodes[0].address()).await.request("GET /metrics", &[], "").await.body;
    let there = &metrics_in(&text) | &metrics_of_all_else().await;
    let wanted = metrics_in(&(read("monitoring/alerts.yml") + &read("monitoring/dashboard.json")));
    let missing: Vec<_> = wanted.difference(&there).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What a node counts that has all that those of compose have not: TLS, hooks, issuers, a broker in memory.
async fn metrics_of_all_else() -> BTreeSet<String> {
    let certificate = Certificate::new();
    let path = |name: &str| certificate.file(name).to_string_lossy().into_owned();
    let nobody = "http://127.0.0.1:9";
    certificate.write(
        "fanfare.toml",
        &format!(
            "[hooks.connect]\nurl = \"{nobody}/connect\"\n[auth.issuers.login]\nissuer = \"{nobody}\"\n\
             audience = \"hub\"\njwks_url = \"{nobody}/keys\"\n"
        ),
    );
    let (config, cert, key) = (path("fanfare.toml"), path("cert.pem"), path("key.pem"));
    let variables = [
        ("FANFARE_CONFIG", &*config),
        ("FANFARE_LISTEN__TLS_CERT_FILE", &cert),
        ("FANFARE_LISTEN__TLS_KEY_FILE", &key),
    ];
    let node = Program::start(BINARY, &variables).await;
    let tunnel = Tunnel::start(node.address(), certificate.client()).await;
    metrics_in(&Http::connect(tunnel.address()).await.request("GET /metrics", &[], "").await.body)
}

/// Each query of the dashboard is answered, and by the labels that its legend names, where there is anything to tell.
async fn is_told_by_label(prometheus: &Process) {
    let dashboard: Value = serde_json::from_str(&read("monitoring/dashboard.json")).unwrap();
    let mut asked = 0;
    for target in dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array()).flatten()
    {
        let query = target["expr"].as_str().unwrap();
        let query = query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*");
        let rows = ask(prometheus, &query).await.unwrap_or_else(|| panic!("{query} is no query"));
        asked += rows.len();
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
            let lack = rows.iter().find(|row| row["metric"][label.trim()].as_str().is_none_or(str::is_empty));
            assert!(lack.is_none(), "{query} has no label {label}: {lack:?}");
        }
    }
    assert!(asked > 20, "only {asked} rows were told of");
}

/// The rows that answer a query; none if it is no query.
async fn ask(prometheus: &Process, query: &str) -> Option<Vec<Value>> {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let line = format!("GET /api/v1/query?query={escaped}");
    let answer = Http::connect(prometheus.address()).await.request(&line, &[], "").await;
    // 503 while it starts.
    let answer = (answer.status == 200).then(|| answer.json())?;
    answer["data"]["result"].as_array().cloned()
}

async fn value(prometheus: &Process, query: &str) -> Option<f64> {
    ask(prometheus, query).await?.first()?["value"][1].as_str()?.parse().ok()
}
