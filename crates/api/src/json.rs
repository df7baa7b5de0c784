//! Writes JSON replies.
//!
//! By hand, since payloads go in as they are: they were judged when they were published and are not parsed
//! again (I7).

/// An object in the making.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// The key of a member; the caller writes its value behind it.
    pub(crate) fn value(&mut self, key: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        write_text(self.out, key);
        self.out.push(b':');
        self.out
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        write_text(self.value(key), value);
    }

    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.value(key).extend_from_slice(value.to_string().as_bytes());
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        self.value(key).extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// JSON text that is known to be valid; left out when empty.
    pub(crate) fn raw(&mut self, key: &str, value: &[u8]) {
        if !value.is_empty() {
            self.value(key).extend_from_slice(value);
        }
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// `[…]`, each element written by `write`.
pub(crate) fn write_array<T>(out: &mut Vec<u8>, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a Vec takes all bytes, and any text has a JSON form");
}

/// One complete object.
pub(crate) fn object(fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write_object(&mut out, fill);
    out
}

/// One object at the end of `out`.
pub(crate) fn write_object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    let mut object = Object::begin(out);
    fill(&mut object);
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn members_are_separated_and_texts_escaped() {
        let written = object(|object| {
            object.text("a\"", "\u{0}\n\"é");
            object.number("n", u64::MAX);
            object.raw("empty", b"");
            object.raw("raw", b"{ \"x\":1.50 }");
            write_array(object.value("list"), &["p", "q"], |out, item| write_text(out, item));
        });
        assert_eq!(
            text(&written),
            r#"{"a\"":"\u0000\n\"é","n":18446744073709551615,"raw":{ "x":1.50 },"list":["p","q"]}"#
        );
    }

    #[test]
    fn what_is_empty_is_still_json() {
        assert_eq!(text(&object(|_| {})), "{}");
        let mut out = Vec::new();
        write_array(&mut out, &[] as &[u8], |_, _| {});
        assert_eq!(text(&out), "[]");
    }
}
