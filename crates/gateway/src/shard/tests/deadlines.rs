//! Pings, pongs, expiries and stalls.

use super::*;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_session_that_never_connects_is_stale() {
    let mut bench = Bench::new();
    let id = bench.shard.open(Encoding::Json, false);
    bench.at(seconds(9));
    assert!(bench.sent(id).is_empty());
    bench.at(seconds(11));
    assert_eq!(bench.sent(id), [Sent::Close(3502)]);
}

#[test]
fn a_refused_session_is_stale_at_the_same_time() {
    let mut bench = Bench::new();
    let id = bench.shard.open(Encoding::Json, false);
    bench.shard.refuse(id);
    bench.at(seconds(11));
    assert_eq!(bench.sent(id), [Sent::Close(3502)]);
}

#[test]
fn pings_come_every_interval_and_want_a_pong() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    assert!(!bench.shard.pong(id), "none is awaited yet");
    bench.at(seconds(12));
    assert!(bench.sent(id).is_empty(), "the first ping comes in the second half of the interval");
    bench.at(seconds(26));
    assert_eq!(bench.sent(id), [Sent::Ping]);
    assert!(bench.shard.pong(id));
    assert!(!bench.shard.pong(id), "one pong for one ping");
    bench.at(seconds(52));
    assert_eq!(bench.sent(id), [Sent::Ping]);
    bench.at(seconds(61));
    assert_eq!(bench.sent(id), [Sent::Close(3012)]);
}

#[test]
fn a_connection_expires_after_its_grace() {
    let mut bench = Bench::without_pings();
    let id = bench.connected("a");
    bench.shard.set_now(Now { millis: 0, unix_seconds: 1_000 });
    bench.shard.set_expiry(id, Some(1_010));
    bench.at(seconds(34));
    assert!(bench.sent(id).is_empty());
    bench.at(seconds(36));
    assert_eq!(bench.sent(id), [Sent::Close(3005)]);
}

#[test]
fn a_lifted_expiry_does_not_end_the_connection() {
    let mut bench = Bench::without_pings();
    let id = bench.connected("a");
    bench.shard.set_now(Now { millis: 0, unix_seconds: 1_000 });
    bench.shard.set_expiry(id, Some(1_010));
    bench.shard.set_expiry(id, None);
    bench.at(seconds(100));
    assert!(bench.sent(id).is_empty());
}

#[test]
fn an_expired_subscription_is_told_and_a_server_side_one_ends_the_session() {
    let mut bench = Bench::without_pings();
    let (own, made) = (bench.connected("a"), bench.connected("b"));
    bench.shard.set_now(Now { millis: 0, unix_seconds: 1_000 });
    let begun = bench.subscribed_at(own, "news", 0);
    bench.shard.set_subscription_expiry(own, begun.channel, Some(1_010));
    let begun = bench.begin(made, "news", Origin::Api);
    bench.shard.commit(begun, Backlog::None).unwrap().unwrap();
    bench.shard.settle(begun);
    bench.shard.set_subscription_expiry(made, begun.channel, Some(1_010));
    bench.at(seconds(36));
    assert_eq!(bench.sent(own), [Sent::Unsubscribed(2501)]);
    assert_eq!(bench.sent(made), [Sent::Close(3006)]);
}

#[test]
fn a_socket_that_takes_nothing_ends_the_session_and_one_that_takes_something_does_not() {
    let mut bench = Bench::new();
    let (stalled, slow) = (bench.connected("a"), bench.connected("b"));
    for id in [stalled, slow] {
        bench.subscribed_at(id, "news", 0);
    }
    bench.shard.take_event(&event("news", 1));
    bench.shard.blocked(stalled);
    bench.shard.blocked(slow);
    bench.shard.written(slow, 3);
    bench.at(seconds(2));
    assert!(!bench.shard.is_open(stalled));
    assert!(bench.shard.is_open(slow));
}

#[test]
fn a_closed_session_is_cut_when_its_close_frame_does_not_leave() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    bench.shard.close(id, &fanfare_protocol::Disconnect::FORCE_DISCONNECT);
    bench.at(seconds(4));
    assert!(bench.shard.take_effects().is_empty());
    bench.at(seconds(6));
    assert!(matches!(bench.shard.take_effects().as_slice(), [Effect::Cut(cut)] if *cut == id));
}

#[test]
fn a_finished_session_is_cut_when_its_peer_stays() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    bench.shard.close(id, &fanfare_protocol::Disconnect::FORCE_DISCONNECT);
    bench.shard.finished(id);
    bench.at(seconds(3));
    assert!(matches!(bench.shard.take_effects().as_slice(), [Effect::Cut(_)]));
}

#[test]
fn presence_is_refreshed_three_times_in_its_life() {
    let mut bench = Bench::without_pings();
    let id = bench.connected("a");
    let present = NewSubscription { presence: true, ..Bench::new_subscription("news", Origin::Client) };
    let begun = bench.shard.begin(id, &present).unwrap();
    bench.shard.commit(begun, Backlog::None).unwrap().unwrap();
    bench.shard.settle(begun);
    bench.shard.start_presence(id);
    for (number, at) in [(1, 21), (2, 42)] {
        bench.at(seconds(at));
        assert!(matches!(bench.shard.take_effects().as_slice(), [Effect::RefreshPresence(..)]));
        bench.shard.presence_changed(number);
    }
}

#[test]
fn a_refresh_of_presence_is_not_queued_again_before_the_last_one_is_through() {
    let mut bench = Bench::without_pings();
    let id = bench.connected("a");
    let present = NewSubscription { presence: true, ..Bench::new_subscription("news", Origin::Client) };
    let begun = bench.shard.begin(id, &present).unwrap();
    bench.shard.commit(begun, Backlog::None).unwrap().unwrap();
    bench.shard.settle(begun);
    bench.shard.start_presence(id);
    bench.at(seconds(21));
    assert_eq!(bench.shard.take_effects().len(), 1);
    bench.at(seconds(42));
    assert_eq!(bench.shard.take_effects().len(), 0);
    bench.shard.presence_changed(1);
    bench.at(seconds(63));
    assert_eq!(bench.shard.take_effects().len(), 1);
}

#[test]
fn a_drain_spreads_the_closes_over_its_window() {
    let mut bench = Bench::new();
    let sessions: Vec<SlotId> = (0..100).map(|number| bench.connected(&number.to_string())).collect();
    bench.shard.drain(10_000);
    let closed = |bench: &Bench| sessions.iter().filter(|id| !bench.shard.is_open(**id)).count();
    bench.at(seconds(5));
    let half = closed(&bench);
    assert!((20..80).contains(&half), "{half} of 100 after half of the window");
    bench.at(Duration::from_millis(10_100));
    assert_eq!(closed(&bench), 100);
    assert_eq!(bench.sent(sessions[0]).pop(), Some(Sent::Close(3001)));
}

/// Pings, pongs and expiries go by the clock that no operator sets; what is asked from now on goes by the new time.
#[test]
fn row_113_a_wall_clock_that_jumps_closes_nobody() {
    for wall_seconds in [1_000_000 + 3_600, 1_000_000 - 3_600, 0] {
        let mut bench = Bench::new();
        bench.shard.set_now(Now { millis: 0, unix_seconds: 1_000_000 });
        let ids: Vec<_> = (0..50).map(|number| bench.connected(&format!("client-{number}"))).collect();
        for id in &ids {
            bench.shard.set_expiry(*id, Some(1_000_000 + 600));
        }
        bench.shard.set_now(Now { millis: 1_000, unix_seconds: wall_seconds });
        bench.shard.run_deadlines();
        for id in &ids {
            assert_eq!(bench.sent(*id), [], "nothing is due after a second");
        }
        let late = bench.connected("late");
        bench.shard.set_expiry(late, Some(wall_seconds + 1));
        // The pings of all come and are answered, and none is closed but the one whose token ends by the new time.
        for millis in [13_000, 26_000, 28_000] {
            bench.shard.set_now(Now { millis, unix_seconds: wall_seconds + millis / 1_000 });
            bench.shard.run_deadlines();
            for id in &ids {
                bench.shard.pong(*id);
            }
        }
        assert!(ids.iter().all(|id| bench.shard.is_open(*id)), "{wall_seconds}");
        assert!(!bench.shard.is_open(late), "{wall_seconds}");
    }
}

/// What is said of a subscription does not concern the one that its client has made since.
#[test]
fn defect_a_late_refusal_ended_a_newer_subscription() {
    for origin in [Origin::Client, Origin::Api] {
        let mut bench = Bench::without_pings();
        let (id, other) = (bench.connected("a"), bench.connected("b"));
        bench.subscribed_at(other, "news", 0);
        let old = bench.subscribed_at(id, "news", 0);
        bench.shard.unsubscribe(id, &channel("news")).unwrap();
        let new = bench.begin(id, "news", origin);
        bench.shard.commit(new, Backlog::Top(position(0))).unwrap().unwrap();
        assert!(bench.shard.settle(new));
        assert_eq!(old.channel, new.channel);
        bench.shard.expire_subscription(old);
        assert_eq!(bench.sent(id), []);
        bench.shard.expire_subscription(new);
        let ended = if origin == Origin::Client { Sent::Unsubscribed(2501) } else { Sent::Close(3006) };
        assert_eq!(bench.sent(id), [ended]);
    }
}

#[test]
fn defect_never_was_taken_for_still_waiting_for_the_backend() {
    let mut bench = Bench::without_pings();
    bench.shard.refreshes_by_backend(true);
    let id = bench.connected("a");
    assert!(!bench.shard.awaits_refresh(id), "it never expires");
    bench.shard.set_now(Now { millis: 0, unix_seconds: 1_000 });
    for (expires, later) in [(1_010, None), (1_030, Some(2_000))] {
        bench.shard.set_expiry(id, Some(expires));
        bench.at(seconds(expires - 1_000 + 1));
        assert!(matches!(bench.shard.take_effects().as_slice(), [Effect::Refresh(asked)] if *asked == id));
        assert!(bench.shard.awaits_refresh(id));
        bench.shard.set_expiry(id, later);
        assert!(!bench.shard.awaits_refresh(id), "somebody else has said it: {later:?}");
    }
}

#[test]
fn defect_presence_that_was_still_announced_was_never_refreshed() {
    let mut bench = Bench::without_pings();
    let id = bench.connected("a");
    let present = NewSubscription { presence: true, ..Bench::new_subscription("news", Origin::Client) };
    let begun = bench.shard.begin(id, &present).unwrap();
    bench.shard.commit(begun, Backlog::None).unwrap().unwrap();
    bench.shard.start_presence(id);
    bench.shard.replace_info(id, &Bytes::from_static(b"{}"));
    assert!(bench.shard.take_effects().is_empty(), "its maker has it in hand");
    bench.shard.settle(begun);
    bench.at(seconds(21));
    assert!(matches!(bench.shard.take_effects().as_slice(), [Effect::RefreshPresence(..)]));
}
