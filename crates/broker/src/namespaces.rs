//! Channel options by namespace, as plain data.

use std::collections::BTreeMap;

use fanfare_protocol::Channel;

use crate::Retention;

/// Who may do something with the channels of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Audience {
    /// Nobody.
    #[default]
    Nobody,
    /// Users with a verified identity.
    Users,
    /// Subscribers of the channel. Not for subscribing itself.
    Subscribers,
    /// Everyone, anonymous clients included.
    Anyone,
}

impl Audience {
    /// Whether this audience takes in someone who is a verified user, or subscribed to the channel.
    pub fn admits(self, verified: bool, subscribed: bool) -> bool {
        match self {
            Self::Nobody => false,
            Self::Users => verified,
            Self::Subscribers => subscribed,
            Self::Anyone => true,
        }
    }
}

/// Who may do what in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// Subscribe without a token.
    pub subscribe: Audience,
    /// Publish from a client.
    pub publish: Audience,
    /// Read the history.
    pub read_history: Audience,
    /// Read the presence.
    pub read_presence: Audience,
}

/// What of a channel the user's own backend decides, by hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AsksBackend {
    /// Who may subscribe without a token.
    pub subscribe: bool,
    /// Whether a subscription that has expired goes on.
    pub sub_refresh: bool,
    /// Whether, and as what, a client's publication is published.
    pub publish: bool,
}

/// What becomes of a client that takes publications more slowly than they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowConsumer {
    /// Its connection is closed: it comes back, and recovers where there is history.
    #[default]
    Close,
    /// The oldest publications that wait for it are dropped, and its subscription ends. Only without history: where
    /// there is some, a subscriber is promised that it misses nothing.
    DropOldest,
}

/// Options of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelOptions {
    /// What history is kept; `None` keeps none, and there is no recovery.
    pub retention: Option<Retention>,
    /// Whether presence is kept.
    pub presence: bool,
    /// Whether joins and leaves are pushed to subscribers.
    pub join_leave: bool,
    /// Who may do what.
    pub access: Access,
    /// What the user's own backend decides in place of `access`.
    pub asks_backend: AsksBackend,
    /// What becomes of a slow subscriber.
    pub slow_consumer: SlowConsumer,
}

/// Options of all channels.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    default: ChannelOptions,
    named: BTreeMap<String, ChannelOptions>,
    open: bool,
}

impl Namespaces {
    /// Options for channels without a namespace, and for each namespace by name.
    pub fn new(default: ChannelOptions, named: BTreeMap<String, ChannelOptions>) -> Self {
        Self { default, named, open: false }
    }

    /// The same options for every channel, whatever its namespace: for development.
    pub fn open(options: ChannelOptions) -> Self {
        Self { default: options, named: BTreeMap::new(), open: true }
    }

    /// The options of a channel; `None` if its namespace is not configured (error 102).
    pub fn options(&self, channel: &Channel) -> Option<&ChannelOptions> {
        match channel.namespace() {
            None => Some(&self.default),
            Some(name) => self.named.get(name).or_else(|| self.open.then_some(&self.default)),
        }
    }

    /// Whether a namespace of this name is configured.
    pub fn has(&self, name: &str) -> bool {
        self.open || self.named.contains_key(name)
    }

    /// The configuration section that holds a channel's options, for messages to an operator.
    pub fn section(&self, channel: &Channel) -> String {
        channel.namespace().map_or_else(|| "[channels]".to_owned(), |name| format!("[channels.namespaces.{name}]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_admits_whom_it_names() {
        let people = [(false, false), (false, true), (true, false), (true, true)];
        let admitted = |audience: Audience| people.map(|(verified, subscribed)| audience.admits(verified, subscribed));
        assert_eq!(admitted(Audience::Nobody), [false; 4]);
        assert_eq!(admitted(Audience::Users), [false, false, true, true]);
        assert_eq!(admitted(Audience::Subscribers), [false, true, false, true]);
        assert_eq!(admitted(Audience::Anyone), [true; 4]);
    }

    fn check(channel: &str, expected: Option<bool>, section: &str) {
        let news = ChannelOptions { presence: true, ..ChannelOptions::default() };
        let namespaces = Namespaces::new(ChannelOptions::default(), BTreeMap::from([("news".to_owned(), news)]));
        let channel = Channel::parse(channel).unwrap();
        assert_eq!(namespaces.options(&channel).map(|options| options.presence), expected, "{channel}");
        assert_eq!(namespaces.section(&channel), section);
    }

    #[test]
    fn channels_have_the_options_of_their_namespace() {
        check("plain", Some(false), "[channels]");
        check("news:today", Some(true), "[channels.namespaces.news]");
        check("$news:today", Some(true), "[channels.namespaces.news]");
    }

    #[test]
    fn channels_of_an_unknown_namespace_have_no_options() {
        check("other:today", None, "[channels.namespaces.other]");
        check("News:today", None, "[channels.namespaces.News]");
    }

    #[test]
    fn open_namespaces_know_every_channel() {
        let options = ChannelOptions { presence: true, ..ChannelOptions::default() };
        let namespaces = Namespaces::open(options.clone());
        for name in ["news", "any:news"] {
            assert_eq!(namespaces.options(&Channel::parse(name).unwrap()), Some(&options));
        }
    }
}
