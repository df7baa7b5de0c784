//! What the fuzz targets reach of the ingest stream.

use bytes::Bytes;
use fanfare_broker::Publish;
use fanfare_broker::namespaces::Namespaces;
use fanfare_protocol::{Channel, PayloadLimits};

use super::entry::{Entry, Id, Judge};

/// What an entry with these fields asks for; `None` for a poisoned one.
pub fn entry(fields: Vec<(Bytes, Bytes)>, namespaces: &Namespaces) -> Option<(Channel, Publish)> {
    let entry = Entry { id: Id::default(), fields, bytes: 0, too_large: false, poison: None };
    let (channel_bytes_max, payload) = (Channel::BYTES_MAX, PayloadLimits::default());
    Judge { namespaces, channel_bytes_max, payload: &payload, now_millis: 0 }.judge(&entry).ok()
}
