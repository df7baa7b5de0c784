//! Publishing through the script: one task takes what is to be published, puts several publications into one call,
//! numbers them, and answers.
//!
//! The numbers rise in the order in which calls are sent. So what a channel remembers of a node
//! (`script/publish.lua`) is enough to tell a publication that is sent again from one that is new: after a connection
//! broke, what it left without an answer is sent again, and published once. After a time-out it is not: the outcome
//! is unknown, and the caller is told so. What Redis refuses was not published, unless it was sent before.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_broker::fault_points::{self, Defect};
use fanfare_broker::{Error, Outcome, Published, StreamPosition};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::admission::Place;
use crate::fault::Fault;
use crate::keys::Keys;
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_PUBLICATIONS_MAX, BATCHES_IN_FLIGHT_MAX, CLUSTER_BATCHES_IN_FLIGHT_MAX, LIFETIME_MAX,
    VERSION_EPOCHS_MAX,
};
use crate::metrics::Counters;
use crate::options::Options;
use crate::routes::{Request, Routes};
use crate::script::{self, Call};
use crate::slots::Slot;

/// A publication on its way to the script.
pub(crate) struct Draft {
    pub(crate) slot: Slot,
    pub(crate) meta: String,
    pub(crate) stream: String,
    /// Where the result is kept, if there is an idempotency key.
    pub(crate) result: Option<String>,
    pub(crate) live: String,
    pub(crate) body: Vec<u8>,
    /// 0 is live only.
    pub(crate) size: usize,
    pub(crate) ttl_millis: u64,
    pub(crate) meta_ttl_millis: u64,
    /// How long the result is kept.
    pub(crate) window_millis: u64,
    /// An entry of the ingest stream, by id: it is published if the one kept as the result is older. Empty is none.
    pub(crate) entry: String,
    /// 0 is none.
    pub(crate) version: u64,
    pub(crate) version_epoch: String,
}

/// Takes publications to the task.
#[derive(Clone)]
pub(crate) struct Publisher {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    draft: Draft,
    place: Place,
    deadline: Instant,
    answer: oneshot::Sender<Result<Published, Error>>,
}

/// A publisher and what runs it. The queue holds what is admitted at most, so it is never full before that is.
pub(crate) fn publisher(options: &Options, sender: Sender) -> (Publisher, Task) {
    let (jobs, queue) = mpsc::channel(options.in_flight_max.max(1));
    let calls_max = if options.server.is_cluster() { CLUSTER_BATCHES_IN_FLIGHT_MAX } else { BATCHES_IN_FLIGHT_MAX };
    (Publisher { jobs }, Task { queue, sender: Arc::new(sender), calls_max, number: 0 })
}

impl Publisher {
    /// Publishes. May be dropped: it is published or not.
    pub(crate) async fn publish(&self, draft: Draft, place: Place, deadline: Instant) -> Result<Published, Error> {
        let (answer, answered) = oneshot::channel();
        let job = Job { draft, place, deadline, answer };
        self.jobs.try_send(job).map_err(|_| Error::Overloaded("too many publications are queued for Redis"))?;
        if fault_points::on(Defect::AcknowledgeEarly) {
            return Ok(Published { position: None, outcome: Outcome::Accepted });
        }
        answered.await.unwrap_or(Err(Error::Unavailable("the node is ending")))
    }
}

/// What puts calls together.
pub(crate) struct Task {
    queue: mpsc::Receiver<Job>,
    sender: Arc<Sender>,
    calls_max: usize,
    number: u64,
}

/// How the callers are told of a fault.
type Telling = fn(Fault) -> Error;

/// What sends them.
pub(crate) struct Sender {
    pub(crate) node: Arc<str>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) counters: Arc<Counters>,
}

impl Task {
    /// Runs until every [`Publisher`] is gone.
    pub(crate) async fn run(mut self) {
        let mut under_way = FuturesUnordered::new();
        let mut jobs = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some(()) = under_way.next() => {}
                count = self.queue.recv_many(&mut jobs, BATCH_PUBLICATIONS_MAX),
                    if under_way.len() < self.calls_max =>
                {
                    if count == 0 {
                        return;
                    }
                    for batch in split(&mut jobs) {
                        let first = self.number + 1;
                        self.number += batch.len() as u64;
                        under_way.push(Arc::clone(&self.sender).send(batch, first));
                    }
                }
            }
        }
    }
}

/// Cuts what has come into calls of one slot and of a bounded size each.
fn split(jobs: &mut Vec<Job>) -> Vec<Vec<Job>> {
    let mut batches = Vec::<(usize, Vec<Job>)>::new();
    let mut open = HashMap::<Slot, usize>::new();
    for job in jobs.drain(..) {
        let (slot, more) = (job.draft.slot, job.draft.body.len());
        let at = open.get(&slot).copied().filter(|at| batches[*at].0.saturating_add(more) <= BATCH_BYTES_MAX);
        let at = at.unwrap_or_else(|| {
            batches.push((0, Vec::new()));
            batches.len() - 1
        });
        open.insert(slot, at);
        let (bytes, batch) = &mut batches[at];
        *bytes = bytes.saturating_add(more);
        batch.push(job);
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}

impl Sender {
    async fn send(self: Arc<Self>, batch: Vec<Job>, first_number: u64) {
        let mut batch = self.refuse_late(batch);
        let mut numbers: Vec<u64> = (first_number..).take(batch.len()).collect();
        let mut told: Telling = Fault::error;
        loop {
            let Some(latest) = batch.iter().map(|job| job.deadline).max() else { return };
            let Some(slot) = batch.first().map(|job| job.draft.slot) else { return };
            let call = self.call(&batch, &numbers);
            match self.routes.send::<Vec<Vec<u8>>>(slot, Request::Script(&call), latest).await {
                Ok(answers) => return self.answer(batch, answers, told),
                Err(Fault::Cut) => self.give_up_late(&mut batch, &mut numbers),
                Err(fault) => return self.refuse(batch, fault, told),
            }
            told = Fault::unsure;
        }
    }

    /// What has waited for too long is not sent: its caller need not wonder what became of it.
    fn refuse_late(&self, batch: Vec<Job>) -> Vec<Job> {
        let now = Instant::now();
        let (late, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(|job| job.deadline <= now);
        self.counters.overloaded.inc_by(late.len() as u64);
        late.into_iter().for_each(|job| job.finish(Err(Error::Overloaded("Redis is too slow for what is published"))));
        batch
    }

    fn call(&self, batch: &[Job], numbers: &[u64]) -> Call {
        let keys = batch.iter().flat_map(|job| {
            let Draft { meta, stream, result, .. } = &job.draft;
            [meta, stream, result.as_ref().unwrap_or(meta)]
        });
        let call =
            Call::new(&script::PUBLISH, &keys.collect::<Vec<_>>()).arg(&*self.node).arg(self.keys.publish_word());
        batch.iter().zip(numbers).fold(call, |call, (job, number)| job.draft.arguments(call, *number))
    }

    /// The connection broke: what still has time is sent again.
    fn give_up_late(&self, batch: &mut Vec<Job>, numbers: &mut Vec<u64>) {
        self.counters.fault(Fault::Cut);
        let now = Instant::now();
        let (late, rest): (Vec<_>, Vec<_>) =
            batch.drain(..).zip(numbers.drain(..)).partition(|(job, _)| job.deadline <= now);
        late.into_iter().for_each(|(job, _)| job.finish(Err(Fault::Cut.error())));
        (*batch, *numbers) = rest.into_iter().unzip();
        self.counters.resent.inc_by(batch.len() as u64);
    }

    fn refuse(&self, batch: Vec<Job>, fault: Fault, told: Telling) {
        self.counters.fault(fault);
        batch.into_iter().for_each(|job| job.finish(Err(told(fault))));
    }

    fn answer(&self, batch: Vec<Job>, answers: Vec<Vec<u8>>, told: Telling) {
        if answers.len() != batch.len() {
            return self.refuse(batch, Fault::Nonsense, told);
        }
        for (job, answer) in batch.into_iter().zip(answers) {
            let published = self.read(&answer, told);
            job.finish(published);
        }
    }

    fn read(&self, answer: &[u8], told: Telling) -> Result<Published, Error> {
        let text = std::str::from_utf8(answer).unwrap_or_default();
        let (kind, rest) = text.split_at_checked(1).unwrap_or_default();
        let outcome = match kind {
            "a" => Outcome::Accepted,
            "r" => Outcome::Repeated,
            "o" => Outcome::Outdated,
            "b" => return Err(Error::Budget { limit: "version epochs of a channel" }),
            "e" => return Err(told(self.failed("e", rest))),
            other => return Err(self.failed(other, rest).unsure()),
        };
        let position = read_position(rest);
        if position.is_none() && rest != "-" {
            return Err(self.failed("", "").unsure());
        }
        Ok(Published { position, outcome })
    }

    fn failed(&self, kind: &str, text: &str) -> Fault {
        let fault = match kind {
            "e" | "w" => Fault::of_text(text),
            // Sent again too late to know whether it was published the first time.
            "u" => Fault::Cut,
            _ => Fault::Nonsense,
        };
        tracing::debug!(?fault, "Redis did not take a publication");
        self.counters.fault(fault);
        fault
    }
}

/// Reads `offset:epoch`.
pub(crate) fn read_position(text: &str) -> Option<StreamPosition> {
    let (offset, epoch) = text.split_once(':')?;
    Some(StreamPosition { offset: offset.parse().ok()?, epoch: epoch.into() })
}

impl Draft {
    fn arguments(&self, call: Call, number: u64) -> Call {
        let window = self.result.as_ref().map_or(String::new(), |_| self.window_millis.to_string());
        let version = if self.version == 0 { String::new() } else { self.version.to_string() };
        call.arg(&self.live)
            .arg(&self.body)
            .arg(self.size)
            .arg(self.ttl_millis)
            .arg(self.meta_ttl_millis)
            .arg(random_part())
            .arg(number)
            .arg(window)
            .arg(version)
            .arg(&self.version_epoch)
            .arg(VERSION_EPOCHS_MAX)
            .arg(&self.entry)
    }
}

/// The stored part of an epoch: twelve letters and digits of five bits each.
pub(crate) fn random_part() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let random: u64 = rand::random();
    (0..12).map(|at| ALPHABET[(random >> (at * 5)) as usize % 32] as char).collect()
}

impl Job {
    fn finish(self, published: Result<Published, Error>) {
        drop(self.place);
        // The caller may have gone.
        let _ = self.answer.send(published);
    }
}

/// A lifetime as Redis takes it: at least a millisecond, since none would delete.
pub(crate) fn millis(lifetime: std::time::Duration) -> u64 {
    u64::try_from(lifetime.min(LIFETIME_MAX).as_millis()).unwrap_or(u64::MAX).max(1)
}
