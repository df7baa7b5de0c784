//! The Centrifuge client protocol v2: Fanfare, Centrifugo.

mod offsets;

use super::{Adapter, Heard, Membership, Position, Subscription};
use crate::channels::Channels;
use crate::websocket::{Opcode, write_frame};
use fanfare_protocol::{
    Command, ConnectRequest, Encoding, Reply, SubscribeRequest, SubscribeResult, UnsubscribeRequest,
};

/// The id of the connect command; subscriptions have those after it, in their order.
const CONNECT: u32 = 1;
/// Added to the id of a subscription when it is ended.
const UNSUBSCRIBE: u32 = 1 << 20;

/// Makes the connection token of a user.
pub type Tokens = std::sync::Arc<dyn Fn(usize) -> String + Send + Sync>;

/// Speaks the Centrifuge client protocol.
pub(crate) struct Fanfare {
    pub(crate) encoding: Encoding,
    pub(crate) tokens: Option<Tokens>,
    /// Whether to follow positions and recover by them.
    pub(crate) recovers: bool,
}

impl std::fmt::Debug for Fanfare {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Fanfare").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

impl Fanfare {
    fn say(&self, command: &Command, out: &mut Vec<u8>) {
        let mut unit = Vec::new();
        self.encoding.encode_command(command, &mut unit);
        write_frame(self.opcode(), &unit, out);
    }

    fn opcode(&self) -> Opcode {
        match self.encoding {
            Encoding::Json => Opcode::Text,
            Encoding::Protobuf => Opcode::Binary,
        }
    }

    fn subscribe(&self, membership: &mut Membership<'_>, at: usize) {
        let subscription = &membership.subscriptions[at];
        let mut request = SubscribeRequest {
            channel: membership.channels.name(subscription.channel),
            positioned: self.recovers,
            recoverable: self.recovers,
            ..SubscribeRequest::default()
        };
        if let Some(position) = subscription.position.as_ref().filter(|_| self.recovers) {
            request.recover = true;
            request.offset = position.offset;
            request.epoch = position.epoch.to_string();
        }
        let command = Command { id: CONNECT + 1 + at as u32, subscribe: Some(request), ..Command::default() };
        self.say(&command, membership.out);
    }

    fn hear_reply(&self, membership: &mut Membership<'_>, reply: Reply, heard: &mut Heard) {
        if let Some(error) = reply.error {
            *heard = Heard::refused(format!("error {}: {}", error.code, error.message));
        } else if reply.connect.is_some() {
            (0..membership.subscriptions.len()).for_each(|at| self.subscribe(membership, at));
        } else if let Some(result) = reply.subscribe {
            self.joined(membership, reply.id, result, heard);
        } else if reply.unsubscribe.is_some() {
            self.left(membership, reply.id);
        } else if let Some(push) = reply.push {
            if let Some(position) = push.publication.as_ref() {
                self.moved(membership, &push.channel, position.offset);
            }
            if let Some(end) = push.unsubscribe {
                self.ended(membership, &push.channel, end.code, heard);
            }
        } else if reply.id == 0 {
            write_frame(self.opcode(), self.pong(), membership.out);
        }
    }

    /// An empty message, with its length in front in Protobuf.
    fn pong(&self) -> &'static [u8] {
        match self.encoding {
            Encoding::Json => b"{}",
            Encoding::Protobuf => b"\0",
        }
    }

    fn joined(&self, membership: &mut Membership<'_>, id: u32, result: SubscribeResult, heard: &mut Heard) {
        let at = (id as usize).checked_sub(CONNECT as usize + 1);
        let Some(subscription) = at.and_then(|at| membership.subscriptions.get_mut(at)) else { return };
        if subscription.position.is_some() && self.recovers && !result.recovered {
            heard.told_losses += 1;
        }
        heard.rejoined += u32::from(subscription.rejoining);
        (subscription.joined, subscription.rejoining) = (true, false);
        let offset = result.publications.last().map_or(result.offset, |last| last.offset.max(result.offset));
        // A server may give positions that nobody asked for.
        subscription.position =
            (self.recovers && result.positioned).then(|| Position { offset, epoch: result.epoch.into() });
    }

    /// A subscription was ended on request, and is begun again. Not before: what is on its way until then moves the
    /// position, and would come twice.
    fn left(&self, membership: &mut Membership<'_>, id: u32) {
        let at = id.checked_sub(UNSUBSCRIBE).map(|at| at as usize);
        if let Some(at) = at.filter(|at| *at < membership.subscriptions.len()) {
            let subscription = &mut membership.subscriptions[at];
            subscription.joined = false;
            if subscription.position.is_none() {
                subscription.tally.part();
            }
            self.subscribe(membership, at);
        }
    }

    fn moved(&self, membership: &mut Membership<'_>, channel: &str, offset: u64) {
        let number = membership.channels.number(channel);
        let found = membership.subscriptions.iter_mut().find(|subscription| Some(subscription.channel) == number);
        if let Some(position) = found.and_then(|subscription| subscription.position.as_mut()) {
            position.offset = position.offset.max(offset);
        }
    }

    /// Takes the position of a publication, also where its fields are in an order of their own.
    fn follow_json(&self, membership: &mut Membership<'_>, unit: &[u8]) {
        if let Some((channel, offset)) = offsets::of_json(unit) {
            return self.moved(membership, channel, offset);
        }
        for push in self.encoding.decode_replies(unit).flatten().filter_map(|reply| reply.push) {
            if let Some(publication) = &push.publication {
                self.moved(membership, &push.channel, publication.offset);
            }
        }
    }

    /// The server ended a subscription. From 2500 on a client comes back by itself.
    fn ended(&self, membership: &mut Membership<'_>, channel: &str, code: u32, heard: &mut Heard) {
        let number = membership.channels.number(channel);
        let found = membership.subscriptions.iter().position(|subscription| Some(subscription.channel) == number);
        let Some(at) = found else { return };
        if code < 2_500 {
            *heard = Heard::refused(format!("the server ended a subscription with {code}"));
            return;
        }
        membership.subscriptions[at].joined = false;
        self.subscribe(membership, at);
    }
}

impl Adapter for Fanfare {
    fn path(&self, base: &str, _subscriptions: &[Subscription], _channels: &Channels) -> String {
        base.to_owned()
    }

    fn headers(&self) -> &'static str {
        match self.encoding {
            Encoding::Json => "",
            Encoding::Protobuf => "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n",
        }
    }

    fn greet(&self, membership: &mut Membership<'_>) {
        let token = self.tokens.as_ref().map(|make| make(membership.who)).unwrap_or_default();
        let request = ConnectRequest { token, name: "fanfare bench".to_owned(), ..ConnectRequest::default() };
        self.say(&Command { id: CONNECT, connect: Some(request), ..Command::default() }, membership.out);
    }

    fn hear(&self, membership: &mut Membership<'_>, message: &[u8]) -> Heard {
        let mut heard = Heard::default();
        for reply in self.encoding.decode_replies(message) {
            match reply {
                Ok(reply) => self.hear_reply(membership, reply, &mut heard),
                Err(error) => return Heard::refused(format!("the server's reply cannot be read: {error}")),
            }
        }
        heard
    }

    fn asks(&self, message: &[u8]) -> bool {
        match self.encoding {
            Encoding::Json => {
                memchr::memchr(b'\n', message).is_some()
                    && message
                        .split(|byte| *byte == b'\n')
                        .any(|unit| !(unit.is_empty() || offsets::is_publication_in_json(unit)))
            }
            Encoding::Protobuf => offsets::units(message).any(|unit| !offsets::is_publication_in_protobuf(unit)),
        }
    }

    fn follow(&self, subscriptions: &mut [Subscription], channels: &Channels, message: &[u8]) {
        if !self.recovers || subscriptions.iter().all(|subscription| subscription.position.is_none()) {
            return;
        }
        if self.encoding == Encoding::Json && subscriptions.len() == 1 {
            let Some(offset) = offsets::last_of_json(message) else { return };
            if let Some(position) = subscriptions.first_mut().and_then(|only| only.position.as_mut()) {
                position.offset = position.offset.max(offset);
            }
            return;
        }
        let membership = &mut Membership { who: 0, subscriptions, channels, out: &mut Vec::new() };
        match self.encoding {
            Encoding::Json => message.split(|byte| *byte == b'\n').for_each(|unit| self.follow_json(membership, unit)),
            Encoding::Protobuf => {
                for (channel, offset) in offsets::units(message).filter_map(offsets::of_protobuf) {
                    self.moved(membership, channel, offset);
                }
            }
        }
    }

    fn rejoin(&self, membership: &mut Membership<'_>, at: usize) -> bool {
        let subscription = &mut membership.subscriptions[at];
        if std::mem::replace(&mut subscription.rejoining, true) {
            // A slow server has not got there yet. A second time it would be asked to subscribe twice, and refuse.
            return true;
        }
        let channel = membership.channels.name(subscription.channel);
        let unsubscribe = Some(UnsubscribeRequest { channel });
        let id = UNSUBSCRIBE + at as u32;
        self.say(&Command { id, unsubscribe, ..Command::default() }, membership.out);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::first_frame;

    struct Client {
        adapter: Fanfare,
        channels: Channels,
        subscriptions: Vec<Subscription>,
        out: Vec<u8>,
    }

    impl Client {
        fn new(encoding: Encoding, recovers: bool) -> Self {
            let channels = Channels::new("bench", 2, 2);
            let subscriptions = channels.of(0).map(Subscription::new).collect();
            Self { adapter: Fanfare { encoding, tokens: None, recovers }, channels, subscriptions, out: Vec::new() }
        }

        fn hear(&mut self, message: &[u8]) -> Heard {
            let (channels, out) = (&self.channels, &mut self.out);
            let membership = &mut Membership { who: 0, subscriptions: &mut self.subscriptions, channels, out };
            self.adapter.hear(membership, message)
        }

        /// What was said since the last look, unmasked.
        fn said(&mut self) -> String {
            let mut said = String::new();
            let mut bytes = std::mem::take(&mut self.out);
            while !bytes.is_empty() {
                bytes[1] &= 0x7f;
                let frame = first_frame(&bytes).unwrap_or_default();
                let header = frame.map_or(2, |frame| frame.payload.start);
                let length =
                    if bytes[1] == 126 { usize::from(bytes[2]) << 8 | usize::from(bytes[3]) } else { bytes[1].into() };
                let mask: Vec<u8> = bytes[header..header + 4].to_vec();
                let payload = bytes[header + 4..header + 4 + length].iter().zip(mask.iter().cycle());
                said.extend(payload.map(|(byte, mask)| char::from(byte ^ mask)));
                said.push(' ');
                bytes.drain(..header + 4 + length);
            }
            said
        }
    }

    #[test]
    fn subscribes_after_the_connect_and_is_whole_after_all_replies() {
        let mut client = Client::new(Encoding::Json, true);
        assert_eq!(client.hear(br#"{"id":1,"connect":{"client":"c"}}"#), Heard::default());
        let said = client.said();
        assert!(said.contains(r#""channel":"bench-0""#) && said.contains(r#""channel":"bench-1""#), "{said}");
        client.hear(br#"{"id":2,"subscribe":{"positioned":true,"epoch":"e","offset":4}}"#);
        assert!(!client.subscriptions[1].joined);
        client.hear(br#"{"id":3,"subscribe":{}}"#);
        assert!(client.subscriptions.iter().all(|subscription| subscription.joined));
        assert_eq!(client.subscriptions[0].position, Some(Position { offset: 4, epoch: "e".into() }));
        assert_eq!(client.subscriptions[1].position, None);
    }

    #[test]
    fn follows_the_position_and_recovers_from_it() {
        let mut client = Client::new(Encoding::Json, true);
        client.hear(br#"{"id":2,"subscribe":{"positioned":true,"epoch":"e","offset":4}}"#);
        let push = br#"{"push":{"channel":"bench-0","pub":{"data":{"x":1},"offset":5}}}"#;
        client.adapter.follow(&mut client.subscriptions, &client.channels, push);
        client.hear(br#"{"push":{"channel":"bench-0","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#);
        let said = client.said();
        assert!(said.contains(r#""offset":5"#) && said.contains(r#""recover":true"#), "{said}");
        assert!(!client.subscriptions[0].joined);
        assert_eq!(client.hear(br#"{"id":2,"subscribe":{"positioned":true,"epoch":"f"}}"#).told_losses, 1);
    }

    #[test]
    fn follows_the_position_of_each_of_several_channels() {
        let mut client = Client::new(Encoding::Json, true);
        for id in [2, 3] {
            let reply = format!(r#"{{"id":{id},"subscribe":{{"positioned":true,"epoch":"e","offset":4}}}}"#);
            client.hear(reply.as_bytes());
        }
        let pushes = br#"{"push":{"channel":"bench-1","pub":{"data":{},"offset":6}}}
{"push":{"pub":{"data":{},"offset":9},"channel":"bench-0"}}"#;
        client.adapter.follow(&mut client.subscriptions, &client.channels, pushes);
        let offsets: Vec<_> =
            client.subscriptions.iter().map(|subscription| subscription.position.as_ref().unwrap().offset).collect();
        assert_eq!(offsets, [9, 6]);
    }

    #[test]
    fn defect_who_was_still_away_was_sent_away_again() {
        let mut client = Client::new(Encoding::Json, true);
        let rejoin = |client: &mut Client| {
            let (channels, out) = (&client.channels, &mut client.out);
            let membership = &mut Membership { who: 0, subscriptions: &mut client.subscriptions, channels, out };
            assert!(client.adapter.rejoin(membership, 0));
            client.said().matches("unsubscribe").count()
        };
        client.hear(br#"{"id":2,"subscribe":{"positioned":true,"epoch":"e","offset":4}}"#);
        assert_eq!([rejoin(&mut client), rejoin(&mut client)], [1, 0]);
        client.hear(br#"{"id":1048576,"unsubscribe":{}}"#);
        let back = client.hear(br#"{"id":2,"subscribe":{"positioned":true,"recovered":true,"epoch":"e","offset":4}}"#);
        assert_eq!((back.rejoined, rejoin(&mut client)), (1, 1));
    }

    #[test]
    fn answers_pings_also_among_publications() {
        let mut client = Client::new(Encoding::Json, true);
        client.hear(b"{}");
        assert_eq!(client.said(), "{} ");
        let publication = r#"{"push":{"channel":"bench-0","pub":{"data":{}}}}"#;
        assert!(client.adapter.asks(format!("{publication}\n{{}}").as_bytes()));
        assert!(!client.adapter.asks(format!("{publication}\n{publication}\n").as_bytes()));
        let client = Client::new(Encoding::Protobuf, true);
        // A push with a publication without fields.
        let publication = [4, 4 << 3 | 2, 2, 4 << 3 | 2, 0];
        assert!(client.adapter.asks(&[&publication[..], &[0], &publication].concat()));
        assert!(!client.adapter.asks(&publication.repeat(2)));
    }

    #[test]
    fn defect_the_end_of_a_subscription_was_not_heard_among_publications() {
        let mut client = Client::new(Encoding::Json, true);
        client.hear(br#"{"id":2,"subscribe":{"positioned":true,"epoch":"e","offset":4}}"#);
        let message = br#"{"push":{"channel":"bench-0","pub":{"data":{},"offset":5}}}
{"push":{"channel":"bench-0","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#;
        assert!(client.adapter.asks(message));
        client.adapter.follow(&mut client.subscriptions, &client.channels, message);
        client.hear(message);
        assert!(client.said().contains(r#""offset":5"#) && !client.subscriptions[0].joined);
    }

    #[test]
    fn a_refusal_says_why() {
        let refused =
            Client::new(Encoding::Json, true).hear(br#"{"id":1,"error":{"code":103,"message":"permission denied"}}"#);
        assert_eq!(refused.refused.as_deref(), Some("error 103: permission denied"));
        assert!(Client::new(Encoding::Json, true).hear(b"{nonsense").refused.is_some());
    }
}
