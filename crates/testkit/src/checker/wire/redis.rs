//! What Redis says, as far as faults need to know it: by lines, whatever the framing.

/// Longer lines are payloads.
const LINE_BYTES_MAX: usize = 512;

/// What was said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A subscription is confirmed.
    Subscribed(String),
    /// The end of one is confirmed.
    Unsubscribed(String),
    /// The publish script acknowledges a publication.
    Acknowledged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Subscribe,
    Unsubscribe,
}

/// Reads answers in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    line: Vec<u8>,
    /// The name of the channel follows.
    verb: Option<Verb>,
}

impl Scanner {
    pub(super) fn feed(&mut self, bytes: &[u8], mut see: impl FnMut(Seen)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.end_line(&mut see);
                self.line.clear();
            }
        }
    }

    fn end_line(&mut self, see: &mut impl FnMut(Seen)) {
        let line = self.line.trim_ascii_end();
        match line {
            b"subscribe" => self.verb = Some(Verb::Subscribe),
            b"unsubscribe" => self.verb = Some(Verb::Unsubscribe),
            // The length of the name.
            [b'$', ..] => {}
            name => match self.verb.take() {
                Some(Verb::Subscribe) => see(Seen::Subscribed(String::from_utf8_lossy(name).into_owned())),
                Some(Verb::Unsubscribe) => see(Seen::Unsubscribed(String::from_utf8_lossy(name).into_owned())),
                None if is_acknowledgement(name) => see(Seen::Acknowledged),
                None => {}
            },
        }
    }
}

/// `a`, an offset, `:`, an epoch.
fn is_acknowledgement(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"a") else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && rest.get(digits) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_what_is_said_in_pieces_of_any_size() {
        let said = b"*3\r\n$9\r\nsubscribe\r\n$3\r\na:b\r\n:1\r\n*2\r\n$6\r\na12:xy\r\n$5\r\no3:xy\r\n\
            *3\r\n$11\r\nunsubscribe\r\n$3\r\na:b\r\n:0\r\n";
        let seen = [Seen::Subscribed("a:b".to_owned()), Seen::Acknowledged, Seen::Unsubscribed("a:b".to_owned())];
        for size in [1, 2, 7, said.len()] {
            let (mut scanner, mut found) = (Scanner::default(), Vec::new());
            said.chunks(size).for_each(|piece| scanner.feed(piece, |seen| found.push(seen)));
            assert_eq!(found, seen, "in pieces of {size}");
        }
    }
}
