//! Real time against offsets: what was over before something else began stands before it.

use std::collections::HashMap;

use super::book::Book;
use super::{Read, Rule};
use crate::checker::history::Micros;

/// A publication with a known place.
struct Placed {
    id: u64,
    offset: u64,
    invoked: Micros,
    /// When it was published for certain: acknowledged, or received by somebody.
    over: Micros,
}

/// Checks the order of publications, and that positions given to subscribers lie where they may.
pub(super) fn check(book: &mut Book<'_>, reads: &[Read<'_>]) {
    let mut streams = streams(book);
    for ((channel, epoch), placed) in &mut streams {
        placed.sort_by_key(|one| one.offset);
        check_publications(book, &format!("channel {channel}, epoch {epoch}"), placed);
    }
    for read in reads {
        if let Some(placed) = streams.get(&(read.channel, read.epoch.to_owned())) {
            check_read(book, read, placed);
        }
    }
}

fn streams(book: &Book<'_>) -> HashMap<(u32, String), Vec<Placed>> {
    let mut streams: HashMap<(u32, String), Vec<Placed>> = HashMap::new();
    for (place, id) in &book.payloads {
        let Some(publish) = book.publishes.get(id) else { continue };
        let over = book.known.get(place).copied().unwrap_or(Micros::MAX);
        let placed = Placed { id: *id, offset: place.offset, invoked: publish.invoked, over };
        streams.entry((place.channel, place.epoch.to_owned())).or_default().push(placed);
    }
    streams
}

/// From the top down: nothing above may have been over before this one was invoked.
fn check_publications(book: &mut Book<'_>, stream: &str, placed: &[Placed]) {
    let mut above: Option<&Placed> = None;
    for one in placed.iter().rev() {
        if let Some(other) = above.filter(|other| other.over < one.invoked && other.offset > one.offset) {
            let text = format!(
                "{stream}: publication {} ({}) was over before publication {} ({}) was invoked",
                other.id, other.offset, one.id, one.offset
            );
            book.violate(Rule::Order, one.invoked, text);
        }
        if above.is_none_or(|other| one.over < other.over) {
            above = Some(one);
        }
    }
}

fn check_read(book: &mut Book<'_>, read: &Read<'_>, placed: &[Placed]) {
    let split = placed.partition_point(|one| one.offset <= read.top);
    let who = format!("client {}, channel {}: given ({}, {})", read.client, read.channel, read.top, read.epoch);
    if let Some(missed) = placed[split..].iter().find(|one| one.over < read.asked) {
        let text = format!("{who}, although publication {} ({}) was over before", missed.id, missed.offset);
        book.violate(Rule::StaleRead, read.at, text);
    }
    if let Some(early) = placed[..split].iter().find(|one| one.invoked > read.at) {
        let text = format!("{who}, although publication {} ({}) was not invoked yet", early.id, early.offset);
        book.violate(Rule::StaleRead, read.at, text);
    }
}
