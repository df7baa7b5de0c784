//! A receiving thread: a readiness loop over many connections, without a task or an allocation for a message.
//!
//! The less a delivery costs here, the less of what is measured is the tester. So a wake-up is one read into a buffer that
//! all connections share, frames are looked at where they lie, and a publication is its stamp.

mod conversation;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::adapter::Adapter;
use crate::channels::Channels;
use crate::clock::Clock;
use crate::connection::{Connection, Phase};
use crate::record::{Counts, Record, Window};
use crate::stamp::Stamps;
use crate::tally::Tally;
use crate::target::Target;

/// Bytes that one read takes at most.
const READ_BYTES: usize = 256 << 10;
/// Reads of one connection before the others have their turn.
const READS_IN_A_ROW: usize = 16;
/// Events taken in one wake-up.
const EVENTS: usize = 1_024;
/// The longest sleep, so that progress is seen.
const SLEEP_MAX: Duration = Duration::from_millis(200);
/// A connect that failed is tried again after this, and after twice as long each time up to the other.
const RETRY_MIN: u64 = 50_000_000;
const RETRY_MAX: u64 = 2_000_000_000;

/// Nanoseconds from a connect until the subscriptions have to be live.
const OPEN_MAX: u64 = 10_000_000_000;

const WAKE: Token = Token(usize::MAX);

/// What all threads know.
pub(crate) struct Setup {
    pub(crate) adapter: Box<dyn Adapter>,
    pub(crate) channels: Channels,
    pub(crate) targets: Vec<Target>,
    pub(crate) clock: Clock,
    /// Connects under way at once in a thread.
    pub(crate) connecting_max: usize,
}

impl Setup {
    /// Where a connection goes after so many tries in vain: each time to the next one.
    fn target(&self, connection: usize, tries: u32) -> &Target {
        &self.targets[(connection + tries as usize) % self.targets.len()]
    }
}

/// How subscriptions come and go during a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Churn {
    /// In a thread.
    pub(crate) per_second: f64,
    /// Whole connections, or one subscription of each.
    pub(crate) reconnect: bool,
}

/// What a thread is told.
pub(crate) enum Order {
    /// Open what is away, so many a second, or as fast as it goes.
    Open { per_second: Option<f64> },
    /// A run begins: forget what was seen, and say who expects its publications.
    Begin(Window, SyncSender<Recipients>),
    /// Let subscriptions come and go, or stop it.
    Churn(Option<Churn>),
    /// Drop all connections; they stay away until they are opened.
    Cut,
    /// Slow readers stop to read, or go on.
    Stall(bool),
    /// Say what was seen.
    Collect(SyncSender<Collected>),
}

/// How many subscriptions have missed each publication, by its number among all of the run. Empty if nothing is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) ordinary: Vec<u32>,
    /// Of slow readers.
    pub(crate) slow: Vec<u32>,
}

impl Missing {
    /// Adds what another thread has not seen of the same run.
    pub(crate) fn add(&mut self, other: &Self) {
        for (ours, theirs) in [(&mut self.ordinary, &other.ordinary), (&mut self.slow, &other.slow)] {
            ours.resize(ours.len().max(theirs.len()), 0);
            ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours += theirs);
        }
    }
}

/// How many subscriptions of each channel expect all publications of a run: they were live before the first one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recipients {
    pub(crate) ordinary: Vec<u32>,
    /// Those of slow readers.
    pub(crate) slow: Vec<u32>,
}

impl Recipients {
    pub(crate) fn of(channels: u32) -> Self {
        Self { ordinary: vec![0; channels as usize], slow: vec![0; channels as usize] }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.ordinary.iter_mut().zip(&other.ordinary).for_each(|(ours, theirs)| *ours += theirs);
        self.slow.iter_mut().zip(&other.slow).for_each(|(ours, theirs)| *ours += theirs);
    }
}

/// What a thread has seen of a run.
pub(crate) struct Collected {
    pub(crate) record: Record,
    pub(crate) missing: Missing,
}

/// How far a thread is, for others to read.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) ready: AtomicUsize,
    /// Publications that came to those who are owed them, or that they do without.
    pub(crate) settled: AtomicU64,
    /// Publications of any run since this one began.
    pub(crate) seen: AtomicU64,
    /// The kernel's number of the thread.
    pub(crate) thread: AtomicU32,
}

/// A thread's loop.
pub(crate) struct Loader {
    setup: Arc<Setup>,
    gauges: Arc<Gauges>,
    orders: Receiver<Order>,
    poll: Poll,
    connections: Vec<Connection>,
    /// The number of the first connection: those of a thread follow one another.
    first: usize,
    record: Record,
    stamps: Stamps,
    /// Connections to open, each from a time on.
    to_open: VecDeque<(u64, usize)>,
    /// Connects to try again.
    retries: BinaryHeap<Reverse<(u64, usize)>>,
    /// When connects are given up, each with its connection and the number of its try.
    deadlines: VecDeque<(u64, usize, u64)>,
    opening: usize,
    ready: usize,
    churn: Option<Churn>,
    next_churn: (u64, usize),
    stalled: bool,
    /// Connections that had more to read than one turn takes.
    unread: VecDeque<usize>,
}

/// A thread's loop, and what wakes it.
pub(crate) fn new(
    setup: &Arc<Setup>,
    connections: Range<usize>,
    slow: impl Fn(usize) -> bool,
    orders: Receiver<Order>,
) -> io::Result<(Loader, Waker)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKE)?;
    let first = connections.start;
    let window = Window {
        run: 0,
        start: 0,
        timed_from: 0,
        end: 0,
        publications: 0,
        channels: setup.channels.count(),
        gap: 0.0,
        burst: 1,
    };
    let loader = Loader {
        connections: connections.map(|number| Connection::new(setup.channels.of(number), slow(number))).collect(),
        setup: Arc::clone(setup),
        gauges: Arc::default(),
        orders,
        poll,
        first,
        record: Record::new(window),
        stamps: Stamps::new(),
        to_open: VecDeque::new(),
        retries: BinaryHeap::new(),
        deadlines: VecDeque::new(),
        opening: 0,
        ready: 0,
        churn: None,
        next_churn: (0, 0),
        stalled: false,
        unread: VecDeque::new(),
    };
    Ok((loader, waker))
}

impl Loader {
    pub(crate) fn gauges(&self) -> Arc<Gauges> {
        Arc::clone(&self.gauges)
    }

    /// Runs until nobody can give orders any more.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.gauges.thread.store(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned(), Ordering::Relaxed);
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let timeout = self.sleep();
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if !self.take_orders() {
                return Ok(());
            }
            for event in events.iter().filter(|event| event.token() != WAKE) {
                self.on_event(event, &mut buffer);
            }
            for _ in 0..self.unread.len() {
                let Some(id) = self.unread.pop_front() else { break };
                // What told of an end may have been passed over while the connection was not read.
                self.read(id, true, &mut buffer);
            }
            self.give_up_due();
            self.open_due();
            self.churn_due();
            self.show();
        }
    }

    fn now(&self) -> u64 {
        self.setup.clock.now()
    }

    fn show(&self) {
        self.gauges.ready.store(self.ready, Ordering::Relaxed);
        self.gauges.seen.store(self.record.counts.seen(), Ordering::Relaxed);
        self.gauges.settled.store(self.record.counts.settled, Ordering::Relaxed);
    }

    fn sleep(&self) -> Duration {
        if !self.unread.is_empty() {
            return Duration::ZERO;
        }
        let room = self.opening < self.setup.connecting_max;
        let to_open = self.to_open.front().filter(|_| room).map(|(due, _)| *due);
        let retry = self.retries.peek().filter(|_| room).map(|Reverse((due, _))| *due);
        let deadline = self.deadlines.front().map(|(due, ..)| *due);
        let churn = self.churn.map(|_| self.next_churn.0);
        let Some(next) = [to_open, retry, churn, deadline].into_iter().flatten().min() else { return SLEEP_MAX };
        Duration::from_nanos(next.saturating_sub(self.now())).min(SLEEP_MAX)
    }

    /// `false` when nobody is there to give any.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.carry_out(order),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Open { per_second } => self.open_all(per_second),
            Order::Begin(window, reply) => drop(reply.send(self.begin(window))),
            Order::Churn(churn) => {
                self.churn = churn;
                self.next_churn.0 = self.now();
            }
            Order::Cut => self.cut(),
            Order::Stall(stalled) => self.stall(stalled),
            // Nobody waits for it when the run has been given up.
            Order::Collect(reply) => drop(reply.send(self.collect())),
        }
    }

    fn open_all(&mut self, per_second: Option<f64>) {
        let (now, gap) = (self.now(), per_second.map_or(0.0, |rate| 1e9 / rate));
        let away = self.connections.iter_mut().enumerate().filter(|(_, connection)| connection.phase == Phase::Away);
        for (place, (id, connection)) in away.enumerate() {
            let due = now + (place as f64 * gap) as u64;
            if per_second.is_some() || connection.returning {
                connection.due = due;
            }
            self.to_open.push_back((due, id));
        }
    }

    fn begin(&mut self, window: Window) -> Recipients {
        let before = std::mem::replace(&mut self.record, Record::new(window));
        // Who came once is there in every run.
        self.record.connects = before.connects;
        if before.window.run == 0 {
            // What happened while the connections came belongs to the first run.
            let Counts { failures, closes, slow_closes, closes_without_position, .. } = before.counts;
            self.record.counts = Counts { failures, closes, slow_closes, closes_without_position, ..Counts::default() };
        }
        let mut recipients = Recipients::of(window.channels);
        for connection in &mut self.connections {
            connection.counted = connection.phase == Phase::Ready;
            connection.churning = false;
            for subscription in &mut connection.subscriptions {
                subscription.tally = Tally::default();
                let of_kind = if connection.slow { &mut recipients.slow } else { &mut recipients.ordinary };
                of_kind[subscription.channel as usize] += u32::from(connection.counted);
            }
        }
        recipients
    }

    fn cut(&mut self) {
        let now = self.now();
        for id in 0..self.connections.len() {
            self.record.counts.cuts += u64::from(self.connections[id].phase == Phase::Ready);
            if self.connections[id].phase != Phase::Away {
                self.connections[id].due = now;
                self.part(id);
            }
        }
    }

    /// Ends a connection on purpose. Without a position nothing that comes meanwhile is expected.
    fn part(&mut self, id: usize) {
        self.drop_socket(id);
        for subscription in &mut self.connections[id].subscriptions {
            if subscription.position.is_none() {
                subscription.tally.part();
            }
        }
    }

    fn stall(&mut self, stalled: bool) {
        self.stalled = stalled;
        if !stalled {
            let slow = self.connections.iter().enumerate().filter(|(_, connection)| connection.slow);
            self.unread.extend(slow.map(|(id, _)| id));
        }
    }

    fn collect(&mut self) -> Collected {
        let window = self.record.window;
        let mut missing = Missing::default();
        for connection in self.connections.iter().filter(|connection| connection.counted) {
            for subscription in &connection.subscriptions {
                let channel = subscription.channel;
                let of_kind = if connection.slow { &mut missing.slow } else { &mut missing.ordinary };
                for number in subscription.tally.missing(window.of_channel(channel)) {
                    of_kind.resize(window.publications, 0);
                    of_kind[window.index(channel, number)] += 1;
                }
            }
        }
        let mut nothing = Record::new(Window { publications: 0, ..window });
        nothing.connects = self.record.connects.clone();
        Collected { record: std::mem::replace(&mut self.record, nothing), missing }
    }

    fn open_due(&mut self) {
        let now = self.now();
        while self.opening < self.setup.connecting_max {
            let retry = self.retries.peek().filter(|Reverse((due, _))| *due <= now).map(|Reverse((_, id))| *id);
            let next = match retry {
                Some(id) => {
                    self.retries.pop();
                    id
                }
                None => match self.to_open.front() {
                    Some((due, id)) if *due <= now => {
                        let id = *id;
                        self.to_open.pop_front();
                        id
                    }
                    _ => return,
                },
            };
            if self.connections[next].phase == Phase::Away {
                self.open(next);
            }
        }
    }

    fn open(&mut self, id: usize) {
        let number = self.first + id;
        let connection = &mut self.connections[id];
        if connection.due == 0 {
            connection.due = self.setup.clock.now();
        }
        let target = self.setup.target(number, connection.tries);
        if let Err(error) = connection.connect(target, number) {
            return self.fail(id, format!("connect: {}", error.kind()));
        }
        self.opening += 1;
        self.deadlines.push_back((self.setup.clock.now() + OPEN_MAX, id, self.connections[id].attempt));
        let Some(stream) = &mut self.connections[id].stream else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(stream, Token(id), interest) {
            self.fail(id, format!("register: {}", error.kind()));
        }
    }

    /// Gives up connects that the server has left without an answer.
    fn give_up_due(&mut self) {
        let now = self.now();
        while let Some((_, id, attempt)) = self.deadlines.front().copied().filter(|(due, ..)| *due <= now) {
            self.deadlines.pop_front();
            if self.connections[id].attempt == attempt && self.connections[id].phase.is_opening() {
                self.fail(id, format!("not ready within {} s", OPEN_MAX / 1_000_000_000));
            }
        }
    }

    /// A connection did not get ready: it is tried again.
    fn fail(&mut self, id: usize, why: String) {
        self.record.counts.fail(why);
        self.drop_socket(id);
        let tries = self.connections[id].tries.min(16);
        let wait = (RETRY_MIN << tries.saturating_sub(1)).min(RETRY_MAX);
        // Spread, so that they do not come back all at once.
        let spread = rand::random_range(0..wait / 2);
        self.retries.push(Reverse((self.now() + wait / 2 + spread, id)));
    }

    /// A connection that was ready is gone, and nobody here wanted it: it comes back at once.
    fn lose(&mut self, id: usize, code: u16) {
        let (now, counts, connection) = (self.setup.clock.now(), &mut self.record.counts, &mut self.connections[id]);
        *counts.closes.entry(code).or_default() += 1;
        if connection.slow {
            counts.slow_closes += 1;
        } else if connection.subscriptions.iter().any(|subscription| subscription.position.is_none()) {
            counts.closes_without_position += 1;
        }
        connection.due = now;
        self.drop_socket(id);
        self.retries.push(Reverse((now, id)));
    }

    fn drop_socket(&mut self, id: usize) {
        let connection = &mut self.connections[id];
        if connection.phase == Phase::Ready {
            self.ready -= 1;
            connection.tries = 0;
            connection.returning = true;
        } else if connection.phase.is_opening() {
            self.opening -= 1;
        }
        // Closing the socket takes it out of the poll.
        connection.disconnect();
    }

    fn churn_due(&mut self) {
        let Some(churn) = self.churn else { return };
        let now = self.now();
        // Each connection once at most: orders and what comes have their turn in between.
        for _ in 0..self.connections.len() {
            if self.next_churn.0 > now {
                return;
            }
            let id = self.next_churn.1 % self.connections.len();
            self.record.counts.goings_due += 1;
            self.next_churn = (self.next_churn.0 + (1e9 / churn.per_second) as u64, id + 1);
            if self.connections[id].phase == Phase::Ready && !self.connections[id].slow {
                self.come_and_go(id, churn.reconnect);
            }
        }
    }

    fn come_and_go(&mut self, id: usize, reconnect: bool) {
        if !reconnect && self.rejoin(id) {
            return;
        }
        self.connections[id].due = self.now();
        self.part(id);
        self.connections[id].churning = true;
        self.retries.push(Reverse((self.connections[id].due, id)));
    }

    fn rejoin(&mut self, id: usize) -> bool {
        let Self { connections, setup, first, .. } = self;
        let connection = &mut connections[id];
        let mut membership = connection.membership(*first + id, &setup.channels);
        let done = setup.adapter.rejoin(&mut membership, 0);
        if done {
            self.flush(id);
        }
        done
    }

    fn on_event(&mut self, event: &Event, buffer: &mut [u8]) {
        let id = event.token().0;
        let Some(connection) = self.connections.get(id) else { return };
        match connection.phase {
            Phase::Away => return,
            Phase::Connecting => match connection.connected() {
                Ok(true) => self.upgrade(id),
                Ok(false) => return,
                Err(error) => return self.fail(id, format!("connect: {}", error.kind())),
            },
            _ if event.is_writable() => self.flush(id),
            _ => {}
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(id, event.is_read_closed() || event.is_error(), buffer);
        }
    }

    fn flush(&mut self, id: usize) {
        if self.connections[id].flush().is_err() {
            self.ended(id, 0);
        }
    }

    /// The connection came to an end.
    fn ended(&mut self, id: usize, code: u16) {
        match self.connections[id].phase {
            Phase::Ready => self.lose(id, code),
            Phase::Away => {}
            _ if code == 0 => self.fail(id, "closed by the server".to_owned()),
            _ => self.fail(id, format!("closed by the server with {code}")),
        }
    }

    /// Reads what is there. A read that does not fill the buffer has emptied the socket, unless its end has come too.
    fn read(&mut self, id: usize, to_the_end: bool, buffer: &mut [u8]) {
        for _ in 0..READS_IN_A_ROW {
            if self.stalled && self.connections[id].slow && self.connections[id].phase == Phase::Ready {
                return;
            }
            match self.connections[id].read(buffer) {
                Ok(None) => return,
                Ok(Some(0)) => return self.ended(id, 0),
                Ok(Some(length)) => {
                    let now = self.now();
                    self.record.counts.reads += 1;
                    self.connections[id].acknowledge_later();
                    self.take_bytes(id, &buffer[..length], now);
                    if length < buffer.len() && !to_the_end {
                        return;
                    }
                }
                Err(_) => return self.ended(id, 0),
            }
            if self.connections[id].phase == Phase::Away {
                return;
            }
        }
        self.unread.push_back(id);
    }
}
