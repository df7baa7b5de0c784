//! `fanfare disconnect`: closes all connections of a user.

use fanfare_client::api::{Disconnect as Order, Target};
use serde::Serialize;

use super::advice::failure;
use super::node_flags::NodeFlags;
use super::output::visible;
use super::{Failure, HELP, Io, json};

/// What `fanfare disconnect` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare disconnect 42
  fanfare disconnect 42 --code 4500 --reason banned
",
    after_help = "\
Codes:
  3000 to 3499 and 4000 to 4499   clients come back
  3500 to 3999 and 4500 to 4999   clients stay away"
)]
pub(crate) struct Disconnect {
    /// The user's id
    user: String,
    /// The close code
    #[arg(long, default_value_t = 3503, value_parser = clap::value_parser!(u32).range(3000..=4999))]
    code: u32,
    /// The close reason, at most 123 bytes
    #[arg(long, default_value = "force disconnect")]
    reason: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeFlags,
}

#[derive(Serialize)]
struct Disconnected<'a> {
    user: &'a str,
    code: u32,
    reason: &'a str,
}

impl Disconnect {
    /// Closes them, and says so when all shards have.
    pub(crate) async fn run(&self, io: &mut Io) -> Result<(), Failure> {
        let order = Order::new(Target::user(&self.user)).code(self.code, &self.reason);
        self.node.api(io)?.disconnect(&order).await.map_err(failure)?;
        if self.json {
            return json::print(io, &Disconnected { user: &self.user, code: self.code, reason: &self.reason });
        }
        let user = io.out_style.cyan(&visible(&self.user));
        io.line(&format!("closed the connections of {user}"))
    }
}
