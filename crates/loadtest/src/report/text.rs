//! A report in a terminal: aligned, without colours, the verdict first.

use std::fmt::Write as _;

use super::Report;
use super::sheet::{Body, Fact, Grid, Row, sections};
use super::units::shown;

/// Columns of a line: what a terminal has without asking. Only what cannot be broken is longer.
const COLUMNS: usize = 80;
/// The first column, which names what a line is about.
const NAME_COLUMNS: usize = 18;
/// Blanks between two columns.
const GAP: &str = "  ";

impl Report {
    /// The result in some thirty lines, without a line's end after the last. The first line is the verdict's.
    pub fn summary(&self) -> String {
        let mut lines = vec![self.verdict().to_string()];
        lines.extend(self.reasons().iter().map(|reason| format!("  - {}", shown(reason))));
        lines.push(String::new());
        for section in sections(self) {
            match &section.body {
                Body::Facts(facts) => lines.extend(fact_lines(section.name, facts)),
                Body::Grid(grid) => lines.extend(grid_lines(section.name, grid)),
            }
        }
        lines.join("\n")
    }
}

/// The facts one after the other, in as many lines as they need.
fn fact_lines(name: &str, facts: &[Fact]) -> Vec<String> {
    let parts: Vec<String> =
        facts.iter().map(|fact| format!("{} {}", shown(&fact.label), shown(&fact.value))).collect();
    let lines = broken(&parts, COLUMNS - NAME_COLUMNS).into_iter().enumerate();
    lines.map(|(at, line)| format!("{:NAME_COLUMNS$}{line}", if at == 0 { name } else { "" })).collect()
}

/// Parts with commas between them, a new line wherever the next would not fit.
fn broken(parts: &[String], columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if width(line) + width(part) + 2 < columns => {
                line.push_str(", ");
                line.push_str(part);
            }
            Some(line) => {
                line.push(',');
                lines.push(part.clone());
            }
            None => lines.push(part.clone()),
        }
    }
    lines
}

fn grid_lines(name: &str, grid: &Grid) -> Vec<String> {
    let labels = grid.rows.iter().map(|row| width(&shown(&row.label)) + 2 * GAP.len());
    let label = labels.max().unwrap_or(0).max(NAME_COLUMNS);
    let widths: Vec<usize> = (0..grid.heading.len()).map(|column| column_width(grid, column)).collect();
    let heading = grid.heading.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut lines = vec![grid_line(&format!("{name:label$}"), &heading, &widths, "")];
    lines.extend(grid.rows.iter().map(|row| {
        let name = format!("{GAP}{}", shown(&row.label));
        grid_line(&format!("{name:label$}"), &row.cells, &widths, &shown(&row.note))
    }));
    lines
}

fn column_width(grid: &Grid, column: usize) -> usize {
    let cell = |row: &Row| row.cells.get(column).map_or(0, |cell| width(cell));
    grid.rows.iter().map(cell).chain([grid.heading[column].len()]).max().unwrap_or(0)
}

/// Numbers end under one another.
fn grid_line(label: &str, cells: &[String], widths: &[usize], note: &str) -> String {
    let mut line = label.to_owned();
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let gap = if at == 0 { "" } else { GAP };
        // Writing to a string cannot fail.
        write!(line, "{gap}{cell:>width$}").unwrap_or_default();
    }
    format!("{line}{GAP}{note}").trim_end().to_owned()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Away, sample};

    #[test]
    fn a_report_with_everything_in_it() {
        let expected = include_str!("sample.txt").trim_end();
        let summary = sample::full().summary();
        assert_eq!(summary, expected, "\n{summary}\n");
    }

    #[test]
    fn a_good_run_is_told_in_few_lines_none_of_them_long() {
        let summary = sample::quiet().summary();
        assert!(summary.starts_with("good: nothing was lost, doubled or reordered\n\nasked "), "{summary}");
        assert!(summary.lines().count() <= 28, "{summary}");
        assert!(summary.lines().all(|line| width(line) <= COLUMNS && line.trim_end() == line), "{summary}");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let summary = sample::idle().summary();
        for absent in ["deliveries", "publications", "payload", "closed", "search", "objectives", "p99<"] {
            assert!(!summary.contains(absent), "{absent} in {summary}");
        }
        assert!(summary.contains("idle CPU per connection and second 1.25 µs"), "{summary}");
    }

    #[test]
    fn comings_and_goings_are_told_with_what_was_asked() {
        let mut report = sample::quiet();
        report.away = Some(Away { asked: 1_100, done: 1_098, asked_per_second: Some(100.0), per_second: Some(99.8) });
        let summary = report.summary();
        assert!(summary.contains("came and went     asked 1,100, at 100/s, done 1,098, at 99.8/s"), "{summary}");
    }

    #[test]
    fn text_of_a_server_is_harmless_and_short() {
        let summary = sample::hostile().summary();
        let odd = |letter: char| letter.is_control() && letter != '\n';
        assert!(!summary.contains(odd) && summary.contains("\\u001b[2J"), "{summary}");
        assert!(summary.lines().all(|line| width(line) <= 240), "{summary}");
    }

    #[test]
    fn a_tester_that_takes_more_than_half_of_the_server_says_so() {
        let mut report = sample::quiet();
        report.loader.share_of_server = Some(0.62);
        assert!(report.summary().contains("against the server 62 %, over a half"));
    }
}
