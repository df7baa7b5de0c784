//! What several fuzz targets need. Each target is a program of its own in `fuzz_targets/`, with its corpus in
//! `corpus/`; CONTRIBUTING.md says how they are run.

#![forbid(unsafe_code)]

use fanfare_protocol::{Command, Encoding};

pub mod hub;

/// Takes the sizes of pieces off the front of some bytes: a number up to 3, then so many sizes of 1 to 32.
pub fn pieces(data: &[u8]) -> (Vec<usize>, &[u8]) {
    let count = usize::from(data.first().copied().unwrap_or(0) % 4) + 1;
    let (sizes, rest) = data.split_at(data.len().min(count));
    let sizes: Vec<usize> = sizes.iter().map(|size| usize::from(size % 32) + 1).collect();
    (if sizes.is_empty() { vec![1] } else { sizes }, rest)
}

/// Some bytes as texts, cut at each line feed.
pub fn texts<const COUNT: usize>(data: &[u8]) -> Option<[&str; COUNT]> {
    let mut lines = std::str::from_utf8(data).ok()?.splitn(COUNT, '\n');
    let mut texts = [""; COUNT];
    for text in &mut texts {
        *text = lines.next()?;
    }
    Some(texts)
}

/// Reads the commands of a frame. Each is written so that it is read again as the same.
pub fn read_commands(encoding: Encoding, frame: &[u8]) {
    for command in encoding.decode_commands(frame).map_while(Result::ok) {
        let written = write(encoding, &command);
        let again: Vec<_> = encoding.decode_commands(&written).collect();
        let [Ok(again)] = &again[..] else { panic!("{command:?} is read again as {again:?}") };
        // A payload's line feeds, and what is given twice, go with the first writing.
        assert_eq!(write(encoding, again), written);
        assert_eq!((again.id, again.kind()), (command.id, command.kind()));
    }
    for reply in encoding.decode_replies(frame) {
        if reply.is_err() {
            break;
        }
    }
}

fn write(encoding: Encoding, command: &Command) -> Vec<u8> {
    let mut written = Vec::new();
    encoding.encode_command(command, &mut written);
    written
}
