//! Node to node: commands to sessions wherever they are, and what all nodes tell of themselves.
//!
//! A request goes to all nodes through one pub/sub channel, answers come back through the asking node's own. Who has
//! to answer says a list in Redis on which every node puts itself every second; a node that is gone leaves it after
//! [`NODE_TTL`]. Whoever is on the list and does not answer in time is named to the caller, who thus learns that the
//! answer is not whole. The asking node does its own part directly.
//!
//! An entry of the list is the id that answers carry, then what `fanfare info` shows of the node: `ID UID NAME`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_broker::{Control, Error, NodeReport, NodeSink};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::consumer::Word;
use crate::fault::Fault;
use crate::keys::Keys;
use crate::limits::{
    ANSWERS_QUEUED_MAX, CHANNELS_PER_ANSWER, HEARTBEAT, NODE_NAME_CHARS_MAX, NODE_TTL, NODES_NAMED_MAX,
    REQUESTS_AT_ONCE_MAX, SURVEY_TIMEOUT,
};
use crate::publisher::millis;
use crate::revocations::Revocations;
use crate::routes::Routes;
use crate::script::{self, Call};
use crate::wire::{Answer, Command, List, Request, RevocationChange};

/// The other nodes.
pub(crate) struct Nodes {
    pub(crate) id: Arc<str>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) node: Arc<dyn NodeSink>,
    revocations: Arc<Revocations>,
    /// What stands in the list for this node.
    entry: String,
    surveys: Mutex<HashMap<u64, mpsc::Sender<Answer>>>,
    next_survey: AtomicU64,
}

/// A survey that is forgotten when it is dropped.
struct Survey<'a> {
    nodes: &'a Nodes,
    id: u64,
    answers: mpsc::Receiver<Answer>,
}

impl Drop for Survey<'_> {
    fn drop(&mut self) {
        self.nodes.surveys().remove(&self.id);
    }
}

impl Nodes {
    pub(crate) fn new(
        id: Arc<str>,
        keys: Arc<Keys>,
        routes: Arc<Routes>,
        node: Arc<dyn NodeSink>,
        revocations: Arc<Revocations>,
    ) -> Self {
        let report = node.report();
        let entry = format!("{id} {} {}", report.uid, report.name);
        Self { id, keys, routes, node, revocations, entry, surveys: Mutex::default(), next_survey: AtomicU64::new(0) }
    }

    fn surveys(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Answer>>> {
        self.surveys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries a command out here and on all other nodes.
    pub(crate) async fn control(&self, control: Control) -> Result<(), Error> {
        let request = Request { command: Some(Command::from(&control)), ..Request::default() };
        let (here, there) = tokio::join!(self.node.apply(control), self.ask(request));
        let failed = there?.iter().any(|answer| answer.failed);
        here?;
        if failed { Err(Error::Unavailable("a node did not carry the command out")) } else { Ok(()) }
    }

    /// Judges by a change of the revocations, here and on all other nodes.
    pub(crate) async fn judge(&self, change: RevocationChange) -> Result<(), Error> {
        let request = Request { revocation: Some(change.clone()), ..Request::default() };
        let (here, there) = tokio::join!(self.revocations.take(&change), self.ask(request));
        here?;
        match there?.iter().any(|answer| answer.failed) {
            true => Err(Error::Unavailable("it is kept, but a node has not closed all that it concerns")),
            false => Ok(()),
        }
    }

    /// The reports of all nodes.
    pub(crate) async fn reports(&self) -> Result<Vec<NodeReport>, Error> {
        let answers = self.ask(Request { report: true, ..Request::default() }).await?;
        let others = answers.into_iter().filter_map(|answer| answer.report).map(NodeReport::from);
        Ok(std::iter::once(self.node.report()).chain(others).collect())
    }

    /// The channels of all nodes.
    pub(crate) async fn channels(&self, pattern: Option<&str>) -> Result<BTreeMap<String, u64>, Error> {
        let list = List { pattern: pattern.map(str::to_owned) };
        let answers = self.ask(Request { list: Some(list), ..Request::default() }).await?;
        let mut channels = self.node.channels(pattern);
        for (name, subscribers) in answers.into_iter().flat_map(|answer| answer.channels) {
            *channels.entry(name).or_default() += subscribers;
        }
        Ok(channels)
    }

    /// Asks all other nodes; the answers of all that are there. May be dropped: they may have done it all the same.
    async fn ask(&self, request: Request) -> Result<Vec<Answer>, Error> {
        let deadline = Instant::now() + SURVEY_TIMEOUT;
        let mut survey = self.begin();
        let request = Request { id: survey.id, from: self.id.to_string(), ..request };
        // Never called refused: the asking node does its own part meanwhile.
        let listed = self.heartbeat(millis(NODE_TTL)).await.map_err(Fault::unsure)?;
        let mut missing: HashMap<String, String> = listed.iter().map(|entry| read_entry(entry)).collect();
        missing.remove(&*self.id);
        self.say(&self.keys.control, &request.encode_to_vec()).await.map_err(Fault::unsure)?;
        let mut answers = Vec::new();
        while !missing.is_empty() {
            let Ok(Some(answer)) = timeout_at(deadline, survey.answers.recv()).await else {
                return Err(lacking(missing));
            };
            if !answer.more {
                missing.remove(&answer.from);
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    fn begin(&self) -> Survey<'_> {
        let (sender, answers) = mpsc::channel(ANSWERS_QUEUED_MAX);
        let id = self.next_survey.fetch_add(1, Ordering::Relaxed);
        self.surveys().insert(id, sender);
        Survey { nodes: self, id, answers }
    }

    async fn say(&self, channel: &str, bytes: &[u8]) -> Result<i64, Fault> {
        self.routes.ask(self.keys.slot(channel), &self.keys.publish(channel, bytes)).await
    }

    /// Puts this node on the list for so many milliseconds; 0 takes it off. Gives the list.
    async fn heartbeat(&self, ttl_millis: u64) -> Result<Vec<String>, Fault> {
        let call = Call::new(&script::NODES, &[&*self.keys.nodes]).arg(&self.entry).arg(ttl_millis);
        self.routes.call(self.keys.slot(&self.keys.nodes), &call).await
    }

    /// Takes this node off the list, if Redis can be reached.
    pub(crate) async fn leave(&self) {
        if let Err(fault) = self.heartbeat(0).await {
            tracing::debug!(?fault, "the node could not take itself off the list");
        }
    }

    /// Stays on the list, for ever.
    pub(crate) async fn stay(&self) {
        loop {
            if let Err(fault) = self.heartbeat(millis(NODE_TTL)).await {
                tracing::debug!(?fault, "the node could not put itself on the list");
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
    }

    /// Answers other nodes, and takes in their answers, until nobody speaks any more.
    pub(crate) async fn listen(self: Arc<Self>, mut words: mpsc::Receiver<Word>) {
        let mut answering = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = answering.join_next() => {}
                word = words.recv(), if answering.len() < REQUESTS_AT_ONCE_MAX => match word {
                    Some(Word::Request(bytes)) => {
                        answering.spawn(Arc::clone(&self).answer(bytes));
                    }
                    Some(Word::Answer(bytes)) => self.take_answer(&bytes),
                    None => return,
                },
            }
        }
    }

    fn take_answer(&self, bytes: &[u8]) {
        let Ok(answer) = Answer::decode(bytes) else { return };
        let survey = self.surveys().get(&answer.id).cloned();
        if let Some(survey) = survey {
            // Over the bound, or late: the deadline tells.
            let _ = survey.try_send(answer);
        }
    }

    async fn answer(self: Arc<Self>, bytes: Vec<u8>) {
        let Ok(request) = Request::decode(&bytes[..]) else { return };
        if *request.from == *self.id {
            return;
        }
        let to = self.keys.answers_of(&request.from);
        for answer in self.answers_to(request).await {
            if let Err(fault) = self.say(&to, &answer.encode_to_vec()).await {
                return tracing::debug!(?fault, "another node was not answered");
            }
        }
    }

    async fn answers_to(&self, request: Request) -> Vec<Answer> {
        let answer = Answer { id: request.id, from: self.id.to_string(), ..Answer::default() };
        if let Some(list) = request.list {
            return in_parts(&answer, self.node.channels(list.pattern.as_deref()));
        }
        if request.report {
            return vec![Answer { report: Some(self.node.report().into()), ..answer }];
        }
        if let Some(change) = request.revocation {
            let failed = self.revocations.take(&change).await.is_err();
            return vec![Answer { failed, ..answer }];
        }
        let done = match request.command.and_then(Command::into_control) {
            Some(control) => self.node.apply(control).await.is_ok(),
            None => false,
        };
        vec![Answer { failed: !done, ..answer }]
    }
}

fn in_parts(answer: &Answer, channels: BTreeMap<String, u64>) -> Vec<Answer> {
    let mut channels = channels.into_iter().peekable();
    let mut parts = Vec::new();
    loop {
        let part: BTreeMap<String, u64> = channels.by_ref().take(CHANNELS_PER_ANSWER).collect();
        let more = channels.peek().is_some();
        parts.push(Answer { channels: part, more, ..answer.clone() });
        if !more {
            return parts;
        }
    }
}

/// The id of a listed node, and what it is called. Anybody may have written the list: a name is cut, and has nothing
/// in it that a terminal obeys.
fn read_entry(entry: &str) -> (String, String) {
    let (id, shown) = entry.split_once(' ').unwrap_or((entry, ""));
    let named = match shown.split_once(' ') {
        Some((uid, name)) if !name.is_empty() => format!("{name} ({uid})"),
        _ => id.to_owned(),
    };
    let printable = named.chars().filter(|char| !char.is_control());
    (id.to_owned(), printable.take(NODE_NAME_CHARS_MAX).collect())
}

fn lacking(missing: HashMap<String, String>) -> Error {
    let mut nodes: Vec<String> = missing.into_values().collect();
    nodes.sort();
    tracing::warn!(?nodes, "nodes did not answer in time");
    let more = nodes.len().saturating_sub(NODES_NAMED_MAX);
    nodes.truncate(NODES_NAMED_MAX);
    if more > 0 {
        nodes.push(format!("{more} more"));
    }
    Error::NodesMissing(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_node_has_an_id_and_a_name() {
        let read = |entry| {
            let (id, name) = read_entry(entry);
            format!("{id}: {name}")
        };
        assert_eq!(read("n1 5079c3ed web 1"), "n1: web 1 (5079c3ed)");
        assert_eq!(read("n1 5079c3ed "), "n1: n1");
        assert_eq!(read("n1"), "n1: n1");
        assert_eq!(read("n1 u \x1b[31mred\n"), "n1: [31mred (u)");
        assert_eq!(read_entry(&format!("n u {}", "x".repeat(5000))).1.len(), NODE_NAME_CHARS_MAX);
    }

    #[test]
    fn a_few_missing_nodes_are_named() {
        let missing = |count: usize| (0..count).map(|node| (node.to_string(), format!("n{node}"))).collect();
        assert_eq!(lacking(missing(2)).to_string(), "unavailable: no answer from n0, n1");
        let Error::NodesMissing(named) = lacking(missing(100)) else { panic!("nodes are missing") };
        assert_eq!((named.len(), named.last().unwrap().as_str()), (NODES_NAMED_MAX + 1, "92 more"));
    }

    #[test]
    fn a_long_list_comes_in_parts() {
        for (channels, parts) in [(0, 1), (1, 1), (CHANNELS_PER_ANSWER, 1), (CHANNELS_PER_ANSWER + 1, 2)] {
            let all: BTreeMap<String, u64> = (0..channels).map(|number| (number.to_string(), 1)).collect();
            let answers = in_parts(&Answer::default(), all.clone());
            assert_eq!(answers.len(), parts);
            assert_eq!(answers.iter().filter(|answer| !answer.more).count(), 1);
            assert!(!answers.last().unwrap().more);
            let together: BTreeMap<_, _> = answers.into_iter().flat_map(|answer| answer.channels).collect();
            assert_eq!(together, all);
        }
    }
}
