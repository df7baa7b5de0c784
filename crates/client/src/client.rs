//! The handle of a connection: cheap to clone, all of it questions to the task behind it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fanfare_protocol::{
    Channel, ClientInfo, Command, Encoding, HistoryRequest, PresenceRequest, PresenceStatsRequest, PresenceStatsResult,
    PublishRequest, Reply, RpcRequest, StreamPositionMessage,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::connection::{Actor, Request};
use crate::error::json_problem;
use crate::limits::REQUESTS_MAX;
use crate::options::Settings;
use crate::{Builder, ConnectionEvent, Error, Publication, StreamPosition, SubscribeOptions, Subscription};

/// A connection to a node that comes back by itself. Clones share it; when the last clone and the last
/// [`Subscription`] are dropped, it ends.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

/// What all handles of a connection share. Owns the task.
#[derive(Debug)]
pub(crate) struct Inner {
    requests: mpsc::Sender<Request>,
    next_key: AtomicU64,
    encoding: Encoding,
    ending: Arc<OnceLock<Error>>,
    _task: JoinSet<()>,
}

/// Which part of a channel's history to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryQuery {
    /// Publications at most; 0 asks for the position only, -1 for as many as the node gives.
    pub limit: i32,
    /// Where to begin, not included itself.
    pub since: Option<StreamPosition>,
    /// Newest first.
    pub reverse: bool,
}

/// A part of a channel's history.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The publications, in the direction asked for.
    pub publications: Vec<Publication>,
    /// The stream's top.
    pub top: StreamPosition,
}

impl Client {
    /// Prepares a connection to the node at `address`: `host:port`, `http://…` or `ws://…`.
    pub fn builder(address: &str) -> Builder {
        Builder::new(address)
    }

    /// Subscribes to a channel. Returns as soon as the client has taken note; whether the node agrees is the first
    /// event: [`crate::SubscriptionEvent::Subscribed`] or [`crate::SubscriptionEvent::Unsubscribed`]. Subscribed again after every reconnect.
    ///
    /// Fails when there is a subscription to the channel already, or the name cannot be one.
    pub async fn subscribe(&self, channel: &str, options: SubscribeOptions) -> Result<Subscription, Error> {
        let channel = parse(channel)?;
        let key = self.inner.next_key.fetch_add(1, Ordering::Relaxed);
        let (events, receiver) = mpsc::channel(options.events_max.max(1));
        let (answer, taken) = oneshot::channel();
        self.inner.send(Request::Subscribe { channel: channel.clone(), key, options, events, answer }).await?;
        taken.await.map_err(|_| self.inner.ended())??;
        Ok(Subscription::new(channel, key, receiver, Arc::clone(&self.inner)))
    }

    /// Publishes. With the JSON encoding `data` has to be JSON.
    pub async fn publish(&self, channel: &str, data: impl Into<Bytes>) -> Result<(), Error> {
        let (channel, data) = (name(channel)?, self.payload(data.into())?);
        let publish = PublishRequest { channel, data, ..Default::default() };
        self.inner.call(Command { publish: Some(publish), ..Default::default() }).await.map(drop)
    }

    /// Reads a channel's history.
    pub async fn history(&self, channel: &str, query: HistoryQuery) -> Result<History, Error> {
        let since = query.since.map(|at| StreamPositionMessage { offset: at.offset, epoch: at.epoch.as_ref().into() });
        let history = HistoryRequest { channel: name(channel)?, limit: query.limit, since, reverse: query.reverse };
        let reply = self.inner.call(Command { history: Some(history), ..Default::default() }).await?;
        reply.history.map(History::from).ok_or_else(|| empty("history"))
    }

    /// Who is in a channel, by connection.
    pub async fn presence(&self, channel: &str) -> Result<BTreeMap<String, ClientInfo>, Error> {
        let presence = PresenceRequest { channel: name(channel)? };
        let reply = self.inner.call(Command { presence: Some(presence), ..Default::default() }).await?;
        reply.presence.map(|result| result.presence).ok_or_else(|| empty("presence"))
    }

    /// How many are in a channel.
    pub async fn presence_stats(&self, channel: &str) -> Result<PresenceStatsResult, Error> {
        let stats = PresenceStatsRequest { channel: name(channel)? };
        let reply = self.inner.call(Command { presence_stats: Some(stats), ..Default::default() }).await?;
        reply.presence_stats.ok_or_else(|| empty("presence_stats"))
    }

    /// Calls a method of the application behind the node.
    pub async fn rpc(&self, method: &str, data: impl Into<Bytes>) -> Result<Bytes, Error> {
        let rpc = RpcRequest { method: method.to_owned(), data: self.payload(data.into())? };
        let reply = self.inner.call(Command { rpc: Some(rpc), ..Default::default() }).await?;
        reply.rpc.map(|result| result.data).ok_or_else(|| empty("rpc"))
    }

    /// Ends the connection with a close frame, and all subscriptions with it. Returns when that is done.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.inner.send(Request::Close(done)).await.is_ok() {
            // An error here means that the task has ended otherwise: the connection is closed either way.
            let _ = closed.await;
        }
    }

    pub(crate) fn start(
        settings: Settings,
        events: Option<mpsc::Sender<ConnectionEvent>>,
        ready: Option<oneshot::Sender<Result<(), Error>>>,
    ) -> Self {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let ending = Arc::new(OnceLock::new());
        let encoding = settings.encoding;
        let mut task = JoinSet::new();
        task.spawn(Actor::new(settings, receiver, events, ready).run(Arc::clone(&ending)));
        Self { inner: Arc::new(Inner { requests, next_key: AtomicU64::new(1), encoding, ending, _task: task }) }
    }

    pub(crate) async fn connect(
        settings: Settings,
        events: Option<mpsc::Sender<ConnectionEvent>>,
    ) -> Result<Self, Error> {
        let (ready, first_attempt) = oneshot::channel();
        let client = Self::start(settings, events, Some(ready));
        first_attempt.await.map_err(|_| Error::Stopped)??;
        Ok(client)
    }

    /// Payloads are copied into JSON frames as they are: one that is not JSON would break the frame.
    fn payload(&self, data: Bytes) -> Result<Bytes, Error> {
        match self.inner.encoding {
            Encoding::Protobuf => Ok(data),
            Encoding::Json => json_problem(&data).map_or(Ok(data), |problem| Err(Error::NotJson(problem))),
        }
    }
}

impl Inner {
    /// Unsubscribes without waiting. Should the queue be full, the task finds out at the next event.
    pub(crate) fn forget(&self, channel: &Channel, key: u64) {
        let _ = self.requests.try_send(Request::Unsubscribe { channel: channel.clone(), key });
    }

    /// Why the task has ended.
    fn ended(&self) -> Error {
        self.ending.get().cloned().unwrap_or(Error::Stopped)
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        self.requests.send(request).await.map_err(|_| self.ended())
    }

    async fn call(&self, command: Command) -> Result<Reply, Error> {
        let (answer, reply) = oneshot::channel();
        self.send(Request::Call { command: Box::new(command), answer }).await?;
        reply.await.map_err(|_| self.ended())?
    }
}

impl From<fanfare_protocol::HistoryResult> for History {
    fn from(result: fanfare_protocol::HistoryResult) -> Self {
        let top = StreamPosition::new(result.offset, result.epoch);
        let publications = result.publications.into_iter().map(|message| {
            let position = (message.offset > 0).then(|| StreamPosition::new(message.offset, Arc::clone(&top.epoch)));
            Publication::new(message, position)
        });
        Self { publications: publications.collect(), top }
    }
}

pub(crate) fn parse(channel: &str) -> Result<Channel, Error> {
    Channel::parse(channel).map_err(|problem| Error::Channel { name: channel.to_owned(), problem })
}

fn name(channel: &str) -> Result<String, Error> {
    parse(channel).map(|channel| channel.as_str().to_owned())
}

fn empty(method: &str) -> Error {
    Error::Answer(format!("a reply to {method} without a result"))
}
