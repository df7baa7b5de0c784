//! What a log collector reads.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

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

/// What a node logs of requests that carry a secret, with the log as talkative as it gets.
fn log_of_requests(requests: &[Vec<u8>]) -> String {
    let mut node = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "trace"])
        .env_clear()
        .env("FANFARE_API__KEYS", "3f1c6a0d9b7e45d2a8c0")
        .env("FANFARE_AUTH__HMAC_SECRET", "0123456789abcdef0123456789abcdef")
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut written = BufReader::new(node.stderr.take().unwrap());
    let mut log = String::new();
    let address = loop {
        let mut line = String::new();
        assert!(written.read_line(&mut line).unwrap() > 0, "the node ended: {log}");
        log.push_str(&line);
        let entry: Value = serde_json::from_str(&line).unwrap();
        if entry["message"] == "listening" {
            break entry["address"].as_str().unwrap().to_owned();
        }
    };
    for request in requests {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // It may be refused before all of it is there. The end is waited for, so that everything is logged by then.
        _ = stream.write_all(request);
        assert!(stream.read_to_end(&mut Vec::new()).unwrap() > 0);
    }
    node.kill().unwrap();
    node.wait().unwrap();
    written.read_to_string(&mut log).unwrap();
    log
}

#[test]
fn a_token_in_a_request_is_in_no_log() {
    const SECRET: &str = "eyJhbGciOiJIUzI1NiJ9.s3cr3t.s1gnatur3";
    let upgrade = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let get = |rest: &str| format!("GET /?token={SECRET}{rest}\r\n\r\n").into_bytes();
    let websocket =
        format!("GET /connection/websocket?token={SECRET} HTTP/1.1\r\n{upgrade}Authorization: Bearer {SECRET}\r\n\r\n");
    // Not masked, so that it is refused with the secret in plain sight.
    let frame = [&[0x81, SECRET.len() as u8], SECRET.as_bytes()].concat();
    let log = log_of_requests(&[
        [websocket.as_bytes(), &frame].concat(),
        get(&format!(" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {SECRET}")),
        get(" HTTP/1.0"),
        get(&format!(" HTTP/1.1\r\nHost: {SECRET}\r\nHost: {SECRET}")),
        get(&format!("{} HTTP/1.1", "x".repeat(20_000))),
        format!("POST /api/publish?api_key={SECRET} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}")
            .into_bytes(),
    ]);
    assert!(log.contains("a request was refused"), "the log says nothing of what it has to keep quiet about: {log}");
    for reason in ["version", "host", "target_length", "unmasked"] {
        assert!(log.contains(&format!("\"reason\":\"{reason}\"")), "{reason} is missing: {log}");
    }
    assert!(!log.contains("s3cr3t"), "{log}");
}
