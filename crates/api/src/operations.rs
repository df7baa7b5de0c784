//! What the methods do, by subject, and what they judge alike: channels, payloads, names.

mod history;
mod node;
mod presence;
mod publications;
mod revocations;
mod sessions;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fanfare_broker::namespaces::ChannelOptions;
use fanfare_protocol::{Channel, ErrorCode, PayloadError, payload};
use serde_json::value::RawValue;

use crate::Api;
use crate::error::Error;
use crate::limits::NAME_BYTES_MAX;

impl Api {
    /// A channel by its name, and its options.
    fn channel(&self, name: Option<&str>) -> Result<(Channel, &ChannelOptions), Error> {
        let name = name.ok_or_else(|| Error::bad_request("the field channel is missing"))?;
        let channel = Channel::parse(name).map_err(Error::bad_request)?;
        let (bytes, max) = (name.len(), self.limits.channel_bytes_max);
        if bytes > max {
            let message = format!("the channel name has {bytes} bytes, at most {max} are allowed");
            return Err(Error::bad_request(format!("{message} (limits.channel_bytes_max)")));
        }
        match self.namespaces.options(&channel) {
            Some(options) => Ok((channel, options)),
            None => Err(self.unknown_namespace(&channel)),
        }
    }

    fn unknown_namespace(&self, channel: &Channel) -> Error {
        let section = self.namespaces.section(channel);
        Error::new(
            ErrorCode::UnknownChannel,
            format!("the namespace of \"{channel}\" is not configured; add {section}"),
        )
    }

    /// Something that the channel's namespace does not offer.
    fn not_available(&self, channel: &Channel, what: &str, key: &str) -> Error {
        let section = self.namespaces.section(channel);
        Error::new(ErrorCode::NotAvailable, format!("\"{channel}\" has no {what}; see {key} in {section}"))
    }

    /// Whether a payload is JSON; an error where it is over a limit.
    pub(crate) fn is_json(&self, data: &[u8]) -> Result<bool, Error> {
        payload::inspect(data, &self.limits.payload).map_err(|error| match error {
            PayloadError::TooLarge { .. } => Error::bad_request(format!("{error} (limits.payload_bytes_max)")),
            PayloadError::TooDeep { .. } => Error::bad_request(error),
        })
    }

    /// JSON for clients, given plain or as base64; the latter wins. Empty without either.
    fn json_value(&self, plain: Option<&RawValue>, base64: Option<&str>, name64: &str) -> Result<Bytes, Error> {
        let data = match base64.filter(|encoded| !encoded.is_empty()) {
            Some(encoded) => decoded(encoded, name64)?,
            None => plain.map(raw_bytes).unwrap_or_default(),
        };
        if data.is_empty() || self.is_json(&data)? {
            return Ok(data);
        }
        Err(Error::bad_request(format!("{name64} does not hold JSON")))
    }
}

fn raw_bytes(raw: &RawValue) -> Bytes {
    // A copy: a slice of the body would keep the whole body alive for as long as the publication.
    Bytes::copy_from_slice(raw.get().as_bytes())
}

fn decoded(encoded: &str, name: &str) -> Result<Bytes, Error> {
    let decoded =
        STANDARD.decode(encoded).map_err(|error| Error::bad_request(format!("{name} is not base64: {error}")))?;
    Ok(decoded.into())
}

/// What is given: neither absent nor empty.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A name that is given, of bounded length.
fn name(text: Option<String>, field: &str) -> Result<Option<String>, Error> {
    match given(text) {
        Some(name) if name.len() > NAME_BYTES_MAX => {
            Err(Error::bad_request(format!("{field} has {} bytes, at most {NAME_BYTES_MAX} are allowed", name.len())))
        }
        other => Ok(other),
    }
}
