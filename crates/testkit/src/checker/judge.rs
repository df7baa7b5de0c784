//! From what was seen to what is wrong with it. Pure: no clock, no network, nothing but the history.
//!
//! The rules are the variants of [`Rule`]; each has a bad history among the tests that breaks it.
//!
//! What a client knows of a channel is its *standing*: epoch, offset, and the latest moment at which that epoch is
//! known to have been alive (a subscribe command sent then was answered with it, or a publication invoked then stands
//! in it). A notice of a gap is excused by a fault that loses ([`Kind::loses`](super::history::Kind::loses)) between that
//! moment and the notice, and by nothing else. A notice within one epoch is never excused: nothing in a run loses data
//! without giving the stream another epoch.

mod book;
mod follow;
mod order;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use self::book::Book;
use self::follow::Follow;
use super::history::{Calm, Closed, History, Live, Micros, Outcome, Publish, Record, Reply, Told};

/// How long after the faults have stopped every client has to be at the sentinel.
pub const CALM_MAX: Micros = 10_000_000;

/// What a history must not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Something was received that was not published there, or before it was.
    Invented,
    /// A publication that failed was received.
    FailedDelivered,
    /// A client got a publication twice.
    Doubled,
    /// A live stream left something out.
    Skipped,
    /// A live stream went back, or stood still.
    Reordered,
    /// A recovered batch does not go on from where the client stood.
    BatchBroken,
    /// One position, two payloads.
    TwoPayloads,
    /// One payload, two positions; of the acknowledged position this means that subscribers see another.
    TwoPositions,
    /// An acknowledgement without a position, in a channel with history.
    Placeless,
    /// A was acknowledged before B was invoked, and has the larger offset.
    Order,
    /// A subscriber was given a position that did not hold yet, or no more.
    StaleRead,
    /// An acknowledged publication was not received, and nobody was told.
    Lost,
    /// A client was told of a gap (`recovered:false`, 2500, 3010) where no fault had lost anything.
    FalseAlarm,
    /// A client was told that it is recovered, in another stream than its own.
    FalseRecovery,
    /// A connection was closed, or a subscription ended, for a reason that nothing in a run gives.
    UnexpectedEnd,
    /// A client was not at the sentinel within 10 seconds.
    Behind,
    /// The history contradicts itself: the checker is wrong, not the hub.
    Checker,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What must not be.
    pub rule: Rule,
    /// When it was seen.
    pub at: Micros,
    /// Where, and what stands against what.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:.3} s: {}", self.rule, self.at as f64 / 1e6, self.text)
    }
}

/// Everything that is wrong with a history, by time.
pub fn judge(history: &History) -> Vec<Violation> {
    let mut judge = Judge { book: Book::new(history), follows: BTreeMap::new(), reads: Vec::new(), history };
    judge.book.enter_acknowledged();
    judge.read_records();
    judge.check_sentinels();
    judge.check_lost();
    order::check(&mut judge.book, &judge.reads);
    let mut violations = judge.book.violations;
    violations.sort_by_key(|violation| (violation.at, violation.rule));
    violations
}

/// A subscribe reply as a read of the channel's top.
struct Read<'h> {
    channel: u32,
    client: u32,
    epoch: &'h str,
    top: u64,
    asked: Micros,
    at: Micros,
}

struct Judge<'h> {
    history: &'h History,
    book: Book<'h>,
    follows: BTreeMap<(u32, u32), Follow<'h>>,
    reads: Vec<Read<'h>>,
}

impl<'h> Judge<'h> {
    fn read_records(&mut self) {
        for record in &self.history.records {
            match record {
                Record::Reply(reply) => self.reply(reply),
                Record::Live(live) => self.live(live),
                Record::Told(told) => self.told(told),
                Record::Closed(closed) => self.closed(closed),
                Record::Publish(_) | Record::Fault(_) | Record::Calm(_) | Record::End(_) => {}
            }
        }
    }

    fn reply(&mut self, reply: &'h Reply) {
        let follow = self.follows.entry((reply.client, reply.channel)).or_default();
        follow.reply(&mut self.book, reply);
        if !self.history.header.witnesses.contains(&reply.client) {
            let Reply { channel, client, asked, at, .. } = *reply;
            let top = reply.batch.last().map_or(reply.offset, |(offset, _)| *offset);
            self.reads.push(Read { channel, client, epoch: &reply.epoch, top, asked, at });
        }
    }

    fn live(&mut self, live: &'h Live) {
        self.follows.entry((live.client, live.channel)).or_default().live(&mut self.book, live);
    }

    /// The server says that a subscription has a gap.
    fn told(&mut self, told: &Told) {
        let Told { client, channel, at, code } = *told;
        if code != 2500 {
            let text = format!("client {client}, channel {channel}: unsubscribed with {code}");
            return self.book.violate(Rule::UnexpectedEnd, at, text);
        }
        let since = self.follows.get(&(client, channel)).and_then(Follow::alive);
        if !since.is_some_and(|since| self.book.lossy(since, at)) {
            let text = format!("client {client}, channel {channel}: told of a gap (2500), alive since {since:?}");
            self.book.violate(Rule::FalseAlarm, at, text);
        }
    }

    fn closed(&mut self, closed: &Closed) {
        let Closed { client, at, code } = *closed;
        match code {
            3010 => {
                let ours = self.follows.iter().filter(|((owner, _), _)| *owner == client);
                let since = ours.filter_map(|(_, follow)| follow.alive()).min();
                if !since.is_some_and(|since| self.book.lossy(since, at)) {
                    let text = format!("client {client}: closed for a gap (3010)");
                    self.book.violate(Rule::FalseAlarm, at, text);
                }
            }
            // Without a code, the node going away, too slow, nothing taken, no pong: to be recovered from.
            0 | 1000 | 1005 | 1006 | 3000 | 3001 | 3008 | 3009 | 3012 => {}
            _ => self.book.violate(Rule::UnexpectedEnd, at, format!("client {client}: closed with {code}")),
        }
    }

    fn check_sentinels(&mut self) {
        let calms: Vec<Calm> = self.history.records.iter().filter_map(calm_of).collect();
        let sentinels = self.history.records.iter().filter_map(publish_of).filter(|one| position_of(one).is_some());
        let sentinels: BTreeMap<(u32, u32), &'h Publish> =
            sentinels.filter_map(|one| Some(((one.sentinel?, one.channel), one))).collect();
        for calm in &calms {
            for channel in self.followed_channels() {
                self.check_sentinel(calm, channel, sentinels.get(&(calm.number, channel)).copied());
            }
        }
    }

    fn followed_channels(&self) -> Vec<u32> {
        let mut channels: Vec<u32> = self.history.header.interests.iter().flatten().copied().collect();
        channels.sort_unstable();
        channels.dedup();
        channels
    }

    fn check_sentinel(&mut self, calm: &Calm, channel: u32, sentinel: Option<&Publish>) {
        let sentinel = sentinel.and_then(|publish| Some((publish, position_of(publish)?)));
        let Some((publish, (epoch, offset))) = sentinel else {
            let text = format!("channel {channel}: no sentinel {} was acknowledged", calm.number);
            return self.book.violate(Rule::Behind, calm.at + CALM_MAX, text);
        };
        let deadline = publish.done.max(calm.at) + CALM_MAX;
        for (client, channels) in self.history.header.interests.iter().enumerate() {
            if !channels.contains(&channel) {
                continue;
            }
            let follow = self.follows.get(&(client as u32, channel));
            let arrived = follow.and_then(|follow| follow.arrived_at(epoch, offset));
            if arrived.is_none_or(|arrived| arrived > deadline) {
                let standing = follow.and_then(Follow::position);
                let text = format!(
                    "client {client}, channel {channel}: at sentinel {} ({offset}, {epoch}) {}; stands at {standing:?}",
                    calm.number,
                    arrived.map_or_else(|| "never".to_owned(), |at| format!("only at {:.3} s", at as f64 / 1e6)),
                );
                self.book.violate(Rule::Behind, deadline, text);
            }
        }
    }

    /// Every acknowledged publication, against everybody who follows its channel.
    fn check_lost(&mut self) {
        let mut followers: BTreeMap<u32, Vec<(u32, &Follow<'h>)>> = BTreeMap::new();
        for ((client, channel), follow) in &self.follows {
            followers.entry(*channel).or_default().push((*client, follow));
        }
        for publish in self.history.records.iter().filter_map(publish_of) {
            let of_channel = followers.get(&publish.channel).map_or(&[][..], Vec::as_slice);
            self.book.check_lost(publish, of_channel);
        }
    }
}

fn publish_of(record: &Record) -> Option<&Publish> {
    match record {
        Record::Publish(publish) => Some(publish),
        _ => None,
    }
}

fn calm_of(record: &Record) -> Option<Calm> {
    match record {
        Record::Calm(calm) => Some(*calm),
        _ => None,
    }
}

/// Where a publication was acknowledged to stand.
fn position_of(publish: &Publish) -> Option<(&str, u64)> {
    match &publish.outcome {
        Outcome::Acknowledged(offset, epoch) => Some((epoch, *offset)),
        _ => None,
    }
}
