//! Arbitrary messages for tests, made from a string of random bytes.
//!
//! Every message's declaration says how to make one, so that no field can be forgotten here. Where the
//! bytes end everything is zero, so that fewer bytes make smaller messages and recursion ends.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Where the randomness comes from.
pub(crate) struct Source<'a>(pub(crate) std::slice::Iter<'a, u8>);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u64 {
        let bytes = std::array::from_fn(|_| self.byte());
        u64::from_le_bytes(bytes) >> (self.byte() % 64)
    }

    /// Most fields of a message are zero, as on the wire.
    fn is_set(&mut self) -> bool {
        self.byte() % 3 == 1
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }
}

/// Something that can be made up.
pub(crate) trait Sample {
    fn sample(source: &mut Source<'_>) -> Self;
}

macro_rules! integer_sample {
    ($($Integer:ty)*) => { $(
        impl Sample for $Integer {
            fn sample(source: &mut Source<'_>) -> Self {
                if !source.is_set() {
                    return 0;
                }
                match source.byte() % 4 {
                    0 => <$Integer>::MIN,
                    1 => <$Integer>::MAX,
                    _ => source.number() as $Integer,
                }
            }
        }
    )* };
}

integer_sample!(u32 u64 i32 i64);

impl Sample for bool {
    fn sample(source: &mut Source<'_>) -> Self {
        source.is_set()
    }
}

impl Sample for String {
    fn sample(source: &mut Source<'_>) -> Self {
        const PARTS: &[&str] = &[
            "a", "chan:1", "\"", "\\", "\n", "\r", "\t", "\u{0}", "\u{1f}", "\u{7f}", "é", "\u{2028}", "🎺", "/",
            "x#4,2",
        ];
        if !source.is_set() {
            return String::new();
        }
        (0..source.byte() % 8).map(|_| source.pick(PARTS)).collect()
    }
}

/// Payloads are JSON without line feeds, so that both encodings carry them.
impl Sample for Bytes {
    fn sample(source: &mut Source<'_>) -> Self {
        const PAYLOADS: &[&str] = &[
            "null",
            "0",
            "{}",
            "[ ]",
            "\"\\n\"",
            "{\"a\": [1,\r{}], \"a\":2}",
            "12345678901234567890.50",
            "\"\\ud800é\"",
            "false",
        ];
        if !source.is_set() {
            return Bytes::new();
        }
        Bytes::from_static(source.pick(PAYLOADS).as_bytes())
    }
}

impl<M: Sample> Sample for Option<M> {
    fn sample(source: &mut Source<'_>) -> Self {
        source.is_set().then(|| M::sample(source))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(source: &mut Source<'_>) -> Self {
        (0..source.byte() % 3).map(|_| T::sample(source)).collect()
    }
}

impl<T: Sample> Sample for BTreeMap<String, T> {
    fn sample(source: &mut Source<'_>) -> Self {
        (0..source.byte() % 3).map(|_| (String::sample(source), T::sample(source))).collect()
    }
}
