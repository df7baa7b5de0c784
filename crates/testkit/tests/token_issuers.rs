//! Issuers whose keys are fetched: rotation, bad answers, and what a hostile token can make a node fetch.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::sync::Arc;
use std::time::Duration;

use fanfare_auth::{Algorithm, KeySource as _, RemoteIssuer, TokenError, Uses, Verifier};
use fanfare_key_sets::{Endpoint, KeySets, Options};
use fanfare_server::config::TokenIssuer;
use fanfare_testkit::patience::{eventually, within};
use fanfare_testkit::{KeyPair, KeyServer, Node, Page, Setup, Value, json, on_1_and_3_shards, token};
use futures_util::future::join_all;

on_1_and_3_shards!(
    tokens_of_a_provider_connect_subscribe_and_refresh,
    while_keys_cannot_be_had_a_client_is_told_to_come_back,
);

const AUDIENCE: &str = "hub";

/// Keys under their ids, as a server publishes them.
fn key_set(keys: &[(&str, &KeyPair)]) -> Value {
    json!({"keys": keys.iter().map(|(id, pair)| pair.jwk(id)).collect::<Vec<_>>()})
}

fn options(server: &KeyServer, name: &str) -> Options {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Options {
        name: name.to_owned(),
        issuer: server.url(""),
        jwks: Some(Endpoint::parse(&server.url("/keys")).unwrap()),
        tls: Arc::new(tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()),
        refresh_interval: Duration::from_secs(3_600),
        stale_ttl: Duration::from_secs(3_600),
        timeout: Duration::from_secs(5),
        metrics: fanfare_key_sets::Metrics::default(),
    }
}

fn verifier(options: Options) -> Verifier {
    let issuer = options.issuer.clone();
    let keys = Arc::new(KeySets::start(options).unwrap());
    let remote = RemoteIssuer { name: "id".to_owned(), issuer, audience: AUDIENCE.to_owned(), uses: Uses::Both, keys };
    Verifier::new(fanfare_auth::Options::default()).unwrap().with_issuers(vec![remote])
}

fn claims(server: &KeyServer) -> Value {
    json!({"sub": "42", "iss": server.url(""), "aud": AUDIENCE, "exp": token::now() + 600})
}

async fn judge(verifier: &Verifier, token: &str) -> Result<String, TokenError> {
    within("keys", verifier.prepare(token)).await;
    verifier.connection(token, token::now()).map(|claims| claims.user)
}

/// Lets time pass. A clock that stood still would run ahead to the next deadline while a socket is waited for.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

// What is fetched, and how often.

#[tokio::test]
async fn tokens_of_every_algorithm_are_judged_by_the_published_keys() {
    let server = KeyServer::start().await;
    let algorithms = [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
    let pairs = algorithms.map(|algorithm| (algorithm.name(), KeyPair::new(algorithm)));
    let published: Vec<(&str, &KeyPair)> = pairs.iter().map(|(name, pair)| (*name, pair)).collect();
    server.put("/keys", Page::Json(key_set(&published)));
    let verifier = verifier(options(&server, "id"));
    for (name, pair) in &pairs {
        assert_eq!(judge(&verifier, &pair.token(Some(name), &claims(&server))).await, Ok("42".to_owned()), "{name}");
        assert_eq!(judge(&verifier, &pair.token(None, &claims(&server))).await, Ok("42".to_owned()), "{name}");
    }
    assert_eq!(server.asked("/keys"), 1);
}

#[tokio::test]
async fn what_an_issuer_signs_for_others_is_refused() {
    let server = KeyServer::start().await;
    let pair = KeyPair::new(Algorithm::ES256);
    server.put("/keys", Page::Json(key_set(&[("a", &pair)])));
    let verifier = verifier(options(&server, "id"));
    let changed = |name: &str, value: Value| {
        let mut claims = claims(&server);
        claims[name] = value;
        pair.token(Some("a"), &claims)
    };
    for token in [
        changed("aud", json!("other")),
        changed("aud", Value::Null),
        changed("aud", json!([])),
        changed("exp", Value::Null),
        changed("exp", json!("soon")),
    ] {
        assert!(matches!(judge(&verifier, &token).await, Err(TokenError::Invalid(_))));
    }
    // Of another issuer, or of none, its keys are not asked at all.
    for issuer in [json!("https://id.example.com"), json!(server.url("/")), Value::Null] {
        assert!(judge(&verifier, &changed("iss", issuer)).await.is_err());
    }
    assert_eq!(judge(&verifier, &changed("aud", json!(["x", AUDIENCE]))).await, Ok("42".to_owned()));
    assert_eq!(server.asked_in_total(), 1);
}

#[tokio::test]
async fn a_rotated_key_is_fetched_when_a_token_names_it() {
    let server = KeyServer::start().await;
    let (old, new) = (KeyPair::new(Algorithm::ES256), KeyPair::new(Algorithm::ES256));
    server.put("/keys", Page::Json(key_set(&[("old", &old)])));
    let verifier = verifier(options(&server, "id"));
    assert!(judge(&verifier, &old.token(Some("old"), &claims(&server))).await.is_ok());
    server.put("/keys", Page::Json(key_set(&[("new", &new)])));
    let renewed = new.token(Some("new"), &claims(&server));
    pass(Duration::from_secs(10)).await;
    assert_eq!(judge(&verifier, &renewed).await, Err(TokenError::KeysUnavailable), "not again within the interval");
    pass(Duration::from_secs(21)).await;
    assert_eq!(judge(&verifier, &renewed).await, Ok("42".to_owned()));
    assert!(judge(&verifier, &old.token(Some("old"), &claims(&server))).await.is_err());
    assert_eq!(server.asked("/keys"), 2);
}

#[tokio::test]
async fn a_flood_of_unknown_key_ids_leads_to_one_fetch() {
    let server = KeyServer::start().await;
    let pair = KeyPair::new(Algorithm::ES256);
    server.put("/keys", Page::Json(key_set(&[("a", &pair)])));
    let verifier = Arc::new(verifier(options(&server, "id")));
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..200 {
        let token = KeyPair::new(Algorithm::EdDSA).token(Some(&format!("made-up-{number}")), &claims(&server));
        let verifier = Arc::clone(&verifier);
        asking.spawn(async move { judge(&verifier, &token).await });
    }
    while let Some(judged) = asking.join_next().await {
        assert!(judged.unwrap().is_err());
    }
    assert_eq!(server.asked("/keys"), 1);
}

#[tokio::test]
async fn no_url_is_made_of_what_a_token_says() {
    let (server, other) = (KeyServer::start().await, KeyServer::start().await);
    let pair = KeyPair::new(Algorithm::ES256);
    server.put("/keys", Page::Json(key_set(&[("a", &pair)])));
    other.put("/keys", Page::Json(key_set(&[("a", &pair)])));
    let verifier = verifier(options(&server, "id"));
    for issuer in [other.url(""), other.url("/keys"), format!("{}@{}", server.url(""), &other.url("")[7..])] {
        let mut claims = claims(&server);
        claims["iss"] = json!(issuer);
        for key_id in ["a", &other.url("/keys"), "../keys"] {
            assert!(judge(&verifier, &pair.token(Some(key_id), &claims)).await.is_err());
        }
    }
    assert_eq!(other.asked_in_total(), 0);
}

#[tokio::test]
async fn keys_that_have_not_changed_are_not_sent_again() {
    let server = KeyServer::start().await;
    let pair = KeyPair::new(Algorithm::ES256);
    server.put("/keys", Page::Tagged(key_set(&[("a", &pair)]), "v1"));
    let verifier = verifier(Options { stale_ttl: Duration::from_secs(7_000), ..options(&server, "id") });
    let token = pair.token(Some("a"), &claims(&server));
    assert!(judge(&verifier, &token).await.is_ok());
    for fetches in 2..5 {
        pass(Duration::from_secs(3_601)).await;
        eventually("a fetch", || async { (server.asked("/keys") >= fetches).then_some(()) }).await;
        eventually("its result", || async { judge(&verifier, &token).await.ok() }).await;
    }
}

// What goes wrong.

async fn check_bad(page: Page) {
    let server = KeyServer::start().await;
    let pair = KeyPair::new(Algorithm::ES256);
    server.put("/elsewhere", Page::Json(key_set(&[("a", &pair)])));
    let page = if let Page::Redirect(_) = page { Page::Redirect(server.url("/elsewhere")) } else { page };
    server.put("/keys", page.clone());
    let verifier = verifier(Options { timeout: Duration::from_millis(300), ..options(&server, "id") });
    let token = pair.token(Some("a"), &claims(&server));
    assert_eq!(judge(&verifier, &token).await, Err(TokenError::KeysUnavailable), "{page:?}");
    assert_eq!(server.asked("/elsewhere"), 0);
    // It is no wound that stays.
    server.put("/keys", Page::Json(key_set(&[("a", &pair)])));
    eventually("another try", || async { judge(&verifier, &token).await.ok() }).await;
}

#[tokio::test]
async fn bad_answers_are_bounded_and_got_over() {
    let too_many: Vec<Value> = (0..65).map(|number| json!({"kty": "OKP", "kid": number.to_string()})).collect();
    let pages = [
        Page::Huge(10 << 20, true),
        Page::Huge(10 << 20, false),
        Page::Silent,
        Page::Dripping,
        Page::HangUp,
        Page::Status(404),
        Page::Status(500),
        Page::Status(204),
        Page::Status(304),
        Page::Redirect(String::new()),
        Page::Json(json!([])),
        Page::Json(json!({"keys": []})),
        Page::Json(json!({"keys": too_many})),
        Page::Json(json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}]})),
    ];
    join_all(pages.map(check_bad)).await;
}

#[tokio::test]
async fn keys_that_cannot_be_renewed_are_used_for_a_bounded_time() {
    let server = KeyServer::start().await;
    let pair = KeyPair::new(Algorithm::ES256);
    server.put("/keys", Page::Json(key_set(&[("a", &pair)])));
    let stale_ttl = Duration::from_secs(7_200);
    let keys = KeySets::start(Options { stale_ttl, ..options(&server, "id") }).unwrap();
    within("keys", keys.ready(Some("a"))).await;
    server.put("/keys", Page::Status(503));
    pass(Duration::from_secs(7_100)).await;
    assert!(keys.held().keys.is_some_and(|keys| keys.has(Some("a"))));
    pass(Duration::from_secs(101)).await;
    assert!(keys.held().keys.is_none());
}

// Discovery.

fn discovering(server: &KeyServer) -> Options {
    Options { jwks: None, ..options(server, "id") }
}

const DOCUMENT: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn the_discovery_document_says_where_keys_are() {
    let server = KeyServer::start().await;
    let pair = KeyPair::new(Algorithm::RS256);
    server.put(DOCUMENT, Page::Json(json!({"issuer": server.url(""), "jwks_uri": server.url("/there")})));
    server.put("/there", Page::Json(key_set(&[("a", &pair)])));
    let verifier = verifier(discovering(&server));
    assert_eq!(judge(&verifier, &pair.token(Some("a"), &claims(&server))).await, Ok("42".to_owned()));
    assert_eq!((server.asked(DOCUMENT), server.asked("/there")), (1, 1));
}

#[tokio::test]
async fn a_discovery_document_that_is_not_the_issuers_is_refused() {
    let server = KeyServer::start().await;
    let pair = KeyPair::new(Algorithm::RS256);
    server.put("/there", Page::Json(key_set(&[("a", &pair)])));
    for document in [
        json!({"issuer": "https://other.example.com", "jwks_uri": server.url("/there")}),
        json!({"jwks_uri": server.url("/there")}),
        json!({"issuer": server.url("")}),
        json!({"issuer": server.url(""), "jwks_uri": "file:///etc/passwd"}),
        json!({"issuer": server.url(""), "jwks_uri": "http://a@127.0.0.1/"}),
        json!({"issuer": server.url(""), "jwks_uri": ["a"]}),
    ] {
        server.put(DOCUMENT, Page::Json(document));
        let verifier = verifier(discovering(&server));
        let token = pair.token(Some("a"), &claims(&server));
        assert_eq!(judge(&verifier, &token).await, Err(TokenError::KeysUnavailable));
    }
    assert_eq!(server.asked("/there"), 0);
}

/// A server with a certificate of its own, and what trusts it.
async fn encrypted(name: &str) -> (KeyServer, rustls::ClientConfig) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let server = KeyServer::start_tls(server.with_single_cert(vec![made.cert.der().clone()], key).unwrap()).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (server, client.with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test]
async fn keys_are_fetched_from_a_server_whose_certificate_is_trusted_and_no_other() {
    let pair = KeyPair::new(Algorithm::ES256);
    for (name, is_trusted, expected) in
        [("127.0.0.1", true, true), ("127.0.0.1", false, false), ("other.example", true, false)]
    {
        let (server, trusting) = encrypted(name).await;
        server.put("/keys", Page::Json(key_set(&[("a", &pair)])));
        let distrusting = options(&server, "id");
        let options = if is_trusted { Options { tls: Arc::new(trusting), ..distrusting } } else { distrusting };
        let judged = judge(&verifier(options), &pair.token(Some("a"), &claims(&server))).await;
        assert_eq!(judged.is_ok(), expected, "{name} {is_trusted}: {judged:?}");
    }
}

// Over real connections.

async fn node(shards: usize, server: &KeyServer, document: Page) -> Node {
    let issuer = TokenIssuer {
        name: "id".to_owned(),
        issuer: server.url(""),
        audience: AUDIENCE.to_owned(),
        jwks: None,
        ca_file: None,
        uses: Uses::Both,
        refresh_interval: Duration::from_secs(3_600),
        stale_ttl: Duration::from_secs(3_600),
    };
    server.put(DOCUMENT, document);
    let setup = Setup::new(shards).configure(|config| config.token_issuers = vec![issuer]);
    setup.sessions(|options| options.command_timeout = Duration::from_secs(1)).start().await
}

fn document(server: &KeyServer) -> Page {
    Page::Json(json!({"issuer": server.url(""), "jwks_uri": server.url("/keys")}))
}

async fn tokens_of_a_provider_connect_subscribe_and_refresh(shards: usize) {
    let server = KeyServer::start().await;
    let pair = KeyPair::new(Algorithm::RS256);
    server.put("/keys", Page::Json(key_set(&[("a", &pair)])));
    let node = node(shards, &server, document(&server)).await;
    let token = |change: Value| {
        let mut claims = claims(&server);
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        pair.token(Some("a"), &claims)
    };
    let mut client = node.client().token(&token(json!({}))).connect().await;
    let subscription = token(json!({"channel": "$room"}));
    client.call("subscribe", json!({"channel": "$room", "token": subscription})).await;
    assert_eq!(client.call("refresh", json!({"token": token(json!({}))})).await["expires"], true);
    let renewed = json!({"channel": "$room", "token": subscription});
    assert_eq!(client.call("sub_refresh", renewed).await["expires"], true);
    assert_eq!(node.client().token(&token(json!({"aud": "other"}))).closed().await.0, 3500);
    assert!(node.client().user("42").connect().await.connected["client"].is_string(), "auth.hmac_secret still counts");
}

async fn while_keys_cannot_be_had_a_client_is_told_to_come_back(shards: usize) {
    let server = KeyServer::start().await;
    let pair = KeyPair::new(Algorithm::ES256);
    server.put("/keys", Page::Status(503));
    let node = node(shards, &server, document(&server)).await;
    let token = pair.token(Some("a"), &claims(&server));
    let (_, refused) = node.client().token(&token).ask().await;
    assert_eq!((&refused["error"]["code"], &refused["error"]["temporary"]), (&json!(100), &json!(true)));
    server.put("/keys", Page::Json(key_set(&[("a", &pair)])));
    eventually("the keys", || async {
        let (_, reply) = node.client().token(&token).ask().await;
        reply["connect"]["client"].is_string().then_some(())
    })
    .await;
}

/// A fetch that does not end holds up the client whose token wants it, and nobody else on its shard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_keys_holds_up_no_other_session() {
    let server = KeyServer::start().await;
    let node = node(1, &server, Page::Silent).await;
    let mut waiting = node.client().open().await;
    let token = KeyPair::new(Algorithm::ES256).token(Some("a"), &claims(&server));
    waiting.command(json!({"connect": {"token": token}})).await;
    let mut other = node.client().user("7").connect().await;
    other.subscribe("news").await;
    node.publish("news", json!(1)).await;
    other.expect_publication("news").await;
    assert_eq!(waiting.expect_reply(1).await["error"]["code"], 100);
}
