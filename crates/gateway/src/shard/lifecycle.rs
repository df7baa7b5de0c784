//! How a session begins and ends.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_auth::Rights;
use fanfare_protocol::{ConnectResult, Disconnect, Encoding};
use uuid::Uuid;

use super::deadlines::millis;
use super::judgement::TokenStamp;
use super::session::{Deadlines, Fill, State};
use super::users::Left;
use super::{Effect, Session, Shard};
use crate::frame::Frame;
use crate::limits;
use crate::outbox::PLACE_BYTES;
use crate::slots::SlotId;

/// Who begins a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) user: &'a str,
    pub(crate) client: Uuid,
    /// What the token says of it.
    pub(crate) info: &'a Bytes,
}

impl Shard {
    /// A new session, which has to send `connect` in time.
    pub(crate) fn open(&mut self, encoding: Encoding, native_ping: bool) -> SlotId {
        let mut session = Session::new(encoding, native_ping);
        session.deadlines.connect = self.tick_in(millis(self.options.connect_timeout));
        let id = self.sessions.insert(session);
        self.stats.sessions_opened.add(1);
        self.stats.sessions.set(self.sessions.len() as u64);
        self.arm(id);
        id
    }

    /// Enters an identified session under its user. Returns how many sessions the user has on this node.
    pub(crate) fn identify(
        &mut self,
        id: SlotId,
        identity: &Identity<'_>,
        rights: Option<Arc<Rights>>,
        token: TokenStamp,
    ) -> usize {
        // It may have been closed while its token's keys, or the backend, were waited for.
        let Some(session) = self.sessions.get_mut(id).filter(|session| session.state == State::Opening) else {
            return 0;
        };
        let (user, sessions) = self.directory.add_user(self.index, identity.user);
        session.client = identity.client;
        session.set_conn_info(identity.info);
        session.rights = rights;
        session.token = token;
        session.state = State::Connecting;
        session.user_index = self.users.add(&user, id);
        session.user = Some(user);
        sessions
    }

    /// Opens an identified session for commands and gives what the connect reply tells of it.
    pub(crate) fn welcome(&mut self, id: SlotId, expire_at: Option<u64>) -> Option<ConnectResult> {
        let session = self.sessions.get_mut(id).filter(|session| session.state == State::Connecting)?;
        session.state = State::Open;
        session.deadlines.connect = 0;
        let client = session.client.to_string();
        let interval = self.options.ping_interval.filter(|_| !session.native_ping);
        let ping = interval.map_or(0, |interval| interval.as_secs_f64().ceil() as u32);
        self.set_expiry(id, expire_at);
        self.start_pings(id);
        Some(ConnectResult {
            client,
            version: self.options.version.clone(),
            expires: expire_at.is_some() && !self.asks_refresh,
            ttl: if self.asks_refresh { 0 } else { self.ttl(expire_at) },
            ping,
            pong: ping > 0,
            ..ConnectResult::default()
        })
    }

    /// A session whose `connect` was answered with an error takes no further command.
    pub(crate) fn refuse(&mut self, id: SlotId) {
        if !self.is_open(id) {
            return;
        }
        // It is no session of its user: neither the server API nor the limit of sessions may see it.
        self.detach(id);
        if let Some(session) = self.sessions.get_mut(id) {
            session.state = State::Refused;
        }
    }

    /// Takes a session out of its user's list in constant time.
    fn forget_user(&mut self, id: SlotId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(user) = session.user.take() else { return };
        let left = self.users.remove(user.id(), session.user_index);
        if let Left::Moved(Some(moved)) = left {
            let at = session.user_index;
            if let Some(moved) = self.sessions.get_mut(moved) {
                moved.user_index = at;
            }
        }
        self.directory.remove_user(self.index, user.id(), left == Left::Last);
    }

    /// The sessions of a user.
    pub(crate) fn sessions_of(&self, user: &str) -> &[SlotId] {
        self.users.of(user)
    }

    /// Queues a frame; a session over its bound is relieved, or closed as slow (3008).
    pub(crate) fn enqueue(&mut self, id: SlotId, frame: Frame) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.state == State::Closing {
            return;
        }
        self.stats.outbox_bytes.add(frame.len() as u64);
        self.stats.outbox_memory.add((PLACE_BYTES + frame.own_memory_bytes()) as u64);
        session.outbox.push(frame);
        let fill = session.fill(self.options.outbox_bytes_max);
        self.pressed |= fill == Fill::Pressed;
        self.mark_dirty(id);
        if fill == Fill::Over {
            self.relieve(id);
        }
    }

    /// Whether so much waits for a session that its next command has to wait too.
    pub(crate) fn is_filling(&self, id: SlotId) -> bool {
        let session = self.sessions.get(id).filter(|session| session.state != State::Closing);
        session.is_some_and(|session| session.outbox.bytes() > self.options.outbox_bytes_max / 4)
    }

    /// Has a session of which a command waits for what was queued written with those of small channels.
    pub(crate) fn hasten(&mut self, id: SlotId) {
        if self.is_filling(id) {
            self.mark_dirty(id);
        }
    }

    /// The socket takes nothing at the moment: it has `write_timeout` to take something.
    pub(crate) fn blocked(&mut self, id: SlotId) {
        let at = self.tick_in(millis(self.options.write_timeout));
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.blocked = true;
        // A closing session has a deadline of its own.
        if session.deadlines.write == 0 && session.state != State::Closing {
            session.deadlines.write = at;
            self.arm(id);
        }
    }

    /// Ends a session with a close frame. Its subscriptions end at once; what was queued before is still sent,
    /// but for a slow one, where only the frame in progress is finished.
    pub(crate) fn close(&mut self, id: SlotId, disconnect: &Disconnect) {
        let frame = self.encoder.close(disconnect.code, &disconnect.reason);
        self.close_with(id, disconnect.code, Some(frame));
    }

    /// Ends a session whose peer has sent its close frame; the answer is in the outbox already.
    pub(crate) fn close_answered(&mut self, id: SlotId) {
        self.close_with(id, Disconnect::CONNECTION_CLOSED.code, None);
    }

    fn close_with(&mut self, id: SlotId, code: u16, frame: Option<Frame>) {
        if self.sessions.get(id).is_none_or(|session| session.state == State::Closing) {
            return;
        }
        self.detach(id);
        self.stats.count_close(code);
        let cut = self.tick_in(millis(limits::CLOSE_TIMEOUT));
        let slow = code == Disconnect::SLOW.code;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.state = State::Closing;
        session.deadlines = Deadlines { cut, ..Deadlines::default() };
        let before = session.outbox.bytes();
        if slow {
            self.stats.outbox_memory.subtract(session.outbox.cut() as u64);
        }
        if let Some(frame) = frame {
            self.stats.outbox_memory.add((PLACE_BYTES + frame.own_memory_bytes()) as u64);
            session.outbox.push(frame);
        }
        self.stats.outbox_bytes.add(session.outbox.bytes() as u64);
        self.stats.outbox_bytes.subtract(before as u64);
        self.arm(id);
        self.mark_dirty(id);
    }

    /// The close frame has left: the peer has a moment to end its side.
    pub(crate) fn finished(&mut self, id: SlotId) {
        let cut = self.tick_in(millis(limits::CLOSE_LINGER));
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.finished = true;
        session.deadlines.cut = cut;
        self.arm(id);
    }

    /// Takes a session out of everything but its place.
    fn detach(&mut self, id: SlotId) {
        self.leave_all(id);
        self.forget_user(id);
    }

    /// Removes a session whose read task has ended.
    pub(crate) fn remove(&mut self, id: SlotId) {
        let Some(session) = self.sessions.get(id) else { return };
        if session.state != State::Closing {
            self.stats.count_close(Disconnect::CONNECTION_CLOSED.code);
            self.detach(id);
        }
        if let Some(mut session) = self.sessions.remove(id) {
            self.stats.outbox_bytes.subtract(session.outbox.bytes() as u64);
            self.stats.outbox_memory.subtract(session.outbox.clear() as u64);
        }
        self.stats.sessions.set(self.sessions.len() as u64);
    }

    /// Asks for the socket to be ended now.
    pub(super) fn cut(&mut self, id: SlotId) {
        self.effects.push(Effect::Cut(id));
    }
}
