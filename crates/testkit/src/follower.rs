//! Follows a channel over many connections and finds everything that is lost, doubled or reordered unnoticed.

use serde_json::{Value, json};

use crate::client::Client;

/// What a client that comes back again and again has seen of a channel whose payloads are their own offsets.
///
/// Its methods panic when the channel does not go on where it stood and nobody said so.
pub struct Follower {
    /// The channel.
    pub channel: String,
    /// The last offset it knows of.
    pub offset: u64,
    epoch: Value,
    /// Whether it has been subscribed at all.
    pub started: bool,
    /// Publications it was told to have missed.
    pub missed: u64,
    /// Publications that it got.
    pub received: u64,
}

impl Follower {
    /// Has seen nothing.
    pub fn new(channel: &str) -> Self {
        Self { channel: channel.to_owned(), offset: 0, epoch: Value::Null, started: false, missed: 0, received: 0 }
    }

    /// How it subscribes: from where it stands.
    pub fn request(&self) -> Value {
        if self.started {
            json!({"channel": self.channel, "recover": true, "offset": self.offset, "epoch": self.epoch})
        } else {
            json!({"channel": self.channel})
        }
    }

    /// Takes a subscribe result. Unless recovery failed, it has to go on where this one stands.
    pub fn subscribed(&mut self, result: &Value) {
        let offset = result["offset"].as_u64().unwrap_or(0);
        if !self.started {
            (self.started, self.offset, self.epoch) = (true, offset, result["epoch"].clone());
            return;
        }
        assert_eq!(result["was_recovering"], true, "{result}");
        assert_eq!(result["epoch"], self.epoch, "the stream goes on: {result}");
        if result["recovered"] == true {
            assert_eq!(offset, self.offset, "{result}");
            for publication in result["publications"].as_array().into_iter().flatten() {
                self.publication(publication);
            }
        } else {
            assert!(offset > self.offset, "not recovered from {} though nothing is missing: {result}", self.offset);
            assert!(result.get("publications").is_none(), "{result}");
            self.missed += offset - self.offset;
            self.offset = offset;
        }
    }

    fn publication(&mut self, publication: &Value) {
        let offset = publication["offset"].as_u64().expect("a channel with history gives offsets");
        assert_eq!(offset, self.offset + 1, "lost, doubled or reordered: {publication}");
        assert_eq!(publication["data"]["n"], offset, "{publication}");
        self.offset = offset;
        self.received += 1;
    }

    /// Takes everything that has come. Returns whether its subscription was ended for want of continuity.
    pub fn take(&mut self, client: &mut Client) -> bool {
        let mut ended = false;
        for unit in client.take_arrived() {
            let value = unit.value;
            if value["connect"].is_object() {
                if let Some(result) = value["connect"]["subs"].get(&self.channel) {
                    self.subscribed(result);
                }
            } else if value["subscribe"].is_object() {
                self.subscribed(&value["subscribe"]);
            } else if value["push"]["channel"] == self.channel.as_str() {
                let push = &value["push"];
                match push["unsubscribe"]["code"].as_u64() {
                    Some(code) => {
                        assert_eq!(code, 2500, "{value}");
                        ended = true;
                    }
                    None if push["pub"].is_object() => self.publication(&push["pub"]),
                    None => assert!(push["join"].is_object() || push["leave"].is_object(), "{value}"),
                }
            } else {
                assert!(
                    value["unsubscribe"].is_object()
                        || [108, 100].map(|code| json!(code)).contains(&value["error"]["code"]),
                    "unexpected: {value}"
                );
            }
        }
        ended
    }
}
