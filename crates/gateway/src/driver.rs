//! The thread around a shard: takes entries from the ring, takes sockets in, moves deadlines on, writes.
//!
//! A tick is one pass of [`tick`]. Publications come first; writes are sliced, so that one large channel delays
//! neither pings nor accepts nor small channels. A publication that arrives while writes are under way is added to
//! the outboxes not yet written: batching appears under load by itself.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_broker::{Error, Event, HistoryQuery, Since, StreamPosition};
use fanfare_protocol::Channel;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::mpsc;

use crate::commands;
use crate::connection::{self, NewSocket};
use crate::gateway::Parts;
use crate::limits;
use crate::local::Local;
use crate::ring::Entry;
use crate::shard::{Effect, Left, Shard};
use crate::slots::SlotId;
use crate::socket::Socket;

/// Whether the shard goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There is more to do at once.
    Again,
    /// Wait for something to do.
    Wait,
    Stop,
}

/// What a shard takes in.
struct Intake {
    sockets: mpsc::Receiver<NewSocket>,
    /// Entries taken off the ring and not yet carried out; their room is still taken.
    batch: VecDeque<Entry>,
    latency: Latency,
}

/// Drives a shard until it is told to stop.
pub(crate) async fn drive(local: Rc<Local>, sockets: mpsc::Receiver<NewSocket>) {
    for _ in 0..limits::PRESENCE_CHANGES_AT_ONCE {
        local.spawn(change_presence(Rc::clone(&local)));
    }
    local.spawn(check_positions(Rc::clone(&local)));
    let mut intake = Intake { sockets, batch: VecDeque::new(), latency: Latency::default() };
    let mut planned: Option<Instant> = None;
    loop {
        observe_lag(&local, planned);
        planned = match tick(&local, &mut intake) {
            Next::Stop => return,
            Next::Again => {
                let now = Instant::now();
                tokio::task::yield_now().await;
                Some(now)
            }
            Next::Wait => wait(&local, &mut intake.sockets).await,
        };
    }
}

/// Waits for work; returns when it was due, if it was a deadline.
async fn wait(local: &Rc<Local>, sockets: &mut mpsc::Receiver<NewSocket>) -> Option<Instant> {
    let idle = Duration::from_millis(local.in_tick(|shard| shard.idle_millis(limits::HEARTBEAT.as_millis() as u64)));
    let deadline = Instant::now() + idle;
    // In this order: what was announced goes before new sockets, and deadlines fire when nothing else is there.
    tokio::select! {
        biased;
        () = local.ring.woken() => None,
        Some(socket) = sockets.recv() => {
            connection::take_in(local, socket);
            None
        }
        () = tokio::time::sleep_until(deadline.into()) => Some(deadline),
    }
}

fn observe_lag(local: &Local, planned: Option<Instant>) {
    if let Some(planned) = planned {
        local.in_tick(|shard| shard.stats().loop_lag.observe(planned.elapsed().as_secs_f64()));
    }
}

fn tick(local: &Rc<Local>, intake: &mut Intake) -> Next {
    local.tell_time();
    if take_entries(local, intake) == Next::Stop {
        return Next::Stop;
    }
    for channel in local.ring.take_broken() {
        local.in_tick(|shard| shard.mark_broken(&channel));
    }
    take_sockets(local, &mut intake.sockets);
    local.in_tick(|shard| {
        shard.run_deadlines();
        shard.measure_held_back();
    });
    run_effects(local);
    write_dirty(local);
    run_effects(local);
    local.reap();
    let (dirty, now) = local.in_tick(|shard| (shard.has_dirty(), shard.now().millis));
    local.in_tick(|shard| shard.stats().heartbeat_millis.set(now.max(1)));
    if dirty {
        return Next::Again;
    }
    intake.latency.written(local);
    let more = !intake.batch.is_empty() || local.ring.depth() > 0 || !intake.sockets.is_empty();
    if more { Next::Again } else { Next::Wait }
}

/// Takes entries until a tick's share of them or of deliveries is used up, or an outbox is so full that what is queued
/// goes first.
fn take_entries(local: &Rc<Local>, intake: &mut Intake) -> Next {
    if intake.batch.is_empty() {
        local.ring.take(&mut intake.batch, limits::ENTRIES_PER_TICK);
    }
    let before = local.in_tick(|shard| shard.stats().deliveries.get());
    let is_enough =
        |shard: &Shard| shard.is_pressed() || shard.stats().deliveries.get() - before >= limits::DELIVERIES_PER_TICK;
    while !local.look(is_enough) {
        let Some(entry) = intake.batch.pop_front() else { break };
        match entry {
            Entry::Event(event, _room) => {
                intake.latency.took(&event);
                local.in_tick(|shard| shard.take_event(&event));
            }
            Entry::Control(control, done, _room) => commands::apply(local, &control, done),
            Entry::Reload(settings) => local.reload(&settings),
            Entry::Slowest(answer, _room) => {
                // Whoever asked may have given up waiting.
                _ = answer.send(local.in_tick(|shard| shard.slowest()));
            }
            Entry::Shed(sessions) => local.in_tick(|shard| shard.shed(&sessions)),
            Entry::Judge(whom, done, _room) => commands::judge_again(local, &whom, done),
            Entry::Drain(window_millis) => local.in_tick(|shard| shard.drain(window_millis)),
            Entry::Stop => return Next::Stop,
        }
    }
    Next::Wait
}

fn take_sockets(local: &Rc<Local>, sockets: &mut mpsc::Receiver<NewSocket>) {
    for _ in 0..limits::SOCKETS_PER_TICK {
        let Ok(socket) = sockets.try_recv() else { return };
        connection::take_in(local, socket);
    }
}

/// Does what the shard left to do outside of it.
fn run_effects(local: &Rc<Local>) {
    for effect in local.in_tick(|shard| shard.take_effects()) {
        match effect {
            Effect::Release(channel) => local.broker.unsubscribe(&channel),
            Effect::Leave(_) | Effect::RefreshPresence(..) => local.presence_changes.push(effect),
            Effect::Refresh(id) => local.spawn(commands::refresh_by_backend(Rc::clone(local), id)),
            Effect::SubRefresh(begun) => local.spawn(commands::sub_refresh_by_backend(Rc::clone(local), begun)),
            Effect::Repair(id, channel, from) => local.spawn(repair(Rc::clone(local), id, channel, from)),
            Effect::Cut(id) => {
                if let Some(socket) = local.socket(id) {
                    socket.cut();
                }
            }
        }
    }
}

/// Writes what is queued, until a tick's share of sockets or of time is used up.
fn write_dirty(local: &Rc<Local>) {
    let began = Instant::now();
    for count in 0..limits::WRITES_PER_TICK {
        if count % 16 == 15 && began.elapsed() > limits::WRITE_TIME_PER_TICK {
            return;
        }
        let Some(id) = local.in_tick(|shard| shard.next_dirty()) else {
            return;
        };
        write_session(local, id);
    }
}

/// Writes what one session has queued.
fn write_session(local: &Rc<Local>, id: SlotId) {
    let Some(socket) = local.socket(id) else { return };
    loop {
        match write_once(local, id, &socket) {
            Ok(Left::Nothing) => return,
            Ok(Left::End) => return finish(local, id, socket),
            Ok(Left::More) => {}
            Ok(Left::Refused) => return wait_until_writable(local, id, socket),
            Err(_) => return socket.cut(),
        }
    }
}

/// One write, and what TLS still holds behind the last one.
fn write_once(local: &Local, id: SlotId, socket: &Socket) -> io::Result<Left> {
    let mut cork = local.cork.borrow_mut();
    let left = local.in_tick(|shard| shard.offer(id, &mut cork, |bytes| socket.try_write(bytes)))?;
    if !matches!(left, Left::Nothing | Left::End) || !socket.has_unwritten() {
        return Ok(left);
    }
    match socket.flush() {
        Ok(()) => local.in_tick(|shard| shard.written(id, 0)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Left::Refused),
        Err(error) => return Err(error),
    }
    Ok(left)
}

/// A temporary task waits until the socket takes more; the read task never does, or it would spin.
fn wait_until_writable(local: &Rc<Local>, id: SlotId, socket: Rc<Socket>) {
    let waits = local.in_tick(|shard| {
        let waits = shard.session(id).is_some_and(|session| session.blocked);
        shard.blocked(id);
        waits
    });
    if waits {
        return;
    }
    let owner = Rc::clone(local);
    local.spawn(async move {
        // An error shows again at the write.
        let writable = socket.writable().await;
        owner.with(|shard| shard.writable(id));
        if writable.is_err() {
            socket.cut();
        }
    });
}

/// After the close frame has left, nothing more comes: the peer is told so.
fn finish(local: &Rc<Local>, id: SlotId, socket: Rc<Socket>) {
    match socket.finish() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => wait_until_writable(local, id, socket),
        // Any other error means that the peer is gone already.
        _ => local.in_tick(|shard| shard.finished(id)),
    }
}

/// Reads the missing part of a channel from history. A broker that does not answer is asked again: that it cannot be
/// read now is no gap yet.
async fn repair(local: Rc<Local>, id: SlotId, channel: Channel, from: StreamPosition) {
    let since = Since { offset: from.offset, epoch: from.epoch.to_string() };
    let limit = local.options().recovery_publications_max;
    let query = HistoryQuery { limit, since: Some(since), reverse: false };
    while local.with(|shard| shard.is_repairing(id)) {
        match in_time(&local, local.broker.history(&channel, query.clone())).await {
            Ok(history) => return local.with(|shard| shard.finish_repair(id, Some(history))),
            Err(Error::UnrecoverablePosition) => return local.with(|shard| shard.finish_repair(id, None)),
            Err(error) => tracing::debug!(%error, "a channel could not be read again yet"),
        }
        tokio::time::sleep(limits::REPAIR_RETRY).await;
    }
}

/// Waits for the broker as long as a command may.
async fn in_time<T>(local: &Local, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = Err(Error::Unavailable("the broker did not answer in time"));
    tokio::time::timeout(local.options().command_timeout, call).await.unwrap_or(late)
}

/// Carries out changes of presence, one after another; others do so beside it.
async fn change_presence(local: Rc<Local>) {
    loop {
        let (number, effect) = local.presence_changes.begin().await;
        match effect {
            Effect::Leave(departure) => commands::depart(&local, departure).await,
            Effect::RefreshPresence(channel, info) => {
                let refreshed = local.broker.presence_add(&channel, info, local.options().presence_ttl);
                if let Err(error) = in_time(&local, refreshed).await {
                    tracing::debug!(%error, "presence was not refreshed");
                }
            }
            _ => {}
        }
        local.presence_changed(number);
    }
}

/// Compares the positions of channels with the broker's, a few channels at a time (protocol §8.5).
async fn check_positions(local: Rc<Local>) {
    let interval = u64::try_from(local.options().position_check_interval.as_millis()).unwrap_or(u64::MAX);
    let pause = limits::HEARTBEAT.min(local.options().position_check_interval);
    let again = u64::try_from(limits::HEARTBEAT.as_millis()).unwrap_or(u64::MAX);
    loop {
        tokio::time::sleep(pause).await;
        for id in local.with(|shard| shard.positions_to_check(interval, limits::POSITIONS_PER_CHECK)) {
            let Some(channel) = local.with(|shard| shard.channel(id).map(|channel| channel.name.clone())) else {
                continue;
            };
            if let Ok(history) = in_time(&local, local.broker.history(&channel, HistoryQuery::default())).await {
                local.with(|shard| shard.check_position(id, history.top, again));
            }
        }
    }
}

/// From the acceptance of a publication until the last of its batch is written.
#[derive(Debug, Default)]
struct Latency {
    oldest: Option<Instant>,
}

impl Latency {
    fn took(&mut self, event: &Event) {
        if let Event::Publication(publication) = event {
            let accepted = publication.accepted_at;
            self.oldest = Some(self.oldest.map_or(accepted, |oldest| oldest.min(accepted)));
        }
    }

    fn written(&mut self, local: &Local) {
        if let Some(oldest) = self.oldest.take() {
            local.in_tick(|shard| shard.stats().latency.observe(oldest.elapsed().as_secs_f64()));
        }
    }
}

/// What a shard's tasks run on.
pub(crate) fn runtime() -> Result<LocalRuntime, std::io::Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// What a shard thread runs.
pub(crate) fn run(index: usize, parts: Parts, sockets: mpsc::Receiver<NewSocket>) -> Result<(), std::io::Error> {
    let runtime = runtime()?;
    let directory = Arc::clone(&parts.directory);
    runtime.block_on(async move {
        let local = Rc::new(Local::new(index, parts));
        drive(Rc::clone(&local), sockets).await;
        local.end_tasks();
    });
    tracing::debug!(shard = index, uptime = ?directory.uptime(), "shard ended");
    Ok(())
}
