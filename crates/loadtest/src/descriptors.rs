//! File descriptors: each connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::plan::Plan;

/// For everything but connections and threads.
const OTHERS: usize = 64;

/// For a receiving thread: its poll and its waker.
const EACH_THREAD: usize = 2;

/// Descriptors that a plan needs and this process cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) needed: usize,
    pub(crate) allowed: usize,
}

/// Raises what the process may have as far as that goes, and looks whether it is enough.
pub(crate) fn provide(plan: &Plan) -> Result<(), Short> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let allowed = if raised { maximum } else { current };
    enough(plan, allowed.map_or(usize::MAX, |allowed| usize::try_from(allowed).unwrap_or(usize::MAX)))
}

fn enough(plan: &Plan, allowed: usize) -> Result<(), Short> {
    let needed = plan.connections + plan.publishers + plan.threads * EACH_THREAD + OTHERS;
    if needed <= allowed { Ok(()) } else { Err(Short { needed, allowed }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Protocol, Scenario};

    #[test]
    fn more_connections_than_descriptors_are_refused_before_the_first() {
        let mut plan = Plan::new(Scenario::Fanout, Protocol::Fanfare, Vec::new());
        (plan.connections, plan.publishers, plan.threads) = (1_000, 8, 3);
        assert_eq!(enough(&plan, 1_078), Ok(()));
        assert_eq!(enough(&plan, 1_077), Err(Short { needed: 1_078, allowed: 1_077 }));
    }
}
