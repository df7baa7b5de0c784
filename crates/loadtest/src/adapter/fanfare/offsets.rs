//! Channels and offsets of publications, read where they lie in a message: millions come in a second, and nothing is
//! allocated for them.

use memchr::{memchr, memmem};

/// Fields of the Protobuf messages on the way to an offset.
const REPLY_PUSH: u64 = 4;
const PUSH_CHANNEL: u64 = 2;
const PUSH_PUBLICATION: u64 = 4;
const PUBLICATION_OFFSET: u64 = 6;

/// Channel and offset of the publication in one unit of JSON, as servers write it. `None` if it is something else, or
/// written in another way.
pub(super) fn of_json(unit: &[u8]) -> Option<(&str, u64)> {
    let rest = unit.strip_prefix(br#"{"push":{"channel":""#)?;
    let (channel, rest) = rest.split_at(memchr(b'"', rest)?);
    let offset = rest.starts_with(br#"","pub":{"#).then(|| last_of_json(rest))??;
    Some((std::str::from_utf8(channel).ok()?, offset))
}

/// Whether a unit of JSON is a push of a publication. Within a text the quotes around the field's name would be escaped.
pub(super) fn is_publication_in_json(unit: &[u8]) -> bool {
    memmem::find(unit, b"\"pub\":").is_some()
}

/// The same in Protobuf.
pub(super) fn is_publication_in_protobuf(unit: &[u8]) -> bool {
    Fields(unit).bytes(REPLY_PUSH).is_some_and(|push| Fields(push).bytes(PUSH_PUBLICATION).is_some())
}

/// The last offset of a message in JSON, which is the position; there is no other number of that name in it.
pub(super) fn last_of_json(message: &[u8]) -> Option<u64> {
    const OFFSET: &[u8] = b"\"offset\":";
    // Mostly it is the last field of all, and nothing has to be searched for.
    let fields = message.strip_suffix(b"}}}").unwrap_or(message);
    let digits = fields.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = fields.split_at(fields.len() - digits);
    if before.ends_with(OFFSET) {
        return Some(decimal(digits));
    }
    let at = memmem::rfind(message, OFFSET)? + OFFSET.len();
    let length = message[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    (length > 0).then(|| decimal(&message[at..at + length]))
}

fn decimal(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

/// Channel and offset of the publication in one unit of Protobuf; `None` if it is something else.
pub(super) fn of_protobuf(unit: &[u8]) -> Option<(&str, u64)> {
    let push = Fields(unit).bytes(REPLY_PUSH)?;
    let offset = Fields(Fields(push).bytes(PUSH_PUBLICATION)?).number(PUBLICATION_OFFSET)?;
    Some((std::str::from_utf8(Fields(push).bytes(PUSH_CHANNEL)?).ok()?, offset))
}

/// The units of a Protobuf frame, by the lengths in front of them.
pub(super) fn units(mut frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || delimited(&mut frame))
}

/// The fields of a Protobuf message, as far as they can be read.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn bytes(self, wanted: u64) -> Option<&'a [u8]> {
        self.into_iter().find_map(|(tag, value)| match value {
            Value::Bytes(bytes) if tag == wanted => Some(bytes),
            _ => None,
        })
    }

    fn number(self, wanted: u64) -> Option<u64> {
        self.into_iter().find_map(|(tag, value)| match value {
            Value::Number(number) if tag == wanted => Some(number),
            _ => None,
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = varint(&mut self.0)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            1 => Value::Bytes(split(&mut self.0, 8)?),
            2 => Value::Bytes(delimited(&mut self.0)?),
            5 => Value::Bytes(split(&mut self.0, 4)?),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

fn delimited<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = varint(bytes)?;
    split(bytes, usize::try_from(length).ok()?)
}

fn split<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(front)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let last = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let number = bytes[..=last].iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    *bytes = &bytes[last + 1..];
    Some(number)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanfare_protocol::{Encoding, PublicationMessage, Push, Reply};

    use super::*;

    fn unit(encoding: Encoding, push: Push) -> Vec<u8> {
        let mut out = Vec::new();
        encoding.encode_reply(&Reply { push: Some(push), ..Reply::default() }, &mut out);
        out
    }

    fn publication(channel: &str, offset: u64) -> Push {
        let tags = [("number".to_owned(), "7".to_owned())].into();
        let data = Bytes::from_static(b"{\"x\":1}");
        let publication = PublicationMessage { data, offset, tags, ..PublicationMessage::default() };
        Push { channel: channel.to_owned(), publication: Some(publication), ..Push::default() }
    }

    #[test]
    fn channels_and_offsets_are_those_that_were_written() {
        for offset in [1, 127, 128, 70_000, u64::MAX] {
            let push = publication("bench-12", offset);
            assert_eq!(of_json(&unit(Encoding::Json, push.clone())), Some(("bench-12", offset)));
            let frame = [unit(Encoding::Protobuf, push), unit(Encoding::Protobuf, publication("b", 3))].concat();
            let read: Vec<_> = units(&frame).map(of_protobuf).collect();
            assert_eq!(read, [Some(("bench-12", offset)), Some(("b", 3))]);
        }
    }

    #[test]
    fn what_is_no_publication_or_cut_off_has_none() {
        let push = Push { channel: "b".to_owned(), ..Push::default() };
        assert_eq!(of_json(&unit(Encoding::Json, push.clone())), None);
        assert_eq!(units(&unit(Encoding::Protobuf, push)).map(of_protobuf).collect::<Vec<_>>(), [None]);
        let whole = unit(Encoding::Protobuf, publication("b", 3));
        for length in 0..whole.len() {
            assert_eq!(units(&whole[..length]).find_map(of_protobuf), None);
            of_protobuf(&whole[length..]);
        }
        assert_eq!(of_protobuf(&[0xff; 40]), None);
    }

    #[test]
    fn the_last_offset_is_found_wherever_it_stands() {
        for (message, offset) in [
            (&br#"{"push":{"channel":"a","pub":{"data":{"offset":"no"},"offset":17}}}"#[..], Some(17)),
            (br#"{"push":{"pub":{"offset":4,"data":1}}}"#, Some(4)),
            (br#"{"push":{"pub":{"offset":4}}}{"push":{"pub":{"offset":5,"tags":{}}}}"#, Some(5)),
            (br#"{"push":{"pub":{"data":17}}}"#, None),
            (br#"{"push":{"pub":{"offset":5,"tags":{"offset":"no number"}}}}"#, None),
            (b"17", None),
            (b"}}", None),
            (b"", None),
        ] {
            assert_eq!(last_of_json(message), offset, "{}", String::from_utf8_lossy(message));
        }
    }
}
