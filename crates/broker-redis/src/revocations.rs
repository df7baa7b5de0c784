//! The revocations of all nodes, kept in Redis, and this node's copy of them.
//!
//! A hash has one field for each revocation, and beside them a random `life` and a `version` that every change counts up
//! (`script/revoke.lua`). Whoever changes something tells all nodes the change with its version, and waits for them.
//! That word may be lost; so every second, and as soon as a lost pub/sub connection is back, each node compares life and
//! version (`script/revocations.lua`), and reads everything where they differ. What it says is what holds:
//!
//! - **R1** Before the first read nobody is let in: who is revoked is not known.
//! - **R2** While Redis is away, what was last known holds, and expires as it said.
//! - **R3** A word of the next version is taken in at once. Any other that adds something is, too; then all is read. A
//!   word of a version that is known already changes nothing, as it may be older than what was read. What is read while
//!   later words come has these put on top (`heard`).
//! - **R4** Redis may have lost something: another life, or a version that is lower than one that was seen (data wiped, a
//!   failover without the last writes; a life names the server's history of writes, so a failover is always another).
//!   What this node holds and Redis does not, or not for as long, is then kept and given back. So a revocation that was
//!   answered survives as long as one node does. One that was taken back, or shortened, on another node while this one
//!   was cut off, right before such a loss, comes back too: it errs on that side.
//! - **R5** What Redis says is bounded and judged; what is no revocation is skipped and counted (I14). If there are more
//!   than there may be, what was known holds.
//! - **R6** Sessions that could not be judged by what was read are judged again until they are.

mod entry;
mod heard;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_broker::revocations::{FULL, REVOCATIONS_MAX, unix_now};
use fanfare_broker::{Error, NodeSink, Revocation, Revoked, Subject, Whom};
use redis::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::entry::{Entry, field_of};
use self::heard::Heard;
use crate::fault::Fault;
use crate::keys::Keys;
use crate::limits::{
    HEARTBEAT, REVOCATION_FIELD_BYTES_MAX, REVOCATION_PAGE, REVOCATION_PAGES_MAX, REVOCATION_READS_AT_ONCE,
    REVOCATION_RETRY, REVOCATION_VALUE_BYTES_MAX, REVOCATIONS_STALE,
};
use crate::metrics::{Counters, Skipped};
use crate::publisher::random_part;
use crate::routes::Routes;
use crate::script::{self, Call};
use crate::wire::RevocationChange;

/// Which state of the hash something is of. Without a life nothing was ever kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct At {
    life: String,
    version: u64,
}

impl At {
    /// Whether nothing can have been lost on the way from there to here.
    fn follows(&self, before: &Self) -> bool {
        before.life.is_empty() || (self.life == before.life && self.version >= before.version)
    }
}

#[derive(Debug, Default)]
struct State {
    at: At,
    /// When it was last the same as in Redis.
    compared: Option<Instant>,
    /// Why it could not be compared since.
    fault: Option<Fault>,
    /// To be given back to Redis, which has lost it (R4).
    owed: Vec<Revocation>,
    /// What was told since the last reading (R3).
    heard: Heard,
    /// Sessions are still to be judged by what was read (R6).
    unjudged: bool,
}

/// How this node's copy stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Standing {
    /// It is what Redis has.
    Current,
    /// Nothing was read yet.
    Unread,
    /// It could not be compared for so long.
    Stale(Duration, Option<Fault>),
}

/// Everything at one version.
#[derive(Debug)]
struct Snapshot {
    at: At,
    revocations: Vec<Revocation>,
}

/// What came of a reading.
enum Read {
    /// Redis has what is known.
    Known,
    /// It changed while it was read.
    Changed,
    All(Snapshot),
}

/// Keeps the copy.
pub(crate) struct Revocations {
    pub(crate) held: Arc<Revoked>,
    keys: Arc<Keys>,
    routes: Arc<Routes>,
    node: Arc<dyn NodeSink>,
    counters: Arc<Counters>,
    state: Mutex<State>,
    wake: Notify,
}

impl Revocations {
    pub(crate) fn new(keys: Arc<Keys>, routes: Arc<Routes>, node: Arc<dyn NodeSink>, counters: Arc<Counters>) -> Self {
        let (held, state, wake) = (Arc::new(Revoked::unread()), Mutex::default(), Notify::new());
        Self { held, keys, routes, node, counters, state, wake }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn standing(&self) -> Standing {
        let state = self.state();
        match state.compared.map(|compared| compared.elapsed()) {
            None => Standing::Unread,
            Some(age) if age > REVOCATIONS_STALE => Standing::Stale(age, state.fault),
            Some(_) => Standing::Current,
        }
    }

    /// Has the copy compared now: a word may have been lost.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Keeps the copy up to date, for ever.
    pub(crate) async fn keep_up(&self) {
        loop {
            let read = self.read().await;
            let pause = match read {
                Ok(()) => HEARTBEAT,
                Err(fault) => {
                    self.counters.revocation_reads_failed.inc();
                    tracing::debug!(?fault, "the revocations could not be read");
                    REVOCATION_RETRY
                }
            };
            self.judge_the_unjudged().await;
            self.note(read.err());
            self.held.trim(unix_now());
            self.give_back().await;
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn note(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.fault = fault;
        if fault.is_none() {
            state.compared = Some(Instant::now());
        }
    }

    /// Judges all sessions, if there is something that they are not judged by yet. What fails is tried again (R6).
    async fn judge_the_unjudged(&self) {
        if !std::mem::take(&mut self.state().unjudged) {
            return;
        }
        if let Err(error) = self.node.judge_again(Whom::Everybody).await {
            tracing::warn!(%error, "sessions were not judged by new revocations in time");
            self.state().unjudged = true;
        }
    }

    /// Reads what there is, if it is not what is held.
    async fn read(&self) -> Result<(), Fault> {
        for again in (0..REVOCATION_READS_AT_ONCE).rev() {
            let known = self.begin();
            // The last time in one page: they may change faster than they are read.
            let page = if again == 0 { 2 * REVOCATIONS_MAX } else { REVOCATION_PAGE };
            match self.snapshot(&known, page).await? {
                Read::Known => {
                    self.state().heard.compared(&known);
                    return Ok(());
                }
                Read::All(snapshot) => {
                    if self.install(snapshot) {
                        return Ok(());
                    }
                }
                Read::Changed => {}
            }
        }
        Err(Fault::TryAgain)
    }

    /// What is known when a reading begins.
    fn begin(&self) -> At {
        let mut state = self.state();
        state.heard.reading();
        state.at.clone()
    }

    /// Everything there is, unless it is what is known.
    async fn snapshot(&self, known: &At, page: usize) -> Result<Read, Fault> {
        let (mut cursor, mut words) = (b"0".to_vec(), HashMap::new());
        let mut first: Option<At> = None;
        // One is the same as before only while nothing has been read at all.
        let known = if self.held.is_known() { known.clone() } else { At { life: "-".to_owned(), version: 0 } };
        for _ in 0..REVOCATION_PAGES_MAX {
            let page = Page::read(self.page(&known, &cursor, page).await?).ok_or(Fault::Nonsense)?;
            if first.get_or_insert_with(|| page.at.clone()) != &page.at {
                return Ok(Read::Changed);
            }
            let Some((next, pairs)) = page.rest else { return Ok(Read::Known) };
            words.extend(pairs.into_iter().filter(|pair| self.is_bounded(pair)));
            if words.len() > 2 * REVOCATIONS_MAX {
                return Err(Fault::Nonsense);
            }
            if next == b"0" {
                return Ok(Read::All(Snapshot { at: page.at, revocations: self.believed(words)? }));
            }
            cursor = next;
        }
        Err(Fault::Nonsense)
    }

    async fn page(&self, known: &At, cursor: &[u8], count: usize) -> Result<Vec<Value>, Fault> {
        let call = Call::new(&script::REVOCATIONS, &[&*self.keys.revocations])
            .arg(&known.life)
            .arg(known.version)
            .arg(cursor)
            .arg(count);
        self.routes.call(self.keys.slot(&self.keys.revocations), &call).await
    }

    /// Whether it can be a revocation by its size (R5).
    fn is_bounded(&self, (field, value): &Field) -> bool {
        let is_bounded = field.len() <= REVOCATION_FIELD_BYTES_MAX && value.len() <= REVOCATION_VALUE_BYTES_MAX;
        if !is_bounded {
            self.counters.skipped(Skipped::Revocation);
        }
        is_bounded
    }

    /// What of it are revocations (R5).
    fn believed(&self, words: HashMap<Vec<u8>, Vec<u8>>) -> Result<Vec<Revocation>, Fault> {
        let mut believed = Vec::with_capacity(words.len().min(REVOCATIONS_MAX));
        for (field, value) in words {
            if matches!(&field[..], b"life" | b"version") {
                continue;
            }
            match entry::read(&field, &value) {
                Some(_) if believed.len() >= REVOCATIONS_MAX => return Err(Fault::Nonsense),
                Some(revocation) => believed.push(revocation),
                None => self.counters.skipped(Skipped::Revocation),
            }
        }
        Ok(believed)
    }

    /// Takes over what was read; says whether it could, which it cannot where too much was told meanwhile.
    fn install(&self, snapshot: Snapshot) -> bool {
        let mut state = self.state();
        let now = unix_now();
        let taken_back = state.heard.taken_back(&snapshot.at.life);
        let known = state.at.life.clone();
        let Some(Snapshot { at, mut revocations }) = state.heard.put_on(snapshot, &known) else { return false };
        let follows = at.follows(&state.at);
        let held = if follows { std::mem::take(&mut state.owed) } else { self.held.all(now) };
        let lost = lost(held, &revocations, &taken_back);
        if !follows && !lost.is_empty() {
            tracing::warn!(revocations = lost.len(), "Redis has lost revocations, which this node gives back");
        }
        revocations.extend(lost.iter().cloned());
        state.owed = lost;
        state.unjudged |= self.held.replace(revocations, now);
        state.at = at;
        true
    }

    /// Gives back what Redis has lost (R4). What fails is tried again.
    async fn give_back(&self) {
        let owed = std::mem::take(&mut self.state().owed);
        let mut owed = owed.into_iter();
        while let Some(revocation) = owed.next() {
            if let Err(fault) = self.change(&revocation.subject, Some(&revocation)).await {
                tracing::debug!(?fault, "a revocation could not be given back yet");
                self.state().owed.extend(std::iter::once(revocation).chain(owed));
                return;
            }
        }
    }

    /// Keeps a revocation in Redis.
    pub(crate) async fn keep(&self, revocation: &Revocation) -> Result<RevocationChange, Error> {
        match self.change(&revocation.subject, Some(revocation)).await.map_err(Fault::unsure)? {
            (Outcome::Full, _) => Err(FULL),
            (_, change) => Ok(change),
        }
    }

    /// Takes one back from Redis; `None` if there was none.
    pub(crate) async fn take_back(&self, subject: &Subject) -> Result<Option<RevocationChange>, Error> {
        let (outcome, change) = self.change(subject, None).await.map_err(Fault::unsure)?;
        Ok((outcome == Outcome::Gone).then_some(change))
    }

    async fn change(&self, subject: &Subject, to: Option<&Revocation>) -> Result<(Outcome, RevocationChange), Fault> {
        let field = field_of(subject);
        let expire_at = to.and_then(|to| to.expire_at).map_or_else(String::new, |at| at.to_string());
        let call = Call::new(&script::REVOKE, &[&*self.keys.revocations, &*self.keys.revocations_until])
            .arg(&field)
            .arg(to.map_or_else(String::new, |to| to.issued_before.to_string()))
            .arg(expire_at)
            .arg(REVOCATIONS_MAX)
            .arg(random_part());
        let answer: Vec<String> = self.routes.call(self.keys.slot(&self.keys.revocations), &call).await?;
        let [outcome, life, version, value] = <[String; 4]>::try_from(answer).map_err(|_| Fault::Nonsense)?;
        let outcome = Outcome::named(&outcome).ok_or(Fault::Nonsense)?;
        let version = version.parse().map_err(|_| Fault::Nonsense)?;
        Ok((outcome, RevocationChange { life, version, field: field.into(), value: value.into() }))
    }

    /// Takes in what was changed, here or on another node, and judges the sessions that it may concern (R3).
    pub(crate) async fn take(&self, change: &RevocationChange) -> Result<(), Error> {
        let Some(changed) = entry::read_change(&change.field, &change.value) else {
            self.counters.skipped(Skipped::Revocation);
            return Err(Error::Unavailable("a revocation of another node could not be read"));
        };
        let whom = self.take_in(change, changed)?;
        // Also where it was read meanwhile: whoever read it may still be at judging.
        match whom {
            Some(whom) => self.node.judge_again(whom).await,
            None => Ok(()),
        }
    }

    fn take_in(&self, change: &RevocationChange, changed: Entry) -> Result<Option<Whom>, Error> {
        let mut state = self.state();
        let at = At { life: change.life.clone(), version: change.version };
        let same_life = state.at.life == at.life;
        let whom = match &changed {
            Entry::Kept(revocation) => Some(revocation.subject.whom()),
            Entry::TakenBack(_) => None,
        };
        if same_life && at.version <= state.at.version {
            return Ok(whom);
        }
        let is_next = self.held.is_known()
            && ((same_life && at.version == state.at.version + 1) || (state.at == At::default() && at.version == 1));
        state.heard.remember(at.clone(), changed.clone());
        if !is_next {
            self.wake();
        }
        match changed {
            Entry::Kept(revocation) => self.held.keep(revocation, unix_now()).map_err(|_| self.has_no_room())?,
            Entry::TakenBack(subject) if is_next => {
                self.held.forget(&subject);
                state.owed.retain(|owed| owed.subject != subject);
            }
            Entry::TakenBack(_) => {}
        }
        if is_next {
            state.at = at;
        }
        Ok(whom)
    }

    /// Redis has it, and this node not yet: all is read.
    fn has_no_room(&self) -> Error {
        self.wake();
        Error::Unavailable("this node has no room for the revocation yet")
    }
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Kept,
    Full,
    Gone,
    None,
}

impl Outcome {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "kept" => Self::Kept,
            "full" => Self::Full,
            "gone" => Self::Gone,
            "none" => Self::None,
            _ => return None,
        })
    }
}

/// What of the held is not among what was read, or weaker there: with what holds of both.
fn lost(held: Vec<Revocation>, read: &[Revocation], taken_back: &HashSet<Subject>) -> Vec<Revocation> {
    if held.is_empty() {
        return held;
    }
    let there: HashMap<&Subject, &Revocation> = read.iter().map(|kept| (&kept.subject, kept)).collect();
    let lost = |kept: Revocation| match there.get(&kept.subject) {
        Some(read) => Some(stronger(&kept, read)).filter(|stronger| stronger != *read),
        None => (!taken_back.contains(&kept.subject)).then_some(kept),
    };
    held.into_iter().filter_map(lost).collect()
}

/// Of two revocations of one subject, what keeps out more: the later time of issue, and the later end.
fn stronger(one: &Revocation, other: &Revocation) -> Revocation {
    let issued_before = one.issued_before.max(other.issued_before);
    // Without an end it holds for ever.
    let expire_at = one.expire_at.zip(other.expire_at).map(|(one, other)| one.max(other));
    Revocation { subject: one.subject.clone(), issued_before, expire_at }
}

/// What the script of reading gives.
struct Page {
    at: At,
    /// The next cursor, and what was read; `None` if the caller has it all.
    rest: Option<(Vec<u8>, Vec<Field>)>,
}

/// A field of the hash, and its value.
type Field = (Vec<u8>, Vec<u8>);

impl Page {
    fn read(answer: Vec<Value>) -> Option<Self> {
        let mut words = answer.into_iter().map(|value| match value {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        });
        let life = String::from_utf8(words.next()??).ok()?;
        let version = std::str::from_utf8(&words.next()??).ok()?.parse().ok()?;
        let at = At { life, version };
        let Some(cursor) = words.next() else { return Some(Self { at, rest: None }) };
        let mut pairs = Vec::new();
        while let Some(field) = words.next() {
            pairs.push((field?, words.next()??));
        }
        Some(Self { at, rest: Some((cursor?, pairs)) })
    }
}

#[cfg(test)]
mod tests;
