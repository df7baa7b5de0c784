//! Who may do what: roles, rules in tokens, and what subscription tokens allow, over real connections.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::sync::Arc;

use fanfare_auth::{Operation, Pattern, Rules};
use fanfare_broker::namespaces::{Access, Audience};
use fanfare_testkit::{Client, Node, Setup, Value, json, on_1_and_3_shards, token};

on_1_and_3_shards!(
    every_principal_does_every_operation_on_every_kind_of_channel,
    a_refresh_brings_other_rights,
    what_a_subscription_token_allows_ends_with_the_subscription,
    rights_of_another_shape_make_a_token_invalid,
    requested_channels_follow_the_rules,
);

const OPERATIONS: [&str; 4] = ["subscribe", "publish", "read_history", "read_presence"];

/// A node whose namespaces are closed (`shut`), open to users (`users`), to subscribers (`members`) and to anyone
/// (`open`), with one role that may do everything in `shut:team:*`.
async fn node(shards: usize) -> Node {
    let mut rules = Rules::default();
    for operation in Operation::ALL {
        rules.allow(operation, [Pattern::parse("shut:team:*").unwrap()]);
    }
    let access = |subscribe, others| Access { subscribe, publish: others, read_history: others, read_presence: others };
    Setup::new(shards)
        .configure(|config| config.auth.roles.rules = [("editor".to_owned(), Arc::new(rules))].into())
        .channels(|options| options.access = Access::default())
        .namespace("shut", |_| {})
        .namespace("users", move |options| options.access = access(Audience::Users, Audience::Users))
        .namespace("members", move |options| options.access = access(Audience::Users, Audience::Subscribers))
        .namespace("open", move |options| options.access = access(Audience::Anyone, Audience::Anyone))
        .start()
        .await
}

async fn client(node: &Node, claims: &Value) -> Client {
    node.client().token(&token::with_claims(claims)).connect().await
}

/// Whether each operation is allowed to a client that is not subscribed, as a row of `y` and `-`.
async fn allowed(node: &Node, claims: &Value, channel: &str) -> String {
    let mut client = client(node, claims).await;
    let mut row = String::new();
    for (name, request) in [
        ("publish", json!({"channel": channel, "data": {}})),
        ("history", json!({"channel": channel})),
        ("presence", json!({"channel": channel})),
        ("subscribe", json!({"channel": channel})),
    ] {
        let reply = client.ask(json!({name: request})).await;
        let code = reply["error"]["code"].as_u64();
        assert!(matches!(code, None | Some(103)), "{name} {channel}: {reply}");
        row.push(if code.is_none() { 'y' } else { '-' });
    }
    client.close().await;
    // In the order of the operations' names.
    format!("{}{}", &row[3..], &row[..3])
}

async fn every_principal_does_every_operation_on_every_kind_of_channel(shards: usize) {
    let node = node(shards).await;
    let rights: Value = OPERATIONS.iter().map(|name| ((*name).to_owned(), json!(["shut:own:{user}"]))).collect();
    let principals = [
        ("anonymous", json!({})),
        ("user", json!({"sub": "42"})),
        ("other role", json!({"sub": "42", "roles": ["viewer"]})),
        ("editor", json!({"sub": "42", "roles": ["viewer", "editor"]})),
        ("editor by scope", json!({"sub": "42", "roles": "openid editor"})),
        ("own rules", json!({"sub": "42", "rights": rights})),
        ("own rules, anonymous", json!({"rights": rights})),
        ("publisher", json!({"sub": "42", "rights": {"publish": ["**"]}})),
    ];
    // Rows in the order of the principals; columns subscribe, publish, read_history, read_presence.
    let table: [(&str, [&str; 8]); 12] = [
        ("plain", ["----", "----", "----", "----", "----", "----", "----", "-y--"]),
        ("shut:a", ["----", "----", "----", "----", "----", "----", "----", "-y--"]),
        ("shut:team:a", ["----", "----", "----", "yyyy", "yyyy", "----", "----", "-y--"]),
        ("shut:team:a:b", ["----", "----", "----", "----", "----", "----", "----", "-y--"]),
        ("$shut:team:a", ["----", "----", "----", "----", "----", "----", "----", "----"]),
        ("shut:team:a#42", ["----", "y---", "y---", "yyyy", "yyyy", "y---", "----", "yy--"]),
        ("shut:team:a#7", ["----", "----", "----", "-yyy", "-yyy", "----", "----", "-y--"]),
        ("shut:own:42", ["----", "----", "----", "----", "----", "yyyy", "----", "-y--"]),
        ("shut:own:7", ["----", "----", "----", "----", "----", "----", "----", "-y--"]),
        ("users:a", ["----", "yyyy", "yyyy", "yyyy", "yyyy", "yyyy", "----", "yyyy"]),
        ("members:a", ["----", "y---", "y---", "y---", "y---", "y---", "----", "yy--"]),
        ("open:a", ["yyyy", "yyyy", "yyyy", "yyyy", "yyyy", "yyyy", "yyyy", "yyyy"]),
    ];
    for (channel, rows) in table {
        for ((name, claims), expected) in principals.iter().zip(rows) {
            assert_eq!(allowed(&node, claims, channel).await, expected, "{name} in {channel}");
        }
    }
}

async fn a_refresh_brings_other_rights(shards: usize) {
    let node = node(shards).await;
    let with = |rights: Value| json!({"sub": "42", "exp": token::now() + 600, "rights": rights});
    let mut client = client(&node, &with(json!({"publish": ["shut:a"]}))).await;
    client.call("publish", json!({"channel": "shut:a", "data": 1})).await;
    assert_eq!(client.refused("publish", json!({"channel": "shut:b", "data": 1})).await, 103);
    let renewed = token::with_claims(&with(json!({"publish": ["shut:b"]})));
    client.call("refresh", json!({"token": renewed})).await;
    client.call("publish", json!({"channel": "shut:b", "data": 1})).await;
    assert_eq!(client.refused("publish", json!({"channel": "shut:a", "data": 1})).await, 103);
}

async fn what_a_subscription_token_allows_ends_with_the_subscription(shards: usize) {
    let node = node(shards).await;
    let mut client = client(&node, &json!({"sub": "42"})).await;
    let subscription = |allow: Value| {
        token::with_claims(&json!({"sub": "42", "channel": "$shut:a", "allow": allow, "exp": token::now() + 600}))
    };
    let publish = json!({"channel": "$shut:a", "data": 1});
    assert_eq!(client.refused("publish", publish.clone()).await, 103);
    let request = json!({"channel": "$shut:a", "token": subscription(json!(["publish", "read_history"]))});
    client.call("subscribe", request).await;
    client.call("publish", publish.clone()).await;
    client.call("history", json!({"channel": "$shut:a"})).await;
    assert_eq!(client.refused("presence", json!({"channel": "$shut:a"})).await, 103);
    let request = json!({"channel": "$shut:a", "token": subscription(json!(["read_presence"]))});
    client.call("sub_refresh", request).await;
    client.call("presence", json!({"channel": "$shut:a"})).await;
    assert_eq!(client.refused("publish", publish.clone()).await, 103, "the new token does not say so");
    client.call("unsubscribe", json!({"channel": "$shut:a"})).await;
    assert_eq!(client.refused("presence", json!({"channel": "$shut:a"})).await, 103);
}

async fn rights_of_another_shape_make_a_token_invalid(shards: usize) {
    let node = node(shards).await;
    let many: Vec<String> = (0..65).map(|number| format!("a:{number}")).collect();
    for claims in [
        json!({"sub": "42", "rights": ["**"]}),
        json!({"sub": "42", "rights": {"publish": "**"}}),
        json!({"sub": "42", "rights": {"publish": ["a*"]}}),
        json!({"sub": "42", "rights": {"everything": ["**"]}}),
        json!({"sub": "42", "rights": {"publish": many}}),
        json!({"sub": "42", "roles": {"editor": true}}),
        json!({"sub": "42", "roles": [5]}),
        json!({"sub": "42", "roles": many}),
    ] {
        assert_eq!(node.client().token(&token::with_claims(&claims)).closed().await.0, 3500, "{claims}");
    }
}

async fn requested_channels_follow_the_rules(shards: usize) {
    let node = node(shards).await;
    let claims = json!({"sub": "42", "roles": ["editor"]});
    let wanted = json!({"shut:team:a": {}, "shut:a": {}, "$shut:team:a": {}});
    let client = node.client().token(&token::with_claims(&claims)).subs(wanted).connect().await;
    let made: Vec<&String> = client.connected["subs"].as_object().unwrap().keys().collect();
    assert_eq!(made, ["shut:team:a"]);
}
