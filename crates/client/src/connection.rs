//! The task behind a [`crate::Client`]: connects, reads, writes, waits, connects again.
//!
//! Decides when; what is to be said and what it means is decided in [`crate::state`].

mod link;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfare_protocol::{Channel, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use self::link::{Established, Frame, Link};
use crate::backoff::Backoff;
use crate::codes;
use crate::options::Settings;
use crate::state::{Entry, Fetch, State, TokenFor};
use crate::{ConnectionEvent, Error, SubscribeOptions, SubscriptionEvent, TokenError};

/// What a handle asks of the task.
#[derive(Debug)]
pub(crate) enum Request {
    Subscribe {
        channel: Channel,
        key: u64,
        options: SubscribeOptions,
        events: mpsc::Sender<SubscriptionEvent>,
        answer: oneshot::Sender<Result<(), Error>>,
    },
    Unsubscribe {
        channel: Channel,
        key: u64,
    },
    Call {
        command: Box<Command>,
        answer: oneshot::Sender<Result<fanfare_protocol::Reply, Error>>,
    },
    Close(oneshot::Sender<()>),
}

/// Why a connection ended, and whether another is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) code: u32,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) reconnects: bool,
}

impl Ending {
    /// Without a word of the server.
    pub(crate) fn lost(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code: 0, reason: reason.into(), reconnects: true }
    }

    /// By the server, whose code says whether to come back.
    pub(crate) fn closed(code: u32, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into(), reconnects: codes::close_reconnects(code) }
    }

    /// For good.
    pub(crate) fn terminal(code: u32, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into(), reconnects: false }
    }

    /// What those hear who wait for a reply.
    pub(crate) fn error(&self) -> Error {
        match self.reconnects {
            true => Error::Disconnected,
            false if self.code == codes::UNAUTHORIZED => Error::Token("not authorized".to_owned()),
            false => Error::Closed { code: self.code, reason: self.reason.to_string() },
        }
    }
}

/// How a turn of the loop or an attempt went wrong.
#[derive(Debug)]
enum Stop {
    /// The connection ended.
    Ended(Ending),
    /// The attempt to connect failed.
    Failed(Error),
    /// The application has closed the client.
    Closed,
}

impl From<Ending> for Stop {
    fn from(ending: Ending) -> Self {
        Self::Ended(ending)
    }
}

type Fetched = (TokenFor, Result<String, TokenError>);

pub(crate) struct Actor {
    settings: Arc<Settings>,
    requests: mpsc::Receiver<Request>,
    state: State,
    /// Token callbacks at work. They belong to one connection.
    fetches: JoinSet<Fetched>,
    backoff: Backoff,
    /// Where the first attempt is awaited: then its failure is the end.
    ready: Option<oneshot::Sender<Result<(), Error>>>,
    /// Told when a close is done.
    closed: Option<oneshot::Sender<()>>,
}

impl Actor {
    pub(crate) fn new(
        settings: Settings,
        requests: mpsc::Receiver<Request>,
        events: Option<mpsc::Sender<ConnectionEvent>>,
        ready: Option<oneshot::Sender<Result<(), Error>>>,
    ) -> Self {
        let state = State::new(settings.token.clone(), events);
        let (settings, fetches, backoff) = (Arc::new(settings), JoinSet::new(), Backoff::default());
        Self { settings, requests, state, fetches, backoff, ready, closed: None }
    }

    /// Runs until the connection has ended for good.
    pub(crate) async fn run(mut self, ending: Arc<OnceLock<Error>>) {
        let error = self.reconnect_until_the_end().await;
        tracing::debug!(%error, "client ended");
        self.state.stop(&error);
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Err(error.clone()));
        }
        // Handles read this as soon as the queue of requests is gone.
        let _ = ending.set(error);
        drop(self.requests);
        if let Some(closed) = self.closed.take() {
            let _ = closed.send(());
        }
        while self.state.has_backlog() {
            self.state.hand_over().await;
        }
    }

    async fn reconnect_until_the_end(&mut self) -> Error {
        loop {
            let delay = match self.connect_and_serve().await {
                Stop::Closed => return Error::Stopped,
                Stop::Ended(ending) if !ending.reconnects => return ending.error(),
                Stop::Failed(error) if self.ready.is_some() || !is_worth_another_attempt(&error) => return error,
                Stop::Failed(error) => {
                    tracing::debug!(%error, "connecting failed");
                    self.backoff.next_delay()
                }
                Stop::Ended(_) => self.backoff.next_delay(),
            };
            if let Err(Stop::Closed) = self.pause(delay).await {
                return Error::Stopped;
            }
        }
    }

    async fn connect_and_serve(&mut self) -> Stop {
        let established = match self.connect().await {
            Ok(established) => established,
            Err(stop) => return stop,
        };
        self.backoff.reset();
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Ok(()));
        }
        let mut link = established.link;
        self.state.connected(established.token, established.result, Instant::now());
        let stop = self.serve(&mut link, established.rest).await;
        self.fetches = JoinSet::new();
        let ending = match &stop {
            Stop::Ended(ending) => ending.clone(),
            Stop::Failed(_) | Stop::Closed => Ending::terminal(0, "closed by this client"),
        };
        tracing::debug!(code = ending.code, reason = %ending.reason, reconnects = ending.reconnects, "connection ended");
        self.state.disconnected(&ending);
        link.close().await;
        stop
    }

    /// One attempt. Requests are taken meanwhile.
    async fn connect(&mut self) -> Result<Established, Stop> {
        let (token, source) = self.state.token();
        let subs = self.state.server_side_requests();
        let attempt = Link::establish(Arc::clone(&self.settings), (token, source), subs);
        tokio::pin!(attempt);
        loop {
            let deadline = self.state.next_deadline();
            tokio::select! {
                biased;
                result = &mut attempt => return result.map_err(|error| self.connect_failed(error)),
                () = until(deadline), if deadline.is_some() => self.state.tick(Instant::now())?,
                () = self.state.hand_over(), if self.state.has_backlog() => {}
                request = self.requests.recv(), if !self.state.is_full() => self.take(request)?,
            }
        }
    }

    fn connect_failed(&mut self, error: Error) -> Stop {
        let renewable = self.settings.token.as_ref().is_some_and(|source| source.renews());
        if error.code() == Some(codes::TOKEN_EXPIRED) && renewable {
            self.state.forget_token();
            let Error::Refused { message, .. } = error else {
                return Stop::Failed(error);
            };
            return Stop::Failed(Error::Refused { code: codes::TOKEN_EXPIRED, message, temporary: true });
        }
        if error.code() == Some(codes::CLOSE_STATE_INVALIDATED) {
            self.state.forget_token();
        }
        Stop::Failed(error)
    }

    /// Waits before another attempt. Requests are taken meanwhile.
    async fn pause(&mut self, delay: Duration) -> Result<(), Stop> {
        let pause = sleep(delay);
        tokio::pin!(pause);
        loop {
            let deadline = self.state.next_deadline();
            tokio::select! {
                biased;
                () = &mut pause => return Ok(()),
                () = until(deadline), if deadline.is_some() => self.state.tick(Instant::now())?,
                () = self.state.hand_over(), if self.state.has_backlog() => {}
                request = self.requests.recv(), if !self.state.is_full() => self.take(request)?,
            }
        }
    }

    /// Serves an established connection until it ends. In this order: events for readers, since nothing is read
    /// before they are gone; deadlines; tokens; requests, which are bounded; frames.
    async fn serve(&mut self, link: &mut Link, rest: Vec<fanfare_protocol::Reply>) -> Stop {
        for reply in rest {
            if let Err(ending) = self.state.reply(reply, Instant::now()) {
                return ending.into();
            }
        }
        loop {
            if let Err(stop) = self.turn(link).await {
                return stop;
            }
        }
    }

    async fn turn(&mut self, link: &mut Link) -> Result<(), Stop> {
        self.start_fetches();
        link.send(self.state.take_outgoing()).await?;
        let deadline = self.state.next_deadline();
        tokio::select! {
            biased;
            () = self.state.hand_over(), if self.state.has_backlog() => self.handed_over(),
            () = until(deadline), if deadline.is_some() => self.state.tick(Instant::now())?,
            Some(fetched) = self.fetches.join_next(), if !self.fetches.is_empty() => self.fetched(fetched)?,
            request = self.requests.recv(), if !self.state.is_full() => self.take(request)?,
            frame = link.receive(), if !self.state.has_backlog() => self.read(&frame?)?,
        }
        Ok(())
    }

    fn handed_over(&mut self) {
        if !self.state.has_backlog() {
            self.state.resume(Instant::now());
        }
    }

    fn read(&mut self, frame: &Frame) -> Result<(), Ending> {
        let now = Instant::now();
        for reply in frame.replies(self.settings.encoding) {
            let reply = reply.map_err(|error| Ending::terminal(0, format!("not to be understood: {error}")))?;
            self.state.reply(reply, now)?;
        }
        Ok(())
    }

    /// All handles gone is the same as a close.
    fn take(&mut self, request: Option<Request>) -> Result<(), Stop> {
        let now = Instant::now();
        match request {
            None => return Err(Stop::Closed),
            Some(Request::Close(done)) => {
                self.closed = Some(done);
                return Err(Stop::Closed);
            }
            Some(Request::Call { command, answer }) => self.state.call(*command, answer, now),
            Some(Request::Unsubscribe { channel, key }) => self.state.unsubscribe(&channel, key, now),
            Some(Request::Subscribe { channel, key, options, events, answer }) => {
                // A caller that has gone away has dropped its events too, which ends the subscription.
                let entry = Entry::new(key, options, events);
                let _ = answer.send(self.state.subscribe(&channel, entry, now));
            }
        }
        Ok(())
    }

    fn start_fetches(&mut self) {
        for Fetch { purpose, source } in self.state.take_fetches() {
            self.fetches.spawn(async move { (purpose, source.fetch().await) });
        }
    }

    fn fetched(&mut self, fetched: Result<Fetched, JoinError>) -> Result<(), Ending> {
        match fetched {
            Ok((purpose, result)) => self.state.fetched(purpose, result, Instant::now()),
            Err(_) => Err(Ending::terminal(0, "the token callback panicked")),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Whether a failed attempt to connect may go better next time. An HTTP status may: nodes are deployed behind proxies
/// that answer with all sorts of them meanwhile.
fn is_worth_another_attempt(error: &Error) -> bool {
    match error {
        Error::Http { .. } => true,
        Error::Closed { code, .. } => codes::close_reconnects(*code),
        Error::Refused { code, temporary, .. } => codes::error_is_temporary(*code, *temporary),
        error => error.is_temporary(),
    }
}
