//! The commands of a client, carried out one after another.
//!
//! [`crate::ClientProtocol`] calls [`Commands::run`] for each command and waits for it before it takes the next one.
//! What concerns sessions and subscriptions is asked of the shard, at once; what has to wait (history, presence,
//! publishing) is asked of the broker under a deadline. Afterwards the session may be gone: every call to the shard
//! finds that out by the generation of its place.

mod backend;
mod channel;
mod connect;
mod control;
mod refresh;
mod subscribe;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use fanfare_auth::access::{self, Asker, Denied};
use fanfare_auth::{Allowed, Operation, TokenId};
use fanfare_broker::namespaces::ChannelOptions;
use fanfare_broker::{Barred, Bearer};
use fanfare_protocol::{Channel, ClientInfo, Command, CommandKind, Disconnect, ErrorCode, ErrorReply, Reply};

use tokio::time::Instant;
use uuid::Uuid;

pub(crate) use self::backend::{refresh_by_backend, sub_refresh_by_backend};
pub(crate) use self::control::{apply, judge_again};
pub(crate) use self::subscribe::depart;
use crate::bad_request::BadRequest;
use crate::local::Local;
use crate::rates::Charged;
use crate::shard::{Session, Shard, State, TokenStamp, end_of};
use crate::slots::SlotId;
use crate::stats::Judged;
use crate::users::User;

/// How a command ends when it does not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error reply; the session goes on.
    Error(ErrorCode),
    /// An error reply in the words of the user's backend; the session goes on.
    Refused(Box<ErrorReply>),
    /// The session is closed.
    Close(Disconnect),
    /// The session is closed with 3501.
    BadRequest(BadRequest),
    /// The session was closed meanwhile.
    Gone,
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

impl From<Disconnect> for Failure {
    fn from(disconnect: Disconnect) -> Self {
        Self::Close(disconnect)
    }
}

impl From<BadRequest> for Failure {
    fn from(reason: BadRequest) -> Self {
        Self::BadRequest(reason)
    }
}

impl From<fanfare_broker::Error> for Failure {
    fn from(error: fanfare_broker::Error) -> Self {
        tracing::debug!(%error, "the broker refused");
        Self::Error(error.code())
    }
}

/// The commands of one session.
#[derive(Clone)]
pub(crate) struct Commands {
    local: Rc<Local>,
    session: SlotId,
    /// Until when the command under way may wait for the broker, all its waits together.
    deadline: Cell<Instant>,
}

impl Commands {
    pub(crate) fn new(local: Rc<Local>, session: SlotId) -> Self {
        let deadline = Cell::new(Instant::now() + local.options().command_timeout);
        Self { local, session, deadline }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shard) -> T) -> T {
        self.local.with(act)
    }

    fn look<T>(&self, look: impl FnOnce(&Shard) -> T) -> T {
        self.local.look(look)
    }

    /// Takes a pong if the command is one: that is done at once, without a task of its own.
    pub(crate) fn take_pong(&self, command: &Command) -> bool {
        if *command != Command::default() {
            return false;
        }
        let was_asked = self.with(|shard| {
            let open = shard.session(self.session).is_some_and(|session| session.state == State::Open);
            open && shard.pong(self.session)
        });
        if !was_asked {
            self.close_bad_request(BadRequest::UnaskedPong);
        }
        true
    }

    /// Ends the session for what its client sent.
    pub(crate) fn close_bad_request(&self, reason: BadRequest) {
        // Behind the first one nothing counts.
        let open = self.with(|shard| {
            let open = shard.is_open(self.session);
            if open {
                shard.stats().bad_requests[reason as usize].add(1);
                shard.close(self.session, &Disconnect::BAD_REQUEST);
            }
            open
        });
        if open && self.local.may_log() {
            tracing::info!(reason = reason.label(), code = Disconnect::BAD_REQUEST.code, "a client sent a bad request");
        }
    }

    /// Carries a command out and queues its reply. May be dropped with the session's task only.
    pub(crate) async fn run(&self, command: Command) {
        let id = command.id;
        self.deadline.set(Instant::now() + self.local.options().command_timeout);
        let result = self.dispatch(command).await;
        match result {
            Ok(()) | Err(Failure::Gone) => {}
            Err(Failure::Error(code)) => self.reply_error(id, code.reply()),
            Err(Failure::Refused(error)) => self.reply_error(id, *error),
            Err(Failure::BadRequest(reason)) => self.close_bad_request(reason),
            Err(Failure::Close(disconnect)) => self.with(|shard| shard.close(self.session, &disconnect)),
        }
    }

    fn reply_error(&self, id: u32, error: ErrorReply) {
        self.with(|shard| {
            shard.stats().count_error(error.code);
            shard.reply(self.session, &Reply { id, error: Some(error), ..Reply::default() });
        });
    }

    /// The rules of protocol §3, in their order.
    async fn dispatch(&self, mut command: Command) -> Result<(), Failure> {
        let kind = command.kind();
        let (state, charged) = self.with(|shard| {
            shard.stats().commands.add(1);
            let state = shard.session(self.session).map(|session| session.state);
            (state, shard.charge_command(self.session, kind == Some(CommandKind::Publish)))
        });
        let kind = command.kind().ok_or(BadRequest::UnknownCommand)?;
        let id = command.id;
        if id == 0 && kind != CommandKind::Send {
            return Err(BadRequest::NoId.into());
        }
        match state.ok_or(Failure::Gone)? {
            State::Closing => return Err(Failure::Gone),
            State::Refused => return Err(BadRequest::NotConnected.into()),
            State::Opening | State::Connecting if kind != CommandKind::Connect => {
                return Err(BadRequest::NotConnected.into());
            }
            State::Opening | State::Connecting | State::Open => {}
        }
        self.admit(charged, kind)?;
        if command.ping.is_some() {
            return Err(ErrorCode::NotAvailable.into());
        }
        match kind {
            CommandKind::Connect => self.connect(id, command.connect.take().unwrap_or_default()).await,
            CommandKind::Subscribe => self.subscribe(id, command.subscribe.take().unwrap_or_default()).await,
            CommandKind::Unsubscribe => self.unsubscribe(id, &command.unsubscribe.unwrap_or_default()).await,
            CommandKind::Publish => self.publish(id, command.publish.take().unwrap_or_default()).await,
            CommandKind::Presence => self.presence(id, &command.presence.unwrap_or_default()).await,
            CommandKind::PresenceStats => self.presence_stats(id, &command.presence_stats.unwrap_or_default()).await,
            CommandKind::History => self.history(id, command.history.take().unwrap_or_default()).await,
            CommandKind::Rpc => self.rpc(id, command.rpc.take().unwrap_or_default()).await,
            CommandKind::Send => Err(Disconnect::NOT_AVAILABLE.into()),
            CommandKind::Refresh => self.refresh(id, &command.refresh.unwrap_or_default()).await,
            CommandKind::SubRefresh => self.sub_refresh(id, &command.sub_refresh.unwrap_or_default()).await,
        }
    }

    /// Refuses a command that is one too many, before anything of it is done.
    fn admit(&self, charged: Charged, kind: CommandKind) -> Result<(), Failure> {
        let (excess, failure) = match charged {
            Charged::Fine => return Ok(()),
            Charged::Over(excess) => (excess, ErrorCode::TooManyRequests.into()),
            Charged::TooMany(excess) => (excess, Disconnect::TOO_MANY_REQUESTS.into()),
        };
        self.local.tell_excess(excess);
        let gives_back = kind == CommandKind::Unsubscribe && matches!(charged, Charged::Over(_));
        if gives_back { Ok(()) } else { Err(failure) }
    }

    /// Whose session this is.
    fn user(&self) -> Result<Arc<User>, Failure> {
        self.look(|shard| shard.session(self.session).and_then(|session| session.user.clone())).ok_or(Failure::Gone)
    }

    /// The client id of the connection.
    fn client(&self) -> Result<Uuid, Failure> {
        self.look(|shard| shard.session(self.session).map(|session| session.client)).ok_or(Failure::Gone)
    }

    /// Who is connected, as others are told.
    fn info(&self) -> Result<Arc<ClientInfo>, Failure> {
        let info = self.look(|shard| shard.session(self.session).and_then(Session::info));
        info.map(Arc::new).ok_or(Failure::Gone)
    }

    /// Refuses who is kept out. To be called when nothing is waited for any more before it is entered in the shard: who
    /// is revoked later is found there.
    fn judge(&self, bearer: &Bearer<'_>, judged: Judged) -> Result<(), Barred> {
        let verdict = self.local.broker.revoked().judge(bearer, self.local.now().unix_seconds);
        if let Err(barred) = verdict {
            self.look(|shard| shard.stats().count_barred(judged));
            if self.local.may_log() {
                tracing::info!(reason = ?barred, met = ?judged, "refused by a revocation");
            }
        }
        verdict
    }

    /// The same for a connection: closed, or told to come back while the revocations are not known.
    fn judge_connection(&self, user: &str, token: TokenStamp, judged: Judged) -> Result<(), Failure> {
        let verdict = self.judge(&token.bearer(user, None), judged);
        verdict.map_err(|barred| end_of(barred).map_or_else(|| ErrorCode::Internal.into(), Failure::Close))
    }

    fn stamp(&self, token: &TokenId) -> TokenStamp {
        TokenStamp::of(token, self.local.broker.revoked())
    }

    /// Waits for the keys that a token may need, until the command's deadline at most. Without them the token is
    /// refused for the moment.
    async fn prepare(&self, token: &str) {
        if tokio::time::timeout_at(self.deadline.get(), self.local.verifier().prepare(token)).await.is_err() {
            tracing::debug!("the keys of a token's issuer did not come in time");
        }
    }

    fn reply(&self, reply: &Reply) {
        self.with(|shard| shard.reply(self.session, reply));
    }

    /// A channel by its name, and its options. An empty name is a violation (3501).
    fn channel(&self, name: &str) -> Result<(Channel, ChannelOptions), Failure> {
        if name.is_empty() {
            return Err(BadRequest::EmptyChannel.into());
        }
        let channel = self.parse(name)?;
        let options = self.channel_options(&channel)?;
        Ok((channel, options))
    }

    /// The options of a channel. They hold for the command under way, whatever is reloaded meanwhile.
    fn channel_options(&self, channel: &Channel) -> Result<ChannelOptions, Failure> {
        Ok(self.local.namespaces().options(channel).cloned().ok_or(ErrorCode::UnknownChannel)?)
    }

    fn parse(&self, name: &str) -> Result<Channel, Failure> {
        self.check_length(name)?;
        Channel::parse(name).map_err(|_| ErrorCode::BadRequest.into())
    }

    fn check_length(&self, name: &str) -> Result<(), Failure> {
        if name.len() > self.local.options().channel_bytes_max {
            return Err(ErrorCode::BadRequest.into());
        }
        Ok(())
    }

    /// Whether the session is subscribed to a channel.
    fn is_subscribed(&self, channel: &Channel) -> bool {
        self.look(|shard| {
            let channel = shard.channel_id(channel);
            let session = shard.session(self.session);
            session.zip(channel).is_some_and(|(session, channel)| session.subscription_index(channel).is_some())
        })
    }

    /// Whether this client may do something in a channel.
    fn may(
        &self,
        operation: Operation,
        channel: &Channel,
        options: &ChannelOptions,
    ) -> Result<Result<(), Denied>, Failure> {
        self.may_when(operation, channel, options, self.allowed_by_subscription(channel))
    }

    /// The same as if it were subscribed with what a token allows, or not subscribed.
    fn may_when(
        &self,
        operation: Operation,
        channel: &Channel,
        options: &ChannelOptions,
        subscribed: Option<Allowed>,
    ) -> Result<Result<(), Denied>, Failure> {
        let user = self.user()?;
        let rights = self.look(|shard| shard.session(self.session).and_then(|session| session.rights.clone()));
        let audience = match operation {
            Operation::Subscribe => options.access.subscribe,
            Operation::Publish => options.access.publish,
            Operation::ReadHistory => options.access.read_history,
            Operation::ReadPresence => options.access.read_presence,
        };
        // Where the backend decides, neither the namespace nor a rule does.
        let by_backend = match operation {
            Operation::Subscribe => options.asks_backend.subscribe,
            Operation::Publish => options.asks_backend.publish,
            Operation::ReadHistory | Operation::ReadPresence => false,
        };
        let rights = rights.filter(|_| !by_backend);
        let is_open = !by_backend && audience.admits(!user.id().is_empty(), subscribed.is_some());
        let allowed = subscribed.unwrap_or(Allowed::NOTHING);
        let asker = Asker { user: user.id(), rights: rights.as_deref(), allowed };
        Ok(access::decide(operation, channel, &asker, is_open).map(drop))
    }

    /// What the token of this client's subscription to a channel allows; `None` without a subscription.
    fn allowed_by_subscription(&self, channel: &Channel) -> Option<Allowed> {
        self.look(|shard| {
            let channel = shard.channel_id(channel)?;
            let session = shard.session(self.session)?;
            Some(session.subscriptions[session.subscription_index(channel)?].allowed)
        })
    }

    /// Refuses what is not allowed.
    fn demand(&self, operation: Operation, channel: &Channel, options: &ChannelOptions) -> Result<(), Failure> {
        match self.may(operation, channel, options)? {
            Ok(()) => Ok(()),
            Err(_) => Err(self.denied(channel, operation.name(), "not open to this client")),
        }
    }

    /// Counts a denial and, now and then, logs which key of the configuration would allow it.
    fn denied(&self, channel: &Channel, key: &'static str, reason: &str) -> Failure {
        self.look(|shard| shard.stats().denials.add(1));
        if self.local.may_log() {
            let section = self.local.namespaces().section(channel);
            tracing::info!(channel = channel.as_str(), %section, key, reason, "permission denied: see this key");
        }
        ErrorCode::PermissionDenied.into()
    }

    /// Counts a denial by the rules of private and user-limited channels and, now and then, logs it.
    fn denied_by_name(&self, channel: &Channel, denied: Denied) -> Failure {
        self.look(|shard| shard.stats().denials.add(1));
        if self.local.may_log() {
            tracing::info!(channel = channel.as_str(), reason = %denied, "permission denied");
        }
        ErrorCode::PermissionDenied.into()
    }
}
