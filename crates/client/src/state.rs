//! What a connection knows: its subscriptions, its commands in flight, its deadlines. No socket, no clock: replies and
//! the time are passed in, commands and events come out.
//!
//! 1. A publication is delivered only to a live subscription: what arrives between an unsubscribe and the
//!    next subscribe reply belongs to the subscription before.
//! 2. Every subscription carries a key, so that a late answer or timer cannot hit its successor.
//! 3. Timers, commands in flight and phases belong to one connection and die with it; positions, tokens and
//!    calls that wait for a connection outlive it.

mod commands;
mod deliveries;
mod entry;
mod server_side;
mod timers;

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_protocol::{
    Channel, Command, ConnectResult, ErrorReply, Push, RefreshRequest, Reply, SubRefreshRequest, SubscribeRequest,
    SubscribeResult, UnsubscribePush, UnsubscribeRequest,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::commands::{Answer, Commands, Purpose};
use self::deliveries::Deliveries;
pub(crate) use self::entry::Entry;
use self::entry::Phase;
use self::server_side::ServerSide;
use self::timers::{Timer, Timers};
use crate::backoff::Backoff;
use crate::codes;
use crate::connection::Ending;
use crate::limits::PING_DELAY_MAX;
use crate::{ConnectionEvent, Error, SubscriptionEvent, TokenError, TokenSource};

/// All of a connection's memory.
#[derive(Debug, Default)]
pub(crate) struct State {
    connected: bool,
    entries: BTreeMap<Channel, Entry>,
    server_side: ServerSide,
    commands: Commands,
    timers: Timers,
    deliveries: Deliveries,
    events: Option<mpsc::Sender<ConnectionEvent>>,
    ping: Option<Ping>,
    token: Token,
    fetches: Vec<Fetch>,
}

/// What the server has promised about pings.
#[derive(Debug)]
struct Ping {
    patience: Duration,
    deadline: Instant,
}

/// The connection's token.
#[derive(Debug, Default)]
struct Token {
    source: Option<TokenSource>,
    current: Option<String>,
    pong: bool,
    backoff: Backoff,
}

/// A token that is to be had, for [`State::fetched`].
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) purpose: TokenFor,
    pub(crate) source: TokenSource,
}

/// What a token is wanted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenFor {
    RefreshConnection,
    Subscribe(Channel, u64),
    RefreshSubscription(Channel, u64),
}

impl State {
    pub(crate) fn new(source: Option<TokenSource>, events: Option<mpsc::Sender<ConnectionEvent>>) -> Self {
        Self { events, token: Token { source, ..Token::default() }, ..Self::default() }
    }

    // ---- what the application asks

    pub(crate) fn subscribe(&mut self, channel: &Channel, entry: Entry, now: Instant) -> Result<(), Error> {
        if self.entries.get(channel).is_some_and(Entry::is_wanted) {
            return Err(Error::AlreadySubscribed(channel.as_str().to_owned()));
        }
        self.remove(channel, now);
        self.entries.insert(channel.clone(), entry);
        self.begin(channel, now);
        Ok(())
    }

    pub(crate) fn unsubscribe(&mut self, channel: &Channel, key: u64, now: Instant) {
        if self.entry(channel, key).is_some() {
            self.remove(channel, now);
        }
    }

    /// Sends a command at once, or as soon as there is a connection.
    pub(crate) fn call(&mut self, command: Command, answer: Answer, now: Instant) {
        match self.connected {
            true => self.commands.send(command, Purpose::Call(answer), now),
            false => self.commands.wait(command, answer, now),
        }
    }

    /// Whether no further requests are to be taken now.
    pub(crate) fn is_full(&self) -> bool {
        self.commands.is_full()
    }

    // ---- the life of a connection

    /// The token at hand, and where another comes from.
    pub(crate) fn token(&self) -> (Option<String>, Option<TokenSource>) {
        (self.token.current.clone(), self.token.source.clone())
    }

    pub(crate) fn forget_token(&mut self) {
        self.token.current = None;
    }

    /// Positions of the subscriptions that the server makes, to recover them in the connect command.
    pub(crate) fn server_side_requests(&self) -> BTreeMap<String, SubscribeRequest> {
        self.server_side.requests()
    }

    pub(crate) fn connected(&mut self, token: Option<String>, result: ConnectResult, now: Instant) {
        self.connected = true;
        self.token.current = token;
        self.token.pong = result.pong;
        self.token.backoff.reset();
        let patience = Duration::from_secs(result.ping.into()) + PING_DELAY_MAX;
        self.ping = (result.ping > 0).then(|| Ping { patience, deadline: now + patience });
        self.refresh_connection_after(result.expires, result.ttl, now);
        self.tell(ConnectionEvent::Connected { client: result.client });
        for (channel, event) in self.server_side.connected(result.subs) {
            self.tell(ConnectionEvent::ServerSubscription { channel, event });
        }
        self.entries.retain(|_, entry| entry.is_wanted());
        let channels: Vec<Channel> = self.entries.keys().cloned().collect();
        for channel in channels {
            self.begin(&channel, now);
        }
        self.commands.send_waiting();
    }

    pub(crate) fn disconnected(&mut self, ending: &Ending) {
        self.connected = false;
        self.ping = None;
        self.timers.clear();
        self.fetches.clear();
        self.commands.abandon(&ending.error());
        self.entries.values_mut().for_each(Entry::disconnected);
        if ending.code == codes::CLOSE_STATE_INVALIDATED {
            self.forget_token();
            self.entries.values_mut().for_each(Entry::invalidate);
            self.server_side.invalidate();
        }
        let (code, reason) = (ending.code, ending.reason.to_string());
        self.tell(ConnectionEvent::Disconnected { code, reason, reconnects: ending.reconnects });
    }

    /// The end: everybody is told.
    pub(crate) fn stop(&mut self, error: &Error) {
        self.commands.fail_all(error);
        let code = match error {
            Error::Token(_) => codes::UNAUTHORIZED,
            error => error.code().unwrap_or(0),
        };
        for (_, entry) in std::mem::take(&mut self.entries) {
            let event = SubscriptionEvent::Unsubscribed { code, reason: error.to_string() };
            self.deliveries.subscription(&entry.events, event);
        }
        self.events = None;
    }

    // ---- time

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let ping = self.ping.as_ref().filter(|_| self.deliveries.is_empty()).map(|ping| ping.deadline);
        [self.commands.next_deadline(), self.timers.next_deadline(), ping].into_iter().flatten().min()
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), Ending> {
        if self.deliveries.is_empty() && self.ping.as_ref().is_some_and(|ping| ping.deadline <= now) {
            return Err(Ending::lost("no ping"));
        }
        for purpose in self.commands.expire(now) {
            self.timed_out(purpose)?;
        }
        while let Some(timer) = self.timers.pop(now) {
            self.fire(timer, now);
        }
        Ok(())
    }

    fn timed_out(&mut self, purpose: Purpose) -> Result<(), Ending> {
        match purpose {
            Purpose::Call(answer) => {
                // A caller that has gone away needs no answer.
                let _ = answer.send(Err(Error::TimedOut));
                Ok(())
            }
            // Nobody knows what the server has done: only a new connection makes that certain.
            Purpose::Subscribe(..) => Err(Ending::lost("no reply to a subscribe")),
            Purpose::Unsubscribe => Err(Ending::lost("no reply to an unsubscribe")),
            Purpose::RefreshConnection | Purpose::RefreshSubscription(..) => Err(Ending::lost("no reply to a refresh")),
        }
    }

    fn fire(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Resubscribe(channel, key) => {
                if self.entry(&channel, key).is_some() {
                    self.begin(&channel, now);
                }
            }
            Timer::RefreshConnection => self.fetch_for_connection(),
            Timer::RefreshSubscription(channel, key) => self.fetch_for_subscription(channel, key),
        }
    }

    // ---- what goes out

    pub(crate) fn take_outgoing(&mut self) -> Vec<Command> {
        self.commands.take_outgoing()
    }

    pub(crate) fn take_fetches(&mut self) -> Vec<Fetch> {
        std::mem::take(&mut self.fetches)
    }

    /// Whether events wait for their readers: then nothing more is to be read from the socket.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.deliveries.is_empty()
    }

    /// Waits for a reader and hands it the oldest waiting event. May be dropped without loss.
    pub(crate) async fn hand_over(&mut self) {
        self.deliveries.hand_over().await;
    }

    /// Reading goes on after a backlog: a ping may have waited behind it.
    pub(crate) fn resume(&mut self, now: Instant) {
        if let Some(ping) = &mut self.ping {
            ping.deadline = now + ping.patience;
        }
    }

    // ---- what comes in

    pub(crate) fn reply(&mut self, reply: Reply, now: Instant) -> Result<(), Ending> {
        if let Some(push) = reply.push {
            return self.push(push, now);
        }
        if reply.id == 0 {
            self.pinged(now);
            return Ok(());
        }
        // A reply that nobody waits for has come after its deadline.
        let Some(purpose) = self.commands.take(reply.id) else {
            return Ok(());
        };
        match purpose {
            Purpose::Call(answer) => {
                let _ = answer.send(result_of(reply));
                Ok(())
            }
            Purpose::Unsubscribe => unsubscribe_reply(&reply),
            Purpose::Subscribe(channel, key) => {
                self.subscribe_reply(&channel, key, reply, now);
                Ok(())
            }
            Purpose::RefreshConnection => self.refresh_reply(reply, now),
            Purpose::RefreshSubscription(channel, key) => {
                self.sub_refresh_reply(&channel, key, reply, now);
                Ok(())
            }
        }
    }

    fn pinged(&mut self, now: Instant) {
        self.resume(now);
        if self.token.pong {
            self.commands.pong();
        }
    }

    fn push(&mut self, push: Push, now: Instant) -> Result<(), Ending> {
        if let Some(disconnect) = push.disconnect {
            return Err(Ending::closed(disconnect.code, disconnect.reason));
        }
        if let Some(message) = push.message {
            self.tell(ConnectionEvent::Message(message.data));
        } else if let Some(refresh) = push.refresh {
            self.refresh_connection_after(refresh.expires, refresh.ttl, now);
        } else {
            self.channel_push(push, now);
        }
        Ok(())
    }

    fn channel_push(&mut self, push: Push, now: Instant) {
        let Some((channel, entry)) = self.entries.get_key_value(push.channel.as_str()) else {
            return self.server_side_push(push);
        };
        if !entry.is_live() {
            return;
        }
        let channel = channel.clone();
        match push.unsubscribe {
            Some(unsubscribe) => self.unsubscribe_push(&channel, unsubscribe, now),
            None => self.entry_push(&channel, push, now),
        }
    }

    fn entry_push(&mut self, channel: &Channel, push: Push, now: Instant) {
        let Some(entry) = self.entries.get_mut(channel) else {
            return;
        };
        entry.push(push, &mut self.deliveries);
        if !entry.is_wanted() {
            self.remove(channel, now);
        }
    }

    fn server_side_push(&mut self, push: Push) {
        let channel = push.channel.clone();
        for event in self.server_side.push(push) {
            self.tell(ConnectionEvent::ServerSubscription { channel: channel.clone(), event });
        }
    }

    fn unsubscribe_push(&mut self, channel: &Channel, push: UnsubscribePush, now: Instant) {
        if !codes::unsubscribe_resubscribes(push.code) {
            return self.finish(channel, push.code, push.reason);
        }
        let Some(entry) = self.entries.get_mut(channel) else {
            return;
        };
        entry.disconnected();
        match push.code {
            codes::UNSUBSCRIBE_EXPIRED => entry.forget_token(),
            codes::UNSUBSCRIBE_STATE_INVALIDATED => entry.invalidate(),
            _ => {}
        }
        self.begin_later(channel, now);
    }

    // ---- subscriptions

    fn entry(&mut self, channel: &Channel, key: u64) -> Option<&mut Entry> {
        self.entries.get_mut(channel).filter(|entry| entry.key == key)
    }

    /// Gets a token where one is needed, then subscribes.
    fn begin(&mut self, channel: &Channel, now: Instant) {
        let Some(entry) = self.entries.get_mut(channel).filter(|_| self.connected) else {
            return;
        };
        if let Some(source) = entry.token_to_fetch() {
            entry.phase = Phase::AwaitingToken;
            let purpose = TokenFor::Subscribe(channel.clone(), entry.key);
            return self.fetches.push(Fetch { purpose, source });
        }
        entry.phase = Phase::Subscribing;
        let command = Command { subscribe: Some(entry.request(channel)), ..Default::default() };
        self.commands.send(command, Purpose::Subscribe(channel.clone(), entry.key), now);
    }

    fn begin_later(&mut self, channel: &Channel, now: Instant) {
        let Some(entry) = self.entries.get_mut(channel) else {
            return;
        };
        entry.phase = Phase::Idle;
        let at = now + entry.backoff.next_delay();
        self.timers.set(at, Timer::Resubscribe(channel.clone(), entry.key));
    }

    fn subscribe_reply(&mut self, channel: &Channel, key: u64, reply: Reply, now: Instant) {
        if self.entry(channel, key).is_none_or(|entry| entry.phase != Phase::Subscribing) {
            return;
        }
        match reply.error {
            Some(error) => self.subscribe_refused(channel, error, now),
            None => self.subscribed(channel, key, reply.subscribe.unwrap_or_default(), now),
        }
    }

    fn subscribed(&mut self, channel: &Channel, key: u64, result: SubscribeResult, now: Instant) {
        let (expires, ttl) = (result.expires, result.ttl);
        let Some(entry) = self.entries.get_mut(channel) else {
            return;
        };
        entry.subscribed(result, &mut self.deliveries);
        if !entry.is_wanted() {
            return self.remove(channel, now);
        }
        self.refresh_subscription_after(channel, key, (expires, ttl), now);
    }

    fn subscribe_refused(&mut self, channel: &Channel, error: ErrorReply, now: Instant) {
        let Some(entry) = self.entries.get_mut(channel) else {
            return;
        };
        let renewable = error.code == codes::TOKEN_EXPIRED && entry.renews_token();
        if !renewable && !codes::error_is_temporary(error.code, error.temporary) {
            return self.finish(channel, error.code, error.message);
        }
        if renewable {
            entry.forget_token();
        }
        self.begin_later(channel, now);
    }

    /// Ends a subscription by the node's will.
    fn finish(&mut self, channel: &Channel, code: u32, reason: String) {
        let Some(entry) = self.entries.remove(channel) else {
            return;
        };
        self.deliveries.subscription(&entry.events, SubscriptionEvent::Unsubscribed { code, reason });
    }

    /// Ends a subscription by the application's will.
    fn remove(&mut self, channel: &Channel, now: Instant) {
        let Some(entry) = self.entries.remove(channel) else {
            return;
        };
        if matches!(entry.phase, Phase::Subscribing | Phase::Live) {
            let unsubscribe = UnsubscribeRequest { channel: channel.as_str().to_owned() };
            let command = Command { unsubscribe: Some(unsubscribe), ..Default::default() };
            self.commands.send(command, Purpose::Unsubscribe, now);
        }
    }

    // ---- tokens

    pub(crate) fn fetched(
        &mut self,
        purpose: TokenFor,
        result: Result<String, TokenError>,
        now: Instant,
    ) -> Result<(), Ending> {
        match purpose {
            TokenFor::RefreshConnection => return self.fetched_for_connection(result, now),
            TokenFor::Subscribe(channel, key) => self.fetched_for_subscribe(&channel, key, result, now),
            TokenFor::RefreshSubscription(channel, key) => self.fetched_for_sub_refresh(&channel, key, result, now),
        }
        Ok(())
    }

    fn refresh_connection_after(&mut self, expires: bool, ttl_seconds: u32, now: Instant) {
        if expires && self.token.source.as_ref().is_some_and(TokenSource::renews) {
            self.timers.set(now + refresh_delay(ttl_seconds), Timer::RefreshConnection);
        }
    }

    fn fetch_for_connection(&mut self) {
        let Some(source) = self.token.source.clone() else {
            return;
        };
        self.fetches.push(Fetch { purpose: TokenFor::RefreshConnection, source });
    }

    fn fetched_for_connection(&mut self, result: Result<String, TokenError>, now: Instant) -> Result<(), Ending> {
        let token = match result {
            Ok(token) => token,
            Err(TokenError::Unauthorized) => return Err(Ending::terminal(codes::UNAUTHORIZED, "unauthorized")),
            Err(TokenError::Temporary(_)) => {
                self.refresh_connection_later(now);
                return Ok(());
            }
        };
        self.token.current = Some(token.clone());
        let command = Command { refresh: Some(RefreshRequest { token }), ..Default::default() };
        self.commands.send(command, Purpose::RefreshConnection, now);
        Ok(())
    }

    fn refresh_connection_later(&mut self, now: Instant) {
        self.timers.set(now + self.token.backoff.next_delay(), Timer::RefreshConnection);
    }

    fn refresh_reply(&mut self, reply: Reply, now: Instant) -> Result<(), Ending> {
        let Some(error) = reply.error else {
            let result = reply.refresh.unwrap_or_default();
            self.token.backoff.reset();
            self.refresh_connection_after(result.expires, result.ttl, now);
            return Ok(());
        };
        if !codes::error_is_temporary(error.code, error.temporary) && error.code != codes::TOKEN_EXPIRED {
            return Err(Ending::terminal(error.code, error.message));
        }
        self.refresh_connection_later(now);
        Ok(())
    }

    fn refresh_subscription_after(&mut self, channel: &Channel, key: u64, expiry: (bool, u32), now: Instant) {
        let (expires, ttl_seconds) = expiry;
        let renews = self.entry(channel, key).is_some_and(|entry| entry.renews_token());
        if expires && renews {
            let timer = Timer::RefreshSubscription(channel.clone(), key);
            self.timers.set(now + refresh_delay(ttl_seconds), timer);
        }
    }

    fn fetch_for_subscription(&mut self, channel: Channel, key: u64) {
        let Some(entry) = self.entry(&channel, key).filter(|entry| entry.is_live()) else {
            return;
        };
        let Some(source) = entry.options.token.clone() else {
            return;
        };
        self.fetches.push(Fetch { purpose: TokenFor::RefreshSubscription(channel, key), source });
    }

    fn fetched_for_subscribe(&mut self, channel: &Channel, key: u64, result: Result<String, TokenError>, now: Instant) {
        let Some(entry) = self.entry(channel, key).filter(|entry| entry.phase == Phase::AwaitingToken) else {
            return;
        };
        match result {
            Ok(token) => {
                entry.token = Some(token);
                self.begin(channel, now);
            }
            Err(TokenError::Temporary(_)) => self.begin_later(channel, now),
            Err(TokenError::Unauthorized) => self.finish(channel, codes::UNAUTHORIZED, "unauthorized".to_owned()),
        }
    }

    fn fetched_for_sub_refresh(
        &mut self,
        channel: &Channel,
        key: u64,
        result: Result<String, TokenError>,
        now: Instant,
    ) {
        let Some(entry) = self.entry(channel, key).filter(|entry| entry.is_live()) else {
            return;
        };
        let token = match result {
            Ok(token) => token,
            Err(TokenError::Temporary(_)) => return self.refresh_subscription_later(channel, key, now),
            Err(TokenError::Unauthorized) => {
                self.remove_with(channel, codes::UNAUTHORIZED, "unauthorized", now);
                return;
            }
        };
        entry.token = Some(token.clone());
        let sub_refresh = SubRefreshRequest { channel: channel.as_str().to_owned(), token, ..Default::default() };
        let command = Command { sub_refresh: Some(sub_refresh), ..Default::default() };
        self.commands.send(command, Purpose::RefreshSubscription(channel.clone(), key), now);
    }

    fn refresh_subscription_later(&mut self, channel: &Channel, key: u64, now: Instant) {
        let Some(entry) = self.entry(channel, key) else { return };
        let at = now + entry.backoff.next_delay();
        self.timers.set(at, Timer::RefreshSubscription(channel.clone(), key));
    }

    fn sub_refresh_reply(&mut self, channel: &Channel, key: u64, reply: Reply, now: Instant) {
        let Some(entry) = self.entry(channel, key).filter(|entry| entry.is_live()) else {
            return;
        };
        let Some(error) = reply.error else {
            let result = reply.sub_refresh.unwrap_or_default();
            entry.backoff.reset();
            return self.refresh_subscription_after(channel, key, (result.expires, result.ttl), now);
        };
        match codes::error_is_temporary(error.code, error.temporary) || error.code == codes::TOKEN_EXPIRED {
            true => self.refresh_subscription_later(channel, key, now),
            false => self.remove_with(channel, error.code, &error.message, now),
        }
    }

    /// Ends a live subscription for a reason of its own, and says so on both sides.
    fn remove_with(&mut self, channel: &Channel, code: u32, reason: &str, now: Instant) {
        if let Some(entry) = self.entries.get(channel) {
            let event = SubscriptionEvent::Unsubscribed { code, reason: reason.to_owned() };
            self.deliveries.subscription(&entry.events, event);
        }
        self.remove(channel, now);
    }

    fn tell(&mut self, event: ConnectionEvent) {
        if let Some(events) = &self.events {
            self.deliveries.connection(events, event);
        }
    }
}

/// A ttl of 0 would otherwise ask again without a pause.
fn refresh_delay(ttl_seconds: u32) -> Duration {
    Duration::from_secs(ttl_seconds.max(1).into())
}

fn result_of(reply: Reply) -> Result<Reply, Error> {
    match reply.error {
        Some(error) => Err(error.into()),
        None => Ok(reply),
    }
}

fn unsubscribe_reply(reply: &Reply) -> Result<(), Ending> {
    match reply.error {
        Some(_) => Err(Ending::lost("unsubscribe refused")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
