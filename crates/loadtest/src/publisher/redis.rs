//! Publishing straight into Redis: an entry of Fanfare's ingest stream.

use std::io;

use super::dialect::{Dialect, Heard, Known};

/// The most that an answer may take: ids are short.
const ANSWER_BYTES_MAX: usize = 4_096;

/// Adds to this stream.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) stream: String,
}

impl Dialect for Redis {
    fn say(&self, channel: &str, payload: &[u8], out: &mut Vec<u8>) {
        let words: [&[u8]; 7] =
            [b"XADD", self.stream.as_bytes(), b"*", b"channel", channel.as_bytes(), b"data", payload];
        out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn hear(&self, bytes: &[u8], _out: &mut Vec<u8>) -> io::Result<Option<Heard>> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not one of Redis");
        let Some(end) = memchr::memmem::find(bytes, b"\r\n") else {
            return if bytes.len() > ANSWER_BYTES_MAX { Err(invalid()) } else { Ok(None) };
        };
        let line = bytes.get(1..end).ok_or_else(invalid)?;
        match bytes[0] {
            b'-' => Ok(Some(Heard::of(end + 2, vec![Known::refused(line)]))),
            b'$' => {
                let length = std::str::from_utf8(line).ok().and_then(|length| length.parse::<usize>().ok());
                let whole = end + 2 + length.filter(|length| *length < ANSWER_BYTES_MAX).ok_or_else(invalid)? + 2;
                Ok((bytes.len() >= whole).then(|| Heard::of(whole, vec![Known::Acknowledged])))
            }
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_added_and_its_id_is_the_answer() {
        let redis = Redis { stream: "fanfare:ingest".to_owned() };
        let mut out = Vec::new();
        redis.say("news", b"{}", &mut out);
        assert!(out.starts_with(b"*7\r\n$4\r\nXADD\r\n$14\r\nfanfare:ingest\r\n$1\r\n*\r\n"));
        let heard = |bytes: &[u8]| redis.hear(bytes, &mut Vec::new()).unwrap();
        assert_eq!(heard(b"$3\r\n1-1\r\n-"), Some(Heard::of(9, vec![Known::Acknowledged])));
        assert_eq!(heard(b"$3\r\n1-1\r"), None);
        assert_eq!(heard(b"-OOM no\r\n"), Some(Heard::of(9, vec![Known::Refused("OOM no".to_owned())])));
        assert!(redis.hear(b"HTTP\r\n", &mut Vec::new()).is_err());
    }
}
