//! The user's own backend is asked: what it is told, what its answers do, and what happens when it does not behave.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_auth::{Operation, Pattern, Rules, Secret};
use fanfare_gateway::Hook;
use fanfare_hooks::SigningKey;
use fanfare_testkit::bad_input::case;
use fanfare_testkit::patience::{PATIENCE, eventually};
use fanfare_testkit::{
    Asked, Client, HookAnswer, HookServer, Http, Node, Setup, Value, free_address, json, on_1_and_3_shards, token,
};
use tokio::net::TcpListener;

on_1_and_3_shards!(
    who_connects_is_what_the_backend_says,
    a_token_is_judged_without_the_backend,
    a_backend_that_knows_nobody_lets_nobody_in,
    headers_that_are_let_through_are_passed_on,
    a_subscription_is_granted_or_refused,
    names_and_tokens_come_before_the_subscribe_hook,
    a_publication_is_changed_or_refused,
    what_is_no_json_travels_as_base64,
    a_procedure_is_called,
    procedures_of_one_connection_are_called_one_after_another,
    the_backend_says_whether_a_connection_goes_on,
    the_backend_says_whether_a_subscription_goes_on,
    a_connection_closed_while_the_backend_was_asked_stays_closed,
    a_drain_does_not_wait_for_a_silent_backend,
    defect_never_was_not_heard_while_the_backend_was_silent,
);

/// A backend, and a setup whose clients without a token it names.
async fn connecting(shards: usize) -> (HookServer, Setup) {
    let backend = HookServer::start().await;
    let setup = Setup::new(shards).sessions(|options| options.allow_anonymous = false).hook(
        Hook::Connect,
        &backend.url("/connect"),
        |_| {},
    );
    (backend, setup)
}

#[expect(clippy::needless_pass_by_value, reason = "what `json!` makes is given as it is")]
fn result(value: Value) -> HookAnswer {
    HookAnswer::Json(json!({ "result": value }))
}

async fn calls(node: &Node, hook: &str, outcome: &str) -> f64 {
    node.metric_row("fanfare_hook_calls_total", &format!("hook=\"{hook}\",outcome=\"{outcome}\"")).await
}

async fn who_connects_is_what_the_backend_says(shards: usize) {
    let (backend, setup) = connecting(shards).await;
    let node = setup.start().await;
    let answer = json!({"user": "42", "info": {"name": "Ann"}, "data": {"hello": 1}, "channels": ["news"]});
    backend.put("/connect", result(answer));
    let client = node
        .client()
        .saying("data", json!({"room": 7}))
        .saying("name", json!("js"))
        .saying("version", json!("5.7.1"))
        .connect()
        .await;
    assert_eq!(client.connected["data"], json!({"hello": 1}));
    assert_eq!(client.connected["subs"]["news"]["positioned"], json!(true), "{}", client.connected);
    let presence = node.call("presence", json!({"channel": "news"})).await;
    assert_eq!(presence["presence"][&client.id]["user"], "42");
    assert_eq!(presence["presence"][&client.id]["conn_info"], json!({"name": "Ann"}));
    let asked = backend.last("/connect");
    let golden = format!(
        r#"{{"client":"{}","transport":"websocket","protocol":"json","encoding":"json","name":"js","version":"5.7.1","data":{{"room":7}}}}"#,
        client.id
    );
    assert_eq!(asked.body, golden);
    assert_eq!(asked.headers["content-type"], "application/json");
    assert_eq!(calls(&node, "connect", "ok").await, 1.0);
}

async fn a_token_is_judged_without_the_backend(shards: usize) {
    let (backend, setup) = connecting(shards).await;
    let node = setup.start().await;
    node.client().user("42").connect().await;
    assert_eq!(node.client().token("no token").closed().await.0, 3500);
    assert!(backend.asked("/connect").is_empty());
}

async fn a_backend_that_knows_nobody_lets_nobody_in(shards: usize) {
    let (backend, setup) = connecting(shards).await;
    let node = setup.start().await;
    for answer in [json!({}), json!({"result": {}}), json!({"result": null})] {
        backend.put("/connect", HookAnswer::Json(answer.clone()));
        assert_eq!(node.client().closed().await.0, 3501, "{answer}");
    }
    backend.put("/connect", result(json!({"user": ""})));
    node.client().connect().await;
    backend.put("/connect", HookAnswer::Json(json!({"error": {"code": 1000, "message": "pay first"}})));
    let (mut client, reply) = node.client().ask().await;
    assert_eq!(reply["error"], json!({"code": 1000, "message": "pay first"}));
    assert_eq!(client.closed_by("rpc", json!({})).await.0, 3501, "it takes no further command");
    backend.put("/connect", HookAnswer::Json(json!({"disconnect": {"code": 4501, "reason": "banned"}})));
    assert_eq!(node.client().closed().await, (4501, "banned".to_owned()));
    assert_eq!(calls(&node, "connect", "refused").await, 5.0);
}

async fn headers_that_are_let_through_are_passed_on(shards: usize) {
    let backend = HookServer::start().await;
    let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
    let node = Setup::new(shards)
        .hook(Hook::Connect, &backend.url("/connect"), |hook| {
            hook.pass_headers = names(&["cookie", "x-tenant"]);
            hook.headers = vec![("x-hub".parse().unwrap(), "blue".parse().unwrap())];
        })
        .hook(Hook::Rpc, &backend.url("/rpc"), |hook| hook.pass_headers = names(&["x-tenant"]))
        .start()
        .await;
    backend.put("/connect", result(json!({"user": "42"})));
    let emulated =
        json!({"x-tenant": "forged", "Cookie": "b=2", "x-other": "y", "x-hub": "green", "x-bad": "a\r\nb: c"});
    let mut client = node
        .client()
        .header("x-tenant", "a")
        .header("authorization", "secret")
        .saying("headers", emulated)
        .connect()
        .await;
    let asked = backend.last("/connect");
    assert_eq!(asked.headers["x-tenant"], "a", "what was really sent counts");
    assert_eq!(asked.headers["cookie"], "b=2", "and what was not sent may be said");
    assert_eq!(asked.headers["x-hub"], "blue");
    for name in ["authorization", "x-other", "x-bad", "sec-websocket-key"] {
        assert!(!asked.headers.contains_key(name), "{name}: {asked:?}");
    }
    client.call("rpc", json!({"method": "m"})).await;
    let asked = backend.last("/rpc");
    assert_eq!((asked.headers.get("x-tenant").unwrap().as_str(), asked.headers.get("cookie")), ("a", None));
    let large = node.client().header("cookie", &"c".repeat(9_000)).try_open().await;
    assert!(large.is_err_and(|error| error.to_string().contains("431")));
}

/// A node whose namespace `asks` asks the backend about everything, and a user's connection to it.
async fn asking(shards: usize) -> (HookServer, Node, Client) {
    let backend = HookServer::start().await;
    let node = asking_of(&backend, shards).start().await;
    let client = node.client().user("42").connect().await;
    (backend, node, client)
}

fn asking_of(backend: &HookServer, shards: usize) -> Setup {
    let hooks = [Hook::Subscribe, Hook::SubRefresh, Hook::Publish, Hook::Rpc];
    let setup = Setup::new(shards).namespace("asks", |options| {
        options.asks_backend.subscribe = true;
        options.asks_backend.sub_refresh = true;
        options.asks_backend.publish = true;
    });
    hooks.into_iter().fold(setup, |setup, hook| setup.hook(hook, &backend.url(&format!("/{}", hook.name())), |_| {}))
}

fn error(code: u32) -> HookAnswer {
    HookAnswer::Json(json!({"error": {"code": code, "message": "no"}}))
}

async fn a_subscription_is_granted_or_refused(shards: usize) {
    let (backend, node, mut client) = asking(shards).await;
    backend.put("/subscribe", result(json!({"info": {"seat": 7}, "data": {"topic": "x"}, "unknown": [1]})));
    let subscribed = client.call("subscribe", json!({"channel": "asks:a", "data": {"lang": "en"}})).await;
    assert_eq!(subscribed["data"], json!({"topic": "x"}));
    let golden = format!(
        r#"{{"client":"{}","transport":"websocket","protocol":"json","encoding":"json","user":"42","channel":"asks:a","data":{{"lang":"en"}}}}"#,
        client.id
    );
    assert_eq!(backend.last("/subscribe").body, golden);
    let presence = node.call("presence", json!({"channel": "asks:a"})).await;
    assert_eq!(presence["presence"][&client.id]["chan_info"], json!({"seat": 7}));
    backend.put("/subscribe", error(1403));
    assert_eq!(client.refused("subscribe", json!({"channel": "asks:b"})).await, 1403);
    backend.put("/subscribe", result(json!({"expire_at": 1})));
    assert_eq!(client.refused("subscribe", json!({"channel": "asks:b"})).await, 110);
    backend.put("/subscribe", HookAnswer::Json(json!({"disconnect": {"code": 4001, "reason": "later"}})));
    assert_eq!(client.closed_by("subscribe", json!({"channel": "asks:b"})).await, (4001, "later".to_owned()));
}

/// Neither an open namespace nor a rule of a role counts where the backend is asked.
async fn names_and_tokens_come_before_the_subscribe_hook(shards: usize) {
    let backend = HookServer::start().await;
    backend.put("/subscribe", error(1403));
    let mut rules = Rules::default();
    rules.allow(Operation::Subscribe, [Pattern::parse("asks:**").unwrap()]);
    let roles = [("editor".to_owned(), Arc::new(rules))].into();
    let node = asking_of(&backend, shards).configure(|config| config.auth.roles.rules = roles).start().await;
    let claims = token::with_claims(&json!({"sub": "42", "roles": ["editor"]}));
    let requested = node.client().token(&claims).saying("subs", json!({"asks:b": {}})).connect().await;
    assert_eq!(requested.connected["subs"], Value::Null, "nobody is attached where the backend is to be asked");
    let mut client = node.client().token(&claims).connect().await;
    assert_eq!(client.refused("subscribe", json!({"channel": "asks:a"})).await, 1403);
    assert_eq!(backend.asked("/subscribe").len(), 1);
    assert_eq!(client.refused("subscribe", json!({"channel": "$asks:a"})).await, 103);
    assert_eq!(client.refused("subscribe", json!({"channel": "asks:a#7"})).await, 103);
    client.subscribe("asks:a#42").await;
    let shown = token::subscription("42", "$asks:a");
    client.call("subscribe", json!({"channel": "$asks:a", "token": shown})).await;
    assert_eq!(backend.asked("/subscribe").len(), 1, "all of these were decided without the backend");
}

async fn a_publication_is_changed_or_refused(shards: usize) {
    let (backend, node, mut client) = asking(shards).await;
    backend.put("/subscribe", result(json!({})));
    client.subscribe("asks:a").await;
    client.call("publish", json!({"channel": "asks:a", "data": {"n": 1}})).await;
    assert_eq!(client.expect_publication("asks:a").await["data"], json!({"n": 1}));
    let golden = format!(
        r#"{{"client":"{}","transport":"websocket","protocol":"json","encoding":"json","user":"42","channel":"asks:a","data":{{"n":1}}}}"#,
        client.id
    );
    assert_eq!(backend.last("/publish").body, golden);
    backend.put("/publish", result(json!({"data": {"n": 2}, "tags": {"k": "v"}, "skip_history": true})));
    client.call("publish", json!({"channel": "asks:a", "data": {"n": 1}})).await;
    let publication = client.expect_publication("asks:a").await;
    assert_eq!((&publication["data"], &publication["tags"]), (&json!({"n": 2}), &json!({"k": "v"})));
    assert_eq!((&publication["offset"], &publication["info"]["user"]), (&Value::Null, &json!("42")));
    backend.put("/publish", result(json!({"idempotency_key": "k"})));
    client.call("publish", json!({"channel": "asks:a", "data": {"n": 3}})).await;
    client.call("publish", json!({"channel": "asks:a", "data": {"n": 4}})).await;
    assert_eq!(client.expect_publication("asks:a").await["data"], json!({"n": 3}));
    backend.put("/publish", error(1400));
    assert_eq!(client.refused("publish", json!({"channel": "asks:a", "data": {}})).await, 1400);
    backend.put("/publish", result(json!({"data": "x".repeat(70_000)})));
    assert_eq!(client.refused("publish", json!({"channel": "asks:a", "data": {}})).await, 100);
    let asked = backend.asked("/publish").len();
    assert_eq!(client.refused("publish", json!({"channel": "asks:a"})).await, 107);
    assert_eq!(backend.asked("/publish").len(), asked, "a payload that is none is refused before");
    let history = node.call("history", json!({"channel": "asks:a", "limit": 10})).await;
    let data: Vec<_> = history["publications"].as_array().unwrap().iter().map(|one| one["data"].clone()).collect();
    assert_eq!(data, [json!({"n": 1}), json!({"n": 3})]);
    // A backend publishes without being asked.
    node.publish("asks:a", json!({"n": 5})).await;
    assert_eq!(client.expect_publication("asks:a").await["data"], json!({"n": 5}));
}

async fn what_is_no_json_travels_as_base64(shards: usize) {
    let (backend, node, mut json_client) = asking(shards).await;
    let mut client = node.client().protobuf().user("7").connect().await;
    backend.put("/rpc", result(json!({"b64data": "/wA="})));
    let command = fanfare_protocol::Command {
        id: 77,
        rpc: Some(fanfare_protocol::RpcRequest { data: vec![0xff, 0x00].into(), method: "echo".to_owned() }),
        ..Default::default()
    };
    let mut frame = Vec::new();
    fanfare_protocol::Encoding::Protobuf.encode_command(&command, &mut frame);
    client.send_frame(&frame).await;
    client.expect_reply(77).await;
    let asked = backend.last("/rpc").json();
    assert_eq!(
        (&asked["encoding"], &asked["b64data"], &asked["protocol"]),
        (&json!("binary"), &json!("/wA="), &json!("protobuf"))
    );
    assert_eq!(json_client.refused("rpc", json!({"method": "echo"})).await, 100, "a client of JSON cannot be told");
}

async fn a_procedure_is_called(shards: usize) {
    let (backend, node, mut client) = asking(shards).await;
    backend.put("/rpc", result(json!({"data": {"sum": 3}})));
    let called = client.call("rpc", json!({"method": "add", "data": [1, 2]})).await;
    assert_eq!(called, json!({"data": {"sum": 3}}));
    let golden = format!(
        r#"{{"client":"{}","transport":"websocket","protocol":"json","encoding":"json","user":"42","method":"add","data":[1,2]}}"#,
        client.id
    );
    assert_eq!(backend.last("/rpc").body, golden);
    let with_meta = token::with_claims(&json!({"sub": "7", "meta": {"tenant": 5}}));
    node.client().token(&with_meta).connect().await.call("rpc", json!({"method": "add"})).await;
    assert_eq!(backend.last("/rpc").json()["meta"], json!({"tenant": 5}));
    backend.put("/rpc", HookAnswer::Json(json!({"error": {"code": 1001, "message": "busy", "temporary": true}})));
    let reply = client.ask(json!({"rpc": {"method": "add"}})).await;
    assert_eq!(reply["error"], json!({"code": 1001, "message": "busy", "temporary": true}));
    assert_eq!(client.refused("rpc", json!({"method": "m".repeat(256)})).await, 107);
    assert_eq!(calls(&node, "rpc", "ok").await, 2.0);
    let other = Setup::new(shards).start().await;
    assert_eq!(other.client().connect().await.refused("rpc", json!({"method": "add"})).await, 108);
}

/// Row 64: as many as one likes, never awaited; one is under way.
async fn procedures_of_one_connection_are_called_one_after_another(shards: usize) {
    let (backend, node, mut client) = asking(shards).await;
    backend.put("/rpc", HookAnswer::Late(Duration::from_millis(1), json!({"result": {}})));
    let commands: Vec<Value> = (1..=1_000).map(|id| json!({"id": id, "rpc": {"method": "m"}})).collect();
    for frame in commands.chunks(100) {
        client.send(frame).await;
    }
    client.expect_reply(1_000).await;
    assert_eq!(backend.asked("/rpc").len(), 1_000);
    case(64, "procedures").is_fine();
    assert_eq!(backend.busiest(), 1);
    assert_eq!(calls(&node, "rpc", "overloaded").await, 0.0);
}

/// A node whose connections last until the backend is asked, with this grace.
async fn expiring(shards: usize, grace: Duration) -> (HookServer, Node) {
    let backend = HookServer::start().await;
    let node = asking_of(&backend, shards)
        .sessions(move |options| options.expired_close_delay = grace)
        .hook(Hook::Connect, &backend.url("/connect"), |_| {})
        .hook(Hook::Refresh, &backend.url("/refresh"), |_| {})
        .start()
        .await;
    (backend, node)
}

async fn asked_times(backend: &HookServer, path: &str, times: usize) {
    let what = format!("{path} to be asked {times} times");
    eventually(&what, || async { (backend.asked(path).len() >= times).then_some(()) }).await;
}

async fn the_backend_says_whether_a_connection_goes_on(shards: usize) {
    let (backend, node) = expiring(shards, Duration::ZERO).await;
    backend.put("/connect", HookAnswer::Lasting(2, json!({"user": "42", "meta": {"m": 1}})));
    backend.once("/refresh", HookAnswer::Lasting(2, json!({"info": {"fresh": true}, "meta": {"m": 2}})));
    backend.put("/refresh", result(json!({"expired": true})));
    let mut client = node.client().connect().await;
    assert_eq!(client.connected["expires"], Value::Null, "the client has nothing to do: {}", client.connected);
    asked_times(&backend, "/refresh", 1).await;
    let asked = backend.asked("/refresh")[0].json();
    assert_eq!((&asked["user"], &asked["client"], &asked["meta"]), (&json!("42"), &json!(client.id), &json!({"m": 1})));
    assert_eq!(client.expect_close().await.0, 3005);
    assert_eq!(backend.asked("/refresh").len(), 2);
    assert_eq!(backend.last("/refresh").json()["meta"], json!({"m": 2}));
    backend.put("/connect", result(json!({"user": "42"})));
    let mut client = node.client().connect().await;
    assert_eq!(client.closed_by("refresh", json!({"token": token::connection("42")})).await.0, 3501);
}

async fn the_backend_says_whether_a_subscription_goes_on(shards: usize) {
    let (backend, node) = expiring(shards, Duration::ZERO).await;
    backend.put("/connect", result(json!({"user": "42"})));
    backend.put("/subscribe", HookAnswer::Lasting(2, json!({})));
    backend.once("/sub_refresh", HookAnswer::Lasting(3, json!({"info": {"fresh": true}})));
    backend.put("/sub_refresh", result(json!({"expired": true})));
    let mut client = node.client().connect().await;
    let subscribed = client.subscribe("asks:a").await;
    assert_eq!(subscribed["expires"], Value::Null, "{subscribed}");
    asked_times(&backend, "/sub_refresh", 1).await;
    let fresh = || async {
        let presence = node.call("presence", json!({"channel": "asks:a"})).await;
        (presence["presence"][&client.id]["chan_info"] == json!({"fresh": true})).then_some(())
    };
    eventually("the new info to be seen", fresh).await;
    assert_eq!(client.expect_push().await["unsubscribe"]["code"], 2501);
    assert_eq!(backend.last("/sub_refresh").json()["channel"], "asks:a");
    backend.put("/subscribe", result(json!({})));
    client.subscribe("asks:a").await;
    let shown = token::subscription("42", "asks:a");
    assert_eq!(client.closed_by("sub_refresh", json!({"channel": "asks:a", "token": shown})).await.0, 3501);
}

/// What the API says while the backend is asked is the later word.
async fn defect_never_was_not_heard_while_the_backend_was_silent(shards: usize) {
    let (backend, node) = expiring(shards, Duration::from_secs(4)).await;
    backend.put("/connect", HookAnswer::Lasting(2, json!({"user": "42"})));
    backend.put("/refresh", HookAnswer::Status(500));
    let mut client = node.client().connect().await;
    asked_times(&backend, "/refresh", 1).await;
    node.call("refresh", json!({"user": "42"})).await;
    assert!(client.expect_push().await["refresh"].is_object());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(client.refused("rpc", json!({"method": "m".repeat(300)})).await, 107, "it goes on");
}

/// Until then nobody was identified, and nobody may be afterwards.
async fn a_connection_closed_while_the_backend_was_asked_stays_closed(shards: usize) {
    let (backend, setup) = connecting(shards).await;
    let setup = setup.sessions(|options| options.connect_timeout = Duration::from_secs(2));
    let setup = setup.hook(Hook::Connect, &backend.url("/connect"), |hook| hook.timeout = Duration::from_secs(10));
    let node = setup.start().await;
    backend.put(
        "/connect",
        HookAnswer::Late(Duration::from_secs(4), json!({"result": {"user": "42", "channels": ["news"]}})),
    );
    let mut client = node.client().open().await;
    client.command(json!({"connect": {}})).await;
    assert_eq!(client.expect_close().await.0, 3502);
    eventually("the backend's answer", || async { (calls(&node, "connect", "ok").await == 1.0).then_some(()) }).await;
    node.metric_becomes("fanfare_gateway_sessions", 0.0).await;
    assert_eq!(node.call("presence", json!({"channel": "news"})).await["presence"], json!({}));
    assert_eq!(node.metric("fanfare_gateway_subscriptions").await, 0.0);
}

async fn a_drain_does_not_wait_for_a_silent_backend(shards: usize) {
    let (backend, node, mut client) = asking(shards).await;
    backend.put("/rpc", HookAnswer::Silent);
    client.command(json!({"rpc": {"method": "m"}})).await;
    asked_times(&backend, "/rpc", 1).await;
    let began = Instant::now();
    node.drain(Duration::ZERO).await;
    assert!(began.elapsed() < Duration::from_secs(5), "its own limits end a question: {:?}", began.elapsed());
    assert_eq!(client.expect_close().await.0, 3001);
    node.stop().await;
}

/// Two secrets as the standard writes them.
const SECRETS: [&str; 2] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"];

/// What the standard says, done here once more.
fn is_signed(asked: &Asked, secret: &str) -> bool {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
    let (id, timestamp) = (&asked.headers["webhook-id"], &asked.headers["webhook-timestamp"]);
    let signed =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), format!("{id}.{timestamp}.{}", asked.body).as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(signed));
    asked.headers["webhook-signature"].split(' ').any(|signature| signature == expected)
}

#[tokio::test]
async fn questions_are_signed_with_every_secret() {
    let backend = HookServer::start().await;
    let keys = SECRETS.map(|secret| SigningKey::parse(&Secret::new(secret.to_owned())).unwrap());
    let node =
        Setup::new(1).hook(Hook::Rpc, &backend.url("/rpc"), |hook| hook.signing_keys = keys.to_vec()).start().await;
    let mut client = node.client().connect().await;
    client.call("rpc", json!({"method": "m", "data": {"text": "grüße"}})).await;
    client.call("rpc", json!({"method": "m"})).await;
    let asked = backend.asked("/rpc");
    for asked in &asked {
        assert!(SECRETS.iter().all(|secret| is_signed(asked, secret)), "{asked:?}");
        assert!(!is_signed(asked, "whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"));
        assert!(!is_signed(&Asked { body: asked.body.replace('m', "n"), ..asked.clone() }, SECRETS[0]));
        let timestamp: u64 = asked.headers["webhook-timestamp"].parse().unwrap();
        assert!(token::now().abs_diff(timestamp) < 30);
    }
    assert_ne!(asked[0].headers["webhook-id"], asked[1].headers["webhook-id"]);
    assert_eq!(backend.connections(), 1, "a connection is used again");
}

/// A session that has nothing to do with hooks and must not notice.
struct Canary {
    client: Client,
    number: u32,
}

impl Canary {
    async fn of(node: &Node) -> Self {
        let mut client = node.client().user("canary").connect().await;
        client.subscribe("canary").await;
        Self { client, number: 0 }
    }

    async fn sings(&mut self, node: &Node) {
        self.number += 1;
        node.publish("canary", json!(self.number)).await;
        assert_eq!(self.client.expect_publication("canary").await["data"], json!(self.number));
    }
}

/// Row 118: whatever the backend does, a question ends in time, grants nothing, and troubles nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_misbehaves_grants_nothing() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = HookServer::start().await;
    let to = |url: String| HookAnswer::Redirect(url);
    let text = |text: &str| HookAnswer::Text(text.to_owned());
    let deep = format!("{{\"result\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let cases = [
        (case(118, "slow"), HookAnswer::Silent),
        (case(118, "failing"), HookAnswer::Status(500)),
        (case(118, "failing"), HookAnswer::Status(404)),
        (case(118, "failing"), HookAnswer::Status(204)),
        (case(118, "elsewhere"), to("http://169.254.169.254/latest/meta-data".to_owned())),
        (case(118, "nearby"), to(format!("http://{}/", elsewhere.local_addr().unwrap()))),
        (case(118, "gigabyte"), HookAnswer::Huge(1 << 30)),
        (case(118, "hangs up"), HookAnswer::HangUp),
        (case(118, "garbage"), text("<html>")),
        (case(118, "garbage"), text("")),
        (case(118, "garbage"), text("[{}]")),
        (case(118, "too deep"), text(&deep)),
        (case(118, "no code of its own"), error(103)),
        (case(118, "no code of its own"), HookAnswer::Json(json!({"disconnect": {"code": 3500}}))),
        (case(118, "no result"), HookAnswer::Json(json!({}))),
    ];
    for (number, (case, answer)) in cases.into_iter().enumerate() {
        let path = format!("/{number}");
        // Only silence is judged by the time that it takes.
        let timeout = Duration::from_millis(if matches!(answer, HookAnswer::Silent) { 500 } else { 4_000 });
        let node =
            asking_of(&backend, 1).hook(Hook::Rpc, &backend.url(&path), |hook| hook.timeout = timeout).start().await;
        let mut canary = Canary::of(&node).await;
        backend.put(&path, answer.clone());
        let mut client = node.client().connect().await;
        let id = client.command(json!({"rpc": {"method": "m"}})).await;
        canary.sings(&node).await;
        let reply = client.expect_reply(id).await;
        assert_eq!((&reply["error"]["code"], &reply["error"]["temporary"]), (&json!(case.error()), &json!(true)));
        assert_eq!(calls(&node, "rpc", case.reason()).await, 1.0, "{answer:?}");
        assert_eq!(backend.asked(&path).len(), 1, "{answer:?}: it may not be called twice");
        canary.sings(&node).await;
    }
    let followed = tokio::time::timeout(Duration::from_millis(100), elsewhere.accept()).await;
    assert!(followed.is_err(), "somebody followed a redirect");
    assert!(backend.bytes_taken() < 16 << 20, "{} bytes of the gigabyte were taken", backend.bytes_taken());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_no_harm_is_asked_again_under_the_same_id() {
    let backend = HookServer::start().await;
    let node = asking_of(&backend, 1).hook(Hook::Connect, &backend.url("/connect"), |_| {}).start().await;
    backend.put("/connect", result(json!({"user": "42"})));
    for answer in [HookAnswer::Status(503), HookAnswer::HangUp] {
        backend.once("/connect", answer);
    }
    let mut client = node.client().connect().await;
    let ids: Vec<_> = backend.asked("/connect").iter().map(|asked| asked.headers["webhook-id"].clone()).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0] && id.starts_with("msg_")), "{ids:?}");
    assert_eq!(node.metric("fanfare_hook_retries_total").await, 2.0);
    backend.put("/connect", HookAnswer::Status(500));
    let (_, reply) = node.client().ask().await;
    assert_eq!(reply["error"]["code"], 100);
    assert_eq!(backend.asked("/connect").len(), 4, "500 is an answer");
    for (command, request) in [("publish", json!({"channel": "asks:a", "data": {}})), ("rpc", json!({"method": "m"}))] {
        let path = format!("/{command}");
        for (times, answer) in [(1, HookAnswer::Status(503)), (2, HookAnswer::HangUp)] {
            backend.put(&path, answer);
            assert_eq!(client.refused(command, request.clone()).await, 100);
            assert_eq!(backend.asked(&path).len(), times, "{command} may have been carried out");
        }
    }
    backend.once("/subscribe", HookAnswer::Status(502));
    client.subscribe("asks:a").await;
    assert_eq!(backend.asked("/subscribe").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_down_is_left_alone_until_it_is_up() {
    let backend = HookServer::start().await;
    let (address, url) = (backend.address(), backend.url("/rpc"));
    drop(backend);
    let node = Setup::new(1).hook(Hook::Rpc, &url, |_| {}).start().await;
    let (mut client, mut canary) = (node.client().connect().await, Canary::of(&node).await);
    let mut refused = 0;
    let case = case(118, "down");
    while calls(&node, "rpc", case.reason()).await == 0.0 {
        assert_eq!(client.refused("rpc", json!({"method": "m"})).await, case.error());
        refused += 1;
        assert!(refused < 20);
    }
    assert_eq!(node.metric("fanfare_hook_breaker_state").await, 2.0);
    canary.sings(&node).await;
    let backend = HookServer::start_at(address).await;
    let until = Instant::now() + PATIENCE;
    while client.ask(json!({"rpc": {"method": "m"}})).await.get("rpc").is_none() {
        assert!(Instant::now() < until, "the backend is never asked again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(node.metric("fanfare_hook_breaker_state").await, 0.0);
    assert_eq!(backend.asked("/rpc").len(), 1);
    canary.sings(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_backend_holds_so_many_questions_and_no_more() {
    let backend = HookServer::start().await;
    let setup = Setup::new(2).hook(Hook::Rpc, &backend.url("/rpc"), |hook| {
        hook.in_flight_max = 3;
        hook.timeout = Duration::from_secs(10);
    });
    let node = setup.sessions(|options| options.command_timeout = Duration::from_secs(12)).start().await;
    // What is refused meanwhile is so before the answers.
    backend.put("/rpc", HookAnswer::Late(Duration::from_secs(4), json!({"result": {}})));
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(node.client().connect().await);
    }
    for client in &mut clients[..3] {
        client.command(json!({"rpc": {"method": "m"}})).await;
    }
    asked_times(&backend, "/rpc", 3).await;
    assert_eq!(node.metric("fanfare_hook_in_flight").await, 3.0);
    let case = case(118, "many at once");
    for client in &mut clients[3..] {
        assert_eq!(client.refused("rpc", json!({"method": "m"})).await, case.error());
    }
    for client in &mut clients[..3] {
        assert!(client.expect_reply(2).await.get("rpc").is_some());
    }
    assert_eq!((calls(&node, "rpc", case.reason()).await, calls(&node, "rpc", "ok").await), (7.0, 3.0));
    assert_eq!(node.metric("fanfare_hook_in_flight").await, 0.0);
    assert_eq!(backend.busiest(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_without_a_certificate_to_trust_is_not_asked() {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    let backend = HookServer::start_tls(tls).await;
    let file = std::env::temp_dir().join(format!("fanfare-hook-ca-{}.pem", std::process::id()));
    std::fs::write(&file, certified.cert.pem()).unwrap();
    for (ca_file, is_trusted) in [(None, false), (Some(file.clone()), true)] {
        let node = Setup::new(1).hook(Hook::Rpc, &backend.url("/rpc"), |hook| hook.ca_file = ca_file).start().await;
        let mut client = node.client().connect().await;
        if is_trusted {
            client.call("rpc", json!({"method": "m"})).await;
            continue;
        }
        let case = case(118, "certificate");
        assert_eq!(client.refused("rpc", json!({"method": "m"})).await, case.error());
        assert_eq!(calls(&node, "rpc", case.reason()).await, 1.0);
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(backend.asked("/rpc").len(), 1);
}

/// A backend that cannot be asked extends nothing: what has expired ends when its grace is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_ends_when_the_backend_cannot_be_asked() {
    let (backend, node) = expiring(1, Duration::from_secs(4)).await;
    backend.put("/connect", HookAnswer::Lasting(2, json!({"user": "42"})));
    backend.put("/refresh", HookAnswer::Status(500));
    let mut client = node.client().connect().await;
    assert_eq!(client.expect_close().await.0, 3005);
    assert!(backend.asked("/refresh").len() >= 2, "it was asked again within the grace");
    backend.once("/refresh", HookAnswer::Status(500));
    backend.put("/refresh", HookAnswer::Lasting(3_600, json!({})));
    let mut client = node.client().connect().await;
    let before = backend.asked("/refresh").len();
    asked_times(&backend, "/refresh", before + 2).await;
    assert_eq!(client.refused("rpc", json!({"method": "m".repeat(300)})).await, 107, "it goes on");
}

/// The block of a language in docs/hooks.md.
fn example(language: &str) -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/hooks.md")).unwrap();
    let block = text.split(&format!("```{language}\n")).nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

/// The examples check the signature with another implementation than ours.
async fn the_example_works(language: &str, program: &str, flag: &str) {
    let port = free_address().port();
    let mut backend = tokio::process::Command::new(program);
    backend.args([flag, &example(language)]).env("HOOK_SECRET", SECRETS[0]).env("PORT", port.to_string());
    let _backend = backend.kill_on_drop(true).spawn().unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let listens = || async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok() };
    drop(eventually("the example to listen", listens).await);
    // Whatever comes without a signature is turned away, and ends nothing.
    for headers in [vec![], vec![("webhook-id", "a"), ("webhook-timestamp", "1")]] {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let answer = Http::connect(address).await.request("POST /connect", &headers, "{}").await;
        assert_eq!(answer.status, 401, "{headers:?}");
    }
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let keys = SECRETS.map(|secret| SigningKey::parse(&Secret::new(secret.to_owned())).unwrap());
    let node = |keys: &[SigningKey]| {
        let hooks = [(Hook::Connect, "connect"), (Hook::Publish, "publish"), (Hook::Rpc, "rpc")];
        let setup = Setup::new(1).namespace("chat", |options| options.asks_backend.publish = true);
        hooks.into_iter().fold(setup, |setup, (hook, path)| {
            setup.hook(hook, &url(path), |hook| {
                hook.timeout = Duration::from_secs(4);
                hook.signing_keys = keys.to_vec();
                hook.pass_headers = vec!["cookie".parse().unwrap()];
            })
        })
    };
    // Signed with the new secret and the old one.
    let both = node(&[keys[1].clone(), keys[0].clone()]).start().await;
    assert_eq!(both.client().closed().await.0, 4501);
    let mut client = both.client().header("cookie", "session=s3cr3t").connect().await;
    assert_eq!(client.call("rpc", json!({"method": "sum", "data": [1, 2, 3]})).await["data"], json!(6));
    assert_eq!(client.refused("rpc", json!({"method": "other"})).await, 404);
    client.subscribe("chat:1").await;
    client.call("publish", json!({"channel": "chat:1", "data": "grüße"})).await;
    assert_eq!(client.expect_publication("chat:1").await["data"], json!({"by": "42", "said": "grüße"}));
    let wrong = node(&keys[1..]).start().await;
    let (_, reply) = wrong.client().header("cookie", "session=s3cr3t").ask().await;
    assert_eq!(reply["error"]["code"], 100, "another secret is no good");
    assert_eq!(calls(&wrong, "connect", "status").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_python_works() {
    the_example_works("python", "python3", "-c").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_node_works() {
    the_example_works("js", "node", "-e").await;
}
