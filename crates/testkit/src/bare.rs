//! A gateway without the rest of a node, on a broker that takes its time and fails now and then.
//!
//! The broker in memory answers at once, so nothing ever happens while a subscription is being made. One on a network
//! is not like that: here everything happens in between.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fanfare_auth::Verifier;
use fanfare_broker::namespaces::{Access, Audience, ChannelOptions, Namespaces};
use fanfare_broker::{
    Broker, Control, Error, History, HistoryQuery, MemoryBroker, NodeReport, Nodes, Presence, PresenceStats,
    Publications, Publish, Published, Retention, Revocation, Revocations, Revoked, Subject,
};
use fanfare_gateway::{ClientProtocol, Directory, Gateway, Handle, Options, Parts};
use fanfare_protocol::{Channel, ClientInfo};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::client::Opening;
use crate::random::seeded;

/// How a broker behaves.
#[derive(Debug, Clone, Copy)]
pub struct Moods {
    /// Each answer comes so late at most. What it says is as old as that.
    pub delay_max: Duration,
    /// How many of a hundred calls fail.
    pub failures_percent: u32,
}

/// A gateway on a moody broker.
pub struct Bare {
    address: SocketAddr,
    broker: Arc<MoodyBroker>,
    retention: Retention,
    gateway: Gateway,
    _tasks: JoinSet<()>,
}

struct MoodyBroker {
    memory: MemoryBroker,
    moods: Moods,
    random: Mutex<SmallRng>,
    interest: Mutex<BTreeMap<Channel, i64>>,
    removals: Removals,
}

/// How many entries of presence are being removed at this moment, and how many were at the busiest.
#[derive(Default)]
struct Removals {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Bare {
    /// Starts one. Channels are as in [`crate::Setup::new`], but keep 100,000 publications.
    pub async fn start(test: &str, options: Options, moods: Moods) -> Self {
        let directory = Directory::new(&options);
        let memory = MemoryBroker::new(Default::default(), directory.clone(), directory.clone());
        let (random, interest) = (Mutex::new(seeded(test)), Mutex::default());
        let broker = Arc::new(MoodyBroker { memory, moods, random, interest, removals: Removals::default() });
        let retention =
            Retention { size: 100_000, ttl: Duration::from_secs(300), meta_ttl: Duration::from_secs(3_600) };
        let verifier = Verifier::new(fanfare_auth::Options::default()).expect("there is no secret to be wrong");
        let namespaces = Arc::new(Namespaces::new(open_channels(retention), BTreeMap::new()));
        let parts = Parts {
            options: Arc::new(options),
            directory,
            broker: Arc::clone(&broker) as Arc<dyn Broker>,
            verifier: Arc::new(verifier),
            namespaces,
            application: Arc::new(ClientProtocol),
        };
        let gateway = Gateway::start(parts).expect("threads can be started");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, gateway.handle()));
        Self { address, broker, retention, gateway, _tasks: tasks }
    }

    /// A client of it, to be opened.
    pub fn client(&self) -> Opening {
        Opening::new(self.address)
    }

    /// The way to publish to a channel.
    pub fn publisher(&self, channel: &str) -> BarePublisher {
        let channel = Channel::parse(channel).expect("tests name channels that exist");
        BarePublisher { broker: Arc::clone(&self.broker), retention: self.retention, channel }
    }

    /// The last offset of a channel.
    pub async fn top(&self, channel: &str) -> u64 {
        self.publisher(channel).top().await
    }

    /// Carries a command out on the sessions.
    pub async fn control(&self, control: Control) {
        self.broker.memory.control(control).await.expect("the shards answer");
    }

    /// Closes all sessions, within a window.
    pub async fn drain(&self, window: Duration) {
        self.gateway.handle().drain(window).await;
    }

    /// How many entries of presence were being removed at once, at most.
    pub fn removals_at_once(&self) -> usize {
        self.broker.removals.most.load(Ordering::SeqCst)
    }

    /// Who is in a channel, by client id.
    pub async fn present(&self, channel: &str) -> Vec<String> {
        let channel = Channel::parse(channel).expect("tests name channels that exist");
        let present = self.broker.memory.presence(&channel).await.expect("memory answers");
        present.into_keys().collect()
    }

    /// How often interest in a channel was taken and not given back, where that is not zero.
    pub fn interest(&self) -> BTreeMap<String, i64> {
        let interest = self.broker.interest.lock().expect("no test panics with the lock");
        let left = interest.iter().filter(|(_, count)| **count != 0);
        left.map(|(channel, count)| (channel.as_str().to_owned(), *count)).collect()
    }
}

/// Publishes to one channel; the only one that does.
pub struct BarePublisher {
    broker: Arc<MoodyBroker>,
    retention: Retention,
    channel: Channel,
}

impl BarePublisher {
    async fn top(&self) -> u64 {
        let history = self.broker.memory.history(&self.channel, HistoryQuery::default()).await;
        history.expect("memory answers").top.offset
    }

    /// Publishes the number that is the publication's offset, at once and without fail.
    pub async fn publish(&self) {
        let data = format!("{{\"n\":{}}}", self.top().await + 1).into();
        let publish = Publish { data, json: true, retention: Some(self.retention), ..Publish::default() };
        self.broker.memory.publish(&self.channel, publish).await.expect("memory takes it");
    }
}

fn open_channels(retention: Retention) -> ChannelOptions {
    let anyone = Audience::Anyone;
    ChannelOptions {
        retention: Some(retention),
        presence: true,
        join_leave: true,
        access: Access { subscribe: anyone, publish: anyone, read_history: anyone, read_presence: anyone },
    }
}

async fn accept(listener: TcpListener, gateway: Handle) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, gateway.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, gateway: Handle) {
    let service = service_fn(|mut request| {
        let response = gateway.upgrade::<TcpStream>(&mut request);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    if let Err(error) = served {
        eprintln!("a handshake failed: {error}");
    }
}

impl MoodyBroker {
    fn delay(&self) -> Duration {
        let mut random = self.random.lock().expect("no test panics with the lock");
        random.random_range(Duration::ZERO..=self.moods.delay_max)
    }

    fn fails(&self) -> bool {
        let mut random = self.random.lock().expect("no test panics with the lock");
        random.random_range(0..100) < self.moods.failures_percent
    }

    /// Asks, and hands the answer over when it is old.
    async fn late<T: Send>(&self, call: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        tokio::time::sleep(self.delay()).await;
        let answer = call.await;
        tokio::time::sleep(self.delay()).await;
        if self.fails() { Err(Error::Unavailable("out of order for a test")) } else { answer }
    }

    fn count_interest(&self, channel: &Channel, change: i64) {
        let mut interest = self.interest.lock().expect("no test panics with the lock");
        *interest.entry(channel.clone()).or_default() += change;
    }
}

#[async_trait]
impl Publications for MoodyBroker {
    async fn publish(&self, channel: &Channel, publish: Publish) -> Result<Published, Error> {
        self.memory.publish(channel, publish).await
    }

    async fn publish_join(&self, channel: &Channel, info: Arc<ClientInfo>) -> Result<(), Error> {
        self.late(self.memory.publish_join(channel, info)).await
    }

    async fn publish_leave(&self, channel: &Channel, info: Arc<ClientInfo>) -> Result<(), Error> {
        self.late(self.memory.publish_leave(channel, info)).await
    }

    async fn subscribe(&self, channel: &Channel) -> Result<(), Error> {
        self.late(self.memory.subscribe(channel)).await?;
        self.count_interest(channel, 1);
        Ok(())
    }

    fn unsubscribe(&self, channel: &Channel) {
        self.count_interest(channel, -1);
    }

    async fn history(&self, channel: &Channel, query: HistoryQuery) -> Result<History, Error> {
        self.late(self.memory.history(channel, query)).await
    }

    async fn history_remove(&self, channel: &Channel) -> Result<(), Error> {
        self.memory.history_remove(channel).await
    }
}

#[async_trait]
impl Presence for MoodyBroker {
    async fn presence_add(&self, channel: &Channel, info: Arc<ClientInfo>, ttl: Duration) -> Result<(), Error> {
        self.late(self.memory.presence_add(channel, info, ttl)).await
    }

    // Fails never, or an entry would be left until it expires: what a test asks is whether it is asked for.
    async fn presence_remove(&self, channel: &Channel, client: &str) -> Result<(), Error> {
        self.removals.most.fetch_max(self.removals.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(self.delay()).await;
        self.removals.now.fetch_sub(1, Ordering::SeqCst);
        self.memory.presence_remove(channel, client).await
    }

    async fn presence(&self, channel: &Channel) -> Result<BTreeMap<String, Arc<ClientInfo>>, Error> {
        self.late(self.memory.presence(channel)).await
    }

    async fn presence_stats(&self, channel: &Channel) -> Result<PresenceStats, Error> {
        self.late(self.memory.presence_stats(channel)).await
    }
}

#[async_trait]
impl Revocations for MoodyBroker {
    fn revoked(&self) -> &Revoked {
        self.memory.revoked()
    }

    fn is_durable(&self) -> bool {
        self.memory.is_durable()
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        self.memory.revoke(revocation).await
    }

    async fn unrevoke(&self, subject: &Subject) -> Result<bool, Error> {
        self.memory.unrevoke(subject).await
    }
}

#[async_trait]
impl Nodes for MoodyBroker {
    async fn control(&self, control: Control) -> Result<(), Error> {
        self.memory.control(control).await
    }

    async fn nodes(&self) -> Result<Vec<NodeReport>, Error> {
        self.memory.nodes().await
    }

    async fn channels(&self, pattern: Option<&str>) -> Result<BTreeMap<String, u64>, Error> {
        self.memory.channels(pattern).await
    }
}
