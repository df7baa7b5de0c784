//! One publication to many outboxes.
//!
//! An event is encoded once for each encoding that a listener of this shard uses, WebSocket header included, and
//! every recipient's outbox gets a reference to those bytes. The continuity of a stream (I2) is checked once for
//! the channel, not once for each listener: all listeners of a shard see the same sequence, and each begins in it
//! at an offset of its own.

use std::sync::Arc;

use fanfare_broker::{Event, History, Publication, StreamPosition};
use fanfare_protocol::{ClientInfo, Disconnect, Encoding, Join, Leave, PublicationMessage, Push, Reply};

use super::channel::{Continuity, HeldBack, Repair, continuity};
use super::session::{Fill, State};
use super::{Effect, Shard, opcode};
use crate::frame::{Frame, FrameEncoder};
use crate::limits;
use crate::outbox::PLACE_BYTES;
use crate::slots::SlotId;

/// The frames of one event, each made when the first listener needs it.
struct Variants<'a> {
    push: Push,
    /// The channel, if its publications may be dropped for a slow consumer.
    droppable: Option<SlotId>,
    encoder: &'a mut FrameEncoder,
    json: Option<Frame>,
    protobuf: Option<Frame>,
    /// What the frames take.
    memory: usize,
}

impl Variants<'_> {
    #[inline]
    fn frame(&mut self, encoding: Encoding) -> Frame {
        let made = match encoding {
            Encoding::Json => &self.json,
            Encoding::Protobuf => &self.protobuf,
        };
        match made {
            Some(frame) => Frame::clone(frame),
            None => self.make(encoding),
        }
    }

    fn make(&mut self, encoding: Encoding) -> Frame {
        let reply = Reply { push: Some(std::mem::take(&mut self.push)), ..Reply::default() };
        let write = |out: &mut Vec<u8>| encoding.encode_reply(&reply, out);
        let frame = match self.droppable {
            Some(channel) => self.encoder.droppable(channel, opcode(encoding), write),
            None => self.encoder.frame(opcode(encoding), write),
        };
        self.push = reply.push.unwrap_or_default();
        self.memory += frame.memory_bytes();
        let made = match encoding {
            Encoding::Json => &mut self.json,
            Encoding::Protobuf => &mut self.protobuf,
        };
        made.insert(frame).clone()
    }
}

/// Repairs that may follow one another because too much arrived meanwhile.
const REPAIRS_IN_VAIN_MAX: u8 = 3;

/// What to do with a listener that an event was not queued for.
enum Fault {
    Slow,
    /// A payload that is not JSON would have to go into JSON.
    Inappropriate,
}

impl Shard {
    /// Takes an event from the ring.
    pub(crate) fn take_event(&mut self, event: &Event) {
        let Some(id) = self.channel_id(event.channel()) else { return };
        let Some(channel) = self.channels.get_mut(id) else { return };
        for joining in &mut channel.joining {
            joining.held_back.push(event.clone());
        }
        if !channel.joining.is_empty() {
            self.holding.insert(id);
        }
        match event {
            Event::Publication(publication) => {
                self.stats.publications.add(1);
                self.take_publication(id, event, publication);
            }
            Event::Join(..) | Event::Leave(..) => self.fan_out(id, event),
        }
    }

    fn take_publication(&mut self, id: SlotId, event: &Event, publication: &Publication) {
        let Some(channel) = self.channels.get_mut(id) else {
            return;
        };
        if let Some(repair) = &mut channel.repair {
            repair.held_back.push(event.clone());
            self.holding.insert(id);
            return;
        }
        let Some(next) = &publication.position else {
            return self.fan_out(id, event);
        };
        let Some(last) = &channel.position else {
            channel.position = Some(next.clone());
            return self.fan_out(id, event);
        };
        match continuity(last, next) {
            Continuity::Duplicate => {}
            Continuity::Next => {
                channel.position = Some(next.clone());
                self.fan_out(id, event);
            }
            Continuity::Gap => {
                self.stats.gaps.add(1);
                self.start_repair(id, Some(event));
            }
            Continuity::OtherEpoch => {
                let last = last.clone();
                self.doubt(id, event, last);
            }
        }
    }

    /// The stream began again, or this is a rest of an old one that was long on its way. Which, the broker says: it is
    /// read from the position that the channel has.
    fn doubt(&mut self, id: SlotId, event: &Event, last: StreamPosition) {
        self.stats.gaps.add(1);
        self.read_from(id, last, HeldBack::doubting(event.clone()));
    }

    /// Queues an event for every listener of its channel.
    fn fan_out(&mut self, id: SlotId, event: &Event) {
        let Some(channel) = self.channels.get(id) else { return };
        let offset = offset_of(event);
        let json = is_json(event);
        let announcement = !matches!(event, Event::Publication(_));
        let mut variants = Variants {
            push: push_of(event),
            droppable: (channel.drops_oldest && !announcement).then_some(id),
            encoder: &mut self.encoder,
            json: None,
            protobuf: None,
            memory: 0,
        };
        let (is_large, outbox_bytes_max) =
            (channel.listeners.len() > limits::WRITES_PER_TICK, self.options.outbox_bytes_max);
        let (mut deliveries, mut bytes) = (0, 0);
        let mut faults: Vec<(SlotId, Fault)> = Vec::new();
        for listener in &channel.listeners {
            if (offset != 0 && offset <= listener.after) || (announcement && !listener.join_leave) {
                continue;
            }
            let Some((slot, session)) = self.sessions.at_mut(listener.slot) else {
                continue;
            };
            if !json && listener.encoding == Encoding::Json {
                faults.push((slot, Fault::Inappropriate));
                continue;
            }
            let frame = variants.frame(listener.encoding);
            bytes += frame.len() as u64;
            deliveries += 1;
            session.outbox.push(frame);
            if is_large {
                self.dirty.mark_bulk(slot, session);
            } else {
                self.dirty.mark(slot, session);
            }
            match session.fill(outbox_bytes_max) {
                Fill::Fine => {}
                Fill::Pressed => self.pressed = true,
                Fill::Over => faults.push((slot, Fault::Slow)),
            }
        }
        self.stats.deliveries.add(deliveries);
        self.stats.outbox_bytes.add(bytes);
        self.stats.outbox_memory.add(deliveries * PLACE_BYTES as u64 + variants.memory as u64);
        // Whoever lets go of a frame last gives its memory back: that must not be the variants.
        drop(variants);
        self.end_faulty(faults);
    }

    fn end_faulty(&mut self, faults: Vec<(SlotId, Fault)>) {
        for (id, fault) in faults {
            match fault {
                Fault::Slow => self.relieve(id),
                Fault::Inappropriate => self.close(id, &Disconnect::INAPPROPRIATE_PROTOCOL),
            }
        }
    }

    /// Queues an event for one session alone.
    pub(crate) fn deliver_to(&mut self, id: SlotId, event: &Event) {
        let Some(session) = self.sessions.get(id) else { return };
        if session.encoding == Encoding::Json && !is_json(event) {
            return self.close(id, &Disconnect::INAPPROPRIATE_PROTOCOL);
        }
        self.stats.deliveries.add(1);
        self.push(id, push_of(event));
    }

    /// A ring had no room for an event of this channel: it is read again.
    pub(crate) fn mark_broken(&mut self, channel: &fanfare_protocol::Channel) {
        let Some(id) = self.channel_id(channel) else { return };
        if let Some(channel) = self.channels.get_mut(id) {
            channel.joining.iter_mut().for_each(|joining| joining.broken = true);
            if let Some(repair) = &mut channel.repair {
                // What is being read may not have it.
                repair.held_back.missed = true;
            }
        }
        self.stats.gaps.add(1);
        self.start_repair(id, None);
    }

    /// Reads a channel again from the last position on; what arrives meanwhile is held back. One at a time for
    /// a channel. Without a position there is nothing to read: such a channel promises no continuity.
    pub(super) fn start_repair(&mut self, id: SlotId, event: Option<&Event>) {
        let Some(channel) = self.channels.get_mut(id) else {
            return;
        };
        let Some(position) = channel.position.clone() else {
            return;
        };
        if channel.repair.is_some() {
            return;
        }
        let mut held_back = HeldBack::default();
        if let Some(event) = event {
            held_back.claimed = offset_of(event);
            held_back.push(event.clone());
        }
        self.read_from(id, position, held_back);
    }

    fn read_from(&mut self, id: SlotId, from: StreamPosition, held_back: HeldBack) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.repair = Some(Repair { from: from.clone(), held_back });
        self.holding.insert(id);
        self.stats.repairs.add(1);
        self.effects.push(Effect::Repair(id, channel.name.clone(), from));
    }

    /// Whether a channel is still being read again.
    pub(crate) fn is_repairing(&self, id: SlotId) -> bool {
        self.channels.get(id).is_some_and(|channel| channel.repair.is_some())
    }

    /// Ends a repair with what history gave; `None` if the stream is another one.
    pub(crate) fn finish_repair(&mut self, id: SlotId, history: Option<History>) {
        let budget = self.options.reply_bytes_max();
        let Some(channel) = self.channels.get_mut(id) else { return };
        let Some(Repair { from, mut held_back }) = channel.repair.take() else { return };
        if let Some(position) = channel.position.clone().filter(|position| *position != from) {
            return self.moved_meanwhile(id, &from, position, held_back);
        }
        let top = history.as_ref().map_or(u64::MAX, |history| history.top.offset);
        let Some(missing) =
            missing(channel.position.as_ref(), history).filter(|missing| payload_bytes(missing) <= budget)
        else {
            return self.give_up(id, held_back);
        };
        for publication in missing {
            self.take_publication(id, &Event::Publication(Arc::clone(&publication)), &publication);
        }
        self.cover(id);
        if held_back.claimed > top && !held_back.overflown {
            // The top was read after this came: nobody published it. Believed, it would show a gap again and again.
            held_back.events.remove(0);
        }
        self.end_repair(id, held_back);
    }

    /// Those who listen have everything up to the channel's position. A subscriber that commits with an older one, which
    /// moves the channel back, must not bring it to them again.
    fn cover(&mut self, id: SlotId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let Some(position) = &channel.position else { return };
        let offset = position.offset;
        // The others stay when the stream begins anew, where offsets are small again.
        for listener in channel.listeners.iter_mut().filter(|listener| listener.positioned) {
            listener.after = listener.after.max(offset);
        }
    }

    /// A subscriber that came during a repair has moved the channel: what was read does not go on from there.
    fn moved_meanwhile(&mut self, id: SlotId, from: &StreamPosition, to: StreamPosition, mut held_back: HeldBack) {
        if to.epoch == from.epoch {
            // It had read its history before what the others know came.
            return self.read_from(id, to, held_back);
        }
        // The stream began anew. Whoever followed the old one has been told, and of the new one nothing is missing.
        self.take_doubted(id, &mut held_back);
        self.end_repair(id, held_back);
    }

    fn end_repair(&mut self, id: SlotId, held_back: HeldBack) {
        if held_back.overflown {
            return self.repair_again(id);
        }
        let missed = held_back.missed;
        self.take_held_back(id, held_back);
        if missed {
            return self.start_repair(id, None);
        }
        if let Some(channel) = self.channels.get_mut(id).filter(|channel| channel.repair.is_none()) {
            channel.repairs_in_vain = 0;
        }
    }

    fn take_held_back(&mut self, id: SlotId, held_back: HeldBack) {
        for event in held_back.events {
            if let Event::Publication(publication) = &event {
                self.take_publication(id, &event, publication);
            }
        }
    }

    /// More arrived during the repair than is held back: it is read from history too.
    fn repair_again(&mut self, id: SlotId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.repairs_in_vain += 1;
        if channel.repairs_in_vain > REPAIRS_IN_VAIN_MAX {
            return self.give_up(id, HeldBack::default());
        }
        self.start_repair(id, None);
    }

    /// What was doubted is not shown to be of an old stream: it goes first.
    fn take_doubted(&mut self, id: SlotId, held_back: &mut HeldBack) {
        if let Some(event) = held_back.doubted.take()
            && let Event::Publication(publication) = &event
        {
            self.take_publication(id, &event, publication);
        }
    }

    /// The gap cannot be filled: the positioned subscribers are told, the rest goes on.
    fn give_up(&mut self, id: SlotId, mut held_back: HeldBack) {
        self.insufficient(id);
        if let Some(channel) = self.channels.get_mut(id) {
            channel.position = None;
            channel.repairs_in_vain = 0;
        }
        self.take_doubted(id, &mut held_back);
        self.take_held_back(id, held_back);
    }

    /// Channels whose position was not compared with the broker's for `interval_millis`. Looks at `max` places at
    /// most and goes on from there at the next call.
    pub(crate) fn positions_to_check(&mut self, interval_millis: u64, max: u32) -> Vec<SlotId> {
        let now = self.now.millis;
        let (places, first) = (self.channels.places(), self.check_cursor);
        let looked_at = max.min(places);
        self.check_cursor = if places == 0 { 0 } else { (first + looked_at) % places };
        let mut due = Vec::new();
        for place in 0..looked_at {
            let Some((id, channel)) = self.channels.at_mut((first + place) % places) else { continue };
            if channel.position.is_some() && channel.checked_millis.saturating_add(interval_millis) <= now {
                // Looked at now, whatever comes of it: one that cannot be read must not keep out the others.
                channel.checked_millis = now;
                due.push(id);
            }
        }
        due
    }

    /// Compares a channel with the broker's top (protocol §8.5). Being behind once may be a publication on its
    /// way; being behind the same top at the next look is a gap.
    pub(crate) fn check_position(&mut self, id: SlotId, top: StreamPosition, again_in_millis: u64) {
        let interval = super::deadlines::millis(self.options.position_check_interval);
        let now = self.now.millis;
        let Some(channel) = self.channels.get_mut(id) else {
            return;
        };
        let Some(own) = &channel.position else { return };
        let behind = |top: &StreamPosition| own.epoch != top.epoch || own.offset < top.offset;
        if channel.suspected.take().is_some_and(|suspected| behind(&suspected)) {
            channel.checked_millis = now;
            self.stats.gaps.add(1);
            return self.start_repair(id, None);
        }
        channel.checked_millis = now;
        if behind(&top) {
            channel.suspected = Some(top);
            channel.checked_millis = (now + again_in_millis).saturating_sub(interval);
        }
    }
}

/// The publications that lead on from `position` to the top; `None` if history does not cover that.
fn missing(position: Option<&StreamPosition>, history: Option<History>) -> Option<Vec<Arc<Publication>>> {
    let (position, history) = (position?, history?);
    if history.top.epoch != position.epoch {
        return None;
    }
    let offset = |publication: &Arc<Publication>| publication.position.as_ref().map_or(0, |position| position.offset);
    let contiguous = match (history.publications.first(), history.publications.last()) {
        (Some(first), Some(last)) => offset(first) == position.offset + 1 && offset(last) == history.top.offset,
        _ => history.top.offset == position.offset,
    };
    contiguous.then_some(history.publications)
}

/// Bytes of the payloads of publications.
pub(crate) fn payload_bytes(publications: &[Arc<Publication>]) -> usize {
    publications.iter().map(|publication| publication.data.len()).sum()
}

fn offset_of(event: &Event) -> u64 {
    match event {
        Event::Publication(publication) => publication.position.as_ref().map_or(0, |position| position.offset),
        Event::Join(..) | Event::Leave(..) => 0,
    }
}

fn is_json(event: &Event) -> bool {
    match event {
        Event::Publication(publication) => publication.json,
        Event::Join(..) | Event::Leave(..) => true,
    }
}

fn push_of(event: &Event) -> Push {
    let channel = event.channel().as_str().to_owned();
    let own = |info: &Arc<ClientInfo>| Some(ClientInfo::clone(info));
    match event {
        Event::Publication(publication) => {
            Push { channel, publication: Some(message_of(publication)), ..Push::default() }
        }
        Event::Join(_, info) => Push { channel, join: Some(Join { info: own(info) }), ..Push::default() },
        Event::Leave(_, info) => Push { channel, leave: Some(Leave { info: own(info) }), ..Push::default() },
    }
}

/// A publication on the wire. The epoch goes with offset 1 only (protocol §8.2).
pub(crate) fn message_of(publication: &Publication) -> PublicationMessage {
    let first = publication.position.as_ref().filter(|position| position.offset == 1);
    PublicationMessage {
        data: publication.data.clone(),
        info: publication.info.as_deref().cloned(),
        offset: publication.position.as_ref().map_or(0, |position| position.offset),
        tags: publication.tags.clone(),
        epoch: first.map_or_else(String::new, |position| position.epoch.to_string()),
        version: publication.version,
        ..PublicationMessage::default()
    }
}

impl Shard {
    /// Whether a session can still be told something.
    pub(crate) fn is_open(&self, id: SlotId) -> bool {
        self.sessions.get(id).is_some_and(|session| session.state != State::Closing)
    }
}
