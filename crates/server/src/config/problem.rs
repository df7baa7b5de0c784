//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;

use super::source::Location;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a file.
    File(Location),
    /// In an environment variable.
    Variable(String),
    /// In a credential of systemd.
    Credential(String),
    /// In a flag.
    Flag(&'static str),
    /// Nowhere: something is missing.
    Nowhere,
}

/// Everything that is wrong with a configuration; at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub(crate) Vec<Problem>);

impl Problem {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), hint: None }
    }

    /// A problem that stands in no file.
    pub(crate) fn nowhere(message: String, hint: impl Into<String>) -> Self {
        Self::new(Place::Nowhere, message).hint(hint)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl Problems {
    /// Each by itself, in the order of the file, then of the variables, then of the flags.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    pub(crate) fn sorted(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| match &problem.place {
            Place::File(location) => (0, location.line, location.column),
            Place::Credential(_) | Place::Variable(_) => (1, 0, 0),
            Place::Flag(_) => (2, 0, 0),
            Place::Nowhere => (3, 0, 0),
        });
        Self(problems)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(location) => write!(f, "{location}"),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Nowhere => Ok(()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(location) => write!(f, "{location}: {}\n{}", self.message, location.snippet)?,
            Place::Nowhere => write!(f, "{}", self.message)?,
            place => write!(f, "{place}: {}", self.message)?,
        }
        let indent = match &self.place {
            Place::File(location) => location.margin(),
            _ => 1,
        };
        self.hint.iter().try_for_each(|hint| write!(f, "\n{:indent$} = hint: {hint}", ""))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&written.join("\n\n"))
    }
}

impl std::error::Error for Problem {}
impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
