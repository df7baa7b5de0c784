//! Hostile, foreign and stale tokens, with a client beside each that behaves and misses nothing. The numbers are those of
//! the table of bad input. What makes a token bad is tried in full in `crates/auth/tests`; this is what a node does then.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_testkit::{Client, KeyServer, Node, Setup, Value, json, on_1_and_3_shards, token};
use tokio::net::TcpListener;

on_1_and_3_shards!(
    row_36_expired_early_foreign_and_forged_tokens,
    row_37_tokens_that_bring_their_own_key_or_algorithm,
    row_38_the_channel_of_another_user,
    row_39_a_token_that_expires_while_its_session_lasts,
    row_40_a_refresh_with_the_token_of_another_user,
    row_41_a_token_that_is_revoked_while_its_session_lasts,
    row_42_dates_that_are_none,
);

/// A client that behaves: it hears all that is published for it, in order.
struct Canary {
    client: Client,
    heard: u64,
}

impl Canary {
    async fn of(node: &Node) -> Self {
        let mut client = node.client().token(&valid("canary")).connect().await;
        client.subscribe("canary").await;
        Self { client, heard: 0 }
    }

    async fn goes_on(&mut self, node: &Node) {
        for _ in 0..3 {
            self.heard += 1;
            node.publish("canary", json!(self.heard)).await;
            assert_eq!(self.client.expect_publication("canary").await["data"], self.heard);
        }
    }
}

fn setup(shards: usize) -> Setup {
    Setup::new(shards).configure(|config| {
        config.auth.audience = Some("hub".to_owned());
        config.auth.issuer = Some("shop".to_owned());
        config.gateway.personal_channel = Some(String::new());
    })
}

/// Claims that are good but for what stands in place of some of them.
fn claims(user: &str, other: &Value) -> Value {
    let mut claims = json!({"sub": user, "aud": "hub", "iss": "shop", "iat": token::now(), "exp": token::now() + 600});
    for (name, value) in other.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn with(other: &Value) -> String {
    token::with_claims(&claims("42", other))
}

fn valid(user: &str) -> String {
    token::with_claims(&claims(user, &json!({})))
}

/// A token whose header and claims stand there as they are, signed with the node's secret.
fn raw(header: &str, claims: &str) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let key = jsonwebtoken::EncodingKey::from_secret(token::SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

/// At connect, at refresh and for a subscription: a token that nobody can believe.
async fn is_invalid(node: &Node, what: &str, token: &str) {
    let closes = node.closes(3500).await;
    assert_eq!(node.client().token(token).closed().await.0, 3500, "{what}");
    let mut client = node.client().token(&valid("42")).connect().await;
    assert_eq!(client.refused("subscribe", json!({"channel": "$a", "token": token})).await, 103, "{what}");
    assert_eq!(client.closed_by("refresh", json!({"token": token})).await.0, 3500, "{what}");
    assert_eq!(node.closes(3500).await, closes + 2.0, "{what}");
}

async fn row_36_expired_early_foreign_and_forged_tokens(shards: usize) {
    let node = setup(shards).start().await;
    let mut canary = Canary::of(&node).await;
    let now = token::now();
    for (what, other) in [("expired", json!({"exp": now - 1})), ("early", json!({"nbf": now + 60}))] {
        let errors = node.metric("fanfare_gateway_errors_total").await;
        let (_, reply) = node.client().token(&with(&other)).ask().await;
        assert_eq!(reply["error"]["code"], 109, "{what}: {reply}");
        assert_eq!(node.metric("fanfare_gateway_errors_total").await, errors + 1.0, "{what}");
        let mut client = node.client().token(&valid("42")).connect().await;
        assert_eq!(client.closed_by("refresh", json!({"token": with(&other)})).await.0, 3005, "{what}");
        canary.goes_on(&node).await;
    }
    let forged = token::signed_with("another secret of thirty-two bytes, or more", &claims("42", &json!({})));
    let expired = token::signed_with("another secret of thirty-two bytes, or more", &claims("42", &json!({"exp": 1})));
    for (what, token) in [
        ("another audience", with(&json!({"aud": "other"}))),
        ("no audience", with(&json!({"aud": null}))),
        ("another issuer", with(&json!({"iss": "other"}))),
        ("another signature", forged),
        ("another signature, and expired", expired),
        ("half a signature", valid("42").split_at(valid("42").len() - 20).0.to_owned()),
    ] {
        is_invalid(&node, what, &token).await;
        canary.goes_on(&node).await;
    }
}

async fn row_37_tokens_that_bring_their_own_key_or_algorithm(shards: usize) {
    let node = setup(shards).start().await;
    let mut canary = Canary::of(&node).await;
    // Nobody may ask these for a key.
    let (server, bait) = (KeyServer::start().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("http://{}/keys", bait.local_addr().unwrap());
    let body = claims("42", &json!({})).to_string();
    let unsigned = |header: &str| {
        let [header, claims] = [header, &body].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{header}.{claims}.")
    };
    for (what, token) in [
        ("no algorithm", unsigned(r#"{"alg":"none"}"#)),
        ("no algorithm, in another spelling", unsigned(r#"{"alg":"nOnE","typ":"JWT"}"#)),
        ("an algorithm of public keys", raw(r#"{"alg":"RS256","typ":"JWT"}"#, &body)),
        ("another hash", raw(r#"{"alg":"HS512","typ":"JWT"}"#, &body)),
        ("a key id that is a path", raw(r#"{"alg":"RS256","kid":"../../dev/null"}"#, &body)),
        ("a key id that is a query", raw(r#"{"alg":"RS256","kid":"x' OR '1'='1"}"#, &body)),
        ("a URL of keys", raw(&json!({"alg": "RS256", "jku": url}).to_string(), &body)),
        ("a URL of certificates", raw(&json!({"alg": "RS256", "x5u": server.url("/keys")}).to_string(), &body)),
        ("a key", raw(r#"{"alg":"RS256","jwk":{"kty":"oct","k":"AAAA"}}"#, &body)),
    ] {
        is_invalid(&node, what, &token).await;
        canary.goes_on(&node).await;
    }
    assert_eq!(server.asked_in_total(), 0);
    let asked = tokio::time::timeout(Duration::from_millis(50), bait.accept()).await;
    assert!(asked.is_err(), "somebody asked for a key");
}

async fn row_38_the_channel_of_another_user(shards: usize) {
    let node = setup(shards).start().await;
    let mut canary = Canary::of(&node).await;
    let mut owner = node.client().token(&valid("42")).connect().await;
    let mut other = node.client().token(&valid("43")).connect().await;
    let denials = node.metric("fanfare_gateway_denials_total").await;
    assert_eq!(other.refused("subscribe", json!({"channel": "#42"})).await, 103);
    assert_eq!(node.metric("fanfare_gateway_denials_total").await, denials + 1.0);
    node.publish("#42", json!("for 42 alone")).await;
    assert_eq!(owner.expect_publication("#42").await["data"], "for 42 alone");
    assert_eq!(other.so_far().await, []);
    let of_owner = token::with_claims(&claims("42", &json!({"channel": "$private"})));
    let asked = json!({"channel": "$private", "token": of_owner});
    assert_eq!(other.closed_by("subscribe", asked.clone()).await.0, 3500);
    owner.call("subscribe", asked).await;
    canary.goes_on(&node).await;
}

async fn row_39_a_token_that_expires_while_its_session_lasts(shards: usize) {
    let setup = setup(shards).sessions(|options| options.expired_close_delay = Duration::from_millis(500));
    let node = setup.start().await;
    let mut canary = Canary::of(&node).await;
    let expires_at = token::now() + 2;
    let mut client = node.client().token(&with(&json!({"exp": expires_at}))).connect().await;
    assert_eq!(client.connected["expires"], true);
    client.subscribe("news").await;
    node.publish("news", json!("in time")).await;
    assert_eq!(client.expect_publication("news").await["data"], "in time");
    let closes = node.closes(3005).await;
    assert_eq!(client.expect_close().await.0, 3005);
    assert!(token::now() >= expires_at, "not before its time");
    node.publish("news", json!("too late")).await;
    let late = client.take_arrived();
    assert!(late.iter().all(|unit| unit.value["push"]["pub"]["data"] != "too late"), "{late:?}");
    assert_eq!(node.closes(3005).await, closes + 1.0);
    canary.goes_on(&node).await;
}

async fn row_40_a_refresh_with_the_token_of_another_user(shards: usize) {
    let node = setup(shards).start().await;
    let mut canary = Canary::of(&node).await;
    for user in ["43", "", "42 "] {
        let closes = node.closes(3500).await;
        let mut client = node.client().token(&valid("42")).connect().await;
        assert_eq!(client.closed_by("refresh", json!({"token": valid(user)})).await.0, 3500, "{user:?}");
        assert_eq!(node.closes(3500).await, closes + 1.0, "{user:?}");
        canary.goes_on(&node).await;
    }
}

/// On all nodes: see `revocation.rs`.
async fn row_41_a_token_that_is_revoked_while_its_session_lasts(shards: usize) {
    let node = setup(shards).start().await;
    let mut canary = Canary::of(&node).await;
    let stolen = with(&json!({"jti": "stolen"}));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = node.client().token(&stolen).connect().await;
        client.subscribe("news").await;
        clients.push(client);
    }
    let mut kept = node.client().token(&with(&json!({"jti": "kept"}))).connect().await;
    let closes = node.closes(3500).await;
    node.call("revoke_token", json!({"uid": "stolen"})).await;
    node.publish("news", json!("too late")).await;
    for client in &mut clients {
        assert_eq!(client.expect_close().await.0, 3500);
        let late = client.take_arrived();
        assert!(late.iter().all(|unit| unit.value["push"]["pub"].is_null()), "{late:?}");
    }
    assert_eq!(node.closes(3500).await, closes + 8.0);
    assert_eq!(node.metric_row("fanfare_gateway_barred_total", "met=\"session\"").await, 8.0);
    assert_eq!(kept.so_far().await, []);
    canary.goes_on(&node).await;
}

async fn row_42_dates_that_are_none(shards: usize) {
    let node = setup(shards).start().await;
    let mut canary = Canary::of(&node).await;
    for claim in ["exp", "nbf", "iat", "expire_at"] {
        for date in ["1e300", "\"4102444800\"", "-1", "true", "[1]", "{}", "18446744073709551616", "4102444800000"] {
            let body = format!(r#"{{"sub":"42","aud":"hub","iss":"shop","{claim}":{date}}}"#);
            is_invalid(&node, &format!("{claim} {date}"), &raw(r#"{"alg":"HS256","typ":"JWT"}"#, &body)).await;
        }
        canary.goes_on(&node).await;
    }
}
