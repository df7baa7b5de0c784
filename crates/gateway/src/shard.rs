//! A shard: the part of a node's sessions that one thread owns, with their subscriptions.
//!
//! A plain structure without sockets and without waiting: its methods take what came in and leave bytes in
//! outboxes, and what has to be done elsewhere as [`Effect`]s. Time is set from outside ([`Shard::set_now`]), so
//! order, gaps, limits and deadlines are tested here without a clock. The thread around it is [`crate::driver`].
//!
//! Rules that its parts keep:
//! - I5: a subscription stands in its channel and in its session, or in neither.
//! - While a task has a subscription in hand ([`Stage::Joining`], [`Stage::Announcing`]) that task gives back
//!   interest and presence if it finds the subscription gone; a [`Stage::Live`] one leaves an [`Effect::Leave`].
//! - A session that is closed has no subscriptions any more; its place stays until its read task has ended.

mod channel;
mod control;
mod deadlines;
mod fan_out;
mod judgement;
mod lifecycle;
mod memory;
mod rates;
mod session;
mod slow;
mod subscribe;
#[cfg(test)]
mod tests;
mod users;
mod writing;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use fanfare_broker::StreamPosition;
use fanfare_protocol::{Channel, ClientInfo, Encoding, Push, Reply};
use rand::SeedableRng;
use rand::rngs::SmallRng;

pub(crate) use self::channel::ChannelState;
pub(crate) use self::fan_out::{message_of, payload_bytes};
pub(crate) use self::judgement::{TokenStamp, end_of};
pub(crate) use self::lifecycle::Identity;
pub(crate) use self::memory::SlowSession;
pub(crate) use self::session::{Origin, Session, State, with_channel_info};
pub(crate) use self::subscribe::{Backlog, Begun, Committed, NewSubscription, Recovery, Refused, departure_of};
use self::users::Users;
use self::writing::Dirty;
pub(crate) use self::writing::Left;
use crate::directory::Directory;
use crate::frame::{Frame, FrameEncoder, Opcode};
use crate::options::Options;
use crate::slots::{SlotId, Slots};
use crate::stats::Stats;
use crate::wheel::{Tick, Wheel, tick_at};

/// The time, as a shard is told it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Now {
    /// Monotonic, since the node began.
    pub(crate) millis: u64,
    /// Wall clock, for expiries in tokens.
    pub(crate) unix_seconds: u64,
}

/// Something that has to be done outside the shard.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Give back one interest in the channel.
    Release(Channel),
    /// Give back interest and presence, and tell the others.
    Leave(Departure),
    /// Refresh a presence entry.
    RefreshPresence(Channel, Arc<ClientInfo>),
    /// Read the channel again from this position.
    Repair(SlotId, Channel, StreamPosition),
    /// End the connection's socket now.
    Cut(SlotId),
    /// Ask the backend whether the connection, which has expired, goes on.
    Refresh(SlotId),
    /// Ask the backend whether a subscription, which has expired, goes on.
    SubRefresh(Begun),
}

/// Who left which channel, and who has to hear of it.
#[derive(Debug, Clone)]
pub(crate) struct Departure {
    pub(crate) channel: Channel,
    pub(crate) info: Arc<ClientInfo>,
    pub(crate) presence: bool,
    pub(crate) join_leave: bool,
}

/// Sessions and subscriptions of one thread.
pub(crate) struct Shard {
    index: usize,
    options: Arc<Options>,
    directory: Arc<Directory>,
    stats: Arc<Stats>,
    now: Now,
    sessions: Slots<Session>,
    channels: Slots<ChannelState>,
    by_name: HashMap<Channel, SlotId>,
    users: Users,
    wheel: Wheel,
    dirty: Dirty,
    /// Channels that hold something back.
    holding: BTreeSet<SlotId>,
    holding_measured_millis: u64,
    effects: Vec<Effect>,
    leaves_queued: u64,
    leaves_settled: u64,
    pressed: bool,
    check_cursor: u32,
    makings: u64,
    encoder: FrameEncoder,
    random: SmallRng,
    /// Whether the backend is asked about connections that have expired; else their clients are.
    asks_refresh: bool,
}

impl Shard {
    pub(crate) fn new(index: usize, options: Arc<Options>, directory: Arc<Directory>, seed: u64) -> Self {
        let stats = Arc::clone(&directory.stats()[index]);
        Self {
            index,
            options,
            directory,
            stats,
            now: Now::default(),
            sessions: Slots::new(),
            channels: Slots::new(),
            by_name: HashMap::new(),
            users: Users::default(),
            wheel: Wheel::new(),
            dirty: Dirty::default(),
            holding: BTreeSet::new(),
            holding_measured_millis: 0,
            effects: Vec::new(),
            leaves_queued: 0,
            leaves_settled: 0,
            pressed: false,
            check_cursor: 0,
            makings: 0,
            encoder: FrameEncoder::default(),
            random: SmallRng::seed_from_u64(seed),
            asks_refresh: false,
        }
    }

    /// Goes on with other options.
    pub(crate) fn set_options(&mut self, options: Arc<Options>) {
        self.options = options;
    }

    /// Has the backend asked about connections that have expired, in place of their clients.
    pub(crate) fn refreshes_by_backend(&mut self, asks: bool) {
        self.asks_refresh = asks;
    }

    /// Tells the time. Every call after it happens then.
    pub(crate) fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    pub(crate) fn now(&self) -> Now {
        self.now
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(crate) fn session(&self, id: SlotId) -> Option<&Session> {
        self.sessions.get(id)
    }

    pub(crate) fn session_mut(&mut self, id: SlotId) -> Option<&mut Session> {
        self.sessions.get_mut(id)
    }

    pub(crate) fn session_ids(&self) -> Vec<SlotId> {
        self.sessions.ids().collect()
    }

    /// What has to be done outside, since the last call.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// The frame of a reply for one session.
    fn encode(&mut self, encoding: Encoding, reply: &Reply) -> Frame {
        self.encoder.frame(opcode(encoding), |out| encoding.encode_reply(reply, out))
    }

    /// Queues a reply.
    pub(crate) fn reply(&mut self, id: SlotId, reply: &Reply) {
        let Some(session) = self.sessions.get(id) else { return };
        let frame = self.encode(session.encoding, reply);
        self.enqueue(id, frame);
    }

    /// Queues a message that is no reply.
    pub(crate) fn send(&mut self, id: SlotId, opcode: Opcode, data: &[u8]) {
        let frame = self.encoder.frame(opcode, |out| out.extend_from_slice(data));
        self.enqueue(id, frame);
    }

    /// Queues a push.
    pub(crate) fn push(&mut self, id: SlotId, push: Push) {
        self.reply(id, &Reply { push: Some(push), ..Reply::default() });
    }

    /// The tick that lies `millis` ahead.
    fn tick_in(&self, millis: u64) -> Tick {
        tick_at(self.now.millis.saturating_add(millis))
    }

    /// The tick of an expiry given in wall-clock seconds, `grace_millis` later.
    fn tick_of_expiry(&self, expire_at: u64, grace_millis: u64) -> Tick {
        let left = expire_at.saturating_sub(self.now.unix_seconds);
        self.tick_in(left.saturating_mul(1_000).saturating_add(grace_millis))
    }
}

/// The frame type of an encoding.
pub(crate) fn opcode(encoding: Encoding) -> Opcode {
    match encoding {
        Encoding::Json => Opcode::Text,
        Encoding::Protobuf => Opcode::Binary,
    }
}
