//! Requests as they come in: one struct per method, every field optional, unknown fields refused.
//!
//! `null` counts as absent, but for `data`, where it is a payload. What a field means, and which are needed,
//! is judged in [`crate::operations`].

mod parse;

use std::collections::BTreeMap;

use fanfare_protocol::SubscriptionOverrides;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

#[cfg(test)]
pub(crate) use parse::fields;
pub(crate) use parse::{body_text, parse};

/// A publication to one channel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publish<'a> {
    pub(crate) channel: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    b64data: Option<String>,
    skip_history: Option<bool>,
    tags: Option<BTreeMap<String, String>>,
    idempotency_key: Option<String>,
    delta: Option<bool>,
    version: Option<u64>,
    version_epoch: Option<String>,
}

/// One publication to many channels.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Broadcast<'a> {
    pub(crate) channels: Option<Vec<String>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    b64data: Option<String>,
    skip_history: Option<bool>,
    tags: Option<BTreeMap<String, String>>,
    idempotency_key: Option<String>,
    delta: Option<bool>,
    version: Option<u64>,
    version_epoch: Option<String>,
}

/// What [`Publish`] and [`Broadcast`] have in common.
#[derive(Debug, Default)]
pub(crate) struct Content<'a> {
    pub(crate) data: Option<&'a RawValue>,
    pub(crate) b64data: Option<String>,
    pub(crate) skip_history: bool,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) version: u64,
    pub(crate) version_epoch: String,
}

/// Both have the same fields, which serde cannot share: `flatten` loses raw values and unknown fields.
macro_rules! content {
    ($request:ident) => {
        impl<'a> $request<'a> {
            pub(crate) fn content(self) -> Content<'a> {
                // Deltas are encoded for the subscribers that ask for them; a publisher's wish changes nothing.
                let _ = self.delta;
                Content {
                    data: self.data,
                    b64data: self.b64data,
                    skip_history: self.skip_history.unwrap_or_default(),
                    tags: self.tags.unwrap_or_default(),
                    idempotency_key: self.idempotency_key,
                    version: self.version.unwrap_or_default(),
                    version_epoch: self.version_epoch.unwrap_or_default(),
                }
            }
        }
    };
}
content!(Publish);
content!(Broadcast);

/// A server-side subscription.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscribe<'a> {
    pub(crate) user: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) session: Option<String>,
    #[serde(borrow)]
    pub(crate) info: Option<&'a RawValue>,
    pub(crate) b64info: Option<String>,
    #[serde(borrow)]
    pub(crate) data: Option<&'a RawValue>,
    pub(crate) b64data: Option<String>,
    pub(crate) expire_at: Option<u64>,
    pub(crate) recover_since: Option<Position>,
    #[serde(rename = "override")]
    pub(crate) overrides: Option<Overrides>,
}

/// The end of subscriptions to one channel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unsubscribe {
    pub(crate) user: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) session: Option<String>,
}

/// The end of connections.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disconnect {
    pub(crate) user: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) whitelist: Option<Vec<String>>,
    pub(crate) disconnect: Option<CloseCode>,
}

/// What clients are told when they are disconnected.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseCode {
    pub(crate) code: Option<u32>,
    pub(crate) reason: Option<String>,
}

/// A new expiry of connections.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh<'a> {
    pub(crate) user: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) expired: Option<bool>,
    pub(crate) expire_at: Option<u64>,
    #[serde(borrow)]
    pub(crate) info: Option<&'a RawValue>,
}

/// A question about one channel: presence, presence_stats, history_remove.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfChannel {
    pub(crate) channel: Option<String>,
}

/// A part of a channel's history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    pub(crate) channel: Option<String>,
    pub(crate) limit: Option<i64>,
    pub(crate) since: Option<Position>,
    pub(crate) reverse: Option<bool>,
}

/// A place in a stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    pub(crate) offset: Option<u64>,
    pub(crate) epoch: Option<String>,
}

/// Channels by pattern.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Channels {
    pub(crate) pattern: Option<String>,
}

/// Nothing: `{}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Info {}

/// A user who is to be kept out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockUser {
    pub(crate) user: Option<String>,
    pub(crate) expire_at: Option<u64>,
}

/// A user who is to be let in again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnblockUser {
    pub(crate) user: Option<String>,
}

/// A token that is good no more, by its id.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeToken {
    pub(crate) uid: Option<String>,
    pub(crate) expire_at: Option<u64>,
}

/// Tokens that are good no more, by their age.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvalidateUserTokens {
    pub(crate) user: Option<String>,
    pub(crate) all_users: Option<bool>,
    pub(crate) channel: Option<String>,
    pub(crate) issued_before: Option<u64>,
    pub(crate) expire_at: Option<u64>,
}

/// Which revocations are to be listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revocations {
    pub(crate) kind: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) limit: Option<usize>,
}

/// A revocation that is to hold no more, as it is listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevocationRemove {
    pub(crate) kind: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) uid: Option<String>,
    pub(crate) channel: Option<String>,
}

/// Several commands, each an object with the method as its only key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    pub(crate) commands: Option<Vec<Box<RawValue>>>,
    pub(crate) parallel: Option<bool>,
}

/// Options of one subscription, as in tokens, but unknown ones are refused here.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overrides {
    presence: Option<Override>,
    join_leave: Option<Override>,
    force_push_join_leave: Option<Override>,
    force_positioning: Option<Override>,
    force_recovery: Option<Override>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Override {
    #[serde(default)]
    value: bool,
}

impl From<Overrides> for SubscriptionOverrides {
    fn from(given: Overrides) -> Self {
        let value = |given: Option<Override>| given.map(|given| given.value);
        Self {
            presence: value(given.presence),
            join_leave: value(given.join_leave),
            force_push_join_leave: value(given.force_push_join_leave),
            force_positioning: value(given.force_positioning),
            force_recovery: value(given.force_recovery),
        }
    }
}

/// A field where `null` is a value.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}
