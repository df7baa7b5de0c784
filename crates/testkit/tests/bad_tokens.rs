//! Hostile, foreign and stale tokens: rows 36 to 42 of the table of bad input. What makes a token bad is tried in full in
//! `crates/auth/tests`; this is what a node does then.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_testkit::bad_input::{Case, case};
use fanfare_testkit::{KeyServer, Setup, Stage, Value, json, on_1_and_3_shards, token};
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

/// A token that nobody can believe: at connect, at refresh and for a subscription.
async fn is_invalid(stage: &mut Stage, what: &str, token: &str, [connection, subscription]: [&Case; 2]) {
    let before = stage.counted(connection).await;
    assert_eq!(stage.node.client().token(token).closed().await.0, connection.close(), "{what}");
    let mut client = stage.node.client().token(&valid("42")).connect().await;
    let asked = json!({"channel": "$a", "token": token});
    stage.refuses(what, subscription, &mut client, ("subscribe", asked)).await;
    assert_eq!(client.closed_by("refresh", json!({"token": token})).await.0, connection.close(), "{what}");
    stage.moved(connection, before, 2.0).await;
    stage.goes_on(what).await;
}

async fn row_36_expired_early_foreign_and_forged_tokens(shards: usize) {
    let mut stage = Stage::set_up(setup(shards)).await;
    let now = token::now();
    for (case, other) in [(case(36, "expired"), json!({"exp": now - 1})), (case(36, "early"), json!({"nbf": now + 60}))]
    {
        let before = stage.counted(case).await;
        let (_, reply) = stage.node.client().token(&with(&other)).ask().await;
        assert_eq!(reply["error"]["code"], case.error(), "{reply}");
        stage.moved(case, before, 1.0).await;
        stage.goes_on(&case.name).await;
    }
    let late = case(36, "expired, at refresh");
    let before = stage.counted(late).await;
    let mut client = stage.node.client().token(&valid("42")).connect().await;
    assert_eq!(client.closed_by("refresh", json!({"token": with(&json!({"exp": now - 1}))})).await.0, late.close());
    stage.moved(late, before, 1.0).await;

    let answers = [case(36, "foreign or forged"), case(36, "foreign or forged, of a subscription")];
    let forged = |other| token::signed_with("another secret of thirty-two bytes, or more", &claims("42", &other));
    for (what, token) in [
        ("another audience", with(&json!({"aud": "other"}))),
        ("no audience", with(&json!({"aud": null}))),
        ("another issuer", with(&json!({"iss": "other"}))),
        ("another signature", forged(json!({}))),
        ("another signature, and expired", forged(json!({"exp": 1}))),
        ("half a signature", valid("42").split_at(valid("42").len() - 20).0.to_owned()),
    ] {
        is_invalid(&mut stage, what, &token, answers).await;
    }
    stage.is_clean().await;
}

async fn row_37_tokens_that_bring_their_own_key_or_algorithm(shards: usize) {
    let mut stage = Stage::set_up(setup(shards)).await;
    let answers = [case(37, "connection"), case(37, "subscription")];
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
        is_invalid(&mut stage, what, &token, answers).await;
    }
    assert_eq!(server.asked_in_total(), 0);
    let asked = tokio::time::timeout(Duration::from_millis(50), bait.accept()).await;
    assert!(asked.is_err(), "somebody asked for a key");
    stage.is_clean().await;
}

async fn row_38_the_channel_of_another_user(shards: usize) {
    let mut stage = Stage::set_up(setup(shards)).await;
    let (denied, foreign) = (case(38, "channel"), case(38, "subscription token"));
    let mut owner = stage.node.client().token(&valid("42")).connect().await;
    let mut other = stage.node.client().token(&valid("43")).connect().await;
    stage.refuses("the personal channel", denied, &mut other, ("subscribe", json!({"channel": "#42"}))).await;
    stage.node.publish("#42", json!("for 42 alone")).await;
    assert_eq!(owner.expect_publication("#42").await["data"], "for 42 alone");
    let heard = other.so_far().await;
    assert!(heard.iter().all(|unit| unit.value["push"]["pub"].is_null()), "{heard:?}");
    let of_owner = token::with_claims(&claims("42", &json!({"channel": "$private"})));
    let asked = json!({"channel": "$private", "token": of_owner});
    let before = stage.counted(foreign).await;
    assert_eq!(other.closed_by("subscribe", asked.clone()).await.0, foreign.close());
    stage.moved(foreign, before, 1.0).await;
    owner.call("subscribe", asked).await;
    owner.close().await;
    stage.is_clean().await;
}

async fn row_39_a_token_that_expires_while_its_session_lasts(shards: usize) {
    let setup = setup(shards).sessions(|options| options.expired_close_delay = Duration::from_millis(500));
    let mut stage = Stage::set_up(setup).await;
    let case = case(39, "expiry");
    let expires_at = token::now() + 2;
    let mut client = stage.node.client().token(&with(&json!({"exp": expires_at}))).connect().await;
    assert_eq!(client.connected["expires"], true);
    client.subscribe("news").await;
    stage.node.publish("news", json!("in time")).await;
    assert_eq!(client.expect_publication("news").await["data"], "in time");
    let before = stage.counted(case).await;
    assert_eq!(client.expect_close().await.0, case.close());
    assert!(token::now() >= expires_at, "not before its time");
    stage.node.publish("news", json!("too late")).await;
    let late = client.take_arrived();
    assert!(late.iter().all(|unit| unit.value["push"]["pub"]["data"] != "too late"), "{late:?}");
    stage.moved(case, before, 1.0).await;
    stage.goes_on("the expiry").await;
    stage.is_clean().await;
}

async fn row_40_a_refresh_with_the_token_of_another_user(shards: usize) {
    let mut stage = Stage::set_up(setup(shards)).await;
    let case = case(40, "refresh");
    for user in ["43", "", "42 "] {
        let before = stage.counted(case).await;
        let mut client = stage.node.client().token(&valid("42")).connect().await;
        assert_eq!(client.closed_by("refresh", json!({"token": valid(user)})).await.0, case.close(), "{user:?}");
        stage.moved(case, before, 1.0).await;
        stage.goes_on(user).await;
    }
    stage.is_clean().await;
}

/// On all nodes: see `revocation.rs`.
async fn row_41_a_token_that_is_revoked_while_its_session_lasts(shards: usize) {
    let mut stage = Stage::set_up(setup(shards)).await;
    for (case, method, request, bad) in [
        (case(41, "token"), "revoke_token", json!({"uid": "stolen"}), with(&json!({"jti": "stolen"}))),
        (case(41, "user"), "block_user", json!({"user": "43"}), valid("43")),
    ] {
        let before = stage.counted(case).await;
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = stage.node.client().token(&bad).connect().await;
            client.subscribe("news").await;
            clients.push(client);
        }
        let mut kept = stage.node.client().token(&with(&json!({"jti": "kept"}))).connect().await;
        stage.node.call(method, request).await;
        stage.node.publish("news", json!("too late")).await;
        for client in &mut clients {
            assert_eq!(client.expect_close().await.0, case.close());
            let late = client.take_arrived();
            assert!(late.iter().all(|unit| unit.value["push"]["pub"].is_null()), "{late:?}");
        }
        stage.moved(case, before, 8.0).await;
        assert_eq!(stage.node.client().token(&bad).closed().await.0, case.close());
        assert_eq!(kept.so_far().await, []);
        stage.goes_on(method).await;
    }
    stage.is_clean().await;
}

async fn row_42_dates_that_are_none(shards: usize) {
    let mut stage = Stage::set_up(setup(shards)).await;
    let answers = [case(42, "connection"), case(42, "subscription")];
    for claim in ["exp", "nbf", "iat", "expire_at"] {
        for date in ["1e300", "\"4102444800\"", "-1", "true", "[1]", "{}", "18446744073709551616", "4102444800000"] {
            let body = format!(r#"{{"sub":"42","aud":"hub","iss":"shop","{claim}":{date}}}"#);
            let token = raw(r#"{"alg":"HS256","typ":"JWT"}"#, &body);
            is_invalid(&mut stage, &format!("{claim} {date}"), &token, answers).await;
        }
    }
    stage.is_clean().await;
}
