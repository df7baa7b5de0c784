//! The client against a scripted server: what a real node does rarely, or must never do.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::future::Future;
use std::time::Duration;

use fanfare_client::{Client, Error, SubscribeOptions, Subscription, SubscriptionEvent, TokenSource};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

const PATIENCE: Duration = Duration::from_secs(10);

/// The server's side of one connection.
struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let (socket, _) = listener.accept().await.unwrap();
        let config =
            WebSocketConfig::default().read_buffer_size(1_024).write_buffer_size(0).max_write_buffer_size(65_536);
        Self(accept_async_with_config(socket, Some(config)).await.unwrap())
    }

    /// Takes a connection and answers its connect command.
    async fn connected(listener: &TcpListener) -> Self {
        let mut peer = Self::accept(listener).await;
        peer.expect(r#""connect""#).await;
        peer.say(r#"{"id":1,"connect":{"client":"c","version":"0","ping":25,"pong":true}}"#).await;
        peer
    }

    async fn hear(&mut self) -> String {
        match timeout(PATIENCE, self.0.next()).await.expect("the client says nothing") {
            Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    async fn expect(&mut self, part: &'static str) -> String {
        let text = self.hear().await;
        assert!(text.contains(part), "{part} in {text}");
        text
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn close(mut self, code: u16, reason: &'static str) {
        self.0.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await.unwrap();
        while let Some(Ok(_)) = self.0.next().await {}
    }
}

/// Runs a server's script and a client's side by side; both have to come to their end.
async fn scenario<S, C>(server: impl FnOnce(TcpListener) -> S, client: impl FnOnce(String) -> C)
where
    S: Future<Output = ()> + Send + 'static,
    C: Future<Output = ()>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(server(listener));
    timeout(PATIENCE * 2, client(address)).await.expect("the client hangs");
    timeout(PATIENCE, tasks.join_next()).await.expect("the server hangs").unwrap().unwrap();
}

async fn next(subscription: &mut Subscription) -> SubscriptionEvent {
    timeout(PATIENCE, subscription.next()).await.expect("no event").expect("the stream ended")
}

async fn next_data(subscription: &mut Subscription) -> String {
    match next(subscription).await {
        SubscriptionEvent::Publication(publication) => String::from_utf8(publication.data.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_cut_is_recovered_without_loss_and_without_doubles() {
    scenario(
        |listener| async move {
            let mut peer = Peer::connected(&listener).await;
            peer.expect(r#""subscribe""#).await;
            peer.say(r#"{"id":1,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e","offset":5}}"#).await;
            peer.say(r#"{"push":{"channel":"news","pub":{"data":6,"offset":6}}}"#).await;
            drop(peer);
            let mut peer = Peer::connected(&listener).await;
            let subscribe = peer.expect(r#""recover":true"#).await;
            assert!(subscribe.contains(r#""epoch":"e","offset":6"#), "{subscribe}");
            let recovered = r#"{"id":1,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e","offset":6,"recovered":true,"was_recovering":true,"publications":[{"data":7,"offset":7}]}}"#;
            peer.say(&format!(
                "{recovered}\n{}\n{}",
                r#"{"push":{"channel":"news","pub":{"data":7,"offset":7}}}"#,
                r#"{"push":{"channel":"news","pub":{"data":8,"offset":8}}}"#,
            ))
            .await;
        },
        |address| async move {
            let client = Client::builder(&address).connect().await.unwrap();
            let mut news = client.subscribe("news", SubscribeOptions::default()).await.unwrap();
            assert!(matches!(next(&mut news).await, SubscriptionEvent::Subscribed { recovered: false, .. }));
            assert_eq!(next_data(&mut news).await, "6");
            assert!(matches!(next(&mut news).await, SubscriptionEvent::Subscribed { recovered: true, .. }));
            assert_eq!(next_data(&mut news).await, "7");
            assert_eq!(next_data(&mut news).await, "8");
        },
    )
    .await;
}

#[tokio::test]
async fn a_terminal_close_ends_everything_with_its_code() {
    scenario(
        |listener| async move {
            let mut peer = Peer::connected(&listener).await;
            peer.expect(r#""subscribe""#).await;
            peer.close(3503, "force disconnect").await;
        },
        |address| async move {
            let client = Client::builder(&address).connect().await.unwrap();
            let mut news = client.subscribe("news", SubscribeOptions::default()).await.unwrap();
            assert!(matches!(next(&mut news).await, SubscriptionEvent::Unsubscribed { code: 3503, .. }));
            assert!(news.next().await.is_none());
            let error = client.publish("news", "1").await.unwrap_err();
            assert_eq!(error.to_string(), "the node closed the connection: force disconnect (code 3503)");
        },
    )
    .await;
}

#[tokio::test]
async fn a_refused_first_connect_is_an_error_with_its_code() {
    for (answer, code) in [
        (r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#, 109),
        (r#"{"id":1,"error":{"code":103,"message":"permission denied"}}"#, 103),
    ] {
        scenario(
            move |listener| async move {
                let mut peer = Peer::accept(&listener).await;
                peer.expect(r#""token":"t""#).await;
                peer.say(answer).await;
            },
            |address| async move {
                let error = Client::builder(&address).token(TokenSource::fixed("t")).connect().await.unwrap_err();
                assert_eq!(error.code(), Some(code));
            },
        )
        .await;
    }
}

#[tokio::test]
async fn an_expired_token_is_fetched_again_on_reconnect() {
    scenario(
        |listener| async move {
            let mut peer = Peer::accept(&listener).await;
            peer.expect(r#""token":"token 0""#).await;
            peer.say(r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#).await;
            let mut peer = Peer::accept(&listener).await;
            peer.expect(r#""token":"token 1""#).await;
            peer.say(r#"{"id":1,"connect":{"client":"c","version":"0"}}"#).await;
            peer.expect(r#""publish""#).await;
            peer.say(r#"{"id":1,"publish":{}}"#).await;
        },
        |address| async move {
            let count = std::sync::atomic::AtomicU32::new(0);
            let source = TokenSource::callback(move || {
                let token = format!("token {}", count.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
                async move { Ok(token) }
            });
            let client = Client::builder(&address).token(source).start().unwrap();
            client.publish("news", "1").await.unwrap();
        },
    )
    .await;
}

#[tokio::test]
async fn nobody_at_home_is_said_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Client::builder(&address).connect().await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    let error = fanfare_client::Api::new(&address, None).unwrap().info().await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
}

#[tokio::test]
async fn a_pong_follows_each_ping() {
    scenario(
        |listener| async move {
            let mut peer = Peer::connected(&listener).await;
            for _ in 0..3 {
                peer.say("{}").await;
                assert_eq!(peer.hear().await, "{}");
            }
            peer.close(3503, "force disconnect").await;
        },
        |address| async move {
            let (_client, mut events) = Client::builder(&address).connect_with_events().await.unwrap();
            while let Some(event) = events.next().await {
                assert!(!matches!(event, fanfare_client::ConnectionEvent::Disconnected { code: 0, .. }));
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_reader_that_stalls_holds_up_but_loses_nothing() {
    const COUNT: u64 = 50;
    scenario(
        |listener| async move {
            let mut peer = Peer::connected(&listener).await;
            peer.expect(r#""subscribe""#).await;
            peer.say(r#"{"id":1,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e"}}"#).await;
            for offset in 1..=COUNT {
                peer.say(&format!(r#"{{"push":{{"channel":"news","pub":{{"data":{offset},"offset":{offset}}}}}}}"#))
                    .await;
            }
            peer.expect(r#""publish""#).await;
            peer.say(r#"{"id":2,"publish":{}}"#).await;
            while let Some(Ok(_)) = peer.0.next().await {}
        },
        |address| async move {
            let client = Client::builder(&address).connect().await.unwrap();
            let mut options = SubscribeOptions::default();
            options.events_max = 1;
            let mut news = client.subscribe("news", options).await.unwrap();
            assert!(matches!(next(&mut news).await, SubscriptionEvent::Subscribed { .. }));
            for offset in 1..=COUNT {
                assert_eq!(next_data(&mut news).await, offset.to_string());
            }
            client.publish("news", "1").await.unwrap();
        },
    )
    .await;
}

#[tokio::test]
async fn a_close_says_goodbye() {
    scenario(
        |listener| async move {
            let mut peer = Peer::connected(&listener).await;
            assert!(matches!(peer.0.next().await, Some(Ok(Message::Close(_)))));
        },
        |address| async move {
            let client = Client::builder(&address).connect().await.unwrap();
            client.close().await;
            assert!(matches!(client.publish("news", "1").await, Err(Error::Stopped)));
        },
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_is_none_ends_the_connection_for_good() {
    scenario(
        |listener| async move {
            let mut peer = Peer::connected(&listener).await;
            peer.say("[]").await;
            while let Some(Ok(_)) = peer.0.next().await {}
        },
        |address| async move {
            let (_client, mut events) = Client::builder(&address).connect_with_events().await.unwrap();
            while let Some(event) = events.next().await {
                assert!(!matches!(event, fanfare_client::ConnectionEvent::Disconnected { reconnects: true, .. }));
            }
        },
    )
    .await;
}

#[tokio::test]
async fn data_that_would_break_a_frame_is_refused() {
    scenario(
        |listener| async move {
            let mut peer = Peer::connected(&listener).await;
            while let Some(Ok(_)) = peer.0.next().await {}
        },
        |address| async move {
            let client = Client::builder(&address).connect().await.unwrap();
            for data in ["", "hello", "1}\n{"] {
                assert!(matches!(client.publish("news", data).await, Err(Error::NotJson(_))), "{data}");
            }
            assert!(matches!(client.publish("", "1").await, Err(Error::Channel { .. })));
        },
    )
    .await;
}
