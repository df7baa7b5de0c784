//! A hub as small as it can be, at the paths of Nchan, of a plain WebSocket server, of a Pusher application with the key `key`
//! and of a Fanfare: it sends to all what one sends. As a Fanfare it is far, lets nobody go and keeps no history.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

type Subscribers = Arc<Mutex<Vec<TcpStream>>>;

/// How far a Fanfare's metrics are.
pub(crate) const METRICS_TIME: Duration = Duration::from_millis(400);

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
        if request.starts_with("GET /app/key?") {
            return join_application(client, &mut reader, subscribers);
        }
        if request.starts_with("GET /connection/websocket ") {
            return join_fanfare(client, &mut reader, subscribers);
        }
        if request.starts_with("GET /metrics ") {
            thread::sleep(METRICS_TIME);
            return client.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
        }
        if request.starts_with("GET /sub/bench ") || request.starts_with("GET / ") {
            join(client, subscribers);
            while let Some(payload) = read_frame(&mut reader) {
                send(&payload, subscribers);
            }
            return;
        }
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload).unwrap();
        let is_event = request.starts_with("POST /apps/id/events?");
        let is_command = request.starts_with("POST /api/publish ");
        let is_known = is_event || is_command || request.starts_with("POST /pub/bench ");
        let status = if is_known { "201 Created" } else { "404 Not Found" };
        let message = match (is_event, is_command) {
            (true, _) => event(&payload),
            (_, true) => push(&payload),
            _ => payload,
        };
        send(&message, subscribers);
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

const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// Nothing is sent to a subscriber before it has its answer.
fn join(mut client: TcpStream, subscribers: &Subscribers) {
    let mut subscribers = subscribers.lock().unwrap();
    client.write_all(UPGRADED).unwrap();
    subscribers.push(client);
}

/// The server of an application speaks first, and answers to who subscribes.
fn join_application(mut client: TcpStream, reader: &mut BufReader<TcpStream>, subscribers: &Subscribers) {
    let established = frame(br#"{"event":"pusher:connection_established","data":"{}"}"#);
    client.write_all(&[UPGRADED, &established].concat()).unwrap();
    let Some(command) = read_frame(reader) else { return };
    let command: Value = serde_json::from_slice(&command).unwrap();
    assert_eq!(command, json!({"event": "pusher:subscribe", "data": {"channel": "bench"}}));
    let succeeded = frame(br#"{"event":"pusher_internal:subscription_succeeded","channel":"bench","data":"{}"}"#);
    let mut subscribers = subscribers.lock().unwrap();
    client.write_all(&succeeded).unwrap();
    subscribers.push(client);
}

/// Answers to who connects and to who subscribes; who would go is not heard.
fn join_fanfare(mut client: TcpStream, reader: &mut BufReader<TcpStream>, subscribers: &Subscribers) {
    client.write_all(UPGRADED).unwrap();
    while let Some(command) = read_frame(reader) {
        let command: Value = serde_json::from_slice(&command).unwrap();
        if command.get("connect").is_some() {
            let reply = json!({"id": command["id"], "connect": {"client": "c"}});
            client.write_all(&frame(reply.to_string().as_bytes())).unwrap();
        }
        if command.get("subscribe").is_some() {
            let reply = json!({"id": command["id"], "subscribe": {}});
            let mut subscribers = subscribers.lock().unwrap();
            client.write_all(&frame(reply.to_string().as_bytes())).unwrap();
            subscribers.push(client.try_clone().unwrap());
        }
    }
}

/// What the subscribers of a Fanfare get of what was published to it.
fn push(body: &[u8]) -> Vec<u8> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let push = json!({"push": {"channel": body["channel"], "pub": {"data": body["data"]}}});
    push.to_string().into_bytes()
}

/// What the subscribers of an application get of what was published to it.
fn event(body: &[u8]) -> Vec<u8> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let event = json!({"event": body["name"], "channel": body["channels"][0], "data": body["data"]});
    event.to_string().into_bytes()
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

/// A text, of no more than 64 KiB.
fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let head = match length {
        0..126 => vec![0x81, length as u8],
        _ => [&[0x81, 126], length.to_be_bytes().as_slice()].concat(),
    };
    [&head, payload].concat()
}

/// Sends a text to all that are still there.
fn send(payload: &[u8], subscribers: &Subscribers) {
    let frame = frame(payload);
    subscribers.lock().unwrap().retain_mut(|subscriber| subscriber.write_all(&frame).is_ok());
}
