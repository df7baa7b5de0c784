//! What the receiving threads have seen in a run, each in a record of its own until the end.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::latency::Latencies;
use crate::stamp::Stamp;
use crate::tally::Arrival;

/// The most points of a timeline.
const INTERVALS_MAX: u64 = 240;
/// The shortest interval of a timeline, in nanoseconds.
const INTERVAL_MIN: u64 = 250_000_000;

/// How a publication reached a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Pushed to a subscription that was live.
    Live,
    /// Caught up with after a reconnect, or while a subscription was made.
    Recovered,
    /// To one of the slow readers, whichever way.
    Slow,
}

/// What is published in a run, as the receivers need to know it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Tells the run's publications from others.
    pub(crate) run: u16,
    /// When the first one is due.
    pub(crate) start: u64,
    /// What is due before is checked but not timed.
    pub(crate) timed_from: u64,
    /// When the last one is due.
    pub(crate) end: u64,
    /// Publications that are due in all.
    pub(crate) publications: usize,
    /// Channels, which take turns.
    pub(crate) channels: u32,
    /// Nanoseconds between two publications, in the mean.
    pub(crate) gap: f64,
    /// Publications that are due at the same moment. Until those after them are due there are none.
    pub(crate) burst: usize,
}

impl Window {
    /// The nanoseconds of a point of the timeline.
    pub(crate) fn interval(&self) -> u64 {
        ((self.end - self.start) / INTERVALS_MAX).max(INTERVAL_MIN)
    }

    /// When a publication is due, by its number among all of the run.
    pub(crate) fn due(&self, index: usize) -> u64 {
        let first = index - index % self.burst.max(1);
        self.start + (first as f64 * self.gap) as u64
    }

    /// The stamp of a publication.
    pub(crate) fn stamp(&self, index: usize) -> Stamp {
        let channels = self.channels as usize;
        let (channel, number) = ((index % channels) as u32, (index / channels) as u32);
        Stamp { run: self.run, channel, number, due: self.due(index) }
    }

    /// Publications of a channel.
    pub(crate) fn of_channel(&self, channel: u32) -> u32 {
        self.publications.saturating_sub(channel as usize).div_ceil(self.channels as usize) as u32
    }

    /// The number, within a channel, of the first publication that is due after this time.
    pub(crate) fn next_of_channel(&self, channel: u32, now: u64) -> u32 {
        let burst = self.burst.max(1);
        let bursts = (now.saturating_sub(self.start) as f64 / (self.gap * burst as f64).max(1.0)).ceil() as usize;
        let next =
            bursts.saturating_mul(burst).saturating_sub(channel as usize).div_ceil(self.channels as usize) as u32;
        next.min(self.of_channel(channel))
    }

    /// Whether a stamp is one of the run's: a server may send anything.
    pub(crate) fn holds(&self, stamp: &Stamp) -> bool {
        stamp.run == self.run && self.index(stamp.channel, stamp.number) < self.publications
    }

    /// Number of a publication among all of the run, by that within its channel.
    pub(crate) fn index(&self, channel: u32, number: u32) -> usize {
        number as usize * self.channels as usize + channel as usize
    }
}

/// A point of the timeline.
#[derive(Debug, Clone)]
pub(crate) struct Interval {
    pub(crate) live: u64,
    pub(crate) recovered: u64,
    pub(crate) latencies: Latencies,
}

impl Default for Interval {
    fn default() -> Self {
        Self { live: 0, recovered: 0, latencies: Latencies::with_digits(1) }
    }
}

/// Plain numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) live: u64,
    pub(crate) recovered: u64,
    pub(crate) slow: u64,
    /// Of subscriptions that all publications of the run are owed to: those that came, and those that they do without.
    pub(crate) settled: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    /// Publications of other runs or programs in the same channels, and what no run has published.
    pub(crate) strays: u64,
    /// Bytes of messages with publications, frame headers included.
    pub(crate) bytes: u64,
    /// Messages of any content, and their bytes.
    pub(crate) messages: u64,
    pub(crate) message_bytes: u64,
    /// Reads that brought something.
    pub(crate) reads: u64,
    /// Losses that the server told.
    pub(crate) told_losses: u64,
    /// Subscriptions or connections that were to go and to come back, and those that did both.
    pub(crate) goings_due: u64,
    pub(crate) comings: u64,
    /// Connections that were cut while they were ready.
    pub(crate) cuts: u64,
    /// Connections that the server or the network ended, by close code; 0 without one.
    pub(crate) closes: BTreeMap<u16, u64>,
    /// Of those, connections of slow readers.
    pub(crate) slow_closes: u64,
    /// Of those, connections of others that had no position to recover from.
    pub(crate) closes_without_position: u64,
    /// Connects that failed, by why.
    pub(crate) failures: BTreeMap<String, u64>,
}

/// Reasons of failed connects that are told apart.
const FAILURES_MAX: usize = 16;

impl Counts {
    /// Publications that arrived, whosever they are.
    pub(crate) fn seen(&self) -> u64 {
        self.live + self.recovered + self.slow + self.doubled + self.strays
    }

    pub(crate) fn fail(&mut self, why: String) {
        let known = self.failures.len() < FAILURES_MAX || self.failures.contains_key(&why);
        let why = if known { why } else { "something else".to_owned() };
        *self.failures.entry(why).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        let ours = [
            &mut self.live,
            &mut self.recovered,
            &mut self.slow,
            &mut self.settled,
            &mut self.doubled,
            &mut self.reordered,
            &mut self.strays,
            &mut self.bytes,
            &mut self.messages,
            &mut self.message_bytes,
            &mut self.reads,
            &mut self.told_losses,
            &mut self.goings_due,
            &mut self.comings,
            &mut self.cuts,
            &mut self.slow_closes,
            &mut self.closes_without_position,
        ];
        let theirs = [
            other.live,
            other.recovered,
            other.slow,
            other.settled,
            other.doubled,
            other.reordered,
            other.strays,
            other.bytes,
            other.messages,
            other.message_bytes,
            other.reads,
            other.told_losses,
            other.goings_due,
            other.comings,
            other.cuts,
            other.slow_closes,
            other.closes_without_position,
        ];
        ours.into_iter().zip(theirs).for_each(|(ours, theirs)| *ours += theirs);
        other.closes.iter().for_each(|(code, count)| *self.closes.entry(*code).or_default() += count);
        other.failures.iter().for_each(|(why, count)| *self.failures.entry(why.clone()).or_default() += count);
    }
}

/// What one thread has seen.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) window: Window,
    pub(crate) counts: Counts,
    pub(crate) live: Latencies,
    pub(crate) recovered: Latencies,
    /// From when a connection was to be opened until its subscriptions were live.
    pub(crate) connects: Latencies,
    /// From the loss of a connection until its subscriptions were live again.
    pub(crate) returns: Latencies,
    /// For each publication when its last recipient had it, and how many have it.
    pub(crate) last: Vec<u64>,
    pub(crate) copies: Vec<u32>,
    /// For each publication how many subscriptions do without it: they were away on purpose, and had no position to recover
    /// from. Empty if nobody does.
    pub(crate) excused: Vec<u32>,
    pub(crate) timeline: Vec<Interval>,
    /// When the last delivery came.
    pub(crate) last_arrival: u64,
}

impl Record {
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            counts: Counts::default(),
            live: Latencies::default(),
            recovered: Latencies::default(),
            connects: Latencies::default(),
            returns: Latencies::default(),
            last: vec![0; window.publications],
            copies: vec![0; window.publications],
            excused: Vec::new(),
            timeline: Vec::new(),
            last_arrival: 0,
        }
    }

    /// Takes in an arrival of this run.
    pub(crate) fn arrive(&mut self, stamp: &Stamp, arrival: Arrival, way: Way, now: u64) {
        match arrival {
            Arrival::InOrder | Arrival::Optional { in_order: true } => {}
            Arrival::Reordered | Arrival::Optional { in_order: false } => self.counts.reordered += 1,
            Arrival::Doubled => {
                self.counts.doubled += 1;
                return;
            }
        }
        self.last_arrival = now;
        if way == Way::Slow {
            self.counts.slow += 1;
            return;
        }
        let late = now.saturating_sub(stamp.due);
        let timed = stamp.due >= self.window.timed_from;
        let index = self.window.index(stamp.channel, stamp.number);
        if let Some(copies) = self.copies.get_mut(index) {
            *copies += 1;
        }
        match way {
            Way::Live => {
                self.counts.live += 1;
                if let Some(last) = self.last.get_mut(index) {
                    *last = (*last).max(now);
                }
                if timed {
                    self.live.record(late);
                }
            }
            Way::Recovered => {
                self.counts.recovered += 1;
                if timed {
                    self.recovered.record(late);
                }
            }
            Way::Slow => {}
        }
        self.note(way, late, now);
    }

    /// A publication came to a subscription that all of the run are owed to.
    pub(crate) fn settle(&mut self, stamp: &Stamp, arrival: Arrival) {
        match arrival {
            Arrival::InOrder | Arrival::Reordered => self.counts.settled += 1,
            Arrival::Optional { .. } => {
                // It was settled when it was excused.
                if let Some(excused) = self.excused.get_mut(self.window.index(stamp.channel, stamp.number)) {
                    *excused = excused.saturating_sub(1);
                }
            }
            Arrival::Doubled => {}
        }
    }

    /// Such a subscription does without these of its channel.
    pub(crate) fn excuse(&mut self, channel: u32, numbers: Range<u32>) {
        if numbers.is_empty() {
            return;
        }
        self.counts.settled += numbers.len() as u64;
        self.excused.resize(self.window.publications, 0);
        for number in numbers {
            if let Some(excused) = self.excused.get_mut(self.window.index(channel, number)) {
                *excused += 1;
            }
        }
    }

    fn note(&mut self, way: Way, late: u64, now: u64) {
        let at = (now.saturating_sub(self.window.start) / self.window.interval()) as usize;
        if at > 2 * INTERVALS_MAX as usize {
            return;
        }
        if at >= self.timeline.len() {
            self.timeline.resize_with(at + 1, Interval::default);
        }
        let interval = &mut self.timeline[at];
        match way {
            Way::Live => {
                interval.live += 1;
                interval.latencies.record(late);
            }
            Way::Recovered => interval.recovered += 1,
            Way::Slow => {}
        }
    }

    /// Adds what another thread has seen of the same run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.live.add(&other.live);
        self.recovered.add(&other.recovered);
        self.connects.add(&other.connects);
        self.returns.add(&other.returns);
        for (ours, theirs) in self.last.iter_mut().zip(&other.last) {
            *ours = (*ours).max(*theirs);
        }
        for (ours, theirs) in self.copies.iter_mut().zip(&other.copies) {
            *ours += theirs;
        }
        self.excused.resize(self.excused.len().max(other.excused.len()), 0);
        for (ours, theirs) in self.excused.iter_mut().zip(&other.excused) {
            *ours += theirs;
        }
        self.last_arrival = self.last_arrival.max(other.last_arrival);
        let longer = self.timeline.len().max(other.timeline.len());
        self.timeline.resize_with(longer, Interval::default);
        for (ours, theirs) in self.timeline.iter_mut().zip(&other.timeline) {
            ours.live += theirs.live;
            ours.recovered += theirs.recovered;
            ours.latencies.add(&theirs.latencies);
        }
    }

    /// How late the last recipient of each publication had it, of those that came to so many at least.
    pub(crate) fn last_recipients(&self, due: impl Fn(usize) -> u64, recipients: impl Fn(usize) -> u32) -> Latencies {
        let mut latencies = Latencies::default();
        for (index, (last, copies)) in self.last.iter().zip(&self.copies).enumerate() {
            let due = due(index);
            if *last > 0 && due >= self.window.timed_from && *copies >= recipients(index) {
                latencies.record(last.saturating_sub(due));
            }
        }
        latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        run: 1,
        start: 0,
        timed_from: 1_000,
        end: 10_000_000_000,
        publications: 4,
        channels: 2,
        gap: 1e9,
        burst: 1,
    };

    fn stamp(channel: u32, number: u32, due: u64) -> Stamp {
        Stamp { run: 1, channel, number, due }
    }

    #[test]
    fn what_arrives_is_counted_once_and_by_its_way() {
        let mut record = Record::new(WINDOW);
        record.arrive(&stamp(0, 1, 2_000), Arrival::InOrder, Way::Live, 9_000);
        record.arrive(&stamp(0, 1, 2_000), Arrival::Doubled, Way::Live, 9_500);
        record.arrive(&stamp(1, 0, 2_000), Arrival::Reordered, Way::Recovered, 8_000);
        record.arrive(&stamp(1, 0, 500), Arrival::InOrder, Way::Live, 8_000);
        let counts = &record.counts;
        assert_eq!((counts.live, counts.recovered, counts.doubled, counts.reordered), (2, 1, 1, 1));
        assert_eq!((record.live.count(), record.recovered.count()), (1, 1));
        assert_eq!(record.copies, [0, 2, 1, 0]);
    }

    #[test]
    fn what_somebody_does_without_is_settled_once() {
        let mut record = Record::new(WINDOW);
        record.settle(&stamp(0, 0, 0), Arrival::InOrder);
        record.excuse(1, 0..2);
        assert_eq!((record.counts.settled, record.excused.as_slice()), (3, &[0, 1, 0, 1][..]));
        for arrival in [Arrival::Optional { in_order: false }, Arrival::Doubled] {
            record.settle(&stamp(1, 1, 0), arrival);
        }
        assert_eq!((record.counts.settled, record.excused.as_slice()), (3, &[0, 1, 0, 0][..]));
        let mut all = Record::new(WINDOW);
        all.add(&record);
        all.add(&record);
        assert_eq!((all.counts.settled, all.excused.as_slice()), (6, &[0, 2, 0, 0][..]));
    }

    #[test]
    fn publications_take_turns_over_the_channels() {
        let window = Window { publications: 5, ..WINDOW };
        assert_eq!([0, 1, 2].map(|channel| window.of_channel(channel)), [3, 2, 2]);
        assert_eq!(window.due(3), 3_000_000_000);
        assert_eq!([0, 1].map(|channel| window.next_of_channel(channel, 2_500_000_000)), [2, 1]);
        assert_eq!(window.next_of_channel(0, u64::MAX), 3);
    }

    /// Ten seconds with a publication in each, three at a time; of the last burst there is time for one.
    #[test]
    fn publications_of_a_burst_are_due_together_and_the_mean_rate_stays() {
        let window = Window { publications: 10, channels: 1, burst: 3, ..WINDOW };
        let due: Vec<u64> = (0..window.publications).map(|index| window.due(index) / 1_000_000_000).collect();
        assert_eq!(due, [0, 0, 0, 3, 3, 3, 6, 6, 6, 9]);
        assert_eq!(window.stamp(4).due, window.due(3));
        let next = [0, 1, 3_000_000_000, 3_000_000_001, 8_999_999_999, 9_000_000_001, u64::MAX];
        assert_eq!(next.map(|now| window.next_of_channel(0, now)), [0, 3, 3, 6, 9, 10, 10]);
    }

    #[test]
    fn a_burst_is_shared_by_the_channels_as_they_take_turns() {
        let window = Window { publications: 10, channels: 4, burst: 6, ..WINDOW };
        assert_eq!([0, 1, 2, 3].map(|channel| window.of_channel(channel)), [3, 3, 2, 2]);
        // Of the first six each channel has one, and the first two have another.
        assert_eq!([0, 1, 2, 3].map(|channel| window.next_of_channel(channel, 1)), [2, 2, 1, 1]);
        assert_eq!([window.due(window.index(1, 1)), window.due(window.index(2, 1))], [0, 6_000_000_000]);
    }

    #[test]
    fn the_last_recipient_of_all_threads_counts() {
        let mut one = Record::new(WINDOW);
        let mut two = Record::new(WINDOW);
        one.arrive(&stamp(0, 1, 2_000), Arrival::InOrder, Way::Live, 9_000);
        two.arrive(&stamp(0, 1, 2_000), Arrival::InOrder, Way::Live, 2_000_000);
        one.add(&two);
        let last = one.last_recipients(|_| 2_000, |_| 2);
        assert_eq!(last.count(), 1);
        assert!(last.at(50.0).abs_diff(1_998_000) < 2_000, "{}", last.at(50.0));
        assert_eq!(one.last_recipients(|_| 2_000, |_| 3).count(), 0);
    }
}
