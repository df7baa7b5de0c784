//! History of a channel: what is kept, and how it is asked for.

use std::sync::Arc;
use std::time::Duration;

use crate::{Error, Publication};

/// Place in a stream, and the identity of that stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamPosition {
    /// 1 for the first publication, then rising by one; 0 before it.
    pub offset: u64,
    /// Opaque identity of the stream's life.
    pub epoch: Arc<str>,
}

/// How much of a channel's stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Publications kept, at least 1.
    pub size: usize,
    /// How long each is kept. Both durations are those of the channel's latest publication.
    pub ttl: Duration,
    /// How long offset and epoch outlive the last publication; counts as `ttl` where it is shorter. After
    /// it the channel starts again under a new epoch.
    pub meta_ttl: Duration,
}

/// Which part of a stream to read.
///
/// What has left the stream is no error: a forward read begins with what is left, a reverse one from beyond
/// the top's successor is empty. Whoever needs continuity compares the first offset with the one asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryQuery {
    /// Publications at most; 0 reads the position only.
    pub limit: usize,
    /// Where to begin; `None` begins at the end of the stream that the direction gives.
    pub since: Option<Since>,
    /// Newest first.
    pub reverse: bool,
}

impl HistoryQuery {
    /// Checks the query against the stream's top, as every broker has to.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for a reverse read below offset 0, [`Error::UnrecoverablePosition`] for a
    /// position of another epoch.
    pub fn check(&self, top: &StreamPosition) -> Result<(), Error> {
        let Some(since) = &self.since else { return Ok(()) };
        if self.reverse && since.offset == 0 {
            return Err(Error::BadRequest("nothing is below offset 0"));
        }
        if !since.epoch.is_empty() && *since.epoch != *top.epoch {
            return Err(Error::UnrecoverablePosition);
        }
        Ok(())
    }
}

/// Begin of a read: forward reads what is above `offset`, reverse what is below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// The offset, not included itself. 0 with `reverse` is [`crate::Error::BadRequest`].
    pub offset: u64,
    /// Checked when not empty: another one than the stream's is [`crate::Error::UnrecoverablePosition`],
    /// even with limit 0.
    pub epoch: String,
}

/// A part of a stream, and its top at the same moment.
#[derive(Debug, Clone)]
pub struct History {
    /// The publications, in the direction asked for.
    pub publications: Vec<Arc<Publication>>,
    /// The stream's top.
    pub top: StreamPosition,
}
