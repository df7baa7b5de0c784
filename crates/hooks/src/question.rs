//! What a backend is asked: the JSON of protocol §21.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_gateway::{Caller, Payload};
use fanfare_protocol::Encoding;
use serde::Serialize;
use serde_json::value::RawValue;

/// The fields of every hook; those that a hook does not have are left out.
#[derive(Debug, Serialize)]
pub(crate) struct Question<'a> {
    pub(crate) client: &'a str,
    pub(crate) transport: &'static str,
    pub(crate) protocol: &'static str,
    /// Whether payloads are JSON in `data`, or base64 in `b64data`.
    pub(crate) encoding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) version: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) channels: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) b64data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) meta: Option<&'a RawValue>,
}

impl<'a> Question<'a> {
    /// The question of somebody whose user is not known yet.
    pub(crate) fn of_client(caller: &'a Caller) -> Self {
        Self {
            client: &caller.client,
            transport: "websocket",
            protocol: match caller.encoding {
                Encoding::Json => "json",
                Encoding::Protobuf => "protobuf",
            },
            encoding: "json",
            user: None,
            channel: None,
            method: None,
            name: "",
            version: "",
            channels: &[],
            data: None,
            b64data: None,
            meta: raw(&caller.meta),
        }
    }

    /// The question of a user.
    pub(crate) fn of_user(caller: &'a Caller) -> Self {
        Self { user: Some(&caller.user), ..Self::of_client(caller) }
    }

    /// The same with a payload: in `data` if it is JSON, else as base64.
    pub(crate) fn with(self, payload: &'a Payload) -> Self {
        match payload.json.then(|| raw(&payload.data)).flatten() {
            Some(data) => Self { data: Some(data), ..self },
            None if payload.data.is_empty() => self,
            None => Self { encoding: "binary", b64data: Some(STANDARD.encode(&payload.data)), ..self },
        }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and raw values can be written as JSON")
    }
}

fn raw(json: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;

    fn caller(encoding: Encoding, meta: &'static str) -> Caller {
        let headers = Arc::from([]);
        Caller {
            client: "c1".to_owned(),
            user: "42".to_owned(),
            encoding,
            headers,
            meta: Bytes::from_static(meta.as_bytes()),
        }
    }

    #[track_caller]
    fn check(question: &Question<'_>, expected: &str) {
        assert_eq!(String::from_utf8(question.to_json()).unwrap(), expected);
    }

    #[test]
    fn fields_that_say_nothing_are_left_out() {
        let caller = caller(Encoding::Json, "");
        check(
            &Question::of_client(&caller),
            r#"{"client":"c1","transport":"websocket","protocol":"json","encoding":"json"}"#,
        );
        check(
            &Question { channel: Some("news"), ..Question::of_user(&caller) },
            r#"{"client":"c1","transport":"websocket","protocol":"json","encoding":"json","user":"42","channel":"news"}"#,
        );
    }

    #[test]
    fn a_payload_stands_as_it_is_or_as_base64() {
        let caller = caller(Encoding::Protobuf, r#"{"m":1}"#);
        let json = Payload { data: Bytes::from_static(br#"{"a":1.0}"#), json: true };
        check(
            &Question { method: Some("sum"), ..Question::of_user(&caller).with(&json) },
            r#"{"client":"c1","transport":"websocket","protocol":"protobuf","encoding":"json","user":"42","method":"sum","data":{"a":1.0},"meta":{"m":1}}"#,
        );
        let binary = Payload { data: Bytes::from_static(b"\xff\x00"), json: false };
        check(
            &Question::of_client(&caller).with(&binary),
            r#"{"client":"c1","transport":"websocket","protocol":"protobuf","encoding":"binary","b64data":"/wA=","meta":{"m":1}}"#,
        );
    }
}
