//! Entries of the ingest stream. Fields are names and values, each behind a byte with its length.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use fanfare_broker::namespaces::Namespaces;
use fanfare_fuzz::hub;

static NAMESPACES: LazyLock<Namespaces> = LazyLock::new(hub::namespaces);

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((channel, publish)) = fanfare_broker_redis::fuzzing::entry(fields(data), &NAMESPACES) else { return };
    assert!(NAMESPACES.options(&channel).is_some());
    assert!(!publish.json || serde_json::from_slice::<serde::de::IgnoredAny>(&publish.data).is_ok());
});

fn fields(mut data: &[u8]) -> Vec<(Bytes, Bytes)> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (part, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        parts.push(Bytes::copy_from_slice(part));
        data = rest;
    }
    parts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}
