//! Every message with every field set, and with none.

use fanfare_protocol::*;

use crate::check;
use crate::fixtures::*;

#[test]
fn publications() {
    check("publication", &publication());
    check("publication_empty", &PublicationMessage::default());
    check("client_info", &info());
    check("client_info_empty", &ClientInfo::default());
    check("join", &Join { info: Some(info()) });
    check("leave", &Leave { info: Some(info()) });
    let request = PublishRequest {
        channel: "chat:room1".into(),
        data: json(r#"{"text":"hi"}"#),
        r#type: 1,
        key: "entry".into(),
        removed: true,
    };
    check("publish_request", &request);
    check("publish_result", &PublishResult {});
}

#[test]
fn connecting() {
    let request = ConnectRequest {
        token: "e.y.J".into(),
        data: json(r#"{"room":7}"#),
        subs: map("personal:#42", subscribe_request()),
        name: "js".into(),
        version: "1.2.0".into(),
        headers: map("x-tenant", "a".into()),
        flag: 1,
        dict: "d1".into(),
        profile: "p".into(),
    };
    check("connect_request", &request);
    check("connect_request_empty", &ConnectRequest::default());
    let result = ConnectResult {
        client: "6ff9".into(),
        version: "0.1.0".into(),
        expires: true,
        ttl: 3600,
        data: json(r#"{"hello":1}"#),
        subs: map("personal:#42", subscribe_result()),
        ping: 25,
        pong: true,
        session: "s".into(),
        node: "n".into(),
        time: 1_765_000_000_000,
        flag: 1,
        dict: Some(Dictionary { id: "d1".into(), data: json("null"), data_b64: "bnVsbA==".into() }),
    };
    check("connect_result", &result);
    let push = ConnectPush {
        client: "6ff9".into(),
        version: "0.1.0".into(),
        data: json(r#"{"hello":1}"#),
        subs: map("personal:#42", SubscribeResult::default()),
        expires: true,
        ttl: 3600,
        ping: 25,
        pong: true,
        session: "s".into(),
        node: "n".into(),
        time: 1_765_000_000_000,
    };
    check("connect_push", &push);
    check("dictionary", &Dictionary { id: "d1".into(), data: json("{}"), data_b64: "e30=".into() });
}

#[test]
fn subscribing() {
    check("subscribe_request", &subscribe_request());
    check("subscribe_result", &subscribe_result());
    check("subscribe_result_empty", &SubscribeResult::default());
    check("filter_node", &filter());
    check("unsubscribe_request", &UnsubscribeRequest { channel: "chat:room1".into() });
    check("unsubscribe_result", &UnsubscribeResult {});
}

#[test]
fn refreshing() {
    check("refresh_request", &RefreshRequest { token: "e.y.J".into() });
    let result = RefreshResult { client: "6ff9".into(), version: "0.1.0".into(), expires: true, ttl: 3600 };
    check("refresh_result", &result);
    let item = KeyedItem { key: "entry".into(), version: 9 };
    let batch = TrackBatch { signature: "1:2:ab".into(), items: vec![item.clone()] };
    let request = SubRefreshRequest {
        channel: "chat:room1".into(),
        token: "e.y.J".into(),
        r#type: 1,
        track: vec![batch.clone()],
        untrack: vec!["old".into()],
    };
    check("sub_refresh_request", &request);
    check("sub_refresh_result", &SubRefreshResult { expires: true, ttl: 300, items: vec![small_publication(1)] });
    check("track_batch", &batch);
    check("keyed_item", &item);
}

#[test]
fn presence() {
    check("presence_request", &PresenceRequest { channel: "chat:room1".into() });
    check("presence_result", &PresenceResult { presence: map("6ff9", info()) });
    check("presence_result_empty", &PresenceResult::default());
    check("presence_stats_request", &PresenceStatsRequest { channel: "chat:room1".into() });
    check("presence_stats_result", &PresenceStatsResult { num_clients: 3, num_users: 2 });
    check("presence_stats_result_empty", &PresenceStatsResult::default());
}

#[test]
fn history() {
    let since = StreamPositionMessage { offset: 5, epoch: "aB3d".into() };
    check("stream_position", &since);
    let request = HistoryRequest { channel: "chat:room1".into(), limit: -1, since: Some(since), reverse: true };
    check("history_request", &request);
    let result = HistoryResult { publications: vec![small_publication(6)], epoch: "aB3d".into(), offset: 42 };
    check("history_result", &result);
    check("history_result_empty", &HistoryResult::default());
}

#[test]
fn calling() {
    check("rpc_request", &RpcRequest { data: json("{}"), method: "getTime".into() });
    check("rpc_result", &RpcResult { data: json(r#"{"now":1}"#) });
    check("send_request", &SendRequest { data: json(r#"{"x":1}"#) });
    check("ping_request", &PingRequest {});
    check("ping_result", &PingResult {});
}

#[test]
fn pushes() {
    check("unsubscribe_push", &Unsubscribe::INSUFFICIENT_STATE.push());
    check("message", &Message { data: json(r#"{"x":1}"#) });
    let subscribe = SubscribePush {
        recoverable: true,
        epoch: "aB3d".into(),
        offset: 5,
        positioned: true,
        data: json(r#"{"x":1}"#),
    };
    check("subscribe_push", &subscribe);
    check("disconnect_push", &DisconnectPush { code: 3001, reason: "shutdown".into(), reconnect: true });
    check("refresh_push", &RefreshPush { expires: true, ttl: 60 });
    check("refresh_push_empty", &RefreshPush::default());
    check("error", &ErrorCode::Internal.reply());
    check("error_permanent", &ErrorCode::PermissionDenied.reply());
}
