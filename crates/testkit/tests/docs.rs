//! What the documents say, held against the code: crates, links, configuration keys, commands, codes, metrics.
//!
//! Not here: whether the words are true.

#![expect(clippy::unwrap_used, reason = "a test program: helpers outside of tests may panic too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_auth::Uses;
use fanfare_broker_redis::Server;
use fanfare_gateway::Hook;
use fanfare_protocol::{ErrorCode, Unsubscribe};
use fanfare_server::cli::{self, Io};
use fanfare_server::config::TokenIssuer;
use fanfare_server::{Config, Node};
use fanfare_testkit::hook_config;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Markdown files at the top and in `docs/`, by path, with their texts.
fn documents() -> BTreeMap<String, String> {
    let files = ["", "docs/"].into_iter().flat_map(|folder| {
        let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
        entries.map(move |entry| format!("{folder}{}", entry.unwrap().file_name().to_string_lossy()))
    });
    files.filter(|path| path.ends_with(".md")).map(|path| (path.clone(), read(&path))).collect()
}

/// What stands between backticks, outside of blocks of code.
fn quoted(text: &str) -> Vec<&str> {
    let mut in_block = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn every_crate_has_a_heading_and_every_heading_a_crate() {
    let architecture = read("docs/ARCHITECTURE.md");
    let heading = |line: &str| Some(line.strip_prefix("### `crates/")?.strip_suffix('`')?.to_owned());
    let headings: BTreeSet<String> = architecture.lines().filter_map(heading).collect();
    let folders = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let crates: BTreeSet<String> = folders
        .filter(|folder| folder.join("Cargo.toml").exists())
        .map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(headings, crates);
}

#[test]
fn every_numbered_invariant_is_there_once() {
    let architecture = read("docs/ARCHITECTURE.md");
    let number = |line: &str| line.strip_prefix("- **I")?.split_once("**")?.0.parse().ok();
    let numbers: Vec<u32> = architecture.lines().filter_map(number).collect();
    assert_eq!(numbers, (1..=14).collect::<Vec<_>>());
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut dead = Vec::new();
    for (path, text) in documents() {
        let folder = root().join(&path).parent().unwrap().to_owned();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '\n']).next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let (file, _fragment) = target.split_once('#').unwrap_or((target, ""));
            if !folder.join(file).exists() {
                dead.push(format!("{path}: {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere: {dead:#?}");
}

#[test]
fn every_file_that_the_architecture_names_is_there() {
    let architecture = read("docs/ARCHITECTURE.md");
    let paths = quoted(&architecture).into_iter().filter(|text| text.contains('/') && text.ends_with(".rs"));
    let folders = ["", "crates/", "crates/gateway/src/", "crates/broker/src/"];
    let is_missing = |path: &&str| !folders.iter().any(|folder| root().join(format!("{folder}{path}")).exists());
    let missing: Vec<&str> = paths.filter(is_missing).collect();
    assert!(missing.is_empty(), "files that are not there: {missing:?}");
}

/// The keys of `config/fanfare.toml` as `section.key`.
fn keys() -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in read("config/fanfare.toml").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
            && is_name(key)
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

/// The key that a quoted text names, if it looks like one: `section.key`, also followed by a value.
fn key_named<'a>(text: &'a str, sections: &BTreeSet<&str>) -> Option<&'a str> {
    let name = text.split(" = ").next()?;
    let (section, key) = name.split_once('.')?;
    let is_file = ["rs", "md", "toml"].contains(&key);
    (sections.contains(section) && is_name(key) && !is_file).then_some(name)
}

#[test]
fn every_key_that_the_documents_name_exists() {
    let keys = keys();
    let sections: BTreeSet<&str> = keys.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
    assert!(sections.len() >= 10, "{sections:?}");
    let (mut named, mut unknown) = (0, Vec::new());
    for (path, text) in documents() {
        for key in quoted(&text).into_iter().filter_map(|text| key_named(text, &sections)) {
            named += 1;
            if !keys.contains(key) {
                unknown.push(format!("{path}: {key}"));
            }
        }
    }
    assert!(named > 20, "only {named} keys were found: does the search still work?");
    assert!(unknown.is_empty(), "keys that do not exist: {unknown:#?}");
}

/// Promises name the test that holds them: names of four words or more, other than those of metrics.
#[test]
fn every_test_that_a_promise_names_exists() {
    let is_test = |name: &&str| is_name(name) && name.matches('_').count() >= 3 && !name.starts_with("fanfare_");
    let folders =
        ["testkit/tests", "broker-redis/tests/redis", "auth/tests", "api/tests/api", "server/src/head", "server/tests"];
    let sources: String = folders.map(|folder| sources_in(&format!("crates/{folder}"))).concat();
    for document in ["docs/operating.md", "docs/security.md"] {
        let text = read(document);
        let named: BTreeSet<&str> = quoted(&text).into_iter().filter(is_test).collect();
        assert!(named.len() > 20, "{document}: {named:?}");
        let missing: Vec<&str> = named.into_iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
        assert!(missing.is_empty(), "{document} names tests that are not there: {missing:?}");
    }
}

fn sources_in(folder: &str) -> String {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn every_variable_that_the_documents_name_exists() {
    let variable = |key: &String| format!("FANFARE_{}", key.to_uppercase().replacen('.', "__", 1));
    let mut known: BTreeSet<String> = keys().iter().map(variable).collect();
    // Of tables that the documents have as examples.
    let examples = [
        "FANFARE_API__NAMED_KEYS__SHOP__SECRET",
        "FANFARE_AUTH__KEYS__NAME__SECRET",
        "FANFARE_HOOKS__CONNECT__SECRETS",
    ];
    known.extend(examples.map(str::to_owned));
    let mut unknown = Vec::new();
    for (path, text) in documents() {
        let variables = quoted(&text).into_iter().filter(|text| text.starts_with("FANFARE_") && text.contains("__"));
        for name in variables.filter(|name| *name != "FANFARE_SECTION__KEY") {
            if !known.contains(name.trim_end_matches("_FILE")) {
                unknown.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(unknown.is_empty(), "variables that do not exist: {unknown:#?}");
}

/// The options of channels stand in a table without their section.
#[test]
fn the_table_of_channel_options_is_whole() {
    let text = read("docs/configuration.md");
    let table = text.split("| option |").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let documented: BTreeSet<String> =
        table.lines().filter_map(first_quoted).map(|key| format!("channels.{key}")).collect();
    let there: BTreeSet<String> = keys().into_iter().filter(|key| key.starts_with("channels.")).collect();
    assert_eq!(documented, there.into_iter().filter(|key| !key.contains("NAME")).collect());
}

fn first_quoted(row: &str) -> Option<&str> {
    row.strip_prefix("| `")?.split('`').next()
}

/// Rows of tables in `docs/protocol.md` that begin with a number: code and text.
fn documented_codes() -> BTreeMap<u32, String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cells.next()?.parse().ok()?, cells.next()?.to_owned()))
    };
    read("docs/protocol.md").lines().filter_map(row).collect()
}

fn codes_in(range: std::ops::RangeInclusive<u32>) -> BTreeMap<u32, String> {
    documented_codes().into_iter().filter(|(code, _)| range.contains(code)).collect()
}

/// All error codes. A new one does not compile here until it has a successor.
fn error_codes() -> Vec<ErrorCode> {
    let next = |code: &ErrorCode| match code {
        ErrorCode::Internal => Some(ErrorCode::Unauthorized),
        ErrorCode::Unauthorized => Some(ErrorCode::UnknownChannel),
        ErrorCode::UnknownChannel => Some(ErrorCode::PermissionDenied),
        ErrorCode::PermissionDenied => Some(ErrorCode::MethodNotFound),
        ErrorCode::MethodNotFound => Some(ErrorCode::AlreadySubscribed),
        ErrorCode::AlreadySubscribed => Some(ErrorCode::LimitExceeded),
        ErrorCode::LimitExceeded => Some(ErrorCode::BadRequest),
        ErrorCode::BadRequest => Some(ErrorCode::NotAvailable),
        ErrorCode::NotAvailable => Some(ErrorCode::TokenExpired),
        ErrorCode::TokenExpired => Some(ErrorCode::Expired),
        ErrorCode::Expired => Some(ErrorCode::TooManyRequests),
        ErrorCode::TooManyRequests => Some(ErrorCode::UnrecoverablePosition),
        ErrorCode::UnrecoverablePosition => Some(ErrorCode::ConcurrentPagination),
        ErrorCode::ConcurrentPagination => None,
    };
    std::iter::successors(Some(ErrorCode::Internal), next).collect()
}

#[test]
fn the_error_codes_are_documented() {
    let codes: BTreeMap<u32, String> =
        error_codes().into_iter().map(|code| (code.code(), code.text().to_owned())).collect();
    assert_eq!(codes_in(100..=999), codes);
}

#[test]
fn temporary_errors_are_said_to_be() {
    let text = read("docs/protocol.md");
    for code in error_codes() {
        let row = text.lines().find(|line| line.starts_with(&format!("| {} |", code.code()))).unwrap();
        assert_eq!(row.contains("temporary"), code.is_temporary(), "{row}");
    }
}

/// The codes are constants that cannot be listed, so their source is read.
#[test]
fn the_disconnect_codes_are_documented() {
    let source = read("crates/protocol/src/disconnect.rs");
    let constant = |line: &str| {
        let (code, reason) = line.trim().split_once(" = ")?.1.strip_suffix("\";")?.split_once(", \"")?;
        Some((code.parse().ok()?, reason.to_owned()))
    };
    let codes: BTreeMap<u32, String> = source.lines().filter_map(constant).collect();
    assert!(codes.len() > 25, "only {codes:?} were found: does the search still work?");
    assert!(codes.contains_key(&u32::from(fanfare_protocol::Disconnect::SLOW.code)));
    let mut documented = codes_in(1000..=1999);
    documented.extend(codes_in(3000..=4999));
    assert_eq!(documented, codes);
}

#[test]
fn the_unsubscribe_codes_are_documented() {
    let all =
        [Unsubscribe::SERVER, Unsubscribe::INSUFFICIENT_STATE, Unsubscribe::EXPIRED, Unsubscribe::STATE_INVALIDATED];
    let codes = all.into_iter().map(|unsubscribe| (unsubscribe.code, unsubscribe.reason.into_owned())).collect();
    assert_eq!(codes_in(2000..=2999), codes);
}

fn request(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The names that a running node shows.
fn metrics_of(address: SocketAddr) -> BTreeSet<String> {
    // Counts nothing until it is asked for the first time.
    let document = request(address, "/api/openapi.json");
    assert!(document.starts_with("HTTP/1.1 200"), "{document:.100}");
    let metrics = request(address, "/metrics");
    let name = |line: &str| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned);
    metrics.lines().filter_map(name).collect()
}

/// Its keys cannot be fetched, and that is counted.
fn issuer_that_is_not_there() -> TokenIssuer {
    TokenIssuer {
        name: "id".to_owned(),
        issuer: "http://127.0.0.1:1".to_owned(),
        audience: "hub".to_owned(),
        jwks: None,
        ca_file: None,
        uses: Uses::Both,
        refresh_interval: Duration::from_secs(3_600),
        stale_ttl: Duration::from_secs(3_600),
    }
}

#[tokio::test]
async fn the_metrics_are_documented() {
    let mut shown = BTreeSet::new();
    // A node shows the metrics of its broker before that has reached anything.
    for redis in [None, Some(Server::parse("redis://127.0.0.1:1").unwrap())] {
        let mut config = Config::dev();
        config.listen.address.set_port(0);
        config.gateway.shards = 1;
        config.redis.server = redis;
        config.token_issuers = vec![issuer_that_is_not_there()];
        config.hooks = [(Hook::Rpc, hook_config("http://127.0.0.1:1/"))].into();
        let node = Node::start(config).await.unwrap();
        let address = node.address();
        shown.extend(tokio::task::spawn_blocking(move || metrics_of(address)).await.unwrap());
        node.stop().await;
    }
    // Where TLS is spoken; `tests/tls.rs` sees them.
    let of_tls = ["fanfare_tls_certificate_expiry_seconds", "fanfare_tls_reloads_total"];
    shown.extend(of_tls.map(str::to_owned));
    let text = read("docs/operating.md");
    let documented: BTreeSet<String> =
        quoted(&text).into_iter().filter(|text| text.starts_with("fanfare_")).map(str::to_owned).collect();
    assert!(!shown.is_empty());
    assert_eq!(documented, shown);
}

/// A writer whose text is looked at afterwards.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `fanfare … --help` prints.
fn help(words: &[&str]) -> String {
    let page = Page::default();
    let mut io = Io { out: Box::new(page.clone()), ..Io::process() };
    let line = ["fanfare"].iter().chain(words).chain(&["--help"]);
    assert!(cli::parse(line, &mut io).is_err(), "help ends the command line");
    let bytes = page.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// The commands in the list of a help text.
fn commands(words: &[&str]) -> Vec<String> {
    let help = help(words);
    let Some((_, list)) = help.split_once("Commands:\n") else { return Vec::new() };
    let name =
        |line: &str| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()).map(str::to_owned);
    list.lines().map_while(name).filter(|name| name != "help").collect()
}

/// Long flags that begin a line of a help text.
fn flags(words: &[&str]) -> BTreeSet<String> {
    let flag = |line: &str| {
        let line = line.trim_start();
        let line = line.split_once(", ").filter(|(short, _)| short.len() == 2).map_or(line, |(_, long)| long);
        let name = line.strip_prefix("--")?.split([' ', '[', '\n']).next()?;
        Some(format!("--{name}"))
    };
    help(words).lines().filter_map(flag).collect()
}

/// A command's part of `docs/cli.md`.
fn section<'a>(text: &'a str, command: &str) -> &'a str {
    let heading = format!("### fanfare {command}\n");
    let rest = text.split_once(&heading).unwrap_or_else(|| panic!("no heading for {command}")).1;
    rest.split("\n#").next().unwrap_or(rest)
}

#[test]
fn the_commands_are_documented() {
    let text = read("docs/cli.md");
    let heading = |line: &str| line.strip_prefix("### fanfare ").map(str::to_owned);
    let documented: BTreeSet<String> = text.lines().filter_map(heading).collect();
    assert_eq!(documented, commands(&[]).into_iter().collect());
    for command in commands(&[]) {
        for part in commands(&[&command]) {
            assert!(section(&text, &command).contains(&format!("`{command} {part}`")), "{command} {part}");
        }
    }
}

#[test]
fn the_flags_are_documented() {
    let text = read("docs/cli.md");
    // Said once for all commands that have them.
    let common: BTreeSet<String> = ["--server", "--ca-file", "--json", "--help"].map(str::to_owned).into();
    for command in commands(&[]) {
        let mut there = flags(&[&command]);
        for part in commands(&[&command]) {
            there.extend(flags(&[&command, &part]));
        }
        let words = quoted(section(&text, &command)).into_iter().filter(|text| text.starts_with("--"));
        let documented: BTreeSet<String> = words.filter_map(|text| text.split(' ').next()).map(str::to_owned).collect();
        let unknown: Vec<_> = documented.difference(&there).collect();
        assert!(unknown.is_empty(), "{command} has no {unknown:?}");
        // `config` takes the flags of `serve`, and says so.
        let inherited = if command == "config" { flags(&["serve"]) } else { BTreeSet::new() };
        let missing: Vec<_> = there.iter().filter(|flag| !documented.contains(*flag)).collect();
        let missing: Vec<_> =
            missing.into_iter().filter(|flag| !common.contains(*flag) && !inherited.contains(*flag)).collect();
        assert!(missing.is_empty(), "{command}: {missing:?} is not documented");
    }
}
