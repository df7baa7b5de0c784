//! The names of everything in Redis: keys and pub/sub channels.
//!
//! All begin with the prefix. A channel's name stands at the end, as it is: it is printable ASCII of at most 255
//! bytes. One place, so that a cluster's hash tags come in here.

use std::sync::Arc;

use fanfare_protocol::Channel;

/// Names under one prefix, of one node.
#[derive(Debug)]
pub(crate) struct Keys {
    prefix: String,
    live: Vec<u8>,
    /// This node's own pub/sub channel for probes.
    pub(crate) probe: Arc<str>,
    /// The pub/sub channel that all nodes listen to.
    pub(crate) control: Arc<str>,
    /// This node's own pub/sub channel for answers.
    pub(crate) answers: Arc<str>,
    /// The list of nodes.
    pub(crate) nodes: Arc<str>,
}

impl Keys {
    pub(crate) fn new(prefix: &str, node: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            live: format!("{prefix}:live:").into_bytes(),
            probe: format!("{prefix}:probe:{node}").into(),
            control: format!("{prefix}:control").into(),
            answers: Self::answers_in(prefix, node).into(),
            nodes: format!("{prefix}:nodes").into(),
        }
    }

    fn answers_in(prefix: &str, node: &str) -> String {
        format!("{prefix}:answers:{node}")
    }

    /// Where another node waits for answers.
    pub(crate) fn answers_of(&self, node: &str) -> String {
        Self::answers_in(&self.prefix, node)
    }

    /// The pub/sub channel of a channel.
    pub(crate) fn live(&self, channel: &Channel) -> String {
        self.of("live", channel)
    }

    /// The name of the channel that a pub/sub channel belongs to.
    pub(crate) fn channel_of<'a>(&self, live: &'a [u8]) -> Option<&'a str> {
        live.strip_prefix(&self.live[..]).and_then(|name| std::str::from_utf8(name).ok())
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

    /// A string: the result of a publish with an idempotency key. The key comes first and with its length, so that
    /// no two pairs meet.
    pub(crate) fn result(&self, channel: &Channel, key: &str) -> String {
        format!("{}:result:{}:{key}:{channel}", self.prefix, key.len())
    }

    /// A hash, a sorted set and a hash: who is present, until when, and how often each user.
    pub(crate) fn presence(&self, channel: &Channel) -> [String; 3] {
        ["members", "expiry", "users"].map(|kind| self.of(kind, channel))
    }

    fn of(&self, kind: &str, channel: &Channel) -> String {
        format!("{}:{kind}:{channel}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_found_again_in_its_live_name() {
        let keys = Keys::new("p", "n1");
        let channel = Channel::parse("news:a b:{c}").unwrap();
        assert_eq!(keys.channel_of(keys.live(&channel).as_bytes()), Some("news:a b:{c}"));
        assert_eq!(keys.channel_of(b"q:live:news"), None);
        assert_eq!(keys.channel_of(b"p:live:\xff"), None);
        let [one, other] =
            [("a:b", "c"), ("a", "b:c")].map(|(channel, key)| keys.result(&Channel::parse(channel).unwrap(), key));
        assert_ne!(one, other);
    }
}
