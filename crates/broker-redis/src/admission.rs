//! The bound on what is sent and not answered, in commands and in bytes. Nobody waits for it: over it a command is
//! refused at once.

use std::sync::Arc;

use fanfare_broker::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Counters;
use crate::options::Options;

/// What is in flight.
#[derive(Clone)]
pub(crate) struct Admission {
    commands: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
    counters: Arc<Counters>,
}

/// A command's place, given back when it is dropped.
pub(crate) struct Place {
    _command: OwnedSemaphorePermit,
    _bytes: Option<OwnedSemaphorePermit>,
    counters: Arc<Counters>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counters.in_flight.dec();
    }
}

impl Admission {
    pub(crate) fn new(options: &Options, counters: Arc<Counters>) -> Self {
        let bytes_max = u32::try_from(options.in_flight_bytes_max).unwrap_or(u32::MAX);
        Self {
            commands: Arc::new(Semaphore::new(options.in_flight_max.min(Semaphore::MAX_PERMITS))),
            bytes: Arc::new(Semaphore::new(bytes_max as usize)),
            bytes_max,
            counters,
        }
    }

    /// A place for a command that brings so many bytes. One that is larger than the whole bound passes alone.
    pub(crate) fn enter(&self, bytes: usize) -> Result<Place, Error> {
        self.try_enter(bytes).ok_or_else(|| {
            self.counters.overloaded.inc();
            Error::Overloaded("too many commands to Redis are in flight")
        })
    }

    fn try_enter(&self, bytes: usize) -> Option<Place> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let command = Arc::clone(&self.commands).try_acquire_owned().ok()?;
        let bytes = match bytes {
            0 => None,
            bytes => Some(Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()?),
        };
        self.counters.in_flight.inc();
        Some(Place { _command: command, _bytes: bytes, counters: Arc::clone(&self.counters) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Server;

    fn admission(in_flight_max: usize, in_flight_bytes_max: usize) -> Admission {
        let server = Server::parse("redis://localhost").unwrap();
        let options = Options { in_flight_max, in_flight_bytes_max, ..Options::new(server) };
        Admission::new(&options, Arc::new(Counters::new()))
    }

    #[test]
    fn over_the_bound_a_command_is_refused_at_once() {
        let admission = admission(2, 100);
        let places = [admission.enter(0).unwrap(), admission.enter(0).unwrap()];
        assert!(matches!(admission.enter(0), Err(Error::Overloaded(_))));
        drop(places);
        assert_eq!(admission.counters.in_flight.get(), 0);
        let _large = admission.enter(1000).unwrap();
        assert!(matches!(admission.enter(1), Err(Error::Overloaded(_))));
        assert!(admission.enter(0).is_ok());
        assert_eq!(admission.counters.overloaded.get(), 2);
    }
}
