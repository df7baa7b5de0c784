//! Who is kept out: blocked users, revoked tokens, and tokens that were issued before a time.
//!
//! A broker keeps the revocations of all nodes; each node holds them all in memory ([`Revoked`]) and judges by that,
//! without asking anybody. Not here: what becomes of a session that is kept out.
//!
//! A change is made known in this order, so that nobody slips through: first the set of a node changes, then every
//! session of the node that may be concerned is judged again ([`NodeSink::judge_again`](crate::NodeSink)). Who connects
//! meanwhile is judged by the set as it is, on the thread that will judge again.

mod metrics;

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use fanfare_protocol::Channel;

pub use self::metrics::Metrics as RevocationMetrics;
use crate::Error;

/// Revocations that are held at once. One takes some 200 bytes with names of 40, on every node and in Redis: 20 MB. At
/// 100 revoked tokens a second, of tokens that live for a quarter of an hour, 90,000.
pub const REVOCATIONS_MAX: usize = 100_000;

/// Longest user id or token id that a revocation may name.
pub const REVOKED_NAME_BYTES_MAX: usize = 1_024;

/// What is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A user, with whatever token.
    User(String),
    /// The one token with this id (`jti`).
    Token(String),
    /// Tokens that were issued before a time.
    Tokens {
        /// Those of this user; `None` of everybody.
        user: Option<String>,
        /// Only subscription tokens for this channel; `None` tokens of both kinds.
        channel: Option<Channel>,
    },
}

/// Kinds of subjects, for lists and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A blocked user.
    User,
    /// A token by its id.
    Token,
    /// Older tokens of a user.
    UserTokens,
    /// Older tokens of everybody.
    AllTokens,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::User, Self::Token, Self::UserTokens, Self::AllTokens];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::UserTokens => "user_tokens",
            Self::AllTokens => "all_tokens",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Subject {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::User(_) => Kind::User,
            Self::Token(_) => Kind::Token,
            Self::Tokens { user: Some(_), .. } => Kind::UserTokens,
            Self::Tokens { user: None, .. } => Kind::AllTokens,
        }
    }

    /// Whose sessions may be concerned. A token does not say whose it is.
    pub fn whom(&self) -> Whom {
        match self {
            Self::User(user) | Self::Tokens { user: Some(user), .. } => Whom::User(user.clone()),
            Self::Token(_) | Self::Tokens { user: None, .. } => Whom::Everybody,
        }
    }

    fn key(&self) -> Key<'_> {
        match self {
            Self::User(user) => Key::User(user),
            Self::Token(id) => Key::Token(id),
            Self::Tokens { user, channel } => Key::Tokens(user.as_deref(), channel.as_ref()),
        }
    }
}

/// Whose sessions are to be judged again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// Those of one user.
    User(String),
    /// All.
    Everybody,
}

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// What is refused.
    pub subject: Subject,
    /// For [`Subject::Tokens`]: Unix time in seconds; tokens issued before it are refused, those of that second not.
    pub issued_before: u64,
    /// Unix time in seconds from when it holds no more; `None` until it is taken back.
    pub expire_at: Option<u64>,
}

impl Revocation {
    fn holds(&self, now: u64) -> bool {
        self.expire_at.is_none_or(|expire_at| expire_at > now)
    }
}

/// A subject as it is looked up. Its hash has to tell subjects apart.
#[derive(Hash)]
enum Key<'a> {
    User(&'a str),
    Token(&'a str),
    Tokens(Option<&'a str>, Option<&'a Channel>),
}

/// What stands for a token's id in a session: 8 bytes in place of a text, none more where there is no id. Two ids share one by chance only, in one of
/// 2^64 pairs, since the hash has a secret of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(NonZeroU64);

/// Who is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Bearer<'a> {
    /// The user id.
    pub user: &'a str,
    /// The id of its token, if it has one.
    pub token: Option<Fingerprint>,
    /// When the token was issued: 0 if it does not say, [`Bearer::NO_TOKEN`] without a token.
    pub issued_at: u64,
    /// The channel of a subscription token; `None` for a connection.
    pub channel: Option<&'a Channel>,
}

impl Bearer<'_> {
    /// The time at which a connection without a token was issued one: never too early.
    pub const NO_TOKEN: u64 = u64::MAX;
}

/// Why somebody is kept out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// The user is blocked.
    Blocked,
    /// The token is revoked.
    Revoked,
    /// The revocations are not known yet. Trying again later may succeed.
    NotKnown,
}

/// Keeps revocations for all nodes.
#[async_trait]
pub trait Revocations: Send + Sync + 'static {
    /// What this node judges by.
    fn revoked(&self) -> &Revoked;

    /// Whether what is revoked stays so when all nodes have been started anew.
    fn is_durable(&self) -> bool;

    /// Keeps a revocation and applies it on all nodes; returns when every concerned session is closed. Of what
    /// is said of one subject, the last `expire_at` counts, and the highest `issued_before`.
    ///
    /// After [`Error::Refused`] nothing is kept; there are [`REVOCATIONS_MAX`] already. After [`Error::NodesMissing`] it
    /// is kept, and those nodes follow by themselves within a second of being reachable again.
    async fn revoke(&self, revocation: Revocation) -> Result<(), Error>;

    /// Takes a revocation back; says whether there was one.
    async fn unrevoke(&self, subject: &Subject) -> Result<bool, Error>;
}

/// The revocations that a node holds. Judging takes a read lock and a few look-ups.
#[derive(Debug)]
pub struct Revoked {
    set: RwLock<Set>,
    hasher: RandomState,
    known: AtomicBool,
    counts: metrics::Counts,
}

#[derive(Debug, Default)]
struct Set {
    entries: HashMap<Fingerprint, Revocation>,
    /// Of those that expire.
    deadlines: BTreeSet<(u64, Fingerprint)>,
}

impl Set {
    fn put(&mut self, at: Fingerprint, revocation: Revocation) {
        self.remove(at);
        if let Some(expire_at) = revocation.expire_at {
            self.deadlines.insert((expire_at, at));
        }
        self.entries.insert(at, revocation);
    }

    fn remove(&mut self, at: Fingerprint) -> Option<Revocation> {
        let removed = self.entries.remove(&at)?;
        if let Some(expire_at) = removed.expire_at {
            self.deadlines.remove(&(expire_at, at));
        }
        Some(removed)
    }

    fn trim(&mut self, now: u64) {
        while let Some((expire_at, at)) = self.deadlines.first().copied().filter(|(expire_at, _)| *expire_at <= now) {
            self.deadlines.remove(&(expire_at, at));
            self.entries.remove(&at);
        }
    }

    /// What holds of a subject.
    fn get(&self, at: Fingerprint, now: u64) -> Option<&Revocation> {
        self.entries.get(&at).filter(|kept| kept.holds(now))
    }
}

impl Default for Revoked {
    fn default() -> Self {
        Self::unread()
    }
}

impl Revoked {
    /// Nothing is revoked.
    pub fn nothing() -> Self {
        let revoked = Self::unread();
        revoked.known.store(true, Ordering::Release);
        revoked
    }

    /// What is revoked is not known: until [`Self::replace`] everybody is [`Barred::NotKnown`].
    pub fn unread() -> Self {
        Self {
            set: RwLock::default(),
            hasher: RandomState::new(),
            known: AtomicBool::new(false),
            counts: metrics::Counts::new(),
        }
    }

    /// Whether it is known what is revoked.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// What stands for a token's id.
    pub fn fingerprint(&self, token_id: &str) -> Fingerprint {
        self.of(&Key::Token(token_id))
    }

    fn of(&self, key: &Key<'_>) -> Fingerprint {
        Fingerprint(NonZeroU64::new(self.hasher.hash_one(key)).unwrap_or(NonZeroU64::MIN))
    }

    /// Whether somebody is kept out at `now` (Unix time in seconds).
    ///
    /// # Errors
    /// Why.
    pub fn judge(&self, bearer: &Bearer<'_>, now: u64) -> Result<(), Barred> {
        // Nothing can be said against who says nothing of itself.
        if bearer.user.is_empty() && bearer.issued_at == Bearer::NO_TOKEN {
            return Ok(());
        }
        if !self.is_known() {
            return Err(Barred::NotKnown);
        }
        let set = self.read();
        if set.entries.is_empty() {
            return Ok(());
        }
        if set.get(self.of(&Key::User(bearer.user)), now).is_some() {
            return Err(Barred::Blocked);
        }
        let by_id = bearer.token.and_then(|token| set.get(token, now)).is_some();
        let is_too_old = |user, channel| {
            let kept = set.get(self.of(&Key::Tokens(user, channel)), now);
            kept.is_some_and(|kept| bearer.issued_at < kept.issued_before)
        };
        let user = Some(bearer.user);
        let by_age = is_too_old(user, None) || is_too_old(None, None);
        let in_channel = || is_too_old(user, bearer.channel) || is_too_old(None, bearer.channel);
        if by_id || by_age || (bearer.channel.is_some() && in_channel()) { Err(Barred::Revoked) } else { Ok(()) }
    }

    /// Takes a revocation in.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is no room.
    pub fn keep(&self, mut revocation: Revocation, now: u64) -> Result<(), Error> {
        let at = self.of(&revocation.subject.key());
        let mut set = self.write();
        set.trim(now);
        match set.get(at, now) {
            Some(kept) => revocation.issued_before = revocation.issued_before.max(kept.issued_before),
            None if set.entries.len() >= REVOCATIONS_MAX => return Err(FULL),
            None => {}
        }
        self.counts.changed(revocation.subject.kind());
        set.put(at, revocation);
        Ok(())
    }

    /// Takes a revocation back; says whether there was one.
    pub fn forget(&self, subject: &Subject) -> bool {
        let forgotten = self.write().remove(self.of(&subject.key())).is_some();
        if forgotten {
            self.counts.changed(subject.kind());
        }
        forgotten
    }

    /// Holds these and no others. Says whether that keeps anybody out who was not before.
    pub fn replace(&self, revocations: Vec<Revocation>, now: u64) -> bool {
        let mut fresh = Set::default();
        for revocation in revocations {
            fresh.put(self.of(&revocation.subject.key()), revocation);
        }
        fresh.trim(now);
        let mut set = self.write();
        let is_new = |(at, revocation): (&Fingerprint, &Revocation)| {
            let before = set.get(*at, now);
            before.is_none_or(|before| before.issued_before < revocation.issued_before)
        };
        let has_new = fresh.entries.iter().any(is_new);
        *set = fresh;
        self.known.store(true, Ordering::Release);
        has_new
    }

    /// Lets go of what holds no more.
    pub fn trim(&self, now: u64) {
        let is_due = self.read().deadlines.first().is_some_and(|(expire_at, _)| *expire_at <= now);
        if is_due {
            self.write().trim(now);
        }
    }

    /// All that hold, in a fixed order.
    pub fn all(&self, now: u64) -> Vec<Revocation> {
        self.list(now, usize::MAX, |_| true).0
    }

    /// The first of those that hold and are wanted, in a fixed order, and how many of these there are. It goes through
    /// them all, and copies only what it gives.
    pub fn list(&self, now: u64, limit: usize, wanted: impl Fn(&Revocation) -> bool) -> (Vec<Revocation>, usize) {
        let set = self.read();
        let holding = set.entries.values().filter(|kept| kept.holds(now));
        let mut listed: Vec<&Revocation> = holding.filter(|kept| wanted(kept)).collect();
        let total = listed.len();
        if limit < total {
            listed.select_nth_unstable_by(limit, |one, other| one.subject.cmp(&other.subject));
            listed.truncate(limit);
        }
        listed.sort_unstable_by(|one, other| one.subject.cmp(&other.subject));
        (listed.into_iter().cloned().collect(), total)
    }

    fn read(&self) -> RwLockReadGuard<'_, Set> {
        self.set.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Set> {
        self.set.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is no room for one more.
pub const FULL: Error = Error::Refused(
    "there are 100000 revocations (REVOCATIONS_MAX); take some back, and give those to come an expire_at",
);

/// Unix time in seconds, by this machine's clock.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
