//! The scripts, and how they are called: by hash, and once by text where Redis does not know the hash.

use std::sync::LazyLock;

use redis::{Arg, Cmd, Script, ToRedisArgs};

/// A script's text and hash.
pub(crate) struct Source {
    text: &'static str,
    hash: String,
}

impl Source {
    fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }
}

/// Publishes with history, idempotency keys or version guards.
pub(crate) static PUBLISH: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("script/publish.lua")));
/// Reads a channel's position and stream.
pub(crate) static HISTORY: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("script/history.lua")));
/// Reads the positions of many channels.
pub(crate) static POSITIONS: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("script/positions.lua")));
/// Adds and refreshes somebody present.
pub(crate) static PRESENCE_ADD: LazyLock<Source> =
    LazyLock::new(|| Source::new(include_str!("script/presence_add.lua")));
/// Removes somebody present.
pub(crate) static PRESENCE_REMOVE: LazyLock<Source> =
    LazyLock::new(|| Source::new(include_str!("script/presence_remove.lua")));
/// Reads who is present, or how many.
pub(crate) static PRESENCE_READ: LazyLock<Source> =
    LazyLock::new(|| Source::new(include_str!("script/presence_read.lua")));
/// Says that a node is there, and reads which others are.
pub(crate) static NODES: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("script/nodes.lua")));

/// Keeps a revocation, or takes it back.
pub(crate) static REVOKE: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("script/revoke.lua")));
/// Reads the revocations.
pub(crate) static REVOCATIONS: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("script/revocations.lua")));
/// Takes, renews or gives up the lease of the ingest stream.
pub(crate) static LEASE: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("script/lease.lua")));

/// A script with its keys and arguments.
pub(crate) struct Call {
    source: &'static Source,
    by_hash: Cmd,
}

impl Call {
    /// A call with these keys.
    pub(crate) fn new<K: ToRedisArgs>(source: &'static Source, keys: &[K]) -> Self {
        let mut by_hash = redis::cmd("EVALSHA");
        by_hash.arg(&source.hash).arg(keys.len());
        keys.iter().for_each(|key| {
            by_hash.arg(key);
        });
        Self { source, by_hash }
    }

    /// One more argument.
    pub(crate) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.by_hash.arg(argument);
        self
    }

    /// The command that calls by hash.
    pub(crate) fn by_hash(&self) -> &Cmd {
        &self.by_hash
    }

    /// The command that calls by text, after which Redis knows the hash.
    pub(crate) fn by_text(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.source.text);
        for argument in self.by_hash.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                command.arg(argument);
            }
        }
        command
    }
}
