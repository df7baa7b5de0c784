//! Blocked users and revoked tokens: at connect, at refresh, at subscribe, and in what is live already; on one node, and
//! on several with Redis, which is lost, comes back empty, or hides what nodes say to each other.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanfare_testkit::patience::{eventually, within};
use fanfare_testkit::{Client, Node, Proxy, RedisServer, Setup, Value, json, on_1_and_3_shards, token};
use tokio::task::JoinSet;

on_1_and_3_shards!(
    a_blocked_user_is_sent_away_and_kept_out,
    a_revoked_token_is_good_no_more,
    older_tokens_of_a_user_are_good_no_more,
    older_tokens_of_everybody_are_good_no_more,
    a_subscription_ends_with_its_token,
    a_refresh_is_judged_and_remembered,
    who_is_still_connecting_is_judged_too,
    with_a_cap_a_revocation_is_forgotten_when_it_has_passed,
    a_revocation_on_one_node_closes_on_the_other,
    revocations_outlive_all_nodes,
    without_redis_the_last_known_set_holds_and_readiness_says_so,
    before_the_set_is_read_nobody_is_let_in,
    word_that_was_lost_is_made_good,
    a_redis_that_lost_revocations_gets_them_back,
    what_redis_says_is_judged,
);

/// A connection token of a user.
fn issued(user: &str, id: &str, issued_at: u64) -> String {
    token::with_claims(&json!({"sub": user, "jti": id, "iat": issued_at}))
}

/// A subscription token of user 42.
fn for_channel(channel: &str, id: &str, issued_at: u64) -> String {
    token::with_claims(&json!({"sub": "42", "channel": channel, "jti": id, "iat": issued_at}))
}

const BLOCKED: (u16, &str) = (3503, "force disconnect");
const REVOKED: (u16, &str) = (3500, "invalid token");

#[track_caller]
fn check(ended: &(u16, String), expected: (u16, &str)) {
    assert_eq!((ended.0, ended.1.as_str()), expected);
}

/// A client that nothing is done to, which has to hear of everything.
struct Canary(Client);

impl Canary {
    async fn of(node: &Node) -> Self {
        let mut client = node.client().token(&issued("canary", "canary", token::now())).connect().await;
        client.subscribe("canary").await;
        Self(client)
    }

    async fn is_well(&mut self, node: &Node) {
        node.publish("canary", json!("still there?")).await;
        assert_eq!(self.0.expect_publication("canary").await["data"], "still there?");
    }
}

async fn a_blocked_user_is_sent_away_and_kept_out(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut canary = Canary::of(&node).await;
    let mut own = Vec::new();
    for at in 0..6 {
        let opening = node.client().user("42");
        own.push(if at % 2 == 0 { opening.connect().await } else { opening.protobuf().connect().await });
    }
    assert_eq!(node.call("block_user", json!({"user": "42"})).await, json!({"durable": false}));
    for client in &mut own {
        check(&client.expect_close().await, BLOCKED);
    }
    check(&node.client().user("42").closed().await, BLOCKED);
    check(&node.client().token(&issued("42", "new", token::now())).closed().await, BLOCKED);
    let listed = json!({"revocations": [{"kind": "user", "user": "42"}], "total": 1, "durable": false});
    assert_eq!(node.call("revocations", json!({})).await, listed);
    assert_eq!(node.metric_row("fanfare_broker_revocations", "kind=\"user\"").await, 1.0);
    assert_eq!(node.metric_row("fanfare_gateway_barred_total", "met=\"session\"").await, 6.0);
    assert_eq!(node.metric_row("fanfare_gateway_barred_total", "met=\"connect\"").await, 2.0);
    let taken_back = json!({"removed": true, "durable": false});
    assert_eq!(node.call("unblock_user", json!({"user": "42"})).await, taken_back);
    node.client().user("42").connect().await;
    assert_eq!(node.call("unblock_user", json!({"user": "42"})).await["removed"], false);
    canary.is_well(&node).await;
}

async fn a_revoked_token_is_good_no_more(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut canary = Canary::of(&node).await;
    let now = token::now();
    let mut stolen = node.client().token(&issued("42", "stolen", now)).connect().await;
    let mut other = node.client().token(&issued("42", "other", now)).connect().await;
    node.call("revoke_token", json!({"uid": "stolen"})).await;
    check(&stolen.expect_close().await, REVOKED);
    check(&node.client().token(&issued("42", "stolen", now)).closed().await, REVOKED);
    assert_eq!(other.so_far().await, []);
    node.call("revocation_remove", json!({"kind": "token", "uid": "stolen"})).await;
    node.client().token(&issued("42", "stolen", now)).connect().await;
    canary.is_well(&node).await;
}

async fn older_tokens_of_a_user_are_good_no_more(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut canary = Canary::of(&node).await;
    let now = token::now();
    let mut old = node.client().token(&issued("42", "", now - 60)).connect().await;
    let mut undated = node.client().user("42").connect().await;
    let mut new = node.client().token(&issued("42", "", now)).connect().await;
    node.call("invalidate_user_tokens", json!({"user": "42", "issued_before": now - 1})).await;
    check(&old.expect_close().await, REVOKED);
    check(&undated.expect_close().await, REVOKED);
    check(&node.client().token(&issued("42", "", now - 60)).closed().await, REVOKED);
    check(&node.client().user("42").closed().await, REVOKED);
    assert_eq!(new.so_far().await, []);
    // Without a time, those of this very second as well.
    node.call("invalidate_user_tokens", json!({"user": "42"})).await;
    check(&new.expect_close().await, REVOKED);
    canary.is_well(&node).await;
}

async fn older_tokens_of_everybody_are_good_no_more(shards: usize) {
    let node = Setup::new(shards).start().await;
    let now = token::now();
    let mut old = Vec::new();
    for user in ["1", "2", "3", "4"] {
        old.push(node.client().token(&issued(user, "", now - 60)).connect().await);
    }
    let mut nobody = node.client().connect().await;
    let mut new = node.client().token(&issued("5", "", now)).connect().await;
    node.call("invalidate_user_tokens", json!({"all_users": true, "issued_before": now - 1})).await;
    for client in &mut old {
        check(&client.expect_close().await, REVOKED);
    }
    assert_eq!((new.so_far().await, nobody.so_far().await), (vec![], vec![]));
    let removed = node.call("revocation_remove", json!({"kind": "all_tokens"})).await;
    assert_eq!(removed["removed"], true);
    node.client().token(&issued("1", "", now - 60)).connect().await;
}

async fn a_subscription_ends_with_its_token(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut canary = Canary::of(&node).await;
    let now = token::now();
    let mut client = node.client().user("42").connect().await;
    for (channel, id) in [("$a", "s1"), ("$b", "s2"), ("$c", "s3")] {
        client.call("subscribe", json!({"channel": channel, "token": for_channel(channel, id, now)})).await;
    }
    let ended =
        |channel: &str| json!({"channel": channel, "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}});
    node.call("revoke_token", json!({"uid": "s1"})).await;
    assert_eq!(client.expect_push().await, ended("$a"));
    let again = json!({"channel": "$a", "token": for_channel("$a", "s1", now)});
    assert_eq!(client.refused("subscribe", again).await, 103);
    let another = json!({"channel": "$a", "token": for_channel("$a", "s4", now)});
    client.call("subscribe", another).await;
    let of_channel = json!({"user": "42", "channel": "$b", "issued_before": now + 1});
    node.call("invalidate_user_tokens", of_channel).await;
    assert_eq!(client.expect_push().await, ended("$b"));
    let newer = json!({"channel": "$c", "token": for_channel("$c", "s5", now)});
    client.call("sub_refresh", newer).await;
    node.call("revoke_token", json!({"uid": "s3"})).await;
    assert_eq!(client.so_far().await, [], "it has another token now");
    let revoked = json!({"channel": "$c", "token": for_channel("$c", "s3", now)});
    check(&client.closed_by("sub_refresh", revoked).await, REVOKED);
    canary.is_well(&node).await;
}

async fn a_refresh_is_judged_and_remembered(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut canary = Canary::of(&node).await;
    let now = token::now();
    node.call("revoke_token", json!({"uid": "revoked"})).await;
    let mut client = node.client().token(&issued("42", "first", now)).connect().await;
    let refused = json!({"token": issued("42", "revoked", now)});
    check(&client.closed_by("refresh", refused).await, REVOKED);
    let mut client = node.client().token(&issued("42", "first", now)).connect().await;
    check(&client.closed_by("refresh", json!({"token": issued("43", "other", now)})).await, REVOKED);
    let mut client = node.client().token(&issued("42", "first", now)).connect().await;
    client.call("refresh", json!({"token": issued("42", "second", now)})).await;
    node.call("revoke_token", json!({"uid": "first"})).await;
    assert_eq!(client.so_far().await, [], "it lives by its second token");
    node.call("revoke_token", json!({"uid": "second"})).await;
    check(&client.expect_close().await, REVOKED);
    canary.is_well(&node).await;
}

/// A connect takes time when it has to ask the broker: it must not slip through between its token and its session.
async fn who_is_still_connecting_is_judged_too(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut connecting = Vec::new();
    for at in 0..40_u64 {
        let id = format!("t{}", at % 4);
        let token = issued("42", &id, token::now());
        let mut client = node.client().open().await;
        client.command(json!({"connect": {"token": token}})).await;
        connecting.push((id, client));
        if at == 20 {
            node.call("revoke_token", json!({"uid": "t1"})).await;
            node.call("revoke_token", json!({"uid": "t2"})).await;
        }
    }
    for (id, client) in &mut connecting {
        if matches!(id.as_str(), "t1" | "t2") {
            check(&client.expect_close().await, REVOKED);
        } else {
            assert!(client.expect_next().await.value["connect"].is_object());
        }
    }
}

async fn with_a_cap_a_revocation_is_forgotten_when_it_has_passed(shards: usize) {
    let setup = Setup::new(shards).configure(|config| config.auth.lifetime_max = Some(Duration::from_secs(600)));
    let node = setup.start().await;
    let now = token::now();
    check(&node.client().user("42").closed().await, REVOKED);
    let capped = |id: &str| token::with_claims(&json!({"sub": "42", "jti": id, "iat": now, "exp": now + 600}));
    let mut client = node.client().token(&capped("t1")).connect().await;
    node.call("revoke_token", json!({"uid": "t1"})).await;
    check(&client.expect_close().await, REVOKED);
    node.call("revoke_token", json!({"uid": "t2", "expire_at": now + 9})).await;
    node.call("block_user", json!({"user": "43"})).await;
    let listed = node.call("revocations", json!({})).await["revocations"].take();
    let expiry_of = |name: &str| {
        let entry = listed.as_array().unwrap().iter().find(|entry| entry["uid"] == name || entry["user"] == name);
        entry.unwrap()["expire_at"].as_u64()
    };
    let forgotten = expiry_of("t1").unwrap();
    assert!((now + 630..now + 690).contains(&forgotten), "{forgotten}");
    assert_eq!((expiry_of("t2"), expiry_of("43")), (Some(now + 9), None));
    // One that has expired is not held any longer.
    node.call("revoke_token", json!({"uid": "t3", "expire_at": token::now() + 1})).await;
    let held =
        || async { (node.metric_row("fanfare_broker_revocations", "kind=\"token\"").await == 2.0).then_some(()) };
    eventually("an expired revocation to be let go", held).await;
    node.client().token(&capped("t3")).connect().await;
}

// Several nodes.

async fn start_at(redis: SocketAddr, shards: usize) -> Node {
    Setup::new(shards).redis(&format!("redis://{redis}")).start().await
}

async fn start(redis: &RedisServer, shards: usize) -> Node {
    let node = start_at(address(redis), shards).await;
    becomes(&node, 200).await;
    node
}

fn address(redis: &RedisServer) -> SocketAddr {
    redis.url().trim_start_matches("redis://").parse().unwrap()
}

/// What `/readyz` says once it has this status.
async fn becomes(node: &Node, status: u16) -> String {
    let ask = || async {
        let response = node.request("GET /readyz", &[], "").await;
        (response.status == status).then_some(response.body)
    };
    eventually(&format!("readiness {status}"), ask).await
}

/// Waits until a node holds so many revocations.
async fn holds(node: &Node, count: u64) -> Value {
    let ask = || async {
        let listed = node.call("revocations", json!({})).await;
        (listed["total"] == count).then_some(listed)
    };
    eventually(&format!("{count} revocations"), ask).await
}

async fn a_revocation_on_one_node_closes_on_the_other(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let (one, other) = (start(&redis, shards).await, start(&redis, shards).await);
    let mut canary = Canary::of(&other).await;
    let now = token::now();
    let mut blocked = other.client().user("42").connect().await;
    let mut revoked = other.client().token(&issued("43", "t1", now)).connect().await;
    let mut old = other.client().token(&issued("44", "t2", now - 60)).connect().await;
    assert_eq!(one.call("block_user", json!({"user": "42"})).await, json!({"durable": true}));
    one.call("revoke_token", json!({"uid": "t1"})).await;
    one.call("invalidate_user_tokens", json!({"all_users": true, "issued_before": now - 1})).await;
    check(&blocked.expect_close().await, BLOCKED);
    check(&revoked.expect_close().await, REVOKED);
    check(&old.expect_close().await, REVOKED);
    check(&other.client().user("42").closed().await, BLOCKED);
    assert_eq!(holds(&other, 3).await, holds(&one, 3).await);
    assert_eq!(other.call("unblock_user", json!({"user": "42"})).await, json!({"removed": true, "durable": true}));
    one.client().token(&issued("42", "t3", now)).connect().await;
    canary.is_well(&one).await;
}

async fn revocations_outlive_all_nodes(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let node = start(&redis, shards).await;
    node.call("block_user", json!({"user": "42"})).await;
    node.call("revoke_token", json!({"uid": "t1", "expire_at": token::now() + 600})).await;
    let listed = holds(&node, 2).await;
    node.stop().await;
    let node = start(&redis, shards).await;
    assert_eq!(node.call("revocations", json!({})).await, listed, "known as soon as it is ready");
    check(&node.client().user("42").closed().await, BLOCKED);
    check(&node.client().token(&issued("43", "t1", token::now())).closed().await, REVOKED);
}

async fn without_redis_the_last_known_set_holds_and_readiness_says_so(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let node = start(&redis, shards).await;
    let mut open = node.client().user("43").connect().await;
    node.call("block_user", json!({"user": "42"})).await;
    redis.freeze();
    let said = eventually("the revocations to be old", || async {
        let said = becomes(&node, 503).await;
        said.contains(" s ago hold").then_some(said)
    });
    let said = said.await;
    assert!(said.starts_with("not ready: ") && said.contains("(the revocations known "), "{said}");
    check(&node.client().user("42").closed().await, BLOCKED);
    node.client().user("44").narrow().connect().await;
    let refused = node.api("block_user", &json!({"user": "44"})).await;
    assert_eq!(refused["error"]["code"], 100, "{refused}");
    assert_eq!(open.refused("rpc", json!({})).await, 108);
    assert!(node.metric("fanfare_redis_revocation_reads_failed_total").await > 0.0);
    redis.thaw();
    becomes(&node, 200).await;
    node.call("block_user", json!({"user": "43"})).await;
    check(&open.expect_close().await, BLOCKED);
}

async fn before_the_set_is_read_nobody_is_let_in(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let node = start(&redis, shards).await;
    node.call("block_user", json!({"user": "42"})).await;
    node.stop().await;
    redis.freeze();
    let node = start_at(address(&redis), shards).await;
    let (_client, reply) = node.client().user("42").ask().await;
    assert_eq!((&reply["error"]["code"], &reply["error"]["temporary"]), (&json!(100), &json!(true)), "{reply}");
    assert!(becomes(&node, 503).await.contains("nobody is let in"));
    redis.thaw();
    becomes(&node, 200).await;
    check(&node.client().user("42").closed().await, BLOCKED);
    node.client().user("43").connect().await;
}

async fn word_that_was_lost_is_made_good(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let proxy = Proxy::start(address(&redis)).await;
    let near = start(&redis, shards).await;
    let far = start_at(proxy.address(), shards).await;
    becomes(&far, 200).await;
    let mut client = far.client().user("42").connect().await;
    proxy.stall();
    // It is kept, and the node that did not hear of it is named.
    let answer = near.api("block_user", &json!({"user": "42"})).await;
    assert_eq!(answer["error"]["code"], 100, "{answer}");
    assert_eq!(near.call("revocations", json!({})).await["total"], 1);
    proxy.cut();
    proxy.resume();
    check(&client.expect_close().await, BLOCKED);
    becomes(&far, 200).await;
    check(&far.client().user("42").closed().await, BLOCKED);
}

async fn a_redis_that_lost_revocations_gets_them_back(shards: usize) {
    let Some(mut redis) = RedisServer::start() else { return };
    let (one, other) = (start(&redis, shards).await, start(&redis, shards).await);
    one.call("block_user", json!({"user": "42"})).await;
    one.call("revoke_token", json!({"uid": "t1"})).await;
    redis.restart_empty();
    for node in [&one, &other] {
        becomes(node, 200).await;
        check(&node.client().user("42").closed().await, BLOCKED);
    }
    let back = || async { redis.run(&[b"HKEYS", b"fanfare:revocations"]).contains("u:42").then_some(()) };
    eventually("the revocations to be in Redis again", back).await;
    holds(&one, 2).await;
    one.stop().await;
    other.stop().await;
    let node = start(&redis, shards).await;
    check(&node.client().user("42").closed().await, BLOCKED);
}

async fn what_redis_says_is_judged(shards: usize) {
    let Some(redis) = RedisServer::start() else { return };
    let node = start(&redis, shards).await;
    node.call("block_user", json!({"user": "42"})).await;
    let long = [b"u:".as_slice(), &[b'x'; 2_000]].concat();
    for (field, value) in
        [(&b"x:1"[..], &b"0 "[..]), (b"u:43", b"nonsense"), (b"u:\xff", b"0 "), (&long, b"0 "), (b"", b"")]
    {
        redis.run(&[b"HSET", b"fanfare:revocations", field, value]);
    }
    redis.run(&[b"HSET", b"fanfare:revocations", b"u:44", b"0 "]);
    redis.run(&[b"HINCRBY", b"fanfare:revocations", b"version", b"1"]);
    holds(&node, 2).await;
    assert_eq!(node.metric_row("fanfare_broker_bad_messages_total", "reason=\"revocation\"").await, 5.0);
    check(&node.client().user("44").closed().await, BLOCKED);
    within("a client", node.client().user("43").connect()).await;
    // What stands there is no number, or no hash: what was known holds, and readiness says so.
    redis.run(&[b"HSET", b"fanfare:revocations", b"version", b"-7"]);
    assert!(becomes(&node, 503).await.contains("the revocations cannot be read"));
    redis.run(&[b"SET", b"fanfare:revocations", b"a text"]);
    check(&node.client().user("42").closed().await, BLOCKED);
    redis.run(&[b"DEL", b"fanfare:revocations"]);
    becomes(&node, 200).await;
    holds(&node, 2).await;
}

/// From the answer of a revocation until the client has its close frame, on another node.
/// `cargo test -p fanfare-testkit --test revocation -- --ignored --nocapture from_the_answer`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn from_the_answer_to_the_close_on_another_node() {
    let Some(redis) = RedisServer::start() else { return };
    let (one, other) = (start(&redis, 2).await, start(&redis, 2).await);
    let mut waits = Vec::new();
    let mut calls = Vec::new();
    for round in 0..100 {
        let id = format!("t{round}");
        let mut client = other.client().token(&issued("42", &id, token::now())).connect().await;
        let mut closing = JoinSet::new();
        closing.spawn(async move {
            client.expect_close().await;
            Instant::now()
        });
        let called = Instant::now();
        one.call("revoke_token", json!({"uid": id})).await;
        let answered = Instant::now();
        let closed = closing.join_next().await.unwrap().unwrap();
        waits.push(closed.saturating_duration_since(answered));
        calls.push(answered - called);
    }
    for (what, mut times) in [("answer to close", waits), ("call to answer", calls)] {
        times.sort_unstable();
        println!("{what}: median {:?}, 90th {:?}, 99th {:?}, most {:?}", times[50], times[90], times[98], times[99]);
    }
}
