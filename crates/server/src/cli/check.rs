//! `fanfare check health` and `check ready`: for process managers, containers and scripts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fanfare_client::Error;

use super::advice::failure;
use super::config_command::ConfigFlags;
use super::node_flags::NodeFlags;
use super::{Exit, Failure, HELP, Io};
use crate::config::{Config, Listen, Variables};

/// What `fanfare check` takes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum CheckCommand {
    /// Whether the node works: if not, start it anew
    #[command(
        help_template = HELP,
        before_help = "\
Examples:
  fanfare check health
  fanfare check health --server hub.internal:8000 || systemctl restart fanfare
"
    )]
    Health(Check),
    /// Whether the node should get new connections
    #[command(
        help_template = HELP,
        before_help = "\
Examples:
  fanfare check ready
  until fanfare check ready; do sleep 1; done
"
    )]
    Ready(Check),
}

/// Which node.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The configuration of the node on this machine, which says where it listens
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    config: Option<std::path::PathBuf>,
    #[command(flatten)]
    node: NodeFlags,
}

impl CheckCommand {
    /// Asks, and prints what the node says.
    pub(crate) async fn run(&self, io: &mut Io, variables: Variables) -> Result<(), Failure> {
        let (Self::Health(check) | Self::Ready(check)) = self;
        let api = check.node(io, variables)?.api(io)?;
        let said = match self {
            Self::Health(_) => api.health().await,
            Self::Ready(_) => api.readiness().await,
        };
        io.line(&said.map_err(refused)?)
    }
}

impl Check {
    /// The node that was named, or else the one that this configuration is for.
    fn node(&self, io: &Io, variables: Variables) -> Result<NodeFlags, Failure> {
        if self.node.is_named(io) {
            return Ok(self.node.clone());
        }
        let flags = ConfigFlags { config: self.config.clone(), ..ConfigFlags::default() };
        let listen = flags.sources(variables).and_then(Config::load_partial)?.config.listen;
        let server = reached_at(&listen, "say --server https://NAME:PORT, with a name that its certificate bears")?;
        Ok(NodeFlags { server: Some(server), ..self.node.clone() })
    }
}

/// Where a node of this machine is asked. One with TLS has to be asked by a name of its certificate, and `hint` says how.
pub(crate) fn reached_at(listen: &Listen, hint: &str) -> Result<String, Failure> {
    if listen.tls().is_some() {
        return Err(Failure::usage("the node speaks TLS, and has to be asked by its name").hint(hint));
    }
    Ok(on_this_machine(listen.address).to_string())
}

/// A node that listens on every address is asked on this machine's own.
pub(crate) fn on_this_machine(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    }
}

/// A node that says no has answered: what it says is all there is to tell.
fn refused(error: Error) -> Failure {
    match error {
        Error::Http { status: 503, message } => Failure::new(Exit::Failed, message),
        error => failure(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_listens_everywhere_is_asked_on_this_machine() {
        for (listens, asked) in
            [("0.0.0.0:8000", "127.0.0.1:8000"), ("[::]:8000", "[::1]:8000"), ("127.0.0.2:8000", "127.0.0.2:8000")]
        {
            assert_eq!(on_this_machine(listens.parse().unwrap()).to_string(), asked);
        }
    }
}
