//! Publishing over HTTP/1.1: Fanfare's and Centrifugo's server API, Nchan, Pusher's API with its signature.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use md5::{Digest as _, Md5};
use memchr::memmem;

use super::dialect::{Dialect, Heard, Known};

/// The most that an answer may take.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How an HTTP request publishes.
#[derive(Debug)]
pub(crate) enum Http {
    /// `POST /api/publish` with the channel in the body.
    Api { host: String, path: String, key: Option<String> },
    /// `POST` to a path with the channel in it, and the payload as it is.
    Path { host: String, path: String },
    /// `POST /apps/ID/events`.
    Pusher { host: String, keys: PusherKeys },
}

/// What a Pusher application signs with.
#[derive(Clone)]
pub struct PusherKeys {
    /// The application's id.
    pub id: String,
    /// Its public key.
    pub key: String,
    /// Its secret.
    pub secret: String,
}

impl std::fmt::Debug for PusherKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PusherKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PusherKeys {
    /// The path with its signature for a body, at a time in seconds since 1970.
    fn signed(&self, body: &[u8], now: u64) -> String {
        let path = format!("/apps/{}/events", self.id);
        let md5 = hexadecimal(&Md5::digest(body));
        let query = format!("auth_key={}&auth_timestamp={now}&auth_version=1.0&body_md5={md5}", self.key);
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signature = hmac::sign(&key, format!("POST\n{path}\n{query}").as_bytes());
        format!("{path}?{query}&auth_signature={}", hexadecimal(signature.as_ref()))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_request(out: &mut Vec<u8>, [host, path, headers]: [&str; 3], body: &[&[u8]]) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    out.extend_from_slice(
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n").as_bytes(),
    );
    body.iter().for_each(|part| out.extend_from_slice(part));
}

const JSON: &str = "Content-Type: application/json\r\n";

impl Dialect for Http {
    fn say(&self, channel: &str, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Api { host, path, key } => {
                let key = key.as_ref().map_or_else(String::new, |key| format!("X-API-Key: {key}\r\n"));
                // Channel names of a run need no escapes.
                let begin = format!("{{\"channel\":\"{channel}\",\"data\":");
                write_request(out, [host, path, &(key + JSON)], &[begin.as_bytes(), payload, b"}"]);
            }
            Self::Path { host, path } => {
                write_request(out, [host, &path.replace("{channel}", channel), ""], &[payload]);
            }
            Self::Pusher { host, keys } => {
                let data = String::from_utf8_lossy(payload);
                let body = serde_json::json!({"name": "bench", "channels": [channel], "data": data}).to_string();
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                write_request(out, [host, &keys.signed(body.as_bytes(), now), JSON], &[body.as_bytes()]);
            }
        }
    }

    fn hear(&self, bytes: &[u8], _out: &mut Vec<u8>) -> io::Result<Option<Heard>> {
        let Some(answer) = Answer::first(bytes)? else { return Ok(None) };
        let good = answer.status.starts_with(b"2")
            && memmem::find(&answer.body[..answer.body.len().min(12)], b"\"error\"").is_none();
        let known =
            if good { Known::Acknowledged } else { Known::refused(&[answer.status, b": ", answer.body].concat()) };
        Ok(Some(Heard { closes: answer.closes, ..Heard::of(answer.bytes, vec![known]) }))
    }
}

/// A whole answer at the front of some bytes.
struct Answer<'a> {
    /// From the status code on.
    status: &'a [u8],
    body: &'a [u8],
    bytes: usize,
    closes: bool,
}

impl<'a> Answer<'a> {
    fn first(bytes: &'a [u8]) -> io::Result<Option<Self>> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP/1.1");
        let Some(head) = memmem::find(bytes, b"\r\n\r\n") else {
            return if bytes.len() > ANSWER_BYTES_MAX { Err(invalid()) } else { Ok(None) };
        };
        let (lines, rest) = (&bytes[..head], &bytes[head + 4..]);
        let status = lines.split(|byte| *byte == b'\r').next().and_then(|line| line.strip_prefix(b"HTTP/1.1 "));
        let status = status.ok_or_else(invalid)?;
        let text = String::from_utf8_lossy(lines).to_ascii_lowercase();
        let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length = match (header("content-length:"), header("transfer-encoding:")) {
            (Some(length), _) => length.parse::<usize>().map_err(|_| invalid())?,
            (None, Some("chunked")) => match memmem::find(rest, b"0\r\n\r\n") {
                Some(at) => at + 5,
                None if rest.len() > ANSWER_BYTES_MAX => return Err(invalid()),
                None => return Ok(None),
            },
            _ => 0,
        };
        let closes = header("connection:") == Some("close");
        if length > ANSWER_BYTES_MAX {
            return Err(invalid());
        }
        Ok(rest.get(..length).map(|body| Self { status, body, bytes: head + 4 + length, closes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> Http {
        Http::Api { host: "h".to_owned(), path: "/api/publish".to_owned(), key: Some("k".to_owned()) }
    }

    fn heard(bytes: &[u8]) -> Option<Heard> {
        api().hear(bytes, &mut Vec::new()).unwrap()
    }

    #[test]
    fn answers_are_taken_one_by_one() {
        let two =
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!!";
        let first = heard(two).unwrap();
        let length = first.bytes;
        assert_eq!((first.known, first.closes), (vec![Known::Acknowledged], false));
        assert_eq!(heard(&two[length..]).unwrap().known, [Known::Refused("403 Forbidden: no!!".to_owned())]);
        assert_eq!(heard(&two[..length - 1]), None);
        let endless = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), vec![b'1'; 2 << 20]].concat();
        assert!(api().hear(&endless, &mut Vec::new()).is_err());
        assert!(api().hear(b"SSH-2.0\r\n\r\n", &mut Vec::new()).is_err());
    }

    #[test]
    fn a_server_that_ends_the_connection_behind_its_answer_says_so() {
        assert!(heard(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}").unwrap().closes);
    }

    #[test]
    fn an_error_in_the_body_is_a_refusal() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{\"error\":{\"code\":103}}";
        assert!(matches!(heard(answer).unwrap().known[..], [Known::Refused(_)]));
    }

    #[test]
    fn a_request_carries_channel_payload_and_key() {
        let mut out = Vec::new();
        api().say("bench", b"{\"a\":1}", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("X-API-Key: k\r\n") && text.contains("Content-Length: 34\r\n"), "{text}");
        assert!(text.ends_with("{\"channel\":\"bench\",\"data\":{\"a\":1}}"), "{text}");
    }

    /// The example of the protocol's own documentation.
    #[test]
    fn the_signature_is_that_of_the_documentation() {
        let keys = PusherKeys {
            id: "3".to_owned(),
            key: "278d425bdf160c739803".to_owned(),
            secret: "7ad3773142a6692b25b8".to_owned(),
        };
        let body = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        let signed = keys.signed(body, 1_353_088_179);
        assert!(signed.contains("body_md5=ec365a775a4cd0599faeb73354201b6f"), "{signed}");
        assert!(signed.ends_with("da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"), "{signed}");
    }
}
