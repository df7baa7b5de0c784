//! What is known of publications and positions, whoever saw it.

use std::collections::HashMap;

use super::follow::Follow;
use super::{Rule, Violation, position_of, publish_of};
use crate::checker::history::{History, Micros, Outcome, Publish, Record};

/// How long after its acknowledgement a fault may follow that loses a publication before anybody got it.
const UNSEEN_MAX: Micros = 10_000_000;

pub(super) struct Book<'h> {
    pub(super) publishes: HashMap<u64, &'h Publish>,
    /// The publication at each place.
    pub(super) payloads: HashMap<Place<'h>, u64>,
    /// When somebody first knew of each place.
    pub(super) known: HashMap<Place<'h>, Micros>,
    pub(super) violations: Vec<Violation>,
    places: HashMap<u64, Place<'h>>,
    losses: Vec<(Micros, Micros)>,
}

/// A place in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place<'h> {
    pub(super) channel: u32,
    pub(super) epoch: &'h str,
    pub(super) offset: u64,
}

/// A publication as somebody received it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received<'h> {
    pub(super) client: u32,
    pub(super) place: Place<'h>,
    pub(super) id: u64,
    pub(super) at: Micros,
}

impl<'h> Book<'h> {
    pub(super) fn new(history: &'h History) -> Self {
        let publishes = history.records.iter().filter_map(publish_of);
        let losses = history.records.iter().filter_map(|record| match record {
            Record::Fault(fault) if fault.kind.loses() => Some((fault.began, fault.ended)),
            _ => None,
        });
        Self {
            publishes: publishes.map(|publish| (publish.id, publish)).collect(),
            payloads: HashMap::new(),
            known: HashMap::new(),
            violations: Vec::new(),
            places: HashMap::new(),
            losses: losses.collect(),
        }
    }

    pub(super) fn violate(&mut self, rule: Rule, at: Micros, text: String) {
        self.violations.push(Violation { rule, at, text });
    }

    /// Whether a fault that loses was going on at some moment of this interval.
    pub(super) fn lossy(&self, from: Micros, to: Micros) -> bool {
        self.losses.iter().any(|(began, ended)| *began <= to && *ended >= from)
    }

    /// Acknowledged positions come first, so that whoever sees another is the one who is named.
    pub(super) fn enter_acknowledged(&mut self) {
        let mut publishes: Vec<&Publish> = self.publishes.values().copied().collect();
        publishes.sort_by_key(|publish| publish.id);
        for publish in publishes {
            let text = || format!("channel {}, publication {}", publish.channel, publish.id);
            match &publish.outcome {
                Outcome::Placeless => self.violate(Rule::Placeless, publish.done, text()),
                Outcome::Acknowledged(offset, epoch) => {
                    let place = Place { channel: publish.channel, epoch, offset: *offset };
                    self.enter(place, publish.id, publish.done, "its publisher");
                }
                Outcome::Failed | Outcome::Unknown => {}
            }
        }
    }

    /// Somebody knows this publication at this place.
    fn enter(&mut self, place: Place<'h>, id: u64, at: Micros, who: &str) {
        self.known.entry(place).and_modify(|first| *first = at.min(*first)).or_insert(at);
        let there = *self.payloads.entry(place).or_insert(id);
        if there != id {
            let text = format!("{place:?} has publication {there} and, for {who}, publication {id}");
            self.violate(Rule::TwoPayloads, at, text);
        }
        let first = *self.places.entry(id).or_insert(place);
        if first != place && !self.repeated(id, first, place) {
            let text = format!("publication {id} stands at {first:?} and, for {who}, at {place:?}");
            self.violate(Rule::TwoPositions, at, text);
        }
    }

    /// Whether a publication may stand in two streams: it was sent again after Redis had lost that it had it.
    pub(super) fn repeated(&self, id: u64, one: Place<'h>, other: Place<'h>) -> bool {
        let publish = self.publishes.get(&id);
        one.epoch != other.epoch && publish.is_some_and(|publish| self.lossy(publish.invoked, publish.done))
    }

    /// A client received this.
    pub(super) fn receive(&mut self, received: Received<'h>) {
        let Received { client, place, id, at } = received;
        let text = || format!("client {client} at {place:?}: publication {id}");
        let Some(publish) = self.publishes.get(&id).copied().filter(|publish| publish.channel == place.channel) else {
            return self.violate(Rule::Invented, at, text());
        };
        if at < publish.invoked {
            self.violate(Rule::Invented, at, text());
        }
        if publish.outcome == Outcome::Failed {
            self.violate(Rule::FailedDelivered, at, text());
        }
        self.enter(place, id, at, &format!("client {client}"));
    }

    /// Whether everybody who follows the channel got an acknowledged publication, or was told.
    pub(super) fn check_lost(&mut self, publish: &Publish, followers: &[(u32, &Follow<'h>)]) {
        let Some((epoch, offset)) = position_of(publish) else {
            return self.check_placeless(publish, followers);
        };
        let lossy = self.lossy(publish.invoked, publish.done);
        let excused = |follow: &Follow<'_>| match follow.excuses(epoch, offset, publish) {
            // A master that is replaced may acknowledge in a stream that the client has left already.
            None => lossy,
            Some(excused) => excused,
        };
        let due = |follow: &Follow<'_>| !follow.has(publish.id) && !excused(follow);
        let lost: Vec<u32> = followers.iter().filter(|(_, follow)| due(follow)).map(|(client, _)| *client).collect();
        if !lost.is_empty() {
            let Publish { channel, id, .. } = *publish;
            let text = format!("channel {channel}: publication {id} ({offset}, {epoch}), by clients {lost:?}");
            self.violate(Rule::Lost, publish.done, text);
        }
    }

    /// Nobody knows where it stands: all that can be asked is that somebody got it.
    fn check_placeless(&mut self, publish: &Publish, followers: &[(u32, &Follow<'h>)]) {
        let acknowledged = publish.outcome == Outcome::Placeless;
        let unseen = acknowledged && !followers.iter().any(|(_, follow)| follow.has(publish.id));
        if unseen && !self.lossy(publish.invoked, publish.done + UNSEEN_MAX) {
            let text = format!("channel {}: publication {}, by everybody", publish.channel, publish.id);
            self.violate(Rule::Lost, publish.done, text);
        }
    }
}
