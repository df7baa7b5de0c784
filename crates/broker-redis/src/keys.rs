//! The names of everything in Redis: keys and pub/sub channels.
//!
//! All begin with the prefix. A channel's name stands in them as it is: it is printable ASCII of at most 255 bytes. In
//! a cluster it stands between braces, so that everything of a channel is in one slot, which a script needs.

use std::sync::{Arc, OnceLock};

use fanfare_protocol::Channel;
use redis::Cmd;

use crate::slots::Slot;

/// Which of its two kinds of pub/sub a cluster is used with. Anything else has the classic kind alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PubSub {
    /// A message goes to every server of a cluster.
    Classic,
    /// A message stays within the shard that has the channel's slot: Redis 7.0 and later.
    Sharded,
}

/// Names under one prefix, of one node.
#[derive(Debug)]
pub(crate) struct Keys {
    prefix: String,
    node: Arc<str>,
    clustered: bool,
    /// Found out before the first connection of a cluster is used.
    pubsub: OnceLock<PubSub>,
    /// The pub/sub channel that all nodes listen to.
    pub(crate) control: Arc<str>,
    /// This node's own pub/sub channel for answers.
    pub(crate) answers: Arc<str>,
    /// The list of nodes.
    pub(crate) nodes: Arc<str>,
    /// A stream: what programs publish without us.
    pub(crate) ingest: Arc<str>,
    /// A stream: what of that cannot be published.
    pub(crate) dead: Arc<str>,
    /// A string: the node that reads it.
    pub(crate) lease: Arc<str>,
    /// A hash: the revocations.
    pub(crate) revocations: Arc<str>,
    /// A sorted set: those that expire.
    pub(crate) revocations_until: Arc<str>,
}

impl Keys {
    pub(crate) fn new(prefix: &str, node: &Arc<str>, clustered: bool) -> Self {
        // One slot for both.
        let revocations = if clustered { "{revocations}" } else { "revocations" };
        Self {
            prefix: prefix.to_owned(),
            node: Arc::clone(node),
            clustered,
            pubsub: if clustered { OnceLock::new() } else { OnceLock::from(PubSub::Classic) },
            control: format!("{prefix}:control").into(),
            answers: Self::answers_in(prefix, node).into(),
            nodes: format!("{prefix}:nodes").into(),
            ingest: format!("{prefix}:ingest").into(),
            dead: format!("{prefix}:ingest:dead").into(),
            lease: format!("{prefix}:lease").into(),
            revocations: format!("{prefix}:{revocations}").into(),
            revocations_until: format!("{prefix}:{revocations}:until").into(),
        }
    }

    /// The kind of pub/sub; classic where that is not found out yet.
    pub(crate) fn pubsub(&self) -> PubSub {
        self.pubsub.get().copied().unwrap_or(PubSub::Classic)
    }

    /// Settles the kind of pub/sub for as long as the node runs: nodes that differ would not hear each other.
    pub(crate) fn settle_pubsub(&self, found: impl FnOnce() -> PubSub) -> PubSub {
        *self.pubsub.get_or_init(found)
    }

    /// The command that publishes.
    pub(crate) fn publish_word(&self) -> &'static str {
        match self.pubsub() {
            PubSub::Classic => "PUBLISH",
            PubSub::Sharded => "SPUBLISH",
        }
    }

    /// Publishes to a pub/sub channel.
    pub(crate) fn publish(&self, name: &str, message: &[u8]) -> Cmd {
        let mut command = redis::cmd(self.publish_word());
        command.arg(name).arg(message);
        command
    }

    /// Where a key or a pub/sub channel is.
    pub(crate) fn slot(&self, name: &str) -> Slot {
        if self.clustered { Slot::of(name) } else { Slot::ONLY }
    }

    fn answers_in(prefix: &str, node: &str) -> String {
        format!("{prefix}:answers:{node}")
    }

    /// Where another node waits for answers.
    pub(crate) fn answers_of(&self, node: &str) -> String {
        Self::answers_in(&self.prefix, node)
    }

    /// This node's own pub/sub channel for probes to the shard that has the slot.
    pub(crate) fn probe(&self, slot: Slot) -> String {
        let (prefix, node) = (&self.prefix, &self.node);
        if self.clustered {
            format!("{prefix}:probe:{node}:{{{}}}", slot.tag())
        } else {
            format!("{prefix}:probe:{node}")
        }
    }

    /// Three keys on which the user's rights are tried, on the shard that has the slot.
    pub(crate) fn rehearsal(&self, slot: Slot) -> [String; 3] {
        let tag = if self.clustered { format!(":{{{}}}", slot.tag()) } else { String::new() };
        ["rights", "rights-set", "rights-stream"].map(|kind| format!("{}:{kind}{tag}", self.prefix))
    }

    /// The pub/sub channel of a channel.
    pub(crate) fn live(&self, channel: &Channel) -> String {
        live_name(&self.prefix, channel, self.clustered)
    }

    /// A hash: random part of the epoch (`r`), offset (`o`), highest offset that is no longer kept (`f`), what came from
    /// which node (`n…`), version epochs (`v…`).
    pub(crate) fn meta(&self, channel: &Channel) -> String {
        self.of("meta", channel)
    }

    /// A stream: the publications.
    pub(crate) fn stream(&self, channel: &Channel) -> String {
        self.of("stream", channel)
    }

    /// A string: the result of a publish with an idempotency key. The channel comes first and with its length, so
    /// that no two pairs meet.
    pub(crate) fn result(&self, channel: &Channel, key: &str) -> String {
        format!("{}:{}:{key}", self.of("result", channel), channel.as_str().len())
    }

    /// A string: the id of the last entry of the ingest stream that was published to the channel.
    pub(crate) fn ingested(&self, channel: &Channel) -> String {
        self.of("ingested", channel)
    }

    /// A hash, a sorted set and a hash: who is present, until when, and how often each user.
    pub(crate) fn presence(&self, channel: &Channel) -> [String; 3] {
        ["members", "expiry", "users"].map(|kind| self.of(kind, channel))
    }

    fn of(&self, kind: &str, channel: &Channel) -> String {
        name_of(&self.prefix, kind, channel, self.clustered)
    }
}

/// The pub/sub channel of Redis that carries a channel, where a program may publish straight into Redis.
pub fn live_name(prefix: &str, channel: &Channel, clustered: bool) -> String {
    name_of(prefix, "live", channel, clustered)
}

/// An empty pair of braces would not count, so a channel that begins with `}` gets a tag of its own beside it.
fn name_of(prefix: &str, kind: &str, channel: &Channel, clustered: bool) -> String {
    match clustered {
        false => format!("{prefix}:{kind}:{channel}"),
        true if channel.as_str().starts_with('}') => format!("{prefix}:{kind}:braced:{{.}}{channel}"),
        true => format!("{prefix}:{kind}:{{{channel}}}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::parse(name).unwrap()
    }

    fn names(keys: &Keys, name: &str) -> Vec<String> {
        let channel = channel(name);
        let own = [keys.live(&channel), keys.meta(&channel), keys.stream(&channel), keys.result(&channel, "{k}")];
        own.into_iter().chain(keys.presence(&channel)).collect()
    }

    #[test]
    fn everything_of_a_channel_is_in_one_slot() {
        let keys = Keys::new("p", &"n1".into(), true);
        for name in ["news", "news:a b:{c}", "}x", "}", "{", "{}", "}{a}", "a}b"] {
            let slots: BTreeSet<Slot> = names(&keys, name).iter().map(|key| keys.slot(key)).collect();
            assert_eq!(slots.len(), 1, "{name}");
        }
        assert_eq!(keys.live(&channel("news")), "p:live:{news}");
        assert_eq!(keys.publish_word(), "PUBLISH");
        assert_eq!(keys.settle_pubsub(|| PubSub::Sharded), PubSub::Sharded);
        assert_eq!(keys.publish_word(), "SPUBLISH");
    }

    #[test]
    fn no_two_channels_or_keys_meet() {
        for clustered in [false, true] {
            let keys = Keys::new("p", &"n1".into(), clustered);
            let all = ["a", "a:b", "}x}", ".}}x", "}x", "braced:{.}", "{a}"].map(|name| names(&keys, name));
            let apart: BTreeSet<&String> = all.iter().flatten().collect();
            assert_eq!(apart.len(), all.iter().map(Vec::len).sum::<usize>());
            let [one, other] = [("a:b", "c"), ("a", "b:c")].map(|(name, key)| keys.result(&channel(name), key));
            assert_ne!(one, other);
        }
        let single = Keys::new("p", &"n1".into(), false);
        assert_eq!(single.live(&channel("news:a b:{c}")), "p:live:news:a b:{c}");
        assert_eq!(single.slot("anything"), Slot::ONLY);
    }

    #[test]
    fn both_keys_of_the_revocations_are_in_one_slot() {
        let keys = Keys::new("p", &"n1".into(), true);
        assert_eq!(keys.slot(&keys.revocations), keys.slot(&keys.revocations_until));
        let single = Keys::new("p", &"n1".into(), false);
        assert_eq!([&*single.revocations, &*single.revocations_until], ["p:revocations", "p:revocations:until"]);
    }

    #[test]
    fn a_probe_goes_to_the_shard_that_is_meant() {
        let keys = Keys::new("p", &"n1".into(), true);
        let slot = Slot::numbered(9).unwrap();
        assert_eq!(keys.slot(&keys.probe(slot)), slot);
        assert!(keys.rehearsal(slot).iter().all(|key| keys.slot(key) == slot));
    }
}
