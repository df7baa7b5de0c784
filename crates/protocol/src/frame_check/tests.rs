use super::*;

const LIMITS: FrameLimits = FrameLimits { message_bytes_max: 70_000, fragments_max: 4, control_frames_per_second: 3 };

/// A masked frame of up to 125 bytes; the mask is not zero, so that a code has to be unmasked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [first, 0x80 | payload.len() as u8].into_iter().chain(MASK).chain(masked).collect()
}

/// A header alone: the marker of the length and its bytes.
fn header(first: u8, marker: u8, length: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | marker], length].concat()
}

/// Judges in one piece and byte by byte, which has to come to the same.
#[track_caller]
fn judge(input: &[u8]) -> Judged {
    let whole = FrameCheck::new().take(input, &LIMITS, 1);
    let mut check = FrameCheck::new();
    let mut pieces = Judged { accepted: 0, violation: None };
    for byte in input {
        let judged = check.take(&[*byte], &LIMITS, 1);
        pieces = Judged { accepted: pieces.accepted + judged.accepted, violation: judged.violation };
        if judged.accepted == 0 {
            break;
        }
    }
    assert_eq!(whole, pieces);
    whole
}

/// `behind` follows good bytes and is refused at the byte with this index.
#[track_caller]
fn refused(good: &[u8], bad: &[u8], at: usize, violation: FrameViolation) {
    let judged = judge(&[good, bad].concat());
    assert_eq!(judged, Judged { accepted: good.len() + at, violation: Some(violation) });
}

#[track_caller]
fn accepted(input: &[u8]) {
    assert_eq!(judge(input), Judged { accepted: input.len(), violation: None });
}

#[test]
fn good_frames_pass() {
    accepted(b"");
    accepted(&[frame(0x81, b""), frame(0x82, b"x"), frame(0x89, &[b'x'; 125]), frame(0x8A, b"")].concat());
    accepted(&[header(0x81, 126, &[0, 126]), vec![0; 4 + 126], frame(0x81, b"next")].concat());
    accepted(&[header(0x82, 127, &[0, 0, 0, 0, 0, 1, 0, 0]), vec![0; 4 + 65_536], frame(0x81, b"next")].concat());
    accepted(&[frame(0x01, b"a"), frame(0x89, b""), frame(0x00, b"b"), frame(0x80, b""), frame(0x81, b"c")].concat());
}

#[test]
fn the_first_byte_is_judged_at_once() {
    for bits in [0x40, 0x20, 0x10, 0x70] {
        refused(b"", &[0x81 | bits], 0, FrameViolation::ReservedBits);
    }
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        refused(&frame(0x81, b"x"), &[0x80 | opcode], 0, FrameViolation::Opcode);
    }
    for opcode in [CLOSE, PING, PONG] {
        refused(b"", &[opcode], 0, FrameViolation::ControlFragment);
    }
    refused(&frame(0x81, b"x"), &[0x80], 0, FrameViolation::Continuation);
    refused(b"", &[0x00], 0, FrameViolation::Continuation);
    refused(&frame(0x01, b"x"), &[0x81], 0, FrameViolation::Interleaved);
    refused(&frame(0x02, b"x"), &[0x01], 0, FrameViolation::Interleaved);
}

#[test]
fn the_second_byte_is_judged_at_once() {
    refused(b"", &[0x81, 0x02], 1, FrameViolation::Unmasked);
    refused(b"", &[0x89, 0x80 | 126], 1, FrameViolation::ControlLength);
    refused(b"", &[0x88, 0x80 | 127], 1, FrameViolation::ControlLength);
    refused(b"", &[0x88, 0x81], 1, FrameViolation::ClosePayload);
}

#[test]
fn a_length_has_its_shortest_form() {
    refused(b"", &header(0x82, 126, &[0, 0]), 3, FrameViolation::LengthForm);
    refused(b"", &header(0x82, 126, &[0, 125]), 3, FrameViolation::LengthForm);
    refused(b"", &header(0x82, 127, &[0, 0, 0, 0, 0, 0, 0xFF, 0xFF]), 9, FrameViolation::LengthForm);
    refused(b"", &header(0x82, 127, &[0x80, 0, 0, 0, 0, 0, 0, 0]), 9, FrameViolation::LengthForm);
    refused(b"", &header(0x82, 127, &[0xFF; 8]), 9, FrameViolation::LengthForm);
}

#[test]
fn a_message_is_judged_by_what_it_declares() {
    refused(
        b"",
        &header(0x82, 127, &[0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        9,
        FrameViolation::MessageBytes,
    );
    refused(b"", &header(0x82, 127, &70_001_u64.to_be_bytes()), 9, FrameViolation::MessageBytes);
    accepted(&header(0x82, 127, &70_000_u64.to_be_bytes()));
    let most = [header(0x02, 127, &69_999_u64.to_be_bytes()), vec![0; 4 + 69_999]].concat();
    accepted(&[&most[..], &frame(0x80, b"x")].concat());
    refused(&most, &frame(0x80, b"xx"), 1, FrameViolation::MessageBytes);
    accepted(&[&most[..], &frame(0x80, b"x"), &frame(0x81, b"another begins at zero")].concat());
}

#[test]
fn fragments_are_counted_for_each_message() {
    let four = [frame(0x01, b""), frame(0x00, b""), frame(0x00, b""), frame(0x80, b"")].concat();
    accepted(&four.repeat(3));
    refused(
        &[&four[..], &frame(0x01, b""), &frame(0x00, b"").repeat(3)].concat(),
        &[0x80],
        0,
        FrameViolation::Fragments,
    );
}

#[test]
fn control_frames_are_counted_by_the_second() {
    refused(&[frame(0x89, b""), frame(0x8A, b""), frame(0x8A, b"x")].concat(), &[0x89], 0, FrameViolation::ControlRate);
    let mut check = FrameCheck::new();
    for second in 1..100 {
        let three = frame(0x8A, b"x").repeat(3);
        assert_eq!(check.take(&three, &LIMITS, second), Judged { accepted: three.len(), violation: None });
    }
}

#[test]
fn a_close_has_a_code_that_may_be_sent() {
    for code in [0_u16, 999, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 5000, u16::MAX] {
        refused(b"", &frame(0x88, &code.to_be_bytes()), 7, FrameViolation::ClosePayload);
    }
    for code in [1000_u16, 1001, 1003, 1007, 1011, 1013, 3000, 4999] {
        accepted(&frame(0x88, &code.to_be_bytes()));
        accepted(&frame(0x88, &[&code.to_be_bytes()[..], b"reason"].concat()));
    }
}

#[test]
fn nothing_counts_behind_a_close() {
    for close in [frame(0x88, b""), frame(0x88, &1000_u16.to_be_bytes()), frame(0x88, b"\x03\xE8bye")] {
        let judged = judge(&[&close[..], &[0xFF; 100]].concat());
        assert_eq!(judged, Judged { accepted: close.len(), violation: None });
    }
}

#[test]
fn between_messages_nothing_is_unfinished() {
    let mut check = FrameCheck::new();
    for (input, between) in
        [(frame(0x81, b"x"), true), (frame(0x01, b"x"), false), (frame(0x89, b""), false), (frame(0x80, b""), true)]
    {
        for byte in &input[..input.len() - 1] {
            check.take(&[*byte], &LIMITS, 1);
            assert!(!check.is_between_messages());
        }
        check.take(&input[input.len() - 1..], &LIMITS, 1);
        assert_eq!(check.is_between_messages(), between);
    }
}

#[test]
fn labels_are_different() {
    let mut labels: Vec<_> = FrameViolation::ALL.iter().map(|violation| violation.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), FrameViolation::ALL.len());
}

/// Kept for each connection (I11).
#[test]
fn it_is_small() {
    assert!(size_of::<FrameCheck>() <= 40, "{}", size_of::<FrameCheck>());
}
