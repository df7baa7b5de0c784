//! The whole inbound adapter: check, tungstenite, answers. It has to come to the same, however the bytes come.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (pieces, input) = fanfare_fuzz::pieces(data);
    fanfare_gateway::fuzzing::inbound(input, &pieces);
});
