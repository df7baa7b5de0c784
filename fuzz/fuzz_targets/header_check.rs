//! The check of frame headers has to agree with tungstenite, however the bytes come.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (pieces, input) = fanfare_fuzz::pieces(data);
    fanfare_gateway::fuzzing::header_check(input, &pieces);
});
