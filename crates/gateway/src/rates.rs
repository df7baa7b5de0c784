//! How much a session may send in a second, and all sessions of a user on this node together.
//!
//! For each of commands, publishes and bytes there is a bucket that holds [`BURST_SECONDS`] times what comes into it
//! in a second: a client that comes back subscribes to everything at once. A command that finds its bucket empty is
//! answered with 111, before anything of it is done; unsubscribing is not, since clients take that error for the end
//! of their connection. Bytes are not refused: the node reads no more of them until the bucket has filled up again.
//!
//! Refusals have a bucket of their own, so that their number is bounded too: who goes on when it is empty is closed
//! with 3013, and so is a session of a user that has sent twice what the user's bucket holds. A client comes back
//! after both.
//!
//! A session's buckets live in its [`Session`](crate::shard::Session), a user's in its [`User`](crate::users::User) as
//! long as there are sessions: 20 bytes each.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::limits::{BURST_SECONDS, REFUSALS_PER_SECOND};

/// How much may be sent in a second; `None` sets no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Commands.
    pub commands: Option<u32>,
    /// Publications among them.
    pub publishes: Option<u32>,
    /// Bytes read from sockets.
    pub bytes: Option<u32>,
}

/// What was exceeded: the label of a counter, and the key that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    Commands,
    Publishes,
    Bytes,
    UserCommands,
    UserPublishes,
    UserBytes,
}

impl Excess {
    pub(crate) const ALL: [Self; 6] =
        [Self::Commands, Self::Publishes, Self::Bytes, Self::UserCommands, Self::UserPublishes, Self::UserBytes];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Publishes => "publishes",
            Self::Bytes => "bytes",
            Self::UserCommands => "user_commands",
            Self::UserPublishes => "user_publishes",
            Self::UserBytes => "user_bytes",
        }
    }

    /// The key of the configuration that sets the limit.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Commands => "limits.commands_per_second_max",
            Self::Publishes => "limits.publishes_per_second_max",
            Self::Bytes => "limits.bytes_per_second_max",
            Self::UserCommands => "limits.user_commands_per_second_max",
            Self::UserPublishes => "limits.user_publishes_per_second_max",
            Self::UserBytes => "limits.user_bytes_per_second_max",
        }
    }

    /// The same of the user.
    fn of_user(self) -> Self {
        match self {
            Self::Commands | Self::UserCommands => Self::UserCommands,
            Self::Publishes | Self::UserPublishes => Self::UserPublishes,
            Self::Bytes | Self::UserBytes => Self::UserBytes,
        }
    }
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charged {
    Fine,
    /// It is refused.
    Over(Excess),
    /// So many were refused that the session is closed.
    TooMany(Excess),
}

/// What becomes of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Reading {
    #[default]
    GoesOn,
    /// Nothing more is read for so long.
    Pauses(Duration, Excess),
    /// So much was read all the same that the session is closed.
    TooMuch(Excess),
}

/// What was taken out of buckets and has not come in again; 0 is a full one. Commands, publishes and refusals are
/// counted in thousandths, as a rate of one a second brings one in a millisecond.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Buckets {
    /// When they were last filled up, in milliseconds since the node began. It goes around in 49 days: a session that
    /// slept just so long finds what it had left.
    filled_at: u32,
    commands: u32,
    publishes: u32,
    bytes: u32,
    refusals: u32,
}

const ONE: u32 = 1_000;

/// How much earlier than the last fill a time may be: shards read their clocks before they come to a user's buckets, so
/// the times do not come in order. What is later by nearly 49 days is taken for that.
const BEHIND_MILLIS_MAX: u32 = 60_000;

/// Takes from a bucket, if there is enough in it.
fn take(taken: &mut u32, per_second: Option<u32>) -> bool {
    let Some(per_second) = per_second else { return true };
    let after = taken.saturating_add(ONE);
    let is_there = after <= per_second.saturating_mul(ONE * BURST_SECONDS);
    if is_there {
        *taken = after;
    }
    is_there
}

impl Buckets {
    /// What has come in since the last time.
    fn fill(&mut self, rates: &Rates, now_millis: u64) {
        // Only what has passed since is of interest.
        let now = now_millis as u32;
        let passed = now.wrapping_sub(self.filled_at);
        if passed == 0 || passed > u32::MAX - BEHIND_MILLIS_MAX {
            return;
        }
        self.filled_at = now;
        let fill = |taken: &mut u32, per_second: u32| *taken = taken.saturating_sub(passed.saturating_mul(per_second));
        fill(&mut self.commands, rates.commands.unwrap_or(0));
        fill(&mut self.publishes, rates.publishes.unwrap_or(0));
        fill(&mut self.refusals, REFUSALS_PER_SECOND);
        let bytes = u64::from(passed) * u64::from(rates.bytes.unwrap_or(0)) / 1_000;
        self.bytes = self.bytes.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Takes a command, and a publish if it is one; both or nothing.
    fn take_command(&mut self, rates: &Rates, is_publish: bool, now_millis: u64) -> Result<(), Excess> {
        self.fill(rates, now_millis);
        let before = *self;
        if !take(&mut self.commands, rates.commands) {
            return Err(Excess::Commands);
        }
        if is_publish && !take(&mut self.publishes, rates.publishes) {
            *self = before;
            return Err(Excess::Publishes);
        }
        Ok(())
    }

    /// Takes a command of a session out of its own buckets and those of its user.
    pub(crate) fn charge_command(
        &mut self,
        rates: &Rates,
        user: Option<(&UserBuckets, &Rates)>,
        is_publish: bool,
        now_millis: u64,
    ) -> Charged {
        let own = self.take_command(rates, is_publish, now_millis);
        let charged = own.and_then(|()| user.map_or(Ok(()), |(user, rates)| user.take(rates, is_publish, now_millis)));
        let Err(excess) = charged else { return Charged::Fine };
        match take(&mut self.refusals, Some(REFUSALS_PER_SECOND)) {
            true => Charged::Over(excess),
            false => Charged::TooMany(excess),
        }
    }

    /// Takes what was read, whether it is there or not. Returns how much lacks and what the bucket holds.
    fn take_bytes(&mut self, rates: &Rates, bytes: usize, now_millis: u64) -> Option<Debt> {
        let per_second = rates.bytes?;
        self.fill(rates, now_millis);
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        let holds = per_second.saturating_mul(BURST_SECONDS);
        let lacking = self.bytes.saturating_sub(holds);
        (lacking > 0).then_some(Debt { lacking, per_second, holds })
    }

    /// Takes what a session has read out of its own bucket and that of its user.
    pub(crate) fn charge_bytes(
        &mut self,
        rates: &Rates,
        user: Option<(&UserBuckets, &Rates)>,
        bytes: usize,
        now_millis: u64,
    ) -> Reading {
        let own = self.take_bytes(rates, bytes, now_millis);
        let users = user.and_then(|(user, rates)| user.take_bytes(rates, bytes, now_millis));
        match (own, users) {
            (_, Some(debt)) if debt.lacking > debt.holds => Reading::TooMuch(Excess::UserBytes),
            (own, Some(debt)) => {
                let pause = own.map_or(Duration::ZERO, Debt::pause).max(debt.pause());
                Reading::Pauses(pause, Excess::UserBytes)
            }
            (Some(debt), None) => Reading::Pauses(debt.pause(), Excess::Bytes),
            (None, None) => Reading::GoesOn,
        }
    }
}

/// Bytes that were read and are not in the bucket.
#[derive(Debug, Clone, Copy)]
struct Debt {
    lacking: u32,
    per_second: u32,
    holds: u32,
}

impl Debt {
    /// Until they are; a second at most, since pongs are not read meanwhile either.
    fn pause(self) -> Duration {
        let millis = u64::from(self.lacking) * 1_000 / u64::from(self.per_second.max(1));
        Duration::from_millis(millis.clamp(1, 1_000))
    }
}

/// The buckets of a user, which all shards take from. The lock is held for some nanoseconds, and not taken where nothing is
/// limited.
#[derive(Debug, Default)]
pub(crate) struct UserBuckets(Mutex<Buckets>);

impl UserBuckets {
    fn lock(&self) -> std::sync::MutexGuard<'_, Buckets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, rates: &Rates, is_publish: bool, now_millis: u64) -> Result<(), Excess> {
        if rates.commands.is_none() && rates.publishes.is_none() {
            return Ok(());
        }
        self.lock().take_command(rates, is_publish, now_millis).map_err(Excess::of_user)
    }

    fn take_bytes(&self, rates: &Rates, bytes: usize, now_millis: u64) -> Option<Debt> {
        rates.bytes?;
        self.lock().take_bytes(rates, bytes, now_millis)
    }
}

#[cfg(test)]
mod tests;
