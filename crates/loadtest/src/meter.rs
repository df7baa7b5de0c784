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
    loaders: Option<Vec<ThreadUse>>,
    machine: Option<MachineUse>,
}

/// What was used, where it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) took: Duration,
    pub(crate) server: Option<Duration>,
    /// By all receiving threads.
    pub(crate) loaders: Option<Duration>,
    /// The share of the time that the thread that waited most for a core did so.
    pub(crate) waited: Option<f64>,
    /// The share of the machine's time that others on its host have taken.
    pub(crate) stolen: Option<f64>,
}

impl Reading {
    pub(crate) fn now(clock: Clock, processes: &Processes, fleet: &Fleet) -> Self {
        Self { at: clock.now(), server: processes.cpu(), loaders: fleet.usage(), machine: MachineUse::now() }
    }

    /// What was used from then until now.
    pub(crate) fn since(&self, before: &Self) -> Spent {
        let took = Duration::from_nanos(self.at.saturating_sub(before.at));
        let each = self.loaders.as_ref().zip(before.loaders.as_ref()).map(|(after, before)| -> Vec<ThreadUse> {
            after.iter().zip(before).map(|(after, before)| after.since(*before)).collect()
        });
        let share = |waited: Duration| waited.as_secs_f64() / took.as_secs_f64().max(1e-9);
        let longest = |each: &Vec<ThreadUse>| each.iter().map(|one| one.waited).max().unwrap_or_default();
        Spent {
            took,
            server: self.server.zip(before.server).map(|(after, before)| after.saturating_sub(before)),
            loaders: each.as_ref().map(|each| each.iter().map(|one| one.cpu).sum()),
            waited: each.as_ref().map(|each| share(longest(each))),
            stolen: self.machine.zip(before.machine).map(|(after, before)| after.stolen_since(before)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_waited_most_counts_and_cpu_is_summed() {
        let used = |cpu, waited| ThreadUse { cpu: Duration::from_millis(cpu), waited: Duration::from_millis(waited) };
        let reading = |at, loaders| Reading { at, server: None, loaders: Some(loaders), machine: None };
        let before = reading(0, vec![used(10, 10), used(0, 0)]);
        let spent = reading(1_000_000_000, vec![used(20, 60), used(30, 20)]).since(&before);
        assert_eq!((spent.took, spent.loaders), (Duration::from_secs(1), Some(Duration::from_millis(40))));
        assert!((spent.waited.unwrap() - 0.05).abs() < 1e-9);
        assert_eq!(spent.stolen, None);
    }
}
