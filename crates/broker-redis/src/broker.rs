//! The broker itself: the traits, on top of the parts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fanfare_broker::revocations::RevocationMetrics;
use fanfare_broker::{
    Control, Error, History, HistoryQuery, NodeReport, NodeSink, Outcome, Presence, PresenceStats, PublicationSink,
    Publications, Publish, Published, Retention, Revocation, Revoked, Subject,
};
use fanfare_protocol::{Channel, ClientInfo};
use prometheus::core::Collector;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::checker::Checker;
use crate::consumer::Consumer;
use crate::envelope;
use crate::fault::Fault;
use crate::ingest::lease::Lease;
use crate::ingest::{Ingest, IngestOptions};
use crate::interest::Interest;
use crate::keys::Keys;
use crate::limits::{IDEMPOTENCY_WINDOW, WORDS_QUEUED_MAX};
use crate::metrics::{Counters, Metrics};
use crate::nodes::Nodes;
use crate::options::Options;
use crate::presence::Rosters;
use crate::publisher::{Draft, Publisher, Sender, millis, publisher, random_part};
use crate::reads::Reads;
use crate::revocations::{Revocations, Standing};
use crate::rights;
use crate::routes::Routes;
use crate::streams::Streams;
use crate::topology::Topology;

/// Why the broker is not ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(String);

/// The broker of many nodes. Its tasks end when it is dropped.
pub struct RedisBroker {
    options: Arc<Options>,
    keys: Arc<Keys>,
    routes: Arc<Routes>,
    interest: Arc<Interest>,
    admission: Admission,
    publisher: Publisher,
    streams: Streams,
    rosters: Rosters,
    nodes: Arc<Nodes>,
    revocations: Arc<Revocations>,
    counters: Arc<Counters>,
    tasks: Mutex<JoinSet<()>>,
    lease: Arc<Lease>,
}

impl RedisBroker {
    /// Starts a broker, within a tokio runtime. It does not wait for Redis: until that is there, everything fails as
    /// unavailable. See [`Self::ready`].
    pub fn start(options: Options, sink: Arc<dyn PublicationSink>, node: Arc<dyn NodeSink>) -> Self {
        let (options, id) = (Arc::new(options), Arc::<str>::from(random_part()));
        let keys = Arc::new(Keys::new(&options.prefix, &id, options.server.is_cluster()));
        let counters = Arc::new(Counters::new());
        let routes = Arc::new(Routes::new(Arc::clone(&options), Arc::clone(&counters)));
        let own = [Arc::clone(&keys.control), Arc::clone(&keys.answers)];
        let interest = Arc::new(Interest::new(options.linger, Arc::clone(&keys), &own));
        let sender = Sender {
            node: Arc::clone(&id),
            keys: Arc::clone(&keys),
            routes: Arc::clone(&routes),
            counters: Arc::clone(&counters),
        };
        let (publisher, publishing) = publisher(&options, sender);
        let (words, heard) = mpsc::channel(WORDS_QUEUED_MAX);
        let lease = Arc::new(Lease::new(Arc::clone(&id), Arc::clone(&keys), Arc::clone(&routes)));
        let revocations = Arc::new(Revocations::new(
            Arc::clone(&keys),
            Arc::clone(&routes),
            Arc::clone(&node),
            Arc::clone(&counters),
        ));
        let (own_keys, own_routes) = (Arc::clone(&keys), Arc::clone(&routes));
        let nodes = Arc::new(Nodes::new(id, own_keys, own_routes, node, Arc::clone(&revocations)));
        let topology = Topology::new(Consumer {
            options: Arc::clone(&options),
            keys: Arc::clone(&keys),
            interest: Arc::clone(&interest),
            routes: Arc::clone(&routes),
            sink: Arc::clone(&sink),
            words,
            revocations: Arc::clone(&revocations),
            counters: Arc::clone(&counters),
        });
        let checker = Checker {
            keys: Arc::clone(&keys),
            interest: Arc::clone(&interest),
            routes: Arc::clone(&routes),
            sink,
            counters: Arc::clone(&counters),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(topology.run());
        tasks.spawn(publishing.run());
        tasks.spawn(async move { checker.run().await });
        tasks.spawn(Arc::clone(&nodes).listen(heard));
        tasks.spawn({
            let nodes = Arc::clone(&nodes);
            async move { nodes.stay().await }
        });
        tasks.spawn({
            let revocations = Arc::clone(&revocations);
            async move { revocations.keep_up().await }
        });
        let admission = Admission::new(&options, Arc::clone(&counters));
        Self {
            streams: Streams {
                admission: admission.clone(),
                options: Arc::clone(&options),
                keys: Arc::clone(&keys),
                routes: Arc::clone(&routes),
                interest: Arc::clone(&interest),
                counters: Arc::clone(&counters),
                reads: Reads::default(),
            },
            rosters: Rosters { keys: Arc::clone(&keys), routes: Arc::clone(&routes) },
            admission,
            options,
            keys,
            routes,
            interest,
            publisher,
            nodes,
            revocations,
            counters,
            tasks: Mutex::new(tasks),
            lease,
        }
    }

    /// Has this node read the ingest stream whenever it is its turn: one of all nodes does that were told to.
    pub fn start_ingest(&self, ingest: IngestOptions) {
        self.counters.ingest.start();
        let ingest = Ingest {
            ingest,
            options: Arc::clone(&self.options),
            keys: Arc::clone(&self.keys),
            routes: Arc::clone(&self.routes),
            admission: self.admission.clone(),
            publisher: self.publisher.clone(),
            counters: Arc::clone(&self.counters),
            lease: Arc::clone(&self.lease),
        };
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(ingest.run());
    }

    /// Whether all connections to Redis are up, and the revocations known.
    ///
    /// # Errors
    /// What is missing.
    pub fn ready(&self) -> Result<(), NotReady> {
        let map = self.routes.map();
        if map.shards.is_empty() {
            return Err(NotReady(match map.fault.unwrap_or(Fault::Disconnected) {
                Fault::NoPermission => rights::advice(&self.options, &self.keys, &[]),
                fault => fault.to_string(),
            }));
        }
        for shard in &map.shards {
            if let Some(fault) = shard.link.fault() {
                let reason = shard.link.missing_rights().unwrap_or_else(|| fault.to_string());
                let address = shard.address.as_ref().filter(|_| self.options.server.is_cluster());
                return Err(NotReady(match address {
                    Some(address) => format!("{address}: {reason}"),
                    None => reason,
                }));
            }
        }
        match map.owners.orphans() {
            0 if self.interest.is_listening() => self.revocations_are_current(),
            0 => Err(NotReady("the pub/sub connection to Redis is not up".to_owned())),
            orphans => Err(NotReady(format!("{orphans} slots of the Redis Cluster have no master"))),
        }
    }

    fn revocations_are_current(&self) -> Result<(), NotReady> {
        match self.revocations.standing() {
            Standing::Current => Ok(()),
            Standing::Unread => Err(NotReady("the revocations are not read yet".to_owned())),
            Standing::Stale(_, fault) => {
                let why = fault.map_or_else(String::new, |fault| format!(": {fault}"));
                Err(NotReady(format!("the revocations cannot be read{why}")))
            }
        }
    }

    /// What clients are judged by while the broker is not ready, for whoever asks why it is not.
    pub fn judged_by(&self) -> String {
        match self.revocations.standing() {
            Standing::Current => "the revocations are current".to_owned(),
            Standing::Unread => "the revocations are not known yet, so nobody is let in".to_owned(),
            Standing::Stale(age, _) => format!("the revocations known {} s ago hold", age.as_secs()),
        }
    }

    /// Waits until the broker is ready, for at most `within`.
    ///
    /// # Errors
    /// What is still missing then.
    pub async fn wait_ready(&self, within: Duration) -> Result<(), NotReady> {
        let deadline = Instant::now() + within;
        loop {
            let ready = self.ready();
            if ready.is_ok() || Instant::now() >= deadline {
                return ready;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Takes the node off the list of nodes and ends everything.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        self.lease.give_up().await;
        self.nodes.leave().await;
        tasks.shutdown().await;
    }

    /// The metrics, to be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 2] {
        let revocations = RevocationMetrics::new(Arc::clone(&self.revocations.held));
        [Box::new(Metrics(Arc::clone(&self.counters))), Box::new(revocations)]
    }

    /// A plain PUBLISH. It is sent once: whether it arrived is not to be found out.
    async fn publish_live(&self, channel: &Channel, message: &[u8]) -> Result<(), Error> {
        let _place = self.admission.enter(message.len())?;
        let live = self.keys.live(channel);
        let command = self.keys.publish(&live, message);
        self.routes.ask::<i64>(self.keys.slot(&live), &command).await.map(drop).map_err(Fault::error)
    }
}

impl std::fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBroker").field("options", &self.options).finish_non_exhaustive()
    }
}

#[async_trait]
impl Publications for RedisBroker {
    async fn publish(&self, channel: &Channel, publish: Publish) -> Result<Published, Error> {
        let retention = publish.retention.filter(|retention| retention.size > 0 && !publish.skip_history);
        let published = if retention.is_none() && publish.idempotency_key.is_none() {
            self.publish_live(channel, &envelope::live(&publish)).await?;
            Published { position: None, outcome: Outcome::Accepted }
        } else {
            let draft = draft(&self.keys, channel, &publish, retention);
            let place = self.admission.enter(draft.body.len())?;
            self.publisher.publish(draft, place, self.routes.deadline()).await?
        };
        self.counters.published(published.outcome);
        Ok(published)
    }

    async fn publish_join(&self, channel: &Channel, info: Arc<ClientInfo>) -> Result<(), Error> {
        self.publish_live(channel, &envelope::join(&info)).await
    }

    async fn publish_leave(&self, channel: &Channel, info: Arc<ClientInfo>) -> Result<(), Error> {
        self.publish_live(channel, &envelope::leave(&info)).await
    }

    async fn subscribe(&self, channel: &Channel) -> Result<(), Error> {
        self.interest.subscribe(channel, self.routes.deadline()).await
    }

    fn unsubscribe(&self, channel: &Channel) {
        self.interest.unsubscribe(channel);
    }

    async fn history(&self, channel: &Channel, query: HistoryQuery) -> Result<History, Error> {
        self.streams.history(channel, &query).await
    }

    async fn history_remove(&self, channel: &Channel) -> Result<(), Error> {
        let _place = self.admission.enter(0)?;
        self.streams.remove(channel).await
    }
}

#[async_trait]
impl Presence for RedisBroker {
    async fn presence_add(&self, channel: &Channel, info: Arc<ClientInfo>, ttl: Duration) -> Result<(), Error> {
        let _place = self.admission.enter(0)?;
        self.rosters.add(channel, &info, ttl).await.map_err(Fault::unsure)
    }

    async fn presence_remove(&self, channel: &Channel, client: &str) -> Result<(), Error> {
        let _place = self.admission.enter(0)?;
        self.rosters.remove(channel, client).await.map_err(Fault::unsure)
    }

    async fn presence(&self, channel: &Channel) -> Result<BTreeMap<String, Arc<ClientInfo>>, Error> {
        let _place = self.admission.enter(0)?;
        self.rosters.members(channel).await.map_err(Fault::error)
    }

    async fn presence_stats(&self, channel: &Channel) -> Result<PresenceStats, Error> {
        let _place = self.admission.enter(0)?;
        self.rosters.stats(channel).await.map_err(Fault::error)
    }
}

#[async_trait]
impl fanfare_broker::Nodes for RedisBroker {
    async fn control(&self, control: Control) -> Result<(), Error> {
        self.nodes.control(control).await
    }

    async fn nodes(&self) -> Result<Vec<NodeReport>, Error> {
        self.nodes.reports().await
    }

    async fn channels(&self, pattern: Option<&str>) -> Result<BTreeMap<String, u64>, Error> {
        self.nodes.channels(pattern).await
    }
}

#[async_trait]
impl fanfare_broker::Revocations for RedisBroker {
    fn revoked(&self) -> &Revoked {
        &self.revocations.held
    }

    fn is_durable(&self) -> bool {
        true
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        let change = self.revocations.keep(&revocation).await?;
        self.nodes.judge(change).await
    }

    async fn unrevoke(&self, subject: &Subject) -> Result<bool, Error> {
        let Some(change) = self.revocations.take_back(subject).await? else { return Ok(false) };
        self.nodes.judge(change).await.map(|()| true)
    }
}

/// A publication as the script takes it, kept if there is a retention.
pub(crate) fn draft(keys: &Keys, channel: &Channel, publish: &Publish, retention: Option<Retention>) -> Draft {
    let key = publish.idempotency_key.as_ref();
    let version = publish.version.as_ref().filter(|_| retention.is_some());
    let lifetime = |of: fn(&Retention) -> Duration| retention.as_ref().map_or(Duration::ZERO, of);
    let meta = keys.meta(channel);
    Draft {
        slot: keys.slot(&meta),
        meta,
        stream: keys.stream(channel),
        result: key.map(|key| keys.result(channel, key)),
        live: keys.live(channel),
        body: envelope::body(publish),
        size: retention.map_or(0, |retention| retention.size),
        ttl_millis: millis(lifetime(|retention| retention.ttl)),
        meta_ttl_millis: millis(lifetime(|retention| retention.meta_ttl.max(retention.ttl))),
        window_millis: millis(IDEMPOTENCY_WINDOW),
        entry: String::new(),
        version: version.map_or(0, |version| version.number),
        version_epoch: version.map_or(String::new(), |version| version.epoch.clone()),
    }
}
