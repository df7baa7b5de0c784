//! The header check against tungstenite, and the adapter in pieces and at once, on random bytes.

use proptest::prelude::*;
use proptest::sample::select;

use super::verdicts::{check_agrees, pieces_do_not_matter};

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
        let agreed = check_agrees(&input, &pieces);
        prop_assert!(agreed.is_ok(), "{agreed:?}");
    }

    #[test]
    fn messages_do_not_depend_on_how_their_bytes_come(
        input in stream(),
        pieces in prop::collection::vec(1..40_usize, 1..5),
    ) {
        let same = pieces_do_not_matter(&input, &pieces);
        prop_assert!(same.is_ok(), "{same:?}");
    }
}
