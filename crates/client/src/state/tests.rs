//! A connection's memory, driven by hand: replies and time go in, commands and events come out.

use fanfare_protocol::{
    DisconnectPush, PublicationMessage, PublishRequest, RefreshResult, SubRefreshResult, SubscribePush,
};
use tokio::sync::oneshot;

use super::*;
use crate::limits::{BACKOFF_MAX, COMMAND_TIMEOUT};
use crate::{Gap, StreamPosition, SubscribeOptions};

struct Scene {
    state: State,
    now: Instant,
    connection: mpsc::Receiver<ConnectionEvent>,
}

impl Scene {
    fn new(source: Option<TokenSource>) -> Self {
        let (events, connection) = mpsc::channel(64);
        Self { state: State::new(source, Some(events)), now: Instant::now(), connection }
    }

    fn connected() -> Self {
        let mut scene = Self::new(None);
        scene.connect(ConnectResult { ping: 25, pong: true, ..Default::default() });
        scene
    }

    fn connect(&mut self, result: ConnectResult) {
        self.state.connected(None, result, self.now);
    }

    fn reconnect(&mut self) {
        self.state.disconnected(&Ending::lost("cut"));
        self.connect(ConnectResult { ping: 25, pong: true, ..Default::default() });
    }

    fn subscribe(&mut self, key: u64, options: SubscribeOptions) -> mpsc::Receiver<SubscriptionEvent> {
        let (sender, events) = mpsc::channel(options.events_max);
        self.state.subscribe(&news(), Entry::new(key, options, sender), self.now).unwrap();
        events
    }

    /// A live subscription to `news` at offset 5 of epoch `e`.
    fn live(&mut self) -> mpsc::Receiver<SubscriptionEvent> {
        let mut events = self.subscribe(1, SubscribeOptions::default());
        self.accept(at(5));
        assert!(matches!(events.try_recv(), Ok(SubscriptionEvent::Subscribed { recovered: false, .. })));
        events
    }

    /// Answers the one outgoing command.
    fn answer(&mut self, reply: Reply) {
        let id = self.only_command().id;
        self.reply(Reply { id, ..reply }).unwrap();
    }

    fn accept(&mut self, result: SubscribeResult) {
        self.answer(Reply { subscribe: Some(result), ..Default::default() });
    }

    fn refuse(&mut self, code: u32, temporary: bool) {
        let error = ErrorReply { code, message: "refused".into(), temporary };
        self.answer(Reply { error: Some(error), ..Default::default() });
    }

    fn reply(&mut self, reply: Reply) -> Result<(), Ending> {
        self.state.reply(reply, self.now)
    }

    fn push(&mut self, push: Push) {
        let push = Push { channel: "news".into(), ..push };
        self.reply(Reply { push: Some(push), ..Default::default() }).unwrap();
    }

    fn publish(&mut self, offset: u64) {
        self.push(Push { publication: Some(publication(offset)), ..Default::default() });
    }

    fn unsubscribe_push(&mut self, code: u32) {
        let unsubscribe = UnsubscribePush { code, reason: "so".into() };
        self.push(Push { unsubscribe: Some(unsubscribe), ..Default::default() });
    }

    fn only_command(&mut self) -> Command {
        let mut commands = self.state.take_outgoing();
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands.remove(0)
    }

    fn pass(&mut self, time: Duration) -> Result<(), Ending> {
        self.now += time;
        self.state.tick(self.now)
    }

    /// Lets any back-off pass, without the pings of the time.
    fn back_off(&mut self) {
        self.state.ping = None;
        self.pass(BACKOFF_MAX).unwrap();
    }

    fn fetched(&mut self, result: Result<&str, TokenError>) -> Result<(), Ending> {
        let mut fetches = self.state.take_fetches();
        assert_eq!(fetches.len(), 1, "{fetches:?}");
        self.state.fetched(fetches.remove(0).purpose, result.map(str::to_owned), self.now)
    }

    fn call(&mut self) -> oneshot::Receiver<Result<Reply, Error>> {
        let (answer, reply) = oneshot::channel();
        let publish = PublishRequest { channel: "news".into(), ..Default::default() };
        self.state.call(Command { publish: Some(publish), ..Default::default() }, answer, self.now);
        reply
    }
}

fn news() -> Channel {
    Channel::parse("news").unwrap()
}

fn at(offset: u64) -> SubscribeResult {
    SubscribeResult { recoverable: true, positioned: true, offset, epoch: "e".into(), ..Default::default() }
}

fn publication(offset: u64) -> PublicationMessage {
    PublicationMessage { data: "1".into(), offset, ..Default::default() }
}

fn with_callback() -> SubscribeOptions {
    SubscribeOptions::default().token(callback())
}

fn callback() -> TokenSource {
    TokenSource::callback(|| async { Ok(String::new()) })
}

/// What has come, in short: `s` subscribed, `r` recovered, a number a publication, `g` a gap, `u` the end.
fn brief(events: &mut mpsc::Receiver<SubscriptionEvent>) -> String {
    let mut brief = Vec::new();
    while let Ok(event) = events.try_recv() {
        brief.push(match event {
            SubscriptionEvent::Subscribed { recovered: true, .. } => "r".to_owned(),
            SubscriptionEvent::Subscribed { .. } => "s".to_owned(),
            SubscriptionEvent::Publication(publication) => publication.position.map_or(0, |at| at.offset).to_string(),
            SubscriptionEvent::Gap(Gap { missed, .. }) => format!("g{}", missed.map_or(-1, |count| count as i64)),
            SubscriptionEvent::Unsubscribed { code, .. } => format!("u{code}"),
            SubscriptionEvent::Join(info) => format!("+{}", info.user),
            SubscriptionEvent::Leave(info) => format!("-{}", info.user),
        });
    }
    brief.join(" ")
}

#[test]
fn a_subscription_made_offline_is_sent_with_the_connection() {
    let mut scene = Scene::new(None);
    let mut events = scene.subscribe(1, SubscribeOptions::default());
    assert!(scene.state.take_outgoing().is_empty());
    scene.connect(ConnectResult::default());
    scene.accept(at(5));
    scene.publish(6);
    assert_eq!(brief(&mut events), "s 6");
}

#[test]
fn a_second_subscription_to_a_channel_is_refused_while_the_first_is_read() {
    let mut scene = Scene::connected();
    let events = scene.live();
    let (sender, _receiver) = mpsc::channel(1);
    let again = |scene: &mut Scene| {
        let entry = Entry::new(2, SubscribeOptions::default(), sender.clone());
        scene.state.subscribe(&news(), entry, scene.now)
    };
    assert!(matches!(again(&mut scene), Err(Error::AlreadySubscribed(_))));
    drop(events);
    again(&mut scene).unwrap();
    let commands = scene.state.take_outgoing();
    assert!(commands[0].unsubscribe.is_some() && commands[1].subscribe.is_some(), "{commands:?}");
}

#[test]
fn a_reconnect_recovers_from_the_last_position() {
    let mut scene = Scene::connected();
    let mut events = scene.live();
    scene.publish(6);
    scene.reconnect();
    let request = scene.state.commands.take_outgoing().remove(0);
    let subscribe = request.subscribe.unwrap();
    assert!(subscribe.recover);
    assert_eq!((subscribe.offset, subscribe.epoch.as_str()), (6, "e"));
    let result = SubscribeResult {
        recovered: true,
        was_recovering: true,
        publications: vec![publication(7), publication(8)],
        ..at(6)
    };
    scene.reply(Reply { id: request.id, subscribe: Some(result), ..Default::default() }).unwrap();
    scene.publish(8);
    scene.publish(9);
    assert_eq!(brief(&mut events), "6 r 7 8 9");
}

#[test]
fn a_failed_recovery_tells_a_gap() {
    let mut scene = Scene::connected();
    let mut events = scene.live();
    scene.reconnect();
    scene.accept(SubscribeResult { was_recovering: true, ..at(9) });
    scene.publish(10);
    assert_eq!(brief(&mut events), "s g4 10");
}

#[test]
fn what_belongs_to_the_subscription_before_is_dropped() {
    let mut scene = Scene::connected();
    let mut before = scene.live();
    scene.state.unsubscribe(&news(), 1, scene.now);
    assert!(scene.only_command().unsubscribe.is_some());
    let mut after = scene.subscribe(2, SubscribeOptions::default());
    scene.publish(6);
    scene.unsubscribe_push(2500);
    scene.accept(at(6));
    scene.publish(7);
    assert_eq!((brief(&mut before).as_str(), brief(&mut after).as_str()), ("", "s 7"));
}

#[test]
fn an_unsubscribe_with_a_wrong_key_does_nothing() {
    let mut scene = Scene::connected();
    let mut events = scene.live();
    scene.state.unsubscribe(&news(), 2, scene.now);
    scene.publish(6);
    assert_eq!(brief(&mut events), "6");
}

#[test]
fn an_unsubscribe_that_fails_ends_the_connection() {
    let mut scene = Scene::connected();
    let _events = scene.live();
    scene.state.unsubscribe(&news(), 1, scene.now);
    let id = scene.only_command().id;
    let error = Some(ErrorReply { code: 100, ..Default::default() });
    assert!(scene.reply(Reply { id, error, ..Default::default() }).unwrap_err().reconnects);
}

#[test]
fn insufficient_state_is_recovered_after_a_back_off() {
    let mut scene = Scene::connected();
    let mut events = scene.live();
    scene.unsubscribe_push(2500);
    scene.publish(7);
    assert!(scene.state.take_outgoing().is_empty());
    scene.back_off();
    let subscribe = scene.state.commands.take_outgoing().remove(0).subscribe.unwrap();
    assert_eq!((subscribe.recover, subscribe.offset), (true, 5));
    assert_eq!(brief(&mut events), "");
}

#[test]
fn an_invalidated_state_is_forgotten() {
    let mut scene = Scene::connected();
    let mut events = scene.live();
    scene.unsubscribe_push(2502);
    scene.back_off();
    let request = scene.state.commands.take_outgoing().remove(0);
    let subscribe = request.subscribe.unwrap();
    assert_eq!((subscribe.recover, subscribe.offset, subscribe.epoch.as_str()), (true, 0, "_"));
    scene.reply(Reply { id: request.id, subscribe: Some(at(5)), ..Default::default() }).unwrap();
    assert_eq!(brief(&mut events), "s g-1");
}

#[test]
fn a_close_with_3014_forgets_all_positions() {
    let mut scene = Scene::connected();
    let _events = scene.live();
    scene.state.disconnected(&Ending::closed(3014, "state invalidated"));
    scene.connect(ConnectResult::default());
    assert_eq!(scene.only_command().subscribe.unwrap().epoch, "_");
}

#[test]
fn an_unsubscribe_of_the_server_ends_the_stream() {
    let mut scene = Scene::connected();
    let mut events = scene.live();
    scene.unsubscribe_push(2000);
    scene.publish(6);
    assert_eq!(brief(&mut events), "u2000");
    assert!(events.is_closed());
}

#[test]
fn a_refusal_ends_the_stream_and_a_temporary_one_does_not() {
    let mut scene = Scene::connected();
    let mut events = scene.subscribe(1, SubscribeOptions::default());
    scene.refuse(100, true);
    scene.back_off();
    scene.refuse(103, false);
    assert_eq!(brief(&mut events), "u103");
    scene.back_off();
    assert!(scene.state.take_outgoing().is_empty());
}

#[test]
fn an_expired_subscription_token_is_fetched_again() {
    let mut scene = Scene::connected();
    let mut events = scene.subscribe(1, with_callback());
    scene.fetched(Ok("first")).unwrap();
    scene.refuse(109, false);
    scene.back_off();
    scene.fetched(Ok("second")).unwrap();
    let request = scene.state.commands.take_outgoing().remove(0);
    assert_eq!(request.subscribe.unwrap().token, "second");
    assert_eq!(brief(&mut events), "");
}

#[test]
fn an_expired_fixed_token_ends_the_stream() {
    let mut scene = Scene::connected();
    let mut events = scene.subscribe(1, SubscribeOptions::default().token(TokenSource::fixed("t")));
    scene.fetched(Ok("t")).unwrap();
    scene.refuse(109, false);
    assert_eq!(brief(&mut events), "u109");
}

#[test]
fn an_expired_subscription_comes_back_with_a_new_token() {
    let mut scene = Scene::connected();
    let _events = scene.subscribe(1, with_callback());
    scene.fetched(Ok("first")).unwrap();
    scene.accept(at(5));
    scene.unsubscribe_push(2501);
    scene.back_off();
    scene.fetched(Ok("second")).unwrap();
    assert_eq!(scene.only_command().subscribe.unwrap().token, "second");
}

#[test]
fn a_user_who_gets_no_token_is_unsubscribed() {
    let mut scene = Scene::connected();
    let mut events = scene.subscribe(1, with_callback());
    scene.fetched(Err(TokenError::Temporary("later".into()))).unwrap();
    scene.back_off();
    scene.fetched(Err(TokenError::Unauthorized)).unwrap();
    assert_eq!(brief(&mut events), "u1");
}

#[test]
fn a_subscription_is_refreshed_at_its_ttl() {
    let mut scene = Scene::connected();
    let mut events = scene.subscribe(1, with_callback());
    scene.fetched(Ok("first")).unwrap();
    scene.accept(SubscribeResult { expires: true, ttl: 20, ..at(5) });
    scene.pass(Duration::from_secs(20)).unwrap();
    scene.fetched(Ok("second")).unwrap();
    let command = scene.only_command();
    assert_eq!(command.sub_refresh.unwrap().token, "second");
    let sub_refresh = Some(SubRefreshResult { expires: true, ttl: 10, ..Default::default() });
    scene.reply(Reply { id: command.id, sub_refresh, ..Default::default() }).unwrap();
    scene.pass(Duration::from_secs(10)).unwrap();
    assert_eq!(scene.state.take_fetches().len(), 1);
    assert_eq!(brief(&mut events), "s");
}

#[test]
fn a_refused_sub_refresh_ends_the_stream() {
    let mut scene = Scene::connected();
    let mut events = scene.subscribe(1, with_callback());
    scene.fetched(Ok("first")).unwrap();
    scene.accept(SubscribeResult { expires: true, ttl: 20, ..at(5) });
    scene.pass(Duration::from_secs(20)).unwrap();
    scene.fetched(Ok("second")).unwrap();
    scene.refuse(103, false);
    assert_eq!(brief(&mut events), "s u103");
    assert!(scene.only_command().unsubscribe.is_some());
}

#[test]
fn the_connection_is_refreshed_at_its_ttl() {
    let mut scene = Scene::new(Some(callback()));
    scene.connect(ConnectResult { expires: true, ttl: 60, ..Default::default() });
    scene.pass(Duration::from_secs(60)).unwrap();
    scene.fetched(Ok("new")).unwrap();
    let command = scene.only_command();
    assert_eq!(command.refresh.unwrap().token, "new");
    let refresh = Some(RefreshResult { expires: true, ttl: 5, ..Default::default() });
    scene.reply(Reply { id: command.id, refresh, ..Default::default() }).unwrap();
    scene.pass(Duration::from_secs(5)).unwrap();
    assert!(scene.fetched(Err(TokenError::Unauthorized)).is_err_and(|ending| !ending.reconnects));
}

#[test]
fn a_ping_is_answered_once() {
    let mut scene = Scene::connected();
    scene.reply(Reply::default()).unwrap();
    assert_eq!(scene.only_command(), Command::default());
}

#[test]
fn a_ping_of_a_server_that_wants_no_pong_is_not_answered() {
    let mut scene = Scene::new(None);
    scene.connect(ConnectResult { ping: 25, ..Default::default() });
    scene.reply(Reply::default()).unwrap();
    assert!(scene.state.take_outgoing().is_empty());
}

#[test]
fn a_missing_ping_ends_the_connection() {
    let mut scene = Scene::connected();
    scene.pass(Duration::from_secs(30)).unwrap();
    scene.reply(Reply::default()).unwrap();
    scene.pass(Duration::from_secs(34)).unwrap();
    let ending = scene.pass(Duration::from_secs(1)).unwrap_err();
    assert_eq!((ending.reason.as_ref(), ending.reconnects), ("no ping", true));
}

#[test]
fn a_server_without_pings_may_be_silent() {
    let mut scene = Scene::new(None);
    scene.connect(ConnectResult::default());
    scene.pass(Duration::from_secs(3_600)).unwrap();
}

#[tokio::test]
async fn a_ping_behind_a_full_queue_is_not_missed() {
    let mut scene = Scene::connected();
    let mut events = scene.subscribe(1, SubscribeOptions { events_max: 1, ..SubscribeOptions::default() });
    scene.accept(at(5));
    scene.publish(6);
    assert!(scene.state.has_backlog());
    scene.pass(Duration::from_secs(60)).unwrap();
    assert_eq!(brief(&mut events), "s");
    scene.state.hand_over().await;
    scene.state.resume(scene.now);
    scene.pass(Duration::from_secs(34)).unwrap();
    assert!(scene.pass(Duration::from_secs(1)).is_err());
}

#[test]
fn a_call_gets_its_reply_or_its_error() {
    let mut scene = Scene::connected();
    let mut reply = scene.call();
    scene.answer(Reply::default());
    assert!(reply.try_recv().unwrap().is_ok());
    let mut reply = scene.call();
    scene.refuse(103, false);
    assert_eq!(reply.try_recv().unwrap().unwrap_err().code(), Some(103));
}

#[test]
fn a_call_without_a_reply_times_out_alone() {
    let mut scene = Scene::connected();
    let mut reply = scene.call();
    let id = scene.only_command().id;
    scene.pass(COMMAND_TIMEOUT).unwrap();
    assert!(matches!(reply.try_recv(), Ok(Err(Error::TimedOut))));
    scene.reply(Reply { id, ..Default::default() }).unwrap();
}

#[test]
fn a_call_waits_for_a_connection_but_not_for_ever() {
    let mut scene = Scene::new(None);
    let mut late = scene.call();
    scene.pass(COMMAND_TIMEOUT / 2).unwrap();
    let mut early = scene.call();
    scene.pass(COMMAND_TIMEOUT / 2).unwrap();
    assert!(matches!(late.try_recv(), Ok(Err(Error::TimedOut))));
    scene.connect(ConnectResult::default());
    scene.answer(Reply::default());
    assert!(early.try_recv().unwrap().is_ok());
}

#[test]
fn a_lost_connection_fails_the_calls_in_flight() {
    let mut scene = Scene::connected();
    let mut reply = scene.call();
    scene.state.disconnected(&Ending::lost("cut"));
    assert!(matches!(reply.try_recv(), Ok(Err(Error::Disconnected))));
}

#[test]
fn a_subscribe_without_a_reply_ends_the_connection() {
    let mut scene = Scene::connected();
    let _events = scene.subscribe(1, SubscribeOptions::default());
    assert!(scene.pass(COMMAND_TIMEOUT).is_err_and(|ending| ending.reconnects));
}

#[test]
fn too_many_commands_hold_up_further_requests() {
    let mut scene = Scene::new(None);
    let replies: Vec<_> = (0..crate::limits::COMMANDS_MAX).map(|_| scene.call()).collect();
    assert!(scene.state.is_full());
    scene.pass(COMMAND_TIMEOUT).unwrap();
    assert!(!scene.state.is_full());
    drop(replies);
}

#[test]
fn the_end_is_told_to_everybody() {
    let mut scene = Scene::connected();
    let mut events = scene.live();
    let mut reply = scene.call();
    let error = Error::Closed { code: 3503, reason: "force disconnect".into() };
    scene.state.stop(&error);
    assert_eq!(brief(&mut events), "u3503");
    assert_eq!(reply.try_recv().unwrap().unwrap_err().code(), Some(3503));
}

#[test]
fn a_disconnect_push_ends_the_connection_by_its_code() {
    for (code, reconnects) in [(3001, true), (3500, false)] {
        let mut scene = Scene::connected();
        let disconnect = Some(DisconnectPush { code, ..Default::default() });
        let push = Some(Push { disconnect, ..Default::default() });
        assert_eq!(scene.reply(Reply { push, ..Default::default() }).unwrap_err().reconnects, reconnects, "{code}");
    }
}

#[test]
fn a_subscription_whose_reader_has_gone_is_given_up() {
    let mut scene = Scene::connected();
    drop(scene.live());
    scene.publish(6);
    assert!(scene.only_command().unsubscribe.is_some());
}

#[test]
fn the_servers_own_subscriptions_are_followed_and_recovered() {
    let mut scene = Scene::new(None);
    scene.connect(ConnectResult { subs: [("news".into(), at(5))].into(), ..Default::default() });
    scene.publish(6);
    scene.publish(6);
    let requests = scene.state.server_side_requests();
    assert_eq!((requests["news"].recover, requests["news"].offset), (true, 6));
    scene.state.disconnected(&Ending::lost("cut"));
    scene.connect(ConnectResult::default());
    let mut seen = Vec::new();
    while let Ok(event) = scene.connection.try_recv() {
        seen.push(match event {
            ConnectionEvent::Connected { .. } => "connected".to_owned(),
            ConnectionEvent::Disconnected { reconnects, .. } => format!("disconnected {reconnects}"),
            ConnectionEvent::ServerSubscription { event: SubscriptionEvent::Subscribed { .. }, .. } => "s".to_owned(),
            ConnectionEvent::ServerSubscription { event: SubscriptionEvent::Publication(_), .. } => "p".to_owned(),
            ConnectionEvent::ServerSubscription { event: SubscriptionEvent::Unsubscribed { code, .. }, .. } => {
                format!("u{code}")
            }
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["connected", "s", "p", "disconnected true", "connected", "u2000"]);
}

#[test]
fn a_subscription_that_the_server_adds_starts_now() {
    let mut scene = Scene::connected();
    let subscribe = Some(SubscribePush { recoverable: true, offset: 9, epoch: "e".into(), ..Default::default() });
    scene.push(Push { subscribe, ..Default::default() });
    scene.publish(10);
    assert_eq!(scene.state.server_side_requests()["news"].offset, 10);
    scene.unsubscribe_push(2000);
    assert!(scene.state.server_side_requests().is_empty());
}

#[test]
fn the_position_travels_with_each_publication() {
    let mut scene = Scene::connected();
    let mut events = scene.live();
    scene.publish(6);
    scene.publish(0);
    let positions: Vec<_> = std::iter::from_fn(|| events.try_recv().ok())
        .map(|event| match event {
            SubscriptionEvent::Publication(publication) => publication.position,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(positions, [Some(StreamPosition::new(6, "e")), None]);
}
