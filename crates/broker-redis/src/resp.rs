//! What a server says on a pub/sub connection: the part of RESP2 that occurs there, read in place.
//!
//! A parser of our own, because a library's costs ten times as much for each message, queues without a bound, and
//! takes a message of any size into memory. Here nothing is queued: what is not read stays in the socket, and a
//! server whose output limit is reached cuts the connection, which is noticed.

/// One thing that the server said. Borrows from what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A message on a pub/sub channel.
    Message { channel: &'a [u8], payload: &'a [u8] },
    /// A message over the limit. Its remaining bytes, so many, are to be skipped.
    TooLarge { skip: usize },
    /// A subscription is confirmed.
    Subscribed(&'a [u8]),
    /// The end of a subscription is confirmed.
    Unsubscribed(&'a [u8]),
    /// The answer to a PING.
    Pong,
    /// A status, as to AUTH.
    Status,
    /// A command was refused.
    Error(&'a str),
}

/// The server says something that cannot be said here: the connection is of no use any more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not what a server says on a pub/sub connection: {0}")]
pub(crate) struct Malformed(&'static str);

/// The longest line: an error's text.
const LINE_BYTES_MAX: usize = 4096;
/// The longest name of a pub/sub channel that is ours.
const NAME_BYTES_MAX: usize = 4096;

/// Reads the first frame of `input` and says how many bytes it had. `None` if it is not there as a whole.
pub(crate) fn read(input: &[u8], payload_bytes_max: usize) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let mut cursor = Cursor { input, at: 0 };
    let frame = cursor.frame(payload_bytes_max)?;
    Ok(frame.map(|frame| (frame, cursor.at)))
}

struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn frame(&mut self, payload_bytes_max: usize) -> Result<Option<Frame<'a>>, Malformed> {
        let Some(line) = self.line()? else { return Ok(None) };
        match line.split_first() {
            Some((b'*', count)) => self.array(number(count)?, payload_bytes_max),
            Some((b'+', _)) => Ok(Some(Frame::Status)),
            Some((b'-', text)) => std::str::from_utf8(text)
                .map(|text| Some(Frame::Error(text)))
                .map_err(|_| Malformed("an error that is no text")),
            _ => Err(Malformed("an unexpected type")),
        }
    }

    fn array(&mut self, count: usize, payload_bytes_max: usize) -> Result<Option<Frame<'a>>, Malformed> {
        let Some(kind) = self.short()? else { return Ok(None) };
        match (kind, count) {
            (b"message" | b"smessage", 3) => self.message(payload_bytes_max),
            (b"subscribe" | b"ssubscribe", 3) => self.confirmation().map(|name| name.map(Frame::Subscribed)),
            (b"unsubscribe" | b"sunsubscribe", 3) => self.confirmation().map(|name| name.map(Frame::Unsubscribed)),
            (b"pong", 2) => self.short().map(|text| text.map(|_| Frame::Pong)),
            _ => Err(Malformed("an unexpected message")),
        }
    }

    fn message(&mut self, payload_bytes_max: usize) -> Result<Option<Frame<'a>>, Malformed> {
        let Some(channel) = self.short()? else { return Ok(None) };
        let Some(length) = self.length()? else { return Ok(None) };
        if length > payload_bytes_max {
            return Ok(Some(Frame::TooLarge { skip: length.saturating_add(2) }));
        }
        let payload = self.bytes(length)?;
        Ok(payload.map(|payload| Frame::Message { channel, payload }))
    }

    fn confirmation(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let Some(name) = self.short()? else { return Ok(None) };
        let Some(count) = self.line()? else { return Ok(None) };
        match count.split_first() {
            Some((b':', _)) => Ok(Some(name)),
            _ => Err(Malformed("a confirmation without a count")),
        }
    }

    /// A bulk string that is short.
    fn short(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.length()? {
            Some(length) if length > NAME_BYTES_MAX => Err(Malformed("a name that is too long")),
            Some(length) => self.bytes(length),
            None => Ok(None),
        }
    }

    fn length(&mut self) -> Result<Option<usize>, Malformed> {
        let Some(line) = self.line()? else { return Ok(None) };
        match line.split_first() {
            Some((b'$', length)) => number(length).map(Some),
            _ => Err(Malformed("no bulk string")),
        }
    }

    fn bytes(&mut self, length: usize) -> Result<Option<&'a [u8]>, Malformed> {
        let (start, end) = (self.at, self.at.saturating_add(length));
        match self.input.get(end..end.saturating_add(2)) {
            Some(b"\r\n") => {
                self.at = end + 2;
                Ok(Some(&self.input[start..end]))
            }
            Some(_) => Err(Malformed("a bulk string without an end")),
            None => Ok(None),
        }
    }

    fn line(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let rest = &self.input[self.at..];
        let mut line = 0;
        // Most lines are a few bytes long: nothing is faster than looking at each.
        while let Some(byte) = rest.get(line).filter(|_| line < LINE_BYTES_MAX) {
            if *byte == b'\r' && rest.get(line + 1) == Some(&b'\n') {
                self.at += line + 2;
                return Ok(Some(&rest[..line]));
            }
            line += 1;
        }
        if rest.len() > LINE_BYTES_MAX { Err(Malformed("a line that is too long")) } else { Ok(None) }
    }
}

fn number(text: &[u8]) -> Result<usize, Malformed> {
    let digit = |number: usize, byte: &u8| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(usize::from(digit))
    };
    let number = text.iter().try_fold(0, digit).filter(|_| !text.is_empty());
    number.ok_or(Malformed("no number"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$3\r\nfoo\r\n$4\r\na\r\nb\r\n";

    fn one(input: &[u8]) -> Frame<'_> {
        let (frame, length) = read(input, 100).unwrap().unwrap();
        assert_eq!(length, input.len());
        frame
    }

    #[test]
    fn frames_are_read() {
        assert_eq!(one(MESSAGE), Frame::Message { channel: b"foo", payload: b"a\r\nb" });
        assert_eq!(one(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:12\r\n"), Frame::Subscribed(b"c"));
        assert_eq!(one(b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n"), Frame::Unsubscribed(b"c"));
        assert_eq!(one(b"*3\r\n$10\r\nssubscribe\r\n$1\r\nc\r\n:1\r\n"), Frame::Subscribed(b"c"));
        assert_eq!(one(b"*3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n"), Frame::Unsubscribed(b"c"));
        assert_eq!(one(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"), Frame::Pong);
        assert_eq!(one(b"+OK\r\n"), Frame::Status);
        assert_eq!(one(b"-NOAUTH x\r\n"), Frame::Error("NOAUTH x"));
    }

    #[test]
    fn a_part_of_a_frame_is_none_yet() {
        for length in 0..MESSAGE.len() {
            assert_eq!(read(&MESSAGE[..length], 100), Ok(None));
        }
        let twice = [MESSAGE, MESSAGE].concat();
        assert_eq!(read(&twice, 100).unwrap().unwrap().1, MESSAGE.len());
    }

    #[test]
    fn a_large_message_is_skipped_before_it_is_there() {
        let head = b"*3\r\n$7\r\nmessage\r\n$3\r\nfoo\r\n$536870912\r\n";
        assert_eq!(read(head, 100), Ok(Some((Frame::TooLarge { skip: 536_870_914 }, head.len()))));
    }

    #[test]
    fn what_is_not_said_there_ends_the_connection() {
        for input in [
            &b"*1\r\n*1\r\n*1\r\n"[..],
            b"*-1\r\n$1\r\n",
            b":1\r\n",
            b"$3\r\nfoo\r\n",
            b"*3\r\n$99999\r\n",
            b"*3\r\n$-1\r\n",
            b"*3\r\n$7\r\nmessage\r\n$1\r\nabc\r\n",
            b"*4\r\n$8\r\npmessage\r\n",
            &[b'x'; 5000],
        ] {
            assert!(read(input, 100).is_err(), "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(input in proptest::collection::vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'3'), any::<u8>()], 0..64)) {
            let _ = read(&input, 16);
        }
    }
}
