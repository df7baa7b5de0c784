//! What the fuzz targets reach of this crate. Each panics where something does not hold.

use fanfare_broker::{Control, Publication};
use fanfare_protocol::{Channel, PayloadLimits, payload};
use prost::Message as _;

use crate::envelope::Envelope;
use crate::wire::{Answer, Request};
use crate::{envelope, resp};

pub use crate::ingest::fuzzing::entry;

/// The publication that a message on a pub/sub channel holds, if it holds one.
pub fn envelope(message: &[u8], channel: &Channel) -> Option<Publication> {
    let limits = PayloadLimits::default();
    let is_ours = message.first().is_some_and(|first| *first < 8);
    let body = match Envelope::read(message, &limits).ok()? {
        Envelope::Placed { offset, epoch, body } => {
            assert!(offset > 0 && !epoch.is_empty(), "no position");
            body
        }
        Envelope::Live(body) => body,
        Envelope::Join(info) => {
            assert_eq!(Envelope::read(&envelope::join(&info), &limits), Ok(Envelope::Join(info)));
            return None;
        }
        Envelope::Leave(info) => {
            assert_eq!(Envelope::read(&envelope::leave(&info), &limits), Ok(Envelope::Leave(info)));
            return None;
        }
    };
    let publication = body.into_publication(channel.clone(), None);
    let limits = PayloadLimits { bytes_max: usize::MAX, ..limits };
    let is_json = || payload::inspect(&publication.data, &limits) == Ok(true);
    assert!(is_ours || publication.json, "a foreign message is JSON");
    assert!(!publication.json || is_json(), "what is called JSON is");
    Some(publication)
}

/// What another node asks for by these bytes, if they ask for something that is known.
pub fn control(message: &[u8]) -> Option<Control> {
    drop(Answer::decode(message));
    Request::decode(message).ok()?.command?.into_control()
}

/// Reads what a server says until it breaks off. No prefix of a frame is one, and each has an end.
pub fn resp(mut input: &[u8]) {
    const PAYLOAD_BYTES_MAX: usize = 64;
    while let Ok(Some((frame, length))) = resp::read(input, PAYLOAD_BYTES_MAX) {
        assert!(length > 0 && length <= input.len(), "{length} of {} bytes", input.len());
        if let resp::Frame::Message { payload, .. } = frame {
            assert!(payload.len() <= PAYLOAD_BYTES_MAX, "{} bytes", payload.len());
        }
        for end in 0..length {
            assert_eq!(resp::read(&input[..end], PAYLOAD_BYTES_MAX), Ok(None), "a frame cut at {end}");
        }
        input = &input[length..];
    }
}
