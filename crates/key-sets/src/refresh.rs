//! The task that keeps the keys of one issuer current, and what others see of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fanfare_auth::{Held, KeySet, KeySource};
use http::HeaderValue;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Options;
use crate::address::Trust;
use crate::endpoint::{Endpoint, EndpointError};
use crate::fetch::{Answer, Asking, FetchError};
use crate::limits::{BACKOFF_MAX, BACKOFF_MIN, FRESH, RETRY_INTERVAL};
use crate::metrics::Metrics;

/// The keys of one issuer, kept current by a task of its own, which ends when this is dropped.
#[derive(Debug)]
pub struct KeySets {
    seen: watch::Receiver<Seen>,
    wanted: Arc<Notify>,
    stale_ttl: Duration,
    _task: JoinSet<()>,
}

/// What is known, and how that stands.
#[derive(Debug, Clone)]
struct Seen {
    keys: Option<Arc<KeySet>>,
    /// When the keys were last the issuer's.
    fetched_at: Instant,
    /// Tries that have ended, well or not.
    tries: u64,
    /// No further try before.
    next_try: Instant,
}

impl KeySets {
    /// Begins to fetch the keys of an issuer. Call it within a tokio runtime.
    ///
    /// # Errors
    /// Without a JWKS by URL, an issuer that is no URL.
    pub fn start(options: Options) -> Result<Self, EndpointError> {
        let wanted = Arc::new(Notify::new());
        let now = Instant::now();
        let (sender, seen) = watch::channel(Seen { keys: None, fetched_at: now, tries: 0, next_try: now });
        let stale_ttl = options.stale_ttl;
        let refresher = Refresher {
            place: Place::of(&options)?,
            asking: Asking { tls: Arc::clone(&options.tls), timeout: options.timeout },
            name: options.name,
            issuer: options.issuer,
            refresh_interval: options.refresh_interval,
            wanted: Arc::clone(&wanted),
            seen: sender,
            entity_tag: None,
            failures: 0,
            metrics: options.metrics,
        };
        refresher.metrics.show(&refresher.name);
        let mut task = JoinSet::new();
        task.spawn(refresher.run());
        Ok(Self { seen, wanted, stale_ttl, _task: task })
    }

    fn usable(&self, seen: &Seen) -> Option<Arc<KeySet>> {
        seen.keys.clone().filter(|_| seen.fetched_at.elapsed() < self.stale_ttl)
    }
}

#[async_trait]
impl KeySource for KeySets {
    fn held(&self) -> Held {
        let seen = self.seen.borrow();
        let keys = self.usable(&seen);
        let is_fresh = keys.is_some() && seen.fetched_at.elapsed() < FRESH;
        Held { keys, is_fresh }
    }

    async fn ready(&self, key_id: Option<&str>) {
        let mut seen = self.seen.clone();
        let tries = {
            let now = seen.borrow_and_update();
            let is_known = self.usable(&now).is_some_and(|keys| keys.has(key_id));
            if is_known || Instant::now() < now.next_try {
                return;
            }
            now.tries
        };
        self.wanted.notify_one();
        // The task is gone with the node only.
        let _ = seen.wait_for(|seen| seen.tries > tries).await;
    }
}

/// Where keys are, as far as that is known.
#[derive(Debug)]
enum Place {
    /// A URL of the configuration.
    Configured(Endpoint),
    /// In a discovery document, and at the URL that was last found there.
    Discovered(Endpoint, Option<(Endpoint, Trust)>),
}

impl Place {
    fn of(options: &Options) -> Result<Self, EndpointError> {
        match &options.jwks {
            Some(endpoint) => Ok(Self::Configured(endpoint.clone())),
            None => Ok(Self::Discovered(Endpoint::discovery(&options.issuer)?, None)),
        }
    }

    /// The document is read again before the next fetch.
    fn forget(&mut self) {
        if let Self::Discovered(_, found) = self {
            *found = None;
        }
    }
}

/// What is read of a discovery document (OpenID Connect Discovery §3).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

struct Refresher {
    place: Place,
    asking: Asking,
    name: String,
    issuer: String,
    refresh_interval: Duration,
    wanted: Arc<Notify>,
    seen: watch::Sender<Seen>,
    /// What the keys were tagged with, and where.
    entity_tag: Option<(Endpoint, HeaderValue)>,
    failures: u32,
    metrics: Metrics,
}

impl Refresher {
    /// Fetches at the start, when it is time, and when somebody wants keys that are not there (K1).
    async fn run(mut self) {
        loop {
            let fetched = self.fetch().await;
            let due = self.take(fetched);
            if self.wait(due).await {
                self.place.forget();
            }
        }
    }

    /// Waits for the next try; says whether it is the regular one.
    async fn wait(&self, due: Instant) -> bool {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => return true,
                () = self.wanted.notified() => {
                    // Who wanted something while the last try was under way has got its result (K2).
                    if Instant::now() >= self.seen.borrow().next_try {
                        return false;
                    }
                }
            }
        }
    }

    /// The keys, or `None` if they are as before.
    async fn fetch(&mut self) -> Result<Option<KeySet>, FetchError> {
        let (endpoint, trust) = self.key_set_place().await?;
        let known = self.entity_tag.as_ref().filter(|(tagged, _)| *tagged == endpoint).map(|(_, tag)| tag);
        let known = known.filter(|_| self.seen.borrow().keys.is_some());
        match self.asking.get(&endpoint, trust, known).await? {
            Answer::NotModified if known.is_some() => Ok(None),
            Answer::NotModified => Err(FetchError::Status(304)),
            Answer::Body(text, entity_tag) => {
                let keys = KeySet::parse(&text)?;
                self.entity_tag = entity_tag.map(|tag| (endpoint, tag));
                Ok(Some(keys))
            }
        }
    }

    async fn key_set_place(&mut self) -> Result<(Endpoint, Trust), FetchError> {
        let (document, found) = match &self.place {
            Place::Configured(endpoint) => return Ok((endpoint.clone(), Trust::Any)),
            Place::Discovered(document, found) => (document.clone(), found.clone()),
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let Answer::Body(text, _) = self.asking.get(&document, Trust::Any, None).await? else {
            return Err(FetchError::Status(304));
        };
        let found = self.found_in(&document, &text)?;
        if let Place::Discovered(_, last) = &mut self.place {
            *last = Some(found.clone());
        }
        Ok(found)
    }

    fn found_in(&self, document: &Endpoint, text: &[u8]) -> Result<(Endpoint, Trust), FetchError> {
        let read: Document =
            serde_json::from_slice(text).map_err(|_| FetchError::Discovery("has no issuer and jwks_uri"))?;
        if read.issuer != self.issuer {
            return Err(FetchError::Discovery("is of another issuer"));
        }
        let endpoint = Endpoint::parse(&read.jwks_uri);
        let endpoint = endpoint.map_err(|_| FetchError::Discovery("has a jwks_uri that is no https:// URL"))?;
        if document.is_local() {
            return Ok((endpoint, Trust::Any));
        }
        match endpoint.is_tls {
            true => Ok((endpoint, Trust::PublicOnly)),
            false => Err(FetchError::Discovery("has a jwks_uri that is not encrypted")),
        }
    }

    /// Makes a result known; returns when the next try is due.
    fn take(&mut self, fetched: Result<Option<KeySet>, FetchError>) -> Instant {
        self.metrics.fetched(&self.name, &fetched);
        let now = Instant::now();
        let wait = match &fetched {
            Ok(_) => RETRY_INTERVAL,
            Err(error) => self.after_failure(error),
        };
        let due = if fetched.is_ok() { now + self.refresh_interval } else { now + wait };
        if fetched.is_ok() && self.failures > 0 {
            tracing::info!(issuer = self.name, "the keys of this issuer can be fetched again");
            self.failures = 0;
        }
        self.seen.send_modify(|seen| {
            seen.tries += 1;
            seen.next_try = now + wait;
            if let Ok(keys) = fetched {
                seen.fetched_at = now;
                seen.keys = keys.map(Arc::new).or_else(|| seen.keys.take());
            }
        });
        due
    }

    /// Counts a failure; the wait doubles, and is spread so that several nodes do not come back together.
    fn after_failure(&mut self, error: &FetchError) -> Duration {
        if self.failures == 0 {
            tracing::warn!(issuer = self.name, %error, "the keys of this issuer cannot be fetched");
        } else {
            tracing::debug!(issuer = self.name, %error, "the keys of this issuer still cannot be fetched");
        }
        let doubled = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.place.forget();
        doubled.min(BACKOFF_MAX).mul_f64(rand::random_range(0.75..=1.0))
    }
}
