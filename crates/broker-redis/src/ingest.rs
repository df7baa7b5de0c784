//! Publications that a program puts into Redis by itself: `XADD PREFIX:ingest '*' channel news data '{"text":"hi"}'`.
//!
//! An entry is published as if it had come through the server API, and then deleted: what is in the stream is what is
//! still to be done. One that cannot be published, whatever is tried, goes to the dead-letter stream
//! (`PREFIX:ingest:dead`) with the reason.
//!
//! # At least once, in order for each channel
//!
//! 1. One node reads at a time, the holder of a lease ([`lease`]). If it dies or stands still, another has the lease
//!    within [`LEASE_TTL`] and [`LEASE_RENEWAL`], 4 seconds, and begins with the oldest entry there is.
//! 2. The entries of a channel are published one after another; one that fails is tried again before the next
//!    ([`lanes`]). So every reader, whatever became of the ones before, goes through a channel in the order of its ids.
//! 3. The script that publishes compares the entry's id with the last one that it published in this channel, and does
//!    nothing where it is not above. So an entry that is read twice is published once: after an acknowledgement that
//!    was lost, after a takeover, and while a node that stood still goes on with what it had read, beside its successor.
//! 4. That last id is kept for [`GUARD_TTL`], and an entry that has been waiting for [`ENTRY_AGE_MAX`], which is less,
//!    is not published any more. So no entry outlives what is known of it.
//!
//! An entry with a key of its own is known by that key instead, for the same time.
//!
//! The lease is there so that not every node reads; nothing of the above needs it to be held by one alone.

mod connection;
mod entry;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod lanes;
pub(crate) mod lease;
pub(crate) mod metrics;
mod reader;

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::namespaces::Namespaces;
use fanfare_broker::{Error, Published, Retention};
use fanfare_protocol::Channel;
use tokio::sync::watch;

use self::connection::Connection;
use self::entry::{Entry, Judge, Poison};
use self::lease::Lease;
use self::reader::Reader;
use crate::admission::Admission;
use crate::backoff::Backoff;
use crate::broker::draft;
use crate::fault::Fault;
use crate::keys::Keys;
use crate::limits::{DEAD_BYTES_MAX, DEAD_ENTRIES_MAX, GUARD_TTL, INGEST_ENTRIES_MAX, LEASE_RENEWAL};
#[cfg(doc)]
use crate::limits::{ENTRY_AGE_MAX, LEASE_TTL};
use crate::link::State;
use crate::metrics::Counters;
use crate::options::Options;
use crate::publisher::{Publisher, millis};
use crate::routes::Routes;

/// What the reader of the ingest stream goes by.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// What the channels keep.
    pub namespaces: Arc<Namespaces>,
    /// `limits.channel_bytes_max`: the longest name of a channel.
    pub channel_bytes_max: usize,
    /// Entries that may wait; the oldest of more are lost, and counted.
    pub entries_max: u64,
}

impl IngestOptions {
    /// With as many entries as [`INGEST_ENTRIES_MAX`].
    pub fn new(namespaces: Arc<Namespaces>, channel_bytes_max: usize) -> Self {
        Self { namespaces, channel_bytes_max, entries_max: INGEST_ENTRIES_MAX }
    }
}

/// The ingest stream, as a node sees it.
pub(crate) struct Ingest {
    pub(crate) ingest: IngestOptions,
    pub(crate) options: Arc<Options>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) admission: Admission,
    pub(crate) publisher: Publisher,
    pub(crate) counters: Arc<Counters>,
    pub(crate) lease: Arc<Lease>,
}

impl Ingest {
    /// Reads whenever it is this node's turn, for ever.
    pub(crate) async fn run(self) {
        loop {
            if self.lease.take().await.unwrap_or(false) {
                tracing::info!("this node reads the ingest stream");
                self.counters.ingest.reading.set(1);
                self.read_while_held().await;
                self.counters.ingest.stands_by();
                tracing::info!("this node does not read the ingest stream any more");
            }
            tokio::time::sleep(LEASE_RENEWAL).await;
        }
    }

    async fn read_while_held(&self) {
        tokio::select! {
            biased;
            () = self.lease.keep() => {}
            () = self.tend() => {}
            () = self.read() => {}
        }
    }

    /// Reads, over one connection after another.
    async fn read(&self) {
        let (mut backoff, mut reported) = (Backoff::default(), None);
        loop {
            let fault = match self.read_once(&mut backoff).await {
                Ok(never) => match never {},
                Err(fault) => fault,
            };
            if reported.replace(fault) != Some(fault) {
                tracing::warn!(?fault, "the ingest stream cannot be read");
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn read_once(&self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Fault> {
        let shard = self.routes.shard(self.keys.slot(&self.keys.ingest), self.routes.deadline()).await?;
        // Before the connection: a change while it is made counts.
        let mut states = shard.link.watch();
        let connection = Connection::open(&self.options, &shard.link).await?;
        tokio::select! {
            biased;
            () = changed(&mut states) => Err(Fault::Disconnected),
            fault = Reader::new(self, connection, backoff).run() => Err(fault),
        }
    }

    /// Sends a command on a key once.
    async fn ask<T: redis::FromRedisValue>(&self, key: &str, command: &redis::Cmd) -> Result<T, Fault> {
        self.routes.ask(self.keys.slot(key), command).await
    }

    /// Looks every second how much is waiting, and trims what is too much.
    async fn tend(&self) {
        loop {
            tokio::time::sleep(LEASE_RENEWAL).await;
            let waiting =
                self.ask::<u64>(&self.keys.ingest, redis::cmd("XLEN").arg(&*self.keys.ingest)).await.unwrap_or(0);
            self.counters.ingest.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
            if waiting > self.ingest.entries_max {
                self.trim().await;
            }
        }
    }

    async fn trim(&self) {
        let mut trim = redis::cmd("XTRIM");
        trim.arg(&*self.keys.ingest).arg("MAXLEN").arg("~").arg(self.ingest.entries_max);
        if let Ok(trimmed @ 1..) = self.ask::<u64>(&self.keys.ingest, &trim).await {
            self.counters.ingest.trimmed.inc_by(trimmed);
            tracing::error!(trimmed, "the ingest stream is full: its oldest entries are lost");
        }
    }

    /// What an entry asks for, unless it is poison.
    fn judge(&self, entry: &Entry) -> Result<(Channel, fanfare_broker::Publish), Poison> {
        let judge = Judge {
            namespaces: &self.ingest.namespaces,
            channel_bytes_max: self.ingest.channel_bytes_max,
            payload: &self.options.payload,
            now_millis: self.lease.now_millis(),
        };
        judge.judge(entry)
    }

    /// Publishes an entry, or buries it, and does not give up. Gives whether the entry is to be deleted.
    async fn carry_out(&self, entry: &Entry) -> bool {
        if let Some(poison) = &entry.poison {
            return self.bury(entry, poison).await;
        }
        let mut backoff = Backoff::default();
        loop {
            self.lease.held().await;
            let error = match self.judge(entry) {
                Ok((channel, publish)) => self.publish(&channel, publish, entry).await.err(),
                Err(poison) => return self.bury(entry, &poison).await,
            };
            match error {
                None => return true,
                Some(error) if is_final(&error) => return self.bury(entry, &Poison::refused(&error)).await,
                Some(error) => tracing::debug!(%error, "an entry of the ingest stream is published again"),
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn publish(
        &self,
        channel: &Channel,
        publish: fanfare_broker::Publish,
        entry: &Entry,
    ) -> Result<Published, Error> {
        let keeps = |retention: &Retention| retention.size > 0 && !publish.skip_history;
        let mut draft = draft(&self.keys, channel, &publish, publish.retention.filter(keeps));
        draft.window_millis = millis(GUARD_TTL);
        if draft.result.is_none() {
            draft.result = Some(self.keys.ingested(channel));
            draft.entry = entry.id.to_string();
        }
        let place = self.admission.enter(draft.body.len())?;
        let published = self.publisher.publish(draft, place, self.routes.deadline()).await?;
        self.counters.ingest.published.inc();
        self.counters.published(published.outcome);
        Ok(published)
    }

    /// Puts an entry into the dead-letter stream. Where that is none, the entry stays where it is, and is tried again
    /// when there is nothing else to do.
    async fn bury(&self, entry: &Entry, poison: &Poison) -> bool {
        let letter = self.letter(entry, poison);
        let mut backoff = Backoff::default();
        loop {
            self.lease.held().await;
            match self.ask::<String>(&self.keys.dead, &letter).await {
                Ok(_) => {
                    self.counters.ingest.dead(poison.kind);
                    tracing::warn!(entry = %entry.id, reason = poison.kind.label(), "an ingest entry is poison");
                    return true;
                }
                Err(Fault::WrongType) => {
                    tracing::error!(key = %self.keys.dead, "the dead-letter stream's key holds something else");
                    return false;
                }
                Err(_) => tokio::time::sleep(backoff.pause()).await,
            }
        }
    }

    fn letter(&self, entry: &Entry, poison: &Poison) -> redis::Cmd {
        let mut letter = redis::cmd("XADD");
        letter.arg(&*self.keys.dead).arg("MAXLEN").arg("~").arg(DEAD_ENTRIES_MAX).arg("*");
        letter.arg("reason").arg(&poison.reason).arg("entry").arg(entry.id.to_string());
        let fields = entry.fields.iter().filter(|_| entry.bytes <= DEAD_BYTES_MAX);
        for (name, value) in fields {
            letter.arg(&name[..]).arg(&value[..]);
        }
        letter
    }

    /// Deletes entries that are done. One that another node deleted before is no failure.
    async fn delete(&self, ids: Vec<entry::Id>) {
        let mut command = redis::cmd("XDEL");
        command.arg(&*self.keys.ingest);
        ids.iter().for_each(|id| {
            command.arg(id.to_string());
        });
        let mut backoff = Backoff::default();
        // What the key holds now is not what was read.
        while let Err(fault) = self.ask::<i64>(&self.keys.ingest, &command).await
            && fault != Fault::WrongType
        {
            tokio::time::sleep(backoff.pause()).await;
        }
    }
}

/// Whether trying again is of no use: the fault is the entry's, or its channel's.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::BadRequest(_) | Error::Budget { .. }) || *error == Fault::WrongType.error()
}

/// The connection for commands is lost or led to another server: the one for reading may hang at a server that
/// nobody writes to any more.
async fn changed(states: &mut watch::Receiver<State>) {
    if states.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Milliseconds since an id was given.
fn age(now_millis: u64, id: entry::Id) -> Duration {
    Duration::from_millis(now_millis.saturating_sub(id.millis))
}
