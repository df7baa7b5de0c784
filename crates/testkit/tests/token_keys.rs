//! Tokens of every algorithm, over real connections: keys by file, their rotation, and what hostile tokens get.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::path::PathBuf;
use std::time::Instant;

use fanfare_auth::{Algorithm, Uses};
use fanfare_server::config::TokenKey;
use fanfare_testkit::{KeyPair, Node, Setup, json, on_1_and_3_shards, token};
use futures_util::future::join_all;

on_1_and_3_shards!(every_algorithm_connects, keys_of_subscriptions_are_their_own, a_retired_key_lets_nobody_in);

const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

/// A folder of key files that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fanfare-token-keys-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn key(&self, name: &str, algorithm: Algorithm, pair: &KeyPair) -> TokenKey {
        let file = self.0.join(format!("{name}.pem"));
        std::fs::write(&file, pair.public_pem()).unwrap();
        TokenKey {
            name: name.to_owned(),
            algorithm,
            secret: None,
            file: Some(file),
            key_id: None,
            accept_until: None,
            uses: Uses::Both,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn node(shards: usize, keys: Vec<TokenKey>) -> Node {
    Setup::new(shards).configure(|config| config.token_keys = keys).start().await
}

async fn every_algorithm_connects(shards: usize) {
    let folder = Folder::new(&format!("all-{shards}"));
    let pairs = ALGORITHMS.map(|algorithm| (algorithm, KeyPair::new(algorithm)));
    let keys = pairs.iter().map(|(algorithm, pair)| folder.key(algorithm.name(), *algorithm, pair)).collect();
    let node = node(shards, keys).await;
    for (algorithm, pair) in &pairs {
        let claims = json!({"sub": algorithm.name(), "exp": token::now() + 600});
        let mut client = node.client().token(&pair.token(Some("any"), &claims)).connect().await;
        client.subscribe("room").await;
        let presence = client.call("presence", json!({"channel": "room"})).await;
        assert_eq!(presence["presence"][&client.id]["user"], algorithm.name());
        let stranger = KeyPair::new(*algorithm).token(None, &claims);
        assert_eq!(node.client().token(&stranger).closed().await.0, 3500, "{algorithm}");
    }
    assert!(node.client().user("42").connect().await.connected["client"].is_string(), "auth.hmac_secret still counts");
}

async fn keys_of_subscriptions_are_their_own(shards: usize) {
    let folder = Folder::new(&format!("subs-{shards}"));
    let (connections, subscriptions) = (KeyPair::new(Algorithm::ES256), KeyPair::new(Algorithm::ES256));
    let for_connections =
        TokenKey { uses: Uses::Connections, ..folder.key("connections", Algorithm::ES256, &connections) };
    let for_subscriptions =
        TokenKey { uses: Uses::Subscriptions, ..folder.key("subscriptions", Algorithm::ES256, &subscriptions) };
    let node = node(shards, vec![for_connections, for_subscriptions]).await;
    let (own, channel) = (json!({"sub": "42"}), json!({"sub": "42", "channel": "$room"}));
    let mut client = node.client().token(&connections.token(None, &own)).connect().await;
    let wrong = json!({"channel": "$room", "token": connections.token(None, &channel)});
    assert_eq!(client.refused("subscribe", wrong).await, 103);
    client.call("subscribe", json!({"channel": "$room", "token": subscriptions.token(None, &channel)})).await;
    assert_eq!(node.client().token(&subscriptions.token(None, &own)).closed().await.0, 3500);
}

async fn a_retired_key_lets_nobody_in(shards: usize) {
    let folder = Folder::new(&format!("retired-{shards}"));
    let (old, new) = (KeyPair::new(Algorithm::EdDSA), KeyPair::new(Algorithm::EdDSA));
    let retired = TokenKey { accept_until: Some(token::now()), ..folder.key("old", Algorithm::EdDSA, &old) };
    let named = TokenKey { key_id: Some("2".to_owned()), ..folder.key("new", Algorithm::EdDSA, &new) };
    let node = node(shards, vec![retired, named]).await;
    let claims = json!({"sub": "42"});
    assert_eq!(node.client().token(&old.token(None, &claims)).closed().await.0, 3500);
    assert_eq!(node.client().token(&new.token(None, &claims)).closed().await.0, 3500, "it names no key");
    node.client().token(&new.token(Some("2"), &claims)).connect().await;
}

/// Run by hand, in a release build: `cargo test --release -p fanfare-testkit --test token_keys -- --ignored --nocapture`.
#[ignore = "it measures"]
#[test]
fn connects_a_second() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = Folder::new("rate");
        let pairs = ALGORITHMS.map(|algorithm| (algorithm, KeyPair::new(algorithm)));
        let keys = pairs.iter().map(|(algorithm, pair)| folder.key(algorithm.name(), *algorithm, pair)).collect();
        let node = node(1, keys).await;
        let claims = json!({"sub": "42", "exp": token::now() + 600});
        let mut tokens = vec![("HS256", token::with_claims(&claims)), ("no token", String::new())];
        tokens.extend(pairs.iter().map(|(algorithm, pair)| (algorithm.name(), pair.token(None, &claims))));
        for (name, token) in tokens {
            let started = Instant::now();
            let mut connects = 0;
            while started.elapsed().as_secs() < 3 {
                let opening = node.client().token(&token);
                connects += join_all((0..16).map(|_| opening.connect())).await.len();
            }
            let rate = connects as f64 / started.elapsed().as_secs_f64();
            println!("{name}: {rate:.0} connects/s, client and node together");
        }
    });
}
