//! What each type of field looks like in JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserializer;

use super::{Field, ReadJson, WriteJson, read, write};

/// Digits of the largest 64-bit number, with its sign.
const INTEGER_BYTES_MAX: usize = 20;

macro_rules! integer_field {
    ($($Integer:ty)*) => { $(
        impl Field for $Integer {
            fn is_zero(&self) -> bool {
                *self == 0
            }

            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
            }

            fn bytes(&self) -> usize {
                INTEGER_BYTES_MAX
            }

            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                read::read_plain(deserializer)
            }
        }
    )* };
}

integer_field!(u32 u64 i32 i64);

impl Field for bool {
    fn is_zero(&self) -> bool {
        !self
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }

    fn bytes(&self) -> usize {
        "false".len()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read::read_plain(deserializer)
    }
}

impl Field for String {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        write::write_string(self, out);
    }

    fn bytes(&self) -> usize {
        self.len() + "\"\"".len()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read::read_plain(deserializer)
    }
}

/// A payload: absent is empty, and null is the payload `null`.
impl Field for Bytes {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        write::write_payload(self, out);
    }

    fn bytes(&self) -> usize {
        self.len()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read::read_payload(deserializer)
    }
}

/// A message by itself is present even when it has no fields: `{}`.
impl<M: WriteJson + ReadJson + Default> Field for Option<M> {
    fn is_zero(&self) -> bool {
        self.is_none()
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(message) => message.write_json(out),
            None => out.extend_from_slice(b"null"),
        }
    }

    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, WriteJson::json_bytes)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read::read_message(deserializer)
    }
}

impl<T: Field> Field for Vec<T> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        write::write_list(self, out);
    }

    fn bytes(&self) -> usize {
        "[]".len() + self.iter().map(|item| item.bytes() + ",".len()).sum::<usize>()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read::read_list(deserializer)
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        write::write_map(self, out);
    }

    fn bytes(&self) -> usize {
        "{}".len() + self.iter().map(|(key, value)| Field::bytes(key) + value.bytes() + ":,".len()).sum::<usize>()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read::read_map(deserializer)
    }
}

/// A message in a list or map; null is the empty message.
impl<M: WriteJson + ReadJson + Default> Field for M {
    fn is_zero(&self) -> bool {
        false
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.write_json(out);
    }

    fn bytes(&self) -> usize {
        self.json_bytes()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(read::read_message(deserializer)?.unwrap_or_default())
    }
}
