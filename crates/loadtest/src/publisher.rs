//! The publisher: an open loop, which never waits for an answer before the next publication is due.
//!
//! One thread writes at the due times, another takes the answers. All publications of a channel go over one connection,
//! one behind the other without waiting (HTTP pipelining and its like), so that the server gets them in the order of
//! their numbers. What is on its way is bounded; at the bound a publication is not sent, and the run is not valid.

mod answers;
mod dialect;
mod http;
mod line;
mod redis;
mod websocket;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread;

use crate::channels::Channels;
use crate::clock::Clock;
use crate::latency::Latencies;
use crate::record::Window;

pub(crate) use answers::Answered;
pub(crate) use dialect::Dialect;
pub(crate) use http::Http;
pub use http::PusherKeys;
pub(crate) use line::{Lines, Queued};
pub(crate) use redis::Redis;
pub(crate) use websocket::{ClientPublish, PlainPublish};

/// Publications of one thread's turn before it looks at the clock again.
const TURN_MAX: usize = 256;

/// The longest sleep, in nanoseconds.
const SLEEP_MAX: u64 = 100_000_000;

/// Higher than others on the machine, where that is allowed: the publisher has to be on time.
const NICE: i32 = -10;

/// What has become of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// It was not sent: the bound was reached, or there was no connection.
    NotSent = 0,
    /// It was sent, and there is no answer.
    Sent = 1,
    /// The server has it.
    Acknowledged = 2,
    /// The server does not take it.
    Refused = 3,
}

/// The states of all publications of a run.
#[derive(Debug)]
pub(crate) struct States(Vec<AtomicU8>);

impl States {
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count).map(|_| AtomicU8::new(State::NotSent as u8)).collect())
    }

    fn set(&self, index: usize, state: State) {
        if let Some(kept) = self.0.get(index) {
            kept.store(state as u8, Ordering::Relaxed);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is(&self, index: usize, state: State) -> bool {
        self.0.get(index).is_some_and(|kept| kept.load(Ordering::Relaxed) == state as u8)
    }

    pub(crate) fn count(&self, state: State) -> u64 {
        (0..self.len()).filter(|index| self.is(*index, state)).count() as u64
    }
}

/// What is to be published.
pub(crate) struct Job {
    pub(crate) window: Window,
    pub(crate) channels: Channels,
    pub(crate) payload_bytes: usize,
    pub(crate) in_flight_max: u64,
    pub(crate) clock: Clock,
    /// Nanoseconds to wait for answers after the last publication was due.
    pub(crate) patience: u64,
}

/// What became of it.
pub(crate) struct Published {
    pub(crate) states: Arc<States>,
    /// How late each was written.
    pub(crate) lateness: Latencies,
    /// Publications that were due while the bound was reached.
    pub(crate) over_bound: u64,
    /// Publications that were due while their connection was broken.
    pub(crate) without_line: u64,
    pub(crate) answered: Answered,
}

/// How far the publisher is, for others to read.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) due: AtomicU64,
    pub(crate) answered: AtomicU64,
    /// All that was due is written.
    pub(crate) paced: AtomicBool,
    /// Set from outside: nothing more is published.
    pub(crate) stop: AtomicBool,
}

/// Publishes to the end of the schedule, and waits for the answers.
pub(crate) fn publish(job: &Job, lines: &Lines, progress: &Progress) -> io::Result<Published> {
    let states = Arc::new(States::new(job.window.publications));
    thread::scope(|scope| {
        let answers = thread::Builder::new().name("answers".to_owned());
        let answers = answers.spawn_scoped(scope, || answers::take(job, lines, &states, progress))?;
        let mut pace = Pace::new(job, lines, &states, progress);
        pace.run();
        progress.paced.store(true, Ordering::Release);
        let Pace { mut lateness, over_bound, without_line, .. } = pace;
        let answered = answers.join().map_err(|_| io::Error::other("the thread of answers ended with a panic"))??;
        lateness.add(&answered.lateness);
        Ok(Published { states: Arc::clone(&states), lateness, over_bound, without_line, answered })
    })
}

/// The thread that writes.
struct Pace<'a> {
    job: &'a Job,
    lines: &'a Lines,
    states: &'a States,
    progress: &'a Progress,
    names: Vec<String>,
    payload: Vec<u8>,
    /// When those were due that the next flush writes.
    unwritten: Vec<u64>,
    sent: u64,
    lateness: Latencies,
    over_bound: u64,
    without_line: u64,
}

impl<'a> Pace<'a> {
    fn new(job: &'a Job, lines: &'a Lines, states: &'a States, progress: &'a Progress) -> Self {
        let names = (0..job.channels.count()).map(|channel| job.channels.name(channel)).collect();
        Self {
            job,
            lines,
            states,
            progress,
            names,
            payload: Vec::new(),
            unwritten: Vec::with_capacity(TURN_MAX),
            sent: 0,
            lateness: Latencies::default(),
            over_bound: 0,
            without_line: 0,
        }
    }

    fn run(&mut self) {
        be_punctual();
        let mut next = 0;
        while next < self.job.window.publications && !self.progress.stop.load(Ordering::Relaxed) {
            // In slices, so that it ends soon when it is told to.
            self.job.clock.sleep_until(self.job.window.due(next).min(self.job.clock.now() + SLEEP_MAX));
            next = self.turn(next);
            self.progress.due.store(next as u64, Ordering::Relaxed);
        }
        be_ordinary();
    }

    /// Writes what is due by now, each connection once; returns what comes next.
    fn turn(&mut self, first: usize) -> usize {
        let now = self.job.clock.now();
        let end = self.job.window.publications.min(first + TURN_MAX);
        let mut next = first;
        while next < end && self.job.window.due(next) <= now {
            self.enqueue(next);
            next += 1;
        }
        self.lines.flush();
        let written = self.job.clock.now();
        for due in self.unwritten.drain(..).filter(|due| *due >= self.job.window.timed_from) {
            self.lateness.record(written.saturating_sub(due));
        }
        next
    }

    fn enqueue(&mut self, index: usize) {
        let stamp = self.job.window.stamp(index);
        if self.sent.saturating_sub(self.progress.answered.load(Ordering::Relaxed)) >= self.job.in_flight_max {
            self.over_bound += 1;
            return;
        }
        self.payload.clear();
        stamp.payload(self.job.payload_bytes, &mut self.payload);
        let channel = self.names.get(stamp.channel as usize).map_or("", String::as_str);
        // Before it is written: the answer may be here at once.
        self.states.set(index, State::Sent);
        match self.lines.enqueue(stamp.channel, index, channel, &self.payload) {
            Queued::Done => {
                self.unwritten.push(stamp.due);
                self.count_sent(index);
            }
            Queued::Waits => self.count_sent(index),
            Queued::Full => {
                self.states.set(index, State::NotSent);
                self.over_bound += 1;
            }
            Queued::Broken => {
                self.states.set(index, State::NotSent);
                self.without_line += 1;
            }
        }
    }

    fn count_sent(&mut self, index: usize) {
        if self.lines.dialect().answers() {
            self.sent += 1;
        } else {
            self.states.set(index, State::Acknowledged);
        }
    }
}

/// Asks for a core before others, and for exact sleeps. Where that is not allowed, the run's validity tells.
fn be_punctual() {
    let _ = rustix::process::setpriority_process(None, NICE);
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

fn be_ordinary() {
    let _ = rustix::process::setpriority_process(None, 0);
    let _ = rustix::thread::set_current_timer_slack(None);
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    /// A server API that takes its time for each request, and ends each connection behind so many answers: what comes after
    /// that it does not look at.
    fn api(answers: usize, time: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || listener.incoming().for_each(|client| serve(client.unwrap(), answers, time)));
        address
    }

    fn serve(mut client: TcpStream, answers: usize, time: Duration) {
        let (mut bytes, mut chunk) = (Vec::new(), [0; 4_096]);
        let mut left = answers;
        while let Ok(length @ 1..) = client.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..length]);
            while let Some(end) = memchr::memmem::find(&bytes, b"}}").filter(|_| left > 0) {
                bytes.drain(..end + 2);
                left -= 1;
                thread::sleep(time);
                let closes = if left == 0 { "Connection: close\r\n" } else { "" };
                client
                    .write_all(format!("HTTP/1.1 200 OK\r\n{closes}Content-Length: 2\r\n\r\n{{}}").as_bytes())
                    .unwrap();
            }
        }
    }

    /// A publication every two milliseconds over one connection, with patience for ten seconds.
    fn published(api: SocketAddr) -> Published {
        let clock = Clock::new();
        let start = clock.now() + 10_000_000;
        let window = Window {
            run: 1,
            start,
            timed_from: start,
            end: start + 400_000_000,
            publications: 200,
            channels: 1,
            gap: 2_000_000.0,
            burst: 1,
        };
        let channels = Channels::new("bench", 1, 1);
        let job = Job { window, channels, payload_bytes: 128, in_flight_max: 10_000, clock, patience: 10_000_000_000 };
        let dialect = Http::Api { host: api.to_string(), path: "/api/publish".to_owned(), key: None };
        let lines = Lines::open(api.to_string().parse().unwrap(), Box::new(dialect), 1).unwrap();
        publish(&job, &lines, &Progress::default()).unwrap()
    }

    #[test]
    fn defect_after_one_answer_that_ended_its_connection_all_that_came_later_waited_for_ever() {
        let published = published(api(20, Duration::from_millis(3)));
        assert_eq!(published.states.count(State::Acknowledged), 200);
        assert_eq!(published.lateness.count(), 200);
    }

    #[test]
    fn defect_connections_that_broke_were_counted_for_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // The first is cut in the middle of an answer, and the others answer.
        thread::spawn(move || {
            let (mut first, _) = listener.accept().unwrap();
            let mut chunk = [0; 4_096];
            assert!(first.read(&mut chunk).unwrap() > 0);
            first.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
            drop(first);
            listener.incoming().for_each(|client| serve(client.unwrap(), usize::MAX, Duration::ZERO));
        });
        let published = published(address);
        assert_eq!(published.answered.broken, 1);
        assert!(published.states.count(State::Acknowledged) > 0 && published.without_line > 0);
    }

    #[test]
    fn defect_who_waited_for_a_connection_of_its_own_was_not_late() {
        let published = published(api(1, Duration::from_millis(5)));
        assert_eq!(published.states.count(State::Acknowledged), 200);
        // A server of 5 ms takes 200 in a second, and asked for were 500: the last ones are late by more than half of one.
        assert!(published.lateness.at(99.0) > 400_000_000, "{}", published.lateness.at(99.0));
    }
}
