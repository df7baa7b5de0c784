//! The command line: what may be typed, and which file answers it.
//!
//! Results go to standard output, everything else to standard error; the exit codes are in [`Exit`]. Secrets
//! are taken from files, the environment or standard input, never from a flag, where other users of the
//! machine could read them.

pub mod access;
mod advice;
mod bench;
mod block;
mod channels;
mod check;
mod completions;
pub mod config_command;
mod disconnect;
mod doctor;
mod history;
mod info;
pub mod init;
mod json;
mod node_flags;
pub mod output;
mod presence;
mod pub_command;
mod revoke;
mod sub;
mod table;
pub mod token;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};

pub use config_command::ConfigFlags;
pub use output::{Exit, Failure, Io};

use crate::config::{Config, Variables};
use crate::serve;

/// Examples before the list of flags: most readers need no more.
const HELP: &str = "\
{about-with-newline}
{before-help}{usage-heading} {usage}

{all-args}{after-help}";

const EXIT_CODES: &str = "\
Exit codes:
    0  it worked
    1  the node refused, or something went wrong on the way
    2  the command line, a file it names, or the configuration is wrong
    3  no node could be reached, or this one could not start
    4  publications were missed (sub)
    5  the time was up before enough publications arrived (sub)
    6  the run is not valid: it measured the tester or its machine (bench)
  130  ended by Ctrl-C before the work was done (sub, bench)

Environment:
  FANFARE_SERVER        the node that the commands talk to [default: 127.0.0.1:8000]
  FANFARE_CA_FILE       certificates to trust when the node is at https://
  FANFARE_API_KEY       the key of the server API; FANFARE_API_KEY_FILE names a file that holds it
  FANFARE_TOKEN         the connection token of sub; FANFARE_TOKEN_FILE names a file that holds it
  NO_COLOR              no colours, also on a terminal";

/// Real-time notifications: backends publish over HTTP, browsers receive over WebSockets, live and in order.
#[derive(Debug, Parser)]
#[command(
    name = "fanfare",
    version,
    help_template = HELP,
    before_help = "\
Try it out:
  fanfare dev                               a node for this machine, and a page to look at
  fanfare sub news                          what comes in, live
  fanfare pub news '{\"text\":\"hi\"}'          from another terminal

Put it to work:
  fanfare init                              writes fanfare.toml with new secrets
  fanfare serve --config fanfare.toml
",
    after_help = EXIT_CODES
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node for this machine alone, without credentials
    Dev(Dev),
    /// Run a node
    Serve(Serve),
    /// Write an annotated configuration with new secrets
    Init(init::Init),
    /// Ask a node whether it works, or is ready
    #[command(subcommand)]
    Check(check::CheckCommand),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config_command::ConfigCommand),
    /// Say who may do what in a channel, and why
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// Make or inspect tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Publish to a channel
    Pub(pub_command::Pub),
    /// Subscribe to channels and print what comes
    Sub(sub::Sub),
    /// Print what a channel has kept
    History(history::History),
    /// Print who is in a channel
    Presence(presence::Presence),
    /// Print the channels that have subscribers
    Channels(channels::Channels),
    /// Close all connections of a user
    Disconnect(disconnect::Disconnect),
    /// Keep a user out
    Block(block::Block),
    /// Let a blocked user in again
    Unblock(block::Unblock),
    /// Make tokens good no more
    Revoke(revoke::Revoke),
    /// Print the nodes and how they are
    Info(info::Info),
    /// Find what is wrong with a running deployment, and what to do about it
    Doctor(doctor::Doctor),
    /// Measure a hub: how many, how fast, how late, how much lost
    Bench(Box<bench::Bench>),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// What `fanfare dev` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare dev
  fanfare dev --listen 127.0.0.1:9000
"
)]
struct Dev {
    /// Loopback address to listen on
    #[arg(long, value_name = "IP:PORT", default_value_t = crate::config::ADDRESS_DEFAULT)]
    listen: std::net::SocketAddr,
}

impl Dev {
    fn config(&self) -> Config {
        let mut config = Config::dev();
        config.listen.address = self.listen;
        config
    }
}

/// What `fanfare serve` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare serve
  fanfare serve --config /etc/fanfare.toml --log-format json
  FANFARE_API__KEYS_FILE=/run/secrets/keys fanfare serve
"
)]
struct Serve {
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Serve {
    /// Reads the configuration as it is at the moment, of the flags and variables that the process was started with.
    fn read(self) -> serve::Read {
        let variables = Variables::of_process();
        Arc::new(move || self.flags.sources(variables.clone()).and_then(Config::load))
    }
}

/// Runs the command line of this process to its end.
pub fn main() -> ExitCode {
    let mut io = Io::process();
    let exit = match parse(std::env::args_os(), &mut io) {
        Ok(cli) => run(cli, &mut io),
        Err(exit) => exit,
    };
    exit.into()
}

/// Reads a command line. Help, version and what is wrong with it are written to `io`.
///
/// # Errors
/// [`Exit::Ok`] after help and version, else [`Exit::Usage`].
pub fn parse<A: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = A>, io: &mut Io) -> Result<Cli, Exit> {
    let error = match Cli::try_parse_from(arguments) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    let style = if error.use_stderr() { io.err_style } else { io.out_style };
    let text = match style.has_colors() {
        true => error.render().ansi().to_string(),
        false => error.render().to_string(),
    };
    if error.use_stderr() {
        io.notice(text.trim_end());
        return Err(Exit::Usage);
    }
    // A closed pipe has seen enough of the help.
    let _ = io.line(text.trim_end());
    Err(Exit::Ok)
}

/// Does what a command line asks for.
pub fn run(cli: Cli, io: &mut Io) -> Exit {
    match dispatch(cli.command, io) {
        Ok(exit) => exit,
        Err(failure) => failure.report(io),
    }
}

fn dispatch(command: Command, io: &mut Io) -> Result<Exit, Failure> {
    match command {
        Command::Dev(dev) => serve::dev(dev.config(), io)?,
        Command::Serve(command) => serve::serve(command.read(), io)?,
        Command::Init(init) => init.run(io)?,
        Command::Check(check) => wait_for(check.run(io, Variables::of_process()))?,
        Command::Config(config) => config.run(io, Variables::of_process())?,
        Command::Access(access) => access.run(io, Variables::of_process())?,
        Command::Token(token) => token.run(io, Variables::of_process())?,
        Command::Pub(publish) => wait_for(publish.run(io))?,
        Command::Sub(subscribe) => return wait_for(subscribe.run(io)),
        Command::History(history) => wait_for(history.run(io))?,
        Command::Presence(presence) => wait_for(presence.run(io))?,
        Command::Channels(channels) => wait_for(channels.run(io, Variables::of_process()))?,
        Command::Disconnect(disconnect) => wait_for(disconnect.run(io))?,
        Command::Block(block) => wait_for(block.run(io))?,
        Command::Unblock(unblock) => wait_for(unblock.run(io))?,
        Command::Revoke(revoke) => wait_for(revoke.run(io))?,
        Command::Info(info) => wait_for(info.run(io))?,
        Command::Doctor(doctor) => return wait_for(doctor.run(io, Variables::of_process())),
        Command::Bench(bench) => return wait_for(bench.run(io)),
        Command::Completions(completions) => completions.run(Cli::command(), io)?,
    }
    Ok(Exit::Ok)
}

/// Runs a command that talks to a node. One thread is plenty for it.
fn wait_for<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(Box::pin(command))
}

#[cfg(test)]
mod tests;
