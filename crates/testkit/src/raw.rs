//! A client below the WebSocket protocol: writes any bytes, reads frames as they come.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::patience::within;

/// A TCP connection to a node.
pub struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The first byte: FIN, reserved bits, opcode.
    pub first: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk().filter(|_| self.first == 0x88);
        code.map(|code| u16::from_be_bytes(*code))
    }
}

/// A frame of a client, masked with zeros; `first` is FIN, reserved bits and opcode.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

impl Raw {
    /// Connects and says nothing.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a TCP connection", TcpStream::connect(address)).await.expect("the node listens");
        stream.set_nodelay(true).expect("the socket is open");
        Self { stream, unread: Vec::new() }
    }

    /// Connects and asks for a WebSocket with a good handshake; `behind` goes out with the request.
    pub async fn upgrade(address: SocketAddr, query: &str, behind: &[u8]) -> Self {
        let mut raw = Self::connect(address).await;
        let request = format!(
            "GET /connection/websocket?{query} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        raw.write(&[request.as_bytes(), behind].concat()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// Writes bytes.
    pub async fn write(&mut self, bytes: &[u8]) {
        within("bytes to be written", self.stream.write_all(bytes)).await.expect("the node takes bytes");
    }

    /// Ends this side.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("the socket is open");
    }

    /// Reads the head of an HTTP answer.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.unread.drain(..at + 4).collect();
                return String::from_utf8(head).expect("a head is text");
            }
            assert!(self.read().await, "the connection ended before the answer");
        }
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Some(frame);
            }
            if !self.read().await {
                assert!(self.unread.is_empty(), "the connection ended within a frame: {:?}", self.unread);
                return None;
            }
        }
    }

    /// Reads everything to the end of the connection; returns how many bytes there were.
    pub async fn read_to_end(&mut self) -> usize {
        while self.read().await {}
        std::mem::take(&mut self.unread).len()
    }

    /// Reads some bytes; `false` at the end.
    async fn read(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        let read = within("bytes of the node", self.stream.read(&mut buffer)).await;
        // A reset is an end too; tests that ask for a close frame find it missing.
        let length = read.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..length]);
        length > 0
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let (header, length) = match *self.unread.get(1)? {
            126 => (4, u16::from_be_bytes(*self.unread.get(2..)?.first_chunk()?) as usize),
            127 => (10, u64::from_be_bytes(*self.unread.get(2..)?.first_chunk()?) as usize),
            length => (2, usize::from(length)),
        };
        if self.unread.len() < header + length {
            return None;
        }
        let frame: Vec<u8> = self.unread.drain(..header + length).collect();
        Some(Frame { first: frame[0], payload: frame[header..].to_vec() })
    }
}
