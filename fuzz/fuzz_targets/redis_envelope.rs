//! What comes from Redis' pub/sub channels: envelopes of publications, and what nodes say to each other.

#![no_main]

use std::sync::LazyLock;

use fanfare_protocol::Channel;

static CHANNEL: LazyLock<Channel> = LazyLock::new(|| Channel::parse("news").expect("it is a name"));

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    drop(fanfare_broker_redis::fuzzing::envelope(message, &CHANNEL));
    drop(fanfare_broker_redis::fuzzing::control(message));
});
