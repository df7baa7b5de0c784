//! What a load test is asked for: flags, over a scenario file, over what the scenario is by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fanfare_loadtest::{Plan, Process, Protocol, PublishBy, Scenario, Target, listening_processes};
use serde::Deserialize;

use crate::cli::{Failure, Io};
use crate::config::spelling::nearest;
use crate::config::{ADDRESS_DEFAULT, parse_duration};

/// Flags of the command line and keys of a scenario file, which have the same names.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// What happens; a scenario file says it, and the command line without a flag
    #[arg(skip)]
    pub(super) scenario: Option<String>,
    /// Where subscribers connect, as host:port or ws://…; several share them [default: $FANFARE_SERVER, else 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    target: Vec<String>,
    /// What the server speaks: fanfare, centrifugo, pusher, nchan, plain [default: fanfare]
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// How publications get in: api, client, redis [default: api, with plain client]
    #[arg(long, value_name = "HOW")]
    publish: Option<String>,
    /// Where they get in, as http://…, ws://… or redis://… [default: the first target]
    #[arg(long, value_name = "ADDRESS")]
    publish_to: Option<String>,
    /// redis: the stream that the node takes publications from [default: fanfare:ingest]
    #[arg(long, value_name = "NAME")]
    ingest_stream: Option<String>,
    /// Connections
    #[arg(long, short = 'n', value_name = "N")]
    connections: Option<usize>,
    /// New connections a second [default: as fast as it goes]
    #[arg(long, value_name = "PER_SECOND")]
    connect_rate: Option<f64>,
    /// Connects under way at once [default: 256]
    #[arg(long, value_name = "N")]
    connecting: Option<usize>,
    /// Channels
    #[arg(long, value_name = "N")]
    channels: Option<u32>,
    /// Channels that each connection subscribes to [default: 1]
    #[arg(long, value_name = "N")]
    channels_each: Option<u32>,
    /// Name of the channel, or what the names begin with [default: bench]
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// Publications a second, over all channels
    #[arg(long, short, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Publications that are due at the same moment, at the same rate over all [default: 1]
    #[arg(long, value_name = "N")]
    burst: Option<usize>,
    /// How long is published, or watched where nothing is
    #[arg(long, short, value_name = "DURATION")]
    duration: Option<String>,
    /// How long is published before the measurement; checked, and not timed [default: 1s]
    #[arg(long, value_name = "DURATION")]
    warmup: Option<String>,
    /// Bytes of a payload [default: 128]
    #[arg(long, value_name = "BYTES")]
    payload: Option<usize>,
    /// Connections to publish over; the publications of a channel stay on one [default: 8]
    #[arg(long, value_name = "N")]
    publishers: Option<usize>,
    /// Publications without an answer, at most [default: 10000]
    #[arg(long, value_name = "N")]
    in_flight: Option<u64>,
    /// Threads that receive [default: half of the cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// churn: subscriptions that come and go in a second [default: 100]
    #[arg(long, value_name = "PER_SECOND")]
    churn_rate: Option<f64>,
    /// churn: let whole connections come and go
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    churn_connections: Option<bool>,
    /// slow: the share of slow readers, 0 to 1 [default: 0.05]
    #[arg(long, value_name = "SHARE")]
    slow_share: Option<f64>,
    /// How long to wait for connections that do not get ready [default: 30s]
    #[arg(long, value_name = "DURATION")]
    patience: Option<String>,
    /// How long to wait for what was not delivered when all is published [default: 10s]
    #[arg(long, value_name = "DURATION")]
    drain: Option<String>,
    /// Speak Protobuf where the protocol has it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    protobuf: Option<bool>,
    /// Subscribe without positions, so that nothing is recovered
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    no_recovery: Option<bool>,
    /// A process of the server, to look at its CPU and memory [default: those that listen at the targets, on this machine]
    #[arg(long, value_name = "ID")]
    pid: Vec<u32>,
    /// Look for the highest rate that keeps this, such as 'p99<50ms', beginning with --rate
    #[arg(long, value_name = "OBJECTIVE")]
    pub(super) slo: Option<String>,
    /// Fail if this is so, such as 'p99>50ms'; can be given several times
    #[arg(long, value_name = "CONDITION")]
    pub(super) fail_if: Vec<String>,
    /// Write the result as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write the result as a page for a browser
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
}

/// Takes what the first has, else what the second has.
macro_rules! over {
    ($flags:expr, $file:expr; $($option:ident)*; $($list:ident)*) => {
        Settings {
            $($option: $flags.$option.or($file.$option),)*
            $($list: if $flags.$list.is_empty() { $file.$list } else { $flags.$list },)*
        }
    };
}

impl Settings {
    /// Reads a scenario file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
        toml::from_str(&text).map_err(|error| {
            let failure = Failure::usage(format!("{shown}: {}", error.to_string().trim_end()));
            match meant(error.message()) {
                Some(key) => failure.hint(format!("did you mean {key}?")),
                None => failure,
            }
        })
    }

    /// These, and where they say nothing what the file says.
    pub(super) fn over(self, file: Self) -> Self {
        over!(self, file;
            scenario adapter publish publish_to ingest_stream connections connect_rate connecting channels channels_each
            channel rate burst duration warmup payload publishers in_flight threads churn_rate churn_connections slow_share
            patience drain protobuf no_recovery slo json html;
            target pid fail_if)
    }

    /// The plan, without credentials and not checked yet.
    pub(super) fn plan(&self, io: &Io) -> Result<Plan, Failure> {
        let Some(scenario) = self.scenario.as_deref() else {
            return Err(Failure::usage("the file says no scenario").hint("write for instance: scenario = \"fanout\""));
        };
        let scenario = word("scenario", scenario, Scenario::of, Scenario::ALL)?;
        let adapter = self.adapter.as_deref().unwrap_or("fanfare");
        let protocol = word("adapter", adapter, Protocol::of, Protocol::ALL)?;
        let mut plan = Plan::new(scenario, protocol, self.targets(io)?);
        if let Some(publish) = &self.publish {
            plan.publish_by = word("publish", publish, PublishBy::of, PublishBy::ALL)?;
        }
        plan.publish_to = self.publish_to.as_deref().map(address).transpose()?;
        plan.connect_rate = self.connect_rate;
        set(&mut plan.ingest_stream, self.ingest_stream.clone());
        set(&mut plan.connections, self.connections);
        set(&mut plan.connecting_max, self.connecting);
        set(&mut plan.channels, self.channels);
        set(&mut plan.channels_each, self.channels_each);
        set(&mut plan.channel, self.channel.clone());
        set(&mut plan.rate, self.rate);
        set(&mut plan.burst, self.burst);
        set(&mut plan.duration, time("duration", self.duration.as_deref())?);
        set(&mut plan.warm_up, time("warmup", self.warmup.as_deref())?);
        set(&mut plan.payload_bytes, self.payload);
        set(&mut plan.publishers, self.publishers);
        set(&mut plan.in_flight_max, self.in_flight);
        set(&mut plan.threads, self.threads);
        set(&mut plan.churn_rate, self.churn_rate);
        set(&mut plan.churn_connections, self.churn_connections);
        set(&mut plan.slow_share, self.slow_share);
        set(&mut plan.patience, time("patience", self.patience.as_deref())?);
        set(&mut plan.drain, time("drain", self.drain.as_deref())?);
        set(&mut plan.protobuf, self.protobuf);
        set(&mut plan.recovery, self.no_recovery.map(|without| !without));
        plan.processes = self.processes(&plan.targets)?;
        Ok(plan)
    }

    fn targets(&self, io: &Io) -> Result<Vec<Target>, Failure> {
        if !self.target.is_empty() {
            return self.target.iter().map(|text| address(text)).collect();
        }
        let given = (io.environment)("FANFARE_SERVER").unwrap_or_else(|| ADDRESS_DEFAULT.to_string());
        Ok(vec![address(&given)?])
    }

    fn processes(&self, targets: &[Target]) -> Result<Vec<Process>, Failure> {
        if self.pid.is_empty() {
            return Ok(all_listening(targets));
        }
        self.pid.iter().copied().map(process).collect()
    }
}

/// A process that was named: one that cannot be looked at would leave what the server used out of the report.
fn process(id: u32) -> Result<Process, Failure> {
    let process = Process::of(id);
    match process.cpu().and_then(|_| process.resident_bytes()) {
        Ok(_) => Ok(process),
        Err(error) => Err(Failure::usage(format!("cannot look at process {id}, which pid names: {error}"))),
    }
}

/// The processes behind all targets; none where one of them has none here: what a part of the servers uses says nothing.
fn all_listening(targets: &[Target]) -> Vec<Process> {
    let each: Vec<Vec<Process>> = targets.iter().map(listening_processes).collect();
    if each.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let mut ids: Vec<u32> = each.into_iter().flatten().map(Process::id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(Process::of).collect()
}

fn set<T>(kept: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *kept = given;
    }
}

fn address(text: &str) -> Result<Target, Failure> {
    text.parse().map_err(|error: fanfare_loadtest::TargetError| Failure::usage(error.to_string()))
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Duration>, Failure> {
    let read = text.map(parse_duration).transpose();
    read.map_err(|_| {
        Failure::usage(format!("{name} is \"{}\": write a number and a unit: 500ms, 5s, 1m", text.unwrap_or_default()))
    })
}

fn word<T: Copy + std::fmt::Display>(
    name: &str,
    given: &str,
    of: fn(&str) -> Option<T>,
    all: &[T],
) -> Result<T, Failure> {
    if let Some(found) = of(given) {
        return Ok(found);
    }
    let words: Vec<String> = all.iter().map(ToString::to_string).collect();
    let failure = Failure::usage(format!("there is no {name} \"{given}\"; there are {}", words.join(", ")));
    Err(match nearest(given, words.iter().map(String::as_str)) {
        Some(meant) => failure.hint(format!("did you mean {meant}?")),
        None => failure,
    })
}

/// The key that was meant by an unknown one, of those that the message names behind it.
fn meant(message: &str) -> Option<&str> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let typed = quoted.next()?;
    nearest(typed, quoted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::scripted;

    fn settings(text: &str) -> Settings {
        toml::from_str(text).unwrap()
    }

    fn planned(text: &str) -> Result<Plan, Failure> {
        settings(text).plan(&scripted::io("", &[]).0)
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_the_scenario() {
        let file =
            settings("scenario = \"fanout\"\nrate = 10\nburst = 5\nconnections = 20\ntarget = [\"127.0.0.1:1\"]");
        let flags = Settings { rate: Some(30.0), ..Settings::default() };
        let plan = flags.over(file).plan(&scripted::io("", &[]).0).unwrap();
        assert_eq!((plan.rate, plan.burst, plan.connections, plan.payload_bytes), (30.0, 5, 20, 128));
    }

    #[test]
    fn without_a_part_of_the_servers_no_process_is_looked_at() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours: Target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let nobodys = "127.0.0.1:1".parse::<Target>().unwrap();
        assert_eq!(all_listening(&[ours.clone(), ours.clone()]), [Process::of(std::process::id())]);
        assert_eq!(all_listening(&[ours, nobodys]), []);
    }

    #[test]
    fn defect_a_process_that_is_not_there_was_left_out_without_a_word() {
        let ours = std::process::id();
        let plan = planned(&format!("scenario = \"fanout\"\npid = [{ours}]")).unwrap();
        assert_eq!(plan.processes, [Process::of(ours)]);
        let refused = planned(&format!("scenario = \"fanout\"\npid = [{ours}, {}]", u32::MAX)).unwrap_err();
        let refused = format!("{refused:?}");
        assert!(refused.contains("Usage") && refused.contains("cannot look at process 4294967295"), "{refused}");
    }

    #[test]
    fn the_scenario_files_can_be_carried_out() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/scenarios");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(files.len() >= 6);
        for file in files {
            let read = Settings::read(&file).unwrap();
            read.plan(&scripted::io("", &[]).0).unwrap().check().unwrap();
        }
    }

    #[test]
    fn mistyped_words_are_guessed() {
        let refused = format!("{:?}", planned("scenario = \"fanuot\"").unwrap_err());
        assert!(refused.contains("did you mean fanout?"), "{refused}");
        let unknown = toml::from_str::<Settings>("connectoins = 1").unwrap_err();
        assert_eq!(meant(unknown.message()), Some("connections"));
        let refused = format!("{:?}", planned("rate = 5").unwrap_err());
        assert!(refused.contains("the file says no scenario"), "{refused}");
        let refused = format!("{:?}", planned("scenario = \"fanout\"\nduration = \"5\"").unwrap_err());
        assert!(refused.contains("a number and a unit"), "{refused}");
    }
}
