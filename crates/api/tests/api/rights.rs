//! What keys may do: scopes and channel patterns.

use fanfare_api::{Authentication, Key, Limits, Scope};
use fanfare_auth::{Pattern, Secret};
use fanfare_broker::memory;
use http::Request;
use serde_json::{Value, json};

use crate::harness::{Hub, Reply};

const SHOWN: &str = "the-key-that-is-shown";

/// Where the keys of these tests may do what they may.
const PATTERN: &str = "ns:*";

fn key(name: &str, shown: &[&str], scopes: &[Scope], channels: &[&str]) -> Key {
    Key {
        name: name.into(),
        active: shown.iter().map(|text| Secret::new((*text).to_owned())).collect(),
        scopes: scopes.to_vec(),
        channels: channels.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect(),
    }
}

fn hub(keys: Vec<Key>) -> Hub {
    Hub::new(Authentication::Keys(keys), Limits::default(), memory::Options::default())
}

/// A hub with one key, called "shop".
fn hub_of(scopes: &[Scope], channels: &[&str]) -> Hub {
    hub(vec![key("shop", &[SHOWN], scopes, channels)])
}

async fn call(hub: &Hub, method: &str, request: &Value) -> Reply {
    let http = Request::post(format!("/api/{method}")).header("x-api-key", SHOWN);
    let reply = hub.send(http.body(request.to_string().into()).expect("a valid request")).await;
    assert!(!reply.text.contains(SHOWN), "{}", reply.text);
    reply
}

/// The message where the call is denied. Anything else that the API says is not of interest here: the channels that
/// are asked for need not exist.
async fn denial(hub: &Hub, method: &str, request: &Value) -> Option<String> {
    let reply = call(hub, method, request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let body = reply.json();
    (body["error"]["code"] == 103).then(|| body["error"]["message"].as_str().expect("a message").to_owned())
}

/// A method as the table has it: which scope it needs, and whether channels, or all of them, count for it.
struct Row {
    method: &'static str,
    scope: Scope,
    reach: Reach,
}

enum Reach {
    /// One channel, with these further fields.
    Channel(Value),
    /// A list of channels.
    List,
    /// Users with all their channels.
    Everywhere,
    /// No channel.
    Nothing,
}

fn rows() -> Vec<Row> {
    let row = |method, scope, reach| Row { method, scope, reach };
    vec![
        row("publish", Scope::Publish, Reach::Channel(json!({"data": 1}))),
        row("broadcast", Scope::Publish, Reach::List),
        row("presence", Scope::Read, Reach::Channel(json!({}))),
        row("presence_stats", Scope::Read, Reach::Channel(json!({}))),
        row("history", Scope::Read, Reach::Channel(json!({}))),
        row("channels", Scope::Read, Reach::Nothing),
        row("subscribe", Scope::Control, Reach::Channel(json!({"user": "42"}))),
        row("unsubscribe", Scope::Control, Reach::Channel(json!({"user": "42"}))),
        row("disconnect", Scope::Control, Reach::Everywhere),
        row("refresh", Scope::Control, Reach::Everywhere),
        row("block_user", Scope::Control, Reach::Everywhere),
        row("unblock_user", Scope::Control, Reach::Everywhere),
        row("revoke_token", Scope::Control, Reach::Everywhere),
        row("invalidate_user_tokens", Scope::Control, Reach::Everywhere),
        row("revocations", Scope::Control, Reach::Everywhere),
        row("revocation_remove", Scope::Control, Reach::Everywhere),
        row("history_remove", Scope::Admin, Reach::Channel(json!({}))),
        row("info", Scope::Admin, Reach::Nothing),
    ]
}

impl Row {
    /// A request for this channel.
    fn request(&self, channel: &str) -> Value {
        match &self.reach {
            Reach::Channel(fields) => {
                let mut request = fields.clone();
                request["channel"] = channel.into();
                request
            }
            Reach::List => json!({"channels": ["ns:1", channel], "data": 1}),
            Reach::Everywhere if self.method == "revoke_token" => json!({"uid": "t1"}),
            Reach::Everywhere => json!({"user": "42"}),
            Reach::Nothing => json!({}),
        }
    }

    /// What the message of the denial holds, if the key has `scope` for `pattern` and `channel` is asked for.
    fn expected(&self, scope: Scope, pattern: &str, channel: &str) -> Option<String> {
        if scope != self.scope {
            return Some(format!("the key \"shop\" lacks the scope \"{}\", which {} needs", self.scope, self.method));
        }
        let inside = pattern == "**" || channel.starts_with("ns:");
        match self.reach {
            Reach::Channel(_) | Reach::List if !inside => {
                Some(format!("no channel pattern of the key \"shop\" is for \"{channel}\""))
            }
            Reach::Everywhere if pattern != "**" => Some(format!("{} reaches sessions with all", self.method)),
            _ => None,
        }
    }
}

#[tokio::test]
async fn every_method_with_every_scope_inside_and_outside_of_the_pattern() {
    let mut judged = 0;
    for row in rows() {
        for scope in Scope::ALL {
            for (pattern, channel) in [(PATTERN, "ns:1"), (PATTERN, "other:1"), (PATTERN, "ns:1:2"), ("**", "other:1")]
            {
                let case = format!("{} with {scope} for {pattern}, channel {channel}", row.method);
                let expected = match channel {
                    "ns:1:2" => row.expected(scope, pattern, "ns:1:2").or_else(|| deeper(&row)),
                    _ => row.expected(scope, pattern, channel),
                };
                let found = denial(&hub_of(&[scope], &[pattern]), row.method, &row.request(channel)).await;
                assert_eq!(found.is_some(), expected.is_some(), "{case}: {found:?}");
                let (found, expected) = (found.unwrap_or_default(), expected.unwrap_or_default());
                assert!(found.contains(&expected), "{case}: {found:?} lacks {expected:?}");
                judged += 1;
            }
        }
    }
    assert_eq!(judged, 18 * 4 * 4);
}

/// `ns:*` is for two segments, not for three.
fn deeper(row: &Row) -> Option<String> {
    let message = "no channel pattern of the key \"shop\" is for \"ns:1:2\"".to_owned();
    matches!(row.reach, Reach::Channel(_) | Reach::List).then_some(message)
}

#[tokio::test]
async fn the_table_has_every_method_but_the_batch() {
    let document = Hub::open().send(Request::get("/api/openapi.json").body("".into()).expect("a valid request")).await;
    let methods = document.json()["paths"].as_object().expect("paths").len() - 3;
    assert_eq!(rows().len(), methods, "without batch, publish/CHANNEL and openapi.json");
}

#[tokio::test]
async fn scopes_add_up() {
    let hub = hub_of(&[Scope::Publish, Scope::Read], &["news", "ns:**"]);
    for row in rows() {
        let denied = denial(&hub, row.method, &row.request("ns:1")).await.is_some();
        assert_eq!(denied, matches!(row.scope, Scope::Control | Scope::Admin), "{}", row.method);
    }
    assert_eq!(denial(&hub, "history", &json!({"channel": "news"})).await, None);
}

/// With the patterns of roles, `**` left private channels out: a key for everything could not publish there.
#[tokio::test]
async fn private_channels_are_for_keys_that_write_the_dollar_or_are_for_everything() {
    for (pattern, is_for) in [("**", true), ("$ns:*", true), ("ns:*", false), ("*:**", false), ("*:1", false)] {
        let hub = hub_of(&Scope::ALL, &[pattern]);
        let publish = ("publish", json!({"channel": "$ns:1", "data": 1}));
        for (method, request) in [publish, ("history", json!({"channel": "$ns:1"}))] {
            let denied = denial(&hub, method, &request).await;
            assert_eq!(denied.is_none(), is_for, "{method} with {pattern}: {denied:?}");
        }
    }
}

#[tokio::test]
async fn the_keys_of_api_keys_may_do_everything() {
    let hub = hub(vec![Key::with_all_rights(vec![Secret::new(SHOWN.to_owned())])]);
    for row in rows() {
        assert_eq!(denial(&hub, row.method, &row.request("other:1")).await, None, "{}", row.method);
    }
}

#[tokio::test]
async fn the_one_line_publish_is_judged_too() {
    let hub = hub_of(&[Scope::Publish], &["ns:*", "news"]);
    assert_eq!(denial(&hub, "publish/news", &json!(1)).await, None);
    let message = denial(&hub, "publish/other%3Aone", &json!(1)).await.expect("denied");
    assert!(message.contains("is for \"other:one\""), "{message}");
    let message = denial(&hub_of(&[Scope::Read], &["**"]), "publish/news", &json!(1)).await.expect("denied");
    assert!(message.contains("lacks the scope \"publish\""), "{message}");
    assert_eq!(hub.delivered(), ["1"]);
}

#[tokio::test]
async fn a_broadcast_names_the_channels_it_may_not_reach_and_publishes_nothing() {
    let hub = hub_of(&[Scope::Publish], &["news"]);
    let few = json!({"channels": ["news", "a", "b:c"], "data": 1});
    let message = denial(&hub, "broadcast", &few).await.expect("denied");
    assert!(message.ends_with("is for \"a\", \"b:c\""), "{message}");
    let many: Vec<String> = (0..25).map(|number| format!("c{number}")).collect();
    let message = denial(&hub, "broadcast", &json!({"channels": many, "data": 1})).await.expect("denied");
    assert!(message.ends_with("\"c9\" and 15 more"), "{message}");
    assert_eq!(hub.delivered(), [""; 0]);
}

#[tokio::test]
async fn commands_of_a_batch_are_judged_each() {
    let hub = hub_of(&[Scope::Publish], &["news"]);
    for parallel in [false, true] {
        let commands = json!([
            {"publish": {"channel": "news", "data": 1}},
            {"publish": {"channel": "sport", "data": 2}},
            {"history": {"channel": "news"}},
            {"publish": {"channel": "news", "data": 3}},
        ]);
        let reply = call(&hub, "batch", &json!({"commands": commands, "parallel": parallel})).await.json();
        let replies = reply["replies"].as_array().expect("replies");
        let codes: Vec<_> = replies.iter().map(|reply| reply["error"]["code"].as_u64()).collect();
        assert_eq!(codes, [None, Some(103), Some(103), None], "{reply}");
        assert!(replies[1]["error"]["message"].as_str().expect("a message").contains("\"sport\""), "{reply}");
        assert!(replies[2]["error"]["message"].as_str().expect("a message").contains("\"read\""), "{reply}");
    }
    assert_eq!(hub.delivered().len(), 4);
}

#[tokio::test]
async fn channels_are_named_to_whom_they_are_for() {
    let named = async |channels: &[&str]| call(&hub_of(&[Scope::Read], channels), "channels", &json!({})).await.json();
    let all = json!({"news": {"num_clients": 2}, "ns:x": {"num_clients": 1}});
    assert_eq!(named(&["**"]).await["result"]["channels"], all);
    assert_eq!(named(&["ns:*"]).await["result"]["channels"], json!({"ns:x": {"num_clients": 1}}));
    assert_eq!(named(&[]).await["result"]["channels"], json!({}));
}

#[tokio::test]
async fn a_scope_is_judged_before_the_body_and_has_a_status_in_transport_mode() {
    let hub = hub_of(&[Scope::Read], &["**"]);
    let http = Request::post("/api/publish").header("x-api-key", SHOWN).header("x-centrifugo-error-mode", "transport");
    let reply = hub.send(http.body("no json".into()).expect("a valid request")).await;
    assert_eq!(reply.status, 403);
    assert_eq!(reply.json()["code"], 103);
}

#[tokio::test]
async fn both_keys_of_a_name_are_good_and_rights_are_those_of_the_name() {
    let keys = vec![
        key("shop", &["shop-new", "shop-old"], &[Scope::Publish], &["ns:*"]),
        key("watch", &["watch-new"], &[Scope::Admin], &["**"]),
    ];
    let hub = hub(keys);
    let send = async |shown: &str, method: &str, request: Value| {
        let http = Request::post(format!("/api/{method}")).header("x-api-key", shown);
        hub.send(http.body(request.to_string().into()).expect("a valid request")).await
    };
    for shown in ["shop-new", "shop-old"] {
        let reply = send(shown, "publish", json!({"channel": "news", "data": 1})).await;
        assert_eq!(reply.error().0, 103);
        assert!(reply.text.contains("shop") && !reply.text.contains(shown), "{}", reply.text);
        assert_eq!(send(shown, "info", json!({})).await.error().0, 103);
    }
    assert_eq!(send("watch-new", "info", json!({})).await.status, 200);
    send("watch-old", "info", json!({})).await.check(401, 101, "api.named_keys");
}

#[tokio::test]
async fn denials_are_counted_by_reason_and_nothing_else() {
    let hub = hub_of(&[Scope::Publish], &["news"]);
    hub.send(Request::post("/api/info").body("{}".into()).expect("a valid request")).await.check(401, 101, "");
    let wrong = Request::post("/api/info").header("x-api-key", "another-key");
    hub.send(wrong.body("{}".into()).expect("a valid request")).await.check(401, 101, "");
    call(&hub, "info", &json!({})).await;
    call(&hub, "publish", &json!({"channel": "sport", "data": 1})).await;
    let commands = json!({"commands": [{"info": {}}, {"publish": {"channel": "sport", "data": 1}}]});
    call(&hub, "batch", &commands).await;
    let families = hub.metrics.collectors()[1].collect();
    let mut counts: Vec<(String, f64)> = families[0]
        .get_metric()
        .iter()
        .map(|metric| (metric.get_label()[0].value().to_owned(), metric.get_counter().get_value()))
        .collect();
    counts.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [("channel", 2.0), ("no_key", 1.0), ("scope", 2.0), ("unknown_key", 1.0)];
    assert_eq!(counts, expected.map(|(label, count)| (label.to_owned(), count)));
    assert_eq!(families[0].get_metric()[0].get_label().len(), 1);
}
