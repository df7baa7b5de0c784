//! What server, tester and machine have used between two readings.

use std::time::Duration;

use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::usage::{MachineUse, Processes, ThreadUse};

/// A reading.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    at: u64,
    server: Option<Duration>,
    loaders: Vec<ThreadUse>,
    machine: MachineUse,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) took: Duration,
    pub(crate) server: Option<Duration>,
    /// By all receiving threads.
    pub(crate) loaders: Duration,
    /// The share of the time that the thread that waited most for a core did so.
    pub(crate) waited: f64,
    /// The share of the machine's time that others on its host have taken.
    pub(crate) stolen: f64,
}

impl Reading {
    pub(crate) fn now(clock: Clock, processes: &Processes, fleet: &Fleet) -> Self {
        Self { at: clock.now(), server: processes.cpu(), loaders: fleet.usage(), machine: MachineUse::now() }
    }

    /// What was used from then until now.
    pub(crate) fn since(&self, before: &Self) -> Spent {
        let took = Duration::from_nanos(self.at.saturating_sub(before.at));
        let each = || self.loaders.iter().zip(&before.loaders).map(|(after, before)| after.since(*before));
        let waited = each().map(|one| one.waited).max().unwrap_or_default();
        Spent {
            took,
            server: self.server.zip(before.server).map(|(after, before)| after.saturating_sub(before)),
            loaders: each().map(|one| one.cpu).sum(),
            waited: waited.as_secs_f64() / took.as_secs_f64().max(1e-9),
            stolen: self.machine.stolen_since(before.machine),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_waited_most_counts_and_cpu_is_summed() {
        let used = |cpu, waited| ThreadUse { cpu: Duration::from_millis(cpu), waited: Duration::from_millis(waited) };
        let reading = |at, loaders| Reading { at, server: None, loaders, machine: MachineUse::default() };
        let before = reading(0, vec![used(10, 10), used(0, 0)]);
        let spent = reading(1_000_000_000, vec![used(20, 60), used(30, 20)]).since(&before);
        assert_eq!((spent.took, spent.loaders), (Duration::from_secs(1), Duration::from_millis(40)));
        assert!((spent.waited - 0.05).abs() < 1e-9);
    }
}
