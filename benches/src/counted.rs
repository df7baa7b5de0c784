//! A shard's work in a process of one thread, to be run under valgrind, which counts instructions: they do not depend
//! on the machine's load, and two runs that differ in one size differ by what that costs.
//!
//! The shard is the node's own: driver, read tasks, sockets. Its peers are sockets of the same process. Those who only
//! listen never read, since the kernel holds what little comes; the last of them does, and shows when all is written.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare_auth::{Secret, Verifier};
use fanfare_broker::namespaces::{Access, Audience, ChannelOptions, Namespaces};
use fanfare_broker::{Event, MemoryBroker, Publication, PublicationSink as _, Publications as _, Room, StreamPosition};
use fanfare_gateway::measuring::{self, Intake};
use fanfare_gateway::{ClientProtocol, Directory, Options, Parts, Rates};
use fanfare_protocol::{Channel, Encoding};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clients::{masked_text, read_until};
use crate::node::{SECRET, token};
use crate::redis_consume::{self, Counter};
use crate::redis_server::{self, Calls, RedisServer};
use crate::{Outcome, PAYLOAD_BYTES, say};

/// What is done, how often, and for deliveries: to how many, and how many at once.
pub(crate) fn run(words: &[String]) -> Outcome {
    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(1);
    let (what, count, subscribers, batch) = (words.first().map_or("", String::as_str), number(1), number(2), number(3));
    match what {
        "redis" => redis(count),
        _ => beside_shard(what, count, subscribers, batch),
    }
}

/// Messages of a pub/sub connection that come as from another node, in a channel with history.
fn redis(count: usize) -> Outcome {
    let server = RedisServer::start()?;
    redis_consume::on_this_thread(async move {
        let taken = Counter::default();
        let counted = Arc::clone(&taken);
        let event = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let broker = redis_server::broker(&server, Arc::new(Calls { event, broken: |_: &Channel| {} })).await?;
        let channel = Channel::parse("news").map_err(|_| "a bad channel")?;
        broker.subscribe(&channel).await.map_err(|_| "no subscription")?;
        let mut publisher = TcpStream::connect(server.address())?;
        let publishes = publish_command().repeat(MESSAGES_AT_ONCE);
        for round in 1..=count.div_ceil(MESSAGES_AT_ONCE) {
            publisher.write_all(&publishes)?;
            publisher.read_exact(&mut [0; MESSAGES_AT_ONCE * b":1\r\n".len()])?;
            while taken.load(Ordering::Relaxed) < (round * MESSAGES_AT_ONCE) as u64 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(())
    })
}

/// Messages that come in one go.
const MESSAGES_AT_ONCE: usize = 100;

fn publish_command() -> Vec<u8> {
    redis::cmd("PUBLISH").arg("fanfare:live:news").arg(placed_message()).get_packed_command()
}

/// What a node publishes through Redis: the position, flags, then the message with its one field, the payload.
pub(crate) fn placed_message() -> Vec<u8> {
    let payload = text();
    let mut message = b"\x01p12:epoch:\x01\x22".to_vec();
    // Two bytes of a Protobuf length.
    message.extend_from_slice(&[0x80 | (payload.len() % 128) as u8, (payload.len() / 128) as u8]);
    message.extend_from_slice(payload.as_bytes());
    message
}

fn beside_shard(what: &str, count: usize, subscribers: usize, batch: usize) -> Outcome {
    let directory = Directory::new(&options());
    let parts = parts(&directory)?;
    let done = measuring::beside_shard(parts, async move |intake| {
        let bench = Bench { intake, directory, listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))? };
        match what {
            "deliver" => bench.deliver(1, subscribers, count, batch).await,
            "channels" => bench.deliver(subscribers / SMALL_CHANNEL, SMALL_CHANNEL, count, batch).await,
            "ping" => bench.ask(count, &[vec![0x89, 0x80, 0, 0, 0, 0]]).await,
            "subscribe" => {
                let words = ["subscribe", "unsubscribe"];
                let command = |word| masked_text(&format!("{{\"id\":3,\"{word}\":{{\"channel\":\"other\"}}}}"));
                bench.ask(count, &words.map(command)).await
            }
            "connect" => bench.connect(count).await,
            _ => Err(io::Error::other("say what to count: deliver, channels, ping, subscribe, connect, redis")),
        }
    })?;
    done?;
    say("done")
}

/// Subscribers of each channel where there are many channels.
const SMALL_CHANNEL: usize = 10;

struct Bench {
    intake: Intake,
    directory: Arc<Directory>,
    listener: TcpListener,
}

impl Bench {
    /// A connection whose near end is a session.
    async fn open(&self) -> io::Result<TcpStream> {
        let far = TcpStream::connect(self.listener.local_addr()?)?;
        let (near, _) = self.listener.accept()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        self.intake.take_in(near, Encoding::Json).await;
        Ok(far)
    }

    /// The same, with a client that has connected and subscribed.
    async fn subscriber(&self, user: usize, channel: &str) -> io::Result<tokio::net::TcpStream> {
        let mut client = tokio::net::TcpStream::from_std(self.open().await?)?;
        let token = token(user);
        let commands = format!(
            "{{\"id\":1,\"connect\":{{\"token\":\"{token}\"}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}"
        );
        client.write_all(&masked_text(&commands)).await?;
        read_until(&mut client, "{\"id\":2,\"subscribe\":{").await?;
        Ok(client)
    }

    /// Publishes `count` times to each channel, `batch` at once, so that they leave in one write.
    async fn deliver(&self, channels: usize, subscribers: usize, count: usize, batch: usize) -> io::Result<()> {
        let names: Vec<String> = (0..channels).map(|number| format!("channel-{number}")).collect();
        let mut silent = Vec::new();
        let mut last = None;
        for (user, name) in names.iter().flat_map(|name| std::iter::repeat_n(name, subscribers)).enumerate() {
            let client = self.subscriber(user, name).await?;
            if let Some(before) = last.replace(client) {
                silent.push(before.into_std()?);
            }
        }
        let mut last = last.ok_or(io::ErrorKind::InvalidInput)?;
        let channels: Vec<Channel> = names.iter().filter_map(|name| Channel::parse(name).ok()).collect();
        let mut buffer = vec![0; 64 * 1024];
        let mut offset = 1_000_000;
        for _ in 0..count.div_ceil(batch) {
            for _ in 0..batch {
                offset += 1;
                for channel in &channels {
                    self.directory.deliver(publication(channel, offset), Room::default());
                }
            }
            let wanted = format!("\"offset\":{offset}}}}}}}");
            let mut seen = 0;
            while !buffer[..seen].ends_with(wanted.as_bytes()) {
                seen += last.read(&mut buffer[seen..]).await?;
            }
        }
        Ok(())
    }

    /// Says something and waits for the answer, again and again.
    async fn ask(&self, count: usize, words: &[Vec<u8>]) -> io::Result<()> {
        let mut client = self.subscriber(0, "news").await?;
        let mut buffer = [0; 2_048];
        for _ in 0..count {
            for said in words {
                client.write_all(said).await?;
                if client.read(&mut buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(())
    }

    /// Sessions that connect, subscribe and end.
    async fn connect(&self, count: usize) -> io::Result<()> {
        for user in 0..count {
            drop(self.subscriber(user, "news").await?);
        }
        Ok(())
    }
}

/// A payload.
fn text() -> String {
    format!("{{\"text\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES - 11))
}

fn publication(channel: &Channel, offset: u64) -> Event {
    Event::Publication(Arc::new(Publication {
        channel: channel.clone(),
        data: Bytes::from(text()),
        json: true,
        position: Some(StreamPosition { offset, epoch: "epoch".into() }),
        info: None,
        tags: BTreeMap::new(),
        version: 0,
        accepted_at: Instant::now(),
    }))
}

fn options() -> Options {
    let unlimited = Rates { commands: None, publishes: None, bytes: None };
    Options {
        shards: 1,
        ping_interval: None,
        control_frames_per_second_max: None,
        session_rates: unlimited,
        user_rates: unlimited,
        ..Options::default()
    }
}

fn parts(directory: &Arc<Directory>) -> Result<Parts, Box<dyn std::error::Error>> {
    let open = ChannelOptions {
        access: Access { subscribe: Audience::Users, ..Access::default() },
        ..ChannelOptions::default()
    };
    let secret = Some(Secret::new(SECRET.to_owned()));
    Ok(Parts {
        options: Arc::new(options()),
        directory: Arc::clone(directory),
        broker: Arc::new(MemoryBroker::new(Default::default(), directory.clone(), directory.clone())),
        verifier: Arc::new(Verifier::new(fanfare_auth::Options { hmac_secret: secret, ..Default::default() })?),
        namespaces: Arc::new(Namespaces::open(open)),
        application: Arc::new(ClientProtocol),
        backend: None,
    })
}
