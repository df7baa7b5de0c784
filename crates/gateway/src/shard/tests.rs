//! Tests of the shard on its own: no sockets, no broker, time passed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_broker::{Event, History, Publication};
use fanfare_protocol::Unsubscribe;
use uuid::Uuid;

use super::*;
use crate::frame::Opcode;

mod deadlines;
mod model;
mod positions;
mod sessions;
mod slow;
mod writing;

/// A shard with what a test needs around it.
pub(super) struct Bench {
    pub(super) shard: Shard,
    pub(super) directory: Arc<Directory>,
}

/// What a session was sent, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    Pub(u64, String),
    Join(String),
    Leave(String),
    Unsubscribed(u32),
    Ping,
    Reply(u32),
    Close(u16),
    Other(String),
}

pub(super) fn channel(name: &str) -> Channel {
    Channel::parse(name).unwrap()
}

/// A client id that is made of a name.
pub(super) fn client_id(name: &str) -> Uuid {
    Uuid::from_u128(name.bytes().fold(0, |id, byte| id << 8 | u128::from(byte)))
}

pub(super) fn position(offset: u64) -> StreamPosition {
    StreamPosition { offset, epoch: "e".into() }
}

pub(super) fn publication(name: &str, position: Option<StreamPosition>) -> Arc<Publication> {
    Arc::new(Publication {
        channel: channel(name),
        data: Bytes::from_static(b"1"),
        json: true,
        position,
        info: None,
        tags: BTreeMap::new(),
        version: 0,
        accepted_at: Instant::now(),
    })
}

pub(super) fn event(name: &str, offset: u64) -> Event {
    Event::Publication(publication(name, Some(position(offset))))
}

pub(super) fn in_epoch(epoch: &str, offset: u64) -> Event {
    Event::Publication(publication("news", Some(StreamPosition { offset, epoch: epoch.into() })))
}

pub(super) fn live_only(name: &str) -> Event {
    Event::Publication(publication(name, None))
}

pub(super) fn history(from: u64, to: u64) -> History {
    let publications = (from..=to).map(|offset| publication("news", Some(position(offset)))).collect();
    History { publications, top: position(to) }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Options::default())
    }

    /// A shard that sends no pings, for tests in which time passes.
    pub(super) fn without_pings() -> Self {
        Self::with(Options { ping_interval: None, ..Options::default() })
    }

    pub(super) fn with(options: Options) -> Self {
        let options = Options { shards: 1, ..options };
        let directory = Directory::new(&options);
        Self { shard: Shard::new(0, Arc::new(options), Arc::clone(&directory), 7), directory }
    }

    pub(super) fn at(&mut self, since_start: Duration) {
        let millis = since_start.as_millis() as u64;
        self.shard.set_now(Now { millis, unix_seconds: 1_000 + millis / 1_000 });
        self.shard.run_deadlines();
    }

    /// A session that has connected.
    pub(super) fn connected(&mut self, client: &str) -> SlotId {
        let id = self.shard.open(Encoding::Json, false);
        let identity = Identity { user: "42", client: client_id(client), info: &Bytes::new() };
        self.shard.identify(id, &identity, None, TokenStamp::NONE);
        self.shard.welcome(id, None).unwrap();
        id
    }

    pub(super) fn new_subscription(name: &str, origin: Origin) -> NewSubscription {
        NewSubscription {
            channel: channel(name),
            origin,
            presence: false,
            announces: false,
            join_leave: true,
            token: None,
            allowed: fanfare_auth::Allowed::NOTHING,
            asks_refresh: false,
            drops_oldest: false,
            info: None,
        }
    }

    pub(super) fn begin(&mut self, id: SlotId, name: &str, origin: Origin) -> Begun {
        self.shard.begin(id, &Self::new_subscription(name, origin)).unwrap()
    }

    /// A live subscription that stands at an offset.
    pub(super) fn subscribed_at(&mut self, id: SlotId, name: &str, offset: u64) -> Begun {
        let begun = self.begin(id, name, Origin::Client);
        self.shard.commit(begun, Backlog::Top(position(offset))).unwrap().unwrap();
        assert!(self.shard.settle(begun));
        begun
    }

    /// Everything a session was sent since the last call.
    pub(super) fn sent(&mut self, id: SlotId) -> Vec<Sent> {
        let mut bytes = Vec::new();
        let length = {
            let outbox = &self.shard.session(id).unwrap().outbox;
            outbox.gather(&mut bytes, usize::MAX);
            bytes.len()
        };
        self.shard.written(id, length);
        frames(&bytes).into_iter().map(|(opcode, payload)| sent(opcode, &payload)).collect()
    }
}

/// The frames in a run of bytes.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (length, header) = match bytes[1] {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            length => (usize::from(length), 2),
        };
        frames.push((bytes[0] & 0xF, bytes[header..header + length].to_vec()));
        bytes = &bytes[header + length..];
    }
    frames
}

fn sent(opcode: u8, payload: &[u8]) -> Sent {
    if opcode == Opcode::Close as u8 {
        return Sent::Close(u16::from_be_bytes([payload[0], payload[1]]));
    }
    let reply = Encoding::Json.decode_replies(payload).next().unwrap().unwrap();
    let Some(push) = reply.push else {
        return if reply.id == 0 { Sent::Ping } else { Sent::Reply(reply.id) };
    };
    if let Some(publication) = push.publication {
        return Sent::Pub(publication.offset, push.channel);
    }
    match (push.join, push.leave, push.unsubscribe) {
        (Some(join), _, _) => Sent::Join(join.info.unwrap().client),
        (_, Some(leave), _) => Sent::Leave(leave.info.unwrap().client),
        (_, _, Some(unsubscribe)) => Sent::Unsubscribed(unsubscribe.code),
        _ => Sent::Other(String::from_utf8_lossy(payload).into_owned()),
    }
}

pub(super) fn pubs(offsets: impl IntoIterator<Item = u64>) -> Vec<Sent> {
    offsets.into_iter().map(|offset| Sent::Pub(offset, "news".to_owned())).collect()
}

pub(super) const INSUFFICIENT: u32 = 2500;
