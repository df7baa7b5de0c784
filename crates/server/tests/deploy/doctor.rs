//! `fanfare doctor` beside what it has to find: real nodes and servers, with one thing wrong with each.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use fanfare_testkit::patience::eventually;
use fanfare_testkit::{Certificate, Program, Proxy, RedisCluster, RedisServer, Value, json, token};

use crate::surroundings::{Process, installed};
use crate::{BINARY, KEY};

/// What doctor said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    /// By check; of several the worst, as it is told last.
    findings: BTreeMap<String, Value>,
}

impl Said {
    fn of_output(output: &Output) -> Self {
        Self::of(output.status.code(), std::str::from_utf8(&output.stdout).unwrap())
    }

    fn of(code: Option<i32>, text: &str) -> Self {
        let parse = |line: &str| {
            let finding: Value = serde_json::from_str(line).unwrap();
            (finding["check"].as_str().unwrap().to_owned(), finding)
        };
        Self { code, findings: text.lines().map(parse).collect() }
    }

    #[track_caller]
    fn is(&self, check: &str, verdict: &str, part: &str) {
        let finding = self.findings.get(check).unwrap_or_else(|| panic!("no {check} in {self:?}"));
        assert_eq!(finding["verdict"], verdict, "{self:?}");
        assert!(finding["text"].as_str().unwrap().contains(part), "{finding}");
        // Whatever is not good says what to do.
        let is_fine = ["good", "skipped"].contains(&verdict);
        assert!(is_fine != finding["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{finding}");
    }

    /// The checks with this verdict.
    fn with(&self, verdict: &str) -> Vec<&str> {
        let has_it = |finding: &&Value| finding["verdict"] == verdict;
        self.findings.values().filter(has_it).map(|finding| finding["check"].as_str().unwrap()).collect()
    }
}

/// `fanfare doctor --json` with these words, and nothing of the surroundings.
fn doctor(hub: &str, words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["doctor", hub, "--json"]).args(words).env_clear().env("FANFARE_API_KEY", KEY);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn examine(hub: &str, words: &[&str]) -> Said {
    Said::of_output(&doctor(hub, &[&["--idle", "0s"], words].concat()).output().unwrap())
}

/// The configuration of a node on this Redis, as a file that ends with this.
struct Configuration(PathBuf);

impl Configuration {
    fn on(redis: &str) -> Self {
        let name = format!("fanfare-doctor-{}-{}.toml", std::process::id(), redis.replace(['/', ':', '@'], "-"));
        let file = std::env::temp_dir().join(name);
        // The machine may be busy with other tests.
        let redis = format!("url = \"{redis}\"\nconnect_timeout = \"10s\"\n");
        std::fs::write(&file, format!("[api]\nkeys = [\"{KEY}\"]\n[redis]\n{redis}")).unwrap();
        Self(file)
    }

    fn words(&self) -> [&str; 2] {
        ["--config", self.0.to_str().unwrap()]
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn node(variables: &[(&str, &str)]) -> Program {
    Program::start(BINARY, variables).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wrong_with_a_good_deployment() {
    let Some(redis) = RedisServer::start() else { return };
    redis.run(&[b"CONFIG", b"SET", b"maxmemory", b"100mb"]);
    redis.run(&[b"CONFIG", b"SET", b"appendonly", b"yes"]);
    let url = redis.url();
    let nodes = [
        node(&[("FANFARE_REDIS__URL", &url), ("FANFARE_NODE__NAME", "one")]).await,
        node(&[("FANFARE_REDIS__URL", &url), ("FANFARE_NODE__NAME", "two")]).await,
    ];
    eventually("both nodes to know of each other", || async {
        let mut info = Command::new(BINARY);
        info.args(["info", "--json", "--server", &nodes[0].address().to_string()]);
        let told = info.env_clear().env("FANFARE_API_KEY", KEY).output().unwrap();
        (String::from_utf8_lossy(&told.stdout).lines().count() == 2).then_some(())
    })
    .await;
    let configuration = Configuration::on(&url);
    let token_file = std::env::temp_dir().join(format!("fanfare-doctor-token-{}", std::process::id()));
    std::fs::write(&token_file, token::with_claims(&json!({"sub": "42", "exp": token::now() + 60}))).unwrap();
    let words = [&["--idle", "1s", "--token-file", token_file.to_str().unwrap()], &configuration.words()[..]].concat();
    let said = Said::of_output(&doctor(&nodes[0].address().to_string(), &words).output().unwrap());
    let _ = std::fs::remove_file(&token_file);
    assert_eq!((said.code, said.with("problem")), (Some(0), vec![]), "{said:?}");
    for check in
        ["redis", "rights", "eviction", "memory", "durability", "clock", "name", "connect", "upgrade", "foreign"]
    {
        said.is(check, "good", "");
    }
    for (check, part) in [("nodes", "2 of version"), ("token", "by the hub's clock"), ("session", ""), ("idle", "1 s")]
    {
        said.is(check, "good", part);
    }
    assert!(said.findings.contains_key("descriptors") && said.findings.contains_key("latency"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_redis_is_named() {
    let Some(mut redis) = RedisServer::start() else { return };
    let node = node(&[]).await;
    let hub = node.address().to_string();
    let ask = |configuration: &Configuration| examine(&hub, &configuration.words());

    redis.run(&[b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru"]);
    let whole = Configuration::on(&redis.url());
    let said = ask(&whole);
    said.is("eviction", "problem", "allkeys-lru");
    said.is("memory", "warning", "maxmemory is not set");
    assert_eq!((said.code, said.with("problem")), (Some(1), vec!["eviction"]), "{said:?}");

    redis.run(&[b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction"]);
    redis.run(&[b"ACL", b"SETUSER", b"hub", b"on", b">word", b"~*", b"&*", b"+@all", b"-evalsha", b"-eval"]);
    let limited = Configuration::on(&redis.url().replace("redis://", "redis://hub:word@"));
    let said = ask(&limited);
    said.is("rights", "problem", "may not do all");
    assert_eq!((said.code, said.with("problem")), (Some(1), vec!["rights"]), "{said:?}");

    // What is the likeliest to be missing, since it counts as dangerous.
    redis.run(&[b"ACL", b"SETUSER", b"hub", b"+@all", b"-info"]);
    let said = ask(&limited);
    said.is("rights", "problem", "may not do all");
    assert!(said.findings["rights"]["remedy"].as_str().unwrap().contains("+info"), "{said:?}");
    assert_eq!((said.code, said.with("problem")), (Some(1), vec!["rights"]), "{said:?}");

    let wrong = Configuration::on(&redis.url().replace("redis://", "redis://hub:wrong-word-4711@"));
    let said = ask(&wrong);
    said.is("redis", "problem", "127.0.0.1");
    assert!(!format!("{said:?}").contains("4711"), "a password is told to nobody: {said:?}");

    redis.end();
    let said = ask(&whole);
    said.is("redis", "problem", "127.0.0.1");
    assert_eq!((said.code, said.with("problem")), (Some(1), vec!["redis"]), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_master_of_a_cluster_is_looked_at() {
    let Some(cluster) = RedisCluster::start() else { return };
    let node = node(&[]).await;
    let whole = Configuration::on(&cluster.url());
    cluster.masters()[0].run(&[b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru"]);
    let output =
        doctor(&node.address().to_string(), &[&["--idle", "0s"], &whole.words()[..]].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told = |part: &str| text.lines().filter(|line| line.contains(part)).count();
    assert_eq!((told(r#""check":"redis","verdict":"good""#), told("allkeys-lru")), (3, 1), "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_judged_as_clients_do() {
    let certificate = Certificate::new();
    let path = |name: &str| certificate.file(name).to_string_lossy().into_owned();
    let (cert, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let files = [("FANFARE_LISTEN__TLS_CERT_FILE", &*cert), ("FANFARE_LISTEN__TLS_KEY_FILE", &*key)];
    let good = node(&files).await;
    let hub = format!("https://{}", good.address());
    let said = examine(&hub, &["--ca-file", &ca]);
    said.is("tls", "good", "days");
    assert_eq!((said.code, said.with("problem")), (Some(0), vec![]), "{said:?}");

    let stranger = Certificate::new();
    let other = stranger.file("ca.pem").to_string_lossy().into_owned();
    let said = examine(&hub, &["--ca-file", &other]);
    said.is("tls", "problem", "");
    assert_eq!(said.code, Some(3), "{said:?}");
    // The name that it is asked by is not the one that it bears.
    let said = examine(&hub.replace("127.0.0.1", "127.0.0.2"), &["--ca-file", &ca]);
    assert_eq!(said.code, Some(3), "{said:?}");

    certificate.renew(2020);
    let ended = node(&files).await;
    let said = examine(&format!("https://{}", ended.address()), &["--ca-file", &ca]);
    said.is("tls", "problem", "expired");
    assert!(said.findings["tls"]["remedy"].as_str().unwrap().contains("renew"), "{said:?}");

    let plain = node(&[]).await;
    let said = examine(&format!("https://{}", plain.address()), &["--ca-file", &ca]);
    said.is("tls", "problem", "");
    assert!(said.findings["tls"]["remedy"].as_str().unwrap().contains("http://"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_tokens_that_are_refused_are_named() {
    let node = node(&[("FANFARE_LISTEN__ALLOWED_ORIGINS", "https://app.example.com")]).await;
    let hub = node.address().to_string();
    let said = examine(&hub, &["--origin", "https://app.example.com"]);
    said.is("origin", "good", "app.example.com");
    let said = examine(&hub, &["--origin", "https://www.example.com"]);
    said.is("origin", "problem", "refused");
    assert!(said.findings["origin"]["remedy"].as_str().unwrap().contains("listen.allowed_origins"), "{said:?}");

    let file = std::env::temp_dir().join(format!("fanfare-doctor-old-token-{}", std::process::id()));
    std::fs::write(&file, token::with_claims(&json!({"sub": "42", "exp": token::now() - 100}))).unwrap();
    let said = examine(&hub, &["--token-file", file.to_str().unwrap()]);
    let _ = std::fs::remove_file(&file);
    said.is("token", "problem", "has ended");
    said.is("session", "problem", "");
    assert_eq!(said.code, Some(1), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cuts_quiet_connections_is_found_out() {
    let node = node(&[]).await;
    let proxy = Proxy::start(node.address()).await;
    let mut process = doctor(&proxy.address().to_string(), &["--idle", "60s"]).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    // It says that it was let in, and then nothing for a minute.
    let mut told: Vec<String> = Vec::new();
    while told.last().is_none_or(|line| !line.contains(r#""check":"session""#)) {
        told.push(lines.next().unwrap());
    }
    proxy.cut();
    told.extend(lines);
    let said = Said::of(process.wait().unwrap().code(), &told.join("\n"));
    said.is("idle", "problem", "was cut after");
    assert_eq!(said.code, Some(1), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_passes_no_upgrade_on_is_found_out() {
    if !installed(&["nginx"]) {
        return;
    }
    let node = node(&[]).await;
    let plain = nginx(node.address(), "").await;
    let said = examine(&plain.address().to_string(), &[]);
    said.is("upgrade", "problem", "HTTP 4");
    assert!(said.findings["upgrade"]["remedy"].as_str().unwrap().contains("Upgrade"), "{said:?}");
    assert_eq!(said.code, Some(1), "{said:?}");

    let upgrading = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";
    let good = nginx(node.address(), upgrading).await;
    let said = examine(&good.address().to_string(), &[]);
    said.is("upgrade", "good", "");

    drop(node);
    let said = examine(&good.address().to_string(), &[]);
    said.is("upgrade", "problem", "HTTP 502");
}

/// nginx as many have it, in front of a node.
async fn nginx(node: SocketAddr, further: &str) -> Process {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders = temporary.map(|name| format!("{name}_temp_path {name};")).join(" ");
    let config = |port: u16| {
        format!(
            "daemon off; master_process off; pid pid; error_log stderr; events {{}}\n\
             http {{ access_log off; {folders}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{node}; proxy_http_version 1.1; \
             proxy_set_header Host $host; {further} }} }} }}\n"
        )
    };
    Process::start("nginx", "nginx.conf", config, &["-p", ".", "-e", "stderr", "-c", "nginx.conf"]).await
}
