//! The timing wheel: all deadlines of a shard in one structure.
//!
//! A session has many deadlines but one timer, armed for the nearest. A timer that was overtaken by a nearer
//! one stays in its bucket and is ignored when it fires: the session compares it with the tick it is armed for.
//! A timer costs 12 bytes and no allocation of its own.

use crate::limits::{WHEEL_BUCKETS, WHEEL_TICK_MILLIS};
use crate::slots::SlotId;

/// A moment in ticks of 64 ms since the shard began; 0 is "never".
pub(crate) type Tick = u32;

/// The tick in which a moment falls, rounded up: a deadline never fires early.
pub(crate) fn tick_at(millis: u64) -> Tick {
    u32::try_from(millis.div_ceil(WHEEL_TICK_MILLIS)).unwrap_or(Tick::MAX).max(1)
}

/// A timer of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) slot: SlotId,
    pub(crate) at: Tick,
}

/// Timers by the tick they fire in.
#[derive(Debug)]
pub(crate) struct Wheel {
    buckets: Vec<Vec<Timer>>,
    now: Tick,
    timers: usize,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![Vec::new(); WHEEL_BUCKETS], now: 0, timers: 0 }
    }

    /// Adds a timer; one in the past fires at the next tick. Returns the tick it is armed for.
    pub(crate) fn arm(&mut self, slot: SlotId, at: Tick) -> Tick {
        let at = at.max(self.now + 1);
        self.buckets[at as usize % WHEEL_BUCKETS].push(Timer { slot, at });
        self.timers += 1;
        at
    }

    /// Moves on to `now` and hands out the timers that are due.
    pub(crate) fn advance(&mut self, now: Tick, due: &mut Vec<Timer>) {
        if now <= self.now {
            return;
        }
        let passed = ((now - self.now) as usize).min(WHEEL_BUCKETS) as u32;
        for step in (0..passed).rev() {
            let bucket = &mut self.buckets[(now - step) as usize % WHEEL_BUCKETS];
            let before = due.len();
            bucket.retain(|timer| {
                if timer.at <= now {
                    due.push(*timer);
                }
                timer.at > now
            });
            self.timers -= due.len() - before;
        }
        self.now = now;
    }

    /// Ticks until the next bucket that has timers, at most `max`.
    pub(crate) fn idle_ticks(&self, max: u32) -> u32 {
        if self.timers == 0 {
            return max;
        }
        let occupied = |ahead: &u32| !self.buckets[(self.now + ahead) as usize % WHEEL_BUCKETS].is_empty();
        (1..max).find(occupied).unwrap_or(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(index: u32) -> SlotId {
        SlotId { index, generation: 0 }
    }

    fn fired(wheel: &mut Wheel, now: Tick) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.advance(now, &mut due);
        due.iter().map(|timer| timer.slot.index).collect()
    }

    #[test]
    fn fires_each_timer_once_and_never_early() {
        let mut wheel = Wheel::new();
        wheel.arm(slot(1), 5);
        wheel.arm(slot(2), 3);
        assert!(fired(&mut wheel, 2).is_empty());
        assert_eq!(fired(&mut wheel, 3), [2]);
        assert_eq!(fired(&mut wheel, 9), [1]);
        assert!(fired(&mut wheel, 2_000).is_empty());
    }

    #[test]
    fn a_timer_beyond_one_turn_waits_for_its_own() {
        let mut wheel = Wheel::new();
        wheel.arm(slot(1), 5 + WHEEL_BUCKETS as u32);
        assert!(fired(&mut wheel, 6).is_empty());
        assert_eq!(fired(&mut wheel, 5 + WHEEL_BUCKETS as u32), [1]);
    }

    #[test]
    fn a_jump_over_many_turns_fires_everything() {
        let mut wheel = Wheel::new();
        for at in 1..1_500 {
            wheel.arm(slot(at), at);
        }
        assert_eq!(fired(&mut wheel, 10_000).len(), 1_499);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let mut wheel = Wheel::new();
        assert!(fired(&mut wheel, 7).is_empty());
        assert_eq!(wheel.arm(slot(1), 2), 8);
        assert_eq!(wheel.idle_ticks(100), 1);
        assert_eq!(fired(&mut wheel, 8), [1]);
        assert_eq!(wheel.idle_ticks(100), 100);
    }

    #[test]
    fn moments_round_up_and_are_never_zero() {
        assert_eq!(tick_at(0), 1);
        assert_eq!(tick_at(64), 1);
        assert_eq!(tick_at(65), 2);
    }
}
