//! A whole run: starts everything, breaks what the plan says, lets it come to rest now and then, and hands over what
//! was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::board::Board;
use super::cluster::Cluster;
use super::faults::{Breaker, ClientBreaker};
use super::history::{Calm, Header, History, Outcome, Record};
use super::judge::CALM_MAX;
use super::listener::{Listener, Listening, Manner};
use super::plan::{Plan, Round};
use super::publisher::{Publisher, Publishing};
use super::recorder::Recorder;
use super::wire::Wire;
use super::witness::Witness;

/// Channels that a witness follows.
const WITNESSED: usize = 20;

/// How long everybody may take to be subscribed in the beginning.
const BEGIN_MAX: Duration = Duration::from_secs(60);

/// How long publishers may take to end what they are doing.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// How long a run goes on publishing after the last fault, until it has what it has to have.
const OVERTIME_MAX: Duration = Duration::from_secs(120);

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The `fanfare` binary.
    pub binary: PathBuf,
    /// A folder for logs and dumps.
    pub folder: PathBuf,
    /// A fault point that is switched on in the nodes.
    pub defect: Option<String>,
}

/// A run that has ended: what was seen, and what ended it before its time.
pub struct Ended {
    /// What was seen.
    pub history: History,
    /// Why it ended before its time, if it did.
    pub broken_off: Option<String>,
}

struct Run {
    plan: Plan,
    header: Header,
    recorder: Arc<Recorder>,
    publishing: Publishing,
    breaker: Breaker,
    clients: ClientBreaker,
    calm: watch::Sender<bool>,
    sentinels: Publisher,
}

/// Everybody who listens.
struct Audience {
    followers: JoinSet<()>,
    witnesses: JoinSet<io::Result<()>>,
    stop: watch::Sender<bool>,
}

impl Audience {
    /// The raw clients and the witnesses of a plan.
    async fn start(plan: &Plan, header: &Header, listening: Listening, witness_wire: &Wire) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let listening = Listening { stopped: stopped.clone(), ..listening };
        let (mut random, mut followers) = (SmallRng::seed_from_u64(plan.seed ^ 2), JoinSet::new());
        for number in 0..plan.clients {
            let channels = header.interests[number as usize].clone();
            let listener = Listener::new(listening.clone(), number, channels, manner(number), random.random());
            followers.spawn(listener.run());
        }
        let mut witnesses = JoinSet::new();
        for number in &header.witnesses {
            let channels = &header.interests[*number as usize];
            let witness = Witness::start(Arc::clone(&listening.recorder), *number, witness_wire, channels).await?;
            witnesses.spawn(witness.run(stopped.clone()));
        }
        Ok(Self { followers, witnesses, stop })
    }

    /// Everybody leaves. Says why, if somebody had to leave before.
    async fn leave(mut self) -> Option<String> {
        self.stop.send_replace(true);
        let mut left = None;
        while let Some(ended) = self.followers.join_next().await {
            left = left.or_else(|| ended.err().map(|error| format!("a client of the checker: {error}")));
        }
        while let Some(ended) = self.witnesses.join_next().await {
            let ended = ended.map_err(io::Error::other).and_then(|ended| ended);
            left = left.or_else(|| ended.err().map(|error| format!("the witness: {error}")));
        }
        left
    }
}

/// Runs a plan.
///
/// # Errors
/// Where what is to be tested cannot be started.
pub async fn run(plan: Plan, places: Places) -> io::Result<Ended> {
    let board = Arc::new(Board::default());
    let cluster = Cluster::start(&places.binary, &places.folder, places.defect.as_deref(), &board).await?;
    let witness_wire = Arc::new(Wire::start(cluster.nodes[0].address())?);
    let header = header(&plan, places.defect);
    let listening = Listening::new(Arc::clone(&board), Arc::clone(&cluster.node_wires));
    let clients = ClientBreaker::new(&listening, Arc::clone(&witness_wire), plan.clients);
    let publishing = publishing(&plan, &listening);
    let audience = Audience::start(&plan, &header, listening.clone(), &witness_wire).await?;
    let mut run = Run {
        breaker: Breaker::new(cluster, board, Arc::clone(&listening.recorder)),
        recorder: listening.recorder,
        calm: listening.calm,
        sentinels: Publisher::new(publishing.clone(), plan.seed ^ 1),
        plan,
        header,
        publishing,
        clients,
    };
    let broken_off = run.carry_out().await.err().map(|error| error.to_string());
    let left = audience.leave().await;
    let history = History { header: run.header, records: run.recorder.finish() };
    Ok(Ended { history, broken_off: broken_off.or(left) })
}

fn publishing(plan: &Plan, listening: &Listening) -> Publishing {
    Publishing {
        recorder: Arc::clone(&listening.recorder),
        board: Arc::clone(&listening.board),
        wires: Arc::clone(&listening.wires),
        channels: plan.channels,
        pause: Duration::from_millis(plan.pause_millis),
        stopped: Arc::new(AtomicBool::new(false)),
        calm: listening.calm.subscribe(),
        busy: Arc::new(AtomicUsize::new(0)),
    }
}

/// Of each manner some.
fn manner(number: u32) -> Manner {
    Manner { protobuf: number.is_multiple_of(5), server_side: number % 6 == 1, hopping: number.is_multiple_of(2) }
}

fn header(plan: &Plan, defect: Option<String>) -> Header {
    let mut random = SmallRng::seed_from_u64(plan.seed ^ 3);
    // The last tenth has two followers each, so that nodes come to it and leave it.
    let wide = plan.channels - plan.channels / 10;
    let mut interests: Vec<BTreeSet<u32>> = (0..plan.clients)
        .map(|number| sample(&mut random, wide, plan.channels_per_client / share(manner(number))))
        .collect();
    for channel in wide..plan.channels {
        for _ in 0..2 {
            let follower = random.random_range(0..plan.clients / 2) * 2;
            interests[follower as usize].insert(channel);
        }
    }
    interests.push(sample(&mut random, wide, WITNESSED));
    let interests = interests.into_iter().map(|channels| channels.into_iter().collect()).collect();
    Header { seed: plan.seed, defect, interests, witnesses: vec![plan.clients], minima: plan.minima }
}

/// All that a server-side client missed comes in one reply, which may take half of an outbox: it follows fewer channels.
fn share(manner: Manner) -> usize {
    if manner.server_side { 4 } else { 1 }
}

fn sample(random: &mut SmallRng, below: u32, count: usize) -> BTreeSet<u32> {
    let mut chosen = BTreeSet::new();
    while chosen.len() < count.min(below as usize) {
        chosen.insert(random.random_range(0..below));
    }
    chosen
}

impl Run {
    async fn carry_out(&mut self) -> io::Result<()> {
        self.everybody_subscribed().await?;
        let mut publishers = JoinSet::new();
        for number in 0..self.plan.publishers as u64 {
            publishers.spawn(Publisher::new(self.publishing.clone(), self.plan.seed ^ (number << 8)).run());
        }
        let rounds = self.plan.rounds.clone();
        for (number, round) in rounds.iter().enumerate() {
            let last = number + 1 == rounds.len();
            self.round(round).await?;
            if last {
                self.overtime().await;
            }
            self.come_to_rest(number as u32 + 1, round.ends_in_outage).await?;
        }
        self.publishing.stopped.store(true, Ordering::Relaxed);
        while publishers.join_next().await.is_some() {}
        Ok(())
    }

    async fn everybody_subscribed(&self) -> io::Result<()> {
        let deadline = Instant::now() + BEGIN_MAX;
        let wanted: usize = self.header.interests.iter().map(Vec::len).sum();
        while self.recorder.followed() < wanted {
            if Instant::now() > deadline {
                let message = format!("{} of {wanted} subscriptions were made", self.recorder.followed());
                return Err(io::Error::other(message));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Servers and clients side by side.
    async fn round(&mut self, round: &Round) -> io::Result<()> {
        let (breaker, clients) = (&mut self.breaker, &mut self.clients);
        let servers = async {
            for step in &round.servers {
                breaker.strike(step).await?;
                sleep(Duration::from_millis(300 + step.millis)).await;
            }
            Ok(())
        };
        let others = async {
            for step in &round.clients {
                clients.strike(step).await;
                sleep(Duration::from_millis(500)).await;
            }
        };
        let (broken, ()) = tokio::join!(servers, others);
        if round.servers.is_empty() && round.clients.is_empty() {
            sleep(Duration::from_secs(5)).await;
        }
        broken
    }

    /// Goes on publishing until the run has what it has to have.
    async fn overtime(&self) {
        let (minima, deadline) = (&self.plan.minima, Instant::now() + OVERTIME_MAX);
        let enough =
            || self.recorder.acknowledged() >= minima.publications && self.recorder.deliveries() >= minima.deliveries;
        while !enough() && Instant::now() < deadline {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The faults stop, a sentinel goes to every channel, and everybody has to be at it.
    async fn come_to_rest(&mut self, number: u32, in_outage: bool) -> io::Result<()> {
        self.calm.send_replace(true);
        let deadline = Instant::now() + IDLE_MAX;
        while self.publishing.busy.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
        self.breaker.cluster.ready().await?;
        let publishing = publish_sentinels(&mut self.sentinels, self.plan.channels, number);
        let sentinels = if in_outage { self.breaker.during_pubsub_outage(publishing).await? } else { publishing.await };
        self.recorder.record(Record::Calm(Calm { number, at: self.recorder.now() }));
        self.wait_for_everybody(&sentinels).await;
        self.calm.send_replace(false);
        Ok(())
    }

    async fn wait_for_everybody(&self, sentinels: &BTreeMap<u32, (u64, String)>) {
        let deadline = Instant::now() + Duration::from_micros(CALM_MAX) + Duration::from_secs(1);
        let interests = &self.header.interests;
        let due =
            || interests.iter().enumerate().flat_map(|(client, all)| all.iter().map(move |one| (client as u32, *one)));
        while Instant::now() < deadline {
            let arrived = |(client, channel)| {
                sentinels.get(&channel).is_some_and(|place| self.recorder.has_reached(client, channel, place))
            };
            if due().all(arrived) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Publishes to every channel until that is acknowledged; gives the positions.
async fn publish_sentinels(publisher: &mut Publisher, channels: u32, number: u32) -> BTreeMap<u32, (u64, String)> {
    let (mut sentinels, deadline) = (BTreeMap::new(), Instant::now() + IDLE_MAX);
    for channel in 0..channels {
        while Instant::now() < deadline {
            match publisher.publish_once(channel, Some(number)).await {
                Outcome::Acknowledged(offset, epoch) => drop(sentinels.insert(channel, (offset, epoch))),
                Outcome::Placeless => {}
                Outcome::Failed | Outcome::Unknown => {
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            }
            break;
        }
    }
    sentinels
}
