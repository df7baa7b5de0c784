//! What is read, and what is refused, frame by frame.

mod framing;
mod protobuf;
mod values;

use super::*;

fn json(frame: impl AsRef<[u8]>) -> Vec<Result<Command, DecodeError>> {
    Encoding::Json.decode_commands(frame.as_ref()).collect()
}

fn protobuf(frame: impl AsRef<[u8]>) -> Vec<Result<Command, DecodeError>> {
    Encoding::Protobuf.decode_commands(frame.as_ref()).collect()
}

fn one(frame: impl AsRef<[u8]>) -> Command {
    let mut commands = json(frame);
    assert_eq!(commands.len(), 1);
    commands.remove(0).unwrap()
}

/// The frame has no command and is malformed.
fn refused(frame: impl AsRef<[u8]>) {
    let text = String::from_utf8_lossy(frame.as_ref()).into_owned();
    let commands = json(frame);
    assert!(matches!(commands[..], [Err(DecodeError::Malformed(_))]), "{text}: {commands:?}");
}

fn ids(commands: &[Result<Command, DecodeError>]) -> Vec<Option<u32>> {
    commands.iter().map(|command| command.as_ref().ok().map(|command| command.id)).collect()
}
