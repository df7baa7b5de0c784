//! What is to be measured: validated options.

use std::fmt;
use std::time::Duration;

use fanfare_protocol::Encoding;

use crate::adapter::{Adapter, Fanfare, Nchan, Plain, Pusher, Tokens};
use crate::channels::Channels;
use crate::publisher::{ClientPublish, Dialect, Http, PlainPublish, PusherKeys, Redis};
use crate::stamp::PAYLOAD_BYTES_MIN;
use crate::target::Target;
use crate::usage::Process;

/// Connections, channels and publications of one run, at most.
const CONNECTIONS_MAX: usize = 1_000_000;
const CHANNELS_MAX: u32 = 1 << 24;
const PUBLICATIONS_MAX: f64 = 50e6;
/// A time, in seconds: a month.
const TIME_MAX_S: f64 = 30.0 * 86_400.0;
/// The largest payload: what any hub takes and a little more.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Makes an enum whose values are said by one word each.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl $name {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$value,)*];

            /// Its word.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }

            /// The one with this word.
            pub fn of(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.word())
            }
        }
    };
}

words! {
    /// What happens in a run.
    Scenario {
        /// Connections come, as fast as it goes or so many a second, and stay idle for a while.
        Connect = "connect",
        /// One channel, to which all subscribe.
        Fanout = "fanout",
        /// Many channels with a few subscribers each.
        Channels = "channels",
        /// A few subscribers and little to do: how late a publication is when nothing else is in its way.
        Latency = "latency",
        /// Many publications, few subscribers: what the way in takes.
        Publish = "publish",
        /// Subscribers come and go all the time.
        Churn = "churn",
        /// All connections are cut in the middle, and come back at once.
        Storm = "storm",
        /// Some subscribers stop to read.
        Slow = "slow",
        /// All are away while a long history comes about, and catch up with it.
        Recover = "recover",
        /// Nothing is published: what comes by itself is counted.
        Listen = "listen",
    }
}

words! {
    /// What a server speaks.
    Protocol {
        /// The Centrifuge client protocol, as Fanfare speaks it.
        Fanfare = "fanfare",
        /// The same, as Centrifugo speaks it.
        Centrifugo = "centrifugo",
        /// The Pusher protocol.
        Pusher = "pusher",
        /// Nchan's WebSocket subscribers and HTTP publishers.
        Nchan = "nchan",
        /// A WebSocket server that sends to all what one sends.
        Plain = "plain",
    }
}

words! {
    /// How publications get in.
    PublishBy {
        /// Over the server's HTTP API.
        Api = "api",
        /// As a client, over a WebSocket.
        Client = "client",
        /// Straight into Redis: Fanfare's ingest stream.
        Redis = "redis",
    }
}

/// What is shown to the server.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Makes the connection token of a user by its number.
    pub tokens: Option<Tokens>,
    /// The key of the server API.
    pub api_key: Option<String>,
    /// The Pusher application.
    pub pusher: Option<PusherKeys>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What happens.
    pub scenario: Scenario,
    /// What the servers speak.
    pub protocol: Protocol,
    /// Where the subscribers connect; several share them.
    pub targets: Vec<Target>,
    /// How publications get in.
    pub publish_by: PublishBy,
    /// Where they get in; the first target without it.
    pub publish_to: Option<Target>,
    /// The stream of the node that takes publications from Redis.
    pub ingest_stream: String,
    /// What is shown to the server.
    pub credentials: Credentials,
    /// Binary messages, where the protocol has them.
    pub protobuf: bool,
    /// Whether subscribers ask for positions and recover by them, where the protocol can.
    pub recovery: bool,
    /// Connections.
    pub connections: usize,
    /// New connections a second; as fast as it goes without it.
    pub connect_rate: Option<f64>,
    /// Connects under way at once.
    pub connecting_max: usize,
    /// Channels.
    pub channels: u32,
    /// Channels that each connection subscribes to.
    pub channels_each: u32,
    /// The name of the channel, or what the names begin with.
    pub channel: String,
    /// Publications a second, over all channels.
    pub rate: f64,
    /// Publications that are due at the same moment; the rate is that of all.
    pub burst: usize,
    /// How long is published; for `connect` and `listen` how long is watched.
    pub duration: Duration,
    /// How long is published before the measurement: checked, and not timed.
    pub warm_up: Duration,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Connections to publish over; the publications of a channel stay on one.
    pub publishers: usize,
    /// Publications without an answer, at most.
    pub in_flight_max: u64,
    /// Threads that receive.
    pub threads: usize,
    /// Subscriptions that come and go in a second (`churn`).
    pub churn_rate: f64,
    /// Whether whole connections come and go, or subscriptions (`churn`).
    pub churn_connections: bool,
    /// The share of slow readers, 0 to 1 (`slow`).
    pub slow_share: f64,
    /// How long to wait for connections that do not get ready.
    pub patience: Duration,
    /// How long to wait for what was not delivered when all is published.
    pub drain: Duration,
    /// The processes of the server, to look at their CPU and memory.
    pub processes: Vec<Process>,
}

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No target.
    #[error("there is no target to measure")]
    NoTarget,
    /// A number that makes no sense.
    #[error("{name} is {value}: it has to be {allowed}")]
    Number {
        /// Which one.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would be right.
        allowed: String,
    },
    /// Two things that do not go together.
    #[error("{0}")]
    Mismatch(String),
}

impl Plan {
    /// What a scenario is by itself, against these targets.
    pub fn new(scenario: Scenario, protocol: Protocol, targets: Vec<Target>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut plan = Self {
            scenario,
            protocol,
            targets,
            publish_by: if protocol == Protocol::Plain { PublishBy::Client } else { PublishBy::Api },
            publish_to: None,
            ingest_stream: "fanfare:ingest".to_owned(),
            credentials: Credentials::default(),
            protobuf: false,
            recovery: true,
            connections: 1_000,
            connect_rate: None,
            connecting_max: 256,
            channels: 1,
            channels_each: 1,
            channel: "bench".to_owned(),
            rate: 50.0,
            burst: 1,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(1),
            payload_bytes: 128,
            publishers: 8,
            in_flight_max: 10_000,
            threads: (cores / 2).max(1),
            churn_rate: 100.0,
            churn_connections: false,
            slow_share: 0.05,
            patience: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            processes: Vec::new(),
        };
        plan.shape();
        plan
    }

    /// The numbers that belong to the scenario.
    fn shape(&mut self) {
        match self.scenario {
            Scenario::Channels => {
                self.channels = 100;
                self.rate = 1_000.0;
            }
            Scenario::Latency => {
                self.connections = 10;
                self.rate = 100.0;
            }
            Scenario::Publish => {
                self.connections = 16;
                self.channels = 16;
                self.rate = 2_000.0;
            }
            Scenario::Storm => self.rate = 20.0,
            Scenario::Recover => {
                // A hundred publications: as long as histories are where nobody has configured them.
                self.rate = 50.0;
                self.duration = Duration::from_secs(2);
                self.warm_up = Duration::ZERO;
            }
            Scenario::Slow => {
                // More than an outbox of a mebibyte for who does not read.
                self.payload_bytes = 4_096;
                self.rate = 40.0;
            }
            Scenario::Connect | Scenario::Fanout | Scenario::Churn | Scenario::Listen => {}
        }
    }

    /// Looks whether it can be carried out.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.targets.is_empty() {
            return Err(PlanError::NoTarget);
        }
        within("connections", self.connections, 1..=CONNECTIONS_MAX)?;
        within("channels", self.channels, 1..=CHANNELS_MAX)?;
        within("channels-each", self.channels_each, 1..=self.channels.min(10_000))?;
        within("payload", self.payload_bytes, PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX)?;
        within("threads", self.threads, 1..=256)?;
        within("publishers", self.publishers, 1..=1_024)?;
        within("in-flight", self.in_flight_max, 1..=1_000_000)?;
        within("connecting", self.connecting_max, 1..=100_000)?;
        within("slow-share", self.slow_share, 0.0..=1.0)?;
        within("rate", self.rate, 0.001..=10e6)?;
        within("churn-rate", self.churn_rate, 0.001..=10e6)?;
        within("connect-rate", self.connect_rate.unwrap_or(1.0), 0.001..=10e6)?;
        for (name, time) in [("warmup", self.warm_up), ("patience", self.patience), ("drain", self.drain)] {
            within(name, time.as_secs_f64(), 0.0..=TIME_MAX_S)?;
        }
        let shortest = if self.publishes() { 1e-3 } else { 0.0 };
        within("duration", self.duration.as_secs_f64(), shortest..=TIME_MAX_S)?;
        if self.publishes() {
            within("publications in all", self.publications() as f64, 1.0..=PUBLICATIONS_MAX)?;
            self.check_burst()?;
        }
        self.check_channel()?;
        self.check_protocol()
    }

    /// A burst has to fit into what may be without an answer, else some of it would never be sent; and into the duration, else
    /// all of it might be due in the warm-up, and nothing be timed.
    fn check_burst(&self) -> Result<(), PlanError> {
        let refused = |allowed| Err(PlanError::Number { name: "burst", value: self.burst.to_string(), allowed });
        if !(1..=self.in_flight_max).contains(&(self.burst as u64)) {
            return refused(format!(
                "1 to {}, the publications without an answer at most (in-flight)",
                self.in_flight_max
            ));
        }
        // A burst of one is no burst, however seldom; a product such as 100 × 0.29 may be a hair less than it should be.
        let in_duration = (self.rate * self.duration.as_secs_f64() + 1e-6).max(1.0) as usize;
        if self.burst > in_duration {
            return refused(format!("1 to {in_duration}, the publications of the duration at this rate"));
        }
        Ok(())
    }

    fn check_channel(&self) -> Result<(), PlanError> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.:$".contains(letter);
        if self.channel.is_empty() || self.channel.len() > 200 || !self.channel.chars().all(plain) {
            let allowed = "1 to 200 letters, digits or any of _-.:$".to_owned();
            return Err(PlanError::Number { name: "channel", value: self.channel.clone(), allowed });
        }
        Ok(())
    }

    fn check_protocol(&self) -> Result<(), PlanError> {
        let mismatch = |text: &str| Err(PlanError::Mismatch(text.to_owned()));
        let centrifuge = matches!(self.protocol, Protocol::Fanfare | Protocol::Centrifugo);
        if self.protobuf && !centrifuge {
            return mismatch("protobuf is spoken by the adapters fanfare and centrifugo alone");
        }
        if self.publish_by == PublishBy::Redis && self.protocol != Protocol::Fanfare {
            return mismatch("only Fanfare takes publications from Redis");
        }
        if self.publish_by == PublishBy::Redis && self.publish_to.is_none() {
            return mismatch("publishing into Redis needs its address: --publish-to redis://HOST:PORT");
        }
        if self.protocol == Protocol::Plain && self.publish_by != PublishBy::Client {
            return mismatch("a plain server takes publications from its clients alone");
        }
        if self.publish_by == PublishBy::Client && matches!(self.protocol, Protocol::Pusher | Protocol::Nchan) {
            return mismatch("this adapter publishes over HTTP alone");
        }
        if self.protocol == Protocol::Plain && (self.channels > 1 || self.channels_each > 1) {
            return mismatch("a plain server has one channel: what is sent goes to all");
        }
        if self.protocol == Protocol::Pusher && self.publishes() && self.credentials.pusher.is_none() {
            return mismatch("a Pusher server takes signed publications: give the application's id, key and secret");
        }
        if self.scenario == Scenario::Recover && !(centrifuge && self.recovery) {
            return mismatch("recover needs a protocol with recovery: fanfare or centrifugo");
        }
        Ok(())
    }

    /// Whether anything is published.
    pub fn publishes(&self) -> bool {
        !matches!(self.scenario, Scenario::Connect | Scenario::Listen)
    }

    /// Publications of a run, the warm-up's included; the channels take turns.
    pub(crate) fn publications(&self) -> usize {
        (self.rate * (self.duration + self.warm_up).as_secs_f64()).ceil().max(1.0) as usize
    }

    /// Whether subscribers recover what they missed.
    pub(crate) fn recovers(&self) -> bool {
        self.recovery && matches!(self.protocol, Protocol::Fanfare | Protocol::Centrifugo)
    }

    pub(crate) fn channels(&self) -> Channels {
        Channels::new(&self.channel, self.channels, self.channels_each)
    }

    pub(crate) fn is_slow(&self, connection: usize) -> bool {
        // Spread evenly, so that every thread and channel has its share.
        let slow_until = |count: usize| (count as f64 * self.slow_share) as usize;
        self.scenario == Scenario::Slow && slow_until(connection + 1) > slow_until(connection)
    }

    /// The targets with the paths that their protocol is spoken at.
    pub(crate) fn subscribe_at(&self) -> Vec<Target> {
        let path = match self.protocol {
            Protocol::Fanfare | Protocol::Centrifugo => "/connection/websocket".to_owned(),
            Protocol::Pusher => {
                format!("/app/{}", self.credentials.pusher.as_ref().map_or("app-key", |keys| keys.key.as_str()))
            }
            Protocol::Nchan => "/sub/{channel}".to_owned(),
            Protocol::Plain => "/".to_owned(),
        };
        self.targets.iter().map(|target| target.clone().or_path(&path)).collect()
    }

    pub(crate) fn adapter(&self) -> Box<dyn Adapter> {
        match self.protocol {
            Protocol::Fanfare | Protocol::Centrifugo => Box::new(Fanfare {
                encoding: if self.protobuf { Encoding::Protobuf } else { Encoding::Json },
                tokens: self.credentials.tokens.clone(),
                recovers: self.recovery,
            }),
            Protocol::Pusher => Box::new(Pusher),
            Protocol::Nchan => Box::new(Nchan),
            Protocol::Plain => Box::new(Plain),
        }
    }

    /// Where publications go, and how they are said.
    pub(crate) fn dialect(&self) -> (Target, Box<dyn Dialect>) {
        let to = self.publish_to.clone().unwrap_or_else(|| self.targets[0].clone().without_path());
        let tokens = self.credentials.tokens.clone();
        let dialect: Box<dyn Dialect> = match (self.publish_by, self.protocol) {
            (PublishBy::Redis, _) => Box::new(Redis { stream: self.ingest_stream.clone() }),
            (PublishBy::Client, Protocol::Plain) => {
                let target = self.publish_to.clone().unwrap_or_else(|| self.targets[0].clone()).or_path("/");
                Box::new(PlainPublish { target, channel: self.channel.clone() })
            }
            (PublishBy::Client, _) => {
                Box::new(ClientPublish { target: to.clone().or_path("/connection/websocket"), tokens })
            }
            (PublishBy::Api, Protocol::Nchan) => {
                let Target { host, path, .. } = to.clone().or_path("/pub/{channel}");
                Box::new(Http::Path { host, path })
            }
            (PublishBy::Api, Protocol::Pusher) => {
                let keys = self.credentials.pusher.clone().expect("a plan that publishes was checked for them");
                Box::new(Http::Pusher { host: to.host.clone(), keys })
            }
            (PublishBy::Api, _) => {
                let Target { host, path, .. } = to.clone().or_path("/api/publish");
                Box::new(Http::Api { host, path, key: self.credentials.api_key.clone() })
            }
        };
        (to, dialect)
    }
}

fn within<T: PartialOrd + fmt::Display + Copy>(
    name: &'static str,
    value: T,
    allowed: std::ops::RangeInclusive<T>,
) -> Result<(), PlanError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let allowed = format!("{} to {}", allowed.start(), allowed.end());
    Err(PlanError::Number { name, value: value.to_string(), allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(scenario: Scenario, protocol: Protocol) -> Plan {
        Plan::new(scenario, protocol, vec!["127.0.0.1:1".parse().unwrap()])
    }

    #[test]
    fn every_scenario_can_be_carried_out_as_it_is() {
        for scenario in Scenario::ALL {
            assert_eq!(plan(*scenario, Protocol::Fanfare).check(), Ok(()), "{scenario}");
            assert_eq!(Scenario::of(scenario.word()), Some(*scenario));
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let refused = |change: fn(&mut Plan)| {
            let mut plan = plan(Scenario::Fanout, Protocol::Fanfare);
            change(&mut plan);
            plan.check().unwrap_err().to_string()
        };
        assert!(refused(|plan| plan.payload_bytes = 3).starts_with("payload is 3: it has to be "));
        assert!(refused(|plan| plan.rate = f64::NAN).starts_with("rate is NaN"));
        assert!(refused(|plan| plan.channels_each = 2).starts_with("channels-each is 2"));
        assert!(refused(|plan| plan.channel = "a\"b".to_owned()).starts_with("channel is "));
        assert!(refused(|plan| plan.publish_by = PublishBy::Redis).contains("--publish-to"));
        assert!(refused(|plan| plan.rate = 9e6).contains("publications in all"));
        assert!(refused(|plan| plan.duration = Duration::ZERO).starts_with("duration is 0"));
        assert!(refused(|plan| plan.drain = Duration::MAX).starts_with("drain is "));
        assert!(plan(Scenario::Recover, Protocol::Nchan).check().is_err());
    }

    #[test]
    fn a_burst_fits_into_what_may_be_without_an_answer_and_into_the_duration() {
        let checked = |burst, in_flight_max| {
            let plan = plan(Scenario::Fanout, Protocol::Fanfare);
            Plan { burst, in_flight_max, rate: 100.0, duration: Duration::from_millis(290), ..plan }.check()
        };
        assert_eq!([checked(1, 1), checked(29, 29)], [Ok(()), Ok(())]);
        let refused = |burst, in_flight_max| checked(burst, in_flight_max).unwrap_err().to_string();
        assert!(refused(0, 10).starts_with("burst is 0: it has to be 1 to 10, "), "{}", refused(0, 10));
        let told = "burst is 21: it has to be 1 to 20, the publications without an answer at most (in-flight)";
        assert_eq!(refused(21, 20), told);
        let told = "burst is 30: it has to be 1 to 29, the publications of the duration at this rate";
        assert_eq!(refused(30, 100), told);
        // Where nothing is published there are none.
        let idle = plan(Scenario::Listen, Protocol::Fanfare);
        assert_eq!(Plan { burst: 20, duration: Duration::ZERO, ..idle }.check(), Ok(()));
    }

    #[test]
    fn defect_listening_for_long_was_refused_for_publications_that_nobody_makes() {
        let days = Duration::from_secs(20 * 86_400);
        assert_eq!(Plan { duration: days, ..plan(Scenario::Listen, Protocol::Fanfare) }.check(), Ok(()));
        assert!(Plan { duration: days, ..plan(Scenario::Fanout, Protocol::Fanfare) }.check().is_err());
    }

    #[test]
    fn slow_readers_are_spread_and_as_many_as_asked_for() {
        let mut plan = plan(Scenario::Slow, Protocol::Fanfare);
        plan.slow_share = 0.05;
        let slow: Vec<usize> = (0..1_000).filter(|connection| plan.is_slow(*connection)).collect();
        assert_eq!(slow.len(), 50);
        assert!(slow.windows(2).all(|pair| pair[1] - pair[0] == 20));
    }
}
