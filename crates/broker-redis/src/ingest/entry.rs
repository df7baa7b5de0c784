//! What an entry of the ingest stream says, and whether it can be published.
//!
//! ```text
//! channel        the channel
//! data           the payload: JSON
//! b64data        the payload in base64, in place of data
//! key            an idempotency key
//! tags           an object of texts, as JSON
//! version        a number above 0; version_epoch beside it
//! skip_history   true or false
//! ```
//!
//! Anybody who may write to Redis may have written it: it is judged like a request to the server API.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fanfare_broker::namespaces::Namespaces;
use fanfare_broker::{Error, Publish, Version};
use fanfare_protocol::{Channel, PayloadLimits, payload};

use super::age;
use crate::limits::{ENTRY_AGE_MAX, ENTRY_AHEAD_MAX, ENTRY_NAME_BYTES_MAX, ENTRY_TAGS_BYTES_MAX};

/// An entry's id: the time when Redis took it, and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Id {
    /// Unix time.
    pub(super) millis: u64,
    sequence: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (millis, sequence) = text.split_once('-').ok_or(())?;
        Ok(Self { millis: millis.parse().map_err(drop)?, sequence: sequence.parse().map_err(drop)? })
    }
}

/// An entry as it was read.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) id: Id,
    /// Names and values; none where there is too much of them.
    pub(super) fields: Vec<(Bytes, Bytes)>,
    /// What the fields have together, as far as they were read.
    pub(super) bytes: usize,
    /// There is more than is read of one entry.
    pub(super) too_large: bool,
    /// What is wrong with it, where that was found when it was read. It is not looked for again: an entry of the
    /// future would become one of the present, out of its turn.
    pub(super) poison: Option<Poison>,
}

/// Why an entry is not published.
#[derive(Debug, PartialEq)]
pub(super) struct Poison {
    pub(super) kind: Kind,
    /// For whoever looks at the dead-letter stream.
    pub(super) reason: String,
}

/// Kinds of poison, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A field is missing, unknown, doubled or malformed.
    Field,
    /// The channel has no possible name, or an unknown namespace.
    Channel,
    /// The payload is over a limit, or none.
    Data,
    /// More than is read.
    TooLarge,
    /// Too old, or from the future.
    Time,
    /// The broker will never take it.
    Refused,
}

impl Kind {
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Field, "field"),
        (Self::Channel, "channel"),
        (Self::Data, "data"),
        (Self::TooLarge, "too_large"),
        (Self::Time, "time"),
        (Self::Refused, "refused"),
    ];

    pub(crate) fn label(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl Poison {
    fn new(kind: Kind, reason: impl fmt::Display) -> Self {
        Self { kind, reason: reason.to_string() }
    }

    pub(super) fn refused(error: &Error) -> Self {
        Self::new(Kind::Refused, error)
    }
}

/// What an entry is judged by.
pub(super) struct Judge<'a> {
    pub(super) namespaces: &'a Namespaces,
    pub(super) channel_bytes_max: usize,
    pub(super) payload: &'a PayloadLimits,
    /// By Redis's clock.
    pub(super) now_millis: u64,
}

impl Judge<'_> {
    /// What the entry asks for.
    pub(super) fn judge(&self, entry: &Entry) -> Result<(Channel, Publish), Poison> {
        self.check_time(entry.id)?;
        if entry.too_large {
            return Err(Poison::new(Kind::TooLarge, "the entry has more, or larger, fields than any can have"));
        }
        let fields = Fields::read(&entry.fields)?;
        let (channel, retention) = self.channel(fields.channel)?;
        let (data, json) = self.payload(&fields)?;
        let publish = Publish {
            data,
            json,
            retention,
            tags: fields.tags.map(tags).transpose()?.unwrap_or_default(),
            skip_history: fields.skip_history.map(switch).transpose()?.unwrap_or_default(),
            idempotency_key: fields.key.map(|key| name("key", key)).transpose()?.flatten(),
            version: version(&fields)?,
            info: None,
        };
        Ok((channel, publish))
    }

    fn check_time(&self, id: Id) -> Result<(), Poison> {
        if age(self.now_millis, id) > ENTRY_AGE_MAX {
            let hours = ENTRY_AGE_MAX.as_secs() / 3600;
            return Err(Poison::new(
                Kind::Time,
                format!("by its id the entry has been waiting for over {hours} hours"),
            ));
        }
        let ahead = u64::try_from(ENTRY_AHEAD_MAX.as_millis()).unwrap_or(u64::MAX);
        if id.millis > self.now_millis.saturating_add(ahead) {
            return Err(Poison::new(Kind::Time, "by its id the entry is of the future; let Redis give the id, with *"));
        }
        Ok(())
    }

    fn channel(&self, name: Option<&str>) -> Result<(Channel, Option<fanfare_broker::Retention>), Poison> {
        let poison = |reason: &dyn fmt::Display| Poison::new(Kind::Channel, reason);
        let name = name.ok_or_else(|| Poison::new(Kind::Field, "the field channel is missing"))?;
        if name.len() > self.channel_bytes_max {
            return Err(poison(&format!(
                "the channel's name has {} bytes, more than limits.channel_bytes_max",
                name.len()
            )));
        }
        let channel = Channel::parse(name).map_err(|error| poison(&error))?;
        match self.namespaces.options(&channel) {
            Some(options) => Ok((channel, options.retention)),
            None => Err(poison(&"the channel's namespace is not configured")),
        }
    }

    fn payload(&self, fields: &Fields<'_>) -> Result<(Bytes, bool), Poison> {
        let poison = |reason: &dyn fmt::Display| Poison::new(Kind::Data, reason);
        let (data, may_be_other) = match (fields.data, fields.b64data) {
            (Some(data), None) => (data.clone(), false),
            (None, Some(text)) => (STANDARD.decode(text).map_err(|error| poison(&error))?.into(), true),
            _ => return Err(Poison::new(Kind::Field, "the entry needs one of the fields data and b64data")),
        };
        match payload::inspect(&data, self.payload) {
            Ok(json) if json || may_be_other => Ok((data, json)),
            Ok(_) => Err(poison(&"data is not JSON; what is not goes into b64data")),
            Err(error) => Err(poison(&error)),
        }
    }
}

/// The fields of an entry, each at most once.
#[derive(Default)]
struct Fields<'a> {
    channel: Option<&'a str>,
    data: Option<&'a Bytes>,
    b64data: Option<&'a str>,
    key: Option<&'a str>,
    tags: Option<&'a str>,
    version: Option<&'a str>,
    version_epoch: Option<&'a str>,
    skip_history: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn read(pairs: &'a [(Bytes, Bytes)]) -> Result<Self, Poison> {
        let mut fields = Self::default();
        for (name, value) in pairs {
            let shown = || shorten(&String::from_utf8_lossy(name));
            let fault = |what: &str| Poison::new(Kind::Field, format!("the field {:?} {what}", shown()));
            let text = std::str::from_utf8(value).map_err(|_| fault("is not UTF-8"));
            let before = match &name[..] {
                b"data" => fields.data.replace(value).is_some(),
                b"channel" => fields.channel.replace(text?).is_some(),
                b"b64data" => fields.b64data.replace(text?).is_some(),
                b"key" => fields.key.replace(text?).is_some(),
                b"tags" => fields.tags.replace(text?).is_some(),
                b"version" => fields.version.replace(text?).is_some(),
                b"version_epoch" => fields.version_epoch.replace(text?).is_some(),
                b"skip_history" => fields.skip_history.replace(text?).is_some(),
                _ => return Err(fault("is unknown")),
            };
            if before {
                return Err(fault("is there twice"));
            }
        }
        Ok(fields)
    }
}

/// A name in a message: enough to find it.
fn shorten(name: &str) -> String {
    name.chars().take(64).collect()
}

fn field(reason: impl fmt::Display) -> Poison {
    Poison::new(Kind::Field, reason)
}

fn tags(text: &str) -> Result<BTreeMap<String, String>, Poison> {
    let tags: BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|error| field(format!("tags is no JSON object of texts: {error}")))?;
    let bytes: usize = tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ENTRY_TAGS_BYTES_MAX {
        return Err(field(format!("the tags have {bytes} bytes, at most {ENTRY_TAGS_BYTES_MAX} are allowed")));
    }
    Ok(tags)
}

fn switch(text: &str) -> Result<bool, Poison> {
    text.parse().map_err(|_| field("skip_history is neither true nor false"))
}

/// A name that is given, of bounded length.
fn name(what: &str, text: &str) -> Result<Option<String>, Poison> {
    if text.len() > ENTRY_NAME_BYTES_MAX {
        return Err(field(format!("{what} has {} bytes, at most {ENTRY_NAME_BYTES_MAX} are allowed", text.len())));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// 0 is no version.
fn version(fields: &Fields<'_>) -> Result<Option<Version>, Poison> {
    let number = fields.version.map(str::parse).transpose().map_err(|_| field("version is no number"))?.unwrap_or(0);
    let epoch = fields.version_epoch.map(|epoch| name("version_epoch", epoch)).transpose()?.flatten();
    Ok((number > 0).then(|| Version { number, epoch: epoch.unwrap_or_default() }))
}

#[cfg(test)]
mod tests {
    use fanfare_broker::Retention;
    use fanfare_broker::namespaces::ChannelOptions;
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn entry(fields: &[(&str, &str)]) -> Entry {
        let copy = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let fields: Vec<_> = fields.iter().map(|(name, value)| (copy(name), copy(value))).collect();
        Entry { id: Id { millis: NOW, sequence: 0 }, fields, bytes: 0, too_large: false, poison: None }
    }

    fn judge(entry: &Entry) -> Result<(Channel, Publish), Poison> {
        let retention = Some(Retention { size: 7, ttl: ENTRY_AGE_MAX, meta_ttl: ENTRY_AGE_MAX });
        let named = BTreeMap::from([("news".to_owned(), ChannelOptions { retention, ..ChannelOptions::default() })]);
        let namespaces = Namespaces::new(ChannelOptions::default(), named);
        let payload = PayloadLimits { bytes_max: 100, ..PayloadLimits::default() };
        Judge { namespaces: &namespaces, channel_bytes_max: 20, payload: &payload, now_millis: NOW }.judge(entry)
    }

    fn check(fields: &[(&str, &str)], kind: Kind, reason: &str) {
        let poison = judge(&entry(fields)).unwrap_err();
        assert_eq!(poison.kind, kind, "{poison:?}");
        assert!(poison.reason.contains(reason), "{poison:?}");
    }

    #[test]
    fn an_entry_says_what_a_request_to_the_api_says() {
        let (channel, publish) = judge(&entry(&[
            ("channel", "news:today"),
            ("data", "{\"a\":1}"),
            ("key", "k1"),
            ("tags", "{\"a\":\"b\"}"),
            ("version", "7"),
            ("version_epoch", "e"),
            ("skip_history", "true"),
        ]))
        .unwrap();
        assert_eq!(channel.as_str(), "news:today");
        assert_eq!((&publish.data[..], publish.json), (&b"{\"a\":1}"[..], true));
        assert_eq!(publish.idempotency_key.as_deref(), Some("k1"));
        assert_eq!(publish.tags, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        assert_eq!(publish.version, Some(Version { number: 7, epoch: "e".to_owned() }));
        assert_eq!(publish.retention.map(|retention| retention.size), Some(7));
        assert!(publish.skip_history);
    }

    #[test]
    fn bytes_come_as_base64() {
        let (_, publish) = judge(&entry(&[("channel", "a"), ("b64data", "/w==")])).unwrap();
        assert_eq!((&publish.data[..], publish.json), (&b"\xff"[..], false));
        let (_, publish) = judge(&entry(&[("b64data", "e30="), ("channel", "a")])).unwrap();
        assert!(publish.json);
    }

    #[test]
    fn poison_says_what_is_wrong_with_it() {
        let long = "x".repeat(300);
        let large = format!("\"{long}\"");
        check(&[("data", "1")], Kind::Field, "channel is missing");
        check(&[("channel", "a")], Kind::Field, "one of the fields");
        check(&[("channel", "a"), ("data", "1"), ("b64data", "MQ==")], Kind::Field, "one of the fields");
        check(&[("channel", "a"), ("data", "1"), ("dtaa", "1")], Kind::Field, "\"dtaa\" is unknown");
        check(&[("channel", "a"), ("channel", "b"), ("data", "1")], Kind::Field, "\"channel\" is there twice");
        check(&[("channel", ""), ("data", "1")], Kind::Channel, "empty");
        check(&[("channel", "a\nb"), ("data", "1")], Kind::Channel, "");
        check(&[("channel", &long), ("data", "1")], Kind::Channel, "channel_bytes_max");
        check(&[("channel", "other:a"), ("data", "1")], Kind::Channel, "namespace");
        check(&[("channel", "a"), ("data", "hello")], Kind::Data, "not JSON");
        check(&[("channel", "a"), ("data", &large)], Kind::Data, "302");
        check(&[("channel", "a"), ("b64data", "?")], Kind::Data, "");
        check(&[("channel", "a"), ("data", "1"), ("tags", "[]")], Kind::Field, "tags");
        check(&[("channel", "a"), ("data", "1"), ("tags", "{\"a\":1}")], Kind::Field, "tags");
        check(&[("channel", "a"), ("data", "1"), ("key", &long)], Kind::Field, "key has 300 bytes");
        check(&[("channel", "a"), ("data", "1"), ("version", "-1")], Kind::Field, "version");
        check(&[("channel", "a"), ("data", "1"), ("skip_history", "yes")], Kind::Field, "skip_history");
    }

    #[test]
    fn times_have_bounds() {
        let at = |millis: u64| {
            let mut entry = entry(&[("channel", "a"), ("data", "1")]);
            entry.id.millis = millis;
            judge(&entry).err().map(|poison| poison.kind)
        };
        let age = u64::try_from(ENTRY_AGE_MAX.as_millis()).unwrap();
        assert_eq!([at(NOW), at(NOW - age), at(NOW + 1000)], [None; 3]);
        assert_eq!([at(NOW - age - 1), at(1), at(u64::MAX)], [Some(Kind::Time); 3]);
        let too_large = Entry { too_large: true, ..entry(&[]) };
        assert_eq!(judge(&too_large).unwrap_err().kind, Kind::TooLarge);
    }

    #[test]
    fn ids_are_read_and_compared_as_numbers() {
        let id = |text: &str| text.parse::<Id>();
        assert_eq!(id("12-3").unwrap().to_string(), "12-3");
        assert!(id("9-10").unwrap() > id("9-9").unwrap() && id("10-0").unwrap() > id("9-99").unwrap());
        for text in ["", "1", "-", "1-", "-1", "a-1", "1-99999999999999999999", "1-1-1"] {
            assert!(id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_kind_has_its_label() {
        for (at, (kind, _)) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at);
        }
    }

    proptest! {
        #[test]
        fn no_entry_makes_it_panic(
            fields in proptest::collection::vec(
                (prop_oneof![
                    Just("channel"), Just("data"), Just("b64data"), Just("tags"), Just("version"), Just("key"), Just("x")
                ], proptest::collection::vec(any::<u8>(), 0..12)),
                0..6,
            )
        ) {
            let fields =
                fields.into_iter().map(|(name, value)| (Bytes::from_static(name.as_bytes()), value.into())).collect();
            let _ = judge(&Entry { fields, ..entry(&[]) });
        }
    }
}
