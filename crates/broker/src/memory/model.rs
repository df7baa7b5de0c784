//! The stripe against a model that is too simple to be wrong: random operations, time passed in, every answer
//! and every figure in the ledger compared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_protocol::Channel;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::Options;
use super::epochs::Lives;
use super::ledger::{Ledger, Limit};
use super::limits::{PUBLICATION_OVERHEAD_BYTES, VERSION_EPOCH_OVERHEAD_BYTES};
use super::stream::{Appended, Draft};
use super::stripe::Stripe;
use crate::{Error, History, HistoryQuery, Publish, Retention, Since, StreamPosition, Version};

const TTL: Duration = Duration::from_secs(10);
const META_TTL: Duration = Duration::from_secs(25);
const BYTES_MAX: usize = 12 * (PUBLICATION_OVERHEAD_BYTES + 16);
const CHANNELS_MAX: usize = 3;
const NAMES: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Publish(Attempt),
    Remove { channel: usize },
    Read { channel: usize, query: HistoryQuery },
    Wait { seconds: u64 },
    Sweep { max: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let publish = (0..NAMES, 0..32_usize, 1..6_usize, 0..8_u64)
        .prop_map(|(channel, bytes, size, version)| Step::Publish(Attempt { channel, bytes, size, version }));
    let read = (0..NAMES, queries()).prop_map(|(channel, query)| Step::Read { channel, query });
    let step = prop_oneof![
        6 => publish,
        4 => read,
        1 => (0..NAMES).prop_map(|channel| Step::Remove { channel }),
        2 => (0..12_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => (1..4_usize).prop_map(|max| Step::Sweep { max }),
    ];
    vec(step, 1..120)
}

fn queries() -> impl Strategy<Value = HistoryQuery> {
    let since = (0..12_u64).prop_map(|offset| Since { offset, epoch: String::new() });
    (0..8_usize, option::of(since), any::<bool>()).prop_map(|(limit, since, reverse)| HistoryQuery {
        limit,
        since,
        reverse,
    })
}

/// What the model knows of a channel that has had a publication.
#[derive(Debug)]
struct Known {
    epoch: Arc<str>,
    top: u64,
    kept: Vec<(u64, usize, Instant)>,
    version: u64,
    last_at: Instant,
}

/// A publish with history.
#[derive(Debug, Clone)]
struct Attempt {
    channel: usize,
    bytes: usize,
    size: usize,
    version: u64,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Accepted,
    Outdated,
    Refused(Error),
}

#[derive(Debug, Default)]
struct Model {
    channels: [Option<Known>; NAMES],
    past: Vec<(usize, Arc<str>)>,
}

impl Model {
    fn expire(&mut self, now: Instant) {
        for (number, channel) in self.channels.iter_mut().enumerate() {
            if let Some(known) = channel {
                known.kept.retain(|(_, _, at)| *at + TTL > now);
            }
            if let Some(over) = channel.take_if(|known| known.last_at + META_TTL <= now) {
                self.past.push((number, over.epoch));
            }
        }
    }

    fn expect(&self, attempt: &Attempt, tight: bool) -> Outcome {
        let known = self.channels[attempt.channel].as_ref();
        if attempt.version > 0 && known.is_some_and(|known| attempt.version <= known.version) {
            return Outcome::Outdated;
        }
        if tight && known.is_none() && self.count() == CHANNELS_MAX {
            return refused(Limit::Channels);
        }
        let (freed, needed) = (self.freed(attempt), self.needed(attempt));
        if tight && needed > freed && self.bytes() + needed - freed > BYTES_MAX {
            return refused(Limit::HistoryBytes);
        }
        Outcome::Accepted
    }

    fn accept(&mut self, attempt: &Attempt, epoch: &Arc<str>, now: Instant) {
        let excess = self.excess(attempt);
        let fresh = || Known { epoch: epoch.clone(), top: 0, kept: Vec::new(), version: 0, last_at: now };
        let known = self.channels[attempt.channel].get_or_insert_with(fresh);
        known.kept.drain(..excess);
        known.top += 1;
        known.kept.push((known.top, attempt.bytes, now));
        known.version = known.version.max(attempt.version);
        known.last_at = now;
    }

    fn excess(&self, attempt: &Attempt) -> usize {
        let kept = self.channels[attempt.channel].as_ref().map_or(0, |known| known.kept.len());
        (kept + 1).saturating_sub(attempt.size)
    }

    fn freed(&self, attempt: &Attempt) -> usize {
        let kept = self.channels[attempt.channel].iter().flat_map(|known| &known.kept);
        kept.take(self.excess(attempt)).map(|(_, bytes, _)| weigh(*bytes)).sum()
    }

    fn needed(&self, attempt: &Attempt) -> usize {
        let first = self.channels[attempt.channel].as_ref().is_none_or(|known| known.version == 0);
        weigh(attempt.bytes) + if first && attempt.version > 0 { VERSION_EPOCH_OVERHEAD_BYTES } else { 0 }
    }

    fn bytes(&self) -> usize {
        self.channels.iter().flatten().map(Known::bytes).sum()
    }

    fn count(&self) -> usize {
        self.channels.iter().flatten().count()
    }

    fn top(&self, channel: usize) -> u64 {
        self.channels[channel].as_ref().map_or(0, |known| known.top)
    }

    fn read(&self, channel: usize, query: &HistoryQuery) -> Vec<u64> {
        let kept = self.channels[channel].iter().flat_map(|known| &known.kept).map(|(offset, _, _)| *offset);
        let since = query.since.as_ref().map(|since| since.offset);
        if !query.reverse {
            return kept.filter(|offset| *offset > since.unwrap_or(0)).take(query.limit).collect();
        }
        let below = since.unwrap_or(u64::MAX);
        let reachable = since.is_none_or(|since| since <= self.top(channel) + 1);
        let mut offsets: Vec<u64> = kept.filter(|offset| reachable && *offset < below).collect();
        offsets.reverse();
        offsets.truncate(query.limit);
        offsets
    }

    fn check_new(&self, channel: usize, position: &StreamPosition) {
        let past = self.past.iter().any(|(past, epoch)| *past == channel && *epoch == position.epoch);
        assert!(!past, "an old life of channel {channel} came back");
    }
}

impl Known {
    fn bytes(&self) -> usize {
        let versions = if self.version > 0 { VERSION_EPOCH_OVERHEAD_BYTES } else { 0 };
        versions + self.kept.iter().map(|(_, bytes, _)| weigh(*bytes)).sum::<usize>()
    }
}

fn weigh(bytes: usize) -> usize {
    PUBLICATION_OVERHEAD_BYTES + bytes
}

fn refused(limit: Limit) -> Outcome {
    Outcome::Refused(Error::Budget { limit: limit.key() })
}

struct Run {
    stripe: Stripe,
    ledger: Ledger,
    model: Model,
    now: Instant,
    tight: bool,
}

impl Run {
    /// With tight budgets everything is swept before each publish, so that the books are the model's. Without,
    /// what has expired is swept by chance.
    fn new(tight: bool) -> Self {
        let narrow = Options { history_bytes_max: BYTES_MAX, channels_max: CHANNELS_MAX, idempotency_keys_max: 0 };
        let options = if tight { narrow } else { Options::default() };
        Self {
            stripe: Stripe::new(Arc::new(Lives::new())),
            ledger: Ledger::new(&options),
            model: Model::default(),
            now: Instant::now(),
            tight,
        }
    }

    fn step(&mut self, step: Step) {
        self.model.expire(self.now);
        match step {
            Step::Publish(attempt) => self.publish(&attempt),
            Step::Remove { channel } => self.remove(channel),
            Step::Read { channel, query } => self.read(channel, &query),
            Step::Wait { seconds } => self.now += Duration::from_secs(seconds),
            Step::Sweep { max } => {
                self.stripe.sweep(&self.ledger, self.now, max);
            }
        }
    }

    fn publish(&mut self, attempt: &Attempt) {
        if self.tight {
            self.sweep();
        }
        let before = self.history(attempt.channel, &HistoryQuery::default()).unwrap().top;
        let expected = self.model.expect(attempt, self.tight);
        let (outcome, position) = self.append(attempt);
        assert_eq!(outcome, expected);
        if outcome == Outcome::Accepted {
            self.model.accept(attempt, &before.epoch, self.now);
            self.model.check_new(attempt.channel, &before);
        }
        let offset = self.model.top(attempt.channel);
        let expected = StreamPosition { offset, epoch: before.epoch };
        assert_eq!(position.unwrap_or_else(|| expected.clone()), expected);
        assert_eq!(self.history(attempt.channel, &HistoryQuery::default()).unwrap().top, expected);
    }

    fn append(&mut self, attempt: &Attempt) -> (Outcome, Option<StreamPosition>) {
        let channel = name(attempt.channel);
        let publish = Publish {
            data: Bytes::from(vec![0; attempt.bytes]),
            version: Some(Version { number: attempt.version, epoch: String::new() }),
            ..Publish::default()
        };
        let retention = Retention { size: attempt.size, ttl: TTL, meta_ttl: META_TTL };
        let draft = Draft { channel: &channel, publish, now: self.now };
        match self.stripe.append(&self.ledger, draft, retention) {
            Ok(Appended::Accepted(publication)) => (Outcome::Accepted, publication.position.clone()),
            Ok(Appended::Outdated(top)) => (Outcome::Outdated, Some(top)),
            Err(error) => (Outcome::Refused(error), None),
        }
    }

    fn remove(&mut self, channel: usize) {
        self.stripe.clear(&self.ledger, &name(channel));
        if let Some(known) = &mut self.model.channels[channel] {
            known.kept.clear();
        }
    }

    fn read(&mut self, channel: usize, query: &HistoryQuery) {
        let result = self.history(channel, query);
        if query.reverse && query.since.as_ref().is_some_and(|since| since.offset == 0) {
            return assert!(matches!(result, Err(Error::BadRequest(_))));
        }
        let history = result.unwrap();
        assert_eq!(history.top.offset, self.model.top(channel));
        assert_eq!(offsets(&history), self.model.read(channel, query));
        self.model.check_new(channel, &history.top);
    }

    fn history(&mut self, channel: usize, query: &HistoryQuery) -> Result<History, Error> {
        self.stripe.history(&self.ledger, &name(channel), query, self.now)
    }

    /// After a sweep nothing that expired is in the books.
    fn sweep(&mut self) {
        while self.stripe.sweep(&self.ledger, self.now, 2) {}
        self.model.expire(self.now);
        assert_eq!(self.ledger.used(Limit::Channels), self.model.count());
        assert_eq!(self.ledger.used(Limit::HistoryBytes), self.model.bytes());
    }
}

fn name(channel: usize) -> Channel {
    Channel::parse(&format!("c{channel}")).unwrap()
}

fn offsets(history: &History) -> Vec<u64> {
    history.publications.iter().map(|publication| publication.position.as_ref().unwrap().offset).collect()
}

proptest! {
    #[test]
    fn a_stripe_does_what_the_model_does(steps in steps(), tight in any::<bool>()) {
        let mut run = Run::new(tight);
        for step in steps {
            run.step(step);
        }
        run.sweep();
        run.now += META_TTL;
        run.sweep();
        assert_eq!(run.ledger.used(Limit::HistoryBytes), 0);
    }
}
