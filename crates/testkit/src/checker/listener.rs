//! A raw client with the recovery logic of an SDK: it remembers the position of every channel, comes back after every
//! end, and asks to go on from there. It judges nothing and writes down everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::board::Board;
use super::cluster::channel_name;
use super::history::{Closed, Live, Micros, Record, Reply, Told};
use super::recorder::{Recorder, id_of};
use super::wire::Wire;
use crate::client::{Client, Ending, Opening};
use crate::{Encoding, Unit};

/// How long a handshake may take.
const OPEN_MAX: Duration = Duration::from_secs(2);

/// How long a connect may stay without an answer: a node that is stopped gives none.
const SILENCE_MAX: Duration = Duration::from_secs(6);

/// How a client behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    /// Uses Protobuf.
    pub protobuf: bool,
    /// Has its subscriptions made by the server, in the connect command.
    pub server_side: bool,
    /// Leaves channels and comes back to them.
    pub hopping: bool,
}

/// What clients share.
#[derive(Clone)]
pub struct Listening {
    /// Where it is written down.
    pub recorder: Arc<Recorder>,
    /// Where it is shown.
    pub board: Arc<Board>,
    /// The ways to the nodes.
    pub wires: Arc<Vec<Wire>>,
    /// Until when who reads nothing, by client.
    pub paused_until: watch::Sender<BTreeMap<u32, Instant>>,
    /// The run is over.
    pub stopped: watch::Receiver<bool>,
    /// Nobody leaves channels at the moment.
    pub calm: watch::Sender<bool>,
}

impl Listening {
    /// Nobody listens yet, nobody is paused.
    pub fn new(board: Arc<Board>, wires: Arc<Vec<Wire>>) -> Self {
        Self {
            recorder: Arc::default(),
            board,
            wires,
            paused_until: watch::Sender::default(),
            stopped: watch::channel(false).1,
            calm: watch::Sender::new(false),
        }
    }
}

/// A subscribe command under way.
struct Ask {
    channel: u32,
    at: Micros,
    from: Option<(u64, String)>,
}

/// One client.
pub struct Listener {
    shared: Listening,
    number: u32,
    channels: Vec<u32>,
    manner: Manner,
    random: SmallRng,
    positions: BTreeMap<u32, (u64, String)>,
}

/// One connection of a client.
struct Session<'a> {
    listener: &'a mut Listener,
    client: Client,
    node: usize,
    next_id: u32,
    asks: BTreeMap<u32, Ask>,
    /// Unsubscribe commands under way.
    leaving: BTreeMap<u32, u32>,
    /// Channels to be asked for, by time.
    due: Vec<(Instant, u32)>,
    connected: bool,
    next_hop: Instant,
    paused: watch::Receiver<BTreeMap<u32, Instant>>,
}

impl Listener {
    /// A client of these channels.
    pub fn new(shared: Listening, number: u32, channels: Vec<u32>, manner: Manner, seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed);
        Self { shared, number, channels, manner, random, positions: BTreeMap::new() }
    }

    /// Follows its channels until the run is over.
    pub async fn run(mut self) {
        let mut stopped = self.shared.stopped.clone();
        while !*stopped.borrow() {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = Box::pin(self.connect()) => {}
            }
            let pause = Duration::from_millis(self.random.random_range(10..250));
            sleep(pause).await;
        }
    }

    async fn connect(&mut self) {
        let node = self.random.random_range(0..self.shared.wires.len());
        let encoding = if self.manner.protobuf { Encoding::Protobuf } else { Encoding::Json };
        let opening = Opening::new(self.shared.wires[node].address()).encoding(encoding).narrow();
        let Ok(Ok(client)) = timeout(OPEN_MAX, opening.try_open()).await else { return };
        let next_hop = Instant::now() + Duration::from_millis(self.random.random_range(500..4_000));
        let (asks, leaving, due) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let paused = self.shared.paused_until.subscribe();
        let mut session = Session {
            listener: self,
            client,
            node,
            next_id: 1,
            asks,
            leaving,
            due,
            connected: false,
            next_hop,
            paused,
        };
        session.follow().await;
        let code = match session.client.ended() {
            Some(Ending::Closed(code, _)) => u32::from(*code),
            Some(Ending::Dropped(_)) | None => 0,
        };
        self.shared.board.disconnected(self.number);
        self.shared.recorder.record(Record::Closed(Closed {
            client: self.number,
            at: self.shared.recorder.now(),
            code,
        }));
    }

    /// What a subscribe command says beyond the channel.
    fn request(&self, channel: u32) -> Value {
        match self.positions.get(&channel) {
            Some((offset, epoch)) => json!({"recover": true, "offset": offset, "epoch": epoch}),
            None => json!({}),
        }
    }
}

impl Session<'_> {
    /// Until the connection ends, or is given up.
    async fn follow(&mut self) {
        self.send_connect().await;
        let opened = Instant::now();
        loop {
            self.read_or_wait().await;
            let ended = self.client.has_ended();
            for unit in self.client.take_arrived() {
                if !self.take(unit) {
                    return;
                }
            }
            if ended || (!self.connected && opened.elapsed() > SILENCE_MAX) {
                return;
            }
            self.ask_for_due().await;
            self.hop().await;
        }
    }

    async fn read_or_wait(&mut self) {
        // A server-side client that has been away for long misses more than one reply may bring.
        let paused = self.listener.shared.paused_until.borrow().get(&self.listener.number).copied();
        let paused = paused.filter(|_| !self.listener.manner.server_side);
        if let Some(until) = paused.filter(|until| *until > Instant::now()) {
            return sleep_until(until).await;
        }
        let wake = self.due.iter().map(|(at, _)| *at).chain([self.next_hop]).min().unwrap_or(self.next_hop);
        let wake = wake.max(Instant::now() + Duration::from_millis(1)).min(Instant::now() + Duration::from_secs(1));
        tokio::select! {
            () = self.client.read() => {}
            () = sleep_until(wake) => {}
            _ = self.paused.changed() => {}
        }
    }

    fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Connects and asks for everything in one frame, as SDKs do.
    async fn send_connect(&mut self) {
        let id = self.id();
        let mut commands = vec![json!({"id": id, "connect": {}})];
        let channels = self.listener.channels.clone();
        if self.listener.manner.server_side {
            let subs = channels.iter().map(|channel| (channel_name(*channel), self.listener.request(*channel)));
            commands[0]["connect"]["subs"] = Value::Object(subs.collect());
            // Not answered by a reply of its own: kept under ids that no command has.
            channels.iter().for_each(|channel| self.asked(u32::MAX - channel, *channel));
        } else {
            commands.extend(channels.iter().map(|channel| self.subscribe(*channel)));
        }
        self.client.send(&commands).await;
    }

    fn subscribe(&mut self, channel: u32) -> Value {
        let id = self.id();
        let mut request = self.listener.request(channel);
        request["channel"] = json!(channel_name(channel));
        self.asked(id, channel);
        json!({"id": id, "subscribe": request})
    }

    fn asked(&mut self, id: u32, channel: u32) {
        let Listening { recorder, board, .. } = &self.listener.shared;
        let from = self.listener.positions.get(&channel).cloned();
        board.asked(self.node, self.listener.number, channel, from.is_some());
        self.asks.insert(id, Ask { channel, at: recorder.now(), from });
    }

    async fn ask_for_due(&mut self) {
        let now = Instant::now();
        let (ready, later): (Vec<_>, Vec<_>) = self.due.drain(..).partition(|(at, _)| *at <= now);
        self.due = later;
        let commands: Vec<Value> = ready.into_iter().map(|(_, channel)| self.subscribe(channel)).collect();
        if !commands.is_empty() {
            self.client.send(&commands).await;
        }
    }

    /// Asks for a channel again in a while, unless that is under way.
    fn later(&mut self, channel: u32, millis_max: u64) {
        let asked = self.asks.values().any(|ask| ask.channel == channel);
        if asked || self.leaving.values().any(|left| *left == channel) || self.due.iter().any(|due| due.1 == channel) {
            return;
        }
        let pause = Duration::from_millis(self.listener.random.random_range(0..millis_max));
        self.due.push((Instant::now() + pause, channel));
    }

    /// Leaves a channel now and then; it is asked for again when that is answered.
    async fn hop(&mut self) {
        if Instant::now() < self.next_hop {
            return;
        }
        self.next_hop = Instant::now() + Duration::from_millis(self.listener.random.random_range(300..3_000));
        let idle = self.asks.is_empty() && self.leaving.is_empty() && self.due.is_empty() && self.connected;
        let Listener { manner, shared, channels, .. } = &*self.listener;
        if !idle || !manner.hopping || manner.server_side || *shared.calm.borrow() {
            return;
        }
        let at = self.listener.random.random_range(0..channels.len());
        let (channel, id) = (self.listener.channels[at], self.id());
        self.leaving.insert(id, channel);
        self.client.send(&[json!({"id": id, "unsubscribe": {"channel": channel_name(channel)}})]).await;
    }

    /// Takes what came; `false` ends the connection.
    fn take(&mut self, unit: Unit) -> bool {
        let (value, id) = (unit.value, unit.reply.id);
        if value["push"].is_object() {
            self.push(&value["push"]);
        } else if value["connect"].is_object() {
            self.connected = true;
            return self.take_server_side(&value["connect"]["subs"]);
        } else if let Some(channel) = self.leaving.remove(&id) {
            self.later(channel, 1_000);
        } else if let Some(ask) = self.asks.remove(&id) {
            self.answered(ask, &value);
        } else {
            return false;
        }
        true
    }

    fn take_server_side(&mut self, subs: &Value) -> bool {
        if !self.listener.manner.server_side {
            return true;
        }
        for (_, ask) in std::mem::take(&mut self.asks) {
            let result = &subs[channel_name(ask.channel)];
            if !result.is_object() {
                return false;
            }
            self.subscribed(ask, result);
        }
        true
    }

    fn answered(&mut self, ask: Ask, value: &Value) {
        if value["subscribe"].is_object() {
            return self.subscribed(ask, &value["subscribe"]);
        }
        self.listener.shared.board.answered(self.listener.number, ask.channel);
        let code = value["error"]["code"].as_u64().unwrap_or(0) as u32;
        if code == 100 {
            return self.later(ask.channel, 300);
        }
        self.told(ask.channel, code);
    }

    fn subscribed(&mut self, ask: Ask, result: &Value) {
        let Ask { channel, at: asked, from } = ask;
        let Listening { recorder, board, .. } = &self.listener.shared;
        board.answered(self.listener.number, channel);
        let epoch = result["epoch"].as_str().unwrap_or_default().to_owned();
        let offset = result["offset"].as_u64().unwrap_or(0);
        let recovered = result["recovered"].as_bool().unwrap_or(false);
        let recovered = (from.is_some() || recovered || result["was_recovering"] == true).then_some(recovered);
        let batch = result["publications"].as_array().map(Vec::as_slice).unwrap_or_default();
        let batch = batch.iter().map(|publication| (offset_of(publication), id_of(&publication["data"])));
        let (client, at, batch) = (self.listener.number, recorder.now(), batch.collect::<Vec<_>>());
        let top = batch.last().map_or(offset, |(offset, _)| *offset);
        self.listener.positions.insert(channel, (top, epoch.clone()));
        recorder.record(Record::Reply(Reply { client, channel, asked, at, from, offset, epoch, recovered, batch }));
    }

    fn push(&mut self, push: &Value) {
        let Some(channel) = push["channel"].as_str().and_then(channel_number) else { return };
        if let Some(code) = push["unsubscribe"]["code"].as_u64() {
            self.told(channel, code as u32);
            self.later(channel, 200);
        } else if push["pub"].is_object() {
            self.publication(channel, &push["pub"]);
        }
    }

    fn told(&self, channel: u32, code: u32) {
        let Listening { recorder, .. } = &self.listener.shared;
        recorder.record(Record::Told(Told { client: self.listener.number, channel, at: recorder.now(), code }));
    }

    fn publication(&mut self, channel: u32, publication: &Value) {
        let recorder = &self.listener.shared.recorder;
        let (offset, id) = (offset_of(publication), id_of(&publication["data"]));
        let epoch = publication["epoch"].as_str().filter(|epoch| !epoch.is_empty()).map(str::to_owned);
        if let Some(position) = self.listener.positions.get_mut(&channel) {
            position.0 = offset;
        }
        recorder.record(Record::Live(Live {
            client: self.listener.number,
            channel,
            at: recorder.now(),
            offset,
            epoch,
            id,
        }));
    }
}

fn offset_of(publication: &Value) -> u64 {
    publication["offset"].as_u64().unwrap_or(0)
}

/// The number in a channel's name.
pub(super) fn channel_number(name: &str) -> Option<u32> {
    name.strip_prefix("channel-")?.parse().ok()
}
