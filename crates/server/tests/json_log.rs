//! What a log collector reads.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a node writes to standard error until it listens, with something in its configuration to warn of.
fn lines_of_a_start() -> Vec<String> {
    let mut node = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
        .env_clear()
        .env("FANFARE_API__KEYS", "3f1c6a0d9b7e45d2a8c0")
        .env("FANFARE_AUTH__HMAC_SECRET", "short")
        .env("FANFARE_AUTH__ALLOW_SHORT_SECRET", "true")
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines: Vec<String> = Vec::new();
    let mut written = BufReader::new(node.stderr.take().unwrap()).lines();
    while lines.last().is_none_or(|line| !line.contains("listening")) {
        let Some(line) = written.next() else { break };
        lines.push(line.unwrap());
    }
    node.kill().unwrap();
    node.wait().unwrap();
    lines
}

/// They were written for a reader, over several lines, between the objects of the log.
#[test]
fn warnings_of_the_configuration_are_lines_of_a_json_log() {
    let lines = lines_of_a_start();
    let entries: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    let warning = entries.iter().find(|entry| entry["level"] == "WARN").expect("the secret is short");
    assert!(warning["message"].as_str().unwrap().starts_with("auth.hmac_secret has 5 bytes"), "{warning}");
    assert_eq!(warning["place"], "environment FANFARE_AUTH__HMAC_SECRET");
    assert!(warning["hint"].is_string(), "{warning}");
}
