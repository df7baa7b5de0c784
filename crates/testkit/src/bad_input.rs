//! What bad input gets: the table `bad-input.toml`, which tests ask for what they expect.
//!
//! A test names row and case, and nothing else of the answer: `case(15, "pings").close()`. `tests/bad_input.rs` looks
//! in the sources who asks for what, so that no case is without a test.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The table as it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    row: Vec<Row>,
}

/// A kind of bad input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its number, for ever.
    pub number: u32,
    /// Who sends it.
    pub who: String,
    /// What is sent.
    pub input: String,
    /// What of it is told apart.
    #[serde(default)]
    pub cases: Vec<Case>,
    /// Why there is nothing to try of it, or of a part of it.
    pub not_built: Option<String>,
}

/// A kind of input that is answered in one way.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name within the row.
    pub name: String,
    /// The code of the close frame.
    close: Option<u16>,
    /// The code of an error reply; the connection goes on.
    error: Option<u64>,
    /// The status of an HTTP answer.
    status: Option<u16>,
    /// What the program ends with.
    exit: Option<i32>,
    /// What happens where nothing is refused.
    fine: Option<String>,
    /// What happens besides.
    pub then: Option<String>,
    /// What is counted: the name of a metric, and a label if it has rows.
    counter: Option<String>,
    /// The test, as `path::name`, where only one beside the code can try it.
    pub beside: Option<String>,
}

static TABLE: LazyLock<BTreeMap<u32, Row>> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("../bad-input.toml")).expect("the table is a file of rows");
    file.row.into_iter().map(|row| (row.number, row)).collect()
});

/// All rows, by number.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    TABLE.values()
}

/// What is expected of a case.
///
/// # Panics
/// If the table has no such case.
#[track_caller]
pub fn case(row: u32, name: &str) -> &'static Case {
    let found = TABLE.get(&row).and_then(|row| row.cases.iter().find(|case| case.name == name));
    found.unwrap_or_else(|| panic!("row {row} has no case {name:?}"))
}

impl Case {
    #[track_caller]
    fn answer<T: Copy>(&self, answer: Option<T>, kind: &str) -> T {
        answer.unwrap_or_else(|| panic!("{:?} is not answered by {kind}", self.name))
    }

    /// The code of the close frame.
    ///
    /// # Panics
    /// If there is another answer; so do the others.
    #[track_caller]
    pub fn close(&self) -> u16 {
        self.answer(self.close, "a close frame")
    }

    /// The code of the error reply.
    #[track_caller]
    pub fn error(&self) -> u64 {
        self.answer(self.error, "an error")
    }

    /// The HTTP status.
    #[track_caller]
    pub fn status(&self) -> u16 {
        self.answer(self.status, "an HTTP status")
    }

    /// The exit code.
    #[track_caller]
    pub fn exit(&self) -> i32 {
        self.answer(self.exit, "an exit code")
    }

    /// Asserts that nothing is refused.
    #[track_caller]
    pub fn is_fine(&self) {
        assert!(self.fine.is_some(), "{:?} is answered by {}", self.name, self.text());
    }

    /// The metric that counts it: its name, and the label of its row, such as `reason="host"`.
    ///
    /// # Panics
    /// If nothing is counted.
    #[track_caller]
    pub fn counter(&self) -> (&str, &str) {
        let counter = self.counter.as_deref().unwrap_or_else(|| panic!("{:?} moves no counter", self.name));
        let (name, rest) = counter.split_once('{').unwrap_or((counter, ""));
        (name, rest.trim_end_matches('}'))
    }

    /// The label's value, which is also what the log says.
    #[track_caller]
    pub fn reason(&self) -> &str {
        let (_, label) = self.counter();
        label.split('"').nth(1).unwrap_or_default()
    }

    /// How many answers it names; one is right.
    pub fn answers(&self) -> usize {
        let answers = [self.close.is_some(), self.error.is_some(), self.status.is_some(), self.exit.is_some()];
        answers.into_iter().filter(|there| *there).count() + usize::from(self.fine.is_some())
    }

    /// The answer in words.
    pub fn text(&self) -> String {
        let answer = match (self.close, self.error, self.status, self.exit) {
            (Some(code), ..) => format!("close {code}"),
            (_, Some(code), ..) => format!("error {code}"),
            (_, _, Some(status), _) => format!("HTTP {status}"),
            (_, _, _, Some(exit)) => format!("exit {exit}"),
            _ => self.fine.clone().unwrap_or_default(),
        };
        match &self.then {
            Some(then) => format!("{answer}; {then}"),
            None => answer,
        }
    }

    /// What is counted, as it stands in the table.
    pub fn counted(&self) -> Option<&str> {
        self.counter.as_deref()
    }
}
