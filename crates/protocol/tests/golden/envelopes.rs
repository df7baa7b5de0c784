//! Commands, replies and pushes as they stand in frames: every member of each envelope once.

use bytes::Bytes;
use fanfare_protocol::*;

use crate::{check, check_commands, check_replies};

fn command(id: u32) -> Command {
    Command { id, ..Command::default() }
}

fn reply(id: u32) -> Reply {
    Reply { id, ..Reply::default() }
}

fn push(push: Push) -> Reply {
    Reply { push: Some(push), ..Reply::default() }
}

fn on_channel() -> Push {
    Push { channel: "chat:room1".into(), ..Push::default() }
}

fn publication() -> PublicationMessage {
    PublicationMessage { data: Bytes::from_static(br#"{"text":"hi"}"#), offset: 43, ..PublicationMessage::default() }
}

#[test]
fn commands_of_every_kind_in_one_frame() {
    let commands = [
        Command { connect: Some(ConnectRequest::default()), ..command(1) },
        Command { subscribe: Some(SubscribeRequest { channel: "news".into(), ..Default::default() }), ..command(2) },
        Command { unsubscribe: Some(UnsubscribeRequest { channel: "news".into() }), ..command(3) },
        Command { publish: Some(PublishRequest { channel: "news".into(), ..Default::default() }), ..command(4) },
        Command { presence: Some(PresenceRequest { channel: "news".into() }), ..command(5) },
        Command { presence_stats: Some(PresenceStatsRequest { channel: "news".into() }), ..command(6) },
        Command { history: Some(HistoryRequest { channel: "news".into(), ..Default::default() }), ..command(7) },
        Command { ping: Some(PingRequest {}), ..command(8) },
        Command { send: Some(SendRequest { data: "1".into() }), ..command(0) },
        Command { rpc: Some(RpcRequest { method: "getTime".into(), ..Default::default() }), ..command(9) },
        Command { refresh: Some(RefreshRequest { token: "e.y.J".into() }), ..command(10) },
        Command {
            sub_refresh: Some(SubRefreshRequest { channel: "news".into(), ..Default::default() }),
            ..command(u32::MAX)
        },
    ];
    check_commands("frame_commands", &commands);
}

#[test]
fn a_pong_is_an_empty_command_and_a_ping_an_empty_reply() {
    check_commands("frame_pong", &[command(0)]);
    check_replies("frame_ping", &[reply(0)]);
}

#[test]
fn replies_of_every_kind_in_one_frame() {
    let replies = [
        Reply { error: Some(ErrorCode::PermissionDenied.reply()), ..reply(1) },
        Reply {
            connect: Some(ConnectResult { client: "6ff9".into(), ping: 25, pong: true, ..Default::default() }),
            ..reply(2)
        },
        Reply { subscribe: Some(SubscribeResult::default()), ..reply(3) },
        Reply { unsubscribe: Some(UnsubscribeResult {}), ..reply(4) },
        Reply { publish: Some(PublishResult {}), ..reply(5) },
        Reply { presence: Some(PresenceResult::default()), ..reply(6) },
        Reply { presence_stats: Some(PresenceStatsResult::default()), ..reply(7) },
        Reply { history: Some(HistoryResult::default()), ..reply(8) },
        Reply { ping: Some(PingResult {}), ..reply(9) },
        Reply { rpc: Some(RpcResult::default()), ..reply(10) },
        Reply { refresh: Some(RefreshResult { expires: true, ttl: 3600, ..Default::default() }), ..reply(11) },
        Reply { sub_refresh: Some(SubRefreshResult::default()), ..reply(u32::MAX) },
    ];
    check_replies("frame_replies", &replies);
}

#[test]
fn pushes_of_every_kind_in_one_frame() {
    let info = Some(ClientInfo { user: "42".into(), client: "6ff9".into(), ..Default::default() });
    let pushes = [
        Push { publication: Some(publication()), ..on_channel() },
        Push { join: Some(Join { info: info.clone() }), ..on_channel() },
        Push { leave: Some(Leave { info }), ..on_channel() },
        Push { unsubscribe: Some(Unsubscribe::SERVER.push()), ..on_channel() },
        Push { message: Some(Message { data: "1".into() }), ..Push::default() },
        Push { subscribe: Some(SubscribePush { positioned: true, ..Default::default() }), ..on_channel() },
        Push { connect: Some(ConnectPush { client: "6ff9".into(), ..Default::default() }), ..Push::default() },
        Push { disconnect: Some(DisconnectPush { code: 3001, ..Default::default() }), ..Push::default() },
        Push { refresh: Some(RefreshPush { expires: true, ttl: 60 }), ..Push::default() },
    ];
    check("push", &Push { id: 5, publication: Some(publication()), ..Push::default() });
    check_replies("frame_pushes", &pushes.map(push));
}
