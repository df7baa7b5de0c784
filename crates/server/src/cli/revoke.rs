//! `fanfare revoke`: makes tokens good no more, takes that back, and lists what is revoked.

use fanfare_client::api::{Invalidate, ListedRevocation, RevocationList, RevocationQuery, Revoke as Order};
use serde::Serialize;

use super::advice::failure;
use super::node_flags::NodeFlags;
use super::output::visible;
use super::table::Table;
use super::token::now_seconds;
use super::{Failure, HELP, Io, json};
use crate::config::parse_duration;

/// What `fanfare revoke` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare revoke token b9c2                  the token with this id (jti)
  fanfare revoke user 42                     the tokens of a user, issued until now
  fanfare revoke user 42 --channel '$room'   of these, subscription tokens for a channel
  fanfare revoke everybody --before 1790000000
  fanfare revoke list
  fanfare revoke token b9c2 --undo
"
)]
pub(crate) struct Revoke {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// One token, by its id (the claim jti)
    Token(OneToken),
    /// The tokens of a user that were issued before a time
    User(OfUser),
    /// The tokens of everybody that were issued before a time
    Everybody(OfEverybody),
    /// Print what is blocked and revoked
    List(List),
}

#[derive(Debug, clap::Args)]
struct OneToken {
    /// The token's id
    #[arg(value_name = "ID")]
    uid: String,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct OfUser {
    /// The user's id
    user: String,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct OfEverybody {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    how: How,
}

/// Which tokens.
#[derive(Debug, clap::Args)]
struct Which {
    /// Issued before this time, in seconds since 1970; without it, until now
    #[arg(long, value_name = "SECONDS")]
    before: Option<u64>,
    /// Only subscription tokens for this channel
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
}

#[derive(Debug, clap::Args)]
struct How {
    /// For how long: 30s, 15m, 1h, 7d; without it as long as such tokens can be good
    #[arg(long = "for", value_name = "DURATION")]
    lasts: Option<String>,
    /// Take it back
    #[arg(long, conflicts_with = "lasts")]
    undo: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeFlags,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those of this kind: user, token, user_tokens, all_tokens
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only those of this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: u32,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeFlags,
}

#[derive(Serialize)]
struct Revoked {
    durable: bool,
}

impl Revoke {
    /// Revokes, and says so when every connection is closed that it concerns.
    pub(crate) async fn run(&self, io: &mut Io) -> Result<(), Failure> {
        match &self.what {
            What::Token(token) => token.run(io).await,
            What::User(user) => tokens(Some(&user.user), &user.which, &user.how, io).await,
            What::Everybody(all) => tokens(None, &all.which, &all.how, io).await,
            What::List(list) => list.run(io).await,
        }
    }
}

impl OneToken {
    async fn run(&self, io: &mut Io) -> Result<(), Failure> {
        if self.how.undo {
            let listed = ListedRevocation { uid: Some(self.uid.clone()), ..ListedRevocation::of_kind("token") };
            return self.how.undo(&listed, io).await;
        }
        let order = Order { uid: self.uid.clone(), expire_at: expiry(self.how.lasts.as_deref())? };
        let durable = self.how.node.api(io)?.revoke_token(&order).await.map_err(failure)?;
        self.how.print(&format!("revoked the token {}", visible(&self.uid)), durable, io)
    }
}

async fn tokens(user: Option<&String>, which: &Which, how: &How, io: &mut Io) -> Result<(), Failure> {
    let channel = which.channel.clone();
    if how.undo {
        let kind = if user.is_some() { "user_tokens" } else { "all_tokens" };
        let listed = ListedRevocation { user: user.cloned(), channel, ..ListedRevocation::of_kind(kind) };
        return how.undo(&listed, io).await;
    }
    let order = Invalidate {
        user: user.cloned(),
        channel,
        issued_before: which.before,
        expire_at: expiry(how.lasts.as_deref())?,
    };
    let durable = how.node.api(io)?.invalidate_user_tokens(&order).await.map_err(failure)?;
    let of = user.map_or_else(|| "everybody".to_owned(), |user| visible(user));
    how.print(&format!("revoked the older tokens of {of}"), durable, io)
}

impl How {
    fn print(&self, done: &str, durable: bool, io: &mut Io) -> Result<(), Failure> {
        if self.json { json::print(io, &Revoked { durable }) } else { said(io, done, durable) }
    }

    async fn undo(&self, listed: &ListedRevocation, io: &mut Io) -> Result<(), Failure> {
        let removed = self.node.api(io)?.revocation_remove(listed).await.map_err(failure)?;
        if self.json {
            return json::print(io, &removed);
        }
        io.line(if removed.removed { "took the revocation back" } else { "there was no such revocation" })
    }
}

impl List {
    async fn run(&self, io: &mut Io) -> Result<(), Failure> {
        let query = RevocationQuery { kind: self.kind.clone(), user: self.user.clone(), limit: Some(self.limit) };
        let list = self.node.api(io)?.revocations(&query).await.map_err(failure)?;
        print(&list, self.json, io)
    }
}

fn print(list: &RevocationList, as_json: bool, io: &mut Io) -> Result<(), Failure> {
    if as_json {
        return list.revocations.iter().try_for_each(|kept| json::print(io, kept));
    }
    if list.revocations.is_empty() {
        io.notice("nothing is blocked or revoked");
        return Ok(());
    }
    let mut table = Table::new(&["KIND", "USER OR TOKEN", "CHANNEL", "ISSUED BEFORE", "EXPIRES"]);
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    for kept in &list.revocations {
        let whose = kept.user.as_ref().or(kept.uid.as_ref()).cloned().unwrap_or_default();
        let channel = kept.channel.clone().unwrap_or_default();
        table.row([kept.kind.clone(), whose, channel, number(kept.issued_before), number(kept.expire_at)]);
    }
    table.print(io)?;
    if list.total > list.revocations.len() as u64 {
        io.notice(&format!("{} of {} are shown: see --limit", list.revocations.len(), list.total));
    }
    Ok(())
}

/// Says what was done, and whether that will be forgotten.
pub(super) fn said(io: &mut Io, done: &str, durable: bool) -> Result<(), Failure> {
    io.line(done)?;
    if !durable {
        io.notice("the node keeps this in its memory: it ends with the node (see redis.url)");
    }
    Ok(())
}

/// When something ends that begins now and lasts so long.
pub(super) fn expiry(lasts: Option<&str>) -> Result<Option<u64>, Failure> {
    let Some(text) = lasts else { return Ok(None) };
    let now = now_seconds();
    let lasts = parse_duration(text).ok().map(|lasts| lasts.as_secs()).filter(|seconds| *seconds > 0);
    let at = lasts.and_then(|seconds| now.checked_add(seconds));
    let failure = || Failure::usage(format!("--for cannot be {text:?}")).hint("write 30s, 15m, 1h or 7d");
    at.map(Some).ok_or_else(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::scripted;

    fn printed(list: &str, as_json: bool) -> (String, String) {
        let (mut io, out, err) = scripted::io("", &[]);
        print(&serde_json::from_str(list).unwrap(), as_json, &mut io).unwrap();
        (out.text(), err.text())
    }

    #[test]
    fn revocations_are_printed_for_people_and_for_programs() {
        let list = r#"{"revocations":[{"kind":"user","user":"42"},{"kind":"all_tokens","channel":"a","issued_before":7,"expire_at":9}],"total":3,"durable":true}"#;
        let (out, err) = printed(list, false);
        let table = "KIND        USER OR TOKEN  CHANNEL  ISSUED BEFORE  EXPIRES\nuser        42\nall_tokens                 a        7              9\n";
        assert_eq!((out.as_str(), err.as_str()), (table, "2 of 3 are shown: see --limit\n"));
        let lines = "{\"kind\":\"user\",\"user\":\"42\"}\n{\"kind\":\"all_tokens\",\"channel\":\"a\",\"issued_before\":7,\"expire_at\":9}\n";
        assert_eq!(printed(list, true), (lines.into(), String::new()));
        let nothing = r#"{"revocations":[],"total":0,"durable":false}"#;
        assert_eq!(printed(nothing, false), (String::new(), "nothing is blocked or revoked\n".into()));
        assert_eq!(printed(nothing, true), (String::new(), String::new()));
    }

    #[test]
    fn a_duration_becomes_a_time_and_anything_else_is_refused() {
        assert_eq!(expiry(None).unwrap(), None);
        let now = now_seconds();
        assert!((now + 3_600..now + 3_700).contains(&expiry(Some("1h")).unwrap().unwrap()));
        for bad in ["", "0s", "10ms", "x", "-1s", "off"] {
            assert!(expiry(Some(bad)).is_err(), "{bad}");
        }
    }
}
