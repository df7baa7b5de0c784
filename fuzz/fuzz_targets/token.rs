//! Tokens. The first byte says what the rest is: a token as it is, claims that are signed with the right secret, or
//! header and claims whose signature is wrong.

#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_auth::{Options, Roles, Rules, Secret, Verifier, inspect};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW_SECONDS: u64 = 1_700_000_000;
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let rules = BTreeMap::from([("admin".to_owned(), Arc::new(Rules::default()))]);
    let options = Options {
        hmac_secret: Some(Secret::new(SECRET.to_owned())),
        roles: Roles { claim: Some("realm.roles".to_owned()), rules },
        lifetime_max: Some(Duration::from_secs(1 << 20)),
        ..Options::default()
    };
    Verifier::new(options).expect("the secret is long enough")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 3 {
        0 => _ = std::str::from_utf8(data).map(judge),
        1 => _ = judge(&signed(HEADER.as_bytes(), data)),
        _ => {
            let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
            let (header, claims) = data.split_at(end);
            let token = signed(header, claims.strip_prefix(b"\n").unwrap_or_default());
            let (message, signature) = token.rsplit_once('.').expect("a token has dots");
            let wrong: String = signature.chars().rev().collect();
            assert!(wrong == signature || !judge(&format!("{message}.{wrong}")), "taken with a wrong signature");
        }
    }
});

/// Whether a token is taken.
fn judge(token: &str) -> bool {
    drop(inspect(token));
    drop(VERIFIER.verdicts(token, false, NOW_SECONDS));
    let connection = VERIFIER.connection(token, NOW_SECONDS);
    let subscription = VERIFIER.subscription(token, NOW_SECONDS);
    assert!(connection.is_err() || subscription.is_err(), "a token is for one thing");
    connection.is_ok() || subscription.is_ok()
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
