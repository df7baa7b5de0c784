//! Methods of the server API, and a call of one.

use fanfare_protocol::ErrorCode;

use crate::Api;
use crate::caller::{Caller, Reach};
use crate::error::Error;
use crate::request::{self, parse};
use crate::suggestion::did_you_mean;

/// A method by its name in the path and in batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Publish,
    Broadcast,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Refresh,
    Presence,
    PresenceStats,
    History,
    HistoryRemove,
    Channels,
    Info,
    BlockUser,
    UnblockUser,
    RevokeToken,
    InvalidateUserTokens,
    Revocations,
    RevocationRemove,
    Batch,
}

impl Method {
    pub(crate) const ALL: [Self; 19] = [
        Self::Publish,
        Self::Broadcast,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Disconnect,
        Self::Refresh,
        Self::Presence,
        Self::PresenceStats,
        Self::History,
        Self::HistoryRemove,
        Self::Channels,
        Self::Info,
        Self::BlockUser,
        Self::UnblockUser,
        Self::RevokeToken,
        Self::InvalidateUserTokens,
        Self::Revocations,
        Self::RevocationRemove,
        Self::Batch,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Broadcast => "broadcast",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Disconnect => "disconnect",
            Self::Refresh => "refresh",
            Self::Presence => "presence",
            Self::PresenceStats => "presence_stats",
            Self::History => "history",
            Self::HistoryRemove => "history_remove",
            Self::Channels => "channels",
            Self::Info => "info",
            Self::BlockUser => "block_user",
            Self::UnblockUser => "unblock_user",
            Self::RevokeToken => "revoke_token",
            Self::InvalidateUserTokens => "invalidate_user_tokens",
            Self::Revocations => "revocations",
            Self::RevocationRemove => "revocation_remove",
            Self::Batch => "batch",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|method| method.name() == name).ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> Error {
    let names: Vec<&str> = Method::ALL.into_iter().map(Method::name).collect();
    let hint = did_you_mean(name, names.iter().copied());
    let name: String = name.chars().take(64).collect();
    let detail = format!("there is no method \"{name}\"{hint} (known methods: {})", names.join(", "));
    Error::new(ErrorCode::MethodNotFound, detail)
}

/// A call of any method but `batch`, which is made of these.
#[derive(Debug)]
pub(crate) enum Call<'a> {
    Publish(request::Publish<'a>),
    Broadcast(request::Broadcast<'a>),
    Subscribe(request::Subscribe<'a>),
    Unsubscribe(request::Unsubscribe),
    Disconnect(request::Disconnect),
    Refresh(request::Refresh<'a>),
    Presence(request::OfChannel),
    PresenceStats(request::OfChannel),
    History(request::History),
    HistoryRemove(request::OfChannel),
    Channels(request::Channels),
    Info,
    BlockUser(request::BlockUser),
    UnblockUser(request::UnblockUser),
    RevokeToken(request::RevokeToken),
    InvalidateUserTokens(request::InvalidateUserTokens),
    Revocations(request::Revocations),
    RevocationRemove(request::RevocationRemove),
}

impl<'a> Call<'a> {
    pub(crate) fn parse(method: Method, text: &'a str) -> Result<Self, String> {
        Ok(match method {
            Method::Publish => Self::Publish(parse(text)?),
            Method::Broadcast => Self::Broadcast(parse(text)?),
            Method::Subscribe => Self::Subscribe(parse(text)?),
            Method::Unsubscribe => Self::Unsubscribe(parse(text)?),
            Method::Disconnect => Self::Disconnect(parse(text)?),
            Method::Refresh => Self::Refresh(parse(text)?),
            Method::Presence => Self::Presence(parse(text)?),
            Method::PresenceStats => Self::PresenceStats(parse(text)?),
            Method::History => Self::History(parse(text)?),
            Method::HistoryRemove => Self::HistoryRemove(parse(text)?),
            Method::Channels => Self::Channels(parse(text)?),
            Method::Info => parse::<request::Info>(text).map(|_| Self::Info)?,
            Method::BlockUser => Self::BlockUser(parse(text)?),
            Method::UnblockUser => Self::UnblockUser(parse(text)?),
            Method::RevokeToken => Self::RevokeToken(parse(text)?),
            Method::InvalidateUserTokens => Self::InvalidateUserTokens(parse(text)?),
            Method::Revocations => Self::Revocations(parse(text)?),
            Method::RevocationRemove => Self::RevocationRemove(parse(text)?),
            Method::Batch => return Err("a batch cannot hold a batch".to_owned()),
        })
    }

    /// What it reaches. A channel that is missing is refused when it is looked for.
    pub(crate) fn reach(&self) -> Reach<'_> {
        let channel = match self {
            Self::Publish(request) => &request.channel,
            Self::Subscribe(request) => &request.channel,
            Self::Unsubscribe(request) => &request.channel,
            Self::History(request) => &request.channel,
            Self::Presence(request) | Self::PresenceStats(request) | Self::HistoryRemove(request) => &request.channel,
            Self::Broadcast(request) => return Reach::Channels(request.channels.as_deref().unwrap_or_default()),
            Self::Disconnect(_) => return Reach::Users(Method::Disconnect),
            Self::Refresh(_) => return Reach::Users(Method::Refresh),
            Self::Channels(_) | Self::Info => return Reach::Nothing,
            Self::BlockUser(_) => return Reach::Users(Method::BlockUser),
            Self::UnblockUser(_) => return Reach::Users(Method::UnblockUser),
            Self::RevokeToken(_) => return Reach::Users(Method::RevokeToken),
            Self::InvalidateUserTokens(_) => return Reach::Users(Method::InvalidateUserTokens),
            Self::Revocations(_) => return Reach::Users(Method::Revocations),
            Self::RevocationRemove(_) => return Reach::Users(Method::RevocationRemove),
        };
        channel.as_deref().map_or(Reach::Nothing, Reach::Channel)
    }

    /// Does it, for a caller that may. The answer is the result as JSON.
    pub(crate) async fn run(self, api: &Api, caller: Caller<'_>) -> Result<Vec<u8>, Error> {
        match self {
            Self::Publish(request) => api.publish(request).await,
            Self::Broadcast(request) => api.broadcast(request).await,
            Self::Subscribe(request) => api.subscribe(request).await,
            Self::Unsubscribe(request) => api.unsubscribe(request).await,
            Self::Disconnect(request) => api.disconnect(request).await,
            Self::Refresh(request) => api.refresh(request).await,
            Self::Presence(request) => api.presence(&request).await,
            Self::PresenceStats(request) => api.presence_stats(&request).await,
            Self::History(request) => api.history(request).await,
            Self::HistoryRemove(request) => api.history_remove(&request).await,
            Self::Channels(request) => api.channels(request, caller).await,
            Self::Info => api.info().await,
            Self::BlockUser(request) => api.block_user(request).await,
            Self::UnblockUser(request) => api.unblock_user(request).await,
            Self::RevokeToken(request) => api.revoke_token(request).await,
            Self::InvalidateUserTokens(request) => api.invalidate_user_tokens(request).await,
            Self::Revocations(request) => api.revocations(request),
            Self::RevocationRemove(request) => api.revocation_remove(request).await,
        }
    }
}
