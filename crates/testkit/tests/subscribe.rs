//! Subscribing and unsubscribing (protocol §7.1, §7.2): the checks in their order, permissions, tokens.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use fanfare_broker::namespaces::{Access, Audience};
use fanfare_testkit::{Client, Node, Setup, json, on_1_and_3_shards, token};

on_1_and_3_shards!(
    plain_subscribe,
    without_history_there_is_no_position,
    the_checks_come_in_their_order,
    names_of_channels,
    who_may_subscribe,
    private_channels,
    user_limited_channels,
    subscription_tokens,
    what_a_subscription_token_grants,
    a_token_can_switch_recovery_off,
    the_channel_limit,
    what_is_not_there_yet,
    unsubscribing,
    an_unrecoverable_position_can_be_refused,
    optimistic_subscriptions,
    a_channel_is_told_as_it_was_named,
);

async fn plain_subscribe(shards: usize) {
    let node = Setup::new(shards).start().await;
    node.publish("news", json!(0)).await;
    for (top, opening) in [(1, node.client()), (2, node.client().protobuf())] {
        let mut client = opening.connect().await;
        let result = client.subscribe("news").await;
        let epoch = result["epoch"].as_str().unwrap();
        assert!(!epoch.is_empty());
        assert_eq!(result, json!({"recoverable": true, "positioned": true, "offset": top, "epoch": epoch}));
        let published = node.publish("news", json!({"n": top})).await;
        assert_eq!(published, json!({"offset": top + 1, "epoch": epoch}));
        let push = client.expect_push().await;
        assert_eq!(push, json!({"channel": "news", "pub": {"data": {"n": top}, "offset": top + 1}}));
    }
}

async fn without_history_there_is_no_position(shards: usize) {
    let node = Setup::new(shards).channels(|options| options.retention = None).start().await;
    let mut client = node.client().connect().await;
    let asked = json!({"channel": "news", "recover": true, "offset": 3, "epoch": "x", "positioned": true});
    let result = client.call("subscribe", asked).await;
    assert_eq!(result, json!({"was_recovering": true}));
    assert_eq!(node.publish("news", json!(1)).await, json!({}));
    assert_eq!(client.expect_publication("news").await, json!({"data": 1}));
}

fn limited(shards: usize) -> Setup {
    let closed = |options: &mut fanfare_broker::namespaces::ChannelOptions| options.access = Access::default();
    Setup::new(shards).sessions(|options| options.channels_per_session_max = 2).namespace("closed", closed)
}

async fn the_checks_come_in_their_order(shards: usize) {
    let node = limited(shards).start().await;
    let mut client = node.client().connect().await;
    let long = "x".repeat(256);
    let filter = json!({"key": "k", "cmp": "eq", "val": "v"});
    client.subscribe("a").await;
    // Already subscribed before the limit.
    client.subscribe("b").await;
    assert_eq!(client.refused("subscribe", json!({"channel": "a"})).await, 105);
    // Length before the limit, the limit before everything about the channel.
    assert_eq!(client.refused("subscribe", json!({"channel": long})).await, 107);
    assert_eq!(client.refused("subscribe", json!({"channel": "c"})).await, 106);
    assert_eq!(client.refused("subscribe", json!({"channel": "nowhere:x"})).await, 106);
    assert_eq!(client.refused("subscribe", json!({"channel": "$private"})).await, 106);
    assert_eq!(client.refused("subscribe", json!({"channel": "n\u{f6}rd"})).await, 106);
    client.call("unsubscribe", json!({"channel": "b"})).await;
    // The namespace before a bad name.
    assert_eq!(client.refused("subscribe", json!({"channel": "nowhere:n\u{f6}rd"})).await, 102);
    assert_eq!(client.refused("subscribe", json!({"channel": "n\u{f6}rd"})).await, 107);
    // The namespace before the type, both before permissions and the filter.
    assert_eq!(client.refused("subscribe", json!({"channel": "nowhere:x", "type": 1})).await, 102);
    assert_eq!(client.refused("subscribe", json!({"channel": "c", "type": 1, "tf": filter})).await, 103);
    assert_eq!(client.refused("subscribe", json!({"channel": "closed:x", "tf": filter})).await, 103);
    // An expiry in the past before the filter.
    let past = token::with_claims(&json!({"channel": "c", "exp": token::now() + 60, "expire_at": 1}));
    assert_eq!(client.refused("subscribe", json!({"channel": "c", "token": past, "tf": filter})).await, 110);
    assert_eq!(client.refused("subscribe", json!({"channel": "c", "tf": filter})).await, 107);
    assert_eq!(client.take_arrived(), []);
    // An unknown delta before all of them.
    let delta = json!({"channel": long, "delta": "xdelta"});
    assert_eq!(client.closed_by("subscribe", delta).await.0, 3501);
}

async fn names_of_channels(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().connect().await;
    for bad in ["n\u{f6}rd", "a\tb", "a\u{7f}", &"x".repeat(256)] {
        assert_eq!(client.refused("subscribe", json!({"channel": bad})).await, 107, "{bad}");
    }
    for good in ["x", " ", "a b", "a/b?c=d&e", "~!@%^*()", &"x".repeat(255)] {
        client.subscribe(good).await;
    }
    assert_eq!(client.refused("subscribe", json!({"channel": "nowhere:x"})).await, 102);
}

fn subscribe_by(audience: Audience) -> impl FnOnce(&mut fanfare_broker::namespaces::ChannelOptions) {
    move |options| options.access = Access { subscribe: audience, ..Access::default() }
}

async fn who_may_subscribe(shards: usize) {
    let node = Setup::new(shards)
        .namespace("nobody", subscribe_by(Audience::Nobody))
        .namespace("users", subscribe_by(Audience::Users))
        .namespace("anyone", subscribe_by(Audience::Anyone))
        .start()
        .await;
    let mut anonymous = node.client().connect().await;
    let mut user = node.client().user("42").connect().await;
    for (channel, of_anonymous, of_user) in
        [("nobody:x", false, false), ("users:x", false, true), ("anyone:x", true, true)]
    {
        for (client, may) in [(&mut anonymous, of_anonymous), (&mut user, of_user)] {
            if may {
                client.subscribe(channel).await;
            } else {
                assert_eq!(client.refused("subscribe", json!({"channel": channel})).await, 103, "{channel}");
            }
        }
    }
    assert_eq!(node.metric("fanfare_gateway_denials_total").await, 3.0);
}

async fn private_channels(shards: usize) {
    let node = Setup::new(shards).namespace("team", subscribe_by(Audience::Anyone)).start().await;
    let mut client = node.client().user("42").connect().await;
    for channel in ["$news", "$team:news"] {
        assert_eq!(client.refused("subscribe", json!({"channel": channel})).await, 103);
        let token = token::subscription("42", channel);
        client.call("subscribe", json!({"channel": channel, "token": token})).await;
        node.publish(channel, json!(1)).await;
        client.expect_publication(channel).await;
    }
    assert_eq!(client.refused("subscribe", json!({"channel": "$nowhere:x", "token": "x"})).await, 102);
}

async fn user_limited_channels(shards: usize) {
    let node = Setup::new(shards).namespace("open", subscribe_by(Audience::Anyone)).start().await;
    let mut listed = node.client().user("42").connect().await;
    let mut other = node.client().user("4").connect().await;
    let mut anonymous = node.client().connect().await;
    for channel in ["dialog#41,42", "open:#42", "a#b#42"] {
        listed.subscribe(channel).await;
        assert_eq!(other.refused("subscribe", json!({"channel": channel})).await, 103, "{channel}");
        assert_eq!(anonymous.refused("subscribe", json!({"channel": channel})).await, 103, "{channel}");
    }
    // An empty list admits nobody, the anonymous user included.
    for channel in ["open:x#", "x#", "x#,"] {
        for client in [&mut listed, &mut other, &mut anonymous] {
            assert_eq!(client.refused("subscribe", json!({"channel": channel})).await, 103, "{channel}");
        }
    }
    let token = token::subscription("4", "dialog#41,42");
    other.call("subscribe", json!({"channel": "dialog#41,42", "token": token})).await;
}

async fn refused(client: &mut Client, channel: &str, token: &str) -> u64 {
    client.refused("subscribe", json!({"channel": channel, "token": token})).await
}

async fn closed(node: &Node, channel: &str, claims: fanfare_testkit::Value) -> u16 {
    let mut client = node.client().user("42").connect().await;
    let token = token::with_claims(&claims);
    client.closed_by("subscribe", json!({"channel": channel, "token": token})).await.0
}

async fn subscription_tokens(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().user("42").connect().await;
    let now = token::now();
    let own = |mut more: fanfare_testkit::Value| {
        let mut claims = json!({"sub": "42", "channel": "$news"});
        claims.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
        token::with_claims(&claims)
    };
    // Judged on open channels too.
    for channel in ["$news", "open"] {
        assert_eq!(refused(&mut client, channel, "garbage").await, 103);
    }
    let forged =
        token::signed_with("another secret of at least thirty-two bytes", &json!({"sub": "42", "channel": "$news"}));
    assert_eq!(refused(&mut client, "$news", &forged).await, 103);
    assert_eq!(refused(&mut client, "$news", &token::connection("42")).await, 103);
    assert_eq!(refused(&mut client, "$news", &own(json!({"channel": 7}))).await, 103);
    assert_eq!(refused(&mut client, "$news", &own(json!({"exp": now - 1}))).await, 109);
    assert_eq!(refused(&mut client, "$news", &own(json!({"nbf": now + 90}))).await, 109);
    assert_eq!(refused(&mut client, "$news", &own(json!({"exp": now + 60, "expire_at": now - 1}))).await, 110);

    assert_eq!(closed(&node, "$news", json!({"sub": "42", "channel": "$other"})).await, 3500);
    assert_eq!(closed(&node, "$news", json!({"sub": "43", "channel": "$news"})).await, 3500);
    assert_eq!(closed(&node, "$news", json!({"channel": "$news"})).await, 3500);
    assert_eq!(closed(&node, "$news", json!({"sub": "42", "channel": "$news", "client": "somebody"})).await, 3500);

    let bound = own(json!({"client": client.id}));
    client.call("subscribe", json!({"channel": "$news", "token": bound})).await;
}

async fn what_a_subscription_token_grants(shards: usize) {
    let silent = |options: &mut fanfare_broker::namespaces::ChannelOptions| {
        options.presence = false;
        options.join_leave = false;
    };
    let node = Setup::new(shards).channels(silent).namespace("shown", |options| options.presence = true).start().await;
    let mut client = node.client().user("42").connect().await;
    let expire_at = token::now() + 800 * 24 * 3600;
    let claims = json!({
        "sub": "42", "channel": "$shown:x", "expire_at": expire_at, "info": {"seat": 7}, "data": {"hello": 1},
        "override": {"join_leave": {"value": true}, "force_push_join_leave": {"value": true}},
    });
    let asked = json!({"channel": "$shown:x", "token": token::with_claims(&claims)});
    let result = client.call("subscribe", asked).await;
    assert_eq!(result["data"], json!({"hello": 1}));
    assert_eq!(result["expires"], true);
    assert!(result["ttl"].as_u64().unwrap() > 799 * 24 * 3600, "no cap on subscriptions: {result}");
    let own = json!({"user": "42", "client": client.id, "chan_info": {"seat": 7}});
    assert_eq!(client.expect_push().await["join"]["info"], own);
    let presence = client.call("presence", json!({"channel": "$shown:x"})).await;
    assert_eq!(presence["presence"][&client.id], own);
    client.call("publish", json!({"channel": "$shown:x", "data": 1})).await;
    assert_eq!(client.expect_publication("$shown:x").await["info"], own);
}

async fn a_token_can_switch_recovery_off(shards: usize) {
    let node = Setup::new(shards).start().await;
    let epoch = node.publish("news", json!(1)).await["epoch"].take();
    let mut client = node.client().user("42").connect().await;
    let request = |overrides: fanfare_testkit::Value| {
        let claims = json!({"sub": "42", "channel": "news", "override": overrides});
        json!({"channel": "news", "token": token::with_claims(&claims), "recover": true, "epoch": epoch})
    };
    let off = json!({"value": false});
    let result = client.call("subscribe", request(json!({"force_recovery": off}))).await;
    assert_eq!(result, json!({"positioned": true, "offset": 1, "epoch": epoch, "was_recovering": true}));
    client.call("unsubscribe", json!({"channel": "news"})).await;
    let result = client.call("subscribe", request(json!({"force_recovery": off, "force_positioning": off}))).await;
    assert_eq!(result, json!({"was_recovering": true}));
}

async fn the_channel_limit(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.channels_per_session_max = 8).start().await;
    let mut client = node.client().connect().await;
    for at in 0..8 {
        client.subscribe(&format!("channel-{at}")).await;
    }
    assert_eq!(client.refused("subscribe", json!({"channel": "channel-8"})).await, 106);
    client.call("unsubscribe", json!({"channel": "channel-3"})).await;
    client.subscribe("channel-8").await;
}

async fn what_is_not_there_yet(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().connect().await;
    let with_delta = client.call("subscribe", json!({"channel": "delta", "delta": "fossil", "flag": 1})).await;
    for absent in ["delta", "id", "type"] {
        assert!(with_delta.get(absent).is_none(), "{with_delta}");
    }
    node.publish("delta", json!({"full": true})).await;
    assert_eq!(client.expect_publication("delta").await["data"], json!({"full": true}));
    for kind in [1, 2, 3, 4] {
        assert_eq!(client.refused("subscribe", json!({"channel": "map", "type": kind})).await, 103, "type {kind}");
    }
    let nested = json!({"op": "not", "nodes": [{"key": "k", "cmp": "ex"}]});
    assert_eq!(client.refused("subscribe", json!({"channel": "filtered", "tf": nested})).await, 107);
}

async fn unsubscribing(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().connect().await;
    let mut witness = node.client().connect().await;
    witness.subscribe("news").await;
    assert_eq!(client.call("unsubscribe", json!({"channel": "never"})).await, json!({}));
    assert_eq!(client.call("unsubscribe", json!({"channel": "n\u{f6}rd"})).await, json!({}));
    client.subscribe("news").await;
    assert_eq!(client.call("unsubscribe", json!({"channel": "news"})).await, json!({}));
    node.publish("news", json!(1)).await;
    witness.expect_publication("news").await;
    assert_eq!(client.so_far().await, []);
    client.subscribe("news").await;
    node.publish("news", json!(2)).await;
    assert_eq!(client.expect_publication("news").await["offset"], 2);
}

async fn an_unrecoverable_position_can_be_refused(shards: usize) {
    let node = Setup::new(shards).start().await;
    let published = node.publish("news", json!(1)).await;
    let mut client = node.client().connect().await;
    let lost = json!({"channel": "news", "recover": true, "offset": 1, "epoch": "other", "flag": 2});
    assert_eq!(client.refused("subscribe", lost).await, 112);
    node.publish("news", json!(2)).await;
    assert_eq!(client.so_far().await, [], "there is no subscription");
    assert_eq!(node.metric("fanfare_gateway_subscriptions").await, 0.0);
    node.presence_becomes("news", &client.id, false).await;
    let kept = json!({"channel": "news", "recover": true, "offset": 1, "epoch": published["epoch"], "flag": 3});
    assert_eq!(client.call("subscribe", kept).await["recovered"], true);
}

async fn optimistic_subscriptions(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().open().await;
    let token = token::subscription("42", "$b");
    client
        .send(&[
            json!({"id": 1, "connect": {"token": token::connection("42"), "name": "js"}}),
            json!({"id": 2, "subscribe": {"channel": "a", "flag": 1}}),
            json!({"id": 3, "subscribe": {"channel": "$b", "token": token, "flag": 1}}),
        ])
        .await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.expect_next().await.reply.id);
    }
    assert_eq!(ids, [1, 2, 3]);
}

async fn a_channel_is_told_as_it_was_named(shards: usize) {
    let node = Setup::new(shards).start().await;
    let name = "a\"b\\c/d \u{20}~";
    for opening in [node.client(), node.client().protobuf()] {
        let mut client = opening.connect().await;
        client.subscribe(name).await;
        node.publish(name, json!(1)).await;
        assert_eq!(client.expect_push().await["channel"], name);
    }
}
