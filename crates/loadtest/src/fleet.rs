//! All receiving threads together.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use mio::Waker;

use crate::loader::{self, Collected, Gauges, Order, Recipients, Setup};
use crate::plan::Plan;
use crate::record::Window;
use crate::usage::ThreadUse;

/// Orders that a thread has not looked at yet, at most. They are few, and each is looked at within a turn of the loop.
const ORDERS_MAX: usize = 16;

/// The threads that hold the connections.
pub(crate) struct Fleet {
    threads: Vec<Receiver>,
}

struct Receiver {
    orders: Option<SyncSender<Order>>,
    waker: Waker,
    gauges: Arc<Gauges>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// A loader ended before its time: its machine has no more descriptors for it, or a defect of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a receiving thread has ended before its time")]
pub(crate) struct Ended;

impl Fleet {
    pub(crate) fn start(plan: &Plan, setup: &Arc<Setup>) -> io::Result<Self> {
        let count = plan.threads.min(plan.connections);
        let threads = (0..count).map(|at| Receiver::start(plan, setup, share(plan.connections, at, count), at));
        Ok(Self { threads: threads.collect::<io::Result<_>>()? })
    }

    pub(crate) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Gives an order to every thread.
    pub(crate) fn order(&self, order: impl Fn() -> Order) -> Result<(), Ended> {
        self.threads.iter().try_for_each(|thread| thread.order(order()))
    }

    /// Begins a run in all threads; returns who expects its publications.
    pub(crate) fn begin(&self, window: Window) -> Result<Recipients, Ended> {
        let mut all = Recipients::of(window.channels);
        for recipients in self.ask(|reply| Order::Begin(window, reply))? {
            all.add(&recipients);
        }
        Ok(all)
    }

    pub(crate) fn collect(&self) -> Result<Vec<Collected>, Ended> {
        self.ask(Order::Collect)
    }

    fn ask<T>(&self, order: impl Fn(SyncSender<T>) -> Order) -> Result<Vec<T>, Ended> {
        let asked = self.threads.iter().map(|thread| {
            let (reply, answer) = sync_channel(1);
            thread.order(order(reply)).map(|()| answer)
        });
        let asked = asked.collect::<Result<Vec<_>, _>>()?;
        asked.into_iter().map(|answer| answer.recv().map_err(|_| Ended)).collect()
    }

    /// What each thread has had of the cores so far; `None` where the kernel does not say.
    pub(crate) fn usage(&self) -> Option<Vec<ThreadUse>> {
        let numbers = self.threads.iter().map(|thread| thread.gauges.thread.load(Ordering::Relaxed));
        // A thread that has not begun has no number, and has used nothing.
        numbers.map(|number| if number == 0 { Some(ThreadUse::default()) } else { ThreadUse::of(number) }).collect()
    }

    pub(crate) fn ready(&self) -> usize {
        self.threads.iter().map(|thread| thread.gauges.ready.load(Ordering::Relaxed)).sum()
    }

    /// Publications of any run since this one began.
    pub(crate) fn seen(&self) -> u64 {
        self.threads.iter().map(|thread| thread.gauges.seen.load(Ordering::Relaxed)).sum()
    }

    /// Publications that came to those who are owed them, or that they do without.
    pub(crate) fn settled(&self) -> u64 {
        self.threads.iter().map(|thread| thread.gauges.settled.load(Ordering::Relaxed)).sum()
    }
}

/// The connections of one of `count` threads.
fn share(connections: usize, at: usize, count: usize) -> Range<usize> {
    connections * at / count..connections * (at + 1) / count
}

impl Receiver {
    fn start(plan: &Plan, setup: &Arc<Setup>, connections: Range<usize>, at: usize) -> io::Result<Self> {
        let (orders, taken) = sync_channel(ORDERS_MAX);
        let (loader, waker) = loader::new(setup, connections, |number| plan.is_slow(number), taken)?;
        let gauges = loader.gauges();
        let thread = thread::Builder::new().name(format!("loader {at}")).spawn(move || loader.run())?;
        Ok(Self { orders: Some(orders), waker, gauges, thread: Some(thread) })
    }

    fn order(&self, order: Order) -> Result<(), Ended> {
        self.orders.as_ref().ok_or(Ended)?.send(order).map_err(|_| Ended)?;
        self.waker.wake().map_err(|_| Ended)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Without anybody to give orders the thread ends.
        self.orders = None;
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_all_connections() {
        let shares: Vec<_> = (0..3).map(|at| share(10, at, 3)).collect();
        assert_eq!(shares, [0..3, 3..6, 6..10]);
    }
}
