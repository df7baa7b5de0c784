//! What is broken, and in which order: given by the seed alone. When exactly something strikes is not: each fault
//! waits until there is something to hit.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::cluster::NODES;
use super::history::{Kind, Minima};

/// One thing to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub kind: Kind,
    /// The node that it concerns, where it concerns one.
    pub node: usize,
    /// For how long, where it lasts.
    pub millis: u64,
    /// How many connections or clients, where it is about those. A node that is stopped with 2 misses a FLUSHALL.
    pub count: usize,
}

/// A stretch of faults and the calm after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// Nodes and Redis, one after another.
    pub servers: Vec<Step>,
    /// Connections and clients, meanwhile.
    pub clients: Vec<Step>,
    /// The last fault: the sentinels are published while the nodes cannot subscribe.
    pub ends_in_outage: bool,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Gives all of it.
    pub seed: u64,
    /// Channels.
    pub channels: u32,
    /// Raw clients; there is one witness more.
    pub clients: u32,
    /// Channels of each.
    pub channels_per_client: usize,
    /// Publishers.
    pub publishers: usize,
    /// Milliseconds between two publications of one of them.
    pub pause_millis: u64,
    /// What is broken.
    pub rounds: Vec<Round>,
    /// What has to have been met.
    pub minima: Minima,
}

/// How often each fault of a server is in one set. A set takes about two and a half minutes.
const SET: [(Kind, usize); 11] = [
    (Kind::NodeKill, 11),
    (Kind::NodeStop, 4),
    (Kind::RedisStop, 3),
    (Kind::RedisEmpty, 2),
    (Kind::RedisDump, 2),
    (Kind::Failover, 2),
    (Kind::Flush, 2),
    (Kind::ClientKill, 4),
    (Kind::OutputLimit, 2),
    (Kind::ReplyCut, 4),
    (Kind::PubsubOutage, 2),
];

/// Faults of clients in one set.
const CLIENT_STEPS: usize = 45;

/// Stretches in one set.
const ROUNDS: usize = 3;

impl Plan {
    /// The run of `cargo xtask test`, or one that is so many times longer.
    pub fn standard(seed: u64, sets: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut rounds = Vec::new();
        for _ in 0..sets.max(1) {
            let mut servers: Vec<Kind> = SET.iter().flat_map(|(kind, count)| vec![*kind; *count]).collect();
            servers.shuffle(&mut random);
            let length = servers.len().div_ceil(ROUNDS);
            rounds.extend(servers.chunks(length).map(|kinds| round(kinds, CLIENT_STEPS / ROUNDS, &mut random)));
        }
        let minima = Minima {
            publications: 20_000 * sets.max(1),
            deliveries: 500_000 * sets.max(1),
            cuts: 300 * sets.max(1),
            node_kills: 10 * sets.max(1),
            redis_faults: 10 * sets.max(1),
            of_each_kind: 2 * sets.max(1),
        };
        let (clients, channels_per_client) = (120, 50);
        let (publishers, pause_millis) = (10, 45);
        Self { seed, channels: 200, clients, channels_per_client, publishers, pause_millis, rounds, minima }
    }

    /// A short run with few of each: enough to find a defect that is switched on.
    pub fn short(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let kinds = [Kind::ReplyCut, Kind::ClientKill, Kind::Failover, Kind::NodeKill, Kind::Flush, Kind::RedisStop];
        let rounds = vec![round(&kinds, 6, &mut random)];
        let (clients, channels_per_client, publishers, pause_millis) = (30, 20, 6, 40);
        Self {
            seed,
            channels: 40,
            clients,
            channels_per_client,
            publishers,
            pause_millis,
            rounds,
            minima: Minima::default(),
        }
    }

    /// The shortest run that finds this defect, if there is such a defect: with the one fault that it needs.
    pub fn against(seed: u64, defect: &str) -> Option<Self> {
        let (kinds, client_steps): (&[Kind], usize) = match defect {
            // What is dropped shows by the next publication, and is read again: only the last one does not come.
            "drop-ring-entry" => (&[], 0),
            "fence-only-in-publish" => (&[Kind::Failover], 0),
            // The calm comes while the nodes cannot subscribe, and nothing is published after that.
            "skip-check-after-reconnect" => (&[], 0),
            "splice-without-deduplication" => (&[Kind::ClientKill], 12),
            "always-recovered" => (&[Kind::Flush], 0),
            "acknowledge-early" => (&[Kind::RedisStop], 0),
            _ => return None,
        };
        let mut random = SmallRng::seed_from_u64(seed);
        let mut only = round(kinds, client_steps, &mut random);
        only.ends_in_outage = defect == "skip-check-after-reconnect";
        Some(Self { rounds: vec![only], ..Self::short(seed) })
    }

    /// Nothing is broken.
    pub fn peaceful(seed: u64) -> Self {
        let rounds = vec![Round { servers: Vec::new(), clients: Vec::new(), ends_in_outage: false }];
        Self { rounds, ..Self::short(seed) }
    }

    /// Only this is broken, so many times.
    pub fn only(seed: u64, kind: Kind, times: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let rounds = vec![round(&vec![kind; times], 0, &mut random)];
        Self { rounds, ..Self::short(seed) }
    }
}

fn round(kinds: &[Kind], client_steps: usize, random: &mut SmallRng) -> Round {
    let servers = kinds.iter().map(|kind| server_step(*kind, random)).collect();
    let clients = (0..client_steps).map(|_| client_step(random)).collect();
    Round { servers, clients, ends_in_outage: true }
}

fn server_step(kind: Kind, random: &mut SmallRng) -> Step {
    let millis = match kind {
        // Longer than a command may take, at times than a heartbeat.
        Kind::RedisStop => random.random_range(300..3_200),
        // Shorter than what closes a client's connection, and longer.
        Kind::NodeStop => random.random_range(300..3_500),
        _ => random.random_range(100..800),
    };
    let count = if kind == Kind::NodeStop { random.random_range(1..=2) } else { 1 };
    Step { kind, node: random.random_range(0..NODES), millis, count }
}

fn client_step(random: &mut SmallRng) -> Step {
    let pauses = random.random_range(0..4) == 0;
    let kind = if pauses { Kind::ClientPause } else { Kind::Cut };
    let (millis, count) = if pauses { (random.random_range(1_000..8_000), 5) } else { (0, random.random_range(4..14)) };
    Step { kind, node: random.random_range(0..NODES), millis, count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_gives_the_plan() {
        assert_eq!(Plan::standard(7, 1), Plan::standard(7, 1));
        assert_ne!(Plan::standard(7, 1).rounds, Plan::standard(8, 1).rounds);
    }

    #[test]
    fn a_standard_plan_has_enough_of_everything() {
        let plan = Plan::standard(7, 2);
        let steps = || plan.rounds.iter().flat_map(|round| &round.servers);
        for (kind, count) in SET {
            assert_eq!(steps().filter(|step| step.kind == kind).count(), 2 * count, "{kind:?}");
        }
        assert!(steps().filter(|step| step.kind.is_of_redis()).count() >= plan.minima.redis_faults);
        let followers = plan.clients as usize * plan.channels_per_client / plan.channels as usize;
        assert!(followers * plan.minima.publications >= plan.minima.deliveries);
    }
}
