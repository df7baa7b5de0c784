//! Did the run meet what it had to meet? A run in which nothing was under way when something broke proves nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use super::history::{Fault, History, Kind, Met, Outcome, Record};

/// What a run met.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// Distinct publications that were acknowledged.
    pub publications: usize,
    /// Those whose fate is unknown.
    pub unknown: usize,
    /// Those of unknown fate that were received.
    pub unknown_received: usize,
    /// Those that failed.
    pub failed: usize,
    /// Publications received.
    pub deliveries: usize,
    /// Subscriptions that went on where they were.
    pub recovered: usize,
    /// Times somebody was told of a gap.
    pub told: usize,
    /// Connections cut.
    pub cuts: usize,
    /// Connections that the server closed, by code.
    pub closed: BTreeMap<u32, usize>,
    /// Channels that were published to.
    pub channels: usize,
    /// Publications that the official SDK got.
    pub witnessed: usize,
    /// Faults by kind.
    pub kinds: BTreeMap<Kind, Struck>,
}

/// The faults of a kind, added up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Struck {
    /// How many.
    pub times: usize,
    /// What they did ([`Fault::count`]).
    pub effects: usize,
    /// What they met.
    pub met: Met,
}

impl Coverage {
    /// Counts.
    pub fn of(history: &History) -> Self {
        let (mut coverage, mut unknown, mut channels) = (Self::default(), HashSet::new(), BTreeSet::new());
        for record in &history.records {
            match record {
                Record::Publish(publish) => {
                    channels.insert(publish.channel);
                    match publish.outcome {
                        Outcome::Acknowledged(..) | Outcome::Placeless => coverage.publications += 1,
                        Outcome::Failed => coverage.failed += 1,
                        Outcome::Unknown => drop(unknown.insert(publish.id)),
                    }
                }
                Record::Reply(reply) => {
                    coverage.deliveries += reply.batch.len();
                    coverage.recovered += usize::from(reply.recovered == Some(true));
                    coverage.told += usize::from(reply.recovered == Some(false));
                }
                Record::Live(live) => {
                    coverage.deliveries += 1;
                    coverage.witnessed += usize::from(history.header.witnesses.contains(&live.client));
                }
                Record::Told(_) => coverage.told += 1,
                Record::Closed(closed) => *coverage.closed.entry(closed.code).or_default() += 1,
                Record::Fault(fault) => coverage.count_fault(fault),
                Record::Calm(_) | Record::End(_) => {}
            }
        }
        let received: HashSet<u64> = history.records.iter().flat_map(ids).collect();
        coverage.unknown = unknown.len();
        coverage.unknown_received = unknown.intersection(&received).count();
        coverage.channels = channels.len();
        coverage
    }

    fn count_fault(&mut self, fault: &Fault) {
        let Struck { times, effects, met } = self.kinds.entry(fault.kind).or_default();
        *times += 1;
        *effects += fault.count as usize;
        met.publishing += fault.met.publishing;
        met.recovering += fault.met.recovering;
        met.confirmed += fault.met.confirmed;
        if fault.kind == Kind::Cut {
            self.cuts += fault.count as usize;
        }
    }

    /// What is below the run's minima.
    pub fn shortfalls(&self, history: &History) -> Vec<String> {
        let minima = &history.header.minima;
        let of_kind = |kind: Kind| self.kinds.get(&kind).map_or(0, |struck| struck.times);
        let of_redis = Kind::ALL.into_iter().filter(|kind| kind.is_of_redis()).map(of_kind).sum();
        let figures = [
            ("publications", self.publications, minima.publications),
            ("deliveries", self.deliveries, minima.deliveries),
            ("deliveries to the SDK", self.witnessed, minima.publications / 100),
            ("connections cut", self.cuts, minima.cuts),
            ("nodes killed", of_kind(Kind::NodeKill), minima.node_kills),
            ("faults of Redis", of_redis, minima.redis_faults),
        ];
        let below = figures.into_iter().filter(|(_, met, minimum)| met < minimum);
        let mut shortfalls: Vec<String> =
            below.map(|(what, met, minimum)| format!("{what}: {met}, at least {minimum}")).collect();
        shortfalls.extend(Kind::ALL.into_iter().flat_map(|kind| self.shortfalls_of(kind, minima.of_each_kind)));
        shortfalls
    }

    /// Each kind has to have had its effect, and to have met publishes and recoveries that were under way, and
    /// subscribes between Redis's confirmation and the reply.
    fn shortfalls_of(&self, kind: Kind, minimum: usize) -> Vec<String> {
        if minimum == 0 {
            return Vec::new();
        }
        let Struck { times, effects, met } = self.kinds.get(&kind).copied().unwrap_or_default();
        let figures = [
            ("faults", times),
            ("effects", effects),
            ("publishes in flight", met.publishing as usize),
            ("recoveries in progress", met.recovering as usize),
            ("subscribes between confirmation and reply", met.confirmed as usize),
        ];
        let below = figures.into_iter().filter(|(_, met)| *met < minimum);
        below.map(|(what, met)| format!("{kind:?}: {what}: {met}, at least {minimum}")).collect()
    }
}

/// The publications that a record shows received.
fn ids(record: &Record) -> Vec<u64> {
    match record {
        Record::Live(live) => vec![live.id],
        Record::Reply(reply) => reply.batch.iter().map(|(_, id)| *id).collect(),
        _ => Vec::new(),
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            publications, unknown, unknown_received, failed, deliveries, recovered, told, cuts, channels, ..
        } = self;
        writeln!(f, "{publications} publications acknowledged in {channels} channels, {failed} failed")?;
        writeln!(f, "{unknown} of unknown fate, of which {unknown_received} were received")?;
        writeln!(f, "{deliveries} deliveries, {recovered} recoveries, {told} told of a gap, {cuts} connections cut")?;
        writeln!(f, "connections that ended, by code: {:?}", self.closed)?;
        writeln!(f, "of which the SDK got {}", self.witnessed)?;
        let heads = ["times", "effects", "publishes", "recoveries", "confirmed"];
        writeln!(f, "{:<13}{}", "fault", heads.map(|head| format!("{head:>11}")).concat())?;
        for (kind, Struck { times, effects, met }) in &self.kinds {
            let met = [met.publishing, met.recovering, met.confirmed].map(|figure| figure as usize);
            let figures = [*times, *effects].into_iter().chain(met).map(|figure| format!("{figure:>11}"));
            writeln!(f, "{:<13}{}", format!("{kind:?}"), figures.collect::<String>())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::history::{Header, Minima};

    fn fault(kind: Kind, met: Met) -> Record {
        Record::Fault(Fault { kind, node: None, began: 0, ended: 1, count: 5, met })
    }

    #[test]
    fn a_run_that_met_nothing_fails() {
        let minima = Minima { cuts: 10, of_each_kind: 1, ..Minima::default() };
        let met = Met { publishing: 1, recovering: 1, confirmed: 1 };
        let mut records: Vec<Record> = Kind::ALL.into_iter().map(|kind| fault(kind, met)).collect();
        let history = |records: &Vec<Record>| History {
            header: Header { minima, ..Header::default() },
            records: records.clone(),
        };
        let short = Coverage::of(&history(&records)).shortfalls(&history(&records));
        assert_eq!(short, ["connections cut: 5, at least 10"]);
        records.push(fault(Kind::Cut, met));
        assert!(Coverage::of(&history(&records)).shortfalls(&history(&records)).is_empty());
        records.retain(|record| !matches!(record, Record::Fault(fault) if fault.kind == Kind::Flush));
        records.push(fault(Kind::Flush, Met { recovering: 0, ..met }));
        let short = Coverage::of(&history(&records)).shortfalls(&history(&records));
        assert_eq!(short, ["Flush: recoveries in progress: 0, at least 1"]);
    }
}
