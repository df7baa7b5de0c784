//! A hub as small as it can be, at the paths of Nchan and of a plain WebSocket server: it sends to all what one sends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

type Subscribers = Arc<Mutex<Vec<TcpStream>>>;

/// Starts it; it ends with the test.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let subscribers = Subscribers::default();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, subscribers) = (client.unwrap(), Arc::clone(&subscribers));
            thread::spawn(move || serve(client, &subscribers));
        }
    });
    address
}

fn serve(mut client: TcpStream, subscribers: &Subscribers) {
    client.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(client.try_clone().unwrap());
    while let Some((request, length)) = read_head(&mut reader) {
        if request.starts_with("GET /sub/bench ") || request.starts_with("GET / ") {
            join(client, subscribers);
            while let Some(payload) = read_frame(&mut reader) {
                send(&payload, subscribers);
            }
            return;
        }
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload).unwrap();
        let status = if request.starts_with("POST /pub/bench ") { "201 Created" } else { "404 Not Found" };
        send(&payload, subscribers);
        client.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
    }
}

/// The first line of a request, and the length of its body.
fn read_head(reader: &mut BufReader<TcpStream>) -> Option<(String, usize)> {
    let (mut lines, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => return lines.into_iter().next().map(|request| (request, length)),
            field => {
                let value = field.strip_prefix("Content-Length: ");
                length = value.map_or(length, |value| value.parse().unwrap());
                lines.push(line);
            }
        }
    }
}

/// Nothing is sent to a subscriber before it has its answer.
fn join(mut client: TcpStream, subscribers: &Subscribers) {
    let mut subscribers = subscribers.lock().unwrap();
    client.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").unwrap();
    subscribers.push(client);
}

/// The payload of a client's frame with text, of no more than 64 KiB.
fn read_frame(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut head = [0; 2];
    reader.read_exact(&mut head).ok()?;
    let mut length = u16::from(head[1] & 0x7f);
    if length == 126 {
        let mut longer = [0; 2];
        reader.read_exact(&mut longer).ok()?;
        length = u16::from_be_bytes(longer);
    }
    let (mut mask, mut payload) = ([0; 4], vec![0; usize::from(length)]);
    reader.read_exact(&mut mask).ok()?;
    reader.read_exact(&mut payload).ok()?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    (head[0] == 0x81).then_some(payload)
}

/// Sends a text to all that are still there.
fn send(payload: &[u8], subscribers: &Subscribers) {
    let length = u16::try_from(payload.len()).unwrap();
    let head = match length {
        0..126 => vec![0x81, length as u8],
        _ => [&[0x81, 126], length.to_be_bytes().as_slice()].concat(),
    };
    let frame = [&head, payload].concat();
    subscribers.lock().unwrap().retain_mut(|subscriber| subscriber.write_all(&frame).is_ok());
}
