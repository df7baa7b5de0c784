//! The JSON form of messages: what a field looks like, whatever message it is in.
//!
//! Payloads (`bytes` fields) are embedded JSON texts. They are kept byte for byte when read, and copied
//! without their line feeds when written, since a line feed ends a frame's unit; nothing validates them on
//! the way out. Both directions are driven by the message declarations in `message`.

mod field;
mod read;
mod write;

pub(crate) use read::{Key, ReadJson, read_object, read_once, skip_unknown};
pub(crate) use write::{close_object, present_bytes, write_always, write_present};

/// Writes a message as one JSON object without line feeds.
pub trait WriteJson {
    /// Appends the object to `out`.
    fn write_json(&self, out: &mut Vec<u8>);

    /// About how many bytes [`write_json`](Self::write_json) appends, to reserve them at once. Escapes can
    /// make it more.
    fn json_bytes(&self) -> usize;
}

/// A field of a message: a scalar, a payload, a message, or several of them.
pub(crate) trait Field: Default {
    /// Whether the field has its zero value, and is left out.
    fn is_zero(&self) -> bool;

    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);

    /// About how many bytes `write` appends.
    fn bytes(&self) -> usize;

    /// Reads the value; null is the zero value.
    fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}
