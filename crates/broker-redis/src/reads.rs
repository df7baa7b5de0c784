//! Reads of streams that many ask for at once: when a network or a node comes back, so do all clients of a channel, and
//! want the same of it.
//!
//! Of a channel one read is under way at a time, and at most one waits for its turn. Who asks meanwhile shares the one
//! that waits, from the lowest position that anybody of them has. So every read begins after all those who get its
//! answer have asked: a subscriber holds back what arrives from before it asks, and misses nothing in between (I2). The
//! read under way is not shared with who comes late: what was published right behind it may have passed by before.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_broker::{Error, History, HistoryQuery, Since};
use fanfare_protocol::Channel;
use tokio::sync::OnceCell;

use crate::limits::HISTORY_READ_MAX;

/// Reads that are alike but for where they begin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    channel: Channel,
    limit: usize,
    /// Whether it begins at a position.
    positioned: bool,
}

/// The reads of one kind, while somebody waits for one. At most as many as there are callers: a session or a request has
/// one at a time. Of what they send the broker's admission bounds how much is in flight.
#[derive(Debug, Default)]
struct Lane {
    callers: usize,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// What waits for its turn, and still takes in others.
    open: Option<Arc<Batch>>,
}

/// One read for many.
#[derive(Debug)]
struct Batch {
    /// The lowest and the highest offset that somebody has.
    offsets: Mutex<(u64, u64)>,
    answer: OnceCell<Result<History, Error>>,
}

/// The reads that are shared.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    lanes: Mutex<HashMap<Kind, Lane>>,
}

/// A caller's part in a batch.
struct Share<'a> {
    reads: &'a Reads,
    kind: Kind,
    turn: Arc<tokio::sync::Mutex<()>>,
    batch: Arc<Batch>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reads {
    /// What `read` gives for the query, together with others who ask for the like. May be dropped: another caller of the
    /// batch reads then.
    pub(crate) async fn share<F>(
        &self,
        channel: &Channel,
        query: &HistoryQuery,
        read: impl Fn(HistoryQuery) -> F,
    ) -> Result<History, Error>
    where
        F: Future<Output = Result<History, Error>>,
    {
        let Some(share) = self.join(channel, query) else { return read(query.clone()).await };
        let in_turn = || async {
            let _turn = share.turn.lock().await;
            read(share.close()).await
        };
        match share.batch.answer.get_or_init(in_turn).await {
            Ok(history) => part_of(history, query),
            Err(error) => Err(error.clone()),
        }
    }

    /// Takes part in the batch that waits, or begins one. `None` for what is not shared: pages in reverse or so large that
    /// two do not go into one read, and positions that lie too far apart.
    fn join(&self, channel: &Channel, query: &HistoryQuery) -> Option<Share<'_>> {
        if query.reverse || query.limit > HISTORY_READ_MAX / 2 {
            return None;
        }
        let kind = Kind { channel: channel.clone(), limit: query.limit, positioned: query.since.is_some() };
        let offset = query.since.as_ref().map_or(0, |since| since.offset);
        let mut lanes = locked(&self.lanes);
        let lane = lanes.entry(kind.clone()).or_default();
        let batch = match &lane.open {
            Some(batch) if batch.widen(offset, query.limit) => Arc::clone(batch),
            Some(_) => return None,
            None => Arc::clone(lane.open.insert(Arc::new(Batch::at(offset)))),
        };
        lane.callers += 1;
        let turn = Arc::clone(&lane.turn);
        Some(Share { reads: self, kind, turn, batch })
    }
}

impl Batch {
    fn at(offset: u64) -> Self {
        Self { offsets: Mutex::new((offset, offset)), answer: OnceCell::new() }
    }

    /// Takes in one more offset, unless that would double what is read.
    fn widen(&self, offset: u64, limit: usize) -> bool {
        let mut offsets = locked(&self.offsets);
        let wider = (offsets.0.min(offset), offsets.1.max(offset));
        let fits = wider.1 - wider.0 <= limit as u64;
        if fits {
            *offsets = wider;
        }
        fits
    }
}

impl Share<'_> {
    /// Takes in nobody any more, and says what all of them together want. The epochs are compared with the answer.
    fn close(&self) -> HistoryQuery {
        if let Some(lane) = locked(&self.reads.lanes).get_mut(&self.kind) {
            lane.open.take_if(|open| Arc::ptr_eq(open, &self.batch));
        }
        let (lowest, highest) = *locked(&self.batch.offsets);
        let since = self.kind.positioned.then(|| Since { offset: lowest, epoch: String::new() });
        HistoryQuery { limit: self.kind.limit + (highest - lowest) as usize, since, reverse: false }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut lane) = locked(&self.reads.lanes).entry(self.kind.clone()) {
            lane.get_mut().callers -= 1;
            if lane.get().callers == 0 {
                lane.remove();
            }
        }
    }
}

/// What a query would have got by itself.
fn part_of(history: &History, query: &HistoryQuery) -> Result<History, Error> {
    query.check(&history.top)?;
    let from = query.since.as_ref().map_or(0, |since| since.offset);
    let publications = history.publications.iter();
    let is_wanted = |offset: u64| query.since.is_none() || offset > from;
    let wanted =
        publications.filter(|publication| publication.position.as_ref().is_some_and(|at| is_wanted(at.offset)));
    Ok(History { publications: wanted.take(query.limit).cloned().collect(), top: history.top.clone() })
}

#[cfg(test)]
mod tests;
