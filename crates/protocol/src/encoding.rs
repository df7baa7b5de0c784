//! The two encodings, and how units are written into a frame.
//!
//! A frame (one WebSocket message) holds one or more units, each a command or a reply. In JSON a unit is an
//! object and a line feed separates two; in Protobuf each unit follows its length as a varint.

use prost::Message;

use crate::decode::{CommandFrames, ReplyFrames};
use crate::{Command, Reply, WriteJson};

/// How messages are written on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// One JSON object per unit, in text frames.
    Json,
    /// Length-prefixed Protobuf, in binary frames.
    Protobuf,
}

impl Encoding {
    /// Appends a reply as one unit. Payloads in it must be JSON for [`Encoding::Json`]; nothing checks it here.
    pub fn encode_reply(self, reply: &Reply, out: &mut Vec<u8>) {
        self.encode(reply, out);
    }

    /// Appends a command as one unit.
    pub fn encode_command(self, command: &Command, out: &mut Vec<u8>) {
        self.encode(command, out);
    }

    /// What stands between two units of a frame.
    pub fn separator(self) -> &'static [u8] {
        match self {
            Self::Json => b"\n",
            Self::Protobuf => b"",
        }
    }

    /// Appends a frame of units that are encoded already.
    pub fn join<U: AsRef<[u8]>>(self, units: impl IntoIterator<Item = U>, out: &mut Vec<u8>) {
        for (at, unit) in units.into_iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(self.separator());
            }
            out.extend_from_slice(unit.as_ref());
        }
    }

    /// Reads the commands of a frame, one at a time.
    pub fn decode_commands(self, frame: &[u8]) -> CommandFrames<'_> {
        CommandFrames::new(self, frame)
    }

    /// Reads the replies of a frame, one at a time.
    pub fn decode_replies(self, frame: &[u8]) -> ReplyFrames<'_> {
        ReplyFrames::new(self, frame)
    }

    fn encode<M: Message + WriteJson>(self, message: &M, out: &mut Vec<u8>) {
        match self {
            Self::Json => {
                out.reserve(message.json_bytes());
                message.write_json(out);
            }
            Self::Protobuf => encode_delimited(message, out),
        }
    }
}

fn encode_delimited<M: Message>(message: &M, out: &mut Vec<u8>) {
    let bytes = message.encoded_len();
    out.reserve(bytes + prost::length_delimiter_len(bytes));
    message.encode_length_delimited(out).expect("a vector has room for every message");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{ClientInfo, PublicationMessage, Push};

    fn push(channel: &str, data: &'static [u8]) -> Reply {
        let publication = PublicationMessage { data: Bytes::from_static(data), ..PublicationMessage::default() };
        let push = Push { channel: channel.into(), publication: Some(publication), ..Push::default() };
        Reply { push: Some(push), ..Reply::default() }
    }

    fn json(reply: &Reply) -> String {
        let mut out = Vec::new();
        Encoding::Json.encode_reply(reply, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn line_feeds_leave_payloads_and_carriage_returns_stay() {
        let reply = push("a", b"\n{\"a\":\r\n1\n}\n");
        assert_eq!(json(&reply), "{\"push\":{\"channel\":\"a\",\"pub\":{\"data\":{\"a\":\r1}}}}");
    }

    #[test]
    fn protobuf_payloads_keep_their_line_feeds() {
        let reply = push("a", b"\n\r\n");
        let mut out = Vec::new();
        Encoding::Protobuf.encode_reply(&reply, &mut out);
        assert_eq!(Encoding::Protobuf.decode_replies(&out).next(), Some(Ok(reply)));
    }

    #[test]
    fn texts_are_escaped() {
        let reply = push("\"\\/\u{8}\n\r\t\u{1f}\u{7f}é", b"1");
        let escaped = "\\\"\\\\/\\u0008\\n\\r\\t\\u001f\u{7f}é";
        assert_eq!(json(&reply), format!("{{\"push\":{{\"channel\":\"{escaped}\",\"pub\":{{\"data\":1}}}}}}"));
    }

    #[test]
    fn bytes_are_appended_and_joined() {
        for (encoding, ping, joined) in
            [(Encoding::Json, &b"x{}"[..], &b"{}\n{}"[..]), (Encoding::Protobuf, b"x\0", b"\0\0")]
        {
            let mut out = b"x".to_vec();
            encoding.encode_reply(&Reply::default(), &mut out);
            assert_eq!(out, ping);
            let mut frame = Vec::new();
            encoding.join([&ping[1..], &ping[1..]], &mut frame);
            assert_eq!(frame, joined);
        }
    }

    #[test]
    fn room_is_made_once_and_not_in_excess() {
        let mut reply = push("chat:room", &[b'1'; 128]);
        let info = ClientInfo { user: "42".into(), client: "6ff9".into(), ..ClientInfo::default() };
        let publication = reply.push.as_mut().and_then(|push| push.publication.as_mut()).unwrap();
        publication.info = Some(info);
        publication.offset = u64::MAX;
        publication.tags.insert("k".into(), "v".into());
        let mut json = Vec::new();
        Encoding::Json.encode_reply(&reply, &mut json);
        assert_eq!(json.capacity(), reply.json_bytes());
        assert!(json.capacity() - json.len() < 40, "{} of {}", json.len(), json.capacity());
        let mut protobuf = Vec::new();
        Encoding::Protobuf.encode_reply(&reply, &mut protobuf);
        assert_eq!(protobuf.capacity(), protobuf.len());
    }
}
