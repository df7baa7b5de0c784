//! The order in which sessions are written.

use crate::limits::WRITES_PER_TICK;

use super::*;

/// A shard with a large channel and a small one, everything so far written.
struct Crowd {
    bench: Bench,
    many: Vec<SlotId>,
}

impl Crowd {
    fn new() -> Self {
        let mut bench = Bench::with(Options { outbox_bytes_max: 500, ..Options::default() });
        let many: Vec<SlotId> =
            (0..=WRITES_PER_TICK).map(|number| bench.connected(&format!("user-{number}"))).collect();
        for id in &many {
            bench.subscribed_at(*id, "large", 0);
        }
        let mut crowd = Self { bench, many };
        crowd.written();
        crowd
    }

    fn publish(&mut self, name: &str, offset: u64) {
        let publication = publication(name, Some(position(offset)));
        self.bench.shard.take_event(&Event::Publication(publication));
    }

    /// Writes all; in which order those come that have something.
    fn written(&mut self) -> Vec<SlotId> {
        let mut order = Vec::new();
        while let Some(id) = self.bench.shard.next_dirty() {
            if !self.bench.sent(id).is_empty() {
                order.push(id);
            }
        }
        order
    }

    /// Publishes to the large channel until an outbox is so full that no more is to be taken from the ring.
    fn press(&mut self) {
        let mut offset = 0;
        while !self.bench.shard.is_pressed() {
            offset += 1;
            self.publish("large", offset);
        }
    }
}

#[test]
fn what_a_large_channel_brings_does_not_hold_up_a_small_one() {
    let mut crowd = Crowd::new();
    let other = crowd.bench.connected("other");
    crowd.bench.subscribed_at(other, "small", 0);
    crowd.written();
    crowd.publish("large", 1);
    crowd.publish("small", 1);
    let order = crowd.written();
    assert_eq!(order[0], other);
    assert_eq!(order[1..], crowd.many);
}

#[test]
fn a_session_of_both_is_written_once_with_what_both_brought_in_their_order() {
    let mut crowd = Crowd::new();
    let both = *crowd.many.last().unwrap();
    crowd.bench.subscribed_at(both, "small", 0);
    crowd.written();
    crowd.publish("large", 1);
    crowd.publish("small", 1);
    assert_eq!(crowd.bench.shard.next_dirty(), Some(both));
    let both_brought = [Sent::Pub(1, "large".to_owned()), Sent::Pub(1, "small".to_owned())];
    assert_eq!(crowd.bench.sent(both), both_brought);
    assert_eq!(crowd.written(), crowd.many[..WRITES_PER_TICK]);
}

#[test]
fn small_channels_do_not_hold_up_a_large_one_for_ever() {
    let mut crowd = Crowd::new();
    let busy = crowd.many[0];
    crowd.publish("large", 1);
    for _ in 0..40 {
        crowd.bench.shard.mark_dirty(busy);
        crowd.bench.shard.next_dirty();
    }
    let left = crowd.written().len();
    assert!(left <= WRITES_PER_TICK + 1 - 9, "{left} of {} wait", WRITES_PER_TICK + 1);
}

/// Commands are answered between the last write of a tick and the next tick.
#[test]
fn defect_a_shard_with_commands_all_the_time_took_nothing_from_the_ring_any_more() {
    let mut crowd = Crowd::new();
    crowd.press();
    crowd.written();
    crowd.bench.shard.push(crowd.many[0], Push::default());
    assert!(!crowd.bench.shard.is_pressed(), "everything was offered");
}

#[test]
fn defect_what_everybody_waited_for_got_every_fourth_write() {
    let mut crowd = Crowd::new();
    let busy = crowd.bench.connected("busy");
    crowd.written();
    crowd.press();
    let mut of_large = 0;
    for _ in 0..40 {
        crowd.bench.shard.mark_dirty(busy);
        of_large += u32::from(crowd.bench.shard.next_dirty() != Some(busy));
    }
    assert_eq!(of_large, 20);
}

#[test]
fn defect_a_refused_session_of_a_large_channel_went_before_small_ones() {
    let mut crowd = Crowd::new();
    let [refused, also_small] = [crowd.many[0], crowd.many[1]];
    let other = crowd.bench.connected("other");
    for id in [also_small, other] {
        crowd.bench.subscribed_at(id, "small", 0);
    }
    crowd.written();
    crowd.publish("small", 1);
    for id in [also_small, other] {
        assert_eq!(crowd.bench.shard.next_dirty(), Some(id));
    }
    crowd.bench.sent(other);
    crowd.bench.shard.blocked(also_small);
    crowd.publish("large", 1);
    assert_eq!(crowd.bench.shard.next_dirty(), Some(refused));
    crowd.bench.shard.blocked(refused);
    crowd.bench.shard.writable(refused);
    crowd.publish("small", 2);
    crowd.bench.shard.writable(also_small);
    let order = crowd.written();
    assert_eq!(order[..2], [also_small, other], "what a small channel brought goes first, refused or not");
    assert_eq!(order.last(), Some(&refused));
}

#[test]
fn defect_a_whole_channel_that_was_written_already_was_skipped_at_once() {
    let mut crowd = Crowd::new();
    crowd.publish("large", 1);
    for id in crowd.many.clone() {
        crowd.bench.sent(id);
    }
    assert_eq!(crowd.bench.shard.next_dirty(), Some(crowd.many[0]));
    let nothing = crowd.bench.shard.offer(crowd.many[0], &mut Vec::new(), |_| unreachable!("nothing is offered"));
    assert_eq!(nothing.unwrap(), Left::Nothing);
    assert!(crowd.bench.shard.has_dirty(), "the others are left to the tick's share of writes");
}

#[test]
fn defect_a_command_waited_until_a_whole_large_channel_was_written() {
    let mut crowd = Crowd::new();
    let [idle, asks] = [crowd.many[0], *crowd.many.last().unwrap()];
    crowd.publish("large", 1);
    crowd.bench.shard.hasten(asks);
    assert!(!crowd.bench.shard.is_filling(asks));
    assert_eq!(crowd.bench.shard.next_dirty(), Some(idle), "nothing waits");
    crowd.publish("large", 2);
    assert!(crowd.bench.shard.is_filling(asks));
    crowd.bench.shard.hasten(asks);
    assert_eq!(crowd.bench.shard.next_dirty(), Some(asks));
}
