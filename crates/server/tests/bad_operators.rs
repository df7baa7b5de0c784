//! What an operator's mistakes get (rows 87 to 91 and 95 of the table of bad input): the exit code of the program, and
//! words that say where and what.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::{Program, program};

const BINARY: &str = env!("CARGO_BIN_EXE_fanfare");

/// A file of a test; the folder is the package's own.
fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

fn output(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// A node with this file, and nothing else, ends with the case's code and says all of this.
#[track_caller]
fn is_refused(case: &Case, name: &str, text: &str, says: &[&str]) {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--config"]).arg(file(name, text)).env_clear();
    let (code, said) = output(command);
    assert_eq!(code, Some(case.exit()), "{text}\n{said}");
    for words in says {
        assert!(said.contains(words), "{words:?} is not in:\n{said}");
    }
}

#[test]
fn row_87_what_is_no_toml() {
    let start = case(87, "start");
    is_refused(start, "cut.toml", "[listen\n", &["cut.toml:1:8", "1 | [listen", "unclosed table"]);
    is_refused(start, "quotes.toml", "[log]\nlevel = \"info\n", &["quotes.toml:2:14", "2 | level = "]);
    is_refused(start, "twice.toml", "[log]\nlevel = \"info\"\nlevel = \"warn\"\n", &["twice.toml:3:1"]);
}

#[test]
fn row_88_what_is_mistyped() {
    let start = case(88, "start");
    is_refused(start, "key.toml", "[listen]\nadress = \"127.0.0.1:0\"\n", &["key.toml:2", "did you mean \"address\"?"]);
    is_refused(start, "section.toml", "[lisen]\n", &["section.toml:1", "did you mean [listen]?"]);
    let mut command = program::serve(BINARY, &[("FANFARE_LISTEN__ADRESS", "127.0.0.1:0")]);
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    let (code, said) = output(command);
    assert_eq!(code, Some(start.exit()), "{said}");
    assert!(said.contains("FANFARE_LISTEN__ADRESS") && said.contains("did you mean"), "{said}");
}

#[test]
fn row_89_what_is_out_of_range() {
    let value = case(89, "value");
    for (name, line, says) in [
        ("zero.toml", "[limits]\nsessions_max = 0\n", "sessions_max"),
        ("unlimited.toml", "[limits]\nsessions_per_user_max = 0\n", "\"off\""),
        ("negative.toml", "[limits]\nsessions_max = -1\n", "sessions_max"),
        ("unit.toml", "[limits]\noutbox_bytes_max = 1048576\n", "unit"),
        ("huge.toml", "[limits]\nsessions_max = 99999999999999999999\n", "sessions_max"),
        ("duration.toml", "[session]\nping_interval = 25\n", "unit"),
        ("seconds.toml", "[session]\nping_interval = \"-5s\"\n", "ping_interval"),
    ] {
        is_refused(value, name, line, &[name, says]);
    }
}

/// Flag, variable, file: each counts before the next, and the program says which did.
#[test]
fn row_90_what_contradicts_itself() {
    case(90, "precedence").is_fine();
    let file = file("precedence.toml", "[listen]\naddress = \"127.0.0.1:1\"\n[log]\nlevel = \"warn\"\n");
    let show = |variables: &[(&str, &str)], flags: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["config", "show", "--origins", "--config"]).arg(&file).args(flags).env_clear();
        let (code, said) = output({
            command.envs(variables.iter().copied());
            command
        });
        assert_eq!(code, Some(0), "{said}");
        said
    };
    let line = |said: &str| said.lines().find(|line| line.contains("address = ")).unwrap().to_owned();
    let variable = [("FANFARE_LISTEN__ADDRESS", "127.0.0.1:2")];
    let by_file = line(&show(&[], &[]));
    assert!(by_file.contains("127.0.0.1:1") && by_file.contains("precedence.toml"), "{by_file}");
    let by_variable = line(&show(&variable, &[]));
    assert!(by_variable.contains("127.0.0.1:2") && by_variable.contains("FANFARE_LISTEN__ADDRESS"), "{by_variable}");
    let by_flag = line(&show(&variable, &["--listen", "127.0.0.1:3"]));
    assert!(by_flag.contains("127.0.0.1:3") && by_flag.contains("--listen"), "{by_flag}");
}

#[test]
fn row_91_an_address_that_cannot_be_had() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = output(program::serve(BINARY, &[("FANFARE_LISTEN__ADDRESS", &address)]));
    assert_eq!(code, Some(case(91, "taken").exit()), "{said}");
    let hint = format!("ss -ltnp 'sport = :{}'", taken.local_addr().unwrap().port());
    assert!(said.contains(&hint), "who has it is to be found: {said}");
    // Of a block for documentation, which no machine has.
    let (code, said) = output(program::serve(BINARY, &[("FANFARE_LISTEN__ADDRESS", "203.0.113.1:8000")]));
    assert_eq!(code, Some(case(91, "not ours").exit()), "{said}");
    assert!(said.contains("203.0.113.1:8000"), "{said}");
    let (code, said) = output(without_privilege(&[("FANFARE_LISTEN__ADDRESS", "127.0.0.1:1")]));
    let privileged = case(91, "privileged");
    let open =
        fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").is_ok_and(|first| first.trim() == "0");
    if !open {
        assert_eq!(code, Some(privileged.exit()), "{said}");
        assert!(said.contains("below 1024"), "{said}");
    }
}

/// A node that may not have low ports even if the tests are run by root. Where they are open to everybody it is ended
/// after a while, and nothing is asked of it.
fn without_privilege(variables: &[(&str, &str)]) -> Command {
    let node = program::serve(BINARY, variables);
    let mut command = Command::new("timeout");
    command.args(["10", "setpriv", "--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service", "--"]);
    command
        .arg(BINARY)
        .args(node.get_args())
        .env_clear()
        .envs(node.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

#[tokio::test]
async fn row_95_secrets_that_are_none() {
    is_refused(case(95, "none"), "none.toml", "", &["api.keys", "auth.hmac_secret"]);
    let with = |keys: &str, secret: &str| format!("[api]\nkeys = [\"{keys}\"]\n[auth]\nhmac_secret = \"{secret}\"\n");
    let good = "3f1c6a0d9b7e45d2a8c0f1e2d3c4b5a6";
    is_refused(case(95, "short"), "short-key.toml", &with("hidden", good), &["api.keys"]);
    is_refused(case(95, "short"), "short-secret.toml", &with(good, "hidden"), &["auth.hmac_secret has 6 bytes"]);
    for name in ["short-key.toml", "short-secret.toml"] {
        let mut command = Command::new(BINARY);
        command.args(["config", "check", "--config"]);
        command.arg(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)).env_clear();
        let (_, said) = output(command);
        assert!(!said.contains("hidden"), "a secret is shown: {said}");
    }
    let repeated = "a".repeat(32);
    is_refused(case(95, "example"), "example-key.toml", &with(&repeated, good), &["api.keys"]);
    is_refused(case(95, "example"), "example-secret.toml", &with(good, &repeated), &["auth.hmac_secret"]);
    case(95, "explicit").is_fine();
    let node = Program::start(
        BINARY,
        &[("FANFARE_AUTH__HMAC_SECRET", "hidden"), ("FANFARE_AUTH__ALLOW_SHORT_SECRET", "true")],
    )
    .await;
    let log = node.log();
    assert!(log.iter().any(|entry| entry["level"] == "WARN" && format!("{entry}").contains("6 bytes")), "{log:?}");
    assert!(!format!("{log:?}").contains("hidden"), "{log:?}");
}
