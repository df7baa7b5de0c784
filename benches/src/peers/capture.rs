//! The exact bytes of a publication as a node writes them, taken from a connection of our own: in the channel that the load
//! tester uses, with a payload such as its own, and with an offset as long as those of a run.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use super::tester::PAYLOAD_BYTES;
use crate::clients::masked_text;
use crate::node::{self, API_KEY};

const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Subscribes, publishes so often, and returns the last publication's whole frame.
pub(crate) fn frame(port: u16, publications: u32) -> io::Result<Vec<u8>> {
    let mut stream = subscribed(port)?;
    let mut api = connect(port)?;
    let payload = payload(publications);
    let mut reader = Frames::default();
    let mut last = Vec::new();
    for _ in 0..publications {
        publish(&mut api, &payload)?;
        last = reader.next(&mut stream)?;
    }
    if last.windows(payload.len()).any(|part| part == payload.as_bytes()) {
        return Ok(last);
    }
    Err(io::Error::other("the frame that came is no publication"))
}

/// As the load tester publishes: a stamp, and what is missing to the length of a payload. The stamp is of a run that it knows
/// nothing of: it is found and read, and counts for nothing.
fn payload(number: u32) -> String {
    let due_ns = u64::from(number) * 1_000_000;
    let stamp = format!("fanfare~{:04x}{:06x}{number:08x}{due_ns:014x}", u16::MAX, 0);
    let around = r#"{"stamp":"","fill":""}"#.len();
    let fill = "x".repeat(PAYLOAD_BYTES - stamp.len() - around);
    format!(r#"{{"stamp":"{stamp}","fill":"{fill}"}}"#)
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    Ok(stream)
}

fn subscribed(port: u16) -> io::Result<TcpStream> {
    let mut stream = connect(port)?;
    let upgrade = format!(
        "GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes())?;
    read_until(&mut stream, "\r\n\r\n")?;
    stream.write_all(&masked_text(&format!("{{\"id\":1,\"connect\":{{\"token\":\"{}\"}}}}", node::token(0))))?;
    read_until(&mut stream, "{\"id\":1,\"connect\":{")?;
    stream.write_all(&masked_text("{\"id\":2,\"subscribe\":{\"channel\":\"bench\"}}"))?;
    read_until(&mut stream, "{\"id\":2,\"subscribe\":{")?;
    Ok(stream)
}

fn publish(api: &mut TcpStream, payload: &str) -> io::Result<()> {
    let request = format!(
        "POST /api/publish/bench HTTP/1.1\r\nHost: node\r\nX-API-Key: {API_KEY}\r\nContent-Length: {}\r\n\r\n{payload}",
        payload.len()
    );
    api.write_all(request.as_bytes())?;
    read_until(api, "{\"result\":")
}

/// Reads until a text has come by. Nothing comes behind an answer that is waited for.
fn read_until(stream: &mut TcpStream, wanted: &str) -> io::Result<()> {
    let (mut seen, mut buffer) = (String::new(), [0; 4_096]);
    while !seen.contains(wanted) {
        let length = stream.read(&mut buffer)?;
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if length == 0 {
            return Err(io::Error::other(format!("instead of {wanted:?} came {seen:?}")));
        }
    }
    Ok(())
}

/// Cuts what is read into frames.
#[derive(Debug, Default)]
struct Frames {
    read: Vec<u8>,
}

impl Frames {
    fn next(&mut self, stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 4_096];
        loop {
            if let Some(length) = frame_length(&self.read).filter(|length| *length <= self.read.len()) {
                return Ok(self.read.drain(..length).collect());
            }
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read.extend_from_slice(&buffer[..length]);
        }
    }
}

/// The length of the unmasked frame that begins here, header included.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    match *bytes.get(1)? {
        126 => Some(4 + usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        short @ 0..126 => Some(2 + usize::from(short)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_as_long_as_those_of_a_run_and_its_stamp_too() {
        let payload = payload(300);
        assert_eq!(payload.len(), PAYLOAD_BYTES);
        let empty = payload.replace('x', "");
        assert_eq!(empty.len(), fanfare_loadtest::PAYLOAD_BYTES_MIN, "{empty}");
    }

    #[test]
    fn a_frame_is_as_long_as_its_header_says() {
        assert_eq!(frame_length(&[0x81, 5]), Some(7));
        assert_eq!(frame_length(&[0x81, 126, 1, 0]), Some(260));
        assert_eq!(frame_length(&[0x81, 126, 1]), None);
        assert_eq!(frame_length(&[]), None);
    }
}
