//! What comes over a connection, from bytes to publications and answers.

use crate::connection::{OUTBOUND_BYTES_MAX, Phase};
use crate::record::Way;
use crate::websocket::{self, Frame, Opcode, Violation};

use super::Loader;

/// A whole message.
struct Message<'a> {
    payload: &'a [u8],
    /// With the header of its frame.
    bytes: usize,
}

/// What a frame asks for beyond what has been done.
enum Outcome {
    GoOn,
    /// The connection was closed by the server, with this code.
    Closed(u16),
    /// It is of no use, because of this.
    Refused(String),
}

impl Loader {
    /// The socket is connected: asks for the upgrade.
    pub(super) fn upgrade(&mut self, id: usize) {
        let number = self.first + id;
        let connection = &mut self.connections[id];
        let target = self.setup.target(number, connection.tries.saturating_sub(1));
        let path = self.setup.adapter.path(&target.path, &connection.subscriptions, &self.setup.channels);
        websocket::write_upgrade(&target.host, &path, self.setup.adapter.headers(), &mut connection.outbound);
        connection.phase = Phase::Upgrading;
        self.flush(id);
    }

    /// Takes in what was read.
    pub(super) fn take_bytes(&mut self, id: usize, bytes: &[u8], now: u64) {
        let connection = &mut self.connections[id];
        let outcome = if connection.inbound.is_empty() {
            let (taken, outcome) = self.take_frames(id, bytes, now);
            self.connections[id].inbound.extend_from_slice(&bytes[taken..]);
            outcome
        } else {
            let mut inbound = std::mem::take(&mut connection.inbound);
            inbound.extend_from_slice(bytes);
            let (taken, outcome) = self.take_frames(id, &inbound, now);
            if taken < inbound.len() {
                inbound.drain(..taken);
                self.connections[id].inbound = inbound;
            }
            outcome
        };
        if !self.connections[id].outbound.is_empty() {
            self.flush(id);
        }
        match outcome {
            Outcome::GoOn if self.connections[id].outbound.len() > OUTBOUND_BYTES_MAX => {
                self.refused(id, format!("the server left more than {OUTBOUND_BYTES_MAX} bytes unread"));
            }
            Outcome::GoOn => {}
            Outcome::Closed(code) => self.ended(id, code),
            Outcome::Refused(why) => self.refused(id, why),
        }
    }

    fn refused(&mut self, id: usize, why: String) {
        match self.connections[id].phase {
            Phase::Away => {}
            Phase::Ready => {
                self.record.counts.fail(why);
                self.lose(id, 0);
            }
            _ => self.fail(id, why),
        }
    }

    /// Takes whole frames; returns how many bytes those were.
    fn take_frames(&mut self, id: usize, bytes: &[u8], now: u64) -> (usize, Outcome) {
        let mut taken = 0;
        if self.connections[id].phase == Phase::Upgrading {
            match websocket::read_upgrade(bytes) {
                Ok(Some(head)) => taken = head,
                Ok(None) => return (0, Outcome::GoOn),
                Err(violation) => return (0, Outcome::Refused(violation.to_string())),
            }
            self.greet(id, now);
        }
        loop {
            let rest = &bytes[taken..];
            let outcome = match websocket::first_frame(rest) {
                Ok(None) => return (taken, Outcome::GoOn),
                Ok(Some(frame)) => {
                    taken += frame.payload.end;
                    self.take_frame(id, &frame, &rest[frame.payload.clone()], now)
                }
                Err(violation) => Outcome::Refused(violation.to_string()),
            };
            if !matches!(outcome, Outcome::GoOn) {
                return (taken, outcome);
            }
        }
    }

    fn greet(&mut self, id: usize, now: u64) {
        self.connections[id].phase = Phase::Joining;
        let Self { connections, setup, first, .. } = self;
        setup.adapter.greet(&mut connections[id].membership(*first + id, &setup.channels));
        self.become_ready(id, now);
    }

    fn take_frame(&mut self, id: usize, frame: &Frame, payload: &[u8], now: u64) -> Outcome {
        let connection = &mut self.connections[id];
        match frame.opcode {
            Opcode::Ping => websocket::write_frame(Opcode::Pong, payload, &mut connection.outbound),
            Opcode::Pong => {}
            Opcode::Close => {
                return Outcome::Closed(payload.get(..2).map_or(0, |code| u16::from_be_bytes([code[0], code[1]])));
            }
            Opcode::Text | Opcode::Binary if frame.last => {
                let message = Message { payload, bytes: frame.payload.end };
                return self.take_message(id, &message, now);
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                if connection.fragments.len() + payload.len() > websocket::FRAME_BYTES_MAX {
                    return Outcome::Refused(Violation::TooLarge.to_string());
                }
                connection.fragments.extend_from_slice(payload);
                if frame.last {
                    let payload = std::mem::take(&mut connection.fragments);
                    let message = Message { payload: &payload, bytes: payload.len() };
                    return self.take_message(id, &message, now);
                }
            }
        }
        Outcome::GoOn
    }

    /// A whole message. Most are publications in a live subscription, for which nothing is parsed.
    fn take_message(&mut self, id: usize, message: &Message<'_>, now: u64) -> Outcome {
        let Message { payload, bytes } = *message;
        let Self { connections, setup, record, stamps, first, .. } = self;
        let connection = &mut connections[id];
        record.counts.messages += 1;
        record.counts.message_bytes += bytes as u64;
        let mut found = false;
        for stamp in stamps.within(payload) {
            found = true;
            let place = setup.channels.place(*first + id, stamp.channel);
            let subscription = place.and_then(|place| connection.subscriptions.get_mut(place));
            let Some(subscription) = subscription.filter(|_| record.window.holds(&stamp)) else {
                record.counts.strays += 1;
                continue;
            };
            let way = match (connection.slow, subscription.joined) {
                (true, _) => Way::Slow,
                (false, true) => Way::Live,
                (false, false) => Way::Recovered,
            };
            let without = subscription.tally.resume_before(stamp.number);
            let arrival = subscription.tally.take(stamp.number);
            record.arrive(&stamp, arrival, way, now);
            if connection.counted {
                record.excuse(stamp.channel, without);
                record.settle(&stamp, arrival);
            }
        }
        if found {
            record.counts.bytes += bytes as u64;
            setup.adapter.follow(&mut connection.subscriptions, &setup.channels, payload);
        }
        if found && connection.joined && !setup.adapter.asks(payload) {
            return Outcome::GoOn;
        }
        let mut membership = connection.membership(*first + id, &setup.channels);
        let heard = setup.adapter.hear(&mut membership, payload);
        record.counts.told_losses += u64::from(heard.told_losses);
        record.counts.comings += u64::from(heard.rejoined);
        if let Some(why) = heard.refused {
            return Outcome::Refused(why);
        }
        self.become_ready(id, now);
        Outcome::GoOn
    }

    /// Looks which subscriptions are live, and counts the connection as ready if all have become so.
    fn become_ready(&mut self, id: usize, now: u64) {
        let Self { connections, record, .. } = self;
        let connection = &mut connections[id];
        connection.joined = true;
        for subscription in &mut connection.subscriptions {
            connection.joined &= subscription.joined;
            if subscription.joined {
                let (tally, channel) = (&mut subscription.tally, subscription.channel);
                let without = tally.resume(|| record.window.next_of_channel(channel, now));
                if connection.counted {
                    record.excuse(channel, without);
                }
            }
        }
        if connection.phase != Phase::Joining || !connection.joined {
            return;
        }
        connection.phase = Phase::Ready;
        connection.tries = 0;
        record.counts.comings += u64::from(std::mem::take(&mut connection.churning));
        let late = now.saturating_sub(connection.due);
        if connection.returning {
            record.returns.record(late)
        } else {
            record.connects.record(late)
        }
        self.opening -= 1;
        self.ready += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;

    use bytes::Bytes;
    use fanfare_protocol::{Encoding, PublicationMessage, Push, Reply};

    use super::*;
    use crate::adapter::Position;
    use crate::channels::Channels;
    use crate::clock::Clock;
    use crate::loader::{self, Missing, Setup};
    use crate::plan::{Plan, Protocol, Scenario};
    use crate::record::Window;
    use crate::stamp::Stamp;

    const WINDOW: Window = Window {
        run: 7,
        start: 0,
        timed_from: 0,
        end: 1_000_000_000,
        publications: 6,
        channels: 2,
        gap: 1e8,
        burst: 1,
    };

    /// A loader with one connection, which is subscribed to both channels and expects a run.
    fn loader() -> Loader {
        loader_of(WINDOW, false)
    }

    fn loader_of(window: Window, protobuf: bool) -> Loader {
        let plan = Plan::new(Scenario::Fanout, Protocol::Fanfare, vec!["127.0.0.1:1".parse().unwrap()]);
        let plan = Plan { protobuf, ..plan };
        let setup = Arc::new(Setup {
            adapter: plan.adapter(),
            channels: Channels::new("bench", window.channels, window.channels),
            targets: plan.subscribe_at(),
            clock: Clock::new(),
            connecting_max: 1,
        });
        let (mut loader, _) = loader::new(&setup, 0..1, |_| false, sync_channel(1).1).unwrap();
        let connection = &mut loader.connections[0];
        (connection.phase, connection.joined) = (Phase::Ready, true);
        for subscription in &mut connection.subscriptions {
            subscription.joined = true;
            subscription.position = Some(Position { offset: 0, epoch: "e".into() });
        }
        loader.begin(window);
        loader
    }

    fn take(loader: &mut Loader, stamp: Stamp) {
        let mut payload = Vec::new();
        stamp.payload(128, &mut payload);
        let message = format!(r#"{{"push":{{"pub":{{"data":{}}}}}}}"#, String::from_utf8(payload).unwrap());
        let message = Message { payload: message.as_bytes(), bytes: message.len() };
        assert!(matches!(loader.take_message(0, &message, 1_000), Outcome::GoOn));
    }

    #[test]
    fn defect_a_stamp_beyond_the_run_ended_the_tester() {
        let mut loader = loader();
        take(&mut loader, WINDOW.stamp(0));
        take(&mut loader, WINDOW.stamp(3));
        for (channel, number) in [(0, 3), (1, u32::MAX), (0, u32::MAX - 1), (2, 0)] {
            take(&mut loader, Stamp { channel, number, ..WINDOW.stamp(0) });
        }
        let collected = loader.collect();
        assert_eq!((collected.record.counts.live, collected.record.counts.strays), (2, 4));
        assert_eq!(collected.missing, Missing { ordinary: vec![0, 1, 1, 0, 1, 1], slow: Vec::new() });
    }

    #[test]
    fn defect_of_several_runs_only_the_first_knew_how_the_connections_had_come() {
        let mut loader = loader();
        loader.record.connects.record(5_000_000);
        let first = loader.collect().record;
        loader.begin(Window { run: 8, ..WINDOW });
        let second = loader.collect().record;
        assert_eq!([first, second].map(|record| record.connects.count()), [1; 2]);
    }

    /// The socket of this connection takes nothing.
    #[test]
    fn defect_pongs_piled_up_for_a_server_that_sent_pings_and_did_not_read() {
        let mut loader = loader();
        loader.ready = 1;
        let pings = [&[0x89, 125][..], &[b'x'; 125]].concat().repeat(1_000);
        let (mut turns, mut most) = (0, 0);
        while loader.connections[0].phase == Phase::Ready {
            loader.take_bytes(0, &pings, 1_000);
            (turns, most) = (turns + 1, most.max(loader.connections[0].outbound.len()));
            assert!(turns < 100, "{most} bytes wait");
        }
        assert!(turns > 60 && most <= OUTBOUND_BYTES_MAX, "after {turns} turns, {most}");
        let counts = &loader.record.counts;
        assert_eq!(counts.closes, [(0, 1)].into());
        let why = "the server left more than 8388608 bytes unread".to_owned();
        assert_eq!((counts.failures.get(&why), loader.connections[0].outbound.len()), (Some(&1), 0));
    }

    /// A message with a publication, as Fanfare writes it.
    fn message(window: &Window, encoding: Encoding, index: usize) -> Vec<u8> {
        let (stamp, mut payload) = (window.stamp(index), Vec::new());
        stamp.payload(128, &mut payload);
        let offset = u64::from(stamp.number) + 1;
        let publication = PublicationMessage { data: Bytes::from(payload), offset, ..PublicationMessage::default() };
        let channel = Channels::new("bench", window.channels, window.channels).name(stamp.channel);
        let push = Push { channel, publication: Some(publication), ..Push::default() };
        let mut out = Vec::new();
        encoding.encode_reply(&Reply { push: Some(push), ..Reply::default() }, &mut out);
        out
    }

    /// Allocations of many messages, once a few have come.
    fn allocations(channels: u32, encoding: Encoding) -> u64 {
        let window = Window { publications: 10_000, channels, ..WINDOW };
        let mut loader = loader_of(window, encoding == Encoding::Protobuf);
        let messages: Vec<Vec<u8>> = (0..window.publications).map(|index| message(&window, encoding, index)).collect();
        let mut take_all = |messages: &[Vec<u8>]| {
            for message in messages {
                let message = Message { payload: message, bytes: message.len() };
                assert!(matches!(loader.take_message(0, &message, 1_000), Outcome::GoOn));
            }
        };
        let (first, others) = messages.split_at(100);
        take_all(first);
        let before = dhat::HeapStats::get().total_blocks;
        take_all(others);
        let allocations = dhat::HeapStats::get().total_blocks - before;
        let last = loader.connections[0].subscriptions[0].position.as_ref().unwrap().offset;
        assert_eq!((loader.record.counts.live, last), (messages.len() as u64, u64::from(window.of_channel(0))));
        allocations
    }

    /// Allocations are counted for a whole process, so that this test has one of its own.
    #[test]
    fn a_delivery_allocates_nothing() {
        const OWN: &str = "FANFARE_LOADTEST_COUNTS_ALLOCATIONS";
        if std::env::var_os(OWN).is_none() {
            let name = "loader::conversation::tests::a_delivery_allocates_nothing";
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            let output = alone.args(["--exact", name]).env(OWN, "1").output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && told.contains("1 passed"), "{told}");
            return;
        }
        let _counting = dhat::Profiler::builder().testing().build();
        for channels in [1, 2] {
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                assert_eq!(allocations(channels, encoding), 0, "{encoding:?}, {channels} channels");
            }
        }
    }
}
