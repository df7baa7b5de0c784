//! `connect`: who the client is, and the subscriptions that the server makes for it (protocol §5, §12).

use std::collections::BTreeMap;

use fanfare_auth::{Allowed, ConnectionClaims, Operation, ServerSubscription, TokenError};
use fanfare_protocol::{Channel, ConnectRequest, ConnectResult, Disconnect, ErrorCode, Reply, SubscribeRequest};
use futures_util::future::join_all;
use uuid::Uuid;

use super::subscribe::{Grant, Making, Plan, result_of};
use super::{Commands, Failure};
use crate::backend::{Connected, Hook};
use crate::bad_request::BadRequest;
use crate::shard::{Backlog, Committed, Identity, Origin, State, TokenStamp, payload_bytes};
use crate::stats::Judged;

/// What is told of a connection that begins, beside its subscriptions.
struct Beginning {
    /// Of the command.
    id: u32,
    expire_at: Option<u64>,
    data: bytes::Bytes,
}

impl Commands {
    /// Connects; an error reply leaves the session unusable until the client or a deadline closes it.
    pub(super) async fn connect(&self, id: u32, request: ConnectRequest) -> Result<(), Failure> {
        let opening = self.look(|shard| shard.session(self.session).is_some_and(|s| s.state == State::Opening));
        if !opening {
            return Err(BadRequest::ConnectedAlready.into());
        }
        let result = self.try_connect(id, request).await;
        if let Err(Failure::Error(_) | Failure::Refused(_)) = result {
            self.with(|shard| shard.refuse(self.session));
        }
        result
    }

    async fn try_connect(&self, id: u32, request: ConnectRequest) -> Result<(), Failure> {
        let client = Uuid::new_v4();
        let Connected { claims, data } = self.authenticate(client, &request).await?;
        let expire_at = claims.expire_at;
        if expire_at.is_some_and(|expire_at| expire_at <= self.local.now().unix_seconds) {
            return Err(ErrorCode::Expired.into());
        }
        self.identify(client, &claims)?;
        self.keep_for_backend(&claims.meta);
        let plans = self.server_side(&claims, &request.subs)?;
        let made = self.make_all(plans).await?;
        let begin = Beginning { id, expire_at, data };
        for making in self.finish_connect(begin, made).await? {
            self.announce(making).await;
        }
        Ok(())
    }

    /// Who the client is: by its token, else by what the backend says, else anonymous where that is allowed.
    async fn authenticate(&self, client: Uuid, request: &ConnectRequest) -> Result<Connected, Failure> {
        if request.token.is_empty() {
            return match self.backend(Hook::Connect) {
                Some(backend) => self.ask_who(&*backend, client, request).await,
                None => self.anonymous().map(|claims| Connected { claims, ..Connected::default() }),
            };
        }
        self.prepare(&request.token).await;
        let claims = self.verify(&request.token)?;
        if claims.user.is_empty() && !self.local.options().allow_anonymous {
            return Err(Disconnect::PERMISSION_DENIED.into());
        }
        Ok(Connected { claims, ..Connected::default() })
    }

    fn verify(&self, token: &str) -> Result<ConnectionClaims, Failure> {
        let now = self.local.now().unix_seconds;
        self.local.verifier().connection(token, now).map_err(|error| {
            if self.local.may_log() {
                tracing::info!(%error, "a connection token was refused");
            }
            match error {
                TokenError::Expired | TokenError::NotYetValid => ErrorCode::TokenExpired.into(),
                TokenError::KeysUnavailable => ErrorCode::Internal.into(),
                TokenError::Invalid(_) | TokenError::NotConfigured => Disconnect::INVALID_TOKEN.into(),
            }
        })
    }

    fn anonymous(&self) -> Result<ConnectionClaims, Failure> {
        if self.local.options().allow_anonymous {
            return Ok(ConnectionClaims::default());
        }
        if self.local.may_log() {
            tracing::info!(key = "auth.allow_anonymous", "a client without a token was refused: see this key");
        }
        Err(BadRequest::NoToken.into())
    }

    fn identify(&self, client: Uuid, claims: &ConnectionClaims) -> Result<(), Failure> {
        let identity = Identity { user: &claims.user, client, info: &claims.info };
        let token = claims.token.as_ref().map_or(TokenStamp::NONE, |token| self.stamp(token));
        self.judge_connection(&claims.user, token, Judged::Connect)?;
        let sessions = self.with(|shard| shard.identify(self.session, &identity, claims.rights.clone(), token));
        let over = self.local.options().sessions_per_user_max.is_some_and(|max| sessions > max);
        if over && !claims.user.is_empty() { Err(Disconnect::CONNECTION_LIMIT.into()) } else { Ok(()) }
    }

    /// The subscriptions to make: the token's, the personal channel, and what the client asks for and may have.
    fn server_side(
        &self,
        claims: &ConnectionClaims,
        requested: &BTreeMap<String, SubscribeRequest>,
    ) -> Result<Vec<Plan>, Failure> {
        let mut wanted: BTreeMap<Channel, (Origin, ServerSubscription)> =
            claims.subs.iter().map(|(channel, sub)| (channel.clone(), (Origin::Token, sub.clone()))).collect();
        if let Some(personal) = self.personal_channel(&claims.user) {
            wanted.entry(personal).or_insert_with(|| (Origin::Token, ServerSubscription::default()));
        }
        for name in requested.keys() {
            if let Some(channel) = self.requested_channel(name)? {
                wanted.entry(channel).or_insert_with(|| (Origin::Requested, ServerSubscription::default()));
            }
        }
        if wanted.len() > self.local.options().channels_per_session_max {
            return Err(Disconnect::CHANNEL_LIMIT.into());
        }
        wanted
            .into_iter()
            .map(|(channel, (origin, sub))| self.plan_server_side(channel, origin, sub, requested))
            .collect()
    }

    fn plan_server_side(
        &self,
        channel: Channel,
        origin: Origin,
        subscription: ServerSubscription,
        requested: &BTreeMap<String, SubscribeRequest>,
    ) -> Result<Plan, Failure> {
        let request = requested.get(channel.as_str()).cloned().unwrap_or_default();
        let ServerSubscription { info, data, overrides } = subscription;
        self.plan(
            channel,
            origin,
            &request,
            Grant { info, data, expire_at: None, overrides, allowed: Allowed::NOTHING, token: None },
        )
    }

    /// The user's own channel, if the node gives one out.
    pub(super) fn personal_channel(&self, user: &str) -> Option<Channel> {
        let options = self.local.options();
        let namespace = options.personal_channel.as_ref().filter(|_| !user.is_empty())?;
        let personal = personal_channel(namespace, user);
        if personal.is_none() && self.local.may_log() {
            let key = "session.personal_channel";
            tracing::warn!(key, "a user id does not fit into a channel name: this user has no personal channel");
        }
        personal
    }

    /// A channel that the client asks to be attached to: only what it could subscribe to without a token; the
    /// rest is left out, but an unknown namespace is a violation.
    fn requested_channel(&self, name: &str) -> Result<Option<Channel>, Failure> {
        let Ok(channel) = self.parse(name) else { return Ok(None) };
        let options = self.local.namespaces().options(&channel).cloned().ok_or(BadRequest::UnknownNamespace)?;
        Ok(self.may(Operation::Subscribe, &channel, &options)?.is_ok().then_some(channel))
    }

    /// Begins all, gathers for all at once; undoes all if one fails.
    async fn make_all(&self, plans: Vec<Plan>) -> Result<Vec<(Making, Backlog)>, Failure> {
        let making = plans.into_iter().map(|plan| self.begin(plan)).collect::<Result<Vec<_>, _>>()?;
        let gathered = join_all(making.iter().map(|making| self.gather_or_undo(making))).await;
        let mut made = Vec::with_capacity(making.len());
        let mut failure = None;
        for (making, backlog) in making.into_iter().zip(gathered) {
            match backlog {
                Ok(backlog) => made.push((making, backlog)),
                Err(failed) => failure = Some(failed),
            }
        }
        let Some(failure) = failure else {
            share_outbox(&mut made, self.local.options().reply_bytes_max());
            return Ok(made);
        };
        for (making, _) in &made {
            self.undo(making).await;
        }
        Err(failure)
    }

    /// Makes everything live and queues the reply, in one go, so that nothing comes between.
    async fn finish_connect(&self, begin: Beginning, made: Vec<(Making, Backlog)>) -> Result<Vec<Making>, Failure> {
        let mut live: Vec<(Making, Committed)> = Vec::with_capacity(made.len());
        let mut failure = None;
        for (making, backlog) in made {
            match self.commit(&making, backlog) {
                Ok(committed) => live.push((making, committed)),
                Err(failed) => {
                    failure.get_or_insert(failed);
                    self.undo(&making).await;
                }
            }
        }
        if let Some(failure) = failure {
            for (making, _) in &live {
                self.undo(making).await;
            }
            return Err(failure);
        }
        self.reply_connected(begin, &live);
        Ok(live.into_iter().map(|(making, _)| making).collect())
    }

    fn reply_connected(&self, Beginning { id, expire_at, data }: Beginning, live: &[(Making, Committed)]) {
        let subs = live
            .iter()
            .map(|(making, committed)| {
                let name = making.plan.new.channel.as_str().to_owned();
                (name, result_of(&making.plan, committed, 0))
            })
            .collect();
        self.with(|shard| {
            let Some(result) = shard.welcome(self.session, expire_at) else {
                return;
            };
            let result = ConnectResult { subs, data, ..result };
            shard.reply(self.session, &Reply { id, connect: Some(result), ..Reply::default() });
        });
        for (making, committed) in live {
            self.follow_up(making, committed);
        }
    }
}

/// Leaves publications to as many subscriptions as fit into one reply together; the others are not recovered, and
/// their clients are told so.
fn share_outbox(made: &mut [(Making, Backlog)], bytes_max: usize) {
    let mut left = bytes_max;
    for (_, backlog) in made {
        if let Backlog::Since { publications, cut, .. } = backlog {
            match left.checked_sub(payload_bytes(publications)) {
                Some(rest) => left = rest,
                None => {
                    publications.clear();
                    *cut = true;
                }
            }
        }
    }
}

/// The channel of one user alone. An id that holds a separator of user lists has none: `#1,2` would be open to the
/// users 1 and 2, and `#a#b` to b.
fn personal_channel(namespace: &str, user: &str) -> Option<Channel> {
    let separator = if namespace.is_empty() { "" } else { ":" };
    let fits = !user.contains([',', '#']);
    fits.then(|| Channel::parse(&format!("{namespace}{separator}#{user}")).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_personal_channel_is_for_its_user_alone() {
        let name = |namespace, user| personal_channel(namespace, user).map(|channel| channel.as_str().to_owned());
        assert_eq!(name("", "42").as_deref(), Some("#42"));
        assert_eq!(name("own", "42").as_deref(), Some("own:#42"));
        assert_eq!(name("", "1,2"), None, "it would be open to the users 1 and 2");
        assert_eq!(name("", "a#b"), None, "it would be open to b");
        assert_eq!(name("", "j\u{fc}rgen"), None);
    }
}
