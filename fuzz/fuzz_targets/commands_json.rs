//! Frames of commands in JSON. What is read is written so that it is read again as the same.

#![no_main]

use fanfare_protocol::Encoding;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfare_fuzz::read_commands(Encoding::Json, data));
