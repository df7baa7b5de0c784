//! The broker against real servers, which each test starts and ends by itself: `redis-server` from the path, or what
//! `FANFARE_REDIS_SERVER` names.
//!
//! Without a server the tests say so and pass, but fail where `CI` is set.

#![allow(clippy::unwrap_used)]

#[path = "redis/apart.rs"]
mod apart;
#[path = "redis/bench.rs"]
mod bench;
#[path = "redis/cluster.rs"]
mod cluster;
#[path = "redis/consume.rs"]
mod consume;
#[path = "redis/hostile.rs"]
mod hostile;
#[path = "redis/ingest.rs"]
mod ingest;
#[path = "redis/nodes.rs"]
mod nodes;
#[path = "redis/outage.rs"]
mod outage;
#[path = "redis/proxy.rs"]
mod proxy;
#[path = "redis/publish.rs"]
mod publish;
#[path = "redis/reads.rs"]
mod reads;
#[path = "redis/refusals.rs"]
mod refusals;
#[path = "redis/revocations.rs"]
mod revocations;
#[path = "redis/sentinel.rs"]
mod sentinel;
#[path = "redis/server.rs"]
mod server;
#[path = "redis/slow.rs"]
mod slow;
#[path = "redis/suite.rs"]
mod suite;
#[path = "redis/tls.rs"]
mod tls;
