//! Deadlines (protocol §6, §7.8, §7.9): pings and pongs, expiry of connections and subscriptions, fresh tokens.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use fanfare_testkit::{Client, Node, Opening, Raw, Setup, Value, client_frame, json, on_1_and_3_shards, token};

on_1_and_3_shards!(
    pings_are_sent_and_answered,
    a_missing_pong_ends_the_session,
    one_pong_a_ping,
    pings_as_frames,
    without_pings_nothing_is_said,
    a_connection_expires,
    refreshing_a_connection,
    a_refresh_without_expiry_lifts_it,
    refreshes_that_are_refused,
    a_refresh_replaces_the_info_everywhere,
    a_subscription_expires,
    refreshing_a_subscription,
    an_expired_token_extends_nothing,
    sub_refreshes_that_are_refused,
    server_side_subscriptions_expire,
);

fn pinging(shards: usize) -> Setup {
    Setup::new(shards).sessions(|options| {
        options.ping_interval = Some(Duration::from_millis(1_500));
        options.pong_timeout = Duration::from_millis(1_100);
        options.command_timeout = Duration::from_millis(900);
    })
}

async fn until_pinged(client: &mut Client, pings: usize) {
    while client.pings() < pings {
        assert!(!client.has_ended(), "{:?} after {} pings", client.ended(), client.pings());
        fanfare_testkit::patience::within("a ping", client.read()).await;
    }
}

async fn pings_are_sent_and_answered(shards: usize) {
    let node = pinging(shards).start().await;
    let answering = async |opening: Opening| {
        let mut client = opening.connect().await;
        assert_eq!((&client.connected["ping"], &client.connected["pong"]), (&json!(2), &json!(true)));
        until_pinged(&mut client, 3).await;
        client.subscribe("news").await;
    };
    tokio::join!(answering(node.client()), answering(node.client().protobuf()));
}

async fn a_missing_pong_ends_the_session(shards: usize) {
    let node = pinging(shards).start().await;
    let missing = async |opening: Opening| {
        let mut client = opening.connect().await;
        client.ignore_pings();
        // Other commands are no pongs.
        client.subscribe("news").await;
        assert_eq!(client.expect_close().await, (3012, "no pong".to_owned()));
        assert_eq!(client.pings(), 1);
    };
    tokio::join!(missing(node.client()), missing(node.client().protobuf()));
}

async fn one_pong_a_ping(shards: usize) {
    let node = pinging(shards).start().await;
    let mut client = node.client().connect().await;
    client.ignore_pings();
    until_pinged(&mut client, 1).await;
    client.send(&[json!({}), json!({})]).await;
    assert_eq!(client.expect_close().await.0, 3501);

    // While a pong is awaited, a command without an id is none.
    let mut client = node.client().connect().await;
    client.ignore_pings();
    until_pinged(&mut client, 1).await;
    client.send(&[json!({"subscribe": {"channel": "news"}})]).await;
    assert_eq!(client.expect_close().await.0, 3501);
}

async fn pings_as_frames(shards: usize) {
    let node = pinging(shards).start().await;
    let mut client = node.client().query("cf_ws_frame_ping_pong=true").connect().await;
    for absent in ["ping", "pong"] {
        assert!(client.connected.get(absent).is_none(), "{}", client.connected);
    }
    until_pinged(&mut client, 2).await;
    assert_eq!(client.so_far().await, []);

    let connect = client_frame(0x81, br#"{"id":1,"connect":{}}"#);
    let mut silent = Raw::upgrade(node.address(), "cf_ws_frame_ping_pong=true", &connect).await;
    let mut opcodes = Vec::new();
    let mut last = None;
    while let Some(frame) = silent.frame().await {
        opcodes.push(frame.first);
        last = Some(frame);
    }
    assert_eq!(opcodes, [0x81, 0x89, 0x88]);
    assert_eq!(last.unwrap().close_code(), Some(3012));
}

async fn without_pings_nothing_is_said(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.ping_interval = None).start().await;
    let client = node.client().connect().await;
    for absent in ["ping", "pong"] {
        assert!(client.connected.get(absent).is_none(), "{}", client.connected);
    }
}

/// Expiries are in whole seconds; the grace is short here.
fn expiring(shards: usize) -> Setup {
    Setup::new(shards).sessions(|options| options.expired_close_delay = Duration::from_millis(100))
}

fn claims(mut more: Value) -> String {
    let mut claims = json!({"sub": "42"});
    claims.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    token::with_claims(&claims)
}

fn soon() -> u64 {
    token::now() + 2
}

async fn a_connection_expires(shards: usize) {
    let node = expiring(shards).start().await;
    let mut client = node.client().token(&claims(json!({"exp": soon()}))).connect().await;
    assert_eq!(client.connected["expires"], true);
    let mut lasting = node.client().token(&claims(json!({"exp": soon(), "expire_at": 0}))).connect().await;
    assert_eq!(client.expect_close().await, (3005, "connection expired".to_owned()));
    assert_eq!(lasting.so_far().await, []);
}

/// Waits until a connection that was opened with the same token, and not refreshed, has expired.
async fn until_expired(witness: &mut Client) {
    assert_eq!(witness.expect_close().await.0, 3005);
}

async fn refreshing_a_connection(shards: usize) {
    let node = expiring(shards).start().await;
    let first = claims(json!({"exp": soon()}));
    for opening in [node.client(), node.client().protobuf()] {
        let mut client = opening.token(&first).connect().await;
        let fresh = claims(json!({"exp": token::now() + 600}));
        let result = client.call("refresh", json!({"token": fresh})).await;
        assert_eq!(result["expires"], true);
        assert!((590..=600).contains(&result["ttl"].as_u64().unwrap()), "{result}");
        let mut witness = node.client().token(&claims(json!({"exp": soon()}))).connect().await;
        until_expired(&mut witness).await;
        assert_eq!(client.so_far().await, []);
        if client.encoding() == fanfare_testkit::Encoding::Json {
            // The first token has expired by now.
            return;
        }
    }
}

async fn a_refresh_without_expiry_lifts_it(shards: usize) {
    let node = expiring(shards).start().await;
    let mut client = node.client().token(&claims(json!({"exp": soon()}))).connect().await;
    assert_eq!(client.call("refresh", json!({"token": claims(json!({}))})).await, json!({}));
    let mut witness = node.client().token(&claims(json!({"exp": soon()}))).connect().await;
    until_expired(&mut witness).await;
    assert_eq!(client.so_far().await, []);
}

async fn refreshes_that_are_refused(shards: usize) {
    let node = Setup::new(shards).start().await;
    let now = token::now();
    let forged = token::signed_with("another secret of at least thirty-two bytes", &json!({"sub": "42"}));
    for (token, code) in [
        (String::new(), 3501),
        (claims(json!({"exp": now - 1})), 3005),
        (claims(json!({"nbf": now + 90})), 3005),
        (claims(json!({"exp": now + 60, "expire_at": now - 1})), 3005),
        ("garbage".to_owned(), 3500),
        (forged, 3500),
        (token::connection("43"), 3500),
        (token::connection(""), 3500),
        (claims(json!({"channel": "news"})), 3500),
        (claims(json!({"channels": ["news", "more"]})), 3010),
        (claims(json!({})), 3010),
    ] {
        let mut client = node.client().token(&claims(json!({"channels": ["news"]}))).connect().await;
        assert_eq!(client.closed_by("refresh", json!({"token": token})).await.0, code, "{token}");
    }
    let mut client = node.client().token(&claims(json!({"channels": ["news"]}))).connect().await;
    client.subscribe("own").await;
    client.call("refresh", json!({"token": claims(json!({"channels": ["news"]}))})).await;
}

async fn a_refresh_replaces_the_info_everywhere(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().token(&claims(json!({"info": {"v": 1}}))).connect().await;
    client.subscribe("plain").await;
    let with_info = claims(json!({"channel": "seat", "info": {"seat": 7}}));
    client.call("subscribe", json!({"channel": "seat", "token": with_info})).await;
    client.call("refresh", json!({"token": claims(json!({"info": {"v": 2}}))})).await;
    for (channel, chan_info) in [("plain", Value::Null), ("seat", json!({"seat": 7}))] {
        client.call("publish", json!({"channel": channel, "data": 1})).await;
        let info = client.expect_publication(channel).await["info"].take();
        assert_eq!(info["conn_info"], json!({"v": 2}), "{channel}");
        assert_eq!(info["chan_info"], chan_info, "{channel}");
    }
}

fn for_news(mut more: Value) -> String {
    let mut all = json!({"channel": "news"});
    all.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    claims(all)
}

async fn subscribed(node: &Node, token: &str) -> Client {
    let mut client = node.client().user("42").connect().await;
    client.call("subscribe", json!({"channel": "news", "token": token})).await;
    client
}

async fn expects_2501(client: &mut Client) {
    let push = client.expect_push().await;
    assert_eq!(push, json!({"channel": "news", "unsubscribe": {"code": 2501, "reason": "subscription expired"}}));
}

async fn a_subscription_expires(shards: usize) {
    let node = expiring(shards).start().await;
    let mut client = subscribed(&node, &for_news(json!({"exp": soon()}))).await;
    client.subscribe("other").await;
    expects_2501(&mut client).await;
    node.publish("news", json!(1)).await;
    node.publish("other", json!(2)).await;
    assert_eq!(client.expect_push().await["channel"], "other");
    node.presence_becomes("news", &client.id.clone(), false).await;
    let again = json!({"channel": "news", "token": for_news(json!({"exp": token::now() + 600}))});
    client.call("subscribe", again).await;
}

async fn refreshing_a_subscription(shards: usize) {
    let node = expiring(shards).start().await;
    let mut client = subscribed(&node, &for_news(json!({"exp": soon()}))).await;
    let mut lifted = subscribed(&node, &for_news(json!({"exp": soon()}))).await;
    let mut witness = subscribed(&node, &for_news(json!({"exp": soon()}))).await;
    let fresh = for_news(json!({"exp": token::now() + 600, "info": {"seat": 2}}));
    let result = client.call("sub_refresh", json!({"channel": "news", "token": fresh})).await;
    assert_eq!(result["expires"], true);
    assert!((590..=600).contains(&result["ttl"].as_u64().unwrap()), "{result}");
    let without = json!({"channel": "news", "token": for_news(json!({}))});
    assert_eq!(lifted.call("sub_refresh", without).await, json!({}));
    expects_2501(&mut witness).await;
    assert_eq!(client.so_far().await, []);
    assert_eq!(lifted.so_far().await, []);
    client.call("publish", json!({"channel": "news", "data": 1})).await;
    assert_eq!(client.expect_publication("news").await["info"]["chan_info"], json!({"seat": 2}));

    // It also works where there was no token.
    let mut open = node.client().user("42").connect().await;
    open.subscribe("news").await;
    open.call("sub_refresh", json!({"channel": "news", "token": for_news(json!({"exp": soon()}))})).await;
    expects_2501(&mut open).await;
}

async fn an_expired_token_extends_nothing(shards: usize) {
    let node = expiring(shards).start().await;
    let mut client = subscribed(&node, &for_news(json!({"exp": soon()}))).await;
    let now = token::now();
    for expired in [json!({"exp": now - 1}), json!({"exp": 0}), json!({"nbf": now + 90})] {
        let request = json!({"channel": "news", "token": for_news(expired)});
        assert_eq!(client.refused("sub_refresh", request).await, 109);
    }
    let past = json!({"channel": "news", "token": for_news(json!({"exp": now + 60, "expire_at": now - 1}))});
    assert_eq!(client.refused("sub_refresh", past).await, 110);
    expects_2501(&mut client).await;
}

async fn sub_refreshes_that_are_refused(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = subscribed(&node, &for_news(json!({}))).await;
    let refused = json!({"channel": "other", "token": for_news(json!({}))});
    assert_eq!(client.refused("sub_refresh", refused).await, 103, "not subscribed");
    assert_eq!(client.refused("sub_refresh", json!({"channel": "news"})).await, 107);
    let other_user = token::with_claims(&json!({"sub": "43", "channel": "news"}));
    for token in
        ["garbage".to_owned(), token::subscription("42", "other"), other_user, for_news(json!({"client": "x"}))]
    {
        let mut client = subscribed(&node, &for_news(json!({}))).await;
        let request = json!({"channel": "news", "token": token});
        assert_eq!(client.closed_by("sub_refresh", request).await.0, 3500, "{token}");
    }
}

async fn server_side_subscriptions_expire(shards: usize) {
    let node = expiring(shards).start().await;
    let mut client = node.client().user("42").connect().await;
    let past = json!({"user": "42", "channel": "news", "expire_at": token::now() - 1});
    assert_eq!(node.api("subscribe", &past).await["error"]["code"], 107);
    node.call("subscribe", json!({"user": "42", "channel": "news", "expire_at": soon()})).await;
    assert!(client.expect_push().await["subscribe"].is_object());
    assert_eq!(client.expect_close().await, (3006, "subscription expired".to_owned()));
}
