//! One pub/sub connection, from login to its end.
//!
//! Redis answers commands in order, so a queue of what was sent tells what a confirmation or an error belongs to. The
//! connection ends when it breaks, when the server says something that cannot be said there, when nothing was heard
//! for [`PROBE_TIMEOUT`] although a PING was sent, or when a probe does not arrive that Redis took from the command
//! connection: then this connection hangs at a server that publications do not reach.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, BytesMut};
use fanfare_protocol::Channel;
use redis::Cmd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout};

use super::{Consumer, Word};
use crate::dial::{Socket, dial};
use crate::fault::Fault;
use crate::interest::Request;
use crate::limits::{
    CONSUMER_TICK, HEARTBEAT, PROBE_TIMEOUT, READ_BUFFER_KEPT_BYTES, READ_BYTES, SUBSCRIBE_BATCH,
    SUBSCRIBES_IN_FLIGHT_MAX,
};
use crate::metrics::Skipped;
use crate::resp::{self, Frame, Malformed};

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
}

/// A command that is not answered yet, with how many answers are still to come.
enum Sent {
    Login,
    Own(usize),
    Subscribe(Vec<Channel>, usize),
    Unsubscribe(usize),
    Ping,
}

pub(super) struct Session<'a> {
    consumer: &'a Consumer,
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
    /// Connects, logs in, and subscribes to the node's own pub/sub channels.
    pub(super) async fn open(consumer: &'a Consumer) -> Result<Self, Ended> {
        let within = consumer.options.connect_timeout;
        let socket = dial(&consumer.options.server, within).await?;
        let (reader, writer) = tokio::io::split(socket);
        let now = Instant::now();
        let mut session = Self {
            consumer,
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
        session.probed = consumer.link.probes();
        Ok(session)
    }

    async fn begin(&mut self) -> Result<(), Ended> {
        self.log_in().await?;
        let keys = &self.consumer.keys;
        let mut own = redis::cmd("SUBSCRIBE");
        own.arg(&*keys.probe).arg(&*keys.control).arg(&*keys.answers);
        self.send(&own, Sent::Own(3)).await?;
        while !self.ready {
            self.read().await?;
        }
        Ok(())
    }

    async fn log_in(&mut self) -> Result<(), Ended> {
        let settings = self.consumer.options.server.info().redis_settings();
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
        let may_ask = self.sent.len() < SUBSCRIBES_IN_FLIGHT_MAX;
        let consumer = self.consumer;
        tokio::select! {
            biased;
            read = self.read() => read,
            () = consumer.interest.changed(), if may_ask => Ok(()),
            () = tokio::time::sleep_until(next_tick) => Ok(()),
        }
    }

    /// Asks for what has come to be wanted, and leaves what is not any more.
    async fn ask(&mut self) -> Result<(), Ended> {
        while self.sent.len() < SUBSCRIBES_IN_FLIGHT_MAX {
            let Some(request) = self.consumer.interest.next_request(SUBSCRIBE_BATCH) else { break };
            let (name, channels) = match &request {
                Request::Subscribe(channels) => ("SUBSCRIBE", channels),
                Request::Unsubscribe(channels) => ("UNSUBSCRIBE", channels),
            };
            let mut command = redis::cmd(name);
            for channel in channels {
                command.arg(self.consumer.keys.live(channel));
            }
            let answers = channels.len();
            let sent = match request {
                Request::Subscribe(channels) => Sent::Subscribe(channels, answers),
                Request::Unsubscribe(_) => Sent::Unsubscribe(answers),
            };
            self.send(&command, sent).await?;
        }
        Ok(())
    }

    /// A server that does not read is as good as gone.
    async fn send(&mut self, command: &Cmd, sent: Sent) -> Result<(), Ended> {
        self.sent.push_back(sent);
        let packed = command.get_packed_command();
        timeout(PROBE_TIMEOUT, self.writer.write_all(&packed)).await.map_err(|_| Ended::Silent)??;
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        self.ticked = now;
        let interest = self.consumer.interest.channels();
        self.consumer.counters.interest.set(i64::try_from(interest).unwrap_or(i64::MAX));
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

    fn look_for_probe(&mut self, now: Instant) -> Result<(), Ended> {
        self.missing = self.missing.filter(|(number, _)| *number > self.probed);
        match self.missing {
            Some((_, since)) if now - since > PROBE_TIMEOUT => Err(Ended::Hanging),
            Some(_) => Ok(()),
            None => {
                let taken = self.consumer.link.probes();
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
            Frame::Subscribed(name) => return self.subscribed(name),
            Frame::Unsubscribed(name) => return self.unsubscribed(name),
            Frame::Pong => return self.expect(|sent| matches!(sent, Sent::Ping)),
            Frame::Status => return self.expect(|sent| matches!(sent, Sent::Login)),
            Frame::Error(text) => return Err(self.refused(text)),
        }
        Ok(())
    }

    fn message(&mut self, channel: &[u8], payload: &[u8]) {
        let keys = &self.consumer.keys;
        if let Some(name) = keys.channel_of(channel) {
            self.consumer.take(name, payload);
        } else if channel == keys.probe.as_bytes() {
            let number = std::str::from_utf8(payload).ok().and_then(|number| number.parse().ok());
            self.probed = number.unwrap_or(self.probed).max(self.probed);
        } else if channel == keys.control.as_bytes() {
            self.consumer.hear(Word::Request(payload.to_vec()));
        } else if channel == keys.answers.as_bytes() {
            self.consumer.hear(Word::Answer(payload.to_vec()));
        }
    }

    fn subscribed(&mut self, name: &[u8]) -> Result<(), Ended> {
        match self.sent.front_mut() {
            Some(Sent::Own(rest)) => {
                *rest -= 1;
                self.ready = *rest == 0;
                self.done_if(self.ready);
            }
            Some(Sent::Subscribe(_, rest)) => {
                *rest -= 1;
                let done = *rest == 0;
                self.done_if(done);
                self.consumer
                    .keys
                    .channel_of(name)
                    .into_iter()
                    .for_each(|name| self.consumer.interest.confirm_subscribe(name));
            }
            _ => return Err(Ended::Unasked),
        }
        Ok(())
    }

    fn unsubscribed(&mut self, name: &[u8]) -> Result<(), Ended> {
        let Some(Sent::Unsubscribe(rest)) = self.sent.front_mut() else { return Err(Ended::Unasked) };
        *rest -= 1;
        let done = *rest == 0;
        self.done_if(done);
        self.consumer
            .keys
            .channel_of(name)
            .into_iter()
            .for_each(|name| self.consumer.interest.confirm_unsubscribe(name));
        Ok(())
    }

    fn done_if(&mut self, done: bool) {
        if done {
            self.sent.pop_front();
        }
    }

    fn expect(&mut self, expected: impl Fn(&Sent) -> bool) -> Result<(), Ended> {
        self.sent.pop_front().filter(expected).map(drop).ok_or(Ended::Unasked)
    }

    /// A refused command says something of the login or its rights: all that was asked for on this connection is in
    /// doubt.
    fn refused(&mut self, text: &str) -> Ended {
        for sent in &self.sent {
            if let Sent::Subscribe(channels, _) = sent {
                self.consumer.interest.refuse(channels);
            }
        }
        Ended::Refused(Fault::of_text(text))
    }
}
