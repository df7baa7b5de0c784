//! When a backend is left alone. A plain structure: the time is passed in.
//!
//! Closed, it lets everything through. [`BREAKER_RUN`] failures one after another, or [`BREAKER_FAILURES`] among the
//! last [`BREAKER_WINDOW`], open it: nothing gets through for a pause. Then it is half open: one question tries. Its
//! answer closes the breaker, its failure begins a pause twice as long.
//!
//! A failure is that there was no connection, no answer in time, or 502, 503 or 504. Another status and an answer that
//! cannot be used are none: a client may have caused it, and must not cut the others off.

use std::time::{Duration, Instant};

use crate::limits::{BREAKER_FAILURES, BREAKER_PAUSE_MAX, BREAKER_PAUSE_MIN, BREAKER_RUN, BREAKER_WINDOW};

/// How a breaker stands; the number is what the metric shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Closed = 0,
    HalfOpen = 1,
    Open = 2,
}

/// How a question that got through ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The backend answered, however.
    Answered,
    /// It did not.
    Failed,
    /// Nobody waited for it any more: this says nothing.
    GivenUp,
}

/// As what a question got through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As all do while it is closed.
    Usual,
    /// As the one that tries.
    Trial,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    /// The last questions, the newest in the lowest bit; 1 is a failure.
    failures: u32,
    pause: Duration,
    open_until: Option<Instant>,
    is_trying: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 0, pause: BREAKER_PAUSE_MIN, open_until: None, is_trying: false }
    }
}

impl Breaker {
    pub(crate) fn state(&self, now: Instant) -> State {
        match self.open_until {
            None => State::Closed,
            Some(until) if now < until => State::Open,
            Some(_) => State::HalfOpen,
        }
    }

    /// Whether a question gets through. If it does, [`Self::end`] has to be told how it ended.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<Admission> {
        match self.state(now) {
            State::Closed => Some(Admission::Usual),
            State::Open => None,
            State::HalfOpen => (!std::mem::replace(&mut self.is_trying, true)).then_some(Admission::Trial),
        }
    }

    /// Takes in how a question ended. Those that were under way when it opened say nothing: they are of before.
    pub(crate) fn end(&mut self, admission: Admission, ended: Ended, now: Instant) {
        match (admission, ended) {
            (Admission::Usual, _) if self.open_until.is_some() => {}
            (Admission::Usual, _) => self.count(ended, now),
            (Admission::Trial, Ended::Answered) => *self = Self::default(),
            (Admission::Trial, Ended::Failed) => {
                self.is_trying = false;
                self.pause = (self.pause * 2).min(BREAKER_PAUSE_MAX);
                self.open_until = Some(now + self.pause);
            }
            (Admission::Trial, Ended::GivenUp) => self.is_trying = false,
        }
    }

    fn count(&mut self, ended: Ended, now: Instant) {
        if ended == Ended::GivenUp {
            return;
        }
        self.failures = (self.failures << 1) | u32::from(ended == Ended::Failed);
        let run = (1 << BREAKER_RUN) - 1;
        let window = self.failures & ((1 << BREAKER_WINDOW) - 1);
        if self.failures & run == run || window.count_ones() >= BREAKER_FAILURES {
            self.open_until = Some(now + self.pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(breaker: &mut Breaker, now: Instant) {
        let admission = breaker.admit(now).unwrap();
        breaker.end(admission, Ended::Failed, now);
    }

    fn answered(breaker: &mut Breaker, now: Instant) {
        let admission = breaker.admit(now).unwrap();
        breaker.end(admission, Ended::Answered, now);
    }

    fn open(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        (0..BREAKER_RUN).for_each(|_| failed(&mut breaker, now));
        assert_eq!(breaker.state(now), State::Open);
        breaker
    }

    #[test]
    fn failures_one_after_another_open_it_and_one_answer_closes_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        (1..BREAKER_RUN).for_each(|_| failed(&mut breaker, now));
        answered(&mut breaker, now);
        (1..BREAKER_RUN).for_each(|_| failed(&mut breaker, now));
        assert_eq!(breaker.state(now), State::Closed);
        failed(&mut breaker, now);
        assert_eq!(breaker.admit(now + BREAKER_PAUSE_MIN - Duration::from_millis(1)), None);
        let later = now + BREAKER_PAUSE_MIN;
        assert_eq!(breaker.state(later), State::HalfOpen);
        assert_eq!(breaker.admit(later), Some(Admission::Trial));
        assert_eq!(breaker.admit(later), None, "one tries");
        breaker.end(Admission::Trial, Ended::Answered, later);
        assert_eq!(breaker.state(later), State::Closed);
        (1..BREAKER_RUN).for_each(|_| failed(&mut breaker, later));
        assert_eq!(breaker.state(later), State::Closed, "it begins anew");
    }

    #[test]
    fn many_failures_among_answers_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 1..BREAKER_FAILURES {
            failed(&mut breaker, now);
            answered(&mut breaker, now);
        }
        assert_eq!(breaker.state(now), State::Closed);
        failed(&mut breaker, now);
        assert_eq!(breaker.state(now), State::Open);
    }

    #[test]
    fn each_failed_try_doubles_the_pause() {
        let mut now = Instant::now();
        let mut breaker = open(now);
        let mut pause = BREAKER_PAUSE_MIN;
        for _ in 0..8 {
            now += pause;
            failed(&mut breaker, now);
            pause = (pause * 2).min(BREAKER_PAUSE_MAX);
            assert_eq!(breaker.admit(now + pause - Duration::from_millis(1)), None);
        }
        assert_eq!(pause, BREAKER_PAUSE_MAX);
    }

    #[test]
    fn a_try_that_is_given_up_leaves_the_next_one_to_try() {
        let now = Instant::now();
        let mut breaker = open(now);
        let later = now + BREAKER_PAUSE_MIN;
        assert_eq!(breaker.admit(later), Some(Admission::Trial));
        breaker.end(Admission::Trial, Ended::GivenUp, later);
        assert_eq!(breaker.state(later), State::HalfOpen);
        assert_eq!(breaker.admit(later), Some(Admission::Trial));
    }

    #[test]
    fn what_was_under_way_when_it_opened_changes_nothing() {
        let now = Instant::now();
        let mut breaker = open(now);
        breaker.end(Admission::Usual, Ended::Answered, now);
        assert_eq!(breaker.state(now), State::Open);
        let later = now + BREAKER_PAUSE_MIN;
        assert_eq!(breaker.admit(later), Some(Admission::Trial));
        breaker.end(Admission::Usual, Ended::Failed, later);
        breaker.end(Admission::Usual, Ended::Answered, later);
        assert_eq!(breaker.admit(later), None, "the one that tries is still under way");
    }
}
