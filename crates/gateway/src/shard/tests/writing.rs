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
        let mut bench = Bench::new();
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

    /// Writes all; in which order.
    fn written(&mut self) -> Vec<SlotId> {
        let mut order = Vec::new();
        while let Some(id) = self.bench.shard.next_dirty() {
            self.bench.sent(id);
            order.push(id);
        }
        order
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
