//! What travels through Redis: publications, joins and leaves as bytes.
//!
//! A message on a channel's pub/sub channel is one of these; scripts put the position in front of a body that they
//! do not look into, and keep the same body in the stream:
//!
//! ```text
//! 0x01 'p' offset ':' epoch ':' body     a publication with a place in the stream
//! 0x01 'l' body                          a publication, live only
//! 0x01 'j' info      0x01 'e' info       a join, a leave
//! body = flags, PublicationMessage       bit 0 of flags: the payload is JSON
//! ```
//!
//! No JSON text begins with 0x01, so whatever else is JSON was published by a program straight into Redis, and is
//! live only. Everything else is refused: it comes from a later version of this program or from nobody we know.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_broker::{Publication, Publish};
use fanfare_protocol::{ClientInfo, PayloadLimits, PublicationMessage, payload};
use prost::Message;

/// The first byte of an envelope: its version.
const VERSION: u8 = 1;
/// Every bit that a body's flags may have.
const JSON: u8 = 1;

/// What a message is.
#[derive(Debug, PartialEq)]
pub(crate) enum Envelope<'a> {
    /// A publication with its position.
    Placed { offset: u64, epoch: &'a str, body: Body },
    /// A publication without one.
    Live(Body),
    /// A client joined.
    Join(Arc<ClientInfo>),
    /// A client left.
    Leave(Arc<ClientInfo>),
}

/// A publication without channel and position.
#[derive(Debug, PartialEq)]
pub(crate) struct Body {
    json: bool,
    message: PublicationMessage,
}

/// Why a message is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Neither an envelope nor JSON, or JSON over the limits.
    Foreign,
    /// An envelope of another version.
    Version,
    /// An envelope that breaks off or contradicts itself.
    Malformed,
}

/// The body of a publication.
pub(crate) fn body(publish: &Publish) -> Vec<u8> {
    let message = PublicationMessage {
        data: publish.data.clone(),
        info: publish.info.as_deref().cloned(),
        tags: publish.tags.clone(),
        version: publish.version.as_ref().map_or(0, |version| version.number),
        ..PublicationMessage::default()
    };
    let flags = if publish.json { JSON } else { 0 };
    write(&[flags], &message)
}

/// The envelope of a live publication.
pub(crate) fn live(publish: &Publish) -> Vec<u8> {
    let body = body(publish);
    [&[VERSION, b'l'], &body[..]].concat()
}

/// The envelope of a join.
pub(crate) fn join(info: &ClientInfo) -> Vec<u8> {
    write(&[VERSION, b'j'], info)
}

/// The envelope of a leave.
pub(crate) fn leave(info: &ClientInfo) -> Vec<u8> {
    write(&[VERSION, b'e'], info)
}

fn write(head: &[u8], message: &impl Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + message.encoded_len());
    out.extend_from_slice(head);
    message.encode_raw(&mut out);
    out
}

impl<'a> Envelope<'a> {
    /// Reads a message. What it keeps is copied.
    pub(crate) fn read(message: &'a [u8], foreign: &PayloadLimits) -> Result<Self, Refused> {
        match message {
            [VERSION, b'p', rest @ ..] => Self::read_placed(rest),
            [VERSION, b'l', body @ ..] => Body::read(body).map(Self::Live),
            [VERSION, b'j', info @ ..] => read_info(info).map(Arc::new).map(Self::Join),
            [VERSION, b'e', info @ ..] => read_info(info).map(Arc::new).map(Self::Leave),
            [VERSION, ..] => Err(Refused::Malformed),
            [0..8, ..] => Err(Refused::Version),
            _ => Body::read_foreign(message, foreign).map(Self::Live),
        }
    }

    fn read_placed(rest: &'a [u8]) -> Result<Self, Refused> {
        let (offset, rest) = field(rest)?;
        let (epoch, body) = field(rest)?;
        let (offset, epoch) = position(offset, epoch).ok_or(Refused::Malformed)?;
        Ok(Self::Placed { offset, epoch, body: Body::read(body)? })
    }
}

/// The text before the next colon, and what comes after it.
fn field(bytes: &[u8]) -> Result<(&str, &[u8]), Refused> {
    let end = bytes.iter().take(64).position(|byte| *byte == b':').ok_or(Refused::Malformed)?;
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Refused::Malformed)?;
    Ok((text, &bytes[end + 1..]))
}

fn position<'a>(offset: &str, epoch: &'a str) -> Option<(u64, &'a str)> {
    let offset = offset.parse().ok().filter(|offset| *offset > 0)?;
    Some((offset, epoch)).filter(|(_, epoch)| !epoch.is_empty())
}

/// Reads who a client is.
pub(crate) fn read_info(bytes: &[u8]) -> Result<ClientInfo, Refused> {
    let info = ClientInfo::decode(Bytes::copy_from_slice(bytes)).map_err(|_| Refused::Malformed)?;
    if is_plain(&info) { Ok(info) } else { Err(Refused::Malformed) }
}

/// Whether what goes into JSON frames as it is would not break them: whoever can write into Redis may have written it.
fn is_plain(info: &ClientInfo) -> bool {
    [&info.conn_info, &info.chan_info].into_iter().all(|json| json.is_empty() || is_json(json))
}

fn is_json(data: &[u8]) -> bool {
    // Its size was bounded where it was published; here it is there already.
    payload::inspect(data, &PayloadLimits { bytes_max: usize::MAX, ..PayloadLimits::default() }) == Ok(true)
}

impl Body {
    /// Reads what [`body`] wrote.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let (flags, message) = bytes.split_first().ok_or(Refused::Malformed)?;
        if flags & !JSON != 0 {
            return Err(Refused::Version);
        }
        let message = PublicationMessage::decode(Bytes::copy_from_slice(message)).map_err(|_| Refused::Malformed)?;
        let json = flags & JSON != 0;
        if (json && !is_json(&message.data)) || !message.info.as_ref().is_none_or(is_plain) {
            return Err(Refused::Malformed);
        }
        Ok(Self { json, message })
    }

    fn read_foreign(data: &[u8], limits: &PayloadLimits) -> Result<Self, Refused> {
        if payload::inspect(data, limits) != Ok(true) {
            return Err(Refused::Foreign);
        }
        let message = PublicationMessage { data: Bytes::copy_from_slice(data), ..PublicationMessage::default() };
        Ok(Self { json: true, message })
    }

    /// The publication, given what the body does not hold.
    pub(crate) fn into_publication(
        self,
        channel: fanfare_protocol::Channel,
        position: Option<fanfare_broker::StreamPosition>,
    ) -> Publication {
        let PublicationMessage { data, info, tags, version, .. } = self.message;
        Publication {
            channel,
            data,
            json: self.json,
            position,
            info: info.map(Arc::new),
            tags,
            version,
            accepted_at: std::time::Instant::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fanfare_broker::Version;
    use proptest::prelude::*;

    use super::*;

    fn publish() -> Publish {
        Publish {
            data: Bytes::from_static(b"{\"a\":1}"),
            json: true,
            tags: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            info: Some(Arc::new(ClientInfo { user: "ann".to_owned(), ..ClientInfo::default() })),
            version: Some(Version { number: 7, epoch: String::new() }),
            ..Publish::default()
        }
    }

    fn read(message: &[u8]) -> Result<Envelope<'_>, Refused> {
        Envelope::read(message, &PayloadLimits::default())
    }

    #[test]
    fn publications_come_out_as_they_went_in() {
        let placed = [b"\x01p12:ab.cd:", &body(&publish())[..]].concat();
        let Ok(Envelope::Placed { offset: 12, epoch: "ab.cd", body }) = read(&placed) else { panic!("it is placed") };
        let publication = body.into_publication(fanfare_protocol::Channel::parse("c").unwrap(), None);
        assert!(publication.json);
        assert_eq!(publication.data, publish().data);
        assert_eq!(publication.tags, publish().tags);
        assert_eq!(publication.info, publish().info);
        assert_eq!(publication.version, 7);
        assert!(matches!(read(&live(&publish())), Ok(Envelope::Live(_))));
    }

    #[test]
    fn defect_what_was_said_to_be_json_and_was_none_went_into_frames() {
        let lies = Publish { data: Bytes::from_static(b"{\"a\":"), ..publish() };
        assert_eq!(read(&live(&lies)), Err(Refused::Malformed));
        assert_eq!(read(&[b"\x01p12:ab.cd:", &body(&lies)[..]].concat()), Err(Refused::Malformed));
        assert!(read(&live(&Publish { json: false, ..lies })).is_ok(), "it does not say so");
        let info = ClientInfo { conn_info: Bytes::from_static(b"}"), ..ClientInfo::default() };
        assert_eq!(read(&join(&info)), Err(Refused::Malformed));
        assert_eq!(read(&live(&Publish { info: Some(Arc::new(info)), ..publish() })), Err(Refused::Malformed));
    }

    #[test]
    fn joins_and_leaves_come_out_as_they_went_in() {
        let info = ClientInfo { client: "c1".to_owned(), ..ClientInfo::default() };
        assert_eq!(read(&join(&info)), Ok(Envelope::Join(Arc::new(info.clone()))));
        assert_eq!(read(&leave(&info)), Ok(Envelope::Leave(Arc::new(info))));
    }

    #[test]
    fn plain_json_is_a_live_publication() {
        for text in ["{\"a\":1}", " [1]", "\"x\"", "0", "null"] {
            let Ok(Envelope::Live(body)) = read(text.as_bytes()) else { panic!("{text} is live") };
            assert!(body.json);
            assert_eq!(body.message.data, text.as_bytes());
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        for (message, refused) in [
            (&b""[..], Refused::Foreign),
            (b"hello", Refused::Foreign),
            (b"{\"a\":", Refused::Foreign),
            (b"\xff\xfe", Refused::Foreign),
            (deep.as_bytes(), Refused::Foreign),
            (b"\x02p1:e:", Refused::Version),
            (b"\x01l\x80", Refused::Version),
            (b"\x01", Refused::Malformed),
            (b"\x01x", Refused::Malformed),
            (b"\x01l", Refused::Malformed),
            (b"\x01l\x01\xff", Refused::Malformed),
            (b"\x01p0:e:\x01", Refused::Malformed),
            (b"\x01p-1:e:\x01", Refused::Malformed),
            (b"\x01p1::\x01", Refused::Malformed),
            (b"\x01p1:e", Refused::Malformed),
            (b"\x01p99999999999999999999:e:\x01", Refused::Malformed),
            (b"\x01j\xff", Refused::Malformed),
        ] {
            assert_eq!(read(message), Err(refused), "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(mut message in proptest::collection::vec(any::<u8>(), 0..64), ours in any::<bool>()) {
            if ours && !message.is_empty() {
                message[0] = VERSION;
            }
            let _ = read(&message);
        }
    }
}
