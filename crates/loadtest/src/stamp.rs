//! The mark that every publication of a run carries in its payload: which one it is, and when it was due.
//!
//! Forty characters that no encoding has to escape, so that they look the same in JSON, in JSON inside of a JSON string,
//! and in Protobuf. A receiver finds them without parsing what is around them.

use memchr::memmem::Finder;

/// What a stamp begins with.
const MARK: &[u8] = b"fanfare~";

/// Hexadecimal digits of run, channel, number and due time.
const DIGITS: [usize; 4] = [4, 6, 8, 14];

/// Characters of a stamp.
pub(crate) const STAMP_BYTES: usize = 8 + 4 + 6 + 8 + 14;

/// The smallest payload: a JSON object with a stamp and an empty filling.
pub const PAYLOAD_BYTES_MIN: usize = STAMP_BYTES + br#"{"stamp":"","fill":""}"#.len();

/// Which publication this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Tells one run from others in the same channels.
    pub(crate) run: u16,
    /// Number of the channel, below 2^24.
    pub(crate) channel: u32,
    /// Number within the channel, from 0.
    pub(crate) number: u32,
    /// Nanoseconds from the start of the clock to when it was due, below 2^56: two years.
    pub(crate) due: u64,
}

impl Stamp {
    /// Appends a JSON payload of so many bytes.
    pub(crate) fn payload(&self, bytes: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"stamp":""#);
        self.write(out);
        out.extend_from_slice(br#"","fill":""#);
        out.resize(out.len() + bytes.saturating_sub(PAYLOAD_BYTES_MIN), b'x');
        out.extend_from_slice(br#""}"#);
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MARK);
        let values = [u64::from(self.run), u64::from(self.channel), u64::from(self.number), self.due];
        for (value, digits) in values.into_iter().zip(DIGITS) {
            for place in (0..digits).rev() {
                out.push(b"0123456789abcdef"[(value >> (4 * place) & 15) as usize]);
            }
        }
    }

    /// Reads it without a branch or a loop for each digit: millions come in a second.
    fn read(digits: &[u8]) -> Option<Self> {
        let mut seen = 0;
        let (run, digits) = read_digits::<{ DIGITS[0] }>(digits, &mut seen)?;
        let (channel, digits) = read_digits::<{ DIGITS[1] }>(digits, &mut seen)?;
        let (number, digits) = read_digits::<{ DIGITS[2] }>(digits, &mut seen)?;
        let (due, _) = read_digits::<{ DIGITS[3] }>(digits, &mut seen)?;
        (seen != NO_DIGIT).then_some(Self { run: run as u16, channel: channel as u32, number: number as u32, due })
    }
}

/// A number of so many digits and what comes behind it; `seen` becomes [`NO_DIGIT`] with anything that is none.
fn read_digits<'a, const COUNT: usize>(text: &'a [u8], seen: &mut u8) -> Option<(u64, &'a [u8])> {
    let (digits, rest) = text.split_first_chunk::<COUNT>()?;
    let mut value = 0;
    for digit in digits {
        let digit = VALUES[usize::from(*digit)];
        *seen |= digit;
        value = value << 4 | u64::from(digit & 15);
    }
    Some((value, rest))
}

/// Stands for what is no digit; in it are the bits of all that are.
const NO_DIGIT: u8 = 0xff;

/// The value of each hexadecimal digit.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Finds stamps. Made once for a thread.
pub(crate) struct Stamps {
    finder: Finder<'static>,
}

impl Stamps {
    pub(crate) fn new() -> Self {
        Self { finder: Finder::new(MARK) }
    }

    /// The stamps in a frame, in their order. What only looks like one is passed over.
    pub(crate) fn within<'a>(&'a self, frame: &'a [u8]) -> impl Iterator<Item = Stamp> + 'a {
        let mut rest = frame;
        std::iter::from_fn(move || {
            loop {
                let at = self.finder.find(rest)? + MARK.len();
                let stamp = Stamp::read(&rest[at..]);
                rest = &rest[at..];
                if stamp.is_some() {
                    return stamp;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { run: 7, channel: 0xab_cdef, number: 0x1234_5678, due: 0xff_ffff_ffff_fff1 };

    #[test]
    fn a_payload_has_the_size_asked_for_and_is_json() {
        let mut out = Vec::new();
        STAMP.payload(128, &mut out);
        assert_eq!(out.len(), 128);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["stamp"].as_str().unwrap().len(), STAMP_BYTES);
        out.clear();
        STAMP.payload(PAYLOAD_BYTES_MIN, &mut out);
        assert_eq!(out.len(), PAYLOAD_BYTES_MIN);
    }

    #[test]
    fn stamps_are_found_in_their_order_and_what_looks_like_one_is_not() {
        let mut frame = b"fanfare~fanfare~nothing {".to_vec();
        let second = Stamp { number: 2, ..STAMP };
        STAMP.write(&mut frame);
        frame.extend_from_slice(b"},{\\\"");
        second.write(&mut frame);
        frame.extend_from_slice(b"fanfare~0123");
        let found: Vec<Stamp> = Stamps::new().within(&frame).collect();
        assert_eq!(found, [STAMP, second]);
    }
}
