//! `fanfare channels`: the channels that have subscribers; and what one is called in Redis.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fanfare_client::api::ChannelInfo;
use serde::Serialize;

use super::advice::failure;
use super::config_command::ConfigFlags;
use super::node_flags::NodeFlags;
use super::table::Table;
use super::token::channel;
use super::{Failure, HELP, Io, json};
use crate::config::{Config, Variables};

/// What `fanfare channels` takes.
#[derive(Debug, Default, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare channels
  fanfare channels 'chat:*'
  fanfare channels --json | jq .num_clients
  redis-cli PUBLISH \"$(fanfare channels --redis-key news)\" '{\"text\":\"hi\"}'
"
)]
pub(crate) struct Channels {
    /// Only those that match, with * for any characters
    pattern: Option<String>,
    /// Print what this channel is called in Redis, by the node's configuration, and ask no node
    #[arg(long, value_name = "CHANNEL", conflicts_with_all = ["pattern", "server"])]
    redis_key: Option<String>,
    /// For --redis-key: the configuration file [default: $FANFARE_CONFIG, else fanfare.toml if it is there]
    #[arg(long, value_name = "FILE", requires = "redis_key")]
    config: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeFlags,
}

#[derive(Serialize)]
struct Line<'a> {
    channel: &'a str,
    num_clients: u64,
}

#[derive(Serialize)]
struct RedisLine<'a> {
    channel: &'a str,
    redis_key: &'a str,
}

impl Channels {
    /// Prints them.
    pub(crate) async fn run(&self, io: &mut Io, variables: Variables) -> Result<(), Failure> {
        if let Some(name) = &self.redis_key {
            return self.print_redis_key(name, io, variables);
        }
        let channels = self.node.api(io)?.channels(self.pattern.as_deref()).await.map_err(failure)?;
        print(&channels, self.json, io)
    }

    fn print_redis_key(&self, name: &str, io: &mut Io, variables: Variables) -> Result<(), Failure> {
        let channel = channel(name)?;
        let flags = ConfigFlags { config: self.config.clone(), ..ConfigFlags::default() };
        let redis = flags.sources(variables).and_then(Config::load_partial)?.config.redis;
        if redis.server.is_none() {
            io.notice(&format!("redis.url is off here; this is the name with redis.prefix = {:?}", redis.prefix));
        }
        let is_cluster = redis.server.as_ref().is_some_and(fanfare_broker_redis::Server::is_cluster);
        let key = fanfare_broker_redis::live_name(&redis.prefix, &channel, is_cluster);
        match self.json {
            true => json::print(io, &RedisLine { channel: name, redis_key: &key }),
            false => io.line(&key),
        }
    }
}

fn print(channels: &BTreeMap<String, ChannelInfo>, as_json: bool, io: &mut Io) -> Result<(), Failure> {
    if as_json {
        let mut lines = channels.iter().map(|(channel, info)| Line { channel, num_clients: info.num_clients });
        return lines.try_for_each(|line| json::print(io, &line));
    }
    if channels.is_empty() {
        io.notice("no channel has subscribers");
        return Ok(());
    }
    let mut table = Table::new(&["CHANNEL", "CLIENTS"]);
    channels.iter().for_each(|(channel, info)| table.row([channel.clone(), info.num_clients.to_string()]));
    table.print(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::scripted;

    fn printed(channels: &str, as_json: bool) -> (String, String) {
        let (mut io, out, err) = scripted::io("", &[]);
        print(&serde_json::from_str(channels).unwrap(), as_json, &mut io).unwrap();
        (out.text(), err.text())
    }

    #[test]
    fn channels_are_printed_for_people_and_for_programs() {
        let channels = r#"{"news":{"num_clients":12},"chat:room":{"num_clients":3}}"#;
        let table = "CHANNEL    CLIENTS\nchat:room  3\nnews       12\n";
        assert_eq!(printed(channels, false), (table.into(), String::new()));
        let lines = "{\"channel\":\"chat:room\",\"num_clients\":3}\n{\"channel\":\"news\",\"num_clients\":12}\n";
        assert_eq!(printed(channels, true), (lines.into(), String::new()));
    }

    fn redis_key(channels: &Channels, variables: &[(&str, &str)]) -> (Result<(), Failure>, String, String) {
        let (mut io, out, err) = scripted::io("", &[]);
        let name = channels.redis_key.clone().unwrap();
        let result = channels.print_redis_key(&name, &mut io, variables.iter().copied().collect());
        (result, out.text(), err.text())
    }

    #[test]
    fn a_channel_has_its_name_in_redis_by_the_configuration() {
        let news = Channels { redis_key: Some("chat:room 1".to_owned()), ..Channels::default() };
        let variables = [("FANFARE_REDIS__URL", "redis://127.0.0.1"), ("FANFARE_REDIS__PREFIX", "hub")];
        let (result, out, err) = redis_key(&news, &variables);
        assert!(result.is_ok());
        assert_eq!((out.as_str(), err.as_str()), ("hub:live:chat:room 1\n", ""));
        let (_, out, _) = redis_key(&news, &[("FANFARE_REDIS__URL", "redis+cluster://127.0.0.1")]);
        assert_eq!(out, "fanfare:live:{chat:room 1}\n");
        let (_, out, err) = redis_key(&Channels { json: true, ..news }, &[]);
        assert_eq!(out, "{\"channel\":\"chat:room 1\",\"redis_key\":\"fanfare:live:chat:room 1\"}\n");
        assert!(err.contains("redis.url is off"), "{err}");
    }

    #[test]
    fn what_is_no_channel_has_no_name_in_redis() {
        for name in ["", "a\nb"] {
            let wrong = Channels { redis_key: Some(name.to_owned()), ..Channels::default() };
            let (result, out, _) = redis_key(&wrong, &[]);
            assert!(result.is_err() && out.is_empty(), "{name:?}");
        }
    }

    #[test]
    fn no_channel_is_said_to_people_alone() {
        assert_eq!(printed("{}", false), (String::new(), "no channel has subscribers\n".into()));
        assert_eq!(printed("{}", true), (String::new(), String::new()));
    }
}
