//! What one client saw of one channel.

use std::collections::HashMap;

use super::Rule;
use super::book::{Book, Place, Received};
use crate::checker::history::{Live, Micros, Publish, Reply};

/// Where a client stands.
#[derive(Debug, Clone, Copy)]
struct Standing<'h> {
    epoch: &'h str,
    offset: u64,
    /// The latest moment at which the epoch is known to have been alive.
    alive: Micros,
}

/// A stretch of one stream that the client followed without a break.
#[derive(Debug)]
struct Span<'h> {
    epoch: &'h str,
    /// It follows everything behind this offset.
    after: u64,
    /// When it was known to have begun.
    began: Micros,
    /// The latest moment at which the epoch is known to have been alive.
    alive: Micros,
    /// The offsets that it reached, and when: in order, of what was read in one go the last one only.
    reached: Vec<(u64, Micros)>,
}

impl Span<'_> {
    fn top(&self) -> u64 {
        self.reached.last().map_or(self.after, |(offset, _)| *offset)
    }
}

#[derive(Debug, Default)]
pub(super) struct Follow<'h> {
    standing: Option<Standing<'h>>,
    spans: Vec<Span<'h>>,
    got: HashMap<u64, Place<'h>>,
}

impl<'h> Follow<'h> {
    /// The latest moment at which the client's stream is known to have been alive.
    pub(super) fn alive(&self) -> Option<Micros> {
        self.standing.map(|standing| standing.alive)
    }

    pub(super) fn position(&self) -> Option<(u64, &'h str)> {
        self.standing.map(|standing| (standing.offset, standing.epoch))
    }

    /// Takes the answer to a subscribe command.
    pub(super) fn reply(&mut self, book: &mut Book<'h>, reply: &'h Reply) {
        let who = format!("client {}, channel {}", reply.client, reply.channel);
        let asked_from = reply.from.as_ref().map(|(offset, epoch)| (*offset, epoch.as_str()));
        if asked_from != self.position() {
            let text = format!("{who}: it asked from {asked_from:?} and stands at {:?}", self.position());
            book.violate(Rule::Checker, reply.at, text);
        }
        match (self.standing, reply.recovered) {
            (Some(standing), Some(true)) => self.recovered(book, reply, standing),
            (Some(standing), _) => {
                self.not_recovered(book, reply, standing);
                self.begin(reply);
            }
            (None, _) => self.begin(reply),
        }
        if reply.recovered != Some(true) && !reply.batch.is_empty() {
            book.violate(Rule::BatchBroken, reply.at, format!("{who}: publications without a recovery: {reply:?}"));
        }
    }

    fn begin(&mut self, reply: &'h Reply) {
        let Reply { offset, asked, at, .. } = *reply;
        self.standing = Some(Standing { epoch: &reply.epoch, offset, alive: asked });
        let (epoch, reached) = (reply.epoch.as_str(), vec![(offset, at)]);
        self.spans.push(Span { epoch, after: offset, began: at, alive: asked, reached });
    }

    fn recovered(&mut self, book: &mut Book<'h>, reply: &'h Reply, standing: Standing<'h>) {
        let who = format!("client {}, channel {}", reply.client, reply.channel);
        if reply.epoch != standing.epoch {
            let text = format!("{who}: from {:?} to {:?}", self.position(), (reply.offset, &reply.epoch));
            book.violate(Rule::FalseRecovery, reply.at, text);
            return self.begin(reply);
        }
        let mut next = standing.offset + 1;
        let leads_on = reply.batch.iter().all(|(offset, _)| {
            next += 1;
            *offset == next - 1
        });
        if reply.offset != standing.offset || !leads_on {
            let offsets: Vec<u64> = reply.batch.iter().map(|(offset, _)| *offset).collect();
            let text =
                format!("{who}: it stood at {}, was told {} and given {offsets:?}", standing.offset, reply.offset);
            book.violate(Rule::BatchBroken, reply.at, text);
        }
        for (offset, id) in &reply.batch {
            self.receive(book, reply.client, reply.channel, (*offset, *id, reply.at));
        }
        let offset = reply.batch.last().map_or(standing.offset, |(offset, _)| *offset);
        self.reach(Standing { epoch: standing.epoch, offset, alive: standing.alive.max(reply.asked) }, reply.at);
    }

    /// The client was told that it missed something.
    fn not_recovered(&self, book: &mut Book<'h>, reply: &Reply, standing: Standing<'h>) {
        let within_epoch = reply.epoch == standing.epoch;
        if within_epoch || !book.lossy(standing.alive, reply.at) {
            let text = format!(
                "client {}, channel {}: not recovered from ({}, {}), alive at {:.3} s; told ({}, {})",
                reply.client,
                reply.channel,
                standing.offset,
                standing.epoch,
                standing.alive as f64 / 1e6,
                reply.offset,
                reply.epoch,
            );
            book.violate(Rule::FalseAlarm, reply.at, text);
        }
    }

    /// Takes a pushed publication.
    pub(super) fn live(&mut self, book: &mut Book<'h>, live: &'h Live) {
        let Live { client, channel, at, offset, id, .. } = *live;
        let Some(standing) = self.standing else {
            let text = format!("client {client}, channel {channel}: a publication before any position");
            return book.violate(Rule::Checker, at, text);
        };
        let text =
            || format!("client {client}, channel {channel}: {offset} behind {}, {}", standing.offset, standing.epoch);
        if offset > standing.offset + 1 {
            book.violate(Rule::Skipped, at, text());
        }
        if offset <= standing.offset {
            book.violate(Rule::Reordered, at, text());
        }
        if live.epoch.as_deref().is_some_and(|epoch| epoch != standing.epoch) {
            book.violate(Rule::FalseRecovery, at, format!("{} goes on in {:?}", text(), live.epoch));
        }
        self.receive(book, client, channel, (offset, id, at));
        let invoked = book.publishes.get(&id).map_or(0, |publish| publish.invoked);
        self.reach(Standing { offset, alive: standing.alive.max(invoked), ..standing }, at);
    }

    fn receive(&mut self, book: &mut Book<'h>, client: u32, channel: u32, (offset, id, at): (u64, u64, Micros)) {
        let Some(Standing { epoch, .. }) = self.standing else { return };
        let place = Place { channel, epoch, offset };
        book.receive(Received { client, place, id, at });
        if let Some(first) = self.got.insert(id, place)
            && !book.repeated(id, first, place)
        {
            book.violate(Rule::Doubled, at, format!("client {client}: publication {id} at {first:?} and at {place:?}"));
        }
    }

    fn reach(&mut self, standing: Standing<'h>, at: Micros) {
        self.standing = Some(standing);
        if let Some(span) = self.spans.last_mut() {
            span.alive = standing.alive;
            span.reached.push((standing.offset, at));
        }
    }

    /// Whether the client got this publication.
    pub(super) fn has(&self, id: u64) -> bool {
        self.got.contains_key(&id)
    }

    /// Whether there is a reason why the client did not get what was acknowledged at this place: it began behind it, or
    /// it was told of a gap there. `None` if it never was in that stream, and was told nothing meanwhile.
    pub(super) fn excuses(&self, epoch: &str, offset: u64, publish: &Publish) -> Option<bool> {
        let last = self.spans.len().saturating_sub(1);
        let mut of_epoch = self.spans.iter().enumerate().filter(|(_, span)| span.epoch == epoch).peekable();
        if of_epoch.peek().is_some() {
            return Some(of_epoch.all(|(at, span)| offset <= span.after || (span.top() < offset && at < last)));
        }
        let begins = self.spans.first().is_none_or(|first| first.began >= publish.invoked);
        let told = self.spans.windows(2).any(|two| two[0].alive <= publish.done && two[1].began >= publish.invoked);
        (begins || told).then_some(true)
    }

    /// When the client was at this place or past it.
    pub(super) fn arrived_at(&self, epoch: &str, offset: u64) -> Option<Micros> {
        let of_epoch = self.spans.iter().filter(|span| span.epoch == epoch);
        of_epoch.flat_map(|span| &span.reached).filter(|(reached, _)| *reached >= offset).map(|(_, at)| *at).min()
    }
}
