//! The Pusher protocol, version 7, in public channels.

use serde::Deserialize;

use super::{Adapter, Heard, Membership, Subscription};
use crate::channels::Channels;
use crate::websocket::{Opcode, write_frame};

/// Speaks the Pusher protocol.
#[derive(Debug)]
pub(crate) struct Pusher;

/// What is read of an event. `data` is a JSON object in some servers' errors, a string of JSON elsewhere.
#[derive(Deserialize)]
struct Event {
    event: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    data: serde_json::Value,
}

impl Pusher {
    fn subscribe(membership: &mut Membership<'_>) {
        for subscription in membership.subscriptions.iter() {
            let channel = membership.channels.name(subscription.channel);
            let command = serde_json::json!({"event": "pusher:subscribe", "data": {"channel": channel}});
            write_frame(Opcode::Text, command.to_string().as_bytes(), membership.out);
        }
    }
}

impl Adapter for Pusher {
    fn path(&self, base: &str, _subscriptions: &[Subscription], _channels: &Channels) -> String {
        let joint = if base.contains('?') { '&' } else { '?' };
        format!("{base}{joint}protocol=7&client=fanfare-bench&version=1.0&flash=false")
    }

    /// The server speaks first.
    fn greet(&self, _membership: &mut Membership<'_>) {}

    fn hear(&self, membership: &mut Membership<'_>, message: &[u8]) -> Heard {
        let Ok(event) = serde_json::from_slice::<Event>(message) else { return Heard::default() };
        match event.event.as_str() {
            "pusher:connection_established" => Self::subscribe(membership),
            "pusher_internal:subscription_succeeded" => {
                let number = membership.channels.number(&event.channel);
                let mut all = membership.subscriptions.iter_mut();
                if let Some(found) = all.find(|subscription| Some(subscription.channel) == number) {
                    found.joined = true;
                }
            }
            "pusher:ping" => write_frame(Opcode::Text, br#"{"event":"pusher:pong","data":{}}"#, membership.out),
            "pusher:error" | "pusher:subscription_error" => return Heard::refused(event.data.to_string()),
            _ => {}
        }
        Heard::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(message: &str) -> (Heard, bool, usize) {
        let channels = Channels::new("bench", 1, 1);
        let (mut subscriptions, mut out) = ([Subscription::new(0)], Vec::new());
        let membership =
            &mut Membership { who: 0, subscriptions: &mut subscriptions, channels: &channels, out: &mut out };
        let heard = Pusher.hear(membership, message.as_bytes());
        (heard, subscriptions[0].joined, out.len())
    }

    #[test]
    fn subscribes_when_the_server_has_spoken_and_joins_when_it_agrees() {
        let (_, joined, said) = heard(r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}"#);
        assert!(!joined && said > 40);
        let (_, joined, said) =
            heard(r#"{"event":"pusher_internal:subscription_succeeded","channel":"bench","data":"{}"}"#);
        assert!(joined && said == 0);
        assert!(heard(r#"{"event":"pusher:ping"}"#).2 > 0);
    }

    #[test]
    fn an_error_is_a_refusal() {
        let (heard, ..) = heard(r#"{"event":"pusher:error","data":{"code":4001,"message":"no such app"}}"#);
        assert!(heard.refused.is_some_and(|why| why.contains("4001")));
    }
}
