//! How sessions and subscriptions begin and end.

use fanfare_broker::control::{RefreshControl, Target};
use fanfare_protocol::Disconnect;

use super::*;

fn user(name: &str) -> Target {
    Target { user: Some(name.to_owned()), ..Target::default() }
}

#[test]
fn a_slow_session_ends_with_3008_after_the_frame_in_progress() {
    let mut bench = Bench::with(Options { outbox_bytes_max: 150, ..Options::default() });
    let (slow, fast) = (bench.connected("a"), bench.connected("b"));
    bench.subscribed_at(slow, "news", 0);
    bench.subscribed_at(fast, "news", 0);
    bench.shard.take_event(&event("news", 1));
    let first = bench.shard.session(slow).unwrap().outbox.head().len();
    bench.shard.written(slow, 5);
    bench.shard.blocked(slow);
    for offset in 2..=4 {
        assert_eq!(bench.sent(fast), pubs([offset - 1]));
        bench.shard.take_event(&event("news", offset));
    }
    let outbox = &bench.shard.session(slow).unwrap().outbox;
    let mut left = Vec::new();
    outbox.gather(&mut left, usize::MAX);
    assert_eq!(&left[first - 5..first - 3], [0x88, 6], "the close frame follows the rest of the first frame");
    assert_eq!(left[first - 3..first - 1], 3008_u16.to_be_bytes());
    assert_eq!(bench.sent(fast), pubs([4]));
    assert_eq!(bench.shard.stats().outbox_bytes.get(), left.len() as u64);
}

#[test]
fn a_closed_session_gets_nothing_more_and_leaves_everything() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    bench.subscribed_at(id, "news", 0);
    bench.shard.close(id, &Disconnect::FORCE_DISCONNECT);
    bench.shard.close(id, &Disconnect::SHUTDOWN);
    bench.shard.take_event(&event("news", 1));
    assert_eq!(bench.sent(id), [Sent::Close(3503)]);
    assert!(fanfare_broker::NodeSink::channels(&*bench.directory, None).is_empty());
    assert!(bench.shard.sessions_of("42").is_empty());
    bench.shard.remove(id);
    assert_eq!(bench.shard.stats().sessions.get(), 0);
    assert_eq!(bench.shard.stats().outbox_bytes.get(), 0);
}

#[test]
fn a_session_that_ends_while_joining_leaves_the_rest_to_its_task() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.begin(id, "news", Origin::Client);
    bench.shard.remove(id);
    assert!(bench.shard.take_effects().is_empty());
    assert!(bench.shard.commit(begun, Backlog::None).is_none());
    assert!(!bench.shard.settle(begun));
    assert_eq!(bench.shard.stats().channels.get(), 0);
}

#[test]
fn a_live_subscription_leaves_its_departure_behind() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let new = NewSubscription { presence: true, announces: true, ..Bench::new_subscription("news", Origin::Client) };
    let begun = bench.shard.begin(id, &new).unwrap();
    bench.shard.commit(begun, Backlog::None).unwrap().unwrap();
    bench.shard.settle(begun);
    bench.shard.remove(id);
    let effects = bench.shard.take_effects();
    let [Effect::Leave(departure)] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(departure.presence && departure.join_leave);
    assert_eq!(departure.info.client, client_id("a").to_string());
}

#[test]
fn a_second_subscription_to_a_channel_and_one_over_the_limit_are_refused() {
    let mut bench = Bench::with(Options { channels_per_session_max: 1, ..Options::default() });
    let id = bench.connected("a");
    bench.subscribed_at(id, "news", 0);
    let begin = |bench: &mut Bench, name| bench.shard.begin(id, &Bench::new_subscription(name, Origin::Client));
    assert_eq!(begin(&mut bench, "news"), Err(Refused::AlreadySubscribed));
    assert_eq!(begin(&mut bench, "more"), Err(Refused::LimitExceeded));
}

#[test]
fn an_unsubscribe_while_joining_takes_effect_when_it_is_made() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.begin(id, "news", Origin::Client);
    bench.shard.apply_unsubscribe(&user("42"), &channel("news"), &Unsubscribe::SERVER);
    assert!(bench.sent(id).is_empty());
    bench.shard.commit(begun, Backlog::None).unwrap().unwrap();
    assert!(bench.shard.settle(begun));
    assert_eq!(bench.sent(id), [Sent::Unsubscribed(2000)]);
    assert!(matches!(bench.shard.take_effects().as_slice(), [Effect::Release(_)]));
}

#[test]
fn commands_reach_the_sessions_of_the_user_and_no_others() {
    let mut bench = Bench::new();
    let (first, second) = (bench.connected("a"), bench.connected("b"));
    bench.shard.apply_disconnect(&user("7"), &Disconnect::FORCE_DISCONNECT, &[]);
    bench.shard.apply_disconnect(&user("42"), &Disconnect::FORCE_DISCONNECT, &[client_id("a").to_string()]);
    assert!(bench.sent(first).is_empty());
    assert_eq!(bench.sent(second), [Sent::Close(3503)]);
    let session = Target { session: Some("s".to_owned()), ..user("42") };
    bench.shard.apply_disconnect(&session, &Disconnect::FORCE_DISCONNECT, &[]);
    assert!(bench.sent(first).is_empty());
}

#[test]
fn an_unsubscribe_of_what_nobody_has_pushes_nothing() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    bench.shard.apply_unsubscribe(&user("42"), &channel("news"), &Unsubscribe::SERVER);
    assert!(bench.sent(id).is_empty());
}

#[test]
fn a_refresh_from_the_api_replaces_the_expiry_or_ends_the_session() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let refresh = RefreshControl { expire_at: Some(1_060), ..RefreshControl::default() };
    bench.at(Duration::from_secs(1));
    bench.shard.apply_refresh(&user("42"), &refresh);
    assert_eq!(bench.sent(id), [Sent::Other(r#"{"push":{"refresh":{"expires":true,"ttl":59}}}"#.to_owned())]);
    bench.shard.apply_refresh(&user("42"), &RefreshControl::default());
    assert_eq!(bench.sent(id), [Sent::Other(r#"{"push":{"refresh":{}}}"#.to_owned())]);
    bench.shard.apply_refresh(&user("42"), &RefreshControl { expired: true, ..RefreshControl::default() });
    assert_eq!(bench.sent(id), [Sent::Close(3005)]);
}

#[test]
fn a_payload_that_is_not_json_ends_json_sessions_only() {
    let mut bench = Bench::new();
    let json = bench.connected("a");
    let protobuf = bench.shard.open(Encoding::Protobuf, false);
    let identity = Identity { user: "", client: client_id("b"), info: &Bytes::new() };
    bench.shard.identify(protobuf, &identity, None, TokenStamp::NONE);
    bench.shard.welcome(protobuf, None).unwrap();
    bench.subscribed_at(json, "news", 0);
    bench.subscribed_at(protobuf, "news", 0);
    let raw = Publication { json: false, ..Publication::clone(&publication("news", Some(position(1)))) };
    bench.shard.take_event(&Event::Publication(Arc::new(raw)));
    assert_eq!(bench.sent(json), [Sent::Close(3506)]);
    assert!(!bench.shard.session(protobuf).unwrap().outbox.is_empty());
}

#[test]
fn joins_go_only_to_those_who_asked() {
    let mut bench = Bench::new();
    let (asked, other) = (bench.connected("a"), bench.connected("b"));
    bench.subscribed_at(asked, "news", 0);
    let quiet = NewSubscription { join_leave: false, ..Bench::new_subscription("news", Origin::Client) };
    let begun = bench.shard.begin(other, &quiet).unwrap();
    bench.shard.commit(begun, Backlog::Top(position(0))).unwrap().unwrap();
    let info = Arc::new(ClientInfo { client: "c".to_owned(), ..ClientInfo::default() });
    bench.shard.take_event(&Event::Join(channel("news"), Arc::clone(&info)));
    bench.shard.take_event(&Event::Leave(channel("news"), info));
    assert_eq!(bench.sent(asked), [Sent::Join("c".to_owned()), Sent::Leave("c".to_owned())]);
    assert!(bench.sent(other).is_empty());
}

#[test]
fn a_maker_does_not_take_a_later_subscription_for_its_own() {
    let mut bench = Bench::new();
    let (id, other) = (bench.connected("a"), bench.connected("b"));
    bench.subscribed_at(other, "news", 0);
    let first = bench.begin(id, "news", Origin::Api);
    bench.shard.commit(first, Backlog::Top(position(0))).unwrap().unwrap();
    let news = bench.shard.channel_id(&channel("news")).unwrap();
    // Ended while its join is on the way, and begun again.
    assert!(bench.shard.unsubscribe_with_push(id, news, &Unsubscribe::SERVER));
    let second = bench.begin(id, "news", Origin::Api);
    assert!(!bench.shard.settle(first));
    bench.shard.forget(first);
    bench.shard.take_event(&event("news", 1));
    let committed = bench.shard.commit(second, Backlog::Top(position(0))).unwrap().unwrap();
    assert_eq!(committed.position, Some(position(1)), "what was held back for it is there");
    assert!(bench.shard.settle(second));
    bench.shard.take_event(&event("news", 2));
    assert_eq!(bench.sent(other), pubs(1..=2));
}

#[test]
fn a_burst_makes_nobody_slow_before_a_write_was_tried() {
    let mut bench = Bench::with(Options { outbox_bytes_max: 500, ..Options::default() });
    let id = bench.connected("a");
    bench.subscribed_at(id, "news", 0);
    let mut taken = 0;
    while !bench.shard.is_pressed() {
        taken += 1;
        bench.shard.take_event(&event("news", taken));
    }
    assert!(bench.shard.session(id).unwrap().outbox.bytes() <= 500, "the rest stays on the ring");
    assert_eq!(bench.shard.next_dirty(), Some(id));
    assert!(!bench.shard.is_pressed(), "everything was offered");
    assert_eq!(bench.sent(id), pubs(1..=taken));
}

#[test]
fn a_making_that_ended_does_not_settle_its_successor() {
    let mut bench = Bench::new();
    let (id, other) = (bench.connected("a"), bench.connected("b"));
    bench.subscribed_at(other, "news", 0);
    let first = bench.begin(id, "news", Origin::Client);
    bench.shard.commit(first, Backlog::Top(position(0))).unwrap().unwrap();
    bench.shard.apply_unsubscribe(&user("42"), &channel("news"), &Unsubscribe::SERVER);
    bench.subscribed_at(other, "news", 0);
    let second = bench.begin(id, "news", Origin::Api);
    assert!(!bench.shard.settle(first));
    bench.shard.forget(first);
    assert!(bench.shard.commit(first, Backlog::None).is_none());
    bench.shard.remove(id);
    assert!(!bench.shard.settle(second));
    bench.shard.take_event(&event("news", 1));
    assert!(bench.sent(other).contains(&Sent::Pub(1, "news".to_owned())), "the bystander still listens");
}

#[test]
fn a_new_info_is_shown_in_presence_at_once() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let new = NewSubscription { presence: true, ..Bench::new_subscription("news", Origin::Client) };
    let begun = bench.shard.begin(id, &new).unwrap();
    bench.shard.commit(begun, Backlog::None).unwrap().unwrap();
    bench.shard.settle(begun);
    bench.shard.replace_info(id, &Bytes::from_static(b"{\"v\":2}"));
    let effects = bench.shard.take_effects();
    let [Effect::RefreshPresence(_, info)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(info.conn_info, "{\"v\":2}");
}
