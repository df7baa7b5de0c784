//! What sessions ask of the user's own backend, and what becomes of its answers.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_broker::Publish;
use fanfare_broker::namespaces::ChannelOptions;
use fanfare_protocol::{
    Channel, ClientInfo, ConnectRequest, Disconnect, ErrorCode, PayloadLimits, Reply, RpcRequest, RpcResult, payload,
};
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;
use uuid::Uuid;

use super::subscribe::Grant;
use super::{Commands, Failure};
use crate::backend::{Backend, Caller, Connected, Connecting, Headers, Hook, Payload, Refreshed, Refusal};
use crate::bad_request::BadRequest;
use crate::limits::{HOOK_HEADERS_BYTES_MAX, METHOD_BYTES_MAX, REFRESH_RETRY};
use crate::local::{Kept, Local};
use crate::shard::{Begun, with_channel_info};
use crate::slots::SlotId;

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Error(error) => Self::Refused(Box::new(error)),
            Refusal::Disconnect(disconnect) => Self::Close(disconnect),
            Refusal::NoCredentials => Self::BadRequest(BadRequest::NoCredentials),
            Refusal::Overloaded => Self::Error(ErrorCode::TooManyRequests),
            Refusal::Unanswered => Self::Error(ErrorCode::Internal),
        }
    }
}

impl Commands {
    /// The backend, if it is to be asked about this.
    pub(super) fn backend(&self, hook: Hook) -> Option<Arc<dyn Backend>> {
        self.local.backend.clone().filter(|backend| backend.has(hook))
    }

    /// Waits for the backend, until the command's deadline at most.
    async fn answered<T>(&self, asked: impl Future<Output = Result<T, Refusal>>) -> Result<T, Failure> {
        let answer = tokio::time::timeout_at(self.deadline.get(), asked).await;
        Ok(answer.unwrap_or(Err(Refusal::Unanswered))?)
    }

    /// This session, as the backend is told of it.
    fn caller(&self) -> Result<Caller, Failure> {
        self.caller_named(self.client()?.to_string(), self.user()?.id().to_owned())
    }

    fn caller_named(&self, client: String, user: String) -> Result<Caller, Failure> {
        let encoding = self.with(|shard| shard.session(self.session).map(|session| session.encoding));
        let Kept { headers, meta } = self.local.kept(self.session);
        Ok(Caller { client, user, encoding: encoding.ok_or(Failure::Gone)?, headers, meta })
    }

    /// Asks who a client without a token is.
    pub(super) async fn ask_who(
        &self,
        backend: &dyn Backend,
        client: Uuid,
        request: &ConnectRequest,
    ) -> Result<Connected, Failure> {
        let kept = self.local.kept(self.session);
        let headers = with_emulated(&kept.headers, request, &self.local.options().hook_headers);
        self.local.keep(self.session, Kept { headers, ..kept });
        let connecting = Connecting {
            data: self.payload(&request.data)?,
            name: request.name.clone(),
            version: request.version.clone(),
            channels: request.subs.keys().cloned().collect(),
        };
        let caller = self.caller_named(client.to_string(), String::new())?;
        self.answered(backend.connect(caller, connecting)).await
    }

    /// What is kept of a connection that begins: nothing, where `connect` was all there is to ask.
    pub(super) fn keep_for_backend(&self, meta: &Bytes) {
        let is_asked = Hook::ALL.into_iter().any(|hook| hook != Hook::Connect && self.backend(hook).is_some());
        let kept =
            if is_asked { Kept { meta: meta.clone(), ..self.local.kept(self.session) } } else { Kept::default() };
        self.local.keep(self.session, kept);
    }

    /// Asks whether this client may subscribe to a channel.
    pub(super) async fn ask_to_subscribe(&self, channel: &Channel, data: &Bytes) -> Result<Grant, Failure> {
        let backend = self.backend(Hook::Subscribe).ok_or(ErrorCode::PermissionDenied)?;
        let (caller, data) = (self.caller()?, self.payload(data)?);
        let granted = self.answered(backend.subscribe(caller, channel, data)).await?;
        Ok(Grant {
            info: granted.info,
            data: granted.data,
            expire_at: granted.expire_at,
            overrides: granted.overrides,
            ..Grant::default()
        })
    }

    /// Asks whether, and as what, a publication is published.
    pub(super) async fn ask_to_publish(
        &self,
        channel: &Channel,
        sent: Payload,
        info: Arc<ClientInfo>,
        options: &ChannelOptions,
    ) -> Result<Publish, Failure> {
        let backend = self.backend(Hook::Publish).ok_or(ErrorCode::PermissionDenied)?;
        let granted = self.answered(backend.publish(self.caller()?, channel, sent.clone())).await?;
        let Payload { data, json } = granted.payload.unwrap_or(sent);
        Ok(Publish {
            data,
            json,
            info: Some(info),
            retention: options.retention,
            skip_history: granted.skip_history,
            tags: granted.tags,
            idempotency_key: granted.idempotency_key,
            version: granted.version,
        })
    }

    /// Calls a remote procedure (protocol §7.6).
    pub(super) async fn rpc(&self, id: u32, request: RpcRequest) -> Result<(), Failure> {
        let backend = self.backend(Hook::Rpc).ok_or(ErrorCode::NotAvailable)?;
        if request.method.len() > METHOD_BYTES_MAX {
            return Err(ErrorCode::BadRequest.into());
        }
        let data = self.payload(&request.data)?;
        let result = self.answered(backend.rpc(self.caller()?, &request.method, data)).await?;
        let fits = result.data.len() <= self.local.options().reply_bytes_max();
        if !fits || (self.is_json() && !result.json && !result.data.is_empty()) {
            tracing::debug!("a result of the rpc hook is too large, or no JSON for a client of JSON");
            return Err(ErrorCode::Internal.into());
        }
        self.reply(&Reply { id, rpc: Some(RpcResult { data: result.data }), ..Reply::default() });
        Ok(())
    }

    /// Data of a client, which may be none.
    fn payload(&self, data: &Bytes) -> Result<Payload, Failure> {
        if data.is_empty() {
            return Ok(Payload::default());
        }
        let limits = PayloadLimits { bytes_max: self.local.options().payload_bytes_max, ..PayloadLimits::default() };
        let json = payload::inspect(data, &limits).map_err(|_| ErrorCode::BadRequest)?;
        Ok(Payload { data: data.clone(), json })
    }

    /// Asks whether this connection, which has expired, goes on, and carries that out.
    async fn ask_refresh(&self) -> Result<(), Failure> {
        let backend = self.backend(Hook::Refresh).ok_or(Disconnect::CONNECTION_EXPIRED)?;
        self.renew_deadline();
        let refreshed = self.answered(backend.refresh(self.caller()?)).await?;
        if !self.with(|shard| shard.awaits_refresh(self.session)) {
            return Err(Failure::Gone);
        }
        if self.is_over(&refreshed) {
            return Err(Disconnect::CONNECTION_EXPIRED.into());
        }
        self.keep_meta(refreshed.meta);
        self.with(|shard| {
            if let Some(info) = &refreshed.info {
                shard.replace_info(self.session, info);
            }
            shard.set_expiry(self.session, refreshed.expire_at);
        });
        Ok(())
    }

    /// Asks whether a subscription, which has expired, goes on, and carries that out.
    async fn ask_sub_refresh(&self, begun: Begun, channel: &Channel) -> Result<(), Failure> {
        let backend = self.backend(Hook::SubRefresh).ok_or(Disconnect::SUBSCRIPTION_EXPIRED)?;
        self.renew_deadline();
        let refreshed = self.answered(backend.sub_refresh(self.caller()?, channel)).await?;
        if !self.with(|shard| shard.awaits_sub_refresh(begun)) {
            return Err(Failure::Gone);
        }
        if self.is_over(&refreshed) {
            self.with(|shard| shard.expire_subscription(begun));
            return Ok(());
        }
        let info = self.info()?;
        self.with(|shard| {
            shard.set_subscription_expiry(self.session, begun.channel, refreshed.expire_at);
            if let Some(own) = refreshed.info {
                shard.replace_channel_info(begun, with_channel_info(&info, own));
            }
        });
        Ok(())
    }

    /// A question of the server's own has the time of a command.
    fn renew_deadline(&self) {
        self.deadline.set(Instant::now() + self.local.options().command_timeout);
    }

    fn is_over(&self, refreshed: &Refreshed) -> bool {
        let now = self.local.now().unix_seconds;
        refreshed.expired || refreshed.expire_at.is_some_and(|expire_at| expire_at <= now)
    }

    fn keep_meta(&self, meta: Option<Bytes>) {
        if let Some(meta) = meta {
            let kept = self.local.kept(self.session);
            self.local.keep(self.session, Kept { meta, ..kept });
        }
    }
}

/// The headers of the upgrade request, and those that a client says in the place of ones that it could not send. What
/// was really sent counts, and what does not fit is left out.
fn with_emulated(sent: &Headers, request: &ConnectRequest, names: &[HeaderName]) -> Headers {
    let mut headers = sent.to_vec();
    let mut bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    for (name, value) in &request.headers {
        let known = names.iter().find(|known| known.as_str().eq_ignore_ascii_case(name));
        let (Some(name), Ok(value)) = (known, HeaderValue::from_str(value)) else { continue };
        bytes += name.as_str().len() + value.len();
        if bytes > HOOK_HEADERS_BYTES_MAX {
            break;
        }
        if !sent.iter().any(|(there, _)| there == name) {
            headers.push((name.clone(), value));
        }
    }
    headers.into()
}

/// Asks the backend whether a connection that has expired goes on.
pub(crate) async fn refresh_by_backend(local: Rc<Local>, session: SlotId) {
    let commands = Commands::new(Rc::clone(&local), session);
    let awaits = || local.with(|shard| shard.awaits_refresh(session));
    let ended = until_answered(&local, awaits, async || commands.ask_refresh().await).await;
    if let Some(disconnect) = ended {
        local.with(|shard| shard.close(session, &disconnect.unwrap_or(Disconnect::CONNECTION_EXPIRED)));
    }
}

/// Asks the backend whether a subscription that has expired goes on.
pub(crate) async fn sub_refresh_by_backend(local: Rc<Local>, begun: Begun) {
    let Some(channel) = local.with(|shard| shard.channel(begun.channel).map(|channel| channel.name.clone())) else {
        return;
    };
    let commands = Commands::new(Rc::clone(&local), begun.session);
    let awaits = || local.with(|shard| shard.awaits_sub_refresh(begun));
    let ended = until_answered(&local, awaits, async || commands.ask_sub_refresh(begun, &channel).await).await;
    match ended {
        Some(Some(disconnect)) => local.with(|shard| shard.close(begun.session, &disconnect)),
        Some(None) => local.with(|shard| shard.expire_subscription(begun)),
        None => {}
    }
}

/// Asks again and again until the backend has answered, but not longer than what has expired may live. `Some` is the
/// end: by the disconnect that the backend says, or by having expired.
async fn until_answered(
    local: &Local,
    awaits: impl Fn() -> bool,
    ask: impl AsyncFn() -> Result<(), Failure>,
) -> Option<Option<Disconnect>> {
    let until = Instant::now() + local.options().expired_close_delay;
    while awaits() {
        match ask().await {
            Ok(()) | Err(Failure::Gone) => return None,
            Err(Failure::Close(disconnect)) => return Some(Some(disconnect)),
            Err(Failure::Refused(error)) if !error.temporary => return awaits().then_some(None),
            Err(Failure::Refused(_) | Failure::Error(_) | Failure::BadRequest(_)) => {}
        }
        let pause = REFRESH_RETRY.mul_f64(rand::random_range(0.5..=1.5));
        if Instant::now() + pause > until {
            return awaits().then_some(None);
        }
        tokio::time::sleep(pause).await;
    }
    None
}
