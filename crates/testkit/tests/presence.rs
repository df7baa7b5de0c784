//! Who is in a channel (protocol §7.4), and who comes and goes.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::time::Duration;

use fanfare_broker::namespaces::{Access, Audience};
use fanfare_testkit::{Client, Setup, Unit, Value, json, on_1_and_3_shards, token};

on_1_and_3_shards!(
    presence_and_its_counts,
    who_may_read_presence,
    without_presence_it_is_not_available,
    the_own_join_comes_right_behind_the_reply,
    joins_and_leaves_come_in_order,
    no_own_leave,
    joins_for_those_who_asked_only,
    server_side_subscriptions_join_too,
    quick_resubscribes,
    a_cut_session_leaves,
    presence_lives_as_long_as_the_session,
    history_reads,
);

async fn presence_and_its_counts(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut clients: Vec<Client> = Vec::new();
    for user in ["41", "42", "42"] {
        let mut client = node.client().user(user).connect().await;
        client.subscribe("room").await;
        clients.push(client);
    }
    let expected: serde_json::Map<String, Value> = clients
        .iter()
        .zip(["41", "42", "42"])
        .map(|(client, user)| (client.id.clone(), json!({"user": user, "client": client.id})))
        .collect();
    for client in &mut clients {
        assert_eq!(client.call("presence", json!({"channel": "room"})).await["presence"], json!(expected));
        let stats = client.call("presence_stats", json!({"channel": "room"})).await;
        assert_eq!(stats, json!({"num_clients": 3, "num_users": 2}));
    }
    assert_eq!(node.call("presence", json!({"channel": "room"})).await["presence"], json!(expected));
    let empty = clients[0].call("presence", json!({"channel": "empty"})).await;
    assert_eq!(empty, json!({"presence": {}}));
    let none = clients[0].call("presence_stats", json!({"channel": "empty"})).await;
    assert_eq!(none, json!({"num_clients": 0, "num_users": 0}));
}

async fn who_may_read_presence(shards: usize) {
    let reading = |audience: Audience| {
        move |options: &mut fanfare_broker::namespaces::ChannelOptions| {
            options.access = Access {
                subscribe: Audience::Anyone,
                read_presence: audience,
                read_history: audience,
                ..Access::default()
            };
        }
    };
    let node = Setup::new(shards)
        .namespace("nobody", reading(Audience::Nobody))
        .namespace("users", reading(Audience::Users))
        .namespace("subscribers", reading(Audience::Subscribers))
        .start()
        .await;
    let mut anonymous = node.client().connect().await;
    let mut user = node.client().user("42").connect().await;
    let mut subscriber = node.client().connect().await;
    subscriber.subscribe("subscribers:x").await;
    for (channel, expected) in [
        ("nobody:x", [false, false, false]),
        ("users:x", [false, true, false]),
        ("subscribers:x", [false, false, true]),
    ] {
        for (client, expected) in [&mut anonymous, &mut user, &mut subscriber].into_iter().zip(expected) {
            for command in ["presence", "presence_stats", "history"] {
                let reply = client.ask(json!({command: {"channel": channel}})).await;
                let allowed = reply[command].is_object();
                assert!(allowed || reply["error"]["code"] == 103, "{reply}");
                assert_eq!(allowed, expected, "{command} {channel}");
            }
        }
    }
}

async fn without_presence_it_is_not_available(shards: usize) {
    let bare = |options: &mut fanfare_broker::namespaces::ChannelOptions| {
        (options.presence, options.join_leave, options.retention) = (false, false, None);
    };
    let node = Setup::new(shards).channels(bare).start().await;
    let mut client = node.client().connect().await;
    client.call("subscribe", json!({"channel": "room", "join_leave": true})).await;
    for command in ["presence", "presence_stats", "history"] {
        assert_eq!(client.refused(command, json!({"channel": "room"})).await, 108, "{command}");
        assert_eq!(node.api(command, &json!({"channel": "room"})).await["error"]["code"], 108, "{command}");
    }
    let mut other = node.client().connect().await;
    other.subscribe("room").await;
    assert_eq!(client.so_far().await, [], "no joins");
}

async fn joins(client: &mut Client, channel: &str) -> Value {
    client.call("subscribe", json!({"channel": channel, "join_leave": true})).await
}

async fn the_own_join_comes_right_behind_the_reply(shards: usize) {
    let node = Setup::new(shards).start().await;
    for opening in [node.client().user("42"), node.client().user("42").protobuf()] {
        let mut client = opening.connect().await;
        let id = client.command(json!({"subscribe": {"channel": "room", "join_leave": true}})).await;
        assert_eq!(client.expect_next().await.reply.id, id);
        let push = client.expect_next().await.value["push"].take();
        let own = json!({"info": {"user": "42", "client": client.id}});
        assert_eq!(push, json!({"channel": "room", "join": own}));
        client.close().await;
    }
}

async fn joins_and_leaves_come_in_order(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut witness = node.client().connect().await;
    joins(&mut witness, "room").await;
    witness.expect_push().await;
    for round in 0..5 {
        let mut guest = node.client().user("guest").connect().await;
        guest.subscribe("room").await;
        guest.call("publish", json!({"channel": "room", "data": round})).await;
        guest.call("unsubscribe", json!({"channel": "room"})).await;
        let info = json!({"info": {"user": "guest", "client": guest.id}});
        assert_eq!(witness.expect_push().await["join"], info);
        assert_eq!(witness.expect_push().await["pub"]["data"], round);
        assert_eq!(witness.expect_push().await["leave"], info);
    }
    assert_eq!(witness.so_far().await, []);
}

async fn no_own_leave(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut client = node.client().connect().await;
    joins(&mut client, "room").await;
    client.expect_push().await;
    client.call("unsubscribe", json!({"channel": "room"})).await;
    assert_eq!(client.so_far().await, []);
}

async fn joins_for_those_who_asked_only(shards: usize) {
    let quiet = |options: &mut fanfare_broker::namespaces::ChannelOptions| options.join_leave = false;
    let node = Setup::new(shards).namespace("quiet", quiet).start().await;
    let mut asked = node.client().connect().await;
    joins(&mut asked, "room").await;
    asked.expect_push().await;
    joins(&mut asked, "quiet:room").await;
    let mut silent = node.client().protobuf().connect().await;
    silent.subscribe("room").await;
    assert_eq!(asked.expect_push().await["join"]["info"]["client"], silent.id.as_str());
    silent.subscribe("quiet:room").await;
    let mut third = node.client().connect().await;
    third.subscribe("room").await;
    asked.expect_push().await;
    assert_eq!(silent.so_far().await, []);
    assert_eq!(asked.so_far().await, []);
}

async fn server_side_subscriptions_join_too(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut witness = node.client().connect().await;
    joins(&mut witness, "room").await;
    witness.expect_push().await;
    let claims = json!({"sub": "42", "subs": {"room": {"info": {"seat": 1}, "override": {"force_push_join_leave": {"value": true}}}}});
    let mut client = node.client().token(&token::with_claims(&claims)).open().await;
    client.send(&[json!({"id": 1, "connect": {"token": token::with_claims(&claims)}})]).await;
    let reply = client.expect_next().await.value;
    let id = reply["connect"]["client"].as_str().unwrap().to_owned();
    let info = json!({"user": "42", "client": id, "chan_info": {"seat": 1}});
    assert_eq!(client.expect_next().await.value["push"]["join"]["info"], info, "right behind the connect reply");
    assert_eq!(witness.expect_push().await["join"]["info"], info);
    drop(client);
    assert_eq!(witness.expect_push().await["leave"]["info"], info);
}

fn kinds(units: &[Unit]) -> Vec<&'static str> {
    let kind = |unit: &Unit| ["join", "leave", "pub"].into_iter().find(|kind| unit.value["push"][kind].is_object());
    units.iter().filter_map(kind).collect()
}

/// A late removal must not hit the entry that came after it.
async fn quick_resubscribes(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut witness = node.client().connect().await;
    joins(&mut witness, "room").await;
    witness.expect_push().await;
    let mut client = node.client().user("42").connect().await;
    for round in 0..20_u32 {
        let base = 1_000 + round * 10;
        client
            .send(&[
                json!({"id": base, "subscribe": {"channel": "room"}}),
                json!({"id": base + 1, "unsubscribe": {"channel": "room"}}),
                json!({"id": base + 2, "subscribe": {"channel": "room"}}),
                json!({"id": base + 3, "presence": {"channel": "room"}}),
                json!({"id": base + 4, "unsubscribe": {"channel": "room"}}),
                json!({"id": base + 5, "presence": {"channel": "room"}}),
            ])
            .await;
        let there = client.expect_reply(base + 3).await;
        assert!(there["presence"]["presence"][&client.id].is_object(), "{there}");
        let gone = client.expect_reply(base + 5).await;
        assert!(gone["presence"]["presence"].get(&client.id).is_none(), "{gone}");
    }
    node.publish("room", json!("end")).await;
    witness.expect_publication("room").await;
    let told = witness.take_arrived();
    assert_eq!(kinds(&told), ["join", "leave"].repeat(40));

    // Ended by the server, begun again by the client at once.
    for _ in 0..20 {
        client.subscribe("room").await;
        node.call("unsubscribe", json!({"user": "42", "channel": "room"})).await;
        client.subscribe("room").await;
        let there = client.call("presence", json!({"channel": "room"})).await;
        assert!(there["presence"][&client.id].is_object(), "{there}");
        client.call("unsubscribe", json!({"channel": "room"})).await;
    }
}

async fn a_cut_session_leaves(shards: usize) {
    let node = Setup::new(shards).start().await;
    let mut witness = node.client().connect().await;
    joins(&mut witness, "room").await;
    witness.expect_push().await;
    for reset in [false, true] {
        let mut client = node.client().connect().await;
        client.subscribe("room").await;
        let id = client.id.clone();
        assert_eq!(witness.expect_push().await["join"]["info"]["client"], id.as_str());
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        assert_eq!(witness.expect_push().await["leave"]["info"]["client"], id.as_str());
        node.presence_becomes("room", &id, false).await;
    }
}

/// Entries live for two seconds here; they are refreshed as long as the session lives.
async fn presence_lives_as_long_as_the_session(shards: usize) {
    let short = Duration::from_secs(2);
    let node = Setup::new(shards).sessions(|options| options.presence_ttl = short).start().await;
    let mut client = node.client().connect().await;
    client.subscribe("room").await;
    client.subscribe("other").await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        for channel in ["room", "other"] {
            let stats = client.call("presence_stats", json!({"channel": channel})).await;
            assert_eq!(stats["num_clients"], 1, "{channel}");
        }
    }
}

async fn history_reads(shards: usize) {
    let node = Setup::new(shards).sessions(|options| options.history_page_max = 4).start().await;
    let mut epoch = Value::Null;
    for number in 1..=6 {
        epoch = node.publish("news", json!(number)).await["epoch"].take();
    }
    for opening in [node.client(), node.client().protobuf()] {
        let mut client = opening.connect().await;
        let top = json!({"publications": [], "epoch": epoch, "offset": 6});
        assert_eq!(client.call("history", json!({"channel": "news"})).await, top);
        for (more, expected) in [
            (json!({"limit": 2}), vec![1, 2]),
            (json!({"limit": -1}), vec![1, 2, 3, 4]),
            (json!({"limit": 100}), vec![1, 2, 3, 4]),
            (json!({"limit": 2, "reverse": true}), vec![6, 5]),
            (json!({"limit": 9, "since": {"offset": 4, "epoch": epoch}}), vec![5, 6]),
            (json!({"limit": 9, "since": {"offset": 4}}), vec![5, 6]),
            (json!({"limit": 9, "since": {"offset": 3, "epoch": epoch}, "reverse": true}), vec![2, 1]),
            (json!({"limit": 9, "since": {"offset": 100, "epoch": epoch}, "reverse": true}), vec![]),
            (json!({"limit": 9, "since": {"offset": 6, "epoch": epoch}}), vec![]),
        ] {
            let mut request = more.clone();
            request["channel"] = json!("news");
            let result = client.call("history", request).await;
            let offsets: Vec<u64> = result["publications"]
                .as_array()
                .unwrap()
                .iter()
                .map(|kept| kept["offset"].as_u64().unwrap())
                .collect();
            assert_eq!(offsets, expected, "{more}");
            assert_eq!((&result["epoch"], &result["offset"]), (&epoch, &json!(6)));
        }
        let since = |offset: u64, epoch: &str| json!({"channel": "news", "since": {"offset": offset, "epoch": epoch}});
        assert_eq!(client.refused("history", since(1, "other")).await, 112);
        let mut below = since(0, "");
        below["reverse"] = json!(true);
        assert_eq!(client.refused("history", below).await, 107);
    }
}
