//! Deadlines: pings, pongs, expiries, stalls.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{Disconnect, Encoding, Reply, Unsubscribe};
use rand::RngExt as _;

use super::session::{Stage, State};
use super::{Begun, Effect, Shard};
use crate::frame::Opcode;
use crate::slots::SlotId;
use crate::wheel::{Tick, Timer, tick_at};

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Shard {
    /// Arms a session's timer for its nearest deadline, if that is nearer than what it is armed for.
    pub(super) fn arm(&mut self, id: SlotId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let nearest = session.deadlines.nearest();
        if nearest != 0 && (session.armed == 0 || nearest < session.armed) {
            session.armed = self.wheel.arm(id, nearest);
        }
    }

    /// Moves the deadlines on to the present.
    pub(crate) fn run_deadlines(&mut self) {
        let now = Tick::try_from(self.now.millis / crate::limits::WHEEL_TICK_MILLIS).unwrap_or(Tick::MAX);
        let mut due: Vec<Timer> = Vec::new();
        self.wheel.advance(now, &mut due);
        for timer in due {
            self.fire(timer, now);
        }
    }

    /// Milliseconds until deadlines may be due, at most `max`.
    pub(crate) fn idle_millis(&self, max: u64) -> u64 {
        let tick = crate::limits::WHEEL_TICK_MILLIS;
        u64::from(self.wheel.idle_ticks((max / tick).max(1) as u32)) * tick
    }

    fn fire(&mut self, timer: Timer, now: Tick) {
        let Some(session) = self.sessions.get_mut(timer.slot) else {
            return;
        };
        if session.armed != timer.at {
            return;
        }
        session.armed = 0;
        self.expire(timer.slot, now);
        self.arm(timer.slot);
    }

    /// Carries out what is due. What closes the session comes first.
    fn expire(&mut self, id: SlotId, now: Tick) {
        let due = |at: Tick| at != 0 && at <= now;
        let Some(session) = self.sessions.get(id) else { return };
        let deadlines = &session.deadlines;
        if due(deadlines.cut) {
            return self.cut_off(id);
        }
        let expire = deadlines.expire;
        let closes = [
            (deadlines.drain, Disconnect::SHUTDOWN),
            (deadlines.connect, Disconnect::STALE),
            (deadlines.pong, Disconnect::NO_PONG),
            (if self.asks_refresh { 0 } else { expire }, Disconnect::CONNECTION_EXPIRED),
            (deadlines.write, Disconnect::WRITE_ERROR),
        ];
        let (ping, presence, subscriptions) = (deadlines.ping, deadlines.presence, deadlines.subscriptions);
        if let Some((_, disconnect)) = closes.into_iter().find(|(at, _)| due(*at)) {
            return self.close(id, &disconnect);
        }
        if self.asks_refresh && due(expire) {
            self.ask_refresh(id);
        }
        if due(ping) {
            self.ping(id);
        }
        if due(presence) {
            self.refresh_presence(id);
        }
        if due(subscriptions) {
            self.expire_subscriptions(id, now);
        }
    }

    /// From now on the backend decides whether the connection goes on, until it has said so.
    fn ask_refresh(&mut self, id: SlotId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.deadlines.expire = 0;
            session.awaits_refresh = true;
            self.effects.push(Effect::Refresh(id));
        }
    }

    /// Whether a connection that has expired waits for the backend to decide.
    pub(crate) fn awaits_refresh(&self, id: SlotId) -> bool {
        self.is_open(id) && self.sessions.get(id).is_some_and(|session| session.awaits_refresh)
    }

    /// Whether a subscription that has expired waits for the backend to decide.
    pub(crate) fn awaits_sub_refresh(&self, begun: Begun) -> bool {
        let Some(index) = self.made_index(begun) else { return false };
        self.sessions.get(begun.session).is_some_and(|session| session.subscriptions[index].expire == 0)
    }

    fn cut_off(&mut self, id: SlotId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.deadlines.cut = 0;
        }
        self.stats.cuts.add(1);
        self.cut(id);
    }

    /// Starts pinging: the first at a random moment in the second half of the interval, so that a storm of
    /// connects does not become a storm of pings.
    pub(crate) fn start_pings(&mut self, id: SlotId) {
        let Some(interval) = self.options.ping_interval else {
            return;
        };
        let interval = millis(interval).max(2);
        let first = self.random.random_range(interval / 2..interval);
        let at = self.tick_in(first);
        if let Some(session) = self.sessions.get_mut(id) {
            session.deadlines.ping = at;
        }
        self.arm(id);
    }

    fn ping(&mut self, id: SlotId) {
        let Some(interval) = self.options.ping_interval else {
            return;
        };
        let next = self.tick_in(millis(interval));
        let pong = self.tick_in(millis(self.options.pong_timeout));
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.deadlines.ping = next;
        session.deadlines.pong = pong;
        let frame = match (session.native_ping, session.encoding) {
            (true, _) => self.encoder.frame(Opcode::Ping, |_| {}),
            (false, Encoding::Json) => self.encode(Encoding::Json, &Reply::default()),
            (false, Encoding::Protobuf) => self.encode(Encoding::Protobuf, &Reply::default()),
        };
        self.enqueue(id, frame);
    }

    /// Takes a pong; `false` if none was awaited.
    pub(crate) fn pong(&mut self, id: SlotId) -> bool {
        let Some(session) = self.sessions.get_mut(id) else {
            return true;
        };
        let awaited = session.deadlines.pong != 0;
        session.deadlines.pong = 0;
        awaited
    }

    /// Sets when the connection expires; `None` is never.
    pub(crate) fn set_expiry(&mut self, id: SlotId, expire_at: Option<u64>) {
        let grace = if self.asks_refresh { 0 } else { millis(self.options.expired_close_delay) };
        let at = expire_at.map_or(0, |expire_at| self.tick_of_expiry(expire_at, grace));
        if let Some(session) = self.sessions.get_mut(id) {
            session.deadlines.expire = at;
            session.awaits_refresh = false;
        }
        self.arm(id);
    }

    /// Sets when a subscription expires; `None` is never.
    pub(crate) fn set_subscription_expiry(&mut self, id: SlotId, channel: SlotId, expire_at: Option<u64>) {
        let Some(session) = self.sessions.get(id) else { return };
        let Some(index) = session.subscription_index(channel) else { return };
        let delay = self.options.expired_close_delay;
        let grace = if session.subscriptions[index].asks_refresh { 0 } else { millis(delay) };
        let at = expire_at.map_or(0, |expire_at| self.tick_of_expiry(expire_at, grace));
        if let Some(session) = self.sessions.get_mut(id) {
            session.subscriptions[index].expire = at;
        }
        self.arm_subscriptions(id);
    }

    fn arm_subscriptions(&mut self, id: SlotId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let expiries = session.subscriptions.iter().map(|subscription| subscription.expire);
        session.deadlines.subscriptions = expiries.filter(|at| *at != 0).min().unwrap_or(0);
        self.arm(id);
    }

    /// Ends one subscription that has expired; not one to the same channel that was made since.
    pub(crate) fn expire_subscription(&mut self, begun: Begun) {
        let Some(index) = self.made_index(begun) else { return };
        let Some(session) = self.sessions.get(begun.session) else { return };
        if session.subscriptions[index].origin.is_server_side() {
            return self.close(begun.session, &Disconnect::SUBSCRIPTION_EXPIRED);
        }
        self.unsubscribe_with_push(begun.session, begun.channel, &Unsubscribe::EXPIRED);
    }

    /// Has the backend asked about the subscriptions that have expired and that it decides on.
    fn ask_sub_refreshes(&mut self, id: SlotId, now: Tick) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let due = |expire: Tick| expire != 0 && expire <= now;
        for subscription in session.subscriptions.iter_mut().filter(|s| s.asks_refresh && due(s.expire)) {
            subscription.expire = 0;
            let begun = Begun { session: id, channel: subscription.channel, making: subscription.making };
            self.effects.push(Effect::SubRefresh(begun));
        }
    }

    /// Ends what has expired: 2501 for the client's own subscriptions, 3006 where the server made it.
    fn expire_subscriptions(&mut self, id: SlotId, now: Tick) {
        self.ask_sub_refreshes(id, now);
        let Some(session) = self.sessions.get(id) else { return };
        let expired: Vec<_> = session
            .subscriptions
            .iter()
            .filter(|subscription| subscription.expire != 0 && subscription.expire <= now)
            .map(|subscription| (subscription.channel, subscription.origin.is_server_side()))
            .collect();
        if expired.iter().any(|(_, server_side)| *server_side) {
            return self.close(id, &Disconnect::SUBSCRIPTION_EXPIRED);
        }
        for (channel, _) in expired {
            self.unsubscribe_with_push(id, channel, &Unsubscribe::EXPIRED);
        }
        self.arm_subscriptions(id);
    }

    /// Starts refreshing the presence of a session, three times in the life of an entry.
    pub(crate) fn start_presence(&mut self, id: SlotId) {
        let at = self.tick_in(millis(self.options.presence_ttl) / 3);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.deadlines.presence == 0 {
            session.deadlines.presence = at;
            self.arm(id);
        }
    }

    /// Refreshes every presence entry of a session, with what its info is now.
    pub(crate) fn refresh_presence(&mut self, id: SlotId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.deadlines.presence = 0;
        let Some(own) = session.info().map(Arc::new) else { return };
        if session.last_leave > self.leaves_settled {
            // The last round is not through yet: queueing another one would only make the queue longer.
            return self.start_presence(id);
        }
        let present = session.subscriptions.iter().filter(|subscription| subscription.presence);
        // One that is still announced has started the timer already, and nobody starts it again when it is live.
        let is_announcing = present.clone().any(|subscription| subscription.stage == Stage::Announcing);
        let refreshes: Vec<_> = present
            .filter(|subscription| subscription.stage == Stage::Live)
            .map(|subscription| (subscription.channel, subscription.info.clone().unwrap_or_else(|| Arc::clone(&own))))
            .collect();
        if refreshes.is_empty() && !is_announcing {
            return;
        }
        for (channel, info) in refreshes {
            let Some(channel) = self.channels.get(channel) else {
                continue;
            };
            let effect = Effect::RefreshPresence(channel.name.clone(), info);
            self.queue_presence(id, effect);
        }
        self.start_presence(id);
    }

    /// Closes every session within `window`, each at a random moment of it.
    pub(crate) fn drain(&mut self, window_millis: u64) {
        for id in self.session_ids() {
            let at = tick_at(self.now.millis + self.random.random_range(0..=window_millis));
            if let Some(session) = self.sessions.get_mut(id) {
                session.deadlines.drain = if session.state == State::Closing { 0 } else { at };
            }
            self.arm(id);
        }
    }
}
