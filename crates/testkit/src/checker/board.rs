//! What is under way at this moment, so that a fault can wait for something to hit and say what it hit.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cluster::channel_name;
use super::history::Met;

#[derive(Default)]
struct State {
    /// Publishes under way, by node.
    publishing: HashMap<usize, u32>,
    /// Subscribe commands under way, by client and channel.
    asks: HashMap<(u32, u32), Ask>,
    /// What Redis has confirmed to the node that is connected now, by node.
    confirmed: HashMap<usize, HashSet<String>>,
}

struct Ask {
    node: usize,
    recovering: bool,
}

/// Everybody writes on it what they are doing.
#[derive(Default)]
pub struct Board(Mutex<State>);

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A publish begins at a node.
    pub fn publishing(&self, node: usize) {
        *self.state().publishing.entry(node).or_default() += 1;
    }

    /// A publish has ended.
    pub fn published(&self, node: usize) {
        if let Some(count) = self.state().publishing.get_mut(&node) {
            *count = count.saturating_sub(1);
        }
    }

    /// A client asks for a channel.
    pub fn asked(&self, node: usize, client: u32, channel: u32, recovering: bool) {
        self.state().asks.insert((client, channel), Ask { node, recovering });
    }

    /// A client has its answer.
    pub fn answered(&self, client: u32, channel: u32) {
        self.state().asks.remove(&(client, channel));
    }

    /// A client waits for no answer any more.
    pub fn disconnected(&self, client: u32) {
        self.state().asks.retain(|(other, _), _| *other != client);
    }

    /// Redis confirmed a subscription to a node.
    pub fn confirmed(&self, node: usize, redis_channel: String) {
        self.state().confirmed.entry(node).or_default().insert(redis_channel);
    }

    /// Redis confirmed the end of a subscription to a node.
    pub fn unconfirmed(&self, node: usize, redis_channel: &str) {
        if let Some(confirmed) = self.state().confirmed.get_mut(&node) {
            confirmed.remove(redis_channel);
        }
    }

    /// A node's pub/sub connection is gone.
    pub fn lost(&self, node: usize) {
        self.state().confirmed.remove(&node);
    }

    /// What is under way at a node, or at all of them.
    pub fn met(&self, node: Option<usize>) -> Met {
        let state = self.state();
        let here = |other: &usize| node.is_none_or(|node| node == *other);
        let asks = || state.asks.iter().filter(|(_, ask)| here(&ask.node));
        let is_confirmed = |node: usize, channel: u32| {
            let name = format!("{}{}", super::cluster::LIVE_PREFIX, channel_name(channel));
            state.confirmed.get(&node).is_some_and(|confirmed| confirmed.contains(&name))
        };
        Met {
            publishing: state.publishing.iter().filter(|(node, _)| here(node)).map(|(_, count)| count).sum(),
            recovering: asks().filter(|(_, ask)| ask.recovering).count() as u32,
            confirmed: asks().filter(|((_, channel), ask)| is_confirmed(ask.node, *channel)).count() as u32,
        }
    }
}
