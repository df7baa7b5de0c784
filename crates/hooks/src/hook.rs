//! One hook: a question goes out, under its limits, and an answer is judged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_gateway::{Headers, Hook, Refusal};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request};
use http_body_util::Full;
use prometheus::IntGauge;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time;

use crate::answer::NotGranted;
use crate::breaker::{Admission, Breaker, Ended, State};
use crate::limits::{LOG_INTERVAL, RETRIES_MAX, RETRY_PAUSE};
use crate::metrics::{HookMetrics, Outcome};
use crate::options::HookOptions;
use crate::pool::{Pool, TryError};
use crate::signature::signatures;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The way to the backend for one kind of question.
#[derive(Debug)]
pub(crate) struct AskedHook {
    hook: Hook,
    options: HookOptions,
    pool: Pool,
    breaker: Mutex<Breaker>,
    in_flight: Arc<Semaphore>,
    metrics: HookMetrics,
    /// When a failure was last logged.
    logged: Mutex<Option<Instant>>,
    /// Where questions run: a shard's thread only waits.
    runtime: Handle,
}

/// A question under way, for as long as this lives.
#[derive(Debug)]
struct InFlight {
    gauge: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// A try that the breaker let through; one that is dropped was given up.
#[derive(Debug)]
struct Admitted<'a> {
    hook: &'a AskedHook,
    admission: Admission,
    ended: Ended,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.hook.end_try(self.admission, self.ended);
    }
}

impl AskedHook {
    pub(crate) fn new(hook: Hook, options: HookOptions, metrics: HookMetrics, runtime: Handle) -> Self {
        Self {
            hook,
            pool: Pool::new(options.endpoint.clone(), Arc::clone(&options.tls), options.answer_bytes_max),
            breaker: Mutex::default(),
            in_flight: Arc::new(Semaphore::new(options.in_flight_max)),
            options,
            metrics,
            logged: Mutex::default(),
            runtime,
        }
    }

    /// Asks and has the answer judged, elsewhere than on this thread. May be dropped: the question is then given up
    /// (H7).
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        headers: Headers,
        body: Vec<u8>,
        judge: impl FnOnce(&[u8]) -> Result<T, NotGranted> + Send + 'static,
    ) -> Result<T, Refusal> {
        let Some(in_flight) = self.enter() else {
            self.metrics.count(Outcome::Overloaded);
            return Err(Refusal::Overloaded);
        };
        let hook = Arc::clone(self);
        let mut question = JoinSet::new();
        let asking = async move {
            let result = hook.ask_here(&headers, body.into(), judge).await;
            drop(in_flight);
            result
        };
        question.spawn_on(asking, &self.runtime);
        match question.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(hook = self.hook.name(), "a question to a hook ended by a panic");
                self.metrics.count(Outcome::Panic);
                Err(Refusal::Unanswered)
            }
            // The node ends.
            _ => Err(Refusal::Unanswered),
        }
    }

    fn enter(&self) -> Option<InFlight> {
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().ok()?;
        self.metrics.in_flight.inc();
        Some(InFlight { gauge: self.metrics.in_flight.clone(), _permit: permit })
    }

    async fn ask_here<T>(
        &self,
        headers: &Headers,
        body: Bytes,
        judge: impl FnOnce(&[u8]) -> Result<T, NotGranted>,
    ) -> Result<T, Refusal> {
        let began = Instant::now();
        let (outcome, result) = match self.send(headers, body).await {
            Err(outcome) => (outcome, Err(Refusal::Unanswered)),
            Ok(answer) => match judge(&answer) {
                Ok(granted) => (Outcome::Ok, Ok(granted)),
                Err(NotGranted::Refused(refusal)) => (Outcome::Refused, Err(refusal)),
                Err(NotGranted::Invalid(why)) => {
                    self.complain(&why);
                    (Outcome::Invalid, Err(Refusal::Unanswered))
                }
            },
        };
        self.metrics.count(outcome);
        if outcome != Outcome::Open {
            self.metrics.seconds.observe(began.elapsed().as_secs_f64());
        }
        result
    }

    /// Sends a question, and again where that does no harm (H4).
    async fn send(&self, headers: &Headers, body: Bytes) -> Result<Bytes, Outcome> {
        let id = format!("msg_{}", uuid::Uuid::new_v4().simple());
        let deadline = time::Instant::now() + self.options.timeout;
        let mut pause = RETRY_PAUSE;
        for tries_left in (0..=RETRIES_MAX).rev() {
            let error = match self.try_once(self.request(&id, headers, &body), deadline).await? {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = pause.mul_f64(rand::random_range(0.5..=1.0));
            let in_time = time::Instant::now() + wait < deadline;
            if tries_left == 0 || !in_time || !self.may_repeat(&error) {
                self.complain(&error);
                return Err(outcome_of(&error));
            }
            self.metrics.retries.inc();
            time::sleep(wait).await;
            pause *= 2;
        }
        Err(Outcome::Connection)
    }

    async fn try_once(
        &self,
        request: Request<Full<Bytes>>,
        deadline: time::Instant,
    ) -> Result<Result<Bytes, TryError>, Outcome> {
        let mut admitted = self.admit().ok_or(Outcome::Open)?;
        let answer = time::timeout_at(deadline, self.pool.send(request)).await.unwrap_or(Err(TryError::TimedOut));
        let failed = answer.as_ref().is_err_and(TryError::is_outage);
        admitted.ended = if failed { Ended::Failed } else { Ended::Answered };
        Ok(answer)
    }

    fn may_repeat(&self, error: &TryError) -> bool {
        let is_safe = !matches!(self.hook, Hook::Publish | Hook::Rpc);
        error.is_unsent() || (is_safe && error.is_outage() && !matches!(error, TryError::TimedOut))
    }

    fn admit(&self) -> Option<Admitted<'_>> {
        let now = Instant::now();
        let (admitted, state) = {
            let mut breaker = self.breaker();
            (breaker.admit(now), breaker.state(now))
        };
        self.metrics.breaker.set(state as i64);
        admitted.map(|admission| Admitted { hook: self, admission, ended: Ended::GivenUp })
    }

    fn end_try(&self, admission: Admission, ended: Ended) {
        let now = Instant::now();
        let (before, after) = {
            let mut breaker = self.breaker();
            let before = breaker.state(now);
            breaker.end(admission, ended, now);
            (before, breaker.state(now))
        };
        self.metrics.breaker.set(after as i64);
        match (before, after) {
            (State::Closed, State::Open) => {
                tracing::warn!(
                    hook = self.hook.name(),
                    "the backend does not answer this hook: it is left alone for a while"
                );
            }
            (State::HalfOpen, State::Closed) => {
                tracing::info!(hook = self.hook.name(), "the backend answers this hook again");
            }
            _ => {}
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is wrong, now and then. Nothing of what a backend said is in it.
    fn complain(&self, error: &dyn std::fmt::Display) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            *logged = Some(Instant::now());
            tracing::warn!(hook = self.hook.name(), %error, "a hook has no answer that can be used");
        }
    }

    fn request(&self, id: &str, headers: &Headers, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.options.endpoint.path().parse().unwrap_or_default();
        let all = request.headers_mut();
        for (name, value) in headers.iter().filter(|(name, _)| self.options.pass_headers.contains(name)) {
            all.append(name.clone(), value.clone());
        }
        for (name, value) in &self.options.headers {
            all.insert(name.clone(), value.clone());
        }
        put(all, HOST, &self.options.endpoint.authority());
        all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        all.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        all.entry(USER_AGENT).or_insert(HeaderValue::from_static("fanfare"));
        self.sign(all, id, body);
        request
    }

    fn sign(&self, headers: &mut HeaderMap, id: &str, body: &[u8]) {
        put(headers, WEBHOOK_ID, id);
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        put(headers, WEBHOOK_TIMESTAMP, &timestamp.to_string());
        if !self.options.signing_keys.is_empty() {
            put(headers, WEBHOOK_SIGNATURE, &signatures(&self.options.signing_keys, id, timestamp, body));
        }
    }
}

/// Puts a header whose text is of our own making.
fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

fn outcome_of(error: &TryError) -> Outcome {
    match error {
        TryError::Connect(_) | TryError::Broken(_) => Outcome::Connection,
        TryError::TimedOut => Outcome::Timeout,
        TryError::Redirect(_) => Outcome::Redirect,
        TryError::Status(_) => Outcome::Status,
        TryError::TooLarge(_) => Outcome::TooLarge,
    }
}
