//! The program itself, which reads its configuration anew on SIGHUP and ends on SIGTERM and SIGINT: rows 87, 88 and 96 to
//! 98 of the table of bad input.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::patience::{eventually, within};
use fanfare_testkit::{Client, Http, Opening, free_address, json, token};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite;

const OLD_KEY: &str = "old-key-0123456789";
const NEW_KEY: &str = "new-key-9876543210";

/// A node's program with a configuration file of its own, which variables would override, and what it has logged.
struct Program {
    child: Child,
    file: PathBuf,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    _reader: JoinSet<()>,
}

/// A configuration with one key of the API and what stands in `more`.
fn config(key: &str, more: &str) -> String {
    format!("[api]\nkeys = [\"{key}\"]\n[auth]\nhmac_secret = \"{}\"\nallow_short_secret = true\n{more}", token::SECRET)
}

impl Program {
    fn spawn(name: &str, text: &str) -> Self {
        let file = std::env::temp_dir().join(format!("fanfare-reload-{name}-{}.toml", std::process::id()));
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare-node"));
        command.args(["serve", "--listen", &address.to_string(), "--config", file.to_str().unwrap()]);
        // What concerns these tests is no setting of the node.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FANFARE_")) {
            command.env_remove(name);
        }
        let spawned = command.stderr(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true).spawn();
        let mut child = spawned.unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut reader = JoinSet::new();
        let lines_read = Arc::clone(&log);
        reader.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                lines_read.lock().unwrap().push(line);
            }
        });
        Self { child, file, address, log, _reader: reader }
    }

    async fn start(name: &str, text: &str) -> Self {
        let program = Self::spawn(name, text);
        program.logs("listening", 1).await;
        program
    }

    fn lines_with(&self, part: &str) -> Vec<String> {
        self.log.lock().unwrap().iter().filter(|line| line.contains(part)).cloned().collect()
    }

    /// Waits until so many lines of the log hold this; returns the last of them.
    async fn logs(&self, part: &str, count: usize) -> String {
        let is_there = || async {
            let lines = self.lines_with(part);
            (lines.len() >= count).then(|| lines.last().cloned().unwrap_or_default())
        };
        let what = format!("{count} lines with {part:?}");
        eventually(&what, is_there).await
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.unwrap().success());
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }

    /// Writes a configuration and waits until it was taken.
    async fn reload(&self, text: &str) {
        let before = self.lines_with("the configuration was reloaded").len();
        self.write(text);
        self.signal("HUP");
        self.logs("the configuration was reloaded", before + 1).await;
    }

    async fn refuses_reload(&self, text: &str) -> String {
        let before = self.lines_with("was not reloaded").len();
        self.write(text);
        self.signal("HUP");
        self.logs("was not reloaded", before + 1).await
    }

    fn client(&self, user: &str) -> Opening {
        Opening::new(self.address).user(user)
    }

    /// The HTTP status of a call with this key.
    async fn status(&self, key: &str) -> u16 {
        let headers = [("X-API-Key", key), ("Content-Type", "application/json")];
        let mut http = Http::connect(self.address).await;
        http.request("POST /api/info", &headers, "{}").await.status
    }

    async fn metric(&self, row: &str) -> f64 {
        let text = Http::connect(self.address).await.request("GET /metrics", &[], "").await.body;
        let found = text.lines().find_map(|line| line.strip_prefix(row)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("{row} is not there"))
    }

    async fn counted(&self, case: &Case) -> f64 {
        let (name, label) = case.counter();
        self.metric(&format!("{name}{{{label}}}")).await
    }

    async fn ended(&mut self) -> Option<i32> {
        within("the program to end", self.child.wait()).await.unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

const TAKEN: &str = "fanfare_config_reloads_total{outcome=\"taken\"}";
const REFUSED: &str = "fanfare_config_reloads_total{outcome=\"refused\"}";

/// Tries to subscribe; the error's code, or 0.
async fn subscribing(client: &mut Client, channel: &str) -> u64 {
    let reply = client.ask(json!({"subscribe": {"channel": channel}})).await;
    reply["error"]["code"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rules_and_limits_are_taken_and_who_is_there_stays() {
    let program = Program::start("taken", &config(OLD_KEY, "")).await;
    let began = program.metric("fanfare_config_taken_timestamp_seconds").await;
    let mut there = program.client("42").connect().await;
    assert_eq!((program.status(OLD_KEY).await, program.status(NEW_KEY).await), (200, 401));
    assert_eq!(subscribing(&mut there, "news").await, 103);
    program
        .reload(&config(
            NEW_KEY,
            "[access.roles.staff]\nsubscribe = [\"news\"]\n[channels]\nread_history = \"users\"\n\
             [limits]\nchannels_per_session_max = 1\nsessions_per_user_max = 2\n",
        ))
        .await;
    assert_eq!((program.status(OLD_KEY).await, program.status(NEW_KEY).await), (401, 200));
    // The word of a table holds at once; a role is told by a token, so it holds for who connects now.
    there.call("history", json!({"channel": "news"})).await;
    assert_eq!(subscribing(&mut there, "news").await, 103);
    let staff = token::with_claims(&json!({"sub": "43", "roles": ["staff"]}));
    let mut staff = Opening::new(program.address).token(&staff).connect().await;
    assert_eq!(subscribing(&mut staff, "news").await, 0);
    assert_eq!(subscribing(&mut staff, "other").await, 106);
    let _second = program.client("42").connect().await;
    assert_eq!(program.client("42").closed().await.0, 3504);
    assert_eq!(program.metric(TAKEN).await, 1.0);
    assert!(program.metric("fanfare_config_taken_timestamp_seconds").await >= began);
    assert!(!there.has_ended());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_for_tokens_is_changed_without_a_restart() {
    let keyed = |secret: &str| {
        format!("[api]\nkeys = [\"{OLD_KEY}\"]\n[auth]\nhmac_secret = \"{secret}\"\nallow_short_secret = true\n")
    };
    let program = Program::start("tokens", &keyed("another secret of some length, not ours")).await;
    assert_eq!(program.client("42").closed().await.0, 3500);
    program.reload(&keyed(token::SECRET)).await;
    let mut client = program.client("42").connect().await;
    program.reload(&keyed("another secret of some length, not ours")).await;
    assert_eq!(program.client("42").closed().await.0, 3500);
    assert!(client.so_far().await.is_empty(), "a token is judged when it is shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_87_a_broken_file_changes_nothing_and_says_where_it_is_broken() {
    let program = Program::start("broken", &config(OLD_KEY, "[limits]\nsessions_per_user_max = 1\n")).await;
    let _there = program.client("42").connect().await;
    // Row 88: a key that is mistyped, beside one that would be good.
    case(87, "reload").is_fine();
    for (text, said) in [
        (config(NEW_KEY, "[limits]\nsessions_per_user_max = 2\nsession_max = 5\n"), ":8:1"),
        (format!("{}broken = [\n", config(NEW_KEY, "[limits]\n")), "TOML"),
        (config(NEW_KEY, "[auth.keys.gone]\nalgorithm = \"ES256\"\nfile = \"/nowhere/key.pem\"\n"), "/nowhere/key.pem"),
    ] {
        program.refuses_reload(&text).await;
        assert!(!program.lines_with(said).is_empty(), "{said} is not in {:?}", program.log.lock().unwrap());
        assert_eq!((program.status(OLD_KEY).await, program.status(NEW_KEY).await), (200, 401), "{text}");
        assert_eq!(program.client("42").closed().await.0, 3504, "the old limit holds");
    }
    assert_eq!(program.metric(TAKEN).await, 0.0);
    assert_eq!(program.counted(case(87, "reload")).await, 3.0);
    std::fs::remove_file(&program.file).unwrap();
    program.signal("HUP");
    program.logs("was not reloaded", 4).await;
    program.reload(&config(NEW_KEY, "")).await;
    assert_eq!(program.status(NEW_KEY).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_a_restart_is_named_and_the_rest_is_taken() {
    let program = Program::start("restart", &config(OLD_KEY, "")).await;
    program.reload(&config(NEW_KEY, "[session]\nping_interval = \"11s\"\n[channels.namespaces.chat]\n")).await;
    let line = program.logs("after restart", 1).await;
    assert!(line.contains("session.ping_interval") && line.contains("channels.namespaces.chat"), "{line}");
    assert_eq!(program.status(NEW_KEY).await, 200);
    assert_eq!(program.client("42").connect().await.connected["ping"], 25, "what clients are told is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_98_a_limit_below_what_is_there_holds_for_what_comes() {
    let program = Program::start("lower", &config(OLD_KEY, "[channels]\nsubscribe = \"users\"\n")).await;
    let mut there = Vec::new();
    for _ in 0..4 {
        let mut client = program.client("42").connect().await;
        for channel in ["a", "b", "c"] {
            client.subscribe(channel).await;
        }
        there.push(client);
    }
    let limits = "[limits]\nsessions_max = 2\nchannels_per_session_max = 1\nsessions_per_user_max = 1\n";
    program.reload(&config(OLD_KEY, &format!("[channels]\nsubscribe = \"users\"\n{limits}"))).await;
    assert!(program.logs("more sessions than the new limit", 1).await.contains("limits.sessions_max"));
    let Err(tungstenite::Error::Http(refused)) = program.client("42").try_open().await else { panic!("it was let in") };
    assert_eq!(refused.status(), case(98, "sessions").status());
    for client in &mut there {
        assert_eq!(subscribing(client, "d").await, case(98, "subscriptions").error());
        assert!(client.so_far().await.is_empty(), "nobody is closed, and no subscription ends");
    }
    assert_eq!(program.metric("fanfare_gateway_subscriptions").await, 12.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_96_a_hundred_hangups_are_made_few_and_the_last_word_counts() {
    let program = Program::start("hundred", &config(OLD_KEY, "")).await;
    let mut canary = program.client("canary").connect().await;
    program.write(&config(NEW_KEY, ""));
    for _ in 0..100 {
        program.signal("HUP");
    }
    let taken = || async { (program.status(NEW_KEY).await == 200).then_some(()) };
    eventually("the new key to be good", taken).await;
    case(96, "by the hundred").is_fine();
    assert!((1.0..=100.0).contains(&program.counted(case(96, "by the hundred")).await));
    assert_eq!(program.metric(REFUSED).await, 0.0);
    program.reload(&config(OLD_KEY, "")).await;
    eventually("the last one to count", || async { (program.status(OLD_KEY).await == 200).then_some(()) }).await;
    assert!(canary.so_far().await.is_empty());
}

/// Row 97: while tokens are verified as fast as they come, keys and rules go back and forth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_97_reloads_while_tokens_are_verified() {
    let with = |audience: &str| config(OLD_KEY, &format!("[channels]\nsubscribe = \"{audience}\"\n"));
    let program = Program::start("verifications", &with("users")).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut connecting = JoinSet::new();
    for number in 0..4 {
        let (opening, stop) = (program.client(&format!("user-{number}")), Arc::clone(&stop));
        connecting.spawn(async move {
            let mut verified = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut client = opening.connect().await;
                // One or the other, and nothing else.
                assert!([0, 103].contains(&subscribing(&mut client, "news").await));
                client.close().await;
                verified += 1;
            }
            verified
        });
    }
    for round in 0..20 {
        program.reload(&with(if round % 2 == 0 { "nobody" } else { "users" })).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(connecting.join_all().await.into_iter().all(|verified: usize| verified > 0));
    case(97, "verifications").is_fine();
    assert_eq!((program.counted(case(97, "verifications")).await, program.metric(REFUSED).await), (20.0, 0.0));
    let mut client = program.client("42").connect().await;
    assert_eq!(subscribing(&mut client, "news").await, 0);
}

/// A drain of a minute, which a second signal ends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_96_a_second_signal_ends_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM"), ("TERM", "INT")] {
        let mut program =
            Program::start(&format!("{first}-{second}"), &config(OLD_KEY, "[drain]\nwindow = \"60s\"\n")).await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(program.client("42").connect().await);
        }
        program.signal(first);
        program.logs("draining", 1).await;
        let second_at = Instant::now();
        program.signal(second);
        assert_eq!(program.ended().await, Some(case(96, "twice").exit()));
        // A second is promised; this much is allowed to a machine that does other things.
        assert!(second_at.elapsed() < Duration::from_secs(10), "{:?}", second_at.elapsed());
        program.logs("second signal", 1).await;
        for client in &mut clients {
            client.ending().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_96_a_signal_during_the_start_ends_it() {
    for name in ["TERM", "INT"] {
        // Nobody listens there, and the start waits for it.
        let redis = format!("[redis]\nurl = \"redis://{}\"\nstart_timeout = \"1h\"\n", free_address());
        let mut program = Program::spawn(&format!("start-{name}"), &config(OLD_KEY, &redis));
        program.logs("are kept in Redis", 1).await;
        program.signal(name);
        assert_eq!(program.ended().await, Some(case(96, "during the start").exit()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_96_a_killed_node_can_be_started_again() {
    let mut program = Program::start("killed", &config(OLD_KEY, "")).await;
    let mut client = program.client("42").connect().await;
    program.signal("KILL");
    assert_eq!(program.ended().await, None, "it has no say in it");
    client.ending().await;
    case(96, "SIGKILL").is_fine();
    let again = Program::start("killed-again", &config(OLD_KEY, "")).await;
    again.client("42").connect().await;
}

/// A configuration file that does not come to its end keeps no signal out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_never_read_to_its_end_holds_no_end_up() {
    let mut program = Program::start("fifo", &config(OLD_KEY, "[drain]\nwindow = \"0s\"\n")).await;
    std::fs::remove_file(&program.file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&program.file).status().unwrap().success());
    program.signal("HUP");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(program.status(OLD_KEY).await, 200);
    program.signal("TERM");
    assert_eq!(program.ended().await, Some(0));
}
