//! Reading a channel's stream.

use std::sync::Arc;

use fanfare_broker::fault_points;
use fanfare_broker::{Error, History, HistoryQuery, Publication, Since, StreamPosition};
use fanfare_protocol::Channel;

use crate::admission::Admission;
use crate::envelope::Body;
use crate::fault::Fault;
use crate::interest::Interest;
use crate::keys::Keys;
use crate::limits::HISTORY_READ_MAX;
use crate::metrics::Counters;
use crate::options::Options;
use crate::publisher::{millis, random_part};
use crate::reads::Reads;
use crate::routes::Routes;
use crate::script::{self, Call};

/// Streams in Redis.
pub(crate) struct Streams {
    pub(crate) options: Arc<Options>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) interest: Arc<Interest>,
    pub(crate) admission: Admission,
    pub(crate) counters: Arc<Counters>,
    pub(crate) reads: Reads,
}

/// An entry: its id, and its fields one after another.
type Entry = (String, Vec<Vec<u8>>);

impl Streams {
    /// Reads a part of a stream, and its top; together with others who ask for the like at this time.
    pub(crate) async fn history(&self, channel: &Channel, query: &HistoryQuery) -> Result<History, Error> {
        self.reads.share(channel, query, |query| async move { self.read_part(channel, &query).await }).await
    }

    /// Only what is sent takes a place among what is in flight: who shares a read sends nothing.
    async fn read_part(&self, channel: &Channel, query: &HistoryQuery) -> Result<History, Error> {
        let _place = self.admission.enter(0)?;
        let reading = self.interest.begin_reading();
        let (command, first, last) = range(query);
        let meta = self.keys.meta(channel);
        let slot = self.keys.slot(&meta);
        let call = Call::new(&script::HISTORY, &[meta, self.keys.stream(channel)])
            .arg(random_part())
            .arg(millis(self.options.silent_ttl))
            .arg(query.limit.min(HISTORY_READ_MAX))
            .arg(command)
            .arg(first)
            .arg(last);
        let answer: (u64, String, Vec<Entry>) = self.routes.call(slot, &call).await.map_err(Fault::error)?;
        let (offset, epoch, entries) = answer;
        let top = StreamPosition { offset, epoch: fault_points::unfenced(epoch).into() };
        self.interest.end_reading(reading, channel, &top);
        query.check(&top)?;
        let publications = if begins_above(query, &top) { Vec::new() } else { self.read(channel, &top, entries) };
        Ok(History { publications, top })
    }

    fn read(&self, channel: &Channel, top: &StreamPosition, entries: Vec<Entry>) -> Vec<Arc<Publication>> {
        let publication = |(id, fields): Entry| {
            let read = read_entry(&id, &fields);
            if read.is_none() {
                self.counters.skipped(crate::metrics::Skipped::Malformed);
            }
            let (offset, body) = read?;
            let position = StreamPosition { offset, epoch: Arc::clone(&top.epoch) };
            Some(Arc::new(body.into_publication(channel.clone(), Some(position))))
        };
        entries.into_iter().filter_map(publication).collect()
    }

    /// Drops a channel's publications.
    pub(crate) async fn remove(&self, channel: &Channel) -> Result<(), Error> {
        let mut command = redis::cmd("DEL");
        let stream = self.keys.stream(channel);
        command.arg(&stream);
        self.routes.ask::<i64>(self.keys.slot(&stream), &command).await.map(drop).map_err(Fault::error)
    }
}

/// The command and the ids that a query means.
fn range(query: &HistoryQuery) -> (&'static str, String, String) {
    let id = |offset: u64| format!("{offset}-0");
    match (&query.since, query.reverse) {
        (None, false) => ("XRANGE", "-".to_owned(), "+".to_owned()),
        (None, true) => ("XREVRANGE", "+".to_owned(), "-".to_owned()),
        (Some(since), false) => ("XRANGE", id(since.offset.saturating_add(1)), "+".to_owned()),
        (Some(since), true) => ("XREVRANGE", id(since.offset.saturating_sub(1)), "-".to_owned()),
    }
}

/// Whether a reverse read begins beyond the top's successor, and therefore is empty.
fn begins_above(query: &HistoryQuery, top: &StreamPosition) -> bool {
    let beyond = |since: &Since| since.offset.saturating_sub(1) > top.offset;
    query.reverse && query.since.as_ref().is_some_and(beyond)
}

fn read_entry(id: &str, fields: &[Vec<u8>]) -> Option<(u64, Body)> {
    let offset = id.strip_suffix("-0")?.parse().ok()?;
    match fields {
        [name, body] if name == b"d" => Some((offset, Body::read(body).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_ranges() {
        let since =
            |offset, reverse| HistoryQuery { since: Some(Since { offset, epoch: String::new() }), reverse, limit: 1 };
        let range = |query: &HistoryQuery| {
            let (command, first, last) = super::range(query);
            format!("{command} {first} {last}")
        };
        assert_eq!(range(&HistoryQuery::default()), "XRANGE - +");
        assert_eq!(range(&HistoryQuery { reverse: true, ..HistoryQuery::default() }), "XREVRANGE + -");
        assert_eq!(range(&since(5, false)), "XRANGE 6-0 +");
        assert_eq!(range(&since(5, true)), "XREVRANGE 4-0 -");
        assert_eq!(range(&since(u64::MAX, false)), format!("XRANGE {}-0 +", u64::MAX));
    }

    #[test]
    fn entries_that_are_not_ours_are_none() {
        let body = |body: &[u8]| vec![b"d".to_vec(), body.to_vec()];
        assert!(read_entry("1-0", &body(b"\x00")).is_some());
        for (id, fields) in [
            ("1-1", body(b"\x00")),
            ("x-0", body(b"\x00")),
            ("1-0", body(b"\x01")),
            ("1-0", body(b"")),
            ("1-0", vec![]),
        ] {
            assert!(read_entry(id, &fields).is_none());
        }
    }
}
