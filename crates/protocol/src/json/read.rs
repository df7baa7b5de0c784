//! Reading fields, on serde_json's parser.
//!
//! Stricter than serde's derived code: a message is an object, never an array, and a key appears once, in
//! maps as in messages, and in its own case.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Field;

/// Key of an object, borrowed from the text unless it has escapes.
pub(crate) struct Key<'de>(pub(crate) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(key)))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(key.to_owned())))
    }
}

/// A message, field by field.
pub(crate) trait ReadJson: Sized {
    /// Reads the fields of an object; unknown ones are skipped.
    fn read_fields<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error>;
}

/// Takes an object for a message, and nothing else.
pub(crate) fn read_object<'de, M: ReadJson, D: Deserializer<'de>>(deserializer: D) -> Result<M, D::Error> {
    deserializer.deserialize_map(ObjectVisitor(PhantomData))
}

struct ObjectVisitor<M>(PhantomData<M>);

impl<'de, M: ReadJson> Visitor<'de> for ObjectVisitor<M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<M, A::Error> {
        M::read_fields(map)
    }
}

/// Any field, read through serde.
struct Value<T>(T);

impl<'de, T: Field> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Value)
    }
}

/// Reads the value of a key that may appear once.
pub(crate) fn read_once<'de, T: Field, A: MapAccess<'de>>(
    map: &mut A,
    field: &mut Option<T>,
    key: &'static str,
) -> Result<(), A::Error> {
    if field.is_some() {
        return Err(A::Error::duplicate_field(key));
    }
    let Value(value) = map.next_value()?;
    *field = Some(value);
    Ok(())
}

/// Skips the value of an unknown key. A known key in another case is refused: it was meant, and reading it
/// as absent would do something else than what was asked for.
pub(crate) fn skip_unknown<'de, A: MapAccess<'de>>(
    map: &mut A,
    key: &str,
    known: &'static [&'static str],
) -> Result<(), A::Error> {
    match known.iter().find(|known| known.eq_ignore_ascii_case(key)) {
        Some(known) => Err(A::Error::custom(format_args!("`{known}` in another case"))),
        None => map.next_value().map(|IgnoredAny| ()),
    }
}

/// Reads a value for which null is zero.
pub(super) fn read_plain<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads a message, or null for none.
pub(super) fn read_message<'de, M: ReadJson, D: Deserializer<'de>>(deserializer: D) -> Result<Option<M>, D::Error> {
    let message: Option<Object<M>> = Option::deserialize(deserializer)?;
    Ok(message.map(|Object(message)| message))
}

struct Object<M>(M);

impl<'de, M: ReadJson> Deserialize<'de> for Object<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_object(deserializer).map(Object)
    }
}

/// Reads the text of any value, null too. It is copied: the caller's buffer is not kept alive by it.
pub(super) fn read_payload<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(Bytes::copy_from_slice(raw.get().as_bytes()))
}

pub(super) fn read_list<'de, T: Field, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let items: Vec<Value<T>> = read_plain(deserializer)?;
    Ok(items.into_iter().map(|Value(item)| item).collect())
}

pub(super) fn read_map<'de, T, D>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    T: Field,
    D: Deserializer<'de>,
{
    let Entries(entries) = read_plain(deserializer)?;
    Ok(entries)
}

struct Entries<T>(BTreeMap<String, T>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Field> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Field> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, Value(value))) = map.next_entry::<String, Value<T>>()? {
            if entries.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key"));
            }
        }
        Ok(Entries(entries))
    }
}
