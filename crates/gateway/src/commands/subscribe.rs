//! Making a subscription: what is checked, what is gathered, what is undone when it fails.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_auth::{Allowed, Operation, SubscriptionClaims, TokenError, access};
use fanfare_broker::namespaces::{ChannelOptions, SlowConsumer};
use fanfare_broker::{Barred, Error, HistoryQuery, Since};
use fanfare_protocol::{
    Channel, ClientInfo, Disconnect, ErrorCode, Reply, SubscribeRequest, SubscribeResult, SubscriptionOverrides,
    UnsubscribeRequest, UnsubscribeResult,
};

use super::{Commands, Failure};
use crate::bad_request::BadRequest;
use crate::limits;
use crate::shard::{
    Backlog, Begun, Committed, Departure, NewSubscription, Origin, Refused, TokenStamp, departure_of, message_of,
    payload_bytes, with_channel_info,
};
use crate::stats::Judged;

/// The flag by which a client would rather have no subscription than one with a gap (protocol §7.1).
const REJECT_UNRECOVERED: i64 = 2;

/// A subscription that passed its checks.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) new: NewSubscription,
    /// Whether it follows the stream's positions.
    pub(super) positioned: bool,
    /// Whether it can go on from a position.
    pub(super) recoverable: bool,
    /// Where to recover from.
    pub(super) since: Option<Since>,
    /// Whether the client asked for recovery, possible or not.
    pub(super) was_recovering: bool,
    pub(super) reject_unrecovered: bool,
    pub(super) expire_at: Option<u64>,
    pub(super) data: bytes::Bytes,
}

impl Plan {
    /// The expiry that the client has to do something about.
    fn told_expiry(&self) -> Option<u64> {
        self.expire_at.filter(|_| !self.new.asks_refresh)
    }
}

/// What a subscription is granted beyond its channel's options.
#[derive(Debug, Default)]
pub(super) struct Grant {
    pub(super) info: bytes::Bytes,
    pub(super) data: bytes::Bytes,
    pub(super) expire_at: Option<u64>,
    pub(super) overrides: SubscriptionOverrides,
    pub(super) allowed: Allowed,
    /// The subscription token that says all this.
    pub(super) token: Option<TokenStamp>,
}

impl Grant {
    fn new(claims: SubscriptionClaims, token: TokenStamp) -> Self {
        let SubscriptionClaims { info, data, expire_at, overrides, allowed, .. } = claims;
        Self { info, data, expire_at, overrides, allowed, token: Some(token) }
    }
}

/// A subscription in the making, with what there is to undo if it fails or its session ends meanwhile.
#[derive(Debug)]
pub(super) struct Making {
    pub(super) plan: Plan,
    pub(super) begun: Begun,
    departure: Departure,
}

impl Commands {
    /// Subscribes (protocol §7.1, the checks in its order).
    pub(super) async fn subscribe(&self, id: u32, request: SubscribeRequest) -> Result<(), Failure> {
        let plan = self.check_subscribe(request).await?;
        let making = self.begin(plan)?;
        let committed = self.make(&making).await?;
        self.with(|shard| {
            let ttl = shard.ttl_uncapped(making.plan.told_expiry());
            let result = result_of(&making.plan, &committed, ttl);
            shard.reply(self.session, &Reply { id, subscribe: Some(result), ..Reply::default() });
        });
        self.follow_up(&making, &committed);
        self.announce(making).await;
        Ok(())
    }

    async fn check_subscribe(&self, mut request: SubscribeRequest) -> Result<Plan, Failure> {
        if request.channel.is_empty() {
            return Err(BadRequest::EmptyChannel.into());
        }
        if !matches!(request.delta.as_str(), "" | "fossil") {
            return Err(BadRequest::UnknownDelta.into());
        }
        self.check_length(&request.channel)?;
        let channel = Channel::parse(&request.channel);
        if channel.as_ref().is_ok_and(|channel| self.is_subscribed(channel)) {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        self.check_room()?;
        let channel = channel.map_err(|_| self.code_of_bad_name(&request.channel))?;
        let options = self.channel_options(&channel)?;
        if request.r#type != 0 {
            return Err(ErrorCode::PermissionDenied.into());
        }
        let grant = self.authorize(&channel, &options, &mut request).await?;
        if grant.expire_at.is_some_and(|expire_at| expire_at <= self.local.now().unix_seconds) {
            return Err(ErrorCode::Expired.into());
        }
        if request.tf.is_some() {
            return Err(ErrorCode::BadRequest.into());
        }
        self.plan(channel, Origin::Client, &request, grant)
    }

    /// An unknown namespace comes before a bad name.
    fn code_of_bad_name(&self, name: &str) -> ErrorCode {
        match Channel::namespace_of(name) {
            Some(namespace) if !self.local.namespaces().has(namespace) => ErrorCode::UnknownChannel,
            _ => ErrorCode::BadRequest,
        }
    }

    fn check_room(&self) -> Result<(), Failure> {
        let max = self.local.options().channels_per_session_max;
        let full = self.look(|shard| shard.session(self.session).is_some_and(|s| s.subscriptions.len() >= max));
        if full { Err(ErrorCode::LimitExceeded.into()) } else { Ok(()) }
    }

    /// Who may subscribe: by token where there is one, else by the rules of the channel's name, else as the backend says
    /// where it is asked, or by the namespace and the rules.
    async fn authorize(
        &self,
        channel: &Channel,
        options: &ChannelOptions,
        request: &mut SubscribeRequest,
    ) -> Result<Grant, Failure> {
        let token = std::mem::take(&mut request.token);
        if !token.is_empty() {
            self.prepare(&token).await;
            let claims = self.verify_subscription(channel, &token)?;
            let token = self.judge_subscription(&claims)?;
            return Ok(Grant::new(claims, token));
        }
        match self.may(Operation::Subscribe, channel, options)? {
            Ok(()) => Ok(Grant::default()),
            Err(access::Denied::NotOpen) if options.asks_backend.subscribe => {
                self.ask_to_subscribe(channel, &request.data).await
            }
            Err(access::Denied::NotOpen) => Err(self.denied(channel, "subscribe", "not open to this client")),
            // No key of the configuration would allow these: their names alone say who may.
            Err(denied) => Err(self.denied_by_name(channel, denied)),
        }
    }

    fn verify_subscription(&self, channel: &Channel, token: &str) -> Result<SubscriptionClaims, Failure> {
        let now = self.local.now().unix_seconds;
        let claims = self.local.verifier().subscription(token, now).map_err(|error| match error {
            TokenError::Expired | TokenError::NotYetValid => ErrorCode::TokenExpired,
            TokenError::KeysUnavailable => ErrorCode::Internal,
            TokenError::Invalid(_) | TokenError::NotConfigured => ErrorCode::PermissionDenied,
        })?;
        if self.is_meant(&claims, channel)? { Ok(claims) } else { Err(Disconnect::INVALID_TOKEN.into()) }
    }

    fn judge_subscription(&self, claims: &SubscriptionClaims) -> Result<TokenStamp, Failure> {
        let token = self.stamp(&claims.token);
        match self.judge(&token.bearer(&claims.user, Some(&claims.channel)), Judged::Subscribe) {
            Ok(()) => Ok(token),
            Err(Barred::Revoked) => Err(ErrorCode::PermissionDenied.into()),
            Err(Barred::Blocked) => Err(Disconnect::FORCE_DISCONNECT.into()),
            Err(Barred::NotKnown) => Err(ErrorCode::Internal.into()),
        }
    }

    /// Puts together what a subscription is made with. Recovery is on wherever the namespace has history.
    pub(super) fn plan(
        &self,
        channel: Channel,
        origin: Origin,
        request: &SubscribeRequest,
        grant: Grant,
    ) -> Result<Plan, Failure> {
        let options = self.channel_options(&channel)?;
        let overrides = &grant.overrides;
        let has_history = options.retention.is_some();
        let recoverable = has_history && overrides.force_recovery != Some(false);
        let positioned = recoverable || (has_history && overrides.force_positioning != Some(false));
        let may_see = self.may_when(Operation::ReadPresence, &channel, &options, Some(grant.allowed))?.is_ok();
        let announces = overrides.join_leave.unwrap_or(options.join_leave);
        let forced = overrides.force_push_join_leave == Some(true);
        let in_channel = |info: &Bytes| Ok::<_, Failure>(with_channel_info(&*self.info()?, info.clone()));
        let own = Some(&grant.info).filter(|info| !info.is_empty()).map(in_channel).transpose()?;
        let new = NewSubscription {
            channel,
            origin,
            presence: overrides.presence.unwrap_or(options.presence),
            announces,
            join_leave: forced || (request.join_leave && options.join_leave && may_see),
            allowed: grant.allowed,
            asks_refresh: options.asks_backend.sub_refresh,
            drops_oldest: !positioned && options.slow_consumer == SlowConsumer::DropOldest,
            token: grant.token,
            info: own,
        };
        Ok(Plan {
            new,
            positioned,
            recoverable,
            since: (recoverable && request.recover)
                .then(|| Since { offset: request.offset, epoch: request.epoch.clone() }),
            was_recovering: request.recover,
            reject_unrecovered: origin == Origin::Client && request.flag & REJECT_UNRECOVERED != 0,
            expire_at: grant.expire_at,
            data: grant.data,
        })
    }

    pub(super) fn begin(&self, plan: Plan) -> Result<Making, Failure> {
        let info = self.info()?;
        let begun = self.with(|shard| shard.begin(self.session, &plan.new)).map_err(|refused| match refused {
            Refused::AlreadySubscribed => ErrorCode::AlreadySubscribed.into(),
            Refused::LimitExceeded => ErrorCode::LimitExceeded.into(),
            Refused::Gone => Failure::Gone,
        })?;
        let departure = departure_of(&plan.new, &info);
        Ok(Making { plan, begun, departure })
    }

    /// Gathers what a begun subscription needs and makes it live; undoes everything if that fails.
    pub(super) async fn make(&self, making: &Making) -> Result<Committed, Failure> {
        let backlog = self.gather_or_undo(making).await?;
        let committed = self.commit(making, backlog);
        if committed.is_err() {
            self.undo(making).await;
        }
        committed
    }

    /// Gathers what a begun subscription needs from the broker; undoes it if that fails.
    pub(super) async fn gather_or_undo(&self, making: &Making) -> Result<Backlog, Failure> {
        if let Err(failure) = self.in_time(self.local.broker.subscribe(&making.plan.new.channel)).await {
            self.with(|shard| shard.forget(making.begun));
            return Err(failure);
        }
        let gathered = self.gather(&making.plan, &making.departure.info).await;
        if gathered.is_err() {
            self.undo(making).await;
        }
        gathered
    }

    async fn gather(&self, plan: &Plan, info: &Arc<ClientInfo>) -> Result<Backlog, Failure> {
        if plan.new.presence {
            self.wait_for_own_presence().await?;
            let ttl = self.local.options().presence_ttl;
            self.in_time(self.local.broker.presence_add(&plan.new.channel, Arc::clone(info), ttl)).await?;
        }
        self.in_time(self.backlog(plan)).await
    }

    /// Earlier presence changes of this session that are still queued would undo or be undone by new ones.
    async fn wait_for_own_presence(&self) -> Result<(), Failure> {
        let last = self.look(|shard| shard.session(self.session).map_or(0, |session| session.last_leave));
        let settled = async {
            self.local.presence_settled(last).await;
            Ok(())
        };
        self.in_time(settled).await
    }

    async fn backlog(&self, plan: &Plan) -> Result<Backlog, Error> {
        if !plan.positioned {
            return Ok(Backlog::None);
        }
        let top = HistoryQuery::default();
        let Some(since) = &plan.since else {
            return Ok(Backlog::Top(self.local.broker.history(&plan.new.channel, top).await?.top));
        };
        let limit = self.local.options().recovery_publications_max;
        let query = HistoryQuery { limit, since: Some(since.clone()), reverse: false };
        let history = match self.local.broker.history(&plan.new.channel, query).await {
            Err(Error::UnrecoverablePosition) => self.local.broker.history(&plan.new.channel, top).await?,
            history => history?,
        };
        // Without them the subscription is not recovered: the client is told of the gap.
        let fits = payload_bytes(&history.publications) <= self.local.options().reply_bytes_max();
        let publications = if fits { history.publications } else { Vec::new() };
        Ok(Backlog::Since {
            offset: since.offset,
            epoch: since.epoch.clone(),
            publications,
            cut: !fits,
            top: history.top,
        })
    }

    /// Makes a subscription live. After a failure there is everything to undo.
    pub(super) fn commit(&self, making: &Making, backlog: Backlog) -> Result<Committed, Failure> {
        if making.plan.reject_unrecovered && backlog.is_unrecovered() {
            return Err(ErrorCode::UnrecoverablePosition.into());
        }
        let recovery = backlog.recovery();
        let committed = self.with(|shard| shard.commit(making.begun, backlog)).ok_or(Failure::Gone)?;
        let committed = committed.map_err(|_| Failure::Close(Disconnect::INSUFFICIENT_STATE))?;
        if self.is_json() && committed.publications.iter().any(|publication| !publication.json) {
            return Err(Disconnect::INAPPROPRIATE_PROTOCOL.into());
        }
        if let Some(recovery) = recovery {
            self.look(|shard| shard.stats().recoveries[recovery as usize].add(1));
        }
        Ok(committed)
    }

    /// What comes right behind the reply: what was held back, the expiry, the presence timer.
    pub(super) fn follow_up(&self, making: &Making, committed: &Committed) {
        let plan = &making.plan;
        self.with(|shard| {
            for event in &committed.late {
                shard.deliver_to(self.session, event);
            }
            if plan.expire_at.is_some() {
                shard.set_subscription_expiry(self.session, making.begun.channel, plan.expire_at);
            }
            if plan.new.presence {
                shard.start_presence(self.session);
            }
        });
    }

    /// Tells the others of the join; undoes everything if the subscription ended meanwhile.
    pub(super) async fn announce(&self, making: Making) {
        let departure = making.departure;
        if departure.join_leave {
            let joined = self.local.broker.publish_join(&departure.channel, Arc::clone(&departure.info));
            if self.in_time(joined).await.is_err() {
                tracing::debug!("a join was not published");
            }
        }
        if !self.with(|shard| shard.settle(making.begun)) {
            // The presence of a subscription that was made since is not this one's to remove.
            let presence = departure.presence && !self.is_subscribed(&departure.channel);
            depart(&self.local, Departure { presence, ..departure }).await;
        }
    }

    /// Forgets a subscription whose join was never told and gives back its interest and its presence.
    pub(super) async fn undo(&self, making: &Making) {
        self.with(|shard| shard.forget(making.begun));
        depart(&self.local, Departure { join_leave: false, ..making.departure.clone() }).await;
    }

    /// Ends a subscription (protocol §7.2); without one this succeeds too.
    pub(super) async fn unsubscribe(&self, id: u32, request: &UnsubscribeRequest) -> Result<(), Failure> {
        if request.channel.is_empty() {
            return Err(BadRequest::EmptyChannel.into());
        }
        if let Ok(channel) = Channel::parse(&request.channel)
            && let Some(departure) = self.with(|shard| shard.unsubscribe(self.session, &channel))
        {
            if self.wait_for_own_presence().await.is_err() {
                tracing::debug!("earlier changes of presence are still under way");
            }
            depart(&self.local, departure).await;
        }
        self.reply(&Reply { id, unsubscribe: Some(UnsubscribeResult::default()), ..Reply::default() });
        Ok(())
    }
}

/// Gives back interest and presence, and tells the others of the leave. Bounded in time: presence that could not be
/// taken back expires.
pub(crate) async fn depart(local: &crate::local::Local, departure: Departure) {
    local.broker.unsubscribe(&departure.channel);
    if tokio::time::timeout(limits::DEPART_TIMEOUT, take_back(local, departure)).await.is_err() {
        tracing::debug!("the broker did not take a departure in time");
    }
}

async fn take_back(local: &crate::local::Local, departure: Departure) {
    if departure.presence
        && let Err(error) = local.broker.presence_remove(&departure.channel, &departure.info.client).await
    {
        tracing::debug!(%error, "a presence entry was not removed and will expire");
    }
    if departure.join_leave
        && let Err(error) = local.broker.publish_leave(&departure.channel, departure.info).await
    {
        tracing::debug!(%error, "a leave was not published");
    }
}

/// The result of a subscription (protocol §7.1, §8.3).
pub(super) fn result_of(plan: &Plan, committed: &Committed, ttl: u32) -> SubscribeResult {
    let position = committed.position.as_ref();
    let recovered = committed.recovered == Some(true);
    let requested = plan.since.as_ref().filter(|_| recovered).map(|since| since.offset);
    SubscribeResult {
        expires: plan.told_expiry().is_some(),
        ttl,
        recoverable: plan.recoverable,
        positioned: plan.positioned,
        epoch: position.map_or_else(String::new, |position| position.epoch.to_string()),
        offset: requested.unwrap_or_else(|| position.map_or(0, |position| position.offset)),
        publications: committed.publications.iter().map(|publication| message_of(publication)).collect(),
        recovered,
        was_recovering: plan.was_recovering,
        data: plan.data.clone(),
        ..SubscribeResult::default()
    }
}
