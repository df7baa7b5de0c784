//! Order, gaps and recovery.

use fanfare_protocol::Disconnect;

use super::*;

#[test]
fn publications_arrive_in_order_and_duplicates_do_not() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    bench.subscribed_at(id, "news", 3);
    for offset in [4, 5, 5, 4, 6] {
        bench.shard.take_event(&event("news", offset));
    }
    assert_eq!(bench.sent(id), pubs([4, 5, 6]));
}

#[test]
fn what_the_reply_covered_is_not_sent_again_to_a_second_subscriber() {
    let mut bench = Bench::new();
    let (first, second) = (bench.connected("a"), bench.connected("b"));
    bench.subscribed_at(first, "news", 3);
    // Its history is ahead of the ring: 4 and 5 are still on their way.
    bench.subscribed_at(second, "news", 5);
    for offset in [4, 5, 6] {
        bench.shard.take_event(&event("news", offset));
    }
    assert_eq!(bench.sent(first), pubs([4, 5, 6]));
    assert_eq!(bench.sent(second), pubs([6]));
}

#[test]
fn what_arrives_while_joining_is_part_of_the_recovery() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.begin(id, "news", Origin::Client);
    for offset in [5, 6, 7] {
        bench.shard.take_event(&event("news", offset));
    }
    let History { publications, cut: false, top } = history(4, 6);
    let backlog = Backlog::Since { offset: 3, epoch: "e".to_owned(), publications, cut: false, top };
    let committed = bench.shard.commit(begun, backlog).unwrap().unwrap();
    let offsets: Vec<u64> =
        committed.publications.iter().filter_map(|publication| Some(publication.position.as_ref()?.offset)).collect();
    assert_eq!(offsets, [4, 5, 6, 7]);
    assert_eq!(committed.recovered, Some(true));
    assert_eq!(committed.position, Some(position(7)));
    bench.shard.take_event(&event("news", 8));
    assert_eq!(bench.sent(id), pubs([8]));
}

#[test]
fn a_gap_between_history_and_what_was_held_back_is_told() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.begin(id, "news", Origin::Client);
    bench.shard.take_event(&event("news", 9));
    assert!(bench.shard.commit(begun, Backlog::Top(position(7))).unwrap().is_err());
}

/// It ended the subscription, although nothing was missing.
#[test]
fn a_rest_of_an_old_stream_does_not_end_a_subscription_in_the_making() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.begin(id, "news", Origin::Client);
    bench.shard.take_event(&in_epoch("old", 40));
    bench.shard.take_event(&event("news", 8));
    let committed = bench.shard.commit(begun, Backlog::Top(position(7))).unwrap().unwrap();
    assert_eq!(committed.position, Some(position(7)));
    assert!(matches!(bench.shard.take_effects()[..], [Effect::Repair(..)]), "the broker is asked");
    bench.shard.finish_repair(begun.channel, Some(history(8, 8)));
    bench.shard.take_event(&event("news", 9));
    assert_eq!(bench.sent(id), pubs([8, 9]));
}

#[test]
fn a_rest_of_an_old_stream_alone_does_not_end_it_either() {
    let mut bench = Bench::new();
    let (first, second) = (bench.connected("a"), bench.connected("b"));
    bench.subscribed_at(first, "news", 7);
    let begun = bench.begin(second, "news", Origin::Client);
    bench.shard.take_event(&in_epoch("old", 40));
    bench.shard.commit(begun, Backlog::Top(position(7))).unwrap().unwrap();
    bench.shard.finish_repair(begun.channel, Some(history(8, 7)));
    bench.shard.take_event(&event("news", 8));
    assert_eq!(bench.sent(first), pubs([8]));
    assert_eq!(bench.sent(second), pubs([8]));
}

#[test]
fn a_subscription_in_the_making_whose_stream_began_anew_is_told() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.begin(id, "news", Origin::Client);
    bench.shard.take_event(&in_epoch("new", 1));
    bench.shard.commit(begun, Backlog::Top(position(7))).unwrap().unwrap();
    assert!(bench.shard.settle(begun));
    bench.shard.take_effects();
    bench.shard.finish_repair(begun.channel, None);
    assert_eq!(bench.sent(id), [Sent::Unsubscribed(INSUFFICIENT)]);
}

/// A subscriber that had read its history before a repair and committed after it moved the channel back: the others got
/// what the repair had brought once more.
#[test]
fn what_a_repair_brought_is_not_brought_again_by_a_late_subscriber() {
    let mut bench = Bench::new();
    let (first, second) = (bench.connected("a"), bench.connected("b"));
    bench.subscribed_at(first, "news", 7);
    let begun = bench.begin(second, "news", Origin::Client);
    bench.shard.mark_broken(&channel("news"));
    bench.shard.finish_repair(begun.channel, Some(history(8, 12)));
    assert_eq!(bench.sent(first), pubs([8, 9, 10, 11, 12]));
    bench.shard.commit(begun, Backlog::Top(position(8))).unwrap().unwrap();
    bench.shard.finish_repair(begun.channel, Some(history(9, 12)));
    bench.shard.take_event(&event("news", 13));
    assert_eq!(bench.sent(first), pubs([13]));
    assert_eq!(bench.sent(second), pubs([9, 10, 11, 12, 13]));
}

#[test]
fn what_finds_no_room_during_a_repair_is_read_too() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.subscribed_at(id, "news", 7);
    bench.shard.mark_broken(&channel("news"));
    bench.shard.mark_broken(&channel("news"));
    bench.shard.take_effects();
    bench.shard.finish_repair(begun.channel, Some(history(8, 9)));
    assert!(matches!(bench.shard.take_effects()[..], [Effect::Repair(..)]), "once more");
    bench.shard.finish_repair(begun.channel, Some(history(10, 10)));
    assert_eq!(bench.sent(id), pubs([8, 9, 10]));
}

#[test]
fn recovery_fails_as_the_protocol_says() {
    let recovers = |offset, epoch: &str, from, to| {
        let History { publications, cut: false, top } = history(from, to);
        let backlog = Backlog::Since { offset, epoch: epoch.to_owned(), publications, cut: false, top };
        !backlog.is_unrecovered()
    };
    assert!(recovers(3, "e", 4, 6));
    assert!(recovers(3, "", 4, 6), "an unknown epoch is not compared");
    assert!(!recovers(3, "other", 4, 6), "another epoch");
    assert!(!recovers(3, "e", 5, 6), "trimmed");
    assert!(recovers(6, "e", 7, 6), "nothing missed");
    assert!(!recovers(9, "e", 7, 6), "from the future");
}

#[test]
fn publications_without_a_position_wait_for_the_reply() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.begin(id, "news", Origin::Client);
    bench.shard.take_event(&live_only("news"));
    let committed = bench.shard.commit(begun, Backlog::Top(position(0))).unwrap().unwrap();
    assert_eq!(committed.late.len(), 1);
    assert!(bench.sent(id).is_empty());
}

#[test]
fn a_gap_is_filled_from_history_in_order() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    bench.subscribed_at(id, "news", 3);
    for offset in [4, 7, 8] {
        bench.shard.take_event(&event("news", offset));
    }
    assert_eq!(bench.sent(id), pubs([4]));
    let effects = bench.shard.take_effects();
    let [Effect::Repair(channel, _, from)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(*from, position(4));
    bench.shard.finish_repair(*channel, Some(history(5, 8)));
    bench.shard.take_event(&event("news", 9));
    assert_eq!(bench.sent(id), pubs([5, 6, 7, 8, 9]));
}

/// It was read from history again and again, for ever.
#[test]
fn a_publication_that_history_has_never_had_is_not_believed() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.subscribed_at(id, "news", 3);
    bench.shard.take_event(&event("news", 1_000));
    bench.shard.take_event(&event("news", 4));
    assert_eq!(bench.shard.take_effects().len(), 1);
    bench.shard.finish_repair(begun.channel, Some(history(4, 3)));
    assert!(bench.shard.take_effects().is_empty(), "once is enough");
    bench.shard.take_event(&event("news", 5));
    assert_eq!(bench.sent(id), pubs([4, 5]));
}

#[test]
fn a_gap_that_history_does_not_cover_is_told() {
    let mut bench = Bench::new();
    let (own, made) = (bench.connected("a"), bench.connected("b"));
    bench.subscribed_at(own, "news", 3);
    let begun = bench.begin(made, "news", Origin::Api);
    bench.shard.commit(begun, Backlog::Top(position(3))).unwrap().unwrap();
    bench.shard.settle(begun);
    bench.shard.take_event(&event("news", 9));
    let effects = bench.shard.take_effects();
    let [Effect::Repair(channel, ..)] = effects.as_slice() else { panic!("{effects:?}") };
    bench.shard.finish_repair(*channel, Some(history(7, 9)));
    assert_eq!(bench.sent(own), [Sent::Unsubscribed(INSUFFICIENT)]);
    assert_eq!(bench.sent(made), [Sent::Close(Disconnect::INSUFFICIENT_STATE.code)]);
    assert_eq!(bench.shard.stats().subscriptions.get(), 0);
}

#[test]
fn another_epoch_is_told_and_the_next_subscriber_follows_it() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    bench.subscribed_at(id, "news", 3);
    let other = StreamPosition { offset: 1, epoch: "f".into() };
    bench.shard.take_event(&Event::Publication(publication("news", Some(other))));
    assert!(bench.sent(id).is_empty(), "the broker is asked first");
    let effects = bench.shard.take_effects();
    let [Effect::Repair(channel, _, from)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(*from, position(3));
    bench.shard.finish_repair(*channel, None);
    assert_eq!(bench.sent(id), [Sent::Unsubscribed(INSUFFICIENT)]);
}

/// A node that lagged took the rest of an old stream for the beginning of another one, and told those who had come back
/// in the new one already.
#[test]
fn regression_a_rest_of_an_old_stream_tells_nobody() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.subscribed_at(id, "news", 3);
    let late = StreamPosition { offset: 15, epoch: "old".into() };
    bench.shard.take_event(&Event::Publication(publication("news", Some(late))));
    bench.shard.take_event(&event("news", 4));
    bench.shard.finish_repair(begun.channel, Some(history(4, 4)));
    bench.shard.take_event(&event("news", 5));
    assert_eq!(bench.sent(id), pubs([4, 5]));
}

#[test]
fn a_subscriber_of_a_new_epoch_ends_those_of_the_old_one() {
    let mut bench = Bench::new();
    let (old, new) = (bench.connected("a"), bench.connected("b"));
    bench.subscribed_at(old, "news", 3);
    let begun = bench.begin(new, "news", Origin::Client);
    let fresh = StreamPosition { offset: 1, epoch: "f".into() };
    bench.shard.commit(begun, Backlog::Top(fresh)).unwrap().unwrap();
    assert!(bench.shard.settle(begun));
    assert_eq!(bench.sent(old), [Sent::Unsubscribed(INSUFFICIENT)]);
    let next = StreamPosition { offset: 2, epoch: "f".into() };
    bench.shard.take_event(&Event::Publication(publication("news", Some(next))));
    assert_eq!(bench.sent(new), pubs([2]));
}

/// A repair that was begun before a failover ended after it, as unrecoverable, and told those who had come back in the
/// new stream meanwhile.
#[test]
fn regression_a_repair_of_an_old_stream_tells_nobody_of_the_new_one() {
    let mut bench = Bench::new();
    let (old, new) = (bench.connected("a"), bench.connected("b"));
    let fresh = |offset| StreamPosition { offset, epoch: "f".into() };
    let next = |offset| Event::Publication(publication("news", Some(fresh(offset))));
    let begun = bench.subscribed_at(old, "news", 3);
    bench.shard.mark_broken(&channel("news"));
    let joining = bench.begin(new, "news", Origin::Client);
    bench.shard.commit(joining, Backlog::Top(fresh(1))).unwrap().unwrap();
    assert!(bench.shard.settle(joining));
    assert_eq!(bench.sent(old), [Sent::Unsubscribed(INSUFFICIENT)]);
    bench.shard.take_event(&next(2));
    bench.shard.finish_repair(begun.channel, None);
    bench.shard.take_event(&next(3));
    assert_eq!(bench.sent(new), pubs([2, 3]));
}

/// A subscriber that had read its history before the others moved the channel back during a repair; what was read from
/// the old position did not go on from there, and everybody was told.
#[test]
fn regression_a_subscriber_behind_a_repair_tells_nobody() {
    let mut bench = Bench::new();
    let (first, second) = (bench.connected("a"), bench.connected("b"));
    let begun = bench.subscribed_at(first, "news", 11);
    let joining = bench.begin(second, "news", Origin::Client);
    bench.shard.mark_broken(&channel("news"));
    bench.shard.commit(joining, Backlog::Top(position(10))).unwrap().unwrap();
    assert!(bench.shard.settle(joining));
    assert_eq!(bench.shard.take_effects().len(), 1);
    bench.shard.finish_repair(begun.channel, Some(history(12, 11)));
    assert!(matches!(bench.shard.take_effects().as_slice(), [Effect::Repair(_, _, from)] if *from == position(10)));
    bench.shard.finish_repair(begun.channel, Some(history(11, 12)));
    assert_eq!(bench.sent(first), pubs([12]));
    assert_eq!(bench.sent(second), pubs([11, 12]));
}

#[test]
fn a_broken_channel_is_read_again_even_if_nothing_more_arrives() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.subscribed_at(id, "news", 3);
    bench.shard.mark_broken(&channel("news"));
    bench.shard.mark_broken(&channel("news"));
    assert_eq!(bench.shard.take_effects().len(), 1, "one read at a time");
    bench.shard.finish_repair(begun.channel, Some(history(4, 4)));
    assert_eq!(bench.sent(id), pubs([4]));
}

#[test]
fn being_behind_the_broker_twice_is_a_gap() {
    let mut bench = Bench::without_pings();
    let id = bench.connected("a");
    let begun = bench.subscribed_at(id, "news", 3);
    bench.at(Duration::from_secs(41));
    assert_eq!(bench.shard.positions_to_check(40_000, 10), [begun.channel]);
    bench.shard.check_position(begun.channel, position(4), 1_000);
    assert!(bench.shard.take_effects().is_empty(), "it may be on its way");
    bench.at(Duration::from_secs(43));
    assert_eq!(bench.shard.positions_to_check(40_000, 10), [begun.channel]);
    bench.shard.check_position(begun.channel, position(4), 1_000);
    assert!(matches!(bench.shard.take_effects().as_slice(), [Effect::Repair(..)]));
    bench.shard.finish_repair(begun.channel, Some(history(4, 4)));
    assert_eq!(bench.sent(id), pubs([4]));
}

#[test]
fn a_publication_that_was_on_its_way_is_no_gap() {
    let mut bench = Bench::without_pings();
    let id = bench.connected("a");
    let begun = bench.subscribed_at(id, "news", 3);
    bench.at(Duration::from_secs(41));
    bench.shard.check_position(begun.channel, position(4), 1_000);
    bench.shard.take_event(&event("news", 4));
    bench.at(Duration::from_secs(43));
    bench.shard.check_position(begun.channel, position(4), 1_000);
    assert!(bench.shard.take_effects().is_empty());
    assert_eq!(bench.sent(id), pubs([4]));
}

#[test]
fn too_much_held_back_is_told_and_not_kept() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.begin(id, "news", Origin::Client);
    for offset in 1..=5_000 {
        bench.shard.take_event(&event("news", offset));
    }
    assert!(bench.shard.commit(begun, Backlog::Top(position(0))).unwrap().is_err());
}

#[test]
fn two_that_join_and_commit_in_the_other_order_both_get_everything() {
    let mut bench = Bench::new();
    let (first, second) = (bench.connected("a"), bench.connected("b"));
    let (one, two) = (bench.begin(first, "news", Origin::Client), bench.begin(second, "news", Origin::Client));
    // The first read its history at 13, the second at 15; 14 and 15 are still on the ring.
    bench.shard.commit(two, Backlog::Top(position(15))).unwrap().unwrap();
    bench.shard.commit(one, Backlog::Top(position(13))).unwrap().unwrap();
    assert!(bench.shard.settle(one) && bench.shard.settle(two));
    for offset in 14..=16 {
        bench.shard.take_event(&event("news", offset));
    }
    assert_eq!(bench.sent(first), pubs(14..=16));
    assert_eq!(bench.sent(second), pubs([16]));
}

#[test]
fn publications_without_a_position_keep_their_place_during_a_repair() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.subscribed_at(id, "news", 3);
    bench.shard.take_event(&event("news", 5));
    bench.shard.take_event(&live_only("news"));
    assert!(bench.sent(id).is_empty());
    bench.shard.finish_repair(begun.channel, Some(history(4, 5)));
    assert_eq!(bench.sent(id), pubs([4, 5, 0]));
}

#[test]
fn a_ring_that_was_full_while_joining_is_made_up_for_at_once() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.begin(id, "news", Origin::Client);
    bench.shard.mark_broken(&channel("news"));
    bench.shard.commit(begun, Backlog::Top(position(5))).unwrap().unwrap();
    assert!(bench.shard.settle(begun));
    let effects = bench.shard.take_effects();
    assert!(matches!(effects.as_slice(), [Effect::Repair(_, _, from)] if *from == position(5)), "{effects:?}");
    bench.shard.finish_repair(begun.channel, Some(history(6, 6)));
    assert_eq!(bench.sent(id), pubs([6]));
}

#[test]
fn more_than_is_held_back_during_a_repair_is_read_from_history_too() {
    let mut bench = Bench::new();
    let id = bench.connected("a");
    let begun = bench.subscribed_at(id, "news", 3);
    for offset in 5..=5_000 {
        bench.shard.take_event(&event("news", offset));
    }
    assert_eq!(bench.shard.take_effects().len(), 1);
    bench.shard.finish_repair(begun.channel, Some(history(4, 5_000)));
    assert!(matches!(bench.shard.take_effects().as_slice(), [Effect::Repair(_, _, from)] if *from == position(5_000)));
    bench.shard.finish_repair(begun.channel, Some(history(5_001, 5_000)));
    bench.shard.take_event(&event("news", 5_001));
    assert_eq!(bench.sent(id), pubs(4..=5_001));
}
