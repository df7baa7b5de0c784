//! The yardstick for a load tester: it answers the WebSocket upgrade of so many sockets, then writes one captured frame to
//! each of them at a pace, and does nothing else. What it is sent it ignores.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::Outcome;

/// The word of the command line that runs it.
pub(crate) const COMMAND: &str = "paced-loop";

/// As of a node: the standard listener's 128 are too few for a load tester that connects all at once.
const BACKLOG: i32 = 4_096;

/// As of a node (limits.unsent_bytes_max): the same work of the kernel for each write.
const UNSENT_BYTES_MAX: u32 = 16 * 1_024;

/// Longest head of an upgrade that is read.
const HEAD_BYTES_MAX: usize = 8 * 1_024;

/// What the loop writes, to how many, and how often.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Load {
    pub(crate) port: u16,
    pub(crate) sockets: usize,
    /// Messages a second on each socket, however many of them are in a write.
    pub(crate) messages_per_second: u32,
    pub(crate) messages_per_write: usize,
    /// A whole WebSocket frame.
    pub(crate) frame: Vec<u8>,
}

impl Load {
    /// As words of a command line.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let numbers = [
            self.port.to_string(),
            self.sockets.to_string(),
            self.messages_per_second.to_string(),
            self.messages_per_write.to_string(),
        ];
        let hex = self.frame.iter().map(|byte| format!("{byte:02x}")).collect();
        [COMMAND.to_owned()].into_iter().chain(numbers).chain([hex]).collect()
    }

    /// From those words, without the first.
    pub(crate) fn parse(words: &[String]) -> Option<Self> {
        let [port, sockets, rate, messages, hex] = words else { return None };
        let bytes = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        Some(Self {
            port: port.parse().ok()?,
            sockets: sockets.parse().ok()?,
            messages_per_second: rate.parse().ok().filter(|rate| *rate > 0)?,
            messages_per_write: messages.parse().ok().filter(|messages| *messages > 0)?,
            frame: bytes.collect::<Option<_>>()?,
        })
    }

    fn between_writes(&self) -> Duration {
        Duration::from_secs_f64(self.messages_per_write as f64 / f64::from(self.messages_per_second))
    }
}

/// What the process runs, until the first socket is closed.
pub(crate) fn run(load: &Load) -> Outcome {
    let listener = listen(load.port)?;
    let mut streams = Vec::with_capacity(load.sockets);
    while streams.len() < load.sockets {
        // Who only looks whether there is somebody goes away without a word.
        if let Ok(stream) = upgrade(listener.accept()?.0) {
            streams.push(stream);
        }
    }
    let written = load.frame.repeat(load.messages_per_write);
    let mut due = Instant::now();
    loop {
        for stream in &mut streams {
            if stream.write_all(&written).is_err() {
                return Ok(());
            }
        }
        due += load.between_writes();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn upgrade(mut stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    let head = read_head(&mut stream)?;
    let key = key(&head).ok_or(io::ErrorKind::InvalidData)?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    stream.write_all(answer.as_bytes())?;
    Ok(stream)
}

fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let (mut head, mut buffer) = (Vec::new(), [0; 1_024]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = stream.read(&mut buffer)?;
        if length == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn key(head: &str) -> Option<&str> {
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    headers.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")).map(|(_, value)| value.trim()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        Load { port: 9_000, sockets: 10, messages_per_second: 50, messages_per_write: 4, frame: vec![0x81, 1, b'x'] }
    }

    #[test]
    fn a_load_survives_the_command_line() {
        let words = load().arguments();
        assert_eq!(words[0], COMMAND);
        assert_eq!(Load::parse(&words[1..]), Some(load()));
    }

    #[test]
    fn a_load_without_a_pace_is_refused() {
        let mut words = load().arguments();
        words[3] = "0".to_owned();
        assert_eq!(Load::parse(&words[1..]), None);
        assert_eq!(Load::parse(&words[1..3]), None);
    }

    #[test]
    fn writes_are_as_rare_as_their_messages_are_many() {
        assert_eq!(load().between_writes(), Duration::from_millis(80));
    }

    #[test]
    fn the_key_is_found_in_a_head() {
        assert_eq!(key("GET / HTTP/1.1\r\nsec-websocket-KEY:  abc \r\n\r\n"), Some("abc"));
        assert_eq!(key("GET / HTTP/1.1\r\n\r\n"), None);
    }
}
