//! What nodes say to each other, as bytes: Protobuf, so that nodes of neighbouring versions understand each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use fanfare_broker::control::{RefreshControl, SubscribeControl, Target};
use fanfare_broker::{Control, NodeReport, StreamPosition};
use fanfare_protocol::{Channel, Disconnect, SubscriptionOverrides, Unsubscribe};

/// What a node asks of all others.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Request {
    /// Goes back with the answer.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// The asking node.
    #[prost(string, tag = "2")]
    pub(crate) from: String,
    /// Carry this out.
    #[prost(message, optional, tag = "3")]
    pub(crate) command: Option<Command>,
    /// Report on yourself.
    #[prost(bool, tag = "4")]
    pub(crate) report: bool,
    /// List your channels.
    #[prost(message, optional, tag = "5")]
    pub(crate) list: Option<List>,
    /// Judge by this.
    #[prost(message, optional, tag = "6")]
    pub(crate) revocation: Option<RevocationChange>,
}

/// What was changed of the revocations.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RevocationChange {
    /// Which life of the set.
    #[prost(string, tag = "1")]
    pub(crate) life: String,
    /// Its version after this.
    #[prost(uint64, tag = "2")]
    pub(crate) version: u64,
    /// The field in Redis.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) field: Bytes,
    /// What stands there now; empty if it was taken back.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) value: Bytes,
}

/// Which channels to list.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct List {
    #[prost(string, optional, tag = "1")]
    pub(crate) pattern: Option<String>,
}

/// What a node answers. A long list comes in several.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// The answering node.
    #[prost(string, tag = "2")]
    pub(crate) from: String,
    /// It could not be carried out.
    #[prost(bool, tag = "3")]
    pub(crate) failed: bool,
    /// More of this answer follows.
    #[prost(bool, tag = "4")]
    pub(crate) more: bool,
    #[prost(message, optional, tag = "5")]
    pub(crate) report: Option<Report>,
    #[prost(btree_map = "string, uint64", tag = "6")]
    pub(crate) channels: BTreeMap<String, u64>,
}

/// A node's report.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Report {
    #[prost(string, tag = "1")]
    uid: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    version: String,
    #[prost(uint64, tag = "4")]
    clients: u64,
    #[prost(uint64, tag = "5")]
    users: u64,
    #[prost(uint64, tag = "6")]
    subscriptions: u64,
    #[prost(uint64, tag = "7")]
    channels: u64,
    #[prost(uint64, tag = "8")]
    uptime_seconds: u64,
}

/// A command to sessions: a target and one of the others.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Command {
    #[prost(string, optional, tag = "1")]
    user: Option<String>,
    #[prost(string, optional, tag = "2")]
    client: Option<String>,
    #[prost(string, optional, tag = "3")]
    session: Option<String>,
    #[prost(message, optional, tag = "4")]
    subscribe: Option<Subscribe>,
    #[prost(message, optional, tag = "5")]
    unsubscribe: Option<End>,
    #[prost(message, optional, tag = "6")]
    disconnect: Option<End>,
    #[prost(message, optional, tag = "7")]
    refresh: Option<Refresh>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Subscribe {
    #[prost(string, tag = "1")]
    channel: String,
    #[prost(bytes = "bytes", tag = "2")]
    info: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    data: Bytes,
    #[prost(uint64, optional, tag = "4")]
    expire_at: Option<u64>,
    #[prost(message, optional, tag = "5")]
    since: Option<Position>,
    #[prost(message, optional, tag = "6")]
    overrides: Option<Overrides>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Position {
    #[prost(uint64, tag = "1")]
    offset: u64,
    #[prost(string, tag = "2")]
    epoch: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Overrides {
    #[prost(bool, optional, tag = "1")]
    presence: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    join_leave: Option<bool>,
    #[prost(bool, optional, tag = "3")]
    force_push_join_leave: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    force_positioning: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    force_recovery: Option<bool>,
}

/// The end of a subscription, or of a connection.
#[derive(Clone, PartialEq, prost::Message)]
struct End {
    #[prost(string, tag = "1")]
    channel: String,
    #[prost(uint32, tag = "2")]
    code: u32,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(string, repeated, tag = "4")]
    except: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Refresh {
    #[prost(bool, tag = "1")]
    expired: bool,
    #[prost(uint64, optional, tag = "2")]
    expire_at: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    info: Option<Bytes>,
}

impl From<&Control> for Command {
    fn from(control: &Control) -> Self {
        match control {
            Control::Subscribe(target, subscribe) => {
                Self { subscribe: Some(subscribe.as_ref().into()), ..Self::to(target) }
            }
            Control::Unsubscribe(target, channel, Unsubscribe { code, reason }) => {
                let end =
                    End { channel: channel.to_string(), code: *code, reason: reason.to_string(), except: Vec::new() };
                Self { unsubscribe: Some(end), ..Self::to(target) }
            }
            Control::Disconnect(target, Disconnect { code, reason }, except) => {
                let end = End {
                    channel: String::new(),
                    code: u32::from(*code),
                    reason: reason.to_string(),
                    except: except.clone(),
                };
                Self { disconnect: Some(end), ..Self::to(target) }
            }
            Control::Refresh(target, RefreshControl { expired, expire_at, info }) => {
                let refresh = Refresh { expired: *expired, expire_at: *expire_at, info: info.clone() };
                Self { refresh: Some(refresh), ..Self::to(target) }
            }
        }
    }
}

impl Command {
    fn to(target: &Target) -> Self {
        let Target { user, client, session } = target.clone();
        Self { user, client, session, ..Self::default() }
    }

    /// The command, unless it is none that this version knows.
    pub(crate) fn into_control(self) -> Option<Control> {
        let target = Target { user: self.user, client: self.client, session: self.session };
        if let Some(subscribe) = self.subscribe {
            return Some(Control::Subscribe(target, Box::new(subscribe.into_control()?)));
        }
        if let Some(end) = self.unsubscribe {
            let unsubscribe = Unsubscribe { code: end.code, reason: end.reason.into() };
            return Some(Control::Unsubscribe(target, Channel::parse(&end.channel).ok()?, unsubscribe));
        }
        if let Some(end) = self.disconnect {
            let disconnect = Disconnect { code: u16::try_from(end.code).ok()?, reason: end.reason.into() };
            return Some(Control::Disconnect(target, disconnect, end.except));
        }
        let Refresh { expired, expire_at, info } = self.refresh?;
        Some(Control::Refresh(target, RefreshControl { expired, expire_at, info }))
    }
}

impl From<&SubscribeControl> for Subscribe {
    fn from(control: &SubscribeControl) -> Self {
        let since = control.recover_since.as_ref();
        let SubscriptionOverrides { presence, join_leave, force_push_join_leave, force_positioning, force_recovery } =
            control.overrides;
        Self {
            channel: control.channel.to_string(),
            info: control.info.clone(),
            data: control.data.clone(),
            expire_at: control.expire_at,
            since: since.map(|since| Position { offset: since.offset, epoch: since.epoch.to_string() }),
            overrides: Some(Overrides {
                presence,
                join_leave,
                force_push_join_leave,
                force_positioning,
                force_recovery,
            }),
        }
    }
}

impl Subscribe {
    fn into_control(self) -> Option<SubscribeControl> {
        let overrides = self.overrides.unwrap_or_default();
        Some(SubscribeControl {
            channel: Channel::parse(&self.channel).ok()?,
            info: self.info,
            data: self.data,
            expire_at: self.expire_at,
            recover_since: self.since.map(|since| StreamPosition { offset: since.offset, epoch: since.epoch.into() }),
            overrides: SubscriptionOverrides {
                presence: overrides.presence,
                join_leave: overrides.join_leave,
                force_push_join_leave: overrides.force_push_join_leave,
                force_positioning: overrides.force_positioning,
                force_recovery: overrides.force_recovery,
            },
        })
    }
}

impl From<NodeReport> for Report {
    fn from(report: NodeReport) -> Self {
        let NodeReport { uid, name, version, clients, users, subscriptions, channels, uptime_seconds } = report;
        Self { uid, name, version, clients, users, subscriptions, channels, uptime_seconds }
    }
}

impl From<Report> for NodeReport {
    fn from(report: Report) -> Self {
        let Report { uid, name, version, clients, users, subscriptions, channels, uptime_seconds } = report;
        Self { uid, name, version, clients, users, subscriptions, channels, uptime_seconds }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// Whether a command means the same at another node.
    fn check(control: &Control) {
        let bytes = Command::from(control).encode_to_vec();
        let there = Command::decode(&bytes[..]).unwrap().into_control().unwrap();
        assert_eq!(format!("{there:?}"), format!("{control:?}"));
    }

    #[test]
    fn commands_mean_the_same_at_another_node() {
        let target = Target { user: Some(String::new()), client: Some("c".to_owned()), session: None };
        let channel = Channel::parse("news").unwrap();
        check(&Control::Unsubscribe(target.clone(), channel.clone(), Unsubscribe::SERVER));
        check(&Control::Disconnect(target.clone(), Disconnect::STALE, vec!["c1".to_owned()]));
        let info = Some(Bytes::from_static(b"{}"));
        check(&Control::Refresh(target.clone(), RefreshControl { expired: true, expire_at: Some(7), info }));
        check(&Control::Refresh(target.clone(), RefreshControl::default()));
        let subscribe = SubscribeControl {
            channel,
            info: Bytes::from_static(b"1"),
            data: Bytes::new(),
            expire_at: None,
            recover_since: Some(StreamPosition { offset: 3, epoch: "e".into() }),
            overrides: SubscriptionOverrides { join_leave: Some(false), ..SubscriptionOverrides::default() },
        };
        check(&Control::Subscribe(target, Box::new(subscribe)));
    }

    #[test]
    fn a_command_of_a_later_version_is_none() {
        assert!(Command::default().into_control().is_none());
        let bad = Command { unsubscribe: Some(End::default()), ..Command::default() };
        assert!(bad.into_control().is_none());
    }
}
