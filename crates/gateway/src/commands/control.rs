//! Commands of the server API, carried out on this shard's sessions.

use std::rc::Rc;
use std::sync::Arc;

use fanfare_broker::control::{SubscribeControl, Target};
use fanfare_broker::{Control, Event, Since, Whom};
use fanfare_protocol::{Disconnect, Push, SubscribePush, SubscribeRequest};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::subscribe::{Grant, Plan};
use super::{Commands, Failure};
use crate::limits;
use crate::local::Local;
use crate::shard::{Committed, Origin};

/// Carries a command out. All but subscriptions are done when this returns; those answer when they are made.
pub(crate) fn apply(local: &Rc<Local>, control: &Control, done: oneshot::Sender<()>) {
    match control {
        Control::Subscribe(target, subscribe) => return subscribe_all(local, target, subscribe, done),
        Control::Unsubscribe(target, channel, why) => {
            local.with(|shard| shard.apply_unsubscribe(target, channel, why));
        }
        Control::Disconnect(target, disconnect, kept) => {
            local.with(|shard| shard.apply_disconnect(target, disconnect, kept));
        }
        Control::Refresh(target, refresh) => local.with(|shard| shard.apply_refresh(target, refresh)),
    }
    answer(done);
}

/// The asker may have given up waiting.
fn answer(done: oneshot::Sender<()>) {
    if done.send(()).is_err() {
        tracing::debug!("a control command was carried out after its deadline");
    }
}

/// Judges sessions by the revocations, a few at a time.
pub(crate) fn judge_again(local: &Rc<Local>, whom: &Whom, done: oneshot::Sender<()>) {
    let sessions = local.in_tick(|shard| match whom {
        Whom::User(user) => shard.sessions_of(user).to_vec(),
        Whom::Everybody => shard.session_ids(),
    });
    let owner = Rc::clone(local);
    local.spawn(async move {
        for some in sessions.chunks(limits::JUDGED_PER_TURN) {
            let revoked = owner.broker.revoked();
            owner.with(|shard| some.iter().for_each(|session| shard.judge_again(*session, revoked)));
            tokio::task::yield_now().await;
        }
        answer(done);
    });
}

fn subscribe_all(local: &Rc<Local>, target: &Target, control: &SubscribeControl, done: oneshot::Sender<()>) {
    let sessions = local.with(|shard| shard.matching_open(target));
    let control = Arc::new(control.clone());
    let owner = Rc::clone(local);
    local.spawn(async move {
        let each = sessions.into_iter().map(|session| {
            let commands = Commands::new(Rc::clone(&owner), session);
            let control = Arc::clone(&control);
            async move { commands.subscribe_by_server(&control).await }
        });
        join_all(each).await;
        answer(done);
    });
}

impl Commands {
    async fn subscribe_by_server(&self, control: &SubscribeControl) {
        match self.try_subscribe_by_server(control).await {
            Ok(()) | Err(Failure::Gone) => {}
            Err(Failure::Error(fanfare_protocol::ErrorCode::LimitExceeded)) => {
                self.with(|shard| shard.close(self.session, &Disconnect::CHANNEL_LIMIT));
            }
            Err(Failure::Error(code)) => tracing::debug!(code = code.code(), "a server-side subscription failed"),
            Err(Failure::BadRequest(reason)) => self.close_bad_request(reason),
            Err(Failure::Close(disconnect)) => self.with(|shard| shard.close(self.session, &disconnect)),
        }
    }

    async fn try_subscribe_by_server(&self, control: &SubscribeControl) -> Result<(), Failure> {
        if self.is_subscribed(&control.channel) {
            return self.push_again(control);
        }
        let plan = self.plan_control(control)?;
        let making = self.begin(plan)?;
        let committed = self.make(&making).await?;
        self.push_subscribed(&making.plan, &committed);
        self.follow_up(&making, &committed);
        self.announce(making).await;
        Ok(())
    }

    fn plan_control(&self, control: &SubscribeControl) -> Result<Plan, Failure> {
        let mut request = SubscribeRequest::default();
        if let Some(since) = &control.recover_since {
            request.recover = true;
            request.offset = since.offset;
            request.epoch = since.epoch.to_string();
        }
        let grant = Grant {
            allowed: fanfare_auth::Allowed::NOTHING,
            token: None,
            info: control.info.clone(),
            data: control.data.clone(),
            expire_at: control.expire_at,
            overrides: control.overrides,
        };
        self.plan(control.channel.clone(), Origin::Api, &request, grant)
    }

    /// Tells the client of its subscription; what it missed follows. Where that cannot be had, the push gives the
    /// position asked for and the connection is closed (3010): the client connects again from there and is told.
    fn push_subscribed(&self, plan: &Plan, committed: &Committed) {
        let mut offset = committed.position.as_ref().map_or(0, |position| position.offset);
        let mut epoch = committed.position.as_ref().map_or_else(String::new, |position| position.epoch.to_string());
        if let Some(Since { offset: asked, epoch: asked_epoch }) = &plan.since {
            offset = *asked;
            if committed.recovered == Some(false) {
                epoch.clone_from(asked_epoch);
            }
        }
        let push = SubscribePush {
            recoverable: plan.recoverable,
            positioned: plan.positioned,
            epoch,
            offset,
            data: plan.data.clone(),
        };
        let channel = plan.new.channel.as_str().to_owned();
        self.with(|shard| {
            shard.push(self.session, Push { channel, subscribe: Some(push), ..Push::default() });
            for publication in &committed.publications {
                shard.deliver_to(self.session, &Event::Publication(Arc::clone(publication)));
            }
            if committed.recovered == Some(false) {
                shard.close(self.session, &Disconnect::INSUFFICIENT_STATE);
            }
        });
    }

    /// A second subscribe to the same channel tells the client again, from where it stands.
    fn push_again(&self, control: &SubscribeControl) -> Result<(), Failure> {
        self.with(|shard| {
            if shard.is_joining(self.session, &control.channel) {
                // Its own push or reply is still to come.
                return;
            }
            let position = shard.position_of(self.session, &control.channel);
            let push = SubscribePush {
                recoverable: position.is_some(),
                positioned: position.is_some(),
                epoch: position.as_ref().map_or_else(String::new, |position| position.epoch.to_string()),
                offset: position.map_or(0, |position| position.offset),
                data: control.data.clone(),
            };
            let channel = control.channel.as_str().to_owned();
            shard.push(self.session, Push { channel, subscribe: Some(push), ..Push::default() });
        });
        Ok(())
    }
}
