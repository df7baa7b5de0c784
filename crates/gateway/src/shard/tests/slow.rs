//! Slow consumers: what is dropped, who is told, who is closed.

use super::*;

const BOUND: usize = 1_000;

/// A session in `live`, which drops, and in `news`, which does not; its socket takes nothing.
struct Slow {
    bench: Bench,
    id: SlotId,
}

impl Slow {
    fn new(origin: Origin) -> Self {
        let mut bench = Bench::with(Options { outbox_bytes_max: BOUND, ping_interval: None, ..Options::default() });
        let id = bench.connected("slow");
        let mut slow = Self { bench, id };
        slow.subscribe("live", origin, true);
        slow.subscribe("news", Origin::Client, false);
        slow.bench.sent(id);
        slow.bench.shard.blocked(id);
        slow
    }

    fn subscribe(&mut self, name: &str, origin: Origin, drops_oldest: bool) {
        let new = NewSubscription { drops_oldest, ..Bench::new_subscription(name, origin) };
        let begun = self.bench.shard.begin(self.id, &new).unwrap();
        self.bench.shard.commit(begun, Backlog::None).unwrap().unwrap();
        assert!(self.bench.shard.settle(begun));
    }

    /// A numbered publication that nobody promised, of about a hundred bytes.
    fn publish(&mut self, name: &str, number: u64) {
        let mut publication = Publication::clone(&publication(name, None));
        publication.data = format!("\"{}\"", "x".repeat(40 + number as usize)).into();
        self.bench.shard.take_event(&Event::Publication(Arc::new(publication)));
    }

    /// The socket takes everything; what it got, publications by their numbers.
    fn reads(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        self.bench.shard.session(self.id).unwrap().outbox.gather(&mut bytes, usize::MAX);
        self.bench.shard.written(self.id, bytes.len());
        if let Some(session) = self.bench.shard.session_mut(self.id) {
            session.blocked = false;
        }
        frames(&bytes).into_iter().map(|(opcode, payload)| in_short(opcode, &payload)).collect()
    }

    fn stat(&self, read: fn(&Stats) -> u64) -> u64 {
        read(&self.bench.directory.stats()[0])
    }
}

fn in_short(opcode: u8, payload: &[u8]) -> String {
    if opcode == Opcode::Close as u8 {
        return format!("close {}", u16::from_be_bytes([payload[0], payload[1]]));
    }
    let reply = Encoding::Json.decode_replies(payload).next().unwrap().unwrap();
    let push = reply.push.unwrap();
    match (push.publication, push.unsubscribe) {
        (Some(publication), _) => format!("{} {}", push.channel, publication.data.len() - 42),
        (_, Some(unsubscribe)) => format!("{} {}", push.channel, unsubscribe.code),
        _ => format!("{} something", push.channel),
    }
}

/// Publications 1 to 11 are over the bound of 1,000 bytes; half of that is kept.
#[test]
fn the_oldest_are_dropped_and_that_is_told_once_behind_what_is_kept() {
    let mut slow = Slow::new(Origin::Client);
    let mut dropped_at = Vec::new();
    for number in 1..=30 {
        slow.publish("live", number);
        dropped_at.push(slow.stat(|stats| stats.dropped.get()));
    }
    let dropped = *dropped_at.last().unwrap();
    assert!(dropped > 3, "{dropped_at:?}");
    let last = dropped_at.iter().filter(|at| **at == 0).count() as u64 + 1;
    let kept: Vec<String> = (dropped + 1..=last).map(|number| format!("live {number}")).collect();
    assert_eq!(slow.reads(), [kept, vec!["live 2500".to_owned()]].concat());
    assert_eq!(slow.stat(|stats| stats.insufficient_slow.get()), 1);
    assert_eq!(slow.stat(|stats| stats.outbox_overflows.get()), 0);
    assert_eq!((slow.stat(|stats| stats.outbox_bytes.get()), slow.stat(|stats| stats.outbox_memory.get())), (0, 0));
    // It is in neither (I5), and may come back.
    assert_eq!(slow.stat(|stats| stats.subscriptions.get()), 1);
    slow.publish("live", 31);
    assert_eq!(slow.reads(), [""; 0]);
    slow.subscribe("live", Origin::Client, true);
    slow.publish("live", 32);
    assert_eq!(slow.reads(), ["live 32"]);
}

#[test]
fn what_is_of_other_channels_stays_and_so_does_the_frame_in_progress() {
    let mut slow = Slow::new(Origin::Client);
    slow.publish("live", 1);
    slow.bench.shard.written(slow.id, 1);
    for number in 2..=4 {
        slow.publish("news", number);
    }
    for number in 5..=20 {
        slow.publish("live", number);
    }
    let mut bytes = vec![0x81];
    slow.bench.shard.session(slow.id).unwrap().outbox.gather(&mut bytes, usize::MAX);
    let got: Vec<String> = frames(&bytes).into_iter().map(|(opcode, payload)| in_short(opcode, &payload)).collect();
    assert_eq!(got[..4], ["live 1", "news 2", "news 3", "news 4"]);
    assert_eq!(got.last().unwrap(), "live 2500");
    assert!(slow.bench.shard.is_open(slow.id));
}

#[test]
fn without_enough_to_drop_the_session_is_closed() {
    let mut slow = Slow::new(Origin::Client);
    for number in 1..=2 {
        slow.publish("live", number);
    }
    for number in 3..=20 {
        slow.publish("news", number);
    }
    assert!(!slow.bench.shard.is_open(slow.id));
    assert_eq!(slow.reads(), ["close 3008"]);
    assert_eq!(slow.stat(|stats| stats.outbox_overflows.get()), 1);
}

/// Its client does not subscribe by itself, so it could not come back.
#[test]
fn a_subscription_that_the_server_made_is_not_ended_so() {
    let mut slow = Slow::new(Origin::Token);
    for number in 1..=20 {
        slow.publish("live", number);
    }
    assert_eq!(slow.reads(), ["close 3008"]);
    assert_eq!(slow.stat(|stats| stats.dropped.get()), 0);
}

/// Two channels lose something at once, each is told of once, and the bound holds all the time.
#[test]
fn each_channel_is_told_of_once() {
    let mut slow = Slow::new(Origin::Client);
    slow.subscribe("more", Origin::Client, true);
    for number in 1..=40 {
        slow.publish(["live", "more"][number as usize % 2], number);
        assert!(slow.bench.shard.session(slow.id).unwrap().outbox.bytes() <= BOUND);
    }
    let got = slow.reads();
    for name in ["live 2500", "more 2500"] {
        assert_eq!(got.iter().filter(|sent| *sent == name).count(), 1, "{got:?}");
    }
    assert_eq!(slow.stat(|stats| stats.insufficient_slow.get()), 2);
    assert_eq!(slow.stat(|stats| stats.outbox_bytes.get()), 0);
}
