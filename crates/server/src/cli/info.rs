//! `fanfare info`: the nodes and how they are.

use fanfare_client::api::NodeInfo;
use serde::Serialize;

use super::advice::failure;
use super::node_flags::NodeFlags;
use super::table::Table;
use super::{Failure, HELP, Io, json};

/// What `fanfare info` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare info
  fanfare info --server hub.internal:8000 --json
"
)]
pub(crate) struct Info {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeFlags,
}

#[derive(Serialize)]
struct Line<'a> {
    uid: &'a str,
    name: &'a str,
    version: &'a str,
    num_clients: u64,
    num_users: u64,
    num_subs: u64,
    num_channels: u64,
    uptime: u64,
}

impl Info {
    /// Prints one line for each node.
    pub(crate) async fn run(&self, io: &mut Io) -> Result<(), Failure> {
        let nodes = self.node.api(io)?.info().await.map_err(failure)?;
        print(&nodes, self.json, io)
    }
}

fn print(nodes: &[NodeInfo], as_json: bool, io: &mut Io) -> Result<(), Failure> {
    if as_json {
        return nodes.iter().try_for_each(|node| json::print(io, &line(node)));
    }
    let mut table = Table::new(&["NODE", "VERSION", "UPTIME", "CLIENTS", "USERS", "SUBSCRIPTIONS", "CHANNELS"]);
    for node in nodes {
        let counts = [node.num_clients, node.num_users, node.num_subs, node.num_channels];
        let names = [node.name.clone(), node.version.clone(), uptime(node.uptime)];
        table.row(names.into_iter().chain(counts.map(|count| count.to_string())));
    }
    table.print(io)
}

fn line(node: &NodeInfo) -> Line<'_> {
    Line {
        uid: &node.uid,
        name: &node.name,
        version: &node.version,
        num_clients: node.num_clients,
        num_users: node.num_users,
        num_subs: node.num_subs,
        num_channels: node.num_channels,
        uptime: node.uptime,
    }
}

/// The two largest units of a span of time.
fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::scripted;

    fn printed(as_json: bool) -> String {
        let (mut io, out, _) = scripted::io("", &[]);
        let node = r#"[{"uid":"u","name":"one","version":"0.1.0","num_clients":10,"num_users":2,"num_subs":30,"num_channels":4,"uptime":3661}]"#;
        print(&serde_json::from_str::<Vec<NodeInfo>>(node).unwrap(), as_json, &mut io).unwrap();
        out.text()
    }

    #[test]
    fn nodes_are_printed_for_people_and_for_programs() {
        assert_eq!(
            printed(false),
            "NODE  VERSION  UPTIME  CLIENTS  USERS  SUBSCRIPTIONS  CHANNELS\none   0.1.0    1h1m    10       2      30             4\n"
        );
        assert_eq!(
            printed(true),
            "{\"uid\":\"u\",\"name\":\"one\",\"version\":\"0.1.0\",\"num_clients\":10,\"num_users\":2,\"num_subs\":30,\"num_channels\":4,\"uptime\":3661}\n"
        );
    }

    #[test]
    fn uptime_has_two_units_at_most() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (61, "1m1s"), (3_599, "59m59s"), (7_260, "2h1m"), (90_000, "1d1h")]
        {
            assert_eq!(uptime(seconds), text);
        }
    }
}
