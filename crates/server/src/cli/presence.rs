//! `fanfare presence`: who is in a channel.

use std::collections::BTreeMap;

use fanfare_client::ClientInfo;

use super::advice::failure;
use super::node_flags::NodeFlags;
use super::table::Table;
use super::{Failure, HELP, Io, json};

/// What `fanfare presence` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare presence chat:room
  fanfare presence chat:room --json | jq -r .user | sort -u
"
)]
pub(crate) struct Presence {
    /// The channel
    channel: String,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeFlags,
}

impl Presence {
    /// Prints one line for each connection.
    pub(crate) async fn run(&self, io: &mut Io) -> Result<(), Failure> {
        let presence = self.node.api(io)?.presence(&self.channel).await.map_err(failure)?;
        self.print(&presence, io)
    }

    fn print(&self, presence: &BTreeMap<String, ClientInfo>, io: &mut Io) -> Result<(), Failure> {
        if self.json {
            return presence.values().try_for_each(|info| json::print(io, &json::Info::new(info)));
        }
        if presence.is_empty() {
            io.notice(&format!("nobody is in {}", self.channel));
            return Ok(());
        }
        let mut table = Table::new(&["USER", "CLIENT", "INFO"]);
        presence.values().for_each(|info| table.row([user(info), info.client.clone(), infos(info)]));
        table.print(io)
    }
}

/// The user's id, or that there is none.
pub(crate) fn user(info: &ClientInfo) -> String {
    match info.user.as_str() {
        "" => "(anonymous)".to_owned(),
        user => user.to_owned(),
    }
}

/// What connection and subscription say about the client.
fn infos(info: &ClientInfo) -> String {
    let infos = [&info.conn_info, &info.chan_info].into_iter().filter(|info| !info.is_empty());
    infos.map(|info| json::one_line(info)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::scripted;

    fn printed(presence: &[ClientInfo], as_json: bool) -> (String, String) {
        let (mut io, out, err) = scripted::io("", &[]);
        let command = Presence { channel: "news".into(), json: as_json, node: NodeFlags::default() };
        let presence = presence.iter().map(|info| (info.client.clone(), info.clone())).collect();
        command.print(&presence, &mut io).unwrap();
        (out.text(), err.text())
    }

    fn people() -> [ClientInfo; 2] {
        let anonymous = ClientInfo { client: "a1".into(), ..ClientInfo::default() };
        let (conn_info, chan_info) = (r#"{"name":"Ada"}"#.into(), "7".into());
        [anonymous, ClientInfo { user: "42".into(), client: "b2".into(), conn_info, chan_info }]
    }

    #[test]
    fn people_are_printed_for_people_and_for_programs() {
        let table = "USER         CLIENT  INFO\n(anonymous)  a1\n42           b2      {\"name\":\"Ada\"} 7\n";
        assert_eq!(printed(&people(), false), (table.into(), String::new()));
        let lines = r#"{"client":"a1","user":""}
{"client":"b2","user":"42","conn_info":{"name":"Ada"},"chan_info":7}
"#;
        assert_eq!(printed(&people(), true), (lines.into(), String::new()));
    }

    #[test]
    fn nobody_is_said_to_people_alone() {
        assert_eq!(printed(&[], false), (String::new(), "nobody is in news\n".into()));
        assert_eq!(printed(&[], true), (String::new(), String::new()));
    }
}
