//! `fanfare channels`: the channels that have subscribers.

use std::collections::BTreeMap;

use fanfare_client::api::ChannelInfo;
use serde::Serialize;

use super::advice::failure;
use super::node_flags::NodeFlags;
use super::table::Table;
use super::{Failure, HELP, Io, json};

/// What `fanfare channels` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare channels
  fanfare channels 'chat:*'
  fanfare channels --json | jq .num_clients
"
)]
pub(crate) struct Channels {
    /// Only those that match, with * for any characters
    pattern: Option<String>,
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

impl Channels {
    /// Prints them.
    pub(crate) async fn run(&self, io: &mut Io) -> Result<(), Failure> {
        let channels = self.node.api(io)?.channels(self.pattern.as_deref()).await.map_err(failure)?;
        print(&channels, self.json, io)
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

    #[test]
    fn no_channel_is_said_to_people_alone() {
        assert_eq!(printed("{}", false), (String::new(), "no channel has subscribers\n".into()));
        assert_eq!(printed("{}", true), (String::new(), String::new()));
    }
}
