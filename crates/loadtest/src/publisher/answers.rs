//! The thread that takes the answers to publications.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::os::fd::AsRawFd as _;

use super::dialect::Known;
use super::line::Waiting;
use super::{Job, Lines, Progress, State, States};
use crate::latency::Latencies;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// How often the thread looks whether all is done, and opens broken connections again.
const LOOK: Duration = Duration::from_millis(20);
/// A connection that broke is opened again after this many nanoseconds.
const REOPEN: u64 = 200_000_000;
/// Kinds of refusals that are told apart.
const REFUSALS_MAX: usize = 16;

/// What the answers said.
#[derive(Default)]
pub(crate) struct Answered {
    /// From when a publication was due until its answer.
    pub(crate) latencies: Latencies,
    /// How late those were written that had to wait for their connection.
    pub(crate) lateness: Latencies,
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Connections that broke.
    pub(crate) broken: u64,
    /// When the last answer came.
    pub(crate) last: u64,
}

/// Takes answers until all publications have one, or until the job's patience is over.
pub(super) fn take(job: &Job, lines: &Lines, states: &States, progress: &Progress) -> io::Result<Answered> {
    let poll = Poll::new()?;
    let mut taker = Taker { job, lines, states, progress, poll, answered: Answered::default(), buffers: Vec::new() };
    for at in 0..lines.len() {
        taker.buffers.push(Buffer::default());
        taker.watch(at)?;
    }
    let mut events = Events::with_capacity(256);
    let deadline = job.window.end.saturating_add(job.patience);
    loop {
        match taker.poll.poll(&mut events, Some(LOOK)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            taker.on_event(event.token().0);
        }
        taker.reopen_one();
        let open = (0..lines.len()).any(|at| lines.line(at).is_open());
        let given_up = job.clock.now() > deadline || progress.stop.load(Ordering::Relaxed);
        if progress.paced.load(Ordering::Acquire) && (!open || given_up) {
            return Ok(taker.answered);
        }
    }
}

/// What was read of a connection.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// When to open it again; 0 while it is open.
    reopen_at: u64,
}

struct Taker<'a> {
    job: &'a Job,
    lines: &'a Lines,
    states: &'a States,
    progress: &'a Progress,
    poll: Poll,
    answered: Answered,
    buffers: Vec<Buffer>,
}

impl Taker<'_> {
    fn watch(&mut self, at: usize) -> io::Result<()> {
        let mut line = self.lines.line(at);
        self.buffers[at].bytes = std::mem::take(&mut line.read);
        if let Some(stream) = &line.stream {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(at), interest)?;
        }
        Ok(())
    }

    fn on_event(&mut self, at: usize) {
        let mut chunk = [0; READ_BYTES];
        loop {
            let mut line = self.lines.line(at);
            line.flush();
            let Some(stream) = &mut line.stream else { return };
            let read = stream.read(&mut chunk);
            drop(line);
            match read {
                Ok(length @ 1..) => {
                    self.buffers[at].bytes.extend_from_slice(&chunk[..length]);
                    if self.hear(at).is_err() {
                        return self.broke(at);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return self.broke(at),
            }
        }
    }

    fn hear(&mut self, at: usize) -> io::Result<()> {
        let (mut taken, mut to_say) = (0, Vec::new());
        let bytes = std::mem::take(&mut self.buffers[at].bytes);
        while let Some(heard) = self.lines.dialect().hear(&bytes[taken..], &mut to_say)? {
            taken += heard.bytes;
            heard.known.into_iter().for_each(|known| self.answer(at, known));
            if heard.closes {
                self.lines.line(at).begin_one_by_one();
                self.open(at);
                return Ok(());
            }
            self.lines.line(at).one_by_one = false;
        }
        self.buffers[at].bytes = bytes[taken..].to_vec();
        if !to_say.is_empty() {
            self.lines.line(at).add(&to_say)?;
        }
        if taken > 0 {
            self.say_waiting(at, usize::MAX);
        }
        Ok(())
    }

    /// Opens a connection in place of one that is gone, or says when to try it again. Says the first publication that waits
    /// for it: its answer tells whether the others can follow.
    fn open(&mut self, at: usize) {
        self.buffers[at].reopen_at = self.job.clock.now() + REOPEN;
        let Ok(opened) = self.lines.open_one() else { return };
        self.lines.line(at).take_over(opened);
        // Without a place in the poll its answers would not be seen.
        if self.watch(at).is_err() {
            return;
        }
        self.buffers[at].reopen_at = 0;
        self.say_waiting(at, 1);
    }

    /// Writes publications that wait, in their order, so many at most and no more than the connection holds.
    fn say_waiting(&mut self, at: usize, most: usize) {
        let mut line = self.lines.line(at);
        let (mut payload, mut late) = (Vec::new(), Vec::new());
        for _ in 0..most {
            if line.is_full() {
                break;
            }
            let Some(Waiting { index, again }) = line.waiting.pop_front() else { break };
            let stamp = self.job.window.stamp(index);
            payload.clear();
            stamp.payload(self.job.payload_bytes, &mut payload);
            self.lines.say(&mut line, index, &self.job.channels.name(stamp.channel), &payload);
            // What is written again was on time before, and what the server costs it since then is in its latency.
            late.extend((!again).then(|| self.job.window.due(index)));
        }
        line.flush();
        let written = self.job.clock.now();
        for due in late.into_iter().filter(|due| *due >= self.job.window.timed_from) {
            self.answered.lateness.record(written.saturating_sub(due));
        }
    }

    fn answer(&mut self, at: usize, known: Known) {
        let Some(index) = self.lines.line(at).in_flight.pop_front() else { return };
        let (due, now) = (self.job.window.due(index), self.job.clock.now());
        self.answered.last = now;
        if due >= self.job.window.timed_from {
            self.answered.latencies.record(now.saturating_sub(due));
        }
        match known {
            Known::Acknowledged => self.states.set(index, State::Acknowledged),
            Known::Refused(why) => {
                self.states.set(index, State::Refused);
                let refusals = &mut self.answered.refusals;
                let told = refusals.len() < REFUSALS_MAX || refusals.contains_key(&why);
                *refusals.entry(if told { why } else { "something else".to_owned() }).or_default() += 1;
            }
        }
        self.progress.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn broke(&mut self, at: usize) {
        let mut line = self.lines.line(at);
        line.cut();
        self.progress.answered.fetch_add(line.take_unanswered(), Ordering::Relaxed);
        drop(line);
        self.answered.broken += 1;
        self.buffers[at] = Buffer { bytes: Vec::new(), reopen_at: self.job.clock.now() + REOPEN };
    }

    /// Opens one broken connection again, which takes its time, unless nothing more is published.
    fn reopen_one(&mut self) {
        let now = self.job.clock.now();
        let over = self.progress.paced.load(Ordering::Acquire) || self.progress.stop.load(Ordering::Relaxed);
        for at in 0..self.buffers.len() {
            if self.lines.line(at).stream.is_none() && self.buffers[at].reopen_at == 0 {
                // It broke while it was written to.
                self.broke(at);
            }
        }
        let due = |at: &usize| {
            let wanted = !over || !self.lines.line(*at).waiting.is_empty();
            wanted && self.buffers[*at].reopen_at != 0 && self.buffers[*at].reopen_at <= now
        };
        if let Some(at) = (0..self.buffers.len()).find(due) {
            self.open(at);
        }
    }
}
