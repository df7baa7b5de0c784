//! Breaks things, and says when, and what was under way.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::board::Board;
use super::cluster::{Cluster, LIVE_PREFIX, NODES, channel_name};
use super::history::{Fault, Kind, Met, Micros, Record};
use super::listener::Listening;
use super::plan::Step;
use super::recorder::Recorder;
use super::redis_server::RedisProcess;
use super::wire::Wire;

/// How long a fault waits for something to hit.
const AIM_MAX: Duration = Duration::from_secs(4);

/// How long it waits before it has more clients recover.
const DISTURB_AGAIN: Duration = Duration::from_millis(600);

/// How long something that has to happen may take.
const STEP_MAX: Duration = Duration::from_secs(15);

/// How long a fault that waits for its effect waits at most: on a node that publishes nothing there is none.
const EFFECT_MAX: Duration = Duration::from_secs(5);

/// Connections to each node that are cut before a fault, so that it finds recoveries in progress.
const DISTURBED: usize = 6;

/// What the old master acknowledges alone before it is replaced.
const TAIL: usize = 30;

/// A message that no node takes for one of its own, to fill a subscriber's output buffer in Redis.
const JUNK_BYTES: usize = 100 * 1024;

/// A fault under way.
struct Struck {
    kind: Kind,
    node: Option<usize>,
    began: Micros,
    met: Met,
}

/// Breaks nodes, Redis and the ways between them.
pub struct Breaker {
    /// What is broken.
    pub cluster: Cluster,
    board: Arc<Board>,
    recorder: Arc<Recorder>,
    servers_started: usize,
    kills: usize,
    /// What was acknowledged when Redis saved a dump last.
    saved: usize,
}

impl Breaker {
    /// Breaks nothing yet.
    pub fn new(cluster: Cluster, board: Arc<Board>, recorder: Arc<Recorder>) -> Self {
        Self { cluster, board, recorder, servers_started: 1, kills: 0, saved: 0 }
    }

    /// Carries a step out. An error is a failure of the checker, or a node that ended by itself.
    pub async fn strike(&mut self, step: &Step) -> io::Result<()> {
        self.all_alive()?;
        if step.kind == Kind::RedisDump {
            self.cluster.redis.say(&["SAVE"]).await?;
            self.saved = self.recorder.acknowledged();
            sleep(Duration::from_millis(600)).await;
        }
        let struck = self.aim(step.kind, of_one_node(step.kind).then_some(step.node)).await;
        let (count, met) = match step.kind {
            Kind::NodeKill => self.kill_node(step).await?,
            Kind::NodeStop => self.stop_node(step).await?,
            Kind::RedisStop => self.stop_redis(step).await?,
            Kind::RedisEmpty => self.empty_redis().await?,
            Kind::RedisDump => self.restart_redis_with_dump().await?,
            Kind::Failover => self.fail_over(step).await?,
            Kind::Flush => self.say(&["FLUSHALL"]).await?,
            Kind::ClientKill => self.kill_clients().await?,
            Kind::OutputLimit => self.reach_output_limit(step).await?,
            Kind::ReplyCut => self.cut_replies(step).await?,
            Kind::PubsubOutage => self.pubsub_outage(step).await?,
            Kind::Cut | Kind::ClientPause => return Err(io::Error::other("no fault of a server")),
        };
        self.over(&struck, count, met);
        self.all_alive()
    }

    fn all_alive(&mut self) -> io::Result<()> {
        self.cluster.nodes.iter_mut().find_map(|node| node.has_ended()).map_or(Ok(()), |why| Err(io::Error::other(why)))
    }

    /// Has clients recover, and waits for the moment at which there is most to hit.
    async fn aim(&self, kind: Kind, node: Option<usize>) -> Struck {
        let deadline = Instant::now() + AIM_MAX;
        while !is_busy(self.board.met(node)) && Instant::now() < deadline {
            self.disturb();
            let disturbed = Instant::now();
            while !is_busy(self.board.met(node)) && disturbed.elapsed() < DISTURB_AGAIN {
                sleep(Duration::from_millis(1)).await;
            }
        }
        Struck { kind, node, began: self.recorder.now(), met: self.board.met(node) }
    }

    fn disturb(&self) {
        for (index, wire) in self.cluster.node_wires.iter().enumerate() {
            cut(&self.recorder, &self.board, wire, index, DISTURBED);
        }
    }

    /// Writes a fault down. Where its kind says better when it struck, what it met is of then.
    fn over(&self, struck: &Struck, count: u32, met: Option<Met>) {
        let Struck { kind, node, began, met: at_first } = *struck;
        let (node, met, ended) = (node.map(|node| node as u32), met.unwrap_or(at_first), self.recorder.now());
        self.recorder.record(Record::Fault(Fault { kind, node, began, ended, count, met }));
    }

    async fn kill_node(&mut self, step: &Step) -> io::Result<(u32, Option<Met>)> {
        let node = &mut self.cluster.nodes[step.node];
        node.kill();
        sleep(Duration::from_millis(step.millis)).await;
        node.restart().await?;
        Ok((1, None))
    }

    async fn stop_node(&mut self, step: &Step) -> io::Result<(u32, Option<Met>)> {
        self.cluster.nodes[step.node].stop()?;
        sleep(Duration::from_millis(step.millis / 2)).await;
        if step.count > 1 {
            self.flush_meanwhile().await?;
        }
        sleep(Duration::from_millis(step.millis / 2)).await;
        self.cluster.nodes[step.node].go_on()?;
        Ok((1, None))
    }

    /// What the stopped node is yet to read is of streams that are no more when its clients come back.
    async fn flush_meanwhile(&self) -> io::Result<()> {
        let struck = self.aim(Kind::Flush, None).await;
        self.cluster.redis.say(&["FLUSHALL"]).await?;
        self.over(&struck, 1, None);
        Ok(())
    }

    async fn stop_redis(&mut self, step: &Step) -> io::Result<(u32, Option<Met>)> {
        self.cluster.redis.stop()?;
        sleep(Duration::from_millis(step.millis)).await;
        self.cluster.redis.go_on()?;
        Ok((1, None))
    }

    async fn empty_redis(&mut self) -> io::Result<(u32, Option<Met>)> {
        self.cluster.redis.restart_empty().await?;
        Ok((1, None))
    }

    async fn restart_redis_with_dump(&mut self) -> io::Result<(u32, Option<Met>)> {
        let newer = self.recorder.acknowledged() - self.saved;
        self.cluster.redis.restart_with_dump().await?;
        Ok((newer as u32, None))
    }

    async fn say(&self, words: &[&str]) -> io::Result<(u32, Option<Met>)> {
        self.cluster.redis.say(words).await?;
        Ok((1, None))
    }

    /// The nodes' pub/sub connections, and the next time those for commands.
    async fn kill_clients(&mut self) -> io::Result<(u32, Option<Met>)> {
        self.kills += 1;
        let of_type = if self.kills % 2 == 1 { "pubsub" } else { "normal" };
        let answer = self.cluster.redis.say(&["CLIENT", "KILL", "TYPE", of_type]).await?;
        let killed = answer.trim().trim_start_matches(':').parse().unwrap_or(0);
        Ok((killed, None))
    }

    /// One node's pub/sub connection takes nothing, until Redis cuts it.
    async fn reach_output_limit(&mut self, step: &Step) -> io::Result<(u32, Option<Met>)> {
        let (wire, redis) = (&self.cluster.redis_wires[step.node], &self.cluster.redis);
        let before = subscribers(redis).await?;
        wire.set(|mode| mode.stalled_pubsub = true);
        let (junk, name) = ("#".repeat(JUNK_BYTES), format!("{LIVE_PREFIX}{}", channel_name(0)));
        let deadline = Instant::now() + EFFECT_MAX;
        let mut cut = false;
        while !cut && Instant::now() < deadline {
            redis.say(&["PUBLISH", &name, &junk]).await?;
            cut = subscribers(redis).await? < before;
        }
        wire.set(|mode| mode.stalled_pubsub = false);
        Ok((u32::from(cut), None))
    }

    /// Publishes that Redis has carried out are left without an answer.
    async fn cut_replies(&mut self, step: &Step) -> io::Result<(u32, Option<Met>)> {
        let wire = &self.cluster.redis_wires[step.node];
        let before = wire.answers_cut();
        wire.set(|mode| mode.cutting_answers = true);
        let deadline = Instant::now() + EFFECT_MAX;
        while wire.answers_cut() == before && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        wire.set(|mode| mode.cutting_answers = false);
        let count = wire.answers_cut() - before;
        Ok((count, (count > 0).then(|| wire.met())))
    }

    async fn pubsub_outage(&mut self, step: &Step) -> io::Result<(u32, Option<Met>)> {
        self.refuse_pubsub(true).await?;
        sleep(Duration::from_millis(step.millis)).await;
        self.refuse_pubsub(false).await?;
        Ok((NODES as u32, None))
    }

    async fn refuse_pubsub(&self, refusing: bool) -> io::Result<()> {
        self.cluster.redis_wires.iter().for_each(|wire| wire.set(|mode| mode.refusing_pubsub = refusing));
        if refusing {
            self.cluster.redis.say(&["CLIENT", "KILL", "TYPE", "pubsub"]).await?;
        }
        Ok(())
    }

    /// Does something while the nodes can publish and cannot subscribe.
    pub async fn during_pubsub_outage<T>(&mut self, doing: impl Future<Output = T>) -> io::Result<T> {
        let struck = self.aim(Kind::PubsubOutage, None).await;
        self.refuse_pubsub(true).await?;
        let done = doing.await;
        self.refuse_pubsub(false).await?;
        self.over(&struck, NODES as u32, None);
        Ok(done)
    }

    /// A replica is attached and cut off, the master acknowledges on alone, the replica becomes master, and the nodes
    /// are led to it: one is cut at once, one later, and one is left on the old master, which becomes a replica.
    async fn fail_over(&mut self, step: &Step) -> io::Result<(u32, Option<Met>)> {
        let link = Wire::start(self.cluster.redis.address())?;
        let replica = RedisProcess::start(&self.cluster.folder.join(format!("redis-{}", self.servers_started))).await?;
        self.servers_started += 1;
        attach(&replica, link.address().port()).await?;
        sleep(Duration::from_millis(200)).await;
        link.set(|mode| mode.refusing = true);
        link.cut(usize::MAX);
        let tail = self.acknowledge_alone().await;
        let met = self.aim(Kind::Failover, None).await.met;
        replica.say(&["REPLICAOF", "NO", "ONE"]).await?;
        let wires = [0, 1, 2].map(|later| &self.cluster.redis_wires[(step.node + later) % NODES]);
        wires[0].lead_to(replica.address());
        wires[0].cut(usize::MAX);
        sleep(Duration::from_millis(step.millis)).await;
        wires[1].lead_to(replica.address());
        wires[2].lead_to(replica.address());
        wires[1].cut(usize::MAX);
        let old = std::mem::replace(&mut self.cluster.redis, replica);
        attach(&old, self.cluster.redis.address().port()).await?;
        sleep(Duration::from_millis(step.millis)).await;
        drop(old);
        self.cluster.ready().await?;
        Ok((tail as u32, Some(met)))
    }

    async fn acknowledge_alone(&self) -> usize {
        let before = self.recorder.acknowledged();
        let enough = before + TAIL;
        let deadline = Instant::now() + EFFECT_MAX;
        while self.recorder.acknowledged() < enough && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        self.recorder.acknowledged() - before
    }
}

fn of_one_node(kind: Kind) -> bool {
    matches!(kind, Kind::NodeKill | Kind::NodeStop | Kind::OutputLimit | Kind::ReplyCut)
}

fn is_busy(met: Met) -> bool {
    met.publishing > 0 && met.recovering > 0 && met.confirmed > 0
}

/// How many subscribers a server has.
async fn subscribers(redis: &RedisProcess) -> io::Result<usize> {
    let clients = redis.say(&["CLIENT", "LIST", "TYPE", "pubsub"]).await?;
    Ok(clients.lines().filter(|line| line.contains("addr=")).count())
}

/// Makes a server a replica and waits until it has everything.
async fn attach(replica: &RedisProcess, port: u16) -> io::Result<()> {
    replica.say(&["REPLICAOF", "127.0.0.1", &port.to_string()]).await?;
    let deadline = Instant::now() + STEP_MAX;
    while !replica.say(&["INFO", "replication"]).await?.contains("master_link_status:up") {
        if Instant::now() > deadline {
            return Err(io::Error::other("a replica does not get to its master"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Cuts connections of clients and publishers and writes that down.
fn cut(recorder: &Recorder, board: &Board, wire: &Wire, node: usize, max: usize) {
    let (began, met) = (recorder.now(), board.met(Some(node)));
    let count = wire.cut(max);
    let (kind, node, ended) = (Kind::Cut, Some(node as u32), recorder.now());
    recorder.record(Record::Fault(Fault { kind, node, began, ended, count, met }));
}

/// Breaks connections and clients.
pub struct ClientBreaker {
    /// The ways to the nodes.
    pub wires: Arc<Vec<Wire>>,
    /// The witness's way to a node.
    pub witness_wire: Arc<Wire>,
    /// Until when who reads nothing.
    pub paused_until: watch::Sender<BTreeMap<u32, Instant>>,
    /// How many clients there are.
    pub clients: u32,
    /// Where it is shown.
    pub board: Arc<Board>,
    /// Where it is written down.
    pub recorder: Arc<Recorder>,
    /// Clients paused so far.
    pub paused: u32,
}

impl ClientBreaker {
    /// Breaks nothing yet.
    pub fn new(listening: &Listening, witness_wire: Arc<Wire>, clients: u32) -> Self {
        Self {
            wires: Arc::clone(&listening.wires),
            witness_wire,
            paused_until: listening.paused_until.clone(),
            clients,
            board: Arc::clone(&listening.board),
            recorder: Arc::clone(&listening.recorder),
            paused: 0,
        }
    }

    /// Carries a step out.
    pub async fn strike(&mut self, step: &Step) {
        if step.kind == Kind::ClientPause {
            return self.pause(step).await;
        }
        self.aim(Some(step.node)).await;
        cut(&self.recorder, &self.board, &self.wires[step.node], step.node, step.count.div_ceil(2));
        self.witness_wire.cut(usize::MAX);
    }

    /// Has some recover first, so that there is something to hit.
    async fn aim(&self, node: Option<usize>) {
        for (index, wire) in self.wires.iter().enumerate() {
            cut(&self.recorder, &self.board, wire, index, DISTURBED / 2);
        }
        let deadline = Instant::now() + AIM_MAX;
        while !is_busy(self.board.met(node)) && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn pause(&mut self, step: &Step) {
        self.aim(None).await;
        let (began, met) = (self.recorder.now(), self.board.met(None));
        let until = Instant::now() + Duration::from_millis(step.millis);
        let chosen: Vec<u32> = (0..step.count as u32).map(|at| (self.paused + at) % self.clients).collect();
        self.paused += step.count as u32;
        self.paused_until.send_modify(|paused| paused.extend(chosen.iter().map(|client| (*client, until))));
        sleep(Duration::from_millis(step.millis)).await;
        let (kind, ended, count) = (Kind::ClientPause, self.recorder.now(), step.count as u32);
        self.recorder.record(Record::Fault(Fault { kind, node: None, began, ended, count, met }));
    }
}
