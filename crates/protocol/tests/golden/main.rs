//! Every message in both encodings, against files of bytes.
//!
//! `FANFARE_UPDATE_GOLDEN=1 cargo test -p fanfare-protocol --test golden` rewrites the files; look at what
//! changed before committing it, since these bytes are what other programs read.

mod envelopes;
mod fixtures;
mod messages;

use std::fs;
use std::path::PathBuf;

use fanfare_protocol::{Command, Encoding, Reply, WriteJson};
use serde::de::DeserializeOwned;

/// Checks a message by itself: it is written as the files have it, and the files are read as the message.
fn check<M>(name: &str, message: &M)
where
    M: prost::Message + Default + PartialEq + WriteJson + DeserializeOwned,
{
    let mut json = Vec::new();
    message.write_json(&mut json);
    check_file(&format!("{name}.json"), &json);
    check_file(&format!("{name}.pb"), &message.encode_to_vec());
    assert!(&serde_json::from_slice::<M>(&json).expect(name) == message, "{name}: the JSON is read as something else");
    assert!(
        &M::decode(&*message.encode_to_vec()).expect(name) == message,
        "{name}: the Protobuf is read as something else"
    );
}

/// Checks a frame of commands.
fn check_commands(name: &str, commands: &[Command]) {
    for (encoding, extension) in ENCODINGS {
        let frame = frame(encoding, commands, |command, out| encoding.encode_command(command, out));
        check_file(&format!("{name}.{extension}"), &frame);
        let read: Result<Vec<_>, _> = encoding.decode_commands(&frame).collect();
        assert_eq!(read.as_deref(), Ok(commands));
    }
}

/// Checks a frame of replies.
fn check_replies(name: &str, replies: &[Reply]) {
    for (encoding, extension) in ENCODINGS {
        let frame = frame(encoding, replies, |reply, out| encoding.encode_reply(reply, out));
        check_file(&format!("{name}.{extension}"), &frame);
        let read: Result<Vec<_>, _> = encoding.decode_replies(&frame).collect();
        assert_eq!(read.as_deref(), Ok(replies));
    }
}

const ENCODINGS: [(Encoding, &str); 2] = [(Encoding::Json, "json"), (Encoding::Protobuf, "pb")];

fn frame<T>(encoding: Encoding, units: &[T], encode: impl Fn(&T, &mut Vec<u8>)) -> Vec<u8> {
    let units = units.iter().map(|unit| {
        let mut out = Vec::new();
        encode(unit, &mut out);
        out
    });
    let mut frame = Vec::new();
    encoding.join(units, &mut frame);
    frame
}

fn check_file(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("FANFARE_UPDATE_GOLDEN").is_some() {
        fs::write(&path, bytes).expect("the golden folder can be written to");
        return;
    }
    let golden = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}; see the top of this file"));
    assert!(golden == bytes, "{name}: written is {:?}", String::from_utf8_lossy(bytes));
}
