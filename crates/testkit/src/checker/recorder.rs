//! The clock and the log of a run, and the payloads by which publications are told apart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use super::history::{Micros, Outcome, Record};

/// Payloads differ in length by up to this: frames, chunks and batches of many sizes.
const PADDING_MAX: u64 = 400;

/// Takes what is seen, in order.
pub struct Recorder {
    started: Instant,
    records: Mutex<Vec<Record>>,
    ids: AtomicU64,
    acknowledged: AtomicUsize,
    deliveries: AtomicUsize,
    reached: Mutex<HashMap<(u32, u32), (u64, String)>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            records: Mutex::default(),
            ids: AtomicU64::new(0),
            acknowledged: AtomicUsize::new(0),
            deliveries: AtomicUsize::new(0),
            reached: Mutex::default(),
        }
    }
}

impl Recorder {
    /// Now.
    pub fn now(&self) -> Micros {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// An id that no other publication has.
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Writes down what was seen.
    pub fn record(&self, record: Record) {
        match &record {
            Record::Publish(publish) if matches!(publish.outcome, Outcome::Acknowledged(..)) => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Record::Live(live) => {
                self.deliveries.fetch_add(1, Ordering::Relaxed);
                if let Some(reached) = self.reached().get_mut(&(live.client, live.channel)) {
                    reached.0 = live.offset;
                }
            }
            Record::Reply(reply) => {
                self.deliveries.fetch_add(reply.batch.len(), Ordering::Relaxed);
                let top = reply.batch.last().map_or(reply.offset, |(offset, _)| *offset);
                self.reached().insert((reply.client, reply.channel), (top, reply.epoch.clone()));
            }
            _ => {}
        }
        self.records().push(record);
    }

    /// How many publications were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// How many publications clients have got so far.
    pub fn deliveries(&self) -> usize {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// How many subscriptions were made by any client so far.
    pub fn followed(&self) -> usize {
        self.reached().len()
    }

    /// Whether a client is at this place of a channel, or past it.
    pub fn has_reached(&self, client: u32, channel: u32, (offset, epoch): &(u64, String)) -> bool {
        let reached = self.reached();
        reached.get(&(client, channel)).is_some_and(|(top, own)| own == epoch && top >= offset)
    }

    fn reached(&self) -> MutexGuard<'_, HashMap<(u32, u32), (u64, String)>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the log and hands it over.
    pub fn finish(&self) -> Vec<Record> {
        self.record(Record::End(self.now()));
        std::mem::take(&mut *self.records())
    }

    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn padding(id: u64) -> usize {
    (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % PADDING_MAX as usize
}

/// The payload of a publication.
pub fn payload(id: u64) -> Value {
    serde_json::json!({"id": id, "pad": "x".repeat(padding(id))})
}

/// The id in a payload; 0 if it is not the payload of any publication.
pub fn id_of(payload: &Value) -> u64 {
    let id = payload["id"].as_u64().unwrap_or(0);
    if payload["pad"].as_str().is_some_and(|pad| pad.len() == padding(id)) { id } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_tells_its_publication() {
        for id in 1..100 {
            assert_eq!(id_of(&payload(id)), id);
        }
        let cut_off = serde_json::json!({"id": 7, "pad": "y"});
        assert_eq!(id_of(&cut_off), 0);
        assert_eq!(id_of(&Value::Null), 0);
    }
}
