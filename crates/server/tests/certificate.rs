//! The certificate of the listener, as an operator meets it: what `serve` and `config check` say of files that are of no
//! use (row 92 of the table of bad input), and the commands against a node that speaks TLS.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::patience::eventually;
use fanfare_testkit::{Certificate, Program, serve};

const BINARY: &str = env!("CARGO_BIN_EXE_fanfare");

/// What names the files of a certificate.
fn files(certificate: &Certificate) -> [(&'static str, String); 2] {
    let path = |name| certificate.file(name).to_string_lossy().into_owned();
    [("FANFARE_LISTEN__TLS_CERT_FILE", path("cert.pem")), ("FANFARE_LISTEN__TLS_KEY_FILE", path("key.pem"))]
}

fn borrowed<'a>(files: &'a [(&'static str, String); 2]) -> [(&'static str, &'a str); 2] {
    [(files[0].0, &files[0].1), (files[1].0, &files[1].1)]
}

/// `fanfare config check` in the surroundings of a node.
fn check(certificate: &Certificate) -> Output {
    let files = files(certificate);
    let node = serve(BINARY, &borrowed(&files));
    let variables = node.get_envs().filter_map(|(name, value)| Some((name, value?)));
    Command::new(BINARY).args(["config", "check"]).env_clear().envs(variables).output().unwrap()
}

fn is_refused(case: &Case, certificate: &Certificate, words: &[&str]) {
    let files = files(certificate);
    let served = serve(BINARY, &borrowed(&files)).stdout(Stdio::null()).output().unwrap();
    for output in [served, check(certificate)] {
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(case.exit()), "{}: {text}", case.name);
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
    }
}

#[test]
fn row_92_files_of_no_use_keep_a_node_from_starting() {
    let certificate = Certificate::new();
    fs::remove_file(certificate.file("key.pem")).unwrap();
    is_refused(case(92, "unreadable"), &certificate, &["listen.tls_key_file", "key.pem", "No such file"]);

    certificate.renew(2099);
    let key = fs::read_to_string(certificate.file("key.pem")).unwrap();
    certificate.renew(2099);
    certificate.write("key.pem", &key);
    is_refused(case(92, "mismatched"), &certificate, &["listen.tls_key_file", "key.pem", "is not the key of"]);

    certificate.renew(2099);
    for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        certificate.write("cert.pem", text);
        is_refused(case(92, "no PEM"), &certificate, &["listen.tls_cert_file", "cert.pem"]);
    }
    certificate.renew(2099);
    certificate.write("key.pem", &fs::read_to_string(certificate.file("cert.pem")).unwrap());
    is_refused(case(92, "no PEM"), &certificate, &["listen.tls_key_file", "key.pem"]);
}

#[tokio::test]
async fn row_92_what_works_but_is_not_meant_is_a_warning() {
    let certificate = Certificate::new();
    case(92, "expired").is_fine();
    certificate.renew(2020);
    case(92, "readable by all").is_fine();
    fs::set_permissions(certificate.file("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let checked = check(&certificate);
    let text = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(0), "{text}");
    assert!(text.contains("has expired") && text.contains("can be read by everybody"), "{text}");
    let files = files(&certificate);
    let node = Program::start(BINARY, &borrowed(&files)).await;
    let says = |part: &str| node.log().iter().any(|entry| entry.to_string().contains(part));
    let told = || async { (says("has expired") && says("can be read by everybody")).then_some(()) };
    eventually("both warnings", told).await;
    assert!(!says("BEGIN"), "{:?}", node.log());
}

fn command(node: &Program, certificate: &Certificate, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_clear().env("FANFARE_API_KEY", "3f1c6a0d9b7e45d2a8c0");
    command.env("FANFARE_SERVER", format!("https://{}", node.address()));
    command.arg("--ca-file").arg(certificate.file("ca.pem"));
    command
}

#[tokio::test]
async fn commands_talk_to_a_node_with_tls() {
    let certificate = Certificate::new();
    let files = files(&certificate);
    let node = Program::start(BINARY, &borrowed(&files)).await;
    let published = command(&node, &certificate, &["pub", "news", "{\"n\":1}"]).output().unwrap();
    assert_eq!(published.status.code(), Some(0), "{}", String::from_utf8_lossy(&published.stderr));
    let info = command(&node, &certificate, &["info"]).output().unwrap();
    assert_eq!(info.status.code(), Some(0), "{}", String::from_utf8_lossy(&info.stderr));
    let mut subscribed = command(&node, &certificate, &["sub", "news", "--count", "1"]);
    let subscribed = RefCell::new(subscribed.stdout(Stdio::piped()).spawn().unwrap());
    // It publishes until the subscriber has heard one.
    eventually("a publication at the subscriber", || async {
        command(&node, &certificate, &["pub", "news", "{\"n\":2}"]).output().unwrap();
        subscribed.borrow_mut().try_wait().unwrap()
    })
    .await;
    let heard = subscribed.into_inner().wait_with_output().unwrap();
    assert_eq!(heard.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&heard.stdout).contains("\"n\":2"), "{heard:?}");

    // Whom nobody trusts is not talked to.
    let other = Certificate::new();
    for arguments in [&["info"][..], &["sub", "news"]] {
        let refused = command(&node, &other, arguments).output().unwrap();
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    }
    let missing = command(&node, &certificate, &["info", "--server", "https://127.0.0.1:1"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(3), "{missing:?}");
}
