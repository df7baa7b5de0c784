//! The header check against tungstenite, on random bytes: what the check lets pass tungstenite takes too, and what
//! tungstenite refuses for its framing the check has refused with the code that is due.

use fanfare_protocol::{FrameCheck, FrameLimits};
use proptest::prelude::*;
use proptest::sample::select;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

const MESSAGE_BYTES_MAX: usize = 300;

/// What tungstenite has no bound for is without one here too.
const LIMITS: FrameLimits = FrameLimits {
    message_bytes_max: MESSAGE_BYTES_MAX as u32,
    fragments_max: u32::MAX,
    control_frames_per_second: u32::MAX,
};

/// tungstenite's judgement of some bytes: `None` if it waits for more or was closed in order.
fn refusal(input: &[u8]) -> Option<Error> {
    let mut websocket = WebSocketContext::new(Role::Server, Some(limits::websocket_config(MESSAGE_BYTES_MAX)));
    let mut wire = Wire { input, output: Vec::new() };
    loop {
        match websocket.read(&mut wire) {
            Ok(_) => {}
            Err(Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed) => return None,
            Err(error) => return Some(error),
        }
    }
}

/// The code that a violation found by tungstenite gets (RFC 6455 §7.4.1); `None` for what stands in a payload.
fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Utf8(_) => None,
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(1009),
        Error::Protocol(_) => Some(1002),
        other => panic!("not expected of bytes: {other}"),
    }
}

fn judge(input: &[u8], pieces: &[usize]) -> (usize, Option<FrameViolation>) {
    let mut check = FrameCheck::new(LIMITS);
    let (mut accepted, mut sizes) = (0, pieces.iter().cycle());
    let mut rest = input;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        let judged = check.take(piece, 1);
        accepted += judged.accepted;
        if judged.violation.is_some() || judged.accepted < piece.len() {
            return (accepted, judged.violation);
        }
        rest = behind;
    }
    (accepted, None)
}

/// A frame that is mostly in order: a random part is what makes it wrong.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => select(vec![0x81_u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let length = prop_oneof![6 => 0..=20_usize, 2 => 120..=130_usize, 1 => 200..=400_usize];
    let masked = prop::bool::weighted(0.97);
    let form = prop_oneof![12 => Just(0_u8), 1 => Just(2), 1 => Just(8)];
    let declared = prop_oneof![12 => Just(None), 1 => any::<u64>().prop_map(Some)];
    (first, length, masked, form, declared, any::<u8>()).prop_map(|(first, length, masked, form, declared, byte)| {
        let mut frame = vec![first];
        let mask = if masked { 0x80 } else { 0 };
        let declared = declared.unwrap_or(length as u64);
        match (form, declared) {
            (0, 0..=125) => frame.push(mask | declared as u8),
            (0 | 2, 0..=0xFFFF) => {
                frame.push(mask | 126);
                frame.extend_from_slice(&(declared as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend_from_slice(&declared.to_be_bytes());
            }
        }
        if masked {
            frame.extend_from_slice(&[byte, 1, 2, 3]);
        }
        // ASCII once it is unmasked, or a code that may be sent, or neither.
        let payload = if first == 0x88 { vec![0x03 ^ byte, byte ^ 0xE8] } else { vec![b'a' ^ byte, b'a' ^ 1] };
        frame.extend(payload.iter().cycle().take(length));
        frame
    })
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::collection::vec(frame(), 0..12).prop_map(|frames| frames.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..600),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn the_check_stands_before_tungstenite(input in stream(), pieces in prop::collection::vec(1..40_usize, 1..5)) {
        let (accepted, violation) = judge(&input, &pieces);
        prop_assert_eq!((accepted, violation), judge(&input, &[usize::MAX]), "in one piece");
        let left = refusal(&input[..accepted]);
        prop_assert!(left.as_ref().is_none_or(|error| code(error).is_none()), "the check let pass: {left:?}");
        let found = refusal(&input).as_ref().and_then(code);
        match (violation.map(|violation| violation.disconnect().code), found) {
            (_, None) => {}
            (Some(own), Some(found)) if own == found => {}
            // The check found something in front of the length that tungstenite looks at first.
            (Some(1002), Some(1009)) => {}
            (own, found) => prop_assert!(false, "the check says {own:?}, tungstenite {found:?}"),
        }
    }
}
