//! One reader, from a connection's beginning to its end: reads ahead, carries out, deletes what is done.

use futures_util::future::{BoxFuture, FutureExt as _, OptionFuture};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;
use super::entry::{Entry, Id};
use super::lanes::{Lane, Lanes};
use super::{Ingest, age};
use crate::backoff::Backoff;
use crate::fault::Fault;
use crate::limits::LEASE_RENEWAL;

/// What has been read is dropped with it: it is still in the stream, and whoever reads next begins with it.
pub(super) struct Reader<'a> {
    ingest: &'a Ingest,
    backoff: &'a mut Backoff,
    lanes: Lanes,
    work: FuturesUnordered<BoxFuture<'a, Done>>,
    reading: Option<BoxFuture<'a, Read>>,
    connection: Option<Connection>,
    deleting: Option<BoxFuture<'a, ()>>,
    done: Vec<Id>,
    /// The last entry that was read.
    last: Id,
}

/// What a read came to; the connection is the reader's again.
type Read = (Connection, Result<Vec<Entry>, Fault>);

struct Done {
    lane: Lane,
    entry: Entry,
    delete: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(ingest: &'a Ingest, connection: Connection, backoff: &'a mut Backoff) -> Self {
        Self {
            ingest,
            backoff,
            lanes: Lanes::default(),
            work: FuturesUnordered::new(),
            reading: None,
            connection: Some(connection),
            deleting: None,
            done: Vec::new(),
            last: Id::default(),
        }
    }

    /// Reads until the connection fails; says why.
    pub(super) async fn run(mut self) -> Fault {
        let mut tick = Instant::now();
        loop {
            self.begin();
            if tick <= Instant::now() {
                tick = Instant::now() + LEASE_RENEWAL;
                self.show_lag();
            }
            // What is done makes room for what is read.
            tokio::select! {
                biased;
                Some(done) = self.work.next() => self.finish(done),
                Some(()) = OptionFuture::from(self.deleting.as_mut()) => self.deleting = None,
                Some((connection, read)) = OptionFuture::from(self.reading.as_mut()) => {
                    self.reading = None;
                    self.connection = Some(connection);
                    match read {
                        Ok(entries) => self.take(entries),
                        Err(fault) => return fault,
                    }
                }
                () = sleep_until(tick) => {}
            }
        }
    }

    /// Begins whatever can be begun.
    fn begin(&mut self) {
        while let Some((lane, entry)) = self.lanes.begin() {
            self.work.push(carry_out(self.ingest, lane, entry).boxed());
        }
        if self.deleting.is_none() && !self.done.is_empty() {
            self.deleting = Some(self.ingest.delete(std::mem::take(&mut self.done)).boxed());
        }
        if self.lanes.has_room()
            && let Some(connection) = self.connection.take()
        {
            self.reading = Some(read(self.ingest, connection, self.last).boxed());
        }
    }

    fn take(&mut self, entries: Vec<Entry>) {
        self.backoff.reset();
        if entries.is_empty() && self.lanes.is_empty() && self.deleting.is_none() && self.done.is_empty() {
            // Nothing is left of what was read. Whatever is in the stream all the same, below what was read last, is
            // looked at again.
            self.last = Id::default();
        }
        self.ingest.counters.ingest.read.inc_by(entries.len() as u64);
        for mut entry in entries {
            self.last = entry.id;
            let lane = match self.ingest.judge(&entry) {
                Ok((channel, _)) => Some(channel),
                Err(poison) => {
                    entry.poison = Some(poison);
                    None
                }
            };
            self.lanes.push(lane, entry);
        }
    }

    fn finish(&mut self, done: Done) {
        self.lanes.finish(done.lane, &done.entry);
        if done.delete {
            self.done.push(done.entry.id);
        }
    }

    fn show_lag(&self) {
        let oldest = self.lanes.oldest().map(|id| age(self.ingest.lease.now_millis(), id));
        self.ingest.counters.ingest.lag_seconds.set(oldest.unwrap_or_default().as_secs_f64());
    }
}

async fn carry_out(ingest: &Ingest, lane: Lane, entry: Entry) -> Done {
    let delete = ingest.carry_out(&entry).await;
    Done { lane, entry, delete }
}

async fn read(ingest: &Ingest, mut connection: Connection, after: Id) -> Read {
    let entries = connection.read(&ingest.keys.ingest, after).await;
    (connection, entries)
}
