//! Messages with every field set, for others to hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use fanfare_protocol::*;

pub(crate) fn json(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub(crate) fn info() -> ClientInfo {
    ClientInfo {
        user: "42".into(),
        client: "6ff9".into(),
        conn_info: json(r#"{"name":"A"}"#),
        chan_info: json(r#"{"role":"host"}"#),
    }
}

pub(crate) fn map<T>(key: &str, value: T) -> BTreeMap<String, T> {
    BTreeMap::from([(key.to_owned(), value)])
}

pub(crate) fn publication() -> PublicationMessage {
    PublicationMessage {
        data: json(r#"{"text": "hi"}"#),
        info: Some(info()),
        offset: 43,
        tags: map("k", "v".into()),
        delta: true,
        time: 1_765_000_000_000,
        channel: "news:a".into(),
        key: "entry".into(),
        removed: true,
        score: -3,
        epoch: "aB3d".into(),
        version: 9,
    }
}

pub(crate) fn small_publication(offset: u64) -> PublicationMessage {
    PublicationMessage { data: json("1"), offset, ..PublicationMessage::default() }
}

pub(crate) fn filter() -> FilterNode {
    let leaf = |cmp: &str| FilterNode { key: "topic".into(), cmp: cmp.into(), ..FilterNode::default() };
    let nodes = vec![
        FilterNode { val: "sports".into(), ..leaf("eq") },
        FilterNode { vals: vec!["a".into(), String::new()], ..leaf("in") },
    ];
    FilterNode { op: "and".into(), nodes, ..FilterNode::default() }
}

pub(crate) fn subscribe_request() -> SubscribeRequest {
    SubscribeRequest {
        channel: "chat:room1".into(),
        token: "e.y.J".into(),
        recover: true,
        epoch: "aB3d".into(),
        offset: 17,
        data: json(r#"{"lang":"en"}"#),
        positioned: true,
        recoverable: true,
        join_leave: true,
        delta: "fossil".into(),
        tf: Some(filter()),
        flag: 3,
        r#type: 1,
        phase: 2,
        cursor: "p2".into(),
        limit: 100,
        asc: true,
    }
}

pub(crate) fn subscribe_result() -> SubscribeResult {
    SubscribeResult {
        expires: true,
        ttl: 300,
        recoverable: true,
        epoch: "aB3d".into(),
        publications: vec![small_publication(18), small_publication(19)],
        recovered: true,
        offset: 17,
        positioned: true,
        data: json("[1]"),
        was_recovering: true,
        delta: true,
        id: 5,
        r#type: 1,
        phase: 2,
        cursor: "p3".into(),
        state: vec![small_publication(3)],
        publish_debounce: 50,
    }
}
