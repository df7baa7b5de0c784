//! Key sets of issuers. However one is made, it is no leave to sign with a secret that stands in it.

#![no_main]

use std::sync::Arc;

use async_trait::async_trait;
use fanfare_auth::{Held, Issuer, KeySet, KeySource, NewToken, Options, RemoteIssuer, Secret, Uses, Verifier};

/// In base64url: `c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I`.
const SECRET: &str = "secret-secret-secret-secret-secr";
const ISSUER: &str = "https://id.example";
const NOW_SECONDS: u64 = 1_700_000_000;

#[derive(Debug)]
struct Fixed(Arc<KeySet>);

#[async_trait]
impl KeySource for Fixed {
    fn held(&self) -> Held {
        Held { keys: Some(Arc::clone(&self.0)), is_fresh: true }
    }

    async fn ready(&self, _: Option<&str>) {}
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(keys) = KeySet::parse(data) else { return };
    assert!(!keys.is_empty() && keys.len() <= fanfare_auth::limits::PUBLISHED_KEYS_MAX);
    let issuer = RemoteIssuer {
        name: "id".to_owned(),
        issuer: ISSUER.to_owned(),
        audience: "hub".to_owned(),
        uses: Uses::default(),
        keys: Arc::new(Fixed(Arc::new(keys))),
    };
    let verifier = Verifier::new(Options::default()).expect("there is no key to be wrong").with_issuers(vec![issuer]);
    let token = NewToken {
        user: "42".to_owned(),
        expires_at: Some(NOW_SECONDS + 60),
        audience: Some("hub".to_owned()),
        issuer: Some(ISSUER.to_owned()),
        ..NewToken::default()
    };
    let token = Issuer::new(&Secret::new(SECRET.to_owned())).connection(&token);
    assert!(verifier.connection(&token, NOW_SECONDS).is_err(), "a published secret is none");
    drop(verifier.verdicts(&token, false, NOW_SECONDS));
});
