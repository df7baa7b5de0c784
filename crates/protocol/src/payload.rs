//! Looking at a payload once, at the edge. After that a payload is opaque bytes.
//!
//! Nothing is kept of what is read here, and nothing recurses: a payload of 200,000 nested brackets costs
//! a byte of memory for each level and no stack.

use serde::de::IgnoredAny;

/// Bounds of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Largest payload in bytes.
    pub bytes_max: usize,
    /// Deepest nesting of arrays and objects in a JSON payload.
    pub depth_max: usize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self { bytes_max: 65_536, depth_max: 64 }
    }
}

/// Why a payload is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Over [`PayloadLimits::bytes_max`].
    #[error("the payload has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Size of the payload.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Over [`PayloadLimits::depth_max`].
    #[error("the payload nests deeper than {max} levels")]
    TooDeep {
        /// The limit.
        max: usize,
    },
}

/// Checks a payload against the limits and tells whether it is one complete JSON value in valid UTF-8.
///
/// Bytes that are no JSON are no error: only clients of the Protobuf encoding can be sent them. The limit
/// on depth holds for JSON alone.
pub fn inspect(data: &[u8], limits: &PayloadLimits) -> Result<bool, PayloadError> {
    if data.len() > limits.bytes_max {
        return Err(PayloadError::TooLarge { bytes: data.len(), max: limits.bytes_max });
    }
    if !is_json(data) {
        return Ok(false);
    }
    if depth(data) > limits.depth_max {
        return Err(PayloadError::TooDeep { max: limits.depth_max });
    }
    Ok(true)
}

fn is_json(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The deepest nesting of a text that is known to be JSON.
fn depth(json: &[u8]) -> usize {
    let (mut deepest, mut depth) = (0, 0usize);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data: impl AsRef<[u8]>) -> Result<bool, PayloadError> {
        inspect(data.as_ref(), &PayloadLimits::default())
    }

    fn nested(levels: usize) -> String {
        "[".repeat(levels) + &"]".repeat(levels)
    }

    #[test]
    fn json_values_of_every_kind_are_json() {
        for text in ["{}", "[]", "null", "true", "-1.5e9", "\"a\\u0000b\"", " {\"a\" : [1, 2]}\r\n", "\"\\ud800\""] {
            assert_eq!(check(text), Ok(true), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for data in
            [&b""[..], b" ", b"boom", b"{} {}", b"{\"a\":", b"[1,]", b"\xff", b"\"\xc3\"", b"'a'", b"NaN", b"01"]
        {
            assert_eq!(check(data), Ok(false), "{data:?}");
        }
    }

    #[test]
    fn the_size_is_judged_first() {
        assert_eq!(check(vec![b'x'; 65_536]), Ok(false));
        let large = PayloadError::TooLarge { bytes: 65_537, max: 65_536 };
        assert_eq!(check(vec![b'x'; 65_537]), Err(large));
    }

    #[test]
    fn nesting_has_a_limit() {
        assert_eq!(check(nested(64)), Ok(true));
        assert_eq!(check(nested(65)), Err(PayloadError::TooDeep { max: 64 }));
        assert_eq!(check(format!("{{\"a\":{}}}", nested(64))), Err(PayloadError::TooDeep { max: 64 }));
    }

    #[test]
    fn siblings_do_not_add_up() {
        assert_eq!(check(format!("[{}1]", "[],".repeat(1000))), Ok(true));
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert_eq!(check(format!("\"\\\"{}\"", "[".repeat(100))), Ok(true));
        assert_eq!(check(format!("[\"\\\\\",{}]", nested(64))), Err(PayloadError::TooDeep { max: 64 }));
    }

    #[test]
    fn depth_does_not_matter_where_it_is_no_json() {
        assert_eq!(check("[".repeat(1000)), Ok(false));
    }

    #[test]
    fn two_hundred_thousand_levels_are_survived() {
        let limits = PayloadLimits { bytes_max: usize::MAX, depth_max: 64 };
        assert_eq!(inspect(nested(200_000).as_bytes(), &limits), Err(PayloadError::TooDeep { max: 64 }));
        assert_eq!(inspect("[".repeat(200_000).as_bytes(), &limits), Ok(false));
        let limits = PayloadLimits { depth_max: 200_000, ..limits };
        assert_eq!(inspect(nested(200_000).as_bytes(), &limits), Ok(true));
    }
}
