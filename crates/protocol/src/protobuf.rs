//! The Protobuf form of messages: prost's, but for the entries of maps.
//!
//! prost leaves the key or value of an entry out when it is the default. That is allowed, but clients in use
//! read an entry without a value as null instead of an empty message and fail on it, so entries are written
//! whole. The derived code of every message finds prost through this module.

pub(crate) use prost::*;

/// prost's `encoding`, with the one module replaced.
pub(crate) mod encoding {
    pub(crate) use prost::encoding::*;

    /// What the derived code calls for a `BTreeMap`.
    pub(crate) mod btree_map {
        use std::collections::BTreeMap;

        use prost::bytes::BufMut;
        use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

        pub(crate) use prost::encoding::btree_map::merge;

        const KEY: u32 = 1;
        const VALUE: u32 = 2;

        /// Appends every entry. The signature is the derived code's.
        #[allow(clippy::too_many_arguments)]
        pub(crate) fn encode<K, V, B: BufMut>(
            encode_map_key: impl Fn(u32, &K, &mut B),
            key_bytes: impl Fn(u32, &K) -> usize,
            encode_value: impl Fn(u32, &V, &mut B),
            value_bytes: impl Fn(u32, &V) -> usize,
            tag: u32,
            entries: &BTreeMap<K, V>,
            out: &mut B,
        ) {
            for (key, value) in entries {
                encode_key(tag, WireType::LengthDelimited, out);
                encode_varint((key_bytes(KEY, key) + value_bytes(VALUE, value)) as u64, out);
                encode_map_key(KEY, key, out);
                encode_value(VALUE, value, out);
            }
        }

        /// Bytes that [`encode`] appends.
        pub(crate) fn encoded_len<K, V>(
            key_bytes: impl Fn(u32, &K) -> usize,
            value_bytes: impl Fn(u32, &V) -> usize,
            tag: u32,
            entries: &BTreeMap<K, V>,
        ) -> usize {
            let entry_bytes = |(key, value)| {
                let bytes = key_bytes(KEY, key) + value_bytes(VALUE, value);
                key_len(tag) + encoded_len_varint(bytes as u64) + bytes
            };
            entries.iter().map(entry_bytes).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use crate::{ConnectResult, PublicationMessage, SubscribeResult};

    #[test]
    fn an_entry_is_written_whole_even_when_empty() {
        let mut result = ConnectResult::default();
        result.subs.insert("a".into(), SubscribeResult::default());
        assert_eq!(result.encode_to_vec(), [0x32, 5, 0x0a, 1, b'a', 0x12, 0]);
        let mut publication = PublicationMessage::default();
        publication.tags.insert(String::new(), String::new());
        assert_eq!(publication.encode_to_vec(), [0x3a, 4, 0x0a, 0, 0x12, 0]);
    }

    #[test]
    fn an_entry_is_read_without_its_value_too() {
        let result = ConnectResult::decode(&[0x32, 3, 0x0a, 1, b'a'][..]).unwrap();
        assert_eq!(result.subs["a"], SubscribeResult::default());
    }
}
