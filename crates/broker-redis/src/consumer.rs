//! What comes in from a Redis shard: one pub/sub connection, kept for ever, from which events go to the shards in the
//! order in which Redis sent them. It goes to where the shard's link goes.
//!
//! Nothing is queued here: a message is read, decoded and handed to the sink in one go, by one task. What the task does
//! not keep up with stays in the socket; Redis cuts a subscriber that lags by too much, and that is a lost connection
//! like any other. After one, channels are subscribed again, and each is compared with Redis ([`crate::checker`]).

mod session;

use std::sync::Arc;

use fanfare_broker::{Event, PublicationSink, Room};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::session::{Ended, Session};
use crate::backoff::Backoff;
use crate::envelope::Envelope;
use crate::interest::Interest;
use crate::keys::Keys;
use crate::limits::HEARTBEAT;
use crate::metrics::{Counters, Skipped, Up};
use crate::options::Options;
use crate::revocations::Revocations;
use crate::routes::{RedisShard, Routes};

/// What another node said.
pub(crate) enum Word {
    /// A request to all nodes.
    Request(Vec<u8>),
    /// An answer to this one.
    Answer(Vec<u8>),
}

/// What consumers work with, one for each shard.
pub(crate) struct Consumer {
    pub(crate) options: Arc<Options>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) interest: Arc<Interest>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) sink: Arc<dyn PublicationSink>,
    pub(crate) words: mpsc::Sender<Word>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) counters: Arc<Counters>,
}

impl Consumer {
    /// Consumes what a shard sends, for ever.
    pub(crate) async fn run(&self, shard: &RedisShard) {
        let (mut backoff, mut reported) = (Backoff::default(), String::new());
        loop {
            let server = shard.link.address().await;
            let ended = match Session::open(self, shard, Arc::clone(&server)).await {
                Ok(session) => {
                    // Word of some may have been lost meanwhile.
                    self.revocations.wake();
                    let (_up, began) = (Up::new(&self.counters.consuming), Instant::now());
                    let ended = session.run().await;
                    // One that ends as soon as it has begun would be tried again without a pause to speak of.
                    if began.elapsed() > HEARTBEAT {
                        backoff.reset();
                        reported.clear();
                    }
                    ended
                }
                Err(ended) => ended,
            };
            self.lost(shard, &ended);
            let reason = ended.to_string();
            if reason != reported {
                tracing::warn!(reason, %server, "no pub/sub connection to Redis");
                reported = reason;
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    fn lost(&self, shard: &RedisShard, ended: &Ended) {
        self.counters.consumers_lost.inc();
        self.counters.probes_missed.inc_by(u64::from(matches!(ended, Ended::Hanging)));
        self.interest.interrupt(shard.id);
    }

    /// Takes a message of a channel.
    fn take(&self, name: &str, message: &[u8]) {
        self.counters.received.inc();
        match self.event(name, message) {
            Ok(event) => self.sink.deliver(event, Room::default()),
            Err(reason) => self.counters.skipped(reason),
        }
    }

    fn event(&self, name: &str, message: &[u8]) -> Result<Event, Skipped> {
        let channel = || self.interest.wanted(name).ok_or(Skipped::Unwanted);
        let event = match Envelope::read(message, &self.options.payload)? {
            Envelope::Placed { offset, epoch, body } => {
                let (channel, position) = self.interest.place(name, offset, epoch).ok_or(Skipped::Unwanted)?;
                Event::Publication(Arc::new(body.into_publication(channel, Some(position))))
            }
            Envelope::Live(body) => Event::Publication(Arc::new(body.into_publication(channel()?, None))),
            Envelope::Join(info) => Event::Join(channel()?, info),
            Envelope::Leave(info) => Event::Leave(channel()?, info),
        };
        Ok(event)
    }

    /// Takes what another node said. Nobody waits: over the bound it is dropped, and the asking node's deadline tells.
    fn hear(&self, word: Word) {
        if self.words.try_send(word).is_err() {
            self.counters.skipped(Skipped::Overflow);
        }
    }
}
