//! What the server API answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fanfare_protocol::ClientInfo;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::{Error, Publication, StreamPosition};

/// The longest part of a foreign answer that an error repeats.
const WORDS_CHARS_MAX: usize = 300;

/// How many are in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// Connections.
    #[serde(default)]
    pub num_clients: u64,
}

/// A node and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct NodeInfo {
    /// Its id, new with every start.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Connections.
    pub num_clients: u64,
    /// Distinct users.
    pub num_users: u64,
    /// Subscriptions.
    pub num_subs: u64,
    /// Channels with subscribers.
    pub num_channels: u64,
    /// How long it has run, in seconds.
    pub uptime: u64,
}

/// What is blocked or revoked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListedRevocation {
    /// `user`, `token`, `user_tokens` or `all_tokens`.
    pub kind: String,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The token's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The channel whose subscription tokens are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Tokens issued before this time are meant, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<u64>,
    /// When it ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<u64>,
}

impl ListedRevocation {
    /// One of this kind, without anything else.
    pub fn of_kind(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }
}

/// Revocations, as far as they were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct RevocationList {
    /// They.
    pub revocations: Vec<ListedRevocation>,
    /// How many there are of those that were asked for, listed or not.
    pub total: u64,
    /// Whether they outlive the nodes.
    pub durable: bool,
}

/// What became of taking something back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Removed {
    /// Whether it was there.
    pub removed: bool,
    /// Whether that outlives the nodes.
    pub durable: bool,
}

#[derive(Deserialize)]
pub(super) struct Revoked {
    #[serde(default)]
    pub(super) durable: bool,
}

#[derive(Deserialize)]
pub(super) struct Position {
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    epoch: String,
}

impl From<Position> for StreamPosition {
    fn from(position: Position) -> Self {
        Self::new(position.offset, position.epoch)
    }
}

#[derive(Deserialize)]
pub(super) struct Broadcast {
    pub(super) responses: Vec<BroadcastResponse>,
}

#[derive(Deserialize)]
pub(super) struct BroadcastResponse {
    result: Option<Position>,
    error: Option<Refusal>,
}

impl BroadcastResponse {
    pub(super) fn into_result(self) -> Result<StreamPosition, Error> {
        match (self.error, self.result) {
            (Some(error), _) => Err(error.into()),
            (None, Some(position)) => Ok(position.into()),
            (None, None) => Err(Error::Answer("neither result nor error".to_owned())),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Channels {
    #[serde(default)]
    pub(super) channels: BTreeMap<String, ChannelInfo>,
}

#[derive(Deserialize)]
pub(super) struct Info {
    #[serde(default)]
    pub(super) nodes: Vec<NodeInfo>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct History {
    publications: Vec<Kept>,
    offset: u64,
    epoch: String,
}

/// A publication in a history. Data that is not JSON comes as `b64data`.
#[derive(Deserialize)]
struct Kept {
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    b64data: String,
    info: Option<ClientInfo>,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// `null` is a payload, not an absence.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl Kept {
    fn into_publication(self, epoch: &Arc<str>) -> Result<Publication, Error> {
        let data = match self.data {
            Some(data) => Bytes::from(String::from(Box::<str>::from(data))),
            None => Bytes::from(STANDARD.decode(&self.b64data).map_err(|error| Error::Answer(error.to_string()))?),
        };
        let position = (self.offset > 0).then(|| StreamPosition::new(self.offset, Arc::clone(epoch)));
        Ok(Publication { data, position, info: self.info, tags: self.tags })
    }
}

impl TryFrom<History> for crate::History {
    type Error = Error;

    fn try_from(history: History) -> Result<Self, Error> {
        let top = StreamPosition::new(history.offset, history.epoch);
        let publications = history.publications.into_iter().map(|kept| kept.into_publication(&top.epoch));
        Ok(Self { publications: publications.collect::<Result<_, _>>()?, top })
    }
}

/// The answer to every method.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: u32,
    message: String,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        // Internal errors and too many requests: the two that the protocol calls temporary.
        let temporary = matches!(refusal.code, 100 | 111);
        Self::Refused { code: refusal.code, message: refusal.message, temporary }
    }
}

/// Takes the result out of an answer.
pub(super) fn read<A: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<A, Error> {
    if status != StatusCode::OK {
        return Err(Error::Http { status: status.as_u16(), message: words(status, body) });
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(strange)?;
    match (envelope.error, envelope.result) {
        (Some(error), _) => Err(error.into()),
        (None, Some(result)) => serde_json::from_str(result.get()).map_err(strange),
        (None, None) => Err(Error::Answer("neither result nor error".to_owned())),
    }
}

/// What an HTTP answer that is no success says: the node's message, else its text, else the status.
pub(crate) fn words(status: StatusCode, body: &[u8]) -> String {
    if let Ok(Envelope { error: Some(error), .. }) = serde_json::from_slice(body) {
        return error.message;
    }
    match String::from_utf8_lossy(body).trim() {
        "" => status.canonical_reason().unwrap_or("no reason given").to_owned(),
        text if text.starts_with('<') => "a web page, so this may be no Fanfare node".to_owned(),
        text => text.chars().take(WORDS_CHARS_MAX).collect(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn strange(error: serde_json::Error) -> Error {
    Error::Answer(error.to_string())
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::PresenceResult;

    use super::*;

    fn read_ok<A: DeserializeOwned>(body: &str) -> A {
        read(StatusCode::OK, body.as_bytes()).unwrap()
    }

    fn refused(status: u16, body: &str) -> Error {
        match read::<Position>(StatusCode::from_u16(status).unwrap(), body.as_bytes()) {
            Ok(_) => panic!("{body} was taken"),
            Err(error) => error,
        }
    }

    #[test]
    fn results_are_taken_out_of_their_envelope() {
        let position = read_ok::<Position>(r#"{"result":{"offset":3,"epoch":"e"}}"#);
        assert_eq!(StreamPosition::from(position), StreamPosition::new(3, "e"));
        let live = read_ok::<Position>(r#"{"result":{}}"#);
        assert_eq!(StreamPosition::from(live), StreamPosition::new(0, ""));
        let channels: Channels = read_ok(r#"{"result":{"channels":{"news":{"num_clients":2}}}}"#);
        assert_eq!(channels.channels["news"].num_clients, 2);
        let info: Info = read_ok(r#"{"result":{"nodes":[{"uid":"u","num_clients":1,"new":true}]}}"#);
        assert_eq!((info.nodes[0].uid.as_str(), info.nodes[0].num_clients), ("u", 1));
    }

    #[test]
    fn payloads_are_kept_byte_for_byte() {
        let body = r#"{"result":{"publications":[{"data":{ "n": 1.0 },"offset":1},{"data":null,"offset":2},{"b64data":"/w==","offset":3}],"epoch":"e","offset":3}}"#;
        let history = crate::History::try_from(read_ok::<History>(body)).unwrap();
        let data: Vec<_> = history.publications.iter().map(|publication| &publication.data[..]).collect();
        assert_eq!(data, [&br#"{ "n": 1.0 }"#[..], b"null", &[0xff]]);
        assert_eq!(
            (history.top, &history.publications[2].position),
            (StreamPosition::new(3, "e"), &Some(StreamPosition::new(3, "e")))
        );
        let presence: PresenceResult =
            read_ok(r#"{"result":{"presence":{"c":{"user":"u","client":"c","conn_info":{"a":1}}}}}"#);
        assert_eq!(&presence.presence["c"].conn_info[..], br#"{"a":1}"#);
    }

    #[test]
    fn each_channel_of_a_broadcast_has_a_result() {
        let body = r#"{"result":{"responses":[{"result":{"offset":1,"epoch":"e"}},{"error":{"code":107,"message":"no"}},{}]}}"#;
        let answer: Broadcast = read_ok(body);
        let results: Vec<_> = answer.responses.into_iter().map(BroadcastResponse::into_result).collect();
        assert!(results[0].is_ok());
        assert_eq!(results[1].as_ref().unwrap_err().code(), Some(107));
        assert!(matches!(results[2], Err(Error::Answer(_))));
    }

    #[test]
    fn refusals_keep_code_and_words() {
        let error = refused(200, r#"{"error":{"code":107,"message":"bad request: no channel"}}"#);
        assert_eq!(error.to_string(), "bad request: no channel (code 107)");
        assert!(!error.is_temporary());
        assert!(refused(200, r#"{"error":{"code":100,"message":"x"}}"#).is_temporary());
        let error = refused(401, r#"{"error":{"code":101,"message":"unauthorized: send a key"}}"#);
        assert_eq!(error.to_string(), "the node answered HTTP 401: unauthorized: send a key");
    }

    #[test]
    fn foreign_answers_are_told_as_such() {
        assert!(matches!(refused(200, "{}"), Error::Answer(_)));
        assert!(matches!(refused(200, "hello"), Error::Answer(_)));
        assert!(refused(404, "<html>").to_string().ends_with("no Fanfare node"));
        assert!(refused(404, "").to_string().ends_with("Not Found"));
        assert_eq!(words(StatusCode::OK, "x".repeat(1_000).as_bytes()).len(), WORDS_CHARS_MAX);
    }
}
