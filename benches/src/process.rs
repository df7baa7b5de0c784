//! Memory and CPU time of a process, from `/proc`.

use std::io;
use std::time::Duration;

/// Bytes of a page and clock ticks a second, as Linux has them on the machines that we measure on.
const PAGE_BYTES: u64 = 4_096;
const TICKS_PER_SECOND: u32 = 100;

/// A process to look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    id: u32,
}

impl Process {
    pub(crate) fn of(id: u32) -> Self {
        Self { id }
    }

    /// Resident memory.
    pub(crate) fn resident_bytes(self) -> io::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.id))?;
        let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        Ok(pages.ok_or(io::ErrorKind::InvalidData)? * PAGE_BYTES)
    }

    /// CPU time used so far, user and system. Read from the scheduler, in nanoseconds, summed over its threads;
    /// the coarser ticks where that is not to be had.
    pub(crate) fn cpu(self) -> io::Result<Duration> {
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.id))? {
            let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else { return self.cpu_ticks() };
            nanoseconds += text.split_whitespace().next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
        }
        if nanoseconds == 0 { self.cpu_ticks() } else { Ok(Duration::from_nanos(nanoseconds)) }
    }

    fn cpu_ticks(self) -> io::Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.id))?;
        // The name in brackets may hold spaces: the numbers come after it.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u32>().ok()).unwrap_or(0);
        Ok(Duration::from_secs(1) * (ticks(11) + ticks(12)) / TICKS_PER_SECOND)
    }
}
