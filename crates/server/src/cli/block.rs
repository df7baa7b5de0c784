//! `fanfare block` and `fanfare unblock`: keep a user out, and let it in again.

use fanfare_client::api::Block as Order;
use serde::Serialize;

use super::advice::failure;
use super::node_flags::NodeFlags;
use super::output::visible;
use super::revoke::{expiry, said};
use super::{Failure, HELP, Io, json};

/// What `fanfare block` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare block 42
  fanfare block 42 --for 1h
  fanfare unblock 42
"
)]
pub(crate) struct Block {
    /// The user's id
    user: String,
    /// For how long: 30s, 15m, 1h, 7d; without it until `fanfare unblock`
    #[arg(long = "for", value_name = "DURATION")]
    lasts: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeFlags,
}

/// What `fanfare unblock` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare unblock 42
"
)]
pub(crate) struct Unblock {
    /// The user's id
    user: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeFlags,
}

#[derive(Serialize)]
struct Blocked<'a> {
    user: &'a str,
    durable: bool,
}

#[derive(Serialize)]
struct Unblocked<'a> {
    user: &'a str,
    removed: bool,
    durable: bool,
}

impl Block {
    /// Blocks the user, and says so when all its connections are closed.
    pub(crate) async fn run(&self, io: &mut Io) -> Result<(), Failure> {
        let order = Order { user: self.user.clone(), expire_at: expiry(self.lasts.as_deref())? };
        let durable = self.node.api(io)?.block_user(&order).await.map_err(failure)?;
        if self.json {
            return json::print(io, &Blocked { user: &self.user, durable });
        }
        let user = io.out_style.cyan(&visible(&self.user));
        said(io, &format!("blocked {user}"), durable)
    }
}

impl Unblock {
    /// Lets the user in again.
    pub(crate) async fn run(&self, io: &mut Io) -> Result<(), Failure> {
        let removed = self.node.api(io)?.unblock_user(&self.user).await.map_err(failure)?;
        if self.json {
            let (removed, durable) = (removed.removed, removed.durable);
            return json::print(io, &Unblocked { user: &self.user, removed, durable });
        }
        let user = io.out_style.cyan(&visible(&self.user));
        io.line(&format!("{user} {}", if removed.removed { "is let in again" } else { "was not blocked" }))
    }
}
