//! After an interruption: which channels have something missing?
//!
//! Every channel that was subscribed on a lost connection is compared with Redis once it is subscribed again, and all
//! of them when the server's replication id has changed, which gives all streams another epoch. Positions are read a
//! few hundred at a time. Only the channels of which something is missing, or of which nothing is known, are told to
//! the sink; the shards then read those again. Nobody is told before Redis answers, since a read that fails would
//! announce a gap where there may be none.

use std::sync::Arc;

use fanfare_broker::PublicationSink;
use fanfare_protocol::Channel;
use tokio::sync::watch;

use crate::fault::Fault;
use crate::interest::Interest;
use crate::keys::Keys;
use crate::limits::{CHECK_BATCH, CHECK_PAUSE, CHECK_RETRY};
use crate::link::{Link, State};
use crate::metrics::Counters;
use crate::publisher::read_position;
use crate::script::{self, Call};

/// What the checker works with.
pub(crate) struct Checker {
    pub(crate) keys: Arc<Keys>,
    pub(crate) interest: Arc<Interest>,
    pub(crate) link: Arc<Link>,
    pub(crate) sink: Arc<dyn PublicationSink>,
    pub(crate) counters: Arc<Counters>,
}

impl Checker {
    /// Checks for ever.
    pub(crate) async fn run(&self) {
        tokio::join!(self.watch_replid(self.link.watch()), self.check());
    }

    async fn watch_replid(&self, mut states: watch::Receiver<State>) {
        let mut last: Option<Arc<str>> = None;
        while states.changed().await.is_ok() {
            let replid = match &*states.borrow_and_update() {
                State::Up(live) => Some(Arc::clone(&live.replid)),
                State::Down { .. } => None,
            };
            self.counters.connected.set(i64::from(replid.is_some()));
            let Some(replid) = replid else { continue };
            if last.replace(Arc::clone(&replid)).is_some_and(|last| last != replid) {
                self.interest.check_all();
            }
        }
    }

    async fn check(&self) {
        loop {
            let channels = self.interest.take_unchecked(CHECK_BATCH);
            if channels.is_empty() {
                self.interest.to_check().await;
                continue;
            }
            match self.compare(&channels).await {
                Ok(()) => tokio::time::sleep(CHECK_PAUSE).await,
                Err(fault) => {
                    tracing::debug!(?fault, "channels could not be compared with Redis");
                    self.interest.put_back(channels);
                    tokio::time::sleep(CHECK_RETRY).await;
                }
            }
        }
    }

    async fn compare(&self, channels: &[Channel]) -> Result<(), Fault> {
        let metas: Vec<String> = channels.iter().map(|channel| self.keys.meta(channel)).collect();
        let tops: Vec<String> = self.link.call(&Call::new(&script::POSITIONS, &metas)).await?;
        if tops.len() != channels.len() {
            return Err(Fault::Nonsense);
        }
        self.counters.checked.inc_by(channels.len() as u64);
        for (channel, top) in channels.iter().zip(tops) {
            let top = read_position(&top);
            if !self.interest.has_seen(channel, top.as_ref()) {
                self.counters.broken.inc();
                self.interest.told(channel, top);
                self.sink.broken(channel);
            }
        }
        Ok(())
    }
}
