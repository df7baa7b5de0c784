//! One case's broker, channel and recorder, and the few calls that the cases are written in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::{Channel, ClientInfo};

use super::{Harness, Node, Recorder};
use crate::{
    Broker, Error, Event, History, HistoryQuery, NodeSink, Outcome, PublicationSink, Publish, Published, Retention,
    Since, StreamPosition,
};

/// What the cases publish with, unless they say otherwise.
pub(super) const RETENTION: Retention =
    Retention { size: 100, ttl: Duration::from_secs(60), meta_ttl: Duration::from_secs(600) };

pub(super) struct Stage<'a> {
    pub(super) harness: &'a dyn Harness,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) node: Arc<Node>,
    pub(super) channel: Channel,
}

impl<'a> Stage<'a> {
    /// A broker whose node is interested in one channel.
    pub(super) async fn new(harness: &'a dyn Harness, channel: &str) -> Self {
        let (recorder, node) = (Recorder::new(), Arc::new(Node::default()));
        let sink: Arc<dyn PublicationSink> = recorder.clone();
        let node_sink: Arc<dyn NodeSink> = node.clone();
        let broker = harness.broker(sink, node_sink).await;
        let stage = Self { harness, broker, recorder, node, channel: harness.channel(channel) };
        stage.listen(&stage.channel).await;
        stage
    }

    pub(super) async fn listen(&self, channel: &Channel) {
        self.broker.subscribe(channel).await.expect("interest in a channel is accepted");
    }

    pub(super) async fn try_publish(&self, publish: Publish) -> Result<Published, Error> {
        self.broker.publish(&self.channel, publish).await
    }

    pub(super) async fn publish(&self, publish: Publish) -> Published {
        self.try_publish(publish).await.expect("the publish is accepted")
    }

    /// Publishes texts with history, one after the other.
    pub(super) async fn publish_texts(&self, texts: &[&str]) {
        for text in texts {
            let published = self.publish(kept(text)).await;
            assert_eq!(published.outcome, Outcome::Accepted);
        }
    }

    pub(super) async fn try_history(&self, query: HistoryQuery) -> Result<History, Error> {
        self.broker.history(&self.channel, query).await
    }

    pub(super) async fn history(&self, query: HistoryQuery) -> History {
        self.try_history(query).await.expect("the history is read")
    }

    /// Offsets and texts of a part of the history.
    pub(super) async fn read(&self, query: HistoryQuery) -> Vec<(u64, String)> {
        let history = self.history(query).await;
        history.publications.iter().map(|publication| (offset(publication), text(&publication.data))).collect()
    }

    pub(super) async fn offsets(&self, query: HistoryQuery) -> Vec<u64> {
        self.read(query).await.into_iter().map(|(offset, _)| offset).collect()
    }

    pub(super) async fn top(&self) -> StreamPosition {
        self.history(HistoryQuery::default()).await.top
    }

    /// What the sink saw, after waiting for `count` events: publications as `offset:text` (`-` where there is
    /// no offset), joins and leaves as `+client` and `-client`.
    pub(super) async fn seen(&self, count: usize) -> Vec<String> {
        self.recorder.events(count).await.iter().map(label).collect()
    }

    pub(super) async fn advance(&self, seconds: u64) -> bool {
        self.harness.advance(Duration::from_secs(seconds)).await
    }
}

pub(super) fn label(event: &Event) -> String {
    match event {
        Event::Publication(publication) => match &publication.position {
            Some(position) => format!("{}:{}", position.offset, text(&publication.data)),
            None => format!("-:{}", text(&publication.data)),
        },
        Event::Join(_, info) => format!("+{}", info.client),
        Event::Leave(_, info) => format!("-{}", info.client),
    }
}

fn offset(publication: &crate::Publication) -> u64 {
    publication.position.as_ref().expect("what is in the history has a position").offset
}

fn text(data: &Bytes) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// A publish that is kept in history.
pub(super) fn kept(text: &str) -> Publish {
    Publish { retention: Some(RETENTION), ..live(text) }
}

/// A publish to a channel without history.
pub(super) fn live(text: &str) -> Publish {
    Publish { data: Bytes::copy_from_slice(text.as_bytes()), ..Publish::default() }
}

pub(super) fn client(id: &str, user: &str) -> Arc<ClientInfo> {
    Arc::new(ClientInfo { client: id.to_owned(), user: user.to_owned(), ..ClientInfo::default() })
}

pub(super) fn all() -> HistoryQuery {
    HistoryQuery { limit: usize::MAX, ..HistoryQuery::default() }
}

/// Everything above an offset.
pub(super) fn above(offset: u64) -> HistoryQuery {
    HistoryQuery { since: Some(Since { offset, epoch: String::new() }), ..all() }
}

/// Everything below an offset, newest first.
pub(super) fn below(offset: u64) -> HistoryQuery {
    HistoryQuery { reverse: true, ..above(offset) }
}
