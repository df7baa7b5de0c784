//! Which Redis shards there are, kept up to date, and the tasks that serve each.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::checker;
use crate::consumer::Consumer;
use crate::fault::Fault;
use crate::keys::PubSub;
use crate::limits::{TOPOLOGY_INTERVAL, TOPOLOGY_PAUSE};
use crate::link::{self, Link, Live, Target};
use crate::routes::{Map, RedisShard};
use crate::server::{Address, Kind};
use crate::slots::{Owners, SLOTS, ShardId, Slot};

/// What serves the shards.
pub(crate) struct Topology {
    consumer: Arc<Consumer>,
    /// The tasks of each shard; they end when they are dropped.
    serving: BTreeMap<ShardId, JoinSet<()>>,
    shards_begun: u32,
}

/// Which master has which slots, as a cluster says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Layout {
    masters: BTreeMap<Address, Vec<(u16, u16)>>,
}

impl Topology {
    pub(crate) fn new(consumer: Consumer) -> Self {
        Self { consumer: Arc::new(consumer), serving: BTreeMap::new(), shards_begun: 0 }
    }

    /// Serves the shards for ever.
    pub(crate) async fn run(mut self) {
        match self.consumer.options.server.kind().clone() {
            Kind::Single => {
                if let Some(address) = self.consumer.options.server.seeds().first().cloned().map(Arc::new) {
                    self.serve_one(Some(Arc::clone(&address)), Target::Fixed(address)).await;
                }
            }
            Kind::Sentinel { master } => self.serve_one(None, Target::Master(master)).await,
            Kind::Cluster => self.follow_cluster().await,
        }
    }

    async fn serve_one(&mut self, address: Option<Arc<Address>>, target: Target) {
        let shard = self.begin(address, target);
        let owners = Arc::new(Owners::One(shard.id));
        self.publish_map(Map { shards: vec![shard], owners, fault: None });
        std::future::pending::<()>().await;
    }

    async fn follow_cluster(&mut self) {
        let mut turn = 0;
        loop {
            let asked = Instant::now();
            match self.ask_cluster(turn).await {
                Ok(layout) => self.take(layout),
                Err(fault) => self.note(fault),
            }
            turn += 1;
            tokio::select! {
                () = self.consumer.routes.stale() => {}
                () = sleep(TOPOLOGY_INTERVAL) => {}
            }
            tokio::time::sleep_until(asked + TOPOLOGY_PAUSE).await;
        }
    }

    /// Asks one node after another, beginning with another one each time: a node that is cut off from the rest does
    /// not know what has changed.
    async fn ask_cluster(&self, turn: usize) -> Result<Layout, Fault> {
        let known: Vec<Live> = self.consumer.routes.map().shards.iter().filter_map(|shard| shard.link.now()).collect();
        let mut reason = Fault::Disconnected;
        for at in 0..known.len() {
            let live = &known[(turn + at) % known.len()];
            match timeout(self.consumer.options.connect_timeout, self.layout(live)).await.unwrap_or(Err(Fault::Timeout))
            {
                Ok(layout) => return Ok(layout),
                Err(fault) => reason = fault,
            }
        }
        for seed in self.consumer.options.server.seeds() {
            match self.ask_seed(seed).await {
                Ok(layout) => return Ok(layout),
                Err(fault) => reason = fault,
            }
        }
        Err(reason)
    }

    async fn ask_seed(&self, seed: &Address) -> Result<Layout, Fault> {
        let options = &self.consumer.options;
        link::visit(options, seed, options.connect_timeout, async |live| self.layout(live).await).await
    }

    /// What one node says. One that is cut off from the majority is not believed.
    async fn layout(&self, live: &Live) -> Result<Layout, Fault> {
        let state: String = live.send(redis::cmd("CLUSTER").arg("INFO")).await.map_err(|failure| failure.fault)?;
        if !state.contains("cluster_state:ok") && !self.consumer.routes.map().shards.is_empty() {
            return Err(Fault::ClusterDown);
        }
        let sharded = live.send::<Vec<Value>>(redis::cmd("COMMAND").arg("INFO").arg("SSUBSCRIBE")).await;
        let sharded = sharded.map_err(|failure| failure.fault)?;
        self.consumer.keys.settle_pubsub(|| {
            let found = if matches!(&sharded[..], [Value::Array(_)]) { PubSub::Sharded } else { PubSub::Classic };
            tracing::info!(?found, "pub/sub of the Redis Cluster");
            found
        });
        Layout::ask(live).await
    }

    fn note(&self, fault: Fault) {
        let map = self.consumer.routes.map();
        if map.fault != Some(fault) {
            tracing::warn!(?fault, server = %self.consumer.options.server, "the Redis Cluster does not say who has what");
            let (shards, owners) = (map.shards.clone(), Arc::clone(&map.owners));
            self.consumer.routes.set_map(Map { shards, owners, fault: Some(fault) });
        }
    }

    /// Takes what the cluster says: begins to serve what is new, and ends what has no slots any more.
    fn take(&mut self, layout: Layout) {
        let before = self.consumer.routes.map();
        let mut owners = vec![None; usize::from(SLOTS)];
        let mut shards = Vec::new();
        for (address, ranges) in layout.masters {
            let known = before.shards.iter().find(|shard| shard.address.as_deref() == Some(&address));
            let shard = match known {
                Some(shard) => Arc::clone(shard),
                None => {
                    let address = Arc::new(address);
                    self.begin(Some(Arc::clone(&address)), Target::Fixed(address))
                }
            };
            for (first, last) in &ranges {
                owners[usize::from(*first)..=usize::from(*last)].fill(Some(shard.id));
            }
            keep_a_slot(&shard, &ranges);
            shards.push(shard);
        }
        let owners = Arc::new(Owners::BySlot(owners));
        let same = owners == before.owners && before.fault.is_none() && !shards.is_empty();
        self.serving.retain(|id, _| shards.iter().any(|shard| shard.id == *id));
        if same {
            return self.consumer.interest.retry();
        }
        tracing::info!(shards = shards.len(), without_master = owners.orphans(), "shards of the Redis Cluster");
        self.publish_map(Map { shards, owners, fault: None });
    }

    fn publish_map(&self, map: Map) {
        self.consumer.counters.shards.set(i64::try_from(map.shards.len()).unwrap_or(i64::MAX));
        let ids: Vec<ShardId> = map.shards.iter().map(|shard| shard.id).collect();
        self.consumer.interest.reroute(&map.owners, &ids);
        self.consumer.routes.set_map(map);
    }

    /// Begins to serve a shard.
    fn begin(&mut self, address: Option<Arc<Address>>, target: Target) -> Arc<RedisShard> {
        let id = ShardId(self.shards_begun);
        self.shards_begun += 1;
        // Before there is a session that could be faster than the map.
        self.consumer.interest.expect(id);
        let link = Arc::new(Link::new(
            target,
            Arc::clone(&self.consumer.options),
            Arc::clone(&self.consumer.keys),
            Arc::clone(&self.consumer.counters),
        ));
        let shard = Arc::new(RedisShard { id, address, link });
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let link = Arc::clone(&shard.link);
            async move { link.run().await }
        });
        tasks.spawn({
            let (consumer, shard) = (Arc::clone(&self.consumer), Arc::clone(&shard));
            async move { consumer.run(&shard).await }
        });
        tasks.spawn(checker::watch_replid(Arc::clone(&shard), Arc::clone(&self.consumer.interest)));
        self.serving.insert(id, tasks);
        shard
    }
}

/// What belongs to the shard and to no channel keeps to one slot for as long as the shard has it.
fn keep_a_slot(shard: &RedisShard, ranges: &[(u16, u16)]) {
    let now = shard.link.slot().number();
    let kept = ranges.iter().any(|(first, last)| (*first..=*last).contains(&now));
    let last = ranges.last().and_then(|(_, last)| Slot::numbered(*last));
    if let Some(slot) = last.filter(|_| !kept) {
        shard.link.set_slot(slot);
    }
}

impl Layout {
    /// What a server says.
    async fn ask(live: &Live) -> Result<Self, Fault> {
        let slots: Vec<Vec<Value>> =
            live.send(redis::cmd("CLUSTER").arg("SLOTS")).await.map_err(|failure| failure.fault)?;
        Self::read(&slots, &live.address).ok_or(Fault::Nonsense)
    }

    /// Reads what CLUSTER SLOTS gives: first and last slot, then the master, then its replicas.
    fn read(slots: &[Vec<Value>], by: &Address) -> Option<Self> {
        let mut layout = Self::default();
        for range in slots {
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else { return None };
            let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
            if first > last || last >= SLOTS {
                return None;
            }
            let [host, Value::Int(port), ..] = &master[..] else { return None };
            let host = match host {
                Value::BulkString(host) => std::str::from_utf8(host).ok()?,
                _ => "",
            };
            let address = Address::told_apart(host, u16::try_from(*port).ok()?, by)?;
            layout.masters.entry(address).or_default().push((first, last));
        }
        Some(layout)
    }
}

/// The masters that a server names, with a slot of each.
pub(crate) async fn masters(live: &Live) -> Result<Vec<(Address, Slot)>, Fault> {
    let with_slot = Layout::ask(live).await?.masters.into_iter().map(|(address, ranges)| {
        let first = ranges.first().and_then(|(first, _)| Slot::numbered(*first));
        (address, first.unwrap_or(Slot::ONLY))
    });
    Ok(with_slot.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: Option<&str>, port: i64) -> Vec<Value> {
        let host = host.map_or(Value::Nil, |host| Value::BulkString(host.as_bytes().to_vec()));
        let id = Value::BulkString(b"id".to_vec());
        vec![Value::Int(first), Value::Int(last), Value::Array(vec![host, Value::Int(port), id])]
    }

    #[test]
    fn a_layout_is_read() {
        let by = Address::Tcp("me".to_owned(), 1);
        let slots = [range(0, 5, Some("a"), 1), range(6, 16_383, None, 2), range(6, 6, Some("a"), 1)];
        let layout = Layout::read(&slots, &by).unwrap();
        let masters: Vec<String> = layout.masters.keys().map(Address::to_string).collect();
        assert_eq!(masters, ["a:1", "me:2"]);
        assert_eq!(layout.masters[&Address::Tcp("a".to_owned(), 1)], [(0, 5), (6, 6)]);
        for bad in [range(0, 16_384, None, 1), range(2, 1, None, 1), range(-1, 1, None, 1), vec![Value::Int(1)]] {
            assert_eq!(Layout::read(&[bad], &by), None);
        }
    }
}
