//! Commands of the server API to the sessions of this shard.

use std::sync::Arc;

use fanfare_broker::control::{RefreshControl, Target};
use fanfare_protocol::{Channel, ClientInfo, Disconnect, Push, RefreshPush, Unsubscribe};

use super::session::State;
use super::{Begun, Session, Shard};
use crate::limits::TTL_SECONDS_MAX;
use crate::slots::SlotId;

/// The sessions that a command concerns.
pub(crate) type Matching = Vec<SlotId>;

impl Shard {
    /// The open sessions that fit every part of a target.
    pub(crate) fn matching_open(&self, target: &Target) -> Matching {
        let mut matching = self.matching(target);
        // Before its connect reply a client must hear of nothing else.
        matching.retain(|id| self.sessions.get(*id).is_some_and(|session| session.state == State::Open));
        matching
    }

    /// The identified sessions that fit every part of a target, those that are still connecting too.
    fn matching(&self, target: &Target) -> Matching {
        // No transport here hands out session ids yet, so a command that names one fits nobody.
        if target.session.is_some() {
            return Matching::new();
        }
        let candidates = match &target.user {
            Some(user) => self.sessions_of(user).to_vec(),
            None => self.session_ids(),
        };
        candidates.into_iter().filter(|id| self.fits(*id, target.client.as_deref())).collect()
    }

    fn fits(&self, id: SlotId, client: Option<&str>) -> bool {
        let is_client = |session: &Session| client.is_none_or(|client| session.client.to_string() == client);
        self.sessions.get(id).is_some_and(|session| session.user.is_some() && is_client(session)) && self.is_open(id)
    }

    /// Ends subscriptions; sessions that have none hear nothing.
    pub(crate) fn apply_unsubscribe(&mut self, target: &Target, channel: &Channel, why: &Unsubscribe) {
        let Some(channel) = self.channel_id(channel) else {
            return;
        };
        for id in self.matching(target) {
            self.unsubscribe_with_push(id, channel, why);
        }
    }

    /// Closes connections, but for the client ids in `kept`.
    pub(crate) fn apply_disconnect(&mut self, target: &Target, disconnect: &Disconnect, kept: &[String]) {
        for id in self.matching(target) {
            let client = self.sessions.get(id).map(|session| session.client.to_string());
            if client.is_some_and(|client| !kept.contains(&client)) {
                self.close(id, disconnect);
            }
        }
    }

    /// Replaces expiries and tells the clients.
    pub(crate) fn apply_refresh(&mut self, target: &Target, refresh: &RefreshControl) {
        for id in self.matching_open(target) {
            self.refresh(id, refresh);
        }
    }

    fn refresh(&mut self, id: SlotId, refresh: &RefreshControl) {
        let past = refresh.expire_at.is_some_and(|expire_at| expire_at <= self.now.unix_seconds);
        if refresh.expired || past {
            return self.close(id, &Disconnect::CONNECTION_EXPIRED);
        }
        if let Some(info) = &refresh.info {
            self.replace_info(id, info);
        }
        self.set_expiry(id, refresh.expire_at);
        // A client is told of an expiry that it has to do something about.
        let told = refresh.expire_at.filter(|_| !self.asks_refresh);
        let push = RefreshPush { expires: told.is_some(), ttl: self.ttl(told) };
        self.push(id, Push { refresh: Some(push), ..Push::default() });
    }

    /// Replaces the connection info of a session, in its subscriptions with an info of their own too.
    pub(crate) fn replace_info(&mut self, id: SlotId, conn_info: &bytes::Bytes) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.set_conn_info(conn_info);
        for info in session.subscriptions.iter_mut().filter_map(|subscription| subscription.info.as_mut()) {
            *info = ClientInfo { conn_info: conn_info.clone(), ..ClientInfo::clone(info) }.into();
        }
        self.refresh_presence(id);
    }

    /// Replaces the info of one subscription.
    pub(crate) fn replace_channel_info(&mut self, begun: Begun, info: Arc<ClientInfo>) {
        let Some(session) = self.sessions.get_mut(begun.session) else { return };
        if let Some(index) = session.subscription_index(begun.channel) {
            session.subscriptions[index].info = Some(info);
        }
        self.refresh_presence(begun.session);
    }

    /// Seconds until a connection's expiry, as its client is told: 0 for never, a year at most.
    pub(crate) fn ttl(&self, expire_at: Option<u64>) -> u32 {
        self.ttl_uncapped(expire_at).min(TTL_SECONDS_MAX)
    }

    /// Seconds until a subscription's expiry, as its client is told: 0 for never.
    pub(crate) fn ttl_uncapped(&self, expire_at: Option<u64>) -> u32 {
        let left = expire_at.map_or(0, |expire_at| expire_at.saturating_sub(self.now.unix_seconds));
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}
