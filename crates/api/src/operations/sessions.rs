//! subscribe, unsubscribe, disconnect, refresh: commands to the sessions of a user.
//!
//! A command has to say whose sessions it means. A missing or empty `user` never means all anonymous ones: it is
//! refused, unless `client` or `session` narrows the command down.

use std::sync::Arc;

use fanfare_broker::StreamPosition;
use fanfare_broker::control::{Control, RefreshControl, SubscribeControl, Target};
use fanfare_broker::revocations::unix_now;
use fanfare_protocol::{Disconnect, Unsubscribe};

use super::{given, name};
use crate::Api;
use crate::error::Error;
use crate::json::object;
use crate::request::{self, CloseCode, Position};

impl Api {
    pub(crate) async fn subscribe(&self, request: request::Subscribe<'_>) -> Result<Vec<u8>, Error> {
        let target = target(request.user, request.client, request.session)?;
        let (channel, _) = self.channel(request.channel.as_deref())?;
        let subscribe = SubscribeControl {
            channel,
            info: self.json_value(request.info, request.b64info.as_deref(), "b64info")?,
            data: self.json_value(request.data, request.b64data.as_deref(), "b64data")?,
            expire_at: future(request.expire_at)?,
            recover_since: request.recover_since.map(position).transpose()?,
            overrides: request.overrides.unwrap_or_default().into(),
        };
        self.control(Control::Subscribe(target, Box::new(subscribe))).await
    }

    pub(crate) async fn unsubscribe(&self, request: request::Unsubscribe) -> Result<Vec<u8>, Error> {
        let target = target(request.user, request.client, request.session)?;
        let (channel, _) = self.channel(request.channel.as_deref())?;
        self.control(Control::Unsubscribe(target, channel, Unsubscribe::SERVER)).await
    }

    pub(crate) async fn disconnect(&self, request: request::Disconnect) -> Result<Vec<u8>, Error> {
        let target = target(request.user, request.client, request.session)?;
        let disconnect = request.disconnect.map_or(Ok(Disconnect::FORCE_DISCONNECT), custom)?;
        self.control(Control::Disconnect(target, disconnect, request.whitelist.unwrap_or_default())).await
    }

    pub(crate) async fn refresh(&self, request: request::Refresh<'_>) -> Result<Vec<u8>, Error> {
        let target = target(request.user, request.client, request.session)?;
        let info = request.info.map(|info| self.json_value(Some(info), None, "info")).transpose()?;
        let refresh = RefreshControl {
            expired: request.expired.unwrap_or_default(),
            expire_at: request.expire_at.filter(|at| *at > 0),
            info,
        };
        self.control(Control::Refresh(target, refresh)).await
    }

    async fn control(&self, control: Control) -> Result<Vec<u8>, Error> {
        self.broker.control(control).await?;
        Ok(object(|_| {}))
    }
}

fn target(user: Option<String>, client: Option<String>, session: Option<String>) -> Result<Target, Error> {
    let target = Target { user: given(user), client: given(client), session: given(session) };
    if target == Target::default() {
        return Err(Error::bad_request("the field user is missing or empty; give user, client or session"));
    }
    Ok(target)
}

/// A time that is still to come; 0 is none.
pub(super) fn future(at: Option<u64>) -> Result<Option<u64>, Error> {
    let now = unix_now();
    match at.filter(|at| *at > 0) {
        Some(at) if at <= now => Err(Error::bad_request("expire_at lies in the past; it is a Unix time in seconds")),
        other => Ok(other),
    }
}

fn position(since: Position) -> Result<StreamPosition, Error> {
    let epoch = name(since.epoch, "recover_since.epoch")?.unwrap_or_default();
    Ok(StreamPosition { offset: since.offset.unwrap_or_default(), epoch: Arc::from(epoch) })
}

fn custom(close: CloseCode) -> Result<Disconnect, Error> {
    let code = close.code.unwrap_or_default();
    Disconnect::custom(code, close.reason.unwrap_or_default()).map_err(Error::bad_request)
}
