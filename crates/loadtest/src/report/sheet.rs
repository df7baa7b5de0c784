//! What is said of a report, section by section and in the order in which it matters: the same in a terminal and on a
//! page. What has nothing to say is left out. Text of others is in it as it came: whoever shows it makes it harmless.

mod cost;
mod outcome;
mod setting;

use super::{Report, units};

/// Things that belong together.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) body: Body,
}

pub(super) enum Body {
    Facts(Vec<Fact>),
    Grid(Grid),
}

/// A name and its value.
pub(super) struct Fact {
    pub(super) label: String,
    pub(super) value: String,
}

/// Rows of numbers.
pub(super) struct Grid {
    /// What the columns of numbers are.
    pub(super) heading: Vec<&'static str>,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Row {
    pub(super) label: String,
    /// One for each column.
    pub(super) cells: Vec<String>,
    /// Words behind the numbers.
    pub(super) note: String,
}

/// All sections that say something.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let published = report.publications.as_ref();
    let all = [
        facts("asked", setting::asked(report)),
        facts("deliveries", outcome::deliveries(report)),
        facts("slow readers", outcome::slow(report)),
        facts("came and went", outcome::came_and_went(report)),
        facts("cut", outcome::cut(report)),
        grid("latency", outcome::latencies(report)),
        facts("publications", outcome::publications(report)),
        facts("refused", published.map_or_else(Facts::default, |published| reasons(&published.refusals))),
        facts("connections", outcome::connections(&report.connections)),
        facts("closed", outcome::closes(&report.connections)),
        facts("failed", reasons(&report.connections.failed)),
        facts("server", cost::server(report)),
        facts("memory", cost::memory(report)),
        facts("loader", cost::loader(report)),
        facts("wire", outcome::wire(report)),
        grid("objectives", setting::objectives(report)),
        facts("search", setting::search(report)),
        grid("tried", setting::steps(report)),
        facts("setup", setting::setup(report)),
        facts("machine", setting::machine(report)),
    ];
    all.into_iter().filter(|section| !section.is_empty()).collect()
}

fn facts(name: &'static str, facts: Facts) -> Section {
    Section { name, body: Body::Facts(facts.0) }
}

fn grid(name: &'static str, grid: Grid) -> Section {
    Section { name, body: Body::Grid(grid) }
}

impl Section {
    fn is_empty(&self) -> bool {
        match &self.body {
            Body::Facts(facts) => facts.is_empty(),
            Body::Grid(grid) => grid.rows.is_empty(),
        }
    }
}

/// Facts as they are gathered.
#[derive(Default)]
struct Facts(Vec<Fact>);

impl Facts {
    fn say(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push(Fact { label: label.into(), value: value.into() });
        self
    }

    /// Not if there is none.
    fn say_some(self, label: &str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.say(label, value),
            None => self,
        }
    }

    fn count(self, label: &str, value: u64) -> Self {
        self.say(label, units::count(value))
    }

    /// Not if it never happened.
    fn count_some(self, label: &str, value: u64) -> Self {
        if value > 0 { self.count(label, value) } else { self }
    }
}

/// Why something failed, the most frequent first.
fn reasons(times: &std::collections::BTreeMap<String, u64>) -> Facts {
    let mut sorted: Vec<(&String, &u64)> = times.iter().collect();
    sorted.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    sorted.into_iter().fold(Facts::default(), |facts, (why, times)| facts.say(why, units::times(*times)))
}
