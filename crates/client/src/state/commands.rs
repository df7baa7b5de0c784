//! Commands on their way: waiting for a connection, going out, waiting for a reply.
//!
//! Bounded by [`COMMANDS_MAX`] for what applications ask: beyond it requests stay in their own queue. Every
//! command is gone after [`COMMAND_TIMEOUT`], answered or not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fanfare_protocol::{Channel, Command, Reply};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::Error;
use crate::limits::{COMMAND_TIMEOUT, COMMANDS_MAX};

/// Where the answer to a call goes.
pub(crate) type Answer = oneshot::Sender<Result<Reply, Error>>;

/// What a command was sent for.
#[derive(Debug)]
pub(crate) enum Purpose {
    Call(Answer),
    Subscribe(Channel, u64),
    Unsubscribe,
    RefreshConnection,
    RefreshSubscription(Channel, u64),
}

#[derive(Debug)]
struct Waiting {
    command: Command,
    answer: Answer,
    deadline: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Commands {
    last_id: u32,
    waiting: VecDeque<Waiting>,
    outgoing: Vec<Command>,
    in_flight: BTreeMap<u32, (Instant, Purpose)>,
    deadlines: BTreeSet<(Instant, u32)>,
}

impl Commands {
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() + self.in_flight.len() >= COMMANDS_MAX
    }

    /// Sends with the next id.
    pub(crate) fn send(&mut self, command: Command, purpose: Purpose, now: Instant) {
        self.send_until(command, purpose, now + COMMAND_TIMEOUT);
    }

    /// Answers a ping: the one command without an id.
    pub(crate) fn pong(&mut self) {
        self.outgoing.push(Command::default());
    }

    /// Keeps a call until there is a connection.
    pub(crate) fn wait(&mut self, command: Command, answer: Answer, now: Instant) {
        self.waiting.push_back(Waiting { command, answer, deadline: now + COMMAND_TIMEOUT });
    }

    /// There is a connection.
    pub(crate) fn send_waiting(&mut self) {
        for Waiting { command, answer, deadline } in std::mem::take(&mut self.waiting) {
            self.send_until(command, Purpose::Call(answer), deadline);
        }
    }

    pub(crate) fn take_outgoing(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.outgoing)
    }

    /// The reply to a command has come.
    pub(crate) fn take(&mut self, id: u32) -> Option<Purpose> {
        let (deadline, purpose) = self.in_flight.remove(&id)?;
        self.deadlines.remove(&(deadline, id));
        Some(purpose)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let in_flight = self.deadlines.first().map(|(deadline, _)| *deadline);
        let waiting = self.waiting.front().map(|waiting| waiting.deadline);
        [in_flight, waiting].into_iter().flatten().min()
    }

    /// Takes what has waited too long.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Purpose> {
        let mut expired = Vec::new();
        while self.waiting.front().is_some_and(|waiting| waiting.deadline <= now) {
            expired.extend(self.waiting.pop_front().map(|waiting| Purpose::Call(waiting.answer)));
        }
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            expired.extend(self.take(id));
        }
        expired
    }

    /// The connection is gone, and with it every reply that was due.
    pub(crate) fn abandon(&mut self, error: &Error) {
        self.outgoing.clear();
        self.deadlines.clear();
        self.last_id = 0;
        for (_, purpose) in std::mem::take(&mut self.in_flight).into_values() {
            answer(purpose, error.clone());
        }
    }

    /// There will be no connection any more.
    pub(crate) fn fail_all(&mut self, error: &Error) {
        self.abandon(error);
        for waiting in self.waiting.drain(..) {
            answer(Purpose::Call(waiting.answer), error.clone());
        }
    }

    fn send_until(&mut self, command: Command, purpose: Purpose, deadline: Instant) {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let id = self.last_id;
        self.outgoing.push(Command { id, ..command });
        self.in_flight.insert(id, (deadline, purpose));
        self.deadlines.insert((deadline, id));
    }
}

fn answer(purpose: Purpose, error: Error) {
    if let Purpose::Call(answer) = purpose {
        // A caller that has gone away needs no answer.
        let _ = answer.send(Err(error));
    }
}
