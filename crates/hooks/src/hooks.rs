//! All hooks of a node, as the gateway's backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use fanfare_gateway::{
    Backend, Caller, Connected, Connecting, Hook, Payload, Publishing, Refreshed, Refusal, Subscribed,
};
use fanfare_protocol::Channel;

use crate::answer::Judge;
use crate::hook::AskedHook;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::question::Question;

/// The user's own backend, over HTTP.
#[derive(Debug)]
pub struct Hooks {
    hooks: BTreeMap<Hook, Arc<AskedHook>>,
    judge: Judge,
}

impl Hooks {
    /// Hooks that nobody has been asked by yet. Call it within the tokio runtime that questions are to run on.
    pub fn new(options: Options, metrics: &Metrics) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let judge = Judge { payload: options.payload };
        let asked =
            |(hook, options)| (hook, Arc::new(AskedHook::new(hook, options, metrics.of(hook), runtime.clone())));
        Self { hooks: options.hooks.into_iter().map(asked).collect(), judge }
    }

    /// The hook; without one there is no answer.
    fn hook(&self, hook: Hook) -> Result<&Arc<AskedHook>, Refusal> {
        self.hooks.get(&hook).ok_or(Refusal::Unanswered)
    }
}

#[async_trait]
impl Backend for Hooks {
    fn has(&self, hook: Hook) -> bool {
        self.hooks.contains_key(&hook)
    }

    async fn connect(&self, caller: Caller, connecting: Connecting) -> Result<Connected, Refusal> {
        let question = Question {
            name: &connecting.name,
            version: &connecting.version,
            channels: &connecting.channels,
            ..Question::of_client(&caller).with(&connecting.data)
        };
        let (body, judge) = (question.to_json(), self.judge);
        self.hook(Hook::Connect)?.ask(caller.headers, body, move |text| judge.connect(text)).await
    }

    async fn refresh(&self, caller: Caller) -> Result<Refreshed, Refusal> {
        let (body, judge) = (Question::of_user(&caller).to_json(), self.judge);
        self.hook(Hook::Refresh)?.ask(caller.headers, body, move |text| judge.refresh(text)).await
    }

    async fn subscribe(&self, caller: Caller, channel: &Channel, data: Payload) -> Result<Subscribed, Refusal> {
        let question = Question { channel: Some(channel.as_str()), ..Question::of_user(&caller).with(&data) };
        let (body, judge) = (question.to_json(), self.judge);
        self.hook(Hook::Subscribe)?.ask(caller.headers, body, move |text| judge.subscribe(text)).await
    }

    async fn sub_refresh(&self, caller: Caller, channel: &Channel) -> Result<Refreshed, Refusal> {
        let question = Question { channel: Some(channel.as_str()), ..Question::of_user(&caller) };
        let (body, judge) = (question.to_json(), self.judge);
        self.hook(Hook::SubRefresh)?.ask(caller.headers, body, move |text| judge.refresh(text)).await
    }

    async fn publish(&self, caller: Caller, channel: &Channel, data: Payload) -> Result<Publishing, Refusal> {
        let question = Question { channel: Some(channel.as_str()), ..Question::of_user(&caller).with(&data) };
        let (body, judge) = (question.to_json(), self.judge);
        self.hook(Hook::Publish)?.ask(caller.headers, body, move |text| judge.publish(text)).await
    }

    async fn rpc(&self, caller: Caller, method: &str, data: Payload) -> Result<Payload, Refusal> {
        let question = Question { method: Some(method), ..Question::of_user(&caller).with(&data) };
        let (body, judge) = (question.to_json(), self.judge);
        self.hook(Hook::Rpc)?.ask(caller.headers, body, move |text| judge.rpc(text)).await
    }
}
