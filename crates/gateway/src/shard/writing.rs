//! Which sessions are to be written, and what one write takes.
//!
//! Most sessions are written in the order in which they got something. Those that got only what a large channel brought
//! stand in a list of their own, from which every fourth is taken while there are others: a publication to 100,000
//! subscribers takes a core 400 ms to write, and pings, replies and small channels must not wait for that. What a session
//! is sent keeps its order all the same, since a write takes the outbox as it is.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use super::Shard;
use super::session::{Session, State};
use crate::slots::SlotId;
use crate::stats::Stats;

/// While others wait, every so many-th session is one of a large channel.
const BULK_SHARE: u8 = 4;

/// The same while nothing is taken from the ring before everything is written: the large channel's outboxes are then
/// what all others wait for.
const BULK_SHARE_PRESSED: u8 = 2;

/// Sessions that have something queued, each at most once in a list.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    prompt: VecDeque<SlotId>,
    bulk: VecDeque<SlotId>,
    turn: u8,
}

impl Dirty {
    pub(super) fn mark(&mut self, id: SlotId, session: &mut Session) {
        session.bulk_only = false;
        if !session.dirty {
            session.dirty = true;
            self.prompt.push_back(id);
        }
    }

    /// Marks a session for what a large channel brought.
    pub(super) fn mark_bulk(&mut self, id: SlotId, session: &mut Session) {
        // What a socket refused of something else still waits for it.
        session.bulk_only |= !session.dirty && !session.blocked;
        if !session.dirty && !session.dirty_in_bulk {
            session.dirty_in_bulk = true;
            self.bulk.push_back(id);
        }
    }

    fn is_empty(&self) -> bool {
        self.prompt.is_empty() && self.bulk.is_empty()
    }

    /// Whether the next one is of a large channel, where some are.
    fn is_turn_of_bulk(&mut self, share: u8) -> bool {
        if self.prompt.is_empty() {
            return true;
        }
        self.turn = (self.turn + 1) % share;
        self.turn == 0
    }
}

/// What a session has left after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing.
    Nothing,
    /// Nothing, and nothing will come: its close frame has left.
    End,
    /// What did not go into one write.
    More,
    /// What its socket did not take.
    Refused,
}

impl Shard {
    /// Whether an outbox is so full that everything queued is to be written before more is taken from the ring. The
    /// ring then fills, and who publishes waits: a burst alone makes nobody a slow consumer.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed
    }

    /// The next session to write. It may have nothing queued any more.
    pub(crate) fn next_dirty(&mut self) -> Option<SlotId> {
        let next = self.next_in_turn();
        // Until the next tick others may have something again: that everything was offered is seen only here.
        self.pressed &= !self.dirty.is_empty();
        next
    }

    fn next_in_turn(&mut self) -> Option<SlotId> {
        if self.dirty.bulk.is_empty() {
            return self.next_of_prompt();
        }
        let share = if self.pressed { BULK_SHARE_PRESSED } else { BULK_SHARE };
        if self.dirty.is_turn_of_bulk(share) {
            self.next_of_bulk().or_else(|| self.next_of_prompt())
        } else {
            self.next_of_prompt().or_else(|| self.next_of_bulk())
        }
    }

    fn next_of_prompt(&mut self) -> Option<SlotId> {
        while let Some(id) = self.dirty.prompt.pop_front() {
            if let Some(session) = self.sessions.get_mut(id) {
                session.dirty = false;
                return Some(id);
            }
        }
        None
    }

    /// It may have been written since, for something else. It counts as a write all the same: skipping a whole channel of
    /// such would take longer than a tick has for its writes.
    fn next_of_bulk(&mut self) -> Option<SlotId> {
        while let Some(id) = self.dirty.bulk.pop_front() {
            if let Some(session) = self.sessions.get_mut(id) {
                session.dirty_in_bulk = false;
                return Some(id);
            }
        }
        None
    }

    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn mark_dirty(&mut self, id: SlotId) {
        if let Some(session) = self.sessions.get_mut(id) {
            self.dirty.mark(id, session);
        }
    }

    /// The socket takes something again: the session stands in line where it stood when the socket refused.
    pub(crate) fn writable(&mut self, id: SlotId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.blocked = false;
        if session.bulk_only {
            self.dirty.mark_bulk(id, session);
        } else {
            self.dirty.mark(id, session);
        }
    }

    /// Offers to `write` what a session has queued, as much as goes into one write; small frames are put together in
    /// `cork`. A socket that has refused something is not asked again before it is writable.
    pub(crate) fn offer(
        &mut self,
        id: SlotId,
        cork: &mut Vec<u8>,
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<Left> {
        let Some(session) = self.sessions.get_mut(id) else { return Ok(Left::Nothing) };
        if session.outbox.is_empty() {
            return Ok(session.left());
        }
        if session.blocked {
            return Ok(Left::Refused);
        }
        let offered = session.outbox.next_write(cork);
        let length = offered.len();
        let written = match write(offered) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Left::Refused),
            written => written?,
        };
        session.wrote(written, &self.stats);
        Ok(if written < length { Left::Refused } else { session.left() })
    }

    /// Bytes of the outbox that the socket took; none if it took what TLS held.
    pub(crate) fn written(&mut self, id: SlotId, bytes: usize) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.wrote(bytes, &self.stats);
        }
    }
}

impl Session {
    fn wrote(&mut self, bytes: usize, stats: &Stats) {
        let freed = self.outbox.advance(bytes);
        self.deadlines.write = 0;
        stats.outbox_bytes.subtract(bytes as u64);
        stats.outbox_memory.subtract(freed as u64);
        stats.bytes_out.add(bytes as u64);
        stats.writes.add(1);
    }

    /// What is left where the socket has taken all that it was offered.
    fn left(&self) -> Left {
        match self.state {
            _ if !self.outbox.is_empty() => Left::More,
            State::Closing if !self.finished => Left::End,
            _ => Left::Nothing,
        }
    }
}
