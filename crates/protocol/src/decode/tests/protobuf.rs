//! Protobuf frames.

use super::*;

#[test]
fn nested_protobuf_messages_have_a_limit() {
    let mut filter = Vec::new();
    for _ in 0..1000 {
        let mut outer = vec![0x32];
        prost::encode_length_delimiter(filter.len(), &mut outer).unwrap();
        outer.extend_from_slice(&filter);
        filter = outer;
    }
    assert!(crate::FilterNode::decode(&*filter).is_err());
}

#[test]
fn protobuf_units_follow_each_other() {
    assert_eq!(ids(&protobuf([2, 8, 1, 2, 8, 2])), [Some(1), Some(2)]);
    assert_eq!(protobuf([0]), [Ok(Command::default())]);
    assert_eq!(ids(&protobuf([0, 2, 8, 7, 0])), [Some(0), Some(7), Some(0)]);
}

#[test]
fn a_huge_declared_length_is_refused_unallocated() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x7f, 0x08];
    assert_eq!(protobuf(huge), [Err(DecodeError::TooLong { declared_bytes: 0x7_ffff_ffff, left_bytes: 1 })]);
    let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(protobuf(largest), [Err(DecodeError::TooLong { declared_bytes: u64::MAX, left_bytes: 0 })]);
}

#[test]
fn a_huge_length_inside_a_unit_is_refused_unallocated() {
    let token = [8, 0x22, 6, 0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert!(matches!(protobuf(token)[..], [Err(DecodeError::Malformed(_))]));
    let payload = [8, 0x22, 6, 0x12, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert!(matches!(protobuf(payload)[..], [Err(DecodeError::Malformed(_))]));
}

#[test]
fn a_protobuf_unit_is_no_longer_than_its_frame() {
    assert_eq!(protobuf([3, 8, 1]), [Err(DecodeError::TooLong { declared_bytes: 3, left_bytes: 2 })]);
    assert_eq!(ids(&protobuf([2, 8, 1, 1])), [Some(1), None]);
}

#[test]
fn malformed_protobuf_is_refused() {
    let endless_length = [0xff; 11];
    for frame in [&[0x80][..], &endless_length, &[1, 8], &[2, 0, 1], &[2, 0x0f, 1], &[5, 0x22, 3, 0x0a, 1, 0xff]] {
        let commands = protobuf(frame);
        assert!(matches!(commands[..], [Err(DecodeError::Malformed(_))]), "{frame:?}: {commands:?}");
    }
}

#[test]
fn unknown_protobuf_fields_are_skipped() {
    let frame = [7, 0xfa, 0x07, 2, b'a', b'b', 8, 9];
    assert_eq!(ids(&protobuf(frame)), [Some(9)]);
}

#[test]
fn protobuf_payloads_are_any_bytes() {
    let frame = [8, 0x3a, 6, 0x12, 4, 0xff, 0, b'\n', 0x80];
    let command = protobuf(frame).remove(0).unwrap();
    assert_eq!(&command.publish.unwrap().data[..], [0xff, 0, b'\n', 0x80]);
}
