//! A client of the official JavaScript SDK as a witness: a process that says what it sees, and is judged like the
//! raw clients.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use super::cluster::channel_name;
use super::history::{Live, Micros, Record, Reply, Told};
use super::listener::channel_number;
use super::recorder::{Recorder, id_of};
use super::wire::Wire;

/// The clock of the process against ours: a moment there lies between two here.
#[derive(Debug, Clone, Copy)]
struct Clock {
    theirs: Micros,
    asked: Micros,
    answered: Micros,
}

impl Clock {
    fn earliest(&self, at: Micros) -> Micros {
        (self.asked + at).saturating_sub(self.theirs)
    }

    fn latest(&self, at: Micros) -> Micros {
        (self.answered + at).saturating_sub(self.theirs)
    }
}

/// The witness.
pub struct Witness {
    recorder: Arc<Recorder>,
    number: u32,
    /// Ended when this is dropped.
    _process: Child,
    _input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    clock: Clock,
    asked: BTreeMap<u32, Micros>,
    positions: BTreeMap<u32, (u64, String)>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sdk/js")
}

impl Witness {
    /// Why there can be none, if so.
    pub fn missing() -> Option<String> {
        let sdk = folder().join("node_modules/centrifuge");
        (!sdk.exists()).then(|| format!("{} is not there; run: cargo xtask test js", sdk.display()))
    }

    /// Starts it: it connects through this proxy and follows these channels.
    pub async fn start(recorder: Arc<Recorder>, number: u32, wire: &Wire, channels: &[u32]) -> io::Result<Self> {
        let url = format!("ws://{}/connection/websocket", wire.address());
        let mut command = Command::new("node");
        command.current_dir(folder()).arg("witness.js").arg(url);
        command.args(channels.iter().map(|channel| channel_name(*channel)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let missing = || io::Error::other("the witness has no pipes");
        let mut input = process.stdin.take().ok_or_else(missing)?;
        let lines = BufReader::new(process.stdout.take().ok_or_else(missing)?).lines();
        let asked = recorder.now();
        input.write_all(b"now\n").await?;
        let clock = Clock { theirs: 0, asked, answered: asked };
        let (asked, positions) = (BTreeMap::new(), BTreeMap::new());
        let mut witness = Self { recorder, number, _process: process, _input: input, lines, clock, asked, positions };
        witness.set_clock().await?;
        Ok(witness)
    }

    /// Nothing is subscribed to before the first line is read, so that all that is said has a time.
    async fn set_clock(&mut self) -> io::Result<()> {
        let mut before = Vec::new();
        while let Some(line) = self.lines.next_line().await? {
            let line: Value = serde_json::from_str(&line)?;
            if line["event"] == "clock" {
                self.clock.theirs = line["at"].as_u64().unwrap_or(0);
                self.clock.answered = self.recorder.now();
                before.iter().for_each(|line| self.take(line));
                return Ok(());
            }
            before.push(line);
        }
        Err(io::Error::other("the witness ended"))
    }

    /// Writes down what it says until the run is over. An error is its end before that.
    pub async fn run(mut self, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
                line = self.lines.next_line() => {
                    let line = line?.ok_or_else(|| io::Error::other("the witness ended by itself"))?;
                    self.take(&serde_json::from_str(&line)?);
                }
            }
        }
    }

    fn take(&mut self, line: &Value) {
        let at = line["at"].as_u64().unwrap_or(0);
        let (earliest, at) = (self.clock.earliest(at), self.clock.latest(at));
        let Some(channel) = line["channel"].as_str().and_then(channel_number) else { return };
        let client = self.number;
        match line["event"].as_str() {
            Some("subscribing") => {
                self.asked.insert(channel, earliest);
                // Below are the SDK's own reasons: it connects, or its transport is closed.
                if let Some(code) = line["code"].as_u64().filter(|code| *code >= 2000) {
                    self.recorder.record(Record::Told(Told { client, channel, at, code: code as u32 }));
                }
            }
            Some("unsubscribed") => {
                let code = line["code"].as_u64().unwrap_or(0) as u32;
                self.recorder.record(Record::Told(Told { client, channel, at, code }));
            }
            Some("subscribed") => self.subscribed(channel, at, line),
            Some("publication") => {
                let (offset, id) = (line["offset"].as_u64().unwrap_or(0), id_of(&line["data"]));
                if let Some(position) = self.positions.get_mut(&channel) {
                    position.0 = offset;
                }
                self.recorder.record(Record::Live(Live { client, channel, at, offset, epoch: None, id }));
            }
            _ => {}
        }
    }

    fn subscribed(&mut self, channel: u32, at: Micros, line: &Value) {
        let offset = line["offset"].as_u64().unwrap_or(0);
        let epoch = line["epoch"].as_str().unwrap_or_default().to_owned();
        let recovered = (line["wasRecovering"] == true).then(|| line["recovered"] == true);
        let from = self.positions.insert(channel, (offset, epoch.clone()));
        let (client, batch) = (self.number, Vec::new());
        let asked = self.asked.get(&channel).copied().unwrap_or(0);
        self.recorder.record(Record::Reply(Reply {
            client,
            channel,
            asked,
            at,
            from,
            offset,
            epoch,
            recovered,
            batch,
        }));
    }
}
