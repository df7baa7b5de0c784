//! Where a subscription is in its channel's stream, and what each publication means for it: next, doubled, or after a gap.
//!
//! Knows offsets and epochs; knows no socket and no clock.

use std::fmt;
use std::sync::Arc;

use fanfare_protocol::SubscribeResult;

use crate::Gap;

/// An epoch that no stream has: recovery from it fails on purpose.
const EPOCH_VOID: &str = "_";

/// Place in a channel's stream, and the identity of that stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamPosition {
    /// 1 for the first publication, then rising by one; 0 before it.
    pub offset: u64,
    /// Opaque identity of the stream's life.
    pub epoch: Arc<str>,
}

impl StreamPosition {
    /// A position out of its two parts.
    pub fn new(offset: u64, epoch: impl Into<Arc<str>>) -> Self {
        Self { offset, epoch: epoch.into() }
    }
}

impl fmt::Display for StreamPosition {
    /// `OFFSET:EPOCH`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.offset, self.epoch)
    }
}

/// What to do with a publication.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next one, or one without a place: deliver.
    Deliver,
    /// Seen before: drop.
    Duplicate,
    /// Some before it are missing: tell, then deliver.
    After(Gap),
}

/// How a subscription starts, or starts again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) recovered: bool,
    pub(crate) gap: Option<Gap>,
}

/// Follows one channel.
#[derive(Debug, Default)]
pub(crate) struct Track {
    position: Option<StreamPosition>,
    recoverable: bool,
    live_before: bool,
}

impl Track {
    /// Starts from a position that the application has kept, or from now.
    pub(crate) fn new(since: Option<StreamPosition>) -> Self {
        Self { recoverable: since.is_some(), position: since, live_before: false }
    }

    pub(crate) fn position(&self) -> Option<&StreamPosition> {
        self.position.as_ref()
    }

    /// The position to recover from, if that can be asked for.
    pub(crate) fn recover_from(&self) -> Option<&StreamPosition> {
        self.position.as_ref().filter(|_| self.recoverable)
    }

    /// What was held is void: the next recovery is to fail and to tell a gap.
    pub(crate) fn invalidate(&mut self) {
        if self.position.is_some() {
            self.position = Some(StreamPosition::new(0, EPOCH_VOID));
        }
    }

    /// The server has answered a subscribe. Its publications are offered one by one afterwards.
    pub(crate) fn start(&mut self, result: &SubscribeResult) -> Start {
        let asked = self.recover_from().is_some();
        self.recoverable = result.recoverable;
        let before = self.position.take();
        let continued = std::mem::replace(&mut self.live_before, true) || before.is_some();
        if let Some(before) = before.as_ref().filter(|_| asked && result.recovered) {
            // The recovered publications follow what was had, whatever offset the answer names.
            self.position = Some(StreamPosition::new(before.offset, result.epoch.as_str()));
            return Start { recovered: true, gap: None };
        }
        self.position = has_position(result).then(|| StreamPosition::new(result.offset, result.epoch.as_str()));
        let gap = continued.then(|| gap_between(before, self.position.clone())).flatten();
        Start { recovered: false, gap }
    }

    /// A publication has come. Without an offset (0) it has no place in a stream.
    pub(crate) fn offer(&mut self, offset: u64, epoch: &str) -> Verdict {
        if offset == 0 {
            return Verdict::Deliver;
        }
        let Some(position) = &mut self.position else {
            self.position = Some(StreamPosition::new(offset, epoch));
            return Verdict::Deliver;
        };
        if position.epoch.is_empty() && !epoch.is_empty() {
            position.epoch = epoch.into();
        }
        if !epoch.is_empty() && *position.epoch != *epoch {
            return self.jump(StreamPosition::new(offset, epoch));
        }
        if offset <= position.offset {
            return Verdict::Duplicate;
        }
        if offset == position.offset + 1 {
            position.offset = offset;
            return Verdict::Deliver;
        }
        let now = StreamPosition { offset, epoch: position.epoch.clone() };
        self.jump(now)
    }

    /// Goes on at a publication that does not follow the one before.
    fn jump(&mut self, now: StreamPosition) -> Verdict {
        let before = self.position.replace(now.clone());
        let mut gap = Gap { missed: None, after: before, now: Some(now) };
        gap.missed = missed(&gap).map(|count| count - 1);
        Verdict::After(gap)
    }
}

fn has_position(result: &SubscribeResult) -> bool {
    result.positioned || result.recoverable || result.offset > 0 || !result.epoch.is_empty()
}

/// The gap between two positions; none when the stream has not moved in between.
fn gap_between(after: Option<StreamPosition>, now: Option<StreamPosition>) -> Option<Gap> {
    let mut gap = Gap { missed: None, after, now };
    gap.missed = missed(&gap);
    (gap.missed != Some(0)).then_some(gap)
}

fn missed(gap: &Gap) -> Option<u64> {
    let (after, now) = (gap.after.as_ref()?, gap.now.as_ref()?);
    (after.epoch == now.epoch).then(|| now.offset.checked_sub(after.offset))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, epoch: &str) -> StreamPosition {
        StreamPosition::new(offset, epoch)
    }

    fn live(offset: u64, epoch: &str) -> SubscribeResult {
        SubscribeResult { recoverable: true, positioned: true, offset, epoch: epoch.into(), ..Default::default() }
    }

    fn recovered(offset: u64, epoch: &str) -> SubscribeResult {
        SubscribeResult { recovered: true, was_recovering: true, ..live(offset, epoch) }
    }

    fn gap(after: Option<StreamPosition>, now: Option<StreamPosition>, missed: Option<u64>) -> Gap {
        Gap { after, now, missed }
    }

    #[test]
    fn the_next_offset_is_delivered_and_an_old_one_is_not() {
        let mut track = Track::default();
        assert_eq!(track.start(&live(5, "e")), Start { recovered: false, gap: None });
        assert_eq!(track.offer(6, ""), Verdict::Deliver);
        assert_eq!(track.offer(6, ""), Verdict::Duplicate);
        assert_eq!(track.offer(3, ""), Verdict::Duplicate);
        assert_eq!(track.recover_from(), Some(&at(6, "e")));
    }

    #[test]
    fn a_skipped_offset_is_a_gap_with_a_count() {
        let mut track = Track::default();
        track.start(&live(5, "e"));
        assert_eq!(track.offer(9, ""), Verdict::After(gap(Some(at(5, "e")), Some(at(9, "e")), Some(3))));
        assert_eq!(track.offer(10, ""), Verdict::Deliver);
    }

    #[test]
    fn publications_without_an_offset_have_no_place() {
        let mut track = Track::default();
        track.start(&SubscribeResult::default());
        assert_eq!(track.offer(0, ""), Verdict::Deliver);
        assert_eq!(track.offer(0, ""), Verdict::Deliver);
        assert_eq!(track.position(), None);
    }

    #[test]
    fn an_epoch_is_adopted_only_when_none_is_known() {
        let mut track = Track::default();
        track.start(&SubscribeResult { positioned: true, recoverable: true, ..Default::default() });
        assert_eq!(track.offer(1, "new"), Verdict::Deliver);
        assert_eq!(track.position(), Some(&at(1, "new")));
        assert_eq!(track.offer(1, "other"), Verdict::After(gap(Some(at(1, "new")), Some(at(1, "other")), None)));
    }

    #[test]
    fn recovery_keeps_the_position_and_tells_no_gap() {
        let mut track = Track::default();
        track.start(&live(5, "e"));
        assert_eq!(track.start(&recovered(5, "e")), Start { recovered: true, gap: None });
        assert_eq!(track.offer(6, ""), Verdict::Deliver);
        assert_eq!(track.offer(7, ""), Verdict::Deliver);
    }

    #[test]
    fn a_failed_recovery_is_a_gap() {
        let mut track = Track::default();
        track.start(&live(5, "e"));
        let start = track.start(&live(9, "e"));
        assert_eq!(start, Start { recovered: false, gap: Some(gap(Some(at(5, "e")), Some(at(9, "e")), Some(4))) });
        let start = track.start(&live(2, "f"));
        assert_eq!(start.gap, Some(gap(Some(at(9, "e")), Some(at(2, "f")), None)));
        assert_eq!(track.offer(3, ""), Verdict::Deliver);
    }

    #[test]
    fn nothing_missed_is_no_gap() {
        let mut track = Track::default();
        track.start(&live(5, "e"));
        assert_eq!(track.start(&live(5, "e")).gap, None);
    }

    #[test]
    fn a_channel_without_positions_cannot_vouch_for_a_break() {
        let mut track = Track::default();
        assert_eq!(track.start(&SubscribeResult::default()).gap, None);
        assert_eq!(track.start(&SubscribeResult::default()).gap, Some(gap(None, None, None)));
    }

    #[test]
    fn a_kept_position_is_recovered_from_at_once() {
        let mut track = Track::new(Some(at(7, "e")));
        assert_eq!(track.recover_from(), Some(&at(7, "e")));
        assert_eq!(track.start(&live(9, "f")).gap, Some(gap(Some(at(7, "e")), Some(at(9, "f")), None)));
        let mut track = Track::new(Some(at(7, "e")));
        assert_eq!(track.start(&recovered(7, "e")), Start { recovered: true, gap: None });
    }

    #[test]
    fn an_invalidated_position_recovers_from_nowhere() {
        let mut track = Track::default();
        track.start(&live(5, "e"));
        track.invalidate();
        assert_eq!(track.recover_from(), Some(&at(0, EPOCH_VOID)));
        assert!(track.start(&live(5, "e")).gap.is_some());
    }

    #[test]
    fn a_publication_recovered_twice_is_dropped_once() {
        let mut track = Track::default();
        track.start(&live(5, "e"));
        track.start(&recovered(5, "e"));
        assert_eq!([6, 7, 6, 8].map(|offset| track.offer(offset, "") == Verdict::Deliver), [true, true, false, true]);
    }
}
