//! The command line as a whole: what is taken, what is refused and with which words, and what a node that is not
//! there, or not one, leads to.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::output::scripted;
use super::*;

/// Runs a command line to its end: exit code, results, the rest.
fn run_line(line: &[&str], input: &str, environment: &[(&str, &str)]) -> (Exit, String, String) {
    let (mut io, out, err) = scripted::io(input, environment);
    let exit = match parse(std::iter::once("fanfare").chain(line.iter().copied()), &mut io) {
        Ok(cli) => run(cli, &mut io),
        Err(exit) => exit,
    };
    (exit, out.text(), err.text())
}

/// Answers one HTTP request and gives back its head and body.
fn one_answer(status: &'static str, body: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let request = read_request(&mut socket);
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(body.as_bytes()).unwrap();
        request
    });
    (address, server)
}

fn read_request(socket: &mut std::net::TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = socket.read(&mut buffer).unwrap();
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.is_none_or(|length| body.len() >= length.parse().unwrap()) {
            return text;
        }
    }
}

fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help_leads_with_examples_and_ends_with_the_exit_codes() {
    let (exit, out, err) = run_line(&["--help"], "", &[]);
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    let place = |part: &str| out.find(part).unwrap_or_else(|| panic!("{part} in {out}"));
    assert!(place("fanfare dev") < place("Usage:"));
    assert!(place("Usage:") < place("Exit codes:"));
    for code in [0, 1, 2, 3, 4, 5, 130] {
        place(&format!("{code:>5}  "));
    }
}

#[test]
fn every_command_that_talks_to_a_node_leads_with_examples() {
    for command in [
        "pub",
        "sub",
        "history",
        "presence",
        "channels",
        "disconnect",
        "block",
        "unblock",
        "revoke",
        "info",
        "completions",
        "dev",
        "serve",
    ] {
        let (exit, out, _) = run_line(&[command, "--help"], "", &[]);
        assert_eq!(exit, Exit::Ok);
        assert!(out.contains("Examples:\n  "), "{out}");
        assert!(out.contains(&format!("fanfare {command}")), "{out}");
    }
}

#[test]
fn no_flag_takes_a_secret() {
    for command in Cli::command().get_subcommands() {
        for argument in command.get_arguments() {
            let name = argument.get_long().unwrap_or_default();
            assert!(!["key", "api-key", "token", "secret", "password"].contains(&name), "{name}");
        }
    }
}

#[test]
fn what_is_mistyped_is_a_usage_error_with_a_suggestion() {
    for (line, part) in [
        (&["publish"][..], "tip: a similar subcommand exists: 'pub'"),
        (&["sub", "news", "--jsn"], "tip: a similar argument exists: '--json'"),
        (&["sub"], "<CHANNEL>..."),
        (&["sub", "news", "-n", "0"], "0 is not in 1.."),
        (&["sub", "news", "--timeout", "5"], "500ms, 5s, 1m"),
        (&["sub", "news", "--since", "41"], "OFFSET:EPOCH"),
        (&["history", "news", "--limit", "-2"], "-1.."),
        (&["disconnect", "42", "--code", "1000"], "3000..=4999"),
        (&["completions", "tcsh"], "bash"),
    ] {
        let (exit, out, err) = run_line(line, "", &[]);
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""), "{line:?}");
        assert!(err.contains(part), "{part} in {err}");
    }
}

#[test]
fn a_node_that_is_not_there_has_an_exit_code_of_its_own() {
    let address = nowhere();
    for line in [
        &["pub", "news", "1"][..],
        &["sub", "news"],
        &["history", "news"],
        &["presence", "news"],
        &["channels"],
        &["disconnect", "42"],
        &["info"],
    ] {
        let (exit, out, err) = run_line(line, "", &[("FANFARE_SERVER", &address)]);
        assert_eq!((exit, out.as_str()), (Exit::NoNode, ""), "{line:?}");
        assert!(err.starts_with(&format!("error: cannot reach {address}: ")), "{err}");
        assert!(err.contains("`fanfare dev` starts one"), "{err}");
    }
}

#[test]
fn an_address_that_is_none_is_a_usage_error() {
    for (address, part) in [("ftp://hub", "is not the address of a node"), ("hub:port", "the port is a number")] {
        for command in [&["info"][..], &["sub", "news"]] {
            let line: Vec<_> = command.iter().copied().chain(["--server", address]).collect();
            let (exit, _, err) = run_line(&line, "", &[]);
            assert_eq!(exit, Exit::Usage, "{err}");
            assert!(err.contains(part), "{part} in {err}");
        }
    }
}

#[test]
fn publishing_sends_data_and_key_and_prints_the_position() {
    let (address, server) = one_answer("200 OK", r#"{"result":{"offset":7,"epoch":"aB"}}"#);
    let line = ["pub", "news", r#"{"a": 1}"#, "--server", &address];
    let (exit, out, err) = run_line(&line, "", &[("FANFARE_API_KEY", "geheim")]);
    assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Ok, "published to news at 7:aB\n", ""));
    let request = server.join().unwrap();
    assert!(request.starts_with("POST /api/publish HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("x-api-key: geheim\r\n"), "{request}");
    assert!(request.ends_with(r#"{"channel":"news","data":{"a": 1}}"#), "{request}");
}

#[test]
fn a_flag_beats_the_environment_and_a_prefix_is_kept() {
    let (address, server) = one_answer("200 OK", r#"{"result":{"nodes":[]}}"#);
    let server_flag = format!("http://{address}/hub/");
    let (exit, out, _) = run_line(&["info", "--json", "--server", &server_flag], "", &[("FANFARE_SERVER", "nowhere")]);
    assert_eq!((exit, out.as_str()), (Exit::Ok, ""));
    assert!(server.join().unwrap().starts_with("POST /hub/api/info HTTP/1.1\r\n"));
}

#[test]
fn a_wrong_key_is_said_with_what_to_do_and_not_repeated() {
    let body = r#"{"error":{"code":101,"message":"unauthorized: the key is none of those in api.keys"}}"#;
    let (address, server) = one_answer("401 Unauthorized", body);
    let (exit, _, err) = run_line(&["info", "--server", &address], "", &[("FANFARE_API_KEY", "geheim")]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("the key is none of those") && err.contains("FANFARE_API_KEY_FILE"), "{err}");
    assert!(!err.contains("geheim"), "{err}");
    server.join().unwrap();
}

#[test]
fn a_refusal_of_the_node_is_a_failure() {
    let (address, server) = one_answer("200 OK", r#"{"error":{"code":108,"message":"not available"}}"#);
    let (exit, out, err) = run_line(&["presence", "news", "--server", &address], "", &[]);
    assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
    assert!(err.starts_with("error: not available (code 108)\n  it is switched off for this channel"), "{err}");
    server.join().unwrap();
}

#[test]
fn something_else_than_a_node_is_told_as_such() {
    let (address, server) = one_answer("404 Not Found", "<html>nothing here</html>");
    let (exit, _, err) = run_line(&["sub", "news", "--server", &address], "", &[]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("HTTP 404") && err.contains("is this the address of a Fanfare node?"), "{err}");
    server.join().unwrap();
}

#[test]
fn a_token_file_that_is_not_there_is_a_usage_error() {
    let (exit, _, err) = run_line(&["sub", "news", "--token-file", "/nowhere/token"], "", &[]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.starts_with("error: cannot read /nowhere/token: "), "{err}");
}

#[test]
fn data_that_is_not_json_never_leaves() {
    let (exit, out, err) = run_line(&["pub", "news", "hello"], "", &[("FANFARE_SERVER", &nowhere())]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains(r#"fanfare pub news '"hello"'"#), "{err}");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for line in [&["completions", "bash"][..], &["--help"]] {
        let (mut io, _, err) = scripted::io("", &[]);
        io.out = Box::new(Closed);
        let exit = match parse(std::iter::once("fanfare").chain(line.iter().copied()), &mut io) {
            Ok(cli) => run(cli, &mut io),
            Err(exit) => exit,
        };
        assert_eq!((exit, err.text().as_str()), (Exit::Ok, ""), "{line:?}");
    }
}

/// A node for development on a free port, on threads of its own.
struct RunningNode {
    address: String,
    _runtime: tokio::runtime::Runtime,
    _node: crate::Node,
}

impl RunningNode {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut config = Config::dev();
        config.listen.address.set_port(0);
        let node = runtime.block_on(crate::Node::start(config)).unwrap();
        Self { address: node.address().to_string(), _runtime: runtime, _node: node }
    }

    fn run(&self, line: &[&str]) -> (Exit, String, String) {
        run_line(line, "", &[("FANFARE_SERVER", &self.address)])
    }

    #[track_caller]
    fn ok(&self, line: &[&str]) -> String {
        let (exit, out, err) = self.run(line);
        assert_eq!(exit, Exit::Ok, "{line:?}: {out}{err}");
        out
    }
}

#[test]
fn against_a_node_each_command_does_what_it_says() {
    let node = RunningNode::start();
    assert!(node.ok(&["pub", "news", r#"{"n":1}"#]).starts_with("published to news at 1:"));
    let published = node.ok(&["pub", "--json", "--text", "news", "hi"]);
    let published: serde_json::Value = serde_json::from_str(&published).unwrap();
    assert_eq!((published["offset"].as_u64(), published["channel"].as_str()), (Some(2), Some("news")));
    assert_eq!(node.ok(&["history", "news"]), "     1  {\"n\":1}\n     2  \"hi\"\n");
    assert_eq!(node.ok(&["history", "news", "--reverse", "--limit", "1"]), "     2  \"hi\"\n");
    let epoch = published["epoch"].as_str().unwrap();
    let after_first = format!("1:{epoch}");
    assert_eq!(node.ok(&["history", "news", "--since", &after_first]), "     2  \"hi\"\n");
    assert_eq!(node.ok(&["presence", "news", "--json"]), "");
    assert_eq!(node.ok(&["channels", "--json"]), "");
    let out = node.ok(&["sub", "news", "--since", &after_first, "-n", "1", "--timeout", "10s"]);
    assert_eq!(out, "news       2  \"hi\"\n");
    let info: serde_json::Value = serde_json::from_str(&node.ok(&["info", "--json"])).unwrap();
    assert_eq!(info["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(node.ok(&["disconnect", "42"]), "closed the connections of 42\n");
}

#[test]
fn users_are_blocked_and_tokens_revoked_and_that_is_taken_back() {
    let node = RunningNode::start();
    let (exit, out, err) = node.run(&["block", "42", "--for", "1h"]);
    assert_eq!((exit, out.as_str()), (Exit::Ok, "blocked 42\n"));
    assert!(err.contains("redis.url"), "it ends with the node: {err}");
    assert_eq!(node.ok(&["block", "43", "--json"]), "{\"user\":\"43\",\"durable\":false}\n");
    assert_eq!(node.ok(&["unblock", "43"]), "43 is let in again\n");
    assert_eq!(node.ok(&["unblock", "43"]), "43 was not blocked\n");
    assert_eq!(node.ok(&["revoke", "token", "t1"]), "revoked the token t1\n");
    assert_eq!(node.ok(&["revoke", "user", "42", "--before", "7"]), "revoked the older tokens of 42\n");
    let everybody = ["revoke", "everybody", "--channel", "news", "--before", "8", "--json"];
    assert_eq!(node.ok(&everybody), "{\"durable\":false}\n");
    let listed = node.ok(&["revoke", "list", "--json"]);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert!(listed.contains(r#"{"kind":"all_tokens","channel":"news","issued_before":8}"#), "{listed}");
    assert_eq!(node.ok(&["revoke", "list", "--kind", "token", "--json"]), "{\"kind\":\"token\",\"uid\":\"t1\"}\n");
    for undo in [
        &["revoke", "token", "t1", "--undo"][..],
        &["revoke", "user", "42", "--undo"],
        &["revoke", "everybody", "--channel", "news", "--undo"],
    ] {
        assert_eq!(node.ok(undo), "took the revocation back\n");
        assert_eq!(node.ok(undo), "there was no such revocation\n");
    }
    assert_eq!(node.ok(&["revoke", "list"]).lines().count(), 2);
    assert_eq!(node.run(&["revoke", "list", "--kind", "x"]).0, Exit::Failed);
    assert_eq!(node.run(&["block", "42", "--for", "soon"]).0, Exit::Usage);
}

#[test]
fn a_subscription_that_waits_in_vain_times_out() {
    let node = RunningNode::start();
    let (exit, out, err) = node.run(&["sub", "news", "-n", "1", "--timeout", "200ms"]);
    assert_eq!((exit, out.as_str()), (Exit::TimedOut, ""));
    assert!(
        err.contains("subscribed to news") && err.contains("0 publications in ") && err.contains(" s, none missed"),
        "{err}"
    );
    let (exit, _, _) = node.run(&["sub", "news", "--timeout", "200ms"]);
    assert_eq!(exit, Exit::Ok);
}

#[test]
fn a_position_of_another_stream_is_a_gap() {
    let node = RunningNode::start();
    node.ok(&["pub", "news", "1"]);
    let (exit, _, err) = node.run(&["sub", "news", "--since", "5:other", "--timeout", "300ms"]);
    assert_eq!(exit, Exit::Gap, "{err}");
    assert!(err.contains("warning: news: publications may have been missed between 5:other and 1:"), "{err}");
}

#[test]
fn a_channel_that_needs_a_token_says_so() {
    let node = RunningNode::start();
    let (exit, out, err) = node.run(&["sub", "$secret", "--timeout", "5s"]);
    assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
    assert!(err.starts_with("error: $secret: permission denied (code 103)\n"), "{err}");
}

#[test]
fn a_token_that_the_node_did_not_sign_is_refused() {
    let node = RunningNode::start();
    let environment = [("FANFARE_SERVER", node.address.as_str()), ("FANFARE_TOKEN", "x.y.z")];
    let (exit, _, err) = run_line(&["sub", "news"], "", &environment);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("(code 3500)") && err.contains("hmac_secret"), "{err}");
}
