//! `fanfare doctor`: what is wrong with a running deployment, and what to do about it.
//!
//! From where a client is it goes the way of a client, step by step, and then waits as quiet clients do. On the machine of
//! a node, with the node's configuration, it looks at the machine and at Redis too. It changes nothing.

mod finding;
mod machine;
mod nodes;
mod page;
mod redis;
mod session;
mod way;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fanfare_client::Address;

use self::finding::{Finding, Findings};
use self::way::Way;
use super::advice::failure;
use super::check::reached_at;
use super::config_command::ConfigFlags;
use super::node_flags::{NodeFlags, TokenFlags};
use super::{Exit, Failure, HELP, Io};
use crate::config::{Config, Variables, parse_duration};

/// A clock that is off by more than this refuses tokens that are good, or takes those that are not, and ends what Redis
/// keeps too soon or too late.
const CLOCK_OFF_MAX_S: u64 = 30;

/// What `fanfare doctor` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare doctor https://hub.example.com --origin https://app.example.com
  fanfare doctor https://hub.example.com --token-file token --idle 5m
  fanfare doctor --config /etc/fanfare/fanfare.toml        on a node's machine: Redis, too
  fanfare doctor https://hub.example.com --json | jq 'select(.verdict == \"problem\")'
",
    after_help = "\
Exit codes: 0 nothing is wrong (warnings may be there), 1 something is, 3 the hub cannot be reached.
With FANFARE_API_KEY the versions of all nodes are compared."
)]
pub(crate) struct Doctor {
    /// Where clients find the hub, as host:port, http://… or https://… [default: $FANFARE_SERVER, else the node of --config, else 127.0.0.1:8000]
    hub: Option<String>,
    /// Certificates to trust with https://, as PEM [default: $FANFARE_CA_FILE, else those that the machine trusts]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The origin of a page that has to be let in, such as https://app.example.com
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    #[command(flatten)]
    token: TokenFlags,
    /// How long to be quiet, to see whether something on the way cuts quiet connections; 0s leaves it out
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    idle: Duration,
    /// The configuration of the node on this machine: looks at the machine and at Redis, too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object a line: check, verdict, text, remedy
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Looks at everything, and prints each finding as it comes.
    pub(crate) async fn run(&self, io: &mut Io, variables: Variables) -> Result<Exit, Failure> {
        let config = self.config.as_deref().map(|file| partial(file, variables)).transpose()?;
        let node = self.node(config.as_ref(), io)?;
        let address = Address::parse(&node.address(io)).map_err(failure)?;
        let way = Way::new(address, node.tls(io)?);
        let mut findings = Findings::new(self.json);
        if let Some(config) = &config {
            findings.all(&machine::look(config), io)?;
            findings.all(&redis::look(config).await, io)?;
        }
        let reached = self.look_from_outside(&way, &node, &mut findings, io).await?;
        findings.conclude(io)?;
        Ok(match (reached, findings.has_problems()) {
            (false, _) => Exit::NoNode,
            (true, true) => Exit::Failed,
            (true, false) => Exit::Ok,
        })
    }

    /// The hub that was named, or else the node that this configuration is for.
    fn node(&self, config: Option<&Config>, io: &Io) -> Result<NodeFlags, Failure> {
        let named = NodeFlags { server: self.hub.clone(), ca_file: self.ca_file.clone() };
        match config {
            Some(config) if !named.is_named(io) => {
                let server = reached_at(&config.listen, "say which: fanfare doctor https://NAME:PORT")?;
                Ok(NodeFlags { server: Some(server), ..named })
            }
            _ => Ok(named),
        }
    }

    /// The way that clients go; returns whether the hub was reached.
    async fn look_from_outside(
        &self,
        way: &Way,
        node: &NodeFlags,
        findings: &mut Findings,
        io: &mut Io,
    ) -> Result<bool, Failure> {
        let (found, reached) = way.look().await;
        findings.all(&found, io)?;
        if !reached {
            return Ok(false);
        }
        let (found, server_time) = page::look(way, self.origin.as_deref()).await;
        findings.all(&found, io)?;
        findings.all(&session::look_at_token(&self.token, server_time, io)?, io)?;
        findings.all(&nodes::look(&node.api(io)?, io.secret("FANFARE_API_KEY")?.is_some()).await, io)?;
        let session = match session::open(way, self.token.source(io)?).await {
            Ok(session) => session,
            Err(finding) => return findings.all(&[finding], io).map(|()| true),
        };
        findings.all(&[Finding::good("session", "a client is let in")], io)?;
        if !self.idle.is_zero() {
            if !self.json {
                io.notice(&format!("being quiet for {:?} …", self.idle));
            }
            findings.all(&[session.be_quiet(self.idle).await], io)?;
        }
        Ok(true)
    }
}

/// What can be known of a configuration without the secrets that only the node is given.
fn partial(file: &Path, variables: Variables) -> Result<Config, Failure> {
    let flags = ConfigFlags { config: Some(file.to_owned()), ..ConfigFlags::default() };
    Ok(flags.sources(variables).and_then(Config::load_partial)?.config)
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|_| "write a number and a unit: 0s, 30s, 5m".to_owned())
}
