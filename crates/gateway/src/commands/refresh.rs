//! Fresh tokens for a connection and for a subscription (protocol §7.8, §7.9).

use fanfare_auth::{ConnectionClaims, SubscriptionClaims, TokenError};
use fanfare_protocol::{
    Disconnect, ErrorCode, RefreshRequest, RefreshResult, Reply, SubRefreshRequest, SubRefreshResult,
};

use super::{Commands, Failure};
use crate::backend::Hook;
use crate::bad_request::BadRequest;
use crate::shard::{Origin, TokenStamp, end_of, with_channel_info};
use crate::slots::SlotId;
use crate::stats::Judged;

impl Commands {
    /// Replaces the connection's expiry and info. A set of server-side channels other than the present one is
    /// taken on by connecting again (3010).
    pub(super) async fn refresh(&self, id: u32, request: &RefreshRequest) -> Result<(), Failure> {
        if self.backend(Hook::Refresh).is_some() {
            return Err(BadRequest::RefreshedByBackend.into());
        }
        if request.token.is_empty() {
            return Err(BadRequest::NoToken.into());
        }
        self.prepare(&request.token).await;
        let claims = self.verify_refresh(&request.token)?;
        if claims.user != self.user()?.id() {
            return Err(Disconnect::INVALID_TOKEN.into());
        }
        if self.has_other_channels(&claims) {
            return Err(Disconnect::INSUFFICIENT_STATE.into());
        }
        let token = claims.token.as_ref().map_or(TokenStamp::NONE, |token| self.stamp(token));
        self.judge_connection(&claims.user, token, Judged::Refresh)?;
        self.keep_for_backend(&claims.meta);
        self.with(|shard| {
            shard.replace_info(self.session, &claims.info);
            if let Some(session) = shard.session_mut(self.session) {
                session.rights = claims.rights.clone();
                session.token = token;
            }
            shard.set_expiry(self.session, claims.expire_at);
            let ttl = shard.ttl(claims.expire_at);
            let result = RefreshResult { expires: claims.expire_at.is_some(), ttl, ..RefreshResult::default() };
            shard.reply(self.session, &Reply { id, refresh: Some(result), ..Reply::default() });
        });
        Ok(())
    }

    fn verify_refresh(&self, token: &str) -> Result<ConnectionClaims, Failure> {
        let now = self.local.now().unix_seconds;
        let claims = self.local.verifier().connection(token, now).map_err(|error| match error {
            TokenError::Expired | TokenError::NotYetValid => Failure::Close(Disconnect::CONNECTION_EXPIRED),
            TokenError::KeysUnavailable => Failure::Error(ErrorCode::Internal),
            TokenError::Invalid(_) | TokenError::NotConfigured => Failure::Close(Disconnect::INVALID_TOKEN),
        })?;
        if claims.expire_at.is_some_and(|expire_at| expire_at <= now) {
            return Err(Disconnect::CONNECTION_EXPIRED.into());
        }
        Ok(claims)
    }

    /// Whether the token names other server-side channels than the session got from its last one.
    fn has_other_channels(&self, claims: &ConnectionClaims) -> bool {
        let mut wanted: Vec<_> = claims.subs.keys().cloned().collect();
        wanted.extend(self.personal_channel(&claims.user));
        wanted.sort_unstable();
        wanted.dedup();
        let mut present = self.with(|shard| {
            let Some(session) = shard.session(self.session) else {
                return Vec::new();
            };
            let from_token = session.subscriptions.iter().filter(|subscription| subscription.origin == Origin::Token);
            from_token.filter_map(|subscription| shard.channel(subscription.channel)).map(|c| c.name.clone()).collect()
        });
        present.sort_unstable();
        wanted != present
    }

    /// Replaces a subscription's expiry and channel info. An expired token extends nothing.
    pub(super) async fn sub_refresh(&self, id: u32, request: &SubRefreshRequest) -> Result<(), Failure> {
        let (channel, options) = self.channel(&request.channel)?;
        let own = self.with(|shard| {
            let channel = shard.channel_id(&channel)?;
            shard.session(self.session)?.subscription_index(channel).map(|_| channel)
        });
        let own = own.ok_or(ErrorCode::PermissionDenied)?;
        if options.asks_backend.sub_refresh {
            return Err(BadRequest::RefreshedByBackend.into());
        }
        if request.token.is_empty() {
            return Err(ErrorCode::BadRequest.into());
        }
        self.prepare(&request.token).await;
        let claims = self.verify_sub_refresh(&channel, &request.token)?;
        self.replace_subscription(own, &claims)?;
        let ttl = self.with(|shard| shard.ttl_uncapped(claims.expire_at));
        let result = SubRefreshResult { expires: claims.expire_at.is_some(), ttl, ..SubRefreshResult::default() };
        self.reply(&Reply { id, sub_refresh: Some(result), ..Reply::default() });
        Ok(())
    }

    fn verify_sub_refresh(
        &self,
        channel: &fanfare_protocol::Channel,
        token: &str,
    ) -> Result<SubscriptionClaims, Failure> {
        let now = self.local.now().unix_seconds;
        let claims = self.local.verifier().subscription(token, now).map_err(|error| match error {
            TokenError::Expired | TokenError::NotYetValid => Failure::Error(ErrorCode::TokenExpired),
            TokenError::KeysUnavailable => Failure::Error(ErrorCode::Internal),
            TokenError::Invalid(_) | TokenError::NotConfigured => Failure::Close(Disconnect::INVALID_TOKEN),
        })?;
        if !self.is_meant(&claims, channel)? {
            return Err(Disconnect::INVALID_TOKEN.into());
        }
        self.judge_sub_refresh(&claims)?;
        if claims.expire_at.is_some_and(|expire_at| expire_at <= now) {
            return Err(ErrorCode::Expired.into());
        }
        Ok(claims)
    }

    fn judge_sub_refresh(&self, claims: &SubscriptionClaims) -> Result<(), Failure> {
        let bearer = self.stamp(&claims.token);
        let verdict = self.judge(&bearer.bearer(&claims.user, Some(&claims.channel)), Judged::SubRefresh);
        verdict.map_err(|barred| end_of(barred).map_or_else(|| ErrorCode::Internal.into(), Failure::Close))
    }

    /// Whether a subscription token is for this channel, this user and, where it says so, this client.
    pub(super) fn is_meant(
        &self,
        claims: &SubscriptionClaims,
        channel: &fanfare_protocol::Channel,
    ) -> Result<bool, Failure> {
        let (user, own) = (self.user()?, self.client()?);
        let client_fits = claims.client.as_ref().is_none_or(|client| *client == own.to_string());
        Ok(claims.channel == *channel && claims.user == user.id() && client_fits)
    }

    fn replace_subscription(&self, channel: SlotId, claims: &SubscriptionClaims) -> Result<(), Failure> {
        let info = self.info()?;
        let token = Box::new(self.stamp(&claims.token));
        self.with(|shard| {
            shard.set_subscription_expiry(self.session, channel, claims.expire_at);
            let Some(session) = shard.session_mut(self.session) else {
                return;
            };
            if let Some(index) = session.subscription_index(channel) {
                let own = (!claims.info.is_empty()).then(|| with_channel_info(&info, claims.info.clone()));
                session.subscriptions[index].info = own;
                session.subscriptions[index].allowed = claims.allowed;
                session.subscriptions[index].token = Some(token);
            }
            shard.refresh_presence(self.session);
        });
        Ok(())
    }
}
