//! Commands that ask something of a channel: publish, history, presence.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_auth::Operation;
use fanfare_broker::{HistoryQuery, Publication, Publish, Since};
use fanfare_protocol::{
    ClientInfo, ErrorCode, HistoryRequest, HistoryResult, PayloadLimits, PresenceRequest, PresenceResult,
    PresenceStatsRequest, PresenceStatsResult, PublishRequest, PublishResult, Reply, payload,
};

use super::{Commands, Failure};
use crate::backend::Payload;
use crate::shard::message_of;

/// Who is in a channel, by client id.
type Present = BTreeMap<String, Arc<ClientInfo>>;

/// As many publications as fit into a reply, at least one: the rest is there for the next page.
fn page(publications: &[Arc<Publication>], bytes_max: usize) -> &[Arc<Publication>] {
    let mut left = bytes_max;
    let fitting = publications.iter().take_while(|publication| {
        let fits = publication.data.len() <= left;
        left = left.saturating_sub(publication.data.len());
        fits
    });
    let count = fitting.count().max(1).min(publications.len());
    &publications[..count]
}

/// As many of those who are present as a reply takes, at least one. Which of many is left to chance: it goes by their
/// client ids.
fn shown(present: Present, members_max: usize, bytes_max: usize) -> Present {
    let mut bytes = 0;
    let mut shown = Present::new();
    for (client, info) in present.into_iter().take(members_max) {
        bytes += client.len() + info.user.len() + info.client.len() + info.conn_info.len() + info.chan_info.len();
        if bytes > bytes_max && !shown.is_empty() {
            break;
        }
        shown.insert(client, info);
    }
    shown
}

impl Commands {
    /// Publishes (protocol §7.3). The payload is judged here, once.
    pub(super) async fn publish(&self, id: u32, request: PublishRequest) -> Result<(), Failure> {
        let (channel, options) = self.channel(&request.channel)?;
        let json = self.judge_payload(&request.data)?;
        let info = self.publisher(&channel)?;
        let publish = if options.asks_backend.publish {
            self.ask_to_publish(&channel, Payload { data: request.data, json }, info, &options).await?
        } else {
            self.demand(Operation::Publish, &channel, &options)?;
            let (data, info, retention) = (request.data, Some(info), options.retention);
            Publish { data, json, info, retention, ..Publish::default() }
        };
        self.in_time(self.local.broker.publish(&channel, publish)).await?;
        self.reply(&Reply { id, publish: Some(PublishResult::default()), ..Reply::default() });
        Ok(())
    }

    /// Whether a payload is JSON; refuses one that is empty, too large or too deep.
    fn judge_payload(&self, data: &[u8]) -> Result<bool, Failure> {
        if data.is_empty() {
            return Err(ErrorCode::BadRequest.into());
        }
        let limits = PayloadLimits { bytes_max: self.local.options().payload_bytes_max, ..PayloadLimits::default() };
        payload::inspect(data, &limits).map_err(|_| ErrorCode::BadRequest.into())
    }

    /// The client as its publications show it: with the channel's info, if it is subscribed with some.
    fn publisher(&self, channel: &fanfare_protocol::Channel) -> Result<Arc<ClientInfo>, Failure> {
        let in_channel = self.look(|shard| {
            let session = shard.session(self.session)?;
            let index = session.subscription_index(shard.channel_id(channel)?)?;
            session.subscriptions[index].info.clone()
        });
        in_channel.map_or_else(|| self.info(), Ok)
    }

    /// Reads the history (protocol §7.5).
    pub(super) async fn history(&self, id: u32, request: HistoryRequest) -> Result<(), Failure> {
        let (channel, options) = self.channel(&request.channel)?;
        if options.retention.is_none() {
            return Err(ErrorCode::NotAvailable.into());
        }
        self.demand(Operation::ReadHistory, &channel, &options)?;
        let page_max = self.local.options().history_page_max;
        let query = HistoryQuery {
            limit: usize::try_from(request.limit).map_or(page_max, |limit| limit.min(page_max)),
            since: request.since.map(|since| Since { offset: since.offset, epoch: since.epoch }),
            reverse: request.reverse,
        };
        let history = self.in_time(self.local.broker.history(&channel, query)).await?;
        if self.is_json() && history.publications.iter().any(|publication| !publication.json) {
            return Err(fanfare_protocol::Disconnect::INAPPROPRIATE_PROTOCOL.into());
        }
        let page = page(&history.publications, self.local.options().reply_bytes_max());
        let result = HistoryResult {
            publications: page.iter().map(|publication| message_of(publication)).collect(),
            epoch: history.top.epoch.to_string(),
            offset: history.top.offset,
        };
        self.reply(&Reply { id, history: Some(result), ..Reply::default() });
        Ok(())
    }

    /// Who is in a channel (protocol §7.4).
    pub(super) async fn presence(&self, id: u32, request: &PresenceRequest) -> Result<(), Failure> {
        let channel = self.readable_presence(&request.channel)?;
        let present = self.in_time(self.local.broker.presence(&channel)).await?;
        let options = self.local.options();
        let (members, shown) = (present.len(), shown(present, options.presence_members_max, options.reply_bytes_max()));
        if shown.len() < members {
            self.look(|shard| shard.stats().presence_cut.add(1));
            if self.local.may_log() {
                let key = "limits.presence_members_max";
                tracing::info!(key, members, shown = shown.len(), "presence was told in part: see this key");
            }
        }
        let presence: BTreeMap<String, ClientInfo> =
            shown.into_iter().map(|(client, info)| (client, Arc::unwrap_or_clone(info))).collect();
        self.reply(&Reply { id, presence: Some(PresenceResult { presence }), ..Reply::default() });
        Ok(())
    }

    /// How many are in a channel (protocol §7.4).
    pub(super) async fn presence_stats(&self, id: u32, request: &PresenceStatsRequest) -> Result<(), Failure> {
        let channel = self.readable_presence(&request.channel)?;
        let stats = self.in_time(self.local.broker.presence_stats(&channel)).await?;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let result = PresenceStatsResult { num_clients: count(stats.clients), num_users: count(stats.users) };
        self.reply(&Reply { id, presence_stats: Some(result), ..Reply::default() });
        Ok(())
    }

    fn readable_presence(&self, name: &str) -> Result<fanfare_protocol::Channel, Failure> {
        let (channel, options) = self.channel(name)?;
        if !options.presence {
            return Err(ErrorCode::NotAvailable.into());
        }
        self.demand(Operation::ReadPresence, &channel, &options)?;
        Ok(channel)
    }

    pub(super) fn is_json(&self) -> bool {
        self.with(|shard| {
            shard.session(self.session).is_some_and(|session| session.encoding == fanfare_protocol::Encoding::Json)
        })
    }

    /// Waits for the broker, until the command's deadline at most: a command takes less time than a pong may, since
    /// no pong is read meanwhile.
    pub(super) async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, fanfare_broker::Error>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout_at(self.deadline.get(), call).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(fanfare_broker::Error::Unavailable("the broker did not answer in time").into()),
        }
    }
}
