//! What a Redis server says on a pub/sub connection.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fanfare_broker_redis::fuzzing::resp(input));
