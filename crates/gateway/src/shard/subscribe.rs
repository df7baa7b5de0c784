//! How a subscription begins and ends, in an order that loses nothing and doubles nothing (protocol §8.4).
//!
//! 1. [`Shard::begin`] enters it as joining: from now on what arrives in the channel is held back for it.
//! 2. The task that makes it gains interest, adds presence and reads the history.
//! 3. [`Shard::commit`] splices history and what was held back, and makes it live.
//! 4. The task queues the reply, then the rest that was held back, then the join; [`Shard::settle`] ends this.

use std::sync::Arc;

use fanfare_auth::Allowed;
use fanfare_broker::fault_points::{self, Defect};
use fanfare_broker::{Event, Publication, StreamPosition};
use fanfare_protocol::{Channel, ClientInfo, Disconnect, Push, Unsubscribe, UnsubscribePush};

use super::channel::{ChannelState, Continuity, HeldBack, Joining, Listener, continuity};
use super::judgement::TokenStamp;
use super::session::{Origin, Session, Stage, State, Subscription};
use super::{Departure, Effect, Shard};
use crate::slots::SlotId;
use crate::tight;

/// What a subscription is to be made with.
#[derive(Debug, Clone)]
pub(crate) struct NewSubscription {
    pub(crate) channel: Channel,
    pub(crate) origin: Origin,
    pub(crate) presence: bool,
    /// Whether joins and leaves are published for it.
    pub(crate) announces: bool,
    /// Whether joins and leaves of others are pushed to it.
    pub(crate) join_leave: bool,
    /// What its token allows besides listening.
    pub(crate) allowed: Allowed,
    /// Whether the backend is asked when it has expired.
    pub(crate) asks_refresh: bool,
    /// Whether publications that wait for it may be dropped if it is slow: by the channel, without positions only.
    pub(crate) drops_oldest: bool,
    /// The subscription token that it is made with.
    pub(crate) token: Option<TokenStamp>,
    pub(crate) info: Option<Arc<ClientInfo>>,
}

/// A subscription that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) session: SlotId,
    pub(crate) channel: SlotId,
    pub(super) making: u64,
}

/// Why a subscription was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    AlreadySubscribed,
    LimitExceeded,
    /// The session is closed.
    Gone,
}

/// What the broker knew of a channel's stream.
#[derive(Debug)]
pub(crate) enum Backlog {
    /// Not asked: the subscription has no position.
    None,
    /// Its top.
    Top(StreamPosition),
    /// What came after the position that the client asked to recover from.
    Since {
        offset: u64,
        epoch: String,
        publications: Vec<Arc<Publication>>,
        /// There were more than fit into the reply, so that there are none.
        cut: bool,
        top: StreamPosition,
    },
}

/// Declares the results of a recovery: name, label, documentation.
macro_rules! recoveries {
    ($($name:ident = $label:literal, $documentation:literal;)*) => {
        /// What became of a recovery.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Recovery {
            $(#[doc = $documentation] $name,)*
        }

        impl Recovery {
            /// All of them, in the order of their numbers.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in metrics.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

recoveries! {
    Recovered = "recovered", "The gap was filled.";
    Epoch = "epoch", "The position is one of another stream.";
    Future = "future", "The position is above the top.";
    Trimmed = "trimmed", "The history does not reach back to the position.";
    TooFar = "too_far", "There is more than is recovered at once.";
}

impl Backlog {
    /// What becomes of the recovery, if one was asked for.
    pub(crate) fn recovery(&self) -> Option<Recovery> {
        match self {
            Self::None | Self::Top(_) => None,
            Self::Since { offset, epoch, publications, cut, top } => {
                Some(recovery(*offset, epoch, publications, *cut, top))
            }
        }
    }

    /// Whether recovery was asked for and fails.
    pub(crate) fn is_unrecovered(&self) -> bool {
        self.recovery().is_some_and(|recovery| recovery != Recovery::Recovered)
    }
}

/// A subscription that has become live.
#[derive(Debug)]
pub(crate) struct Committed {
    /// Where the client stands after the reply; `None` without positions.
    pub(crate) position: Option<StreamPosition>,
    /// Whether the gap was filled, if recovery was asked for.
    pub(crate) recovered: Option<bool>,
    /// What fills the gap.
    pub(crate) publications: Vec<Arc<Publication>>,
    /// What was held back and has no position: to be sent behind the reply.
    pub(crate) late: Vec<Event>,
}

/// The stream could not be spliced without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Insufficient;

/// What a splice gave.
struct Spliced {
    committed: Committed,
    /// Something of another stream arrived meanwhile: of a newer one, or the rest of an older one that was long on its
    /// way. Only the broker knows.
    doubted: bool,
}

/// Puts together what history gave and what arrived meanwhile (protocol §8.3).
fn splice(backlog: Backlog, held_back: HeldBack) -> Result<Spliced, Insufficient> {
    if held_back.overflown {
        return Err(Insufficient);
    }
    let recovered = backlog.recovery().map(|recovery| recovery == Recovery::Recovered);
    let (mut publications, top) = match backlog {
        Backlog::None => {
            let late = held_back.events;
            let committed = Committed { position: None, recovered: None, publications: Vec::new(), late };
            return Ok(Spliced { committed, doubted: false });
        }
        Backlog::Top(top) => (Vec::new(), top),
        Backlog::Since { publications, top, .. } => {
            (if recovered == Some(true) { publications } else { Vec::new() }, top)
        }
    };
    let (mut position, mut late, mut doubted) = (top, Vec::new(), false);
    for event in held_back.events {
        let Some((publication, at)) = positioned(&event) else {
            late.push(event);
            continue;
        };
        match continuity(&position, &at) {
            // What is doubted is left out, and all behind it: the channel is read again, which brings what was true.
            Continuity::OtherEpoch => doubted = true,
            _ if doubted => {}
            Continuity::Duplicate if fault_points::on(Defect::SpliceWithoutDeduplication) => {
                publications.push(publication)
            }
            Continuity::Duplicate => {}
            Continuity::Next => {
                position = at;
                if recovered == Some(true) {
                    publications.push(publication);
                }
            }
            Continuity::Gap => return Err(Insufficient),
        }
    }
    Ok(Spliced { committed: Committed { position: Some(position), recovered, publications, late }, doubted })
}

fn positioned(event: &Event) -> Option<(Arc<Publication>, StreamPosition)> {
    match event {
        Event::Publication(publication) => Some((Arc::clone(publication), publication.position.clone()?)),
        Event::Join(..) | Event::Leave(..) => None,
    }
}

/// Whether `publications` lead from the client's position to the top without a gap (protocol §8.3, 1 to 3).
fn recovery(offset: u64, epoch: &str, publications: &[Arc<Publication>], cut: bool, top: &StreamPosition) -> Recovery {
    if fault_points::on(Defect::AlwaysRecovered) {
        return Recovery::Recovered;
    }
    if !epoch.is_empty() && *epoch != *top.epoch {
        return Recovery::Epoch;
    }
    if offset > top.offset {
        return Recovery::Future;
    }
    let offset_of = |publication: &Arc<Publication>| publication.position.as_ref().map(|position| position.offset);
    match (publications.first().and_then(offset_of), publications.last().and_then(offset_of)) {
        (Some(first), _) if first != offset + 1 => Recovery::Trimmed,
        (Some(_), Some(last)) if last == top.offset => Recovery::Recovered,
        (Some(_), _) => Recovery::TooFar,
        (None, _) if offset == top.offset => Recovery::Recovered,
        (None, _) if cut => Recovery::TooFar,
        (None, _) => Recovery::Trimmed,
    }
}

impl Shard {
    /// Enters a subscription as joining.
    pub(crate) fn begin(&mut self, id: SlotId, new: &NewSubscription) -> Result<Begun, Refused> {
        let session = self.sessions.get(id).filter(|session| session.state != State::Closing).ok_or(Refused::Gone)?;
        let known = self.by_name.get(&new.channel).copied();
        if known.is_some_and(|channel| session.subscription_index(channel).is_some()) {
            return Err(Refused::AlreadySubscribed);
        }
        if session.subscriptions.len() >= self.options.channels_per_session_max {
            return Err(Refused::LimitExceeded);
        }
        let channel = known.unwrap_or_else(|| self.open_channel(new));
        self.enter(id, channel, new);
        Ok(Begun { session: id, channel, making: self.makings })
    }

    fn enter(&mut self, id: SlotId, channel: SlotId, new: &NewSubscription) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        self.makings += 1;
        let subscription = Subscription {
            channel,
            making: self.makings,
            listener: 0,
            stage: Stage::Joining,
            origin: new.origin,
            presence: new.presence,
            announces: new.announces,
            join_leave: new.join_leave,
            expire: 0,
            allowed: new.allowed,
            asks_refresh: new.asks_refresh,
            token: new.token.map(Box::new),
            info: new.info.clone(),
            doomed: None,
        };
        tight::push(&mut session.subscriptions, subscription);
        let Some(state) = self.channels.get_mut(channel) else {
            return;
        };
        state.joining.push(Joining { session: id, held_back: HeldBack::default(), broken: false });
        state.directory.set(self.index, state.subscribers());
        self.stats.subscriptions.add(1);
    }

    fn open_channel(&mut self, new: &NewSubscription) -> SlotId {
        let channel = self.channels.insert(ChannelState {
            name: new.channel.clone(),
            directory: self.directory.listen(self.index, &new.channel),
            drops_oldest: new.drops_oldest,
            listeners: Vec::new(),
            joining: Vec::new(),
            position: None,
            repair: None,
            repairs_in_vain: 0,
            checked_millis: self.now.millis,
            suspected: None,
        });
        self.by_name.insert(new.channel.clone(), channel);
        self.stats.channels.set(self.channels.len() as u64);
        channel
    }

    /// Makes a joining subscription live. `None` if it is gone, with its session. The subscription is still in
    /// the hands of the caller until it calls [`Self::settle`].
    pub(crate) fn commit(&mut self, begun: Begun, backlog: Backlog) -> Option<Result<Committed, Insufficient>> {
        self.made_index(begun)?;
        let channel = self.channels.get_mut(begun.channel)?;
        let at = channel.joining.iter().position(|joining| joining.session == begun.session)?;
        // It stays among the joining until it is live, so that its channel cannot be closed under it.
        let broken = channel.joining[at].broken;
        let spliced = splice(backlog, std::mem::take(&mut channel.joining[at].held_back));
        match &spliced {
            Ok(spliced) => self.go_live(begun, spliced.committed.position.as_ref()),
            Err(Insufficient) => self.forget(begun),
        }
        if broken || spliced.as_ref().is_ok_and(|spliced| spliced.doubted) {
            self.start_repair(begun.channel, None);
        }
        Some(spliced.map(|spliced| spliced.committed))
    }

    fn go_live(&mut self, begun: Begun, position: Option<&StreamPosition>) {
        let stale = self.adopt_position(begun.channel, position);
        if stale {
            self.insufficient(begun.channel);
        }
        let Some(session) = self.sessions.get_mut(begun.session) else {
            return;
        };
        let Some(index) = session.subscription_index(begun.channel) else {
            return;
        };
        let Some(channel) = self.channels.get_mut(begun.channel) else {
            return;
        };
        let subscription = &mut session.subscriptions[index];
        subscription.stage = Stage::Announcing;
        subscription.listener = channel.listeners.len() as u32;
        let listener = Listener {
            slot: begun.session.index,
            subscription: index as u32,
            after: position.map_or(0, |position| position.offset),
            encoding: session.encoding,
            join_leave: subscription.join_leave,
            positioned: position.is_some(),
        };
        tight::push(&mut channel.listeners, listener);
        channel.take_joining_out(begun.session);
    }

    /// Takes a fresh position of a channel as the shard's own, if it has none yet. Returns whether the shard's
    /// listeners follow a stream that is no more.
    fn adopt_position(&mut self, channel: SlotId, fresh: Option<&StreamPosition>) -> bool {
        let (Some(channel), Some(fresh)) = (self.channels.get_mut(channel), fresh) else {
            return false;
        };
        let stale = channel.position.as_ref().is_some_and(|known| known.epoch != fresh.epoch);
        // A position that is ahead was taken from another subscriber's history, not from the ring: what lies between
        // is still to come, and that subscriber does not get it twice, since it begins behind it.
        if channel.position.as_ref().is_none_or(|known| stale || known.offset > fresh.offset) {
            channel.position = Some(fresh.clone());
        }
        stale && !channel.listeners.is_empty()
    }

    /// Ends the making of a subscription: the shard cleans up for it from now on. `false` if it is gone, and the
    /// caller has to.
    pub(crate) fn settle(&mut self, begun: Begun) -> bool {
        let Some(index) = self.made_index(begun) else {
            return false;
        };
        let Some(session) = self.sessions.get_mut(begun.session) else {
            return false;
        };
        let subscription = &mut session.subscriptions[index];
        subscription.stage = Stage::Live;
        let doomed = subscription.doomed.take();
        if let Some(unsubscribe) = doomed {
            self.unsubscribe_with_push(begun.session, begun.channel, &unsubscribe);
        }
        true
    }

    /// Gives up a subscription in the making; its maker cleans up.
    pub(crate) fn forget(&mut self, begun: Begun) {
        if self.made_index(begun).is_some() {
            self.take_out(begun.session, begun.channel);
        }
    }

    /// Where a subscription in the making stands, unless it is gone: one that was made after it is another.
    pub(super) fn made_index(&self, begun: Begun) -> Option<usize> {
        let session = self.sessions.get(begun.session)?;
        let index = session.subscription_index(begun.channel)?;
        (session.subscriptions[index].making == begun.making).then_some(index)
    }

    /// Ends a subscription at its client's wish. What is left to do is handed to the caller.
    pub(crate) fn unsubscribe(&mut self, id: SlotId, channel: &Channel) -> Option<Departure> {
        let channel = *self.by_name.get(channel)?;
        let session = self.sessions.get_mut(id)?;
        let index = session.subscription_index(channel)?;
        let subscription = &mut session.subscriptions[index];
        if subscription.stage != Stage::Live {
            subscription.doomed = Some(Box::new(Unsubscribe::SERVER));
            return None;
        }
        let name = self.channels.get(channel)?.name.clone();
        let departure = departure(session, index, name);
        self.take_out(id, channel);
        departure
    }

    /// Ends a subscription and tells the client. One in the making ends when it is made. Returns whether there
    /// was one.
    pub(crate) fn unsubscribe_with_push(&mut self, id: SlotId, channel: SlotId, why: &Unsubscribe) -> bool {
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        let Some(index) = session.subscription_index(channel) else {
            return false;
        };
        if session.subscriptions[index].stage == Stage::Joining {
            session.subscriptions[index].doomed = Some(Box::new(why.clone()));
            return true;
        }
        let Some(name) = self.channels.get(channel).map(|channel| channel.name.clone()) else {
            return false;
        };
        self.depart(id, channel);
        let unsubscribe = UnsubscribePush { code: why.code, reason: why.reason.to_string() };
        self.push(id, Push { channel: name.as_str().to_owned(), unsubscribe: Some(unsubscribe), ..Push::default() });
        true
    }

    /// Takes a subscription out and leaves its departure as an effect, unless its maker sees to that.
    fn depart(&mut self, id: SlotId, channel: SlotId) {
        let Some(session) = self.sessions.get(id) else { return };
        let Some(index) = session.subscription_index(channel) else {
            return;
        };
        let Some(name) = self.channels.get(channel).map(|channel| channel.name.clone()) else {
            return;
        };
        if session.subscriptions[index].stage == Stage::Live
            && let Some(departure) = departure(session, index, name)
        {
            self.leave(id, departure);
        }
        self.take_out(id, channel);
    }

    fn leave(&mut self, id: SlotId, departure: Departure) {
        if departure.presence || departure.join_leave {
            self.queue_presence(id, Effect::Leave(departure));
        } else {
            self.effects.push(Effect::Release(departure.channel));
        }
    }

    /// Queues a change of presence; later ones of the same session wait for it.
    pub(super) fn queue_presence(&mut self, id: SlotId, effect: Effect) {
        self.leaves_queued += 1;
        self.stats.leaves_waiting.add(1);
        if let Some(session) = self.sessions.get_mut(id) {
            session.last_leave = self.leaves_queued;
        }
        self.effects.push(effect);
    }

    /// A queued change of presence has been carried out, and now all up to `settled`.
    pub(crate) fn presence_changed(&mut self, settled: u64) {
        self.leaves_settled = settled;
        self.stats.leaves_waiting.subtract(1);
    }

    /// Up to which all have been.
    pub(crate) fn presence_settled(&self) -> u64 {
        self.leaves_settled
    }

    /// Ends all subscriptions of a session that is closing.
    pub(super) fn leave_all(&mut self, id: SlotId) {
        while let Some(channel) = self.sessions.get(id).and_then(|session| session.subscriptions.last()) {
            self.depart(id, channel.channel);
        }
    }

    /// Takes a subscription out of its session and its channel, in constant time (I5).
    fn take_out(&mut self, id: SlotId, channel: SlotId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Some(index) = session.subscription_index(channel) else {
            return;
        };
        let taken = tight::swap_remove(&mut session.subscriptions, index);
        if let Some(moved) = session.subscriptions.get(index)
            && moved.stage != Stage::Joining
            && let Some(other) = self.channels.get_mut(moved.channel)
        {
            other.listeners[moved.listener as usize].subscription = index as u32;
        }
        self.take_listener_out(id, &taken);
        self.stats.subscriptions.subtract(1);
        self.close_channel_if_empty(channel);
    }

    fn take_listener_out(&mut self, id: SlotId, taken: &Subscription) {
        let Some(channel) = self.channels.get_mut(taken.channel) else {
            return;
        };
        if taken.stage == Stage::Joining {
            channel.take_joining_out(id);
            return;
        }
        let place = taken.listener as usize;
        tight::swap_remove(&mut channel.listeners, place);
        let Some(moved) = channel.listeners.get(place).copied() else {
            return;
        };
        if let Some((_, session)) = self.sessions.at_mut(moved.slot) {
            session.subscriptions[moved.subscription as usize].listener = taken.listener;
        }
    }

    fn close_channel_if_empty(&mut self, id: SlotId) {
        let Some(channel) = self.channels.get(id) else { return };
        if !channel.is_empty() {
            channel.directory.set(self.index, channel.subscribers());
            return;
        }
        let name = channel.name.clone();
        self.directory.unlisten(self.index, &name);
        self.by_name.remove(&name);
        self.channels.remove(id);
        self.stats.channels.set(self.channels.len() as u64);
    }

    /// Tells every positioned subscriber of a channel that something is missing (I2): its own subscriptions
    /// begin again (2500), a session with a server-side one is closed (3010).
    pub(super) fn insufficient(&mut self, channel: SlotId) {
        let Some(state) = self.channels.get(channel) else {
            return;
        };
        let told: Vec<u32> =
            state.listeners.iter().filter(|listener| listener.positioned).map(|listener| listener.slot).collect();
        self.stats.insufficient.add(told.len() as u64);
        for slot in told {
            self.tell_insufficient(slot, channel);
        }
    }

    fn tell_insufficient(&mut self, slot: u32, channel: SlotId) {
        let Some((id, session)) = self.sessions.at_mut(slot) else {
            return;
        };
        let Some(index) = session.subscription_index(channel) else {
            return;
        };
        if session.subscriptions[index].origin.is_server_side() {
            self.close(id, &Disconnect::INSUFFICIENT_STATE);
        } else {
            self.unsubscribe_with_push(id, channel, &Unsubscribe::INSUFFICIENT_STATE);
        }
    }

    /// The id of a channel that has subscribers here.
    pub(crate) fn channel_id(&self, channel: &Channel) -> Option<SlotId> {
        self.by_name.get(channel).copied()
    }

    /// Whether a session's subscription to a channel is not live yet.
    pub(crate) fn is_joining(&self, id: SlotId, channel: &Channel) -> bool {
        let channel = self.channel_id(channel).and_then(|channel| self.channels.get(channel));
        channel.is_some_and(|channel| channel.joining.iter().any(|joining| joining.session == id))
    }

    /// Where a session stands in a channel's stream.
    pub(crate) fn position_of(&self, id: SlotId, channel: &Channel) -> Option<StreamPosition> {
        let channel = self.channels.get(self.channel_id(channel)?)?;
        let last = channel.position.as_ref()?;
        let listener = channel.listeners.iter().find(|listener| listener.slot == id.index)?;
        Some(StreamPosition { offset: last.offset.max(listener.after), epoch: Arc::clone(&last.epoch) })
    }

    pub(crate) fn channel(&self, id: SlotId) -> Option<&ChannelState> {
        self.channels.get(id)
    }
}

/// What there is to tell when a subscription ends.
fn departure(session: &Session, index: usize, channel: Channel) -> Option<Departure> {
    let subscription = &session.subscriptions[index];
    let info = match &subscription.info {
        Some(info) => Arc::clone(info),
        None => Arc::new(session.info()?),
    };
    Some(Departure { channel, info, presence: subscription.presence, join_leave: subscription.announces })
}

/// What there is to undo when a subscription in the making is given up.
pub(crate) fn departure_of(new: &NewSubscription, info: &Arc<ClientInfo>) -> Departure {
    Departure {
        channel: new.channel.clone(),
        info: Arc::clone(new.info.as_ref().unwrap_or(info)),
        presence: new.presence,
        join_leave: new.announces,
    }
}
