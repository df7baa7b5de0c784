//! What is kept of sessions for the backend.

use std::time::Duration;

use async_trait::async_trait;
use fanfare_broker::MemoryBroker;
use fanfare_protocol::{Channel, Encoding};
use tokio::sync::Notify;

use super::*;
use crate::ClientProtocol;
use crate::backend::{Caller, Connected, Connecting, Payload, Publishing, Refreshed, Refusal, Subscribed};
use crate::commands;
use crate::shard::{Effect, Identity, TokenStamp};

/// A backend that lets connections go on, when it is told to answer.
#[derive(Debug, Default)]
struct Late {
    asked: Notify,
    answers: Notify,
}

#[async_trait]
impl Backend for Late {
    fn has(&self, hook: Hook) -> bool {
        hook == Hook::Refresh
    }

    async fn refresh(&self, _: Caller) -> Result<Refreshed, Refusal> {
        self.asked.notify_one();
        self.answers.notified().await;
        Ok(Refreshed { meta: Some(Bytes::from_static(b"{}")), ..Refreshed::default() })
    }

    async fn connect(&self, _: Caller, _: Connecting) -> Result<Connected, Refusal> {
        Err(Refusal::Unanswered)
    }

    async fn subscribe(&self, _: Caller, _: &Channel, _: Payload) -> Result<Subscribed, Refusal> {
        Err(Refusal::Unanswered)
    }

    async fn sub_refresh(&self, _: Caller, _: &Channel) -> Result<Refreshed, Refusal> {
        Err(Refusal::Unanswered)
    }

    async fn publish(&self, _: Caller, _: &Channel, _: Payload) -> Result<Publishing, Refusal> {
        Err(Refusal::Unanswered)
    }

    async fn rpc(&self, _: Caller, _: &str, _: Payload) -> Result<Payload, Refusal> {
        Err(Refusal::Unanswered)
    }
}

fn local(backend: Arc<Late>) -> Rc<Local> {
    let options = Arc::new(Options { shards: 1, ..Options::default() });
    let directory = Directory::new(&options);
    let parts = Parts {
        broker: Arc::new(MemoryBroker::new(Default::default(), directory.clone(), directory.clone())),
        verifier: Arc::new(Verifier::new(fanfare_auth::Options::default()).unwrap()),
        namespaces: Arc::new(Namespaces::default()),
        options,
        directory,
        backend: Some(backend),
        application: Arc::new(ClientProtocol),
    };
    Rc::new(Local::new(0, parts))
}

/// A session that has expired, so that the backend is to be asked.
async fn expired(local: &Local) -> SlotId {
    let expire_at = local.now().unix_seconds;
    let session = local.with(|shard| {
        let session = shard.open(Encoding::Json, false);
        let identity = Identity { user: "", client: uuid::Uuid::nil(), info: &Bytes::new() };
        shard.identify(session, &identity, None, TokenStamp::NONE);
        shard.welcome(session, Some(expire_at)).unwrap();
        session
    });
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        local.with(Shard::run_deadlines);
        if local.with(Shard::take_effects).iter().any(|effect| matches!(effect, Effect::Refresh(id) if *id == session))
        {
            return session;
        }
    }
    panic!("the backend is not asked");
}

#[tokio::test]
async fn what_the_backend_says_of_a_session_is_kept_while_it_lives() {
    let backend = Arc::new(Late::default());
    let local = local(Arc::clone(&backend));
    let session = expired(&local).await;
    backend.answers.notify_one();
    commands::refresh_by_backend(Rc::clone(&local), session).await;
    assert_eq!(local.kept(session).meta, "{}");
}

#[tokio::test]
async fn defect_an_answer_about_a_session_that_was_gone_was_kept_for_ever() {
    let backend = Arc::new(Late::default());
    let local = local(Arc::clone(&backend));
    let session = expired(&local).await;
    let gone = async {
        backend.asked.notified().await;
        local.with(|shard| shard.remove(session));
        local.forget(session);
        backend.answers.notify_one();
    };
    tokio::join!(commands::refresh_by_backend(Rc::clone(&local), session), gone);
    assert!(local.kept.borrow().is_empty());
    local.keep(session, Kept { meta: Bytes::from_static(b"{}"), ..Kept::default() });
    assert!(local.kept.borrow().is_empty(), "whoever wants to keep it");
}
