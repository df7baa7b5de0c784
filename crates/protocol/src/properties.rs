//! Properties of the codecs that hold for every message, tried on random ones.

use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use serde::de::DeserializeOwned;

use crate::sample::{Sample, Source};
use crate::{Command, Encoding, Reply, WriteJson};

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

fn sample<M: Sample>(bytes: &[u8]) -> M {
    M::sample(&mut Source(bytes.iter()))
}

/// Enough randomness that most fields of an envelope get some.
fn randomness() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..400)
}

fn encoded<M: Message + Default + WriteJson + DeserializeOwned>(message: &M) -> (Vec<u8>, Vec<u8>) {
    let mut json = Vec::new();
    message.write_json(&mut json);
    (json, message.encode_to_vec())
}

fn command_frame(encoding: Encoding, commands: &[Command]) -> Vec<u8> {
    let units = commands.iter().map(|command| {
        let mut unit = Vec::new();
        encoding.encode_command(command, &mut unit);
        unit
    });
    let mut frame = Vec::new();
    encoding.join(units, &mut frame);
    frame
}

/// Reads a frame to its end in both encodings and both directions; the number of units is bounded by the bytes.
fn read_everything(frame: &[u8]) {
    for encoding in ENCODINGS {
        assert!(encoding.decode_commands(frame).count() <= frame.len().max(1));
        assert!(encoding.decode_replies(frame).count() <= frame.len().max(1));
    }
}

fn mutate(frame: &mut Vec<u8>, changes: &[(Index, u8, u8)]) {
    for (at, change, byte) in changes {
        if frame.is_empty() {
            return;
        }
        let at = at.index(frame.len());
        match change % 4 {
            0 => frame[at] = *byte,
            1 => frame.insert(at, *byte),
            2 => _ = frame.remove(at),
            _ => frame.truncate(at),
        }
    }
}

proptest! {
    #[test]
    fn a_reply_survives_both_encodings(bytes in randomness()) {
        let reply: Reply = sample(&bytes);
        for encoding in ENCODINGS {
            let mut frame = Vec::new();
            encoding.encode_reply(&reply, &mut frame);
            let read: Vec<_> = encoding.decode_replies(&frame).collect();
            prop_assert_eq!(&read, &[Ok(reply.clone())], "{:?}: {}", encoding, String::from_utf8_lossy(&frame));
        }
    }

    #[test]
    fn frames_of_commands_survive_both_encodings(several in prop::collection::vec(randomness(), 1..5)) {
        let commands: Vec<Command> = several.iter().map(|bytes| sample(bytes)).collect();
        for encoding in ENCODINGS {
            let frame = command_frame(encoding, &commands);
            let read: Result<Vec<_>, _> = encoding.decode_commands(&frame).collect();
            prop_assert_eq!(read.as_ref(), Ok(&commands));
        }
    }

    #[test]
    fn what_one_encoding_reads_the_other_writes_alike(bytes in randomness()) {
        let reply: Reply = sample(&bytes);
        let (json, protobuf) = encoded(&reply);
        let from_json: Reply = serde_json::from_slice(&json).unwrap();
        let from_protobuf = Reply::decode(&*protobuf).unwrap();
        prop_assert_eq!(encoded(&from_json), (json.clone(), protobuf.clone()));
        prop_assert_eq!(encoded(&from_protobuf), (json, protobuf));
    }

    #[test]
    fn written_json_is_one_line_that_any_parser_reads(bytes in randomness()) {
        let (json, _) = encoded(&sample::<Reply>(&bytes));
        prop_assert!(!json.contains(&b'\n'));
        prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&json).is_ok());
    }

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(frame in prop::collection::vec(any::<u8>(), 0..300)) {
        read_everything(&frame);
    }

    #[test]
    fn arbitrary_json_is_read_without_a_panic(frame in "(\\{|\\}|\\[|\\]|\"|,|:|id|connect|subs|tf|nodes|data|null|1|\n| ){0,60}") {
        read_everything(frame.as_bytes());
    }

    #[test]
    fn valid_frames_with_errors_are_read_without_a_panic(
        several in prop::collection::vec(randomness(), 1..4),
        changes in prop::collection::vec(any::<(Index, u8, u8)>(), 1..6),
    ) {
        let commands: Vec<Command> = several.iter().map(|bytes| sample(bytes)).collect();
        for encoding in ENCODINGS {
            let mut frame = command_frame(encoding, &commands);
            mutate(&mut frame, &changes);
            read_everything(&frame);
        }
    }

    #[test]
    fn payloads_are_inspected_without_a_panic(data in prop::collection::vec(any::<u8>(), 0..300), depth_max in 0usize..4) {
        let limits = crate::PayloadLimits { depth_max, ..Default::default() };
        if crate::payload::inspect(&data, &limits) == Ok(true) {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok());
        }
    }
}
