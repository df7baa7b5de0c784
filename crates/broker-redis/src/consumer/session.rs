//! One pub/sub connection, from login to its end.
//!
//! Redis answers commands in order, so a queue of what was sent tells what a confirmation or an error belongs to. The
//! connection ends when it breaks, when the server says something that cannot be said there, when nothing was heard
//! for [`PROBE_TIMEOUT`] although a PING was sent, when the shard's link goes elsewhere, or when a probe does not arrive
//! that Redis took from the link: then this connection hangs at a server that publications do not reach.
//!
//! In a cluster with sharded pub/sub the words are SSUBSCRIBE and SUNSUBSCRIBE, each for channels of one slot, and the
//! server ends by itself what is in a slot that moves away.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use redis::Cmd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{Consumer, Word};
use crate::dial::{Socket, dial};
use crate::fault::Fault;
use crate::interest::{Name, Request};
use crate::keys::PubSub;
use crate::limits::{
    CONSUMER_TICK, HEARTBEAT, PROBE_TIMEOUT, READ_BUFFER_KEPT_BYTES, READ_BYTES, SUBSCRIBE_BATCH,
    SUBSCRIBES_IN_FLIGHT_MAX,
};
use crate::metrics::Skipped;
use crate::resp::{self, Frame, Malformed};
use crate::routes::RedisShard;
use crate::server::Address;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("the server refused: {0:?}")]
    Refused(Fault),
    #[error("an answer that nothing was asked for")]
    Unasked,
    #[error("the server is silent")]
    Silent,
    #[error("what is published does not arrive")]
    Hanging,
    #[error("the shard is elsewhere now")]
    Moved,
}

/// A command that is not answered yet, with how many answers are still to come.
enum Sent {
    Login,
    Probe,
    Subscribe(Vec<Name>, usize),
    Unsubscribe(Vec<Name>, usize),
    Ping,
}

impl Sent {
    fn answers(&self) -> usize {
        match self {
            Self::Subscribe(_, rest) | Self::Unsubscribe(_, rest) => *rest,
            Self::Login | Self::Probe | Self::Ping => 1,
        }
    }
}

pub(super) struct Session<'a> {
    consumer: &'a Consumer,
    shard: &'a RedisShard,
    address: Arc<Address>,
    /// This node's own pub/sub channel for probes on this connection.
    probe: String,
    changed: Arc<Notify>,
    reader: ReadHalf<Box<dyn Socket>>,
    writer: WriteHalf<Box<dyn Socket>>,
    buffer: BytesMut,
    /// Bytes of a message over the limit that are still to come.
    skip: usize,
    sent: VecDeque<Sent>,
    ready: bool,
    heard: Instant,
    ticked: Instant,
    pinged: Instant,
    /// The last probe that arrived.
    probed: u64,
    /// A probe that Redis has taken and that is not here, and since when.
    missing: Option<(u64, Instant)>,
}

impl<'a> Session<'a> {
    /// Connects, logs in, and subscribes to the node's own pub/sub channel for probes.
    pub(super) async fn open(
        consumer: &'a Consumer,
        shard: &'a RedisShard,
        address: Arc<Address>,
    ) -> Result<Self, Ended> {
        let within = consumer.options.connect_timeout;
        let socket = dial(&address, &consumer.options).await?;
        let (reader, writer) = tokio::io::split(socket);
        let now = Instant::now();
        let mut session = Self {
            consumer,
            shard,
            address,
            probe: consumer.keys.probe(shard.link.slot()),
            changed: Arc::default(),
            reader,
            writer,
            buffer: BytesMut::new(),
            skip: 0,
            sent: VecDeque::new(),
            ready: false,
            heard: now,
            ticked: now,
            pinged: now,
            probed: 0,
            missing: None,
        };
        timeout(within, session.begin()).await.unwrap_or(Err(Ended::Silent))?;
        // Probes that Redis took before this connection listened will not come.
        session.probed = shard.link.probes();
        session.changed = consumer.interest.connect(shard.id);
        Ok(session)
    }

    async fn begin(&mut self) -> Result<(), Ended> {
        self.log_in().await?;
        let mut subscribe = redis::cmd(self.words().0);
        subscribe.arg(&self.probe);
        self.send(&subscribe, Sent::Probe).await?;
        while !self.ready {
            self.read().await?;
        }
        Ok(())
    }

    /// The commands that begin and end a subscription.
    fn words(&self) -> (&'static str, &'static str) {
        match self.consumer.keys.pubsub() {
            PubSub::Classic => ("SUBSCRIBE", "UNSUBSCRIBE"),
            PubSub::Sharded => ("SSUBSCRIBE", "SUNSUBSCRIBE"),
        }
    }

    async fn log_in(&mut self) -> Result<(), Ended> {
        let settings = self.consumer.options.server.login();
        let Some(password) = settings.password() else { return Ok(()) };
        let mut login = redis::cmd("AUTH");
        settings.username().into_iter().for_each(|user| {
            login.arg(user);
        });
        login.arg(password);
        self.send(&login, Sent::Login).await
    }

    /// Runs until the connection ends; says why.
    pub(super) async fn run(mut self) -> Ended {
        loop {
            if let Err(ended) = self.turn().await {
                return ended;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), Ended> {
        self.ask().await?;
        if self.ticked.elapsed() >= CONSUMER_TICK {
            self.tick().await?;
        }
        let next_tick = self.ticked + CONSUMER_TICK;
        let may_ask = self.room() > 0;
        let changed = Arc::clone(&self.changed);
        tokio::select! {
            biased;
            read = self.read() => read,
            () = changed.notified(), if may_ask => Ok(()),
            () = tokio::time::sleep_until(next_tick) => Ok(()),
        }
    }

    /// How many more channels may be asked for.
    fn room(&self) -> usize {
        let under_way: usize = self.sent.iter().map(Sent::answers).sum();
        SUBSCRIBES_IN_FLIGHT_MAX.saturating_sub(under_way)
    }

    /// Asks for what has come to be wanted, and leaves what is not any more.
    async fn ask(&mut self) -> Result<(), Ended> {
        while self.room() >= SUBSCRIBE_BATCH {
            let shard = self.shard.id;
            let Some(request) = self.consumer.interest.next_request(shard, SUBSCRIBE_BATCH) else { break };
            let (subscribe, unsubscribe) = self.words();
            let (word, names) = match &request {
                Request::Subscribe(names) => (subscribe, names),
                Request::Unsubscribe(names) => (unsubscribe, names),
            };
            let mut packed = Vec::new();
            for names in self.by_slot(names) {
                let mut command = redis::cmd(word);
                command.arg(names.iter().map(|name| &**name).collect::<Vec<&str>>());
                command.write_packed_command(&mut packed);
                let answers = names.len();
                self.sent.push_back(match request {
                    Request::Subscribe(_) => Sent::Subscribe(names, answers),
                    Request::Unsubscribe(_) => Sent::Unsubscribe(names, answers),
                });
            }
            self.write(&packed).await?;
        }
        Ok(())
    }

    /// What may stand in one command each.
    fn by_slot(&self, names: &[Name]) -> Vec<Vec<Name>> {
        let keys = &self.consumer.keys;
        if keys.pubsub() == PubSub::Classic {
            return vec![names.to_vec()];
        }
        let mut groups = BTreeMap::<_, Vec<Name>>::new();
        names.iter().for_each(|name| groups.entry(keys.slot(name)).or_default().push(Arc::clone(name)));
        groups.into_values().collect()
    }

    /// A server that does not read is as good as gone.
    async fn send(&mut self, command: &Cmd, sent: Sent) -> Result<(), Ended> {
        self.sent.push_back(sent);
        self.write(&command.get_packed_command()).await
    }

    async fn write(&mut self, packed: &[u8]) -> Result<(), Ended> {
        timeout(PROBE_TIMEOUT, self.writer.write_all(packed)).await.map_err(|_| Ended::Silent)??;
        // Encrypted bytes may wait for this.
        timeout(PROBE_TIMEOUT, self.writer.flush()).await.map_err(|_| Ended::Silent)??;
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        self.forgive(now - self.ticked);
        self.ticked = now;
        let interest = self.consumer.interest.channels();
        self.consumer.counters.interest.set(i64::try_from(interest).unwrap_or(i64::MAX));
        if self.shard.link.now().is_some_and(|live| live.address != self.address) {
            return Err(Ended::Moved);
        }
        if self.consumer.keys.probe(self.shard.link.slot()) != self.probe {
            // The slot of the probes is another shard's now.
            return Err(Ended::Moved);
        }
        self.look_for_probe(now)?;
        if now - self.heard > PROBE_TIMEOUT {
            return Err(Ended::Silent);
        }
        if now - self.pinged >= HEARTBEAT && now - self.heard >= HEARTBEAT {
            self.pinged = now;
            return self.send(&redis::cmd("PING"), Sent::Ping).await;
        }
        Ok(())
    }

    /// A pause of this process or machine is none of the server's: what was sent meanwhile is read before the server is
    /// judged.
    fn forgive(&mut self, since_last_tick: Duration) {
        let pause = since_last_tick.saturating_sub(CONSUMER_TICK);
        if pause > CONSUMER_TICK {
            self.heard += pause;
            self.pinged += pause;
            self.missing = self.missing.map(|(number, since)| (number, since + pause));
        }
    }

    fn look_for_probe(&mut self, now: Instant) -> Result<(), Ended> {
        self.missing = self.missing.filter(|(number, _)| *number > self.probed);
        match self.missing {
            Some((_, since)) if now - since > PROBE_TIMEOUT => Err(Ended::Hanging),
            Some(_) => Ok(()),
            None => {
                let taken = self.shard.link.probes();
                self.missing = (taken > self.probed).then_some((taken, now));
                Ok(())
            }
        }
    }

    /// Reads once, and handles every frame that is there. May be dropped: what was read is kept.
    async fn read(&mut self) -> Result<(), Ended> {
        self.buffer.reserve(READ_BYTES);
        if self.reader.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.heard = Instant::now();
        self.take_frames()
    }

    fn take_frames(&mut self) -> Result<(), Ended> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        loop {
            let skipped = self.skip.min(buffer.len() - at);
            self.skip -= skipped;
            at += skipped;
            let Some((frame, length)) = resp::read(&buffer[at..], self.consumer.options.message_bytes_max)? else {
                break;
            };
            at += length;
            self.handle(frame)?;
        }
        buffer.advance(at);
        let shrinks = buffer.is_empty() && buffer.capacity() > READ_BUFFER_KEPT_BYTES;
        self.buffer = if shrinks { BytesMut::new() } else { buffer };
        Ok(())
    }

    fn handle(&mut self, frame: Frame<'_>) -> Result<(), Ended> {
        match frame {
            Frame::Message { channel, payload } => self.message(channel, payload),
            Frame::TooLarge { skip } => {
                self.skip = skip;
                self.consumer.counters.skipped(Skipped::TooLarge);
            }
            Frame::Subscribed(name) => return self.subscribed(&text(name)),
            Frame::Unsubscribed(name) => return self.unsubscribed(&text(name)),
            Frame::Pong => return self.expect(|sent| matches!(sent, Sent::Ping)),
            Frame::Status => return self.expect(|sent| matches!(sent, Sent::Login)),
            Frame::Error(text) => return self.refused(text),
        }
        Ok(())
    }

    fn message(&mut self, name: &[u8], payload: &[u8]) {
        let keys = &self.consumer.keys;
        if name == self.probe.as_bytes() {
            let number = std::str::from_utf8(payload).ok().and_then(|number| number.parse().ok());
            self.probed = number.unwrap_or(self.probed).max(self.probed);
        } else if name == keys.control.as_bytes() {
            self.consumer.hear(Word::Request(payload.to_vec()));
        } else if name == keys.answers.as_bytes() {
            self.consumer.hear(Word::Answer(payload.to_vec()));
        } else {
            self.consumer.take(&text(name), payload);
        }
    }

    fn subscribed(&mut self, name: &str) -> Result<(), Ended> {
        match self.sent.front_mut() {
            Some(Sent::Probe) => {
                self.ready = true;
                self.sent.pop_front();
            }
            Some(Sent::Subscribe(_, rest)) => {
                *rest -= 1;
                let done = *rest == 0;
                self.done_if(done);
                self.consumer.interest.confirm_subscribe(self.shard.id, name);
            }
            _ => return Err(Ended::Unasked),
        }
        Ok(())
    }

    /// The end of a subscription: one that was asked for, or one that the cluster ends by itself.
    fn unsubscribed(&mut self, name: &str) -> Result<(), Ended> {
        match self.sent.front_mut() {
            Some(Sent::Unsubscribe(names, rest)) if names.iter().any(|asked| **asked == *name) => {
                *rest -= 1;
                let done = *rest == 0;
                self.done_if(done);
                self.consumer.interest.confirm_unsubscribe(self.shard.id, name);
                Ok(())
            }
            _ if self.consumer.keys.pubsub() == PubSub::Classic => Err(Ended::Unasked),
            _ if name == self.probe => {
                self.consumer.routes.set_stale();
                Err(Ended::Moved)
            }
            _ => {
                self.consumer.interest.misdirected(self.shard.id, name);
                self.consumer.routes.set_stale();
                Ok(())
            }
        }
    }

    fn done_if(&mut self, done: bool) {
        if done {
            self.sent.pop_front();
        }
    }

    fn expect(&mut self, expected: impl Fn(&Sent) -> bool) -> Result<(), Ended> {
        self.sent.pop_front().filter(expected).map(drop).ok_or(Ended::Unasked)
    }

    /// A cluster may refuse what is in a slot that it does not have here. Any other refusal says something of the login
    /// or its rights: all that was asked for on this connection is in doubt.
    fn refused(&mut self, text: &str) -> Result<(), Ended> {
        let fault = Fault::of_text(text);
        let shard = self.shard.id;
        if matches!(fault, Fault::Moved | Fault::Ask | Fault::TryAgain | Fault::ClusterDown) {
            self.consumer.routes.set_stale();
            match self.sent.pop_front() {
                Some(Sent::Subscribe(names, _)) => {
                    names.iter().for_each(|name| self.consumer.interest.misdirected(shard, name));
                    return Ok(());
                }
                Some(Sent::Unsubscribe(names, _)) => {
                    names.iter().for_each(|name| self.consumer.interest.confirm_unsubscribe(shard, name));
                    return Ok(());
                }
                _ => {}
            }
        }
        for sent in &self.sent {
            if let Sent::Subscribe(names, _) = sent {
                self.consumer.interest.refuse(shard, names);
            }
        }
        Err(Ended::Refused(fault))
    }
}

/// Names that are ours are text; any other is nobody's.
fn text(name: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(name)
}
