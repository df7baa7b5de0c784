//! What processes, threads and the machine have used, from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

/// Bytes of a page and clock ticks a second, as Linux has them on the machines that are measured on.
const PAGE_BYTES: u64 = 4_096;
const TICKS_PER_SECOND: u32 = 100;
/// By this much ticks may be ahead of the scheduler's time by being coarse.
const TICKS_TOO_MANY: Duration = Duration::from_millis(200);

/// What a thread has had of the cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ThreadUse {
    /// On a core.
    pub(crate) cpu: Duration,
    /// Ready to run, and waiting for one.
    pub(crate) waited: Duration,
}

impl ThreadUse {
    /// Of a thread of this process that runs; `None` where the kernel does not say.
    pub(crate) fn of(thread: u32) -> Option<Self> {
        Self::read(&format!("/proc/self/task/{thread}/schedstat"))
    }

    fn read(path: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?)
    }

    /// Nanoseconds on a core and of waiting for one, and how often it got one. A kernel that does not count writes zeros.
    fn parse(schedstat: &str) -> Option<Self> {
        let mut numbers = schedstat.split_whitespace().map_while(|number| number.parse().ok());
        let [cpu, waited, turns] = [numbers.next()?, numbers.next()?, numbers.next()?];
        (turns > 0).then(|| Self { cpu: Duration::from_nanos(cpu), waited: Duration::from_nanos(waited) })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(before.cpu), waited: self.waited.saturating_sub(before.waited) }
    }
}

/// A process to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    id: u32,
}

impl Process {
    /// The process with this id.
    pub fn of(id: u32) -> Self {
        Self { id }
    }

    /// Its id.
    pub fn id(self) -> u32 {
        self.id
    }

    /// Resident memory.
    ///
    /// # Errors
    /// The process has ended, or is not ours to look at.
    pub fn resident_bytes(self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.id))?;
        let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        Ok(pages.ok_or(io::ErrorKind::InvalidData)? * PAGE_BYTES)
    }

    /// CPU time used so far, user and system. Read from the scheduler, in nanoseconds, summed over its threads; the coarser
    /// ticks where that is not to be had, or where threads have ended, whose time is in the ticks alone.
    ///
    /// # Errors
    /// The process has ended, or is not ours to look at.
    pub fn cpu(self) -> io::Result<Duration> {
        let mut sum = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{}/task", self.id))? {
            // A thread that has just ended is left out.
            let path = thread?.path().join("schedstat");
            sum += ThreadUse::read(&path.to_string_lossy()).unwrap_or_default().cpu;
        }
        // The last tick may be counted there and not be over: it is no reason to prefer the ticks.
        let ticks = self.cpu_ticks()?;
        Ok(if ticks > sum + TICKS_TOO_MANY { ticks } else { sum })
    }

    fn cpu_ticks(self) -> io::Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.id))?;
        // The name in brackets may hold spaces: the numbers come after it.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u32>().ok()).unwrap_or(0);
        Ok(Duration::from_secs(1) * (ticks(11) + ticks(12)) / TICKS_PER_SECOND)
    }
}

/// The processes of a server, summed up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes(pub(crate) Vec<Process>);

impl Processes {
    /// `None` without any, or when one cannot be looked at.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        self.sum(Process::cpu)
    }

    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        self.sum(Process::resident_bytes)
    }

    fn sum<T: std::iter::Sum>(&self, read: fn(Process) -> io::Result<T>) -> Option<T> {
        let read = self.0.iter().map(|process| read(*process).ok());
        if self.0.is_empty() { None } else { read.sum() }
    }
}

/// CPU time of the whole machine, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MachineUse {
    pub(crate) all: u64,
    /// Taken by other machines on the same host.
    pub(crate) stolen: u64,
}

impl MachineUse {
    /// `None` where the kernel does not say.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?;
        let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|ticks| ticks.parse().ok()).collect();
        // Guests' time, the ninth and tenth, is in the first two already.
        let (all, stolen) = (ticks.iter().take(8).sum(), *ticks.get(7)?);
        (all > 0).then_some(Self { all, stolen })
    }

    /// The share of all time that was stolen since then, from 0 to 1.
    pub(crate) fn stolen_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        if all == 0 { 0.0 } else { self.stolen.saturating_sub(before.stolen) as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time() {
        let us = Process::of(std::process::id());
        assert!(us.resident_bytes().unwrap() > 100_000);
        let thread = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let used = || ThreadUse::of(thread).unwrap();
        let before = (us.cpu().unwrap(), used());
        while used().since(before.1).cpu < Duration::from_millis(2) {}
        // Threads of other tests that end take their time with them, and ours makes up for it.
        while us.cpu().unwrap() < before.0 + Duration::from_millis(2) {}
    }

    #[test]
    fn stolen_time_is_a_share_of_all() {
        let before = MachineUse::parse("cpu  100 0 100 700 0 0 0 10 50 50\ncpu0 1 2 3\n").unwrap();
        assert_eq!(before, MachineUse { all: 910, stolen: 10 });
        let after = MachineUse { all: 1_010, stolen: 15 };
        assert!((after.stolen_since(before) - 0.05).abs() < 1e-9);
        assert!(before.stolen_since(before).abs() < 1e-9);
    }

    #[test]
    fn defect_what_the_kernel_does_not_count_was_nothing() {
        let used = ThreadUse { cpu: Duration::from_nanos(20), waited: Duration::from_nanos(30) };
        assert_eq!(ThreadUse::parse("20 30 1\n"), Some(used));
        assert_eq!(["0 0 0\n", "20 30\n", ""].map(ThreadUse::parse), [None; 3]);
        assert_eq!(["cpu  0 0 0 0 0 0 0 0 0 0\n", "cpu  1 2 3 4\n", ""].map(MachineUse::parse), [None; 3]);
    }
}
