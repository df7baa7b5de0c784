//! The books of the memory broker: what each budget has left.
//!
//! A claim that fails has taken nothing; a claim that is dropped before [`Claim::keep`] gives back what it
//! took. So a publish claims whatever it needs, one after the other, and every early return is all-or-nothing.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracing::debug;

use super::Options;
use super::metrics::Counters;
use crate::Error;

/// A configured limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    HistoryBytes,
    Channels,
    IdempotencyKeys,
}

impl Limit {
    pub(super) const ALL: [Self; 3] = [Self::HistoryBytes, Self::Channels, Self::IdempotencyKeys];

    /// The configuration key.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::HistoryBytes => "broker.history_bytes_max",
            Self::Channels => "broker.channels_max",
            Self::IdempotencyKeys => "broker.idempotency_keys_max",
        }
    }
}

/// All budgets of a node, and the counters of what was refused.
#[derive(Debug)]
pub(super) struct Ledger {
    budgets: [Budget; Limit::ALL.len()],
    pub(super) counters: Counters,
}

impl Ledger {
    pub(super) fn new(options: &Options) -> Self {
        let budgets = [options.history_bytes_max, options.channels_max, options.idempotency_keys_max].map(Budget::new);
        Self { budgets, counters: Counters::new() }
    }

    /// Takes `amount` out of a budget until the claim is dropped, or for good.
    pub(super) fn claim(&self, limit: Limit, amount: usize) -> Result<Claim<'_>, Error> {
        let budget = self.budget(limit);
        if budget.take(amount) {
            return Ok(Claim { budget, amount });
        }
        self.counters.refused_at(limit);
        debug!(limit = limit.key(), "publish refused at a budget");
        Err(Error::Budget { limit: limit.key() })
    }

    pub(super) fn release(&self, limit: Limit, amount: usize) {
        self.budget(limit).give(amount);
    }

    /// Gives `freed` back and takes `needed`, in one step: fails only if the difference does not fit.
    pub(super) fn exchange(&self, limit: Limit, freed: usize, needed: usize) -> Result<(), Error> {
        if needed <= freed {
            self.release(limit, freed - needed);
            return Ok(());
        }
        self.claim(limit, needed - freed).map(Claim::keep)
    }

    pub(super) fn used(&self, limit: Limit) -> usize {
        self.budget(limit).used.load(Relaxed)
    }

    fn budget(&self, limit: Limit) -> &Budget {
        &self.budgets[limit as usize]
    }
}

/// One limit and how much of it is used. Relaxed: the count alone is shared, nothing is read on its word.
#[derive(Debug)]
struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    fn take(&self, amount: usize) -> bool {
        let fits = |used: usize| used.checked_add(amount).filter(|sum| *sum <= self.max);
        self.used.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    fn give(&self, amount: usize) {
        if amount == 0 {
            // The usual case, kept claims and equal exchanges: spare the cores a fight for the line.
            return;
        }
        let before = self.used.fetch_sub(amount, Relaxed);
        debug_assert!(before >= amount, "gave back more than was taken");
    }
}

/// Something taken out of a budget.
#[derive(Debug)]
#[must_use = "a dropped claim gives back what it took"]
pub(super) struct Claim<'a> {
    budget: &'a Budget,
    amount: usize,
}

impl Claim<'_> {
    /// Keeps it taken; [`Ledger::release`] gives it back later.
    pub(super) fn keep(mut self) {
        self.amount = 0;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.budget.give(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        Ledger::new(&Options { history_bytes_max: 100, channels_max: 1, idempotency_keys_max: 1 })
    }

    #[test]
    fn a_budget_can_be_filled_to_the_brim_and_not_beyond() {
        let ledger = ledger();
        ledger.claim(Limit::HistoryBytes, 100).unwrap().keep();
        let refused = ledger.claim(Limit::HistoryBytes, 1).unwrap_err();
        assert_eq!(refused, Error::Budget { limit: "broker.history_bytes_max" });
        assert_eq!(ledger.used(Limit::HistoryBytes), 100);
        assert_eq!(ledger.counters.refused(Limit::HistoryBytes), 1);
        assert_eq!(ledger.counters.refused(Limit::Channels), 0);
    }

    #[test]
    fn a_dropped_claim_gives_back_and_a_kept_one_does_not() {
        let ledger = ledger();
        drop(ledger.claim(Limit::Channels, 1).unwrap());
        ledger.claim(Limit::Channels, 1).unwrap().keep();
        assert!(ledger.claim(Limit::Channels, 1).is_err());
        ledger.release(Limit::Channels, 1);
        assert!(ledger.claim(Limit::Channels, 1).is_ok());
    }

    #[test]
    fn an_exchange_needs_only_the_difference() {
        let ledger = ledger();
        ledger.claim(Limit::HistoryBytes, 90).unwrap().keep();
        ledger.exchange(Limit::HistoryBytes, 90, 100).unwrap();
        assert!(ledger.exchange(Limit::HistoryBytes, 50, 51).is_err());
        assert_eq!(ledger.used(Limit::HistoryBytes), 100);
        ledger.exchange(Limit::HistoryBytes, 100, 0).unwrap();
        assert_eq!(ledger.used(Limit::HistoryBytes), 0);
    }

    #[test]
    fn an_amount_near_the_top_of_the_type_does_not_wrap() {
        let ledger = ledger();
        ledger.claim(Limit::HistoryBytes, 1).unwrap().keep();
        assert!(ledger.claim(Limit::HistoryBytes, usize::MAX).is_err());
    }
}
