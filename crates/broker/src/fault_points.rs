//! Defects that a test switches on, so that the consistency checker shows that it would find them.
//!
//! They are compiled in with the feature `fault-points` only, and a build with it that is optimized does not compile:
//! no release has them. Without the feature [`on`] is a constant `false`. One at a time is chosen by the variable
//! `FAULT_POINT_OF_FANFARE`, read once. Each has its place in one line, where the thing happens.

/// A defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Now and then a ring drops an event, and does not mark the channel as broken.
    DropRingEntry,
    /// Only the publish script looks at the replication id: reads give every stream the epoch it had at first.
    FenceOnlyInPublish,
    /// After a pub/sub connection was lost no channel is compared with Redis.
    SkipCheckAfterReconnect,
    /// What history gave and what arrived meanwhile are put together without dropping what is in both.
    SpliceWithoutDeduplication,
    /// Every recovery is said to have succeeded.
    AlwaysRecovered,
    /// A publish is acknowledged before the script has answered.
    AcknowledgeEarly,
}

impl Defect {
    /// All of them, by the names that switch them on.
    pub const ALL: [(&'static str, Self); 6] = [
        ("drop-ring-entry", Self::DropRingEntry),
        ("fence-only-in-publish", Self::FenceOnlyInPublish),
        ("skip-check-after-reconnect", Self::SkipCheckAfterReconnect),
        ("splice-without-deduplication", Self::SpliceWithoutDeduplication),
        ("always-recovered", Self::AlwaysRecovered),
        ("acknowledge-early", Self::AcknowledgeEarly),
    ];
}

#[cfg(feature = "fault-points")]
pub use self::switched::{on, one_in, unfenced};

#[cfg(feature = "fault-points")]
mod switched {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{LazyLock, OnceLock};

    use super::Defect;

    #[cfg(not(debug_assertions))]
    compile_error!("the feature `fault-points` is for tests: it is not for optimized builds");

    static CHOSEN: LazyLock<Option<Defect>> = LazyLock::new(|| {
        let name = std::env::var("FAULT_POINT_OF_FANFARE").ok()?;
        let known = Defect::ALL.into_iter().find(|(known, _)| *known == name);
        let (_, defect) = known.unwrap_or_else(|| panic!("there is no fault point {name}"));
        tracing::error!(?defect, "a defect is switched on");
        Some(defect)
    });

    /// Whether this defect is switched on.
    pub fn on(defect: Defect) -> bool {
        *CHOSEN == Some(defect)
    }

    /// Whether it is switched on, and its turn comes: once in so many times.
    pub fn one_in(times: u32, defect: Defect) -> bool {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        on(defect) && COUNT.fetch_add(1, Ordering::Relaxed) % times == times - 1
    }

    /// An epoch as it would be if reads did not look at the replication id.
    pub fn unfenced(epoch: String) -> String {
        static FIRST: OnceLock<String> = OnceLock::new();
        if !on(Defect::FenceOnlyInPublish) {
            return epoch;
        }
        match epoch.split_once('.') {
            Some((random, fence)) => format!("{random}.{}", FIRST.get_or_init(|| fence.to_owned())),
            None => epoch,
        }
    }
}

/// Whether this defect is switched on: never.
#[cfg(not(feature = "fault-points"))]
pub const fn on(_: Defect) -> bool {
    false
}

/// Whether this defect is switched on, and its turn comes: never.
#[cfg(not(feature = "fault-points"))]
pub const fn one_in(_: u32, _: Defect) -> bool {
    false
}

/// An epoch as it is.
#[cfg(not(feature = "fault-points"))]
pub fn unfenced(epoch: String) -> String {
    epoch
}
