//! What roles and tokens allow, beside what is open in a namespace. Rights only add up: there is no rule that denies.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Pattern;

/// What is asked of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Listen to it.
    Subscribe,
    /// Publish from a client.
    Publish,
    /// Read its history.
    ReadHistory,
    /// Read who is in it.
    ReadPresence,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Subscribe, Self::Publish, Self::ReadHistory, Self::ReadPresence];

    /// Its name in the configuration and in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::ReadHistory => "read_history",
            Self::ReadPresence => "read_presence",
        }
    }

    /// The operation of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }
}

/// Patterns of channels for each operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules([Vec<Pattern>; 4]);

impl Rules {
    /// Allows an operation in channels of these patterns.
    pub fn allow(&mut self, operation: Operation, patterns: impl IntoIterator<Item = Pattern>) {
        self.0[operation as usize].extend(patterns);
    }

    /// The first pattern that allows something.
    pub fn allowing(&self, operation: Operation, channel: &str, user: &str) -> Option<&Pattern> {
        self.0[operation as usize].iter().find(|pattern| pattern.matches(channel, user))
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What roles may do, and which claim of a token names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    /// The claim: its name, or a path of names with dots. `None` looks at none.
    pub claim: Option<String>,
    /// The rules of each role.
    pub rules: BTreeMap<String, Arc<Rules>>,
}

impl Default for Roles {
    fn default() -> Self {
        Self { claim: Some("roles".to_owned()), rules: BTreeMap::new() }
    }
}

impl Roles {
    /// The claim to look for; `None` if what it says would be of no use.
    pub(crate) fn wanted_claim(&self) -> Option<&str> {
        self.claim.as_deref().filter(|_| !self.rules.is_empty())
    }

    /// Those of these roles that are configured.
    pub(crate) fn of(&self, names: &[String]) -> Vec<(String, Arc<Rules>)> {
        let known = |name: &String| Some((name.clone(), Arc::clone(self.rules.get(name)?)));
        names.iter().filter_map(known).collect()
    }
}

/// What a connection token allows: by its roles, and by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    /// The configured roles that it names.
    pub roles: Vec<(String, Arc<Rules>)>,
    /// The rules that stand in it.
    pub own: Rules,
}

impl Rights {
    /// Whether it allows nothing at all.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.own.is_empty()
    }
}

/// What a subscription token allows in its channel besides subscribing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowed(u8);

impl Allowed {
    /// Nothing.
    pub const NOTHING: Self = Self(0);

    /// The same and this.
    #[must_use]
    pub fn and(self, operation: Operation) -> Self {
        Self(self.0 | 1 << operation as u8)
    }

    /// Whether this is allowed.
    pub fn has(self, operation: Operation) -> bool {
        self.0 & 1 << operation as u8 != 0
    }
}
