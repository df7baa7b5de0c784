//! Publishing as a client over a WebSocket: a command of the client protocol, or a plain message.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use fanfare_protocol::{Command, ConnectRequest, Encoding, PublishRequest};

use super::dialect::{Dialect, Heard, Known};
use crate::adapter::Tokens;
use crate::target::Target;
use crate::websocket::{Opcode, first_frame, read_upgrade, write_frame, write_upgrade};

/// Publishes by a command of the Centrifuge client protocol, in JSON.
pub(crate) struct ClientPublish {
    pub(crate) target: Target,
    pub(crate) tokens: Option<Tokens>,
}

/// Sends the payload as a text message. `{channel}` in the path is the channel's name, of which there is only one.
#[derive(Debug)]
pub(crate) struct PlainPublish {
    pub(crate) target: Target,
    pub(crate) channel: String,
}

/// The id of all commands that publish: answers come in order.
const PUBLISH: u32 = 2;

/// The user that publishes: after all subscribers.
const PUBLISHER: usize = 10_000_000;

/// Upgrades; returns what was read beyond the answer.
fn upgrade(stream: &mut TcpStream, target: &Target, path: &str) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    write_upgrade(&target.host, path, "", &mut request);
    stream.write_all(&request)?;
    let mut read = Vec::new();
    loop {
        if let Some(end) = read_upgrade(&read).map_err(io::Error::other)? {
            return Ok(read.split_off(end));
        }
        receive(stream, &mut read)?;
    }
}

fn receive(stream: &mut TcpStream, into: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 4_096];
    match stream.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => {
            into.extend_from_slice(&buffer[..length]);
            Ok(())
        }
    }
}

impl ClientPublish {
    fn say_command(command: &Command, out: &mut Vec<u8>) {
        let mut text = Vec::new();
        Encoding::Json.encode_command(command, &mut text);
        write_frame(Opcode::Text, &text, out);
    }
}

impl Dialect for ClientPublish {
    fn open(&self, stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        let mut read = upgrade(stream, &self.target, &self.target.path)?;
        let token = self.tokens.as_ref().map(|make| make(PUBLISHER)).unwrap_or_default();
        let connect = Some(ConnectRequest { token, ..ConnectRequest::default() });
        let mut out = Vec::new();
        Self::say_command(&Command { id: 1, connect, ..Command::default() }, &mut out);
        stream.write_all(&out)?;
        loop {
            let frame = first_frame(&read).map_err(io::Error::other)?;
            let Some(frame) = frame else {
                receive(stream, &mut read)?;
                continue;
            };
            let message = &read[frame.payload.clone()];
            if memchr::memmem::find(message, b"\"connect\"").is_some() {
                return Ok(read.split_off(frame.payload.end));
            }
            return Err(io::Error::other(format!(
                "the server refused to connect: {}",
                String::from_utf8_lossy(message)
            )));
        }
    }

    fn say(&self, channel: &str, payload: &[u8], out: &mut Vec<u8>) {
        let data = bytes::Bytes::copy_from_slice(payload);
        let publish = Some(PublishRequest { channel: channel.to_owned(), data, ..PublishRequest::default() });
        Self::say_command(&Command { id: PUBLISH, publish, ..Command::default() }, out);
    }

    fn hear(&self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<Option<Heard>> {
        hear_frame(bytes, out, |message, out| {
            let mut known = Vec::new();
            for reply in Encoding::Json.decode_replies(message).flatten() {
                match reply.error {
                    Some(error) if reply.id == PUBLISH => {
                        known.push(Known::refused(format!("error {}: {}", error.code, error.message).as_bytes()));
                    }
                    None if reply.id == PUBLISH => known.push(Known::Acknowledged),
                    _ if reply.id == 0 && reply.push.is_none() => write_frame(Opcode::Text, b"{}", out),
                    _ => {}
                }
            }
            known
        })
    }
}

impl Dialect for PlainPublish {
    fn open(&self, stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        upgrade(stream, &self.target, &self.target.path.replace("{channel}", &self.channel))
    }

    fn say(&self, _channel: &str, payload: &[u8], out: &mut Vec<u8>) {
        write_frame(Opcode::Text, payload, out);
    }

    fn hear(&self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<Option<Heard>> {
        hear_frame(bytes, out, |_, _| Vec::new())
    }

    fn answers(&self) -> bool {
        false
    }
}

fn hear_frame(
    bytes: &[u8],
    out: &mut Vec<u8>,
    hear: impl Fn(&[u8], &mut Vec<u8>) -> Vec<Known>,
) -> io::Result<Option<Heard>> {
    let Some(frame) = first_frame(bytes).map_err(io::Error::other)? else { return Ok(None) };
    let payload = &bytes[frame.payload.clone()];
    let known = match frame.opcode {
        Opcode::Text | Opcode::Binary | Opcode::Continuation => hear(payload, out),
        Opcode::Ping => {
            write_frame(Opcode::Pong, payload, out);
            Vec::new()
        }
        Opcode::Pong => Vec::new(),
        Opcode::Close => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    Ok(Some(Heard::of(frame.payload.end, known)))
}
