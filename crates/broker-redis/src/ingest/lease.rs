//! Whose turn it is to read: a key in Redis that names a node and lives for a few seconds, by Redis's clock.
//!
//! The holder renews it every second. It counts its own time from before it asked, so that it stops before Redis lets
//! another take over, however long the answer took; a holder that stood still finds its time over when it goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::fault::Fault;
use crate::keys::Keys;
use crate::limits::{LEASE_RENEWAL, LEASE_TTL};
use crate::publisher::millis;
use crate::routes::Routes;
use crate::script::{self, Call};

/// The lease, as a node sees it.
pub(crate) struct Lease {
    node: Arc<str>,
    keys: Arc<Keys>,
    routes: Arc<Routes>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    until: Option<Instant>,
    /// What Redis's clock said, and when it was asked.
    clock: Option<(u64, Instant)>,
    ended: bool,
}

impl Lease {
    pub(crate) fn new(node: Arc<str>, keys: Arc<Keys>, routes: Arc<Routes>) -> Self {
        Self { node, keys, routes, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes or renews the lease, unless another node holds it.
    pub(crate) async fn take(&self) -> Result<bool, Fault> {
        let asked = Instant::now();
        let (held, now): (bool, u64) = self.ask(millis(LEASE_TTL)).await?;
        let mut state = self.state();
        let held = held && !state.ended;
        state.until = held.then(|| asked + LEASE_TTL);
        state.clock = Some((now, asked));
        Ok(held)
    }

    async fn ask(&self, ttl_millis: u64) -> Result<(bool, u64), Fault> {
        let key = &*self.keys.lease;
        let call = Call::new(&script::LEASE, &[key]).arg(&*self.node).arg(ttl_millis);
        self.routes.call(self.keys.slot(key), &call).await
    }

    /// Renews the lease until it is lost.
    pub(crate) async fn keep(&self) {
        loop {
            tokio::time::sleep(LEASE_RENEWAL).await;
            match self.take().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) if self.is_held() => {}
                Err(_) => return,
            }
        }
    }

    /// Lets another node read at once; this one will not any more.
    pub(crate) async fn give_up(&self) {
        let held = self.is_held();
        *self.state() = State { ended: true, ..State::default() };
        if held && let Err(fault) = self.ask(0).await {
            tracing::debug!(?fault, "the lease of the ingest stream was not given up");
        }
    }

    fn is_held(&self) -> bool {
        self.state().until.is_some_and(|until| Instant::now() < until)
    }

    /// Passes while the lease is held. What waits here when it is not is ended by [`Self::keep`].
    pub(crate) async fn held(&self) {
        if !self.is_held() {
            std::future::pending::<()>().await;
        }
    }

    /// The time by Redis's clock; 0 before anything is known of it.
    pub(crate) fn now_millis(&self) -> u64 {
        let since = |(now, asked): (u64, Instant)| now.saturating_add(millis(asked.elapsed()));
        self.state().clock.map_or(0, since)
    }
}
