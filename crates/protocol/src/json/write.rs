//! Writing fields. No field allocates: everything is appended to the caller's buffer.

use std::collections::BTreeMap;

use super::Field;

/// Appends `,"key":value`, or nothing for a zero value. `key` has the comma, quotes and colon.
pub(crate) fn write_present<T: Field>(key: &str, value: &T, out: &mut Vec<u8>) {
    if !value.is_zero() {
        write_always(key, value, out);
    }
}

/// Appends `,"key":value`.
pub(crate) fn write_always<T: Field>(key: &str, value: &T, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    value.write(out);
}

/// About how many bytes [`write_present`] appends.
pub(crate) fn present_bytes<T: Field>(key: &str, value: &T) -> usize {
    if value.is_zero() { 0 } else { key.len() + value.bytes() }
}

/// Makes an object of the fields appended since `start`: the comma before the first becomes the brace.
pub(crate) fn close_object(start: usize, out: &mut Vec<u8>) {
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

/// Appends a text as a JSON string.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        write_escape(byte, out);
        plain = at + 1;
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
        }
    }
}

/// Appends a payload without its line feeds. In JSON they can only stand between tokens.
pub(super) fn write_payload(payload: &[u8], out: &mut Vec<u8>) {
    if !payload.contains(&b'\n') {
        return out.extend_from_slice(payload);
    }
    for line in payload.split(|&byte| byte == b'\n') {
        out.extend_from_slice(line);
    }
}

pub(super) fn write_list<T: Field>(items: &[T], out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        item.write(out);
    }
    out.push(b']');
}

pub(super) fn write_map<T: Field>(entries: &BTreeMap<String, T>, out: &mut Vec<u8>) {
    let start = out.len();
    for (key, value) in entries {
        out.push(b',');
        write_string(key, out);
        out.push(b':');
        value.write(out);
    }
    close_object(start, out);
}
