//! The table of bad input: whole, and every case of it asked for by a test that exists. Its page is generated here.

#![expect(clippy::unwrap_used, reason = "what fails here is the failure that the test reports")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fanfare_testkit::bad_input::{self, Case, Row};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The source files in and below a folder.
fn sources_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources_below(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// A test and its text, in which all white space is left out.
struct Test {
    name: String,
    body: String,
}

/// The tests of a file: what has an attribute of one, or is in the list of those that run with several shards.
fn tests_in(path: &Path) -> Vec<Test> {
    let text = fs::read_to_string(path).unwrap();
    let lists = text.split("on_1_and_3_shards!(").skip(1).filter_map(|rest| rest.split(");").next());
    let listed: BTreeSet<&str> = lists.flat_map(|list| list.split(',')).map(str::trim).collect();
    let lines: Vec<&str> = text.lines().collect();
    let mut tests = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_of(line) else { continue };
        let attributes = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with(['#', '/']));
        let is_test = listed.contains(name) || attributes.into_iter().any(|line| line.contains("test"));
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = lines[at..].iter().position(|line| line.strip_prefix(indent) == Some("}"));
        if is_test && let Some(end) = end {
            let body = lines[at..at + end].concat().split_whitespace().collect();
            tests.push(Test { name: name.to_owned(), body });
        }
    }
    tests
}

fn function_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
    rest.split(['(', '<']).next()
}

/// All tests that may ask for a case, by the path of their file.
fn tests() -> BTreeMap<String, Vec<Test>> {
    let mut files = Vec::new();
    for folder in fs::read_dir(root().join("crates")).unwrap() {
        let tests = folder.unwrap().path().join("tests");
        if tests.is_dir() {
            sources_below(&tests, &mut files);
        }
    }
    let named = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (named(path), tests_in(path))).collect()
}

/// Who asks for a case: its file and name. A case beside the code is asked for by nobody, and names its test itself.
fn asked_by(row: &Row, case: &Case, tests: &BTreeMap<String, Vec<Test>>) -> Vec<String> {
    let call: String = format!("case({},{:?})", row.number, case.name).split_whitespace().collect();
    let asking = tests.iter().flat_map(|(path, tests)| {
        let asking = tests.iter().filter(|test| test.body.contains(&call));
        asking.map(move |test| format!("{path}::{}", test.name))
    });
    asking.chain(case.beside.clone()).collect()
}

#[test]
fn the_table_has_every_row_once_and_in_order() {
    let numbers: Vec<u32> = bad_input::rows().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=101).chain(113..=118).collect::<Vec<_>>());
    let text = fs::read_to_string(root().join("crates/testkit/bad-input.toml")).unwrap();
    let written: Vec<u32> = text.lines().filter_map(|line| line.strip_prefix("number = ")?.parse().ok()).collect();
    assert_eq!(written, numbers);
}

#[test]
fn every_case_has_one_answer_and_every_row_a_case_or_a_reason_for_none() {
    for row in bad_input::rows() {
        let names: BTreeSet<&str> = row.cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), row.cases.len(), "row {}: a name twice", row.number);
        assert!(row.not_built.is_some() || !row.cases.is_empty(), "row {} says nothing", row.number);
        for case in &row.cases {
            assert_eq!(case.answers(), 1, "row {}, {}", row.number, case.name);
        }
    }
}

/// What is not built: compression, filters, resume tokens, signed requests, a data directory, other versions, snapshots.
/// Of row 118 only push endpoints are not.
#[test]
fn the_rows_that_are_not_built_are_these() {
    let without: Vec<u32> = bad_input::rows().filter(|row| row.not_built.is_some()).map(|row| row.number).collect();
    assert_eq!(without, [18, 19, 65, 70, 79, 93, 99, 100, 101, 118]);
    let with_cases = bad_input::rows().filter(|row| row.not_built.is_some() && !row.cases.is_empty());
    assert!(with_cases.map(|row| row.number).all(|number| number == 118));
}

#[test]
fn every_case_is_asked_for_by_a_test() {
    let tests = tests();
    let mut missing = Vec::new();
    for row in bad_input::rows() {
        let cases = row.cases.iter().filter(|case| asked_by(row, case, &tests).is_empty());
        missing.extend(cases.map(|case| format!("{}: {}", row.number, case.name)));
    }
    assert!(missing.is_empty(), "no test asks for these: {missing:#?}");
}

#[test]
fn every_test_beside_the_code_exists() {
    for case in bad_input::rows().flat_map(|row| &row.cases) {
        let Some(test) = &case.beside else { continue };
        let (path, name) = test.rsplit_once("::").unwrap();
        let found = tests_in(&root().join(path)).iter().any(|test| test.name == name);
        assert!(found, "{test}");
    }
}

const PAGE: &str = "docs/bad-input.md";

const INTRODUCTION: &str = "# Bad input, and what it gets

What a hostile or broken client, publisher, operator, or machine may send, and what happens then. This page is generated
from `crates/testkit/bad-input.toml`, which the tests ask for what they expect; each case names its tests. Beside
every attack a well-behaved client publishes and receives without a pause, and misses nothing. Rows 102 to 112 are
about Redis: [operating.md](operating.md#what-is-promised-when-something-breaks).

Codes of close frames and errors are those of [protocol.md](protocol.md). A reason that the protocol cannot carry is the
label of a counter, and the `reason` in a line of the log, of which there are a few a second; `close_codes.rs` asks the
program itself for its log. What the JavaScript SDK makes of refusals is tried in `crates/testkit/sdk/js/refusals.test.js`.

";

fn page() -> String {
    let tests = tests();
    let mut page = INTRODUCTION.to_owned();
    let mut who = "";
    for row in bad_input::rows() {
        if row.who != who {
            who = &row.who;
            write!(
                page,
                "## {}\n\n| | input | case | answer | counted as | tests |\n|---|---|---|---|---|---|\n",
                title(who)
            )
            .unwrap();
        }
        write_row(&mut page, row, &tests);
        if bad_input::rows().find(|next| next.number > row.number).is_some_and(|next| next.who != who) {
            page.push('\n');
        }
    }
    page
}

fn title(who: &str) -> String {
    let mut letters = who.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

fn write_row(page: &mut String, row: &Row, tests: &BTreeMap<String, Vec<Test>>) {
    let (mut number, mut input) = (row.number.to_string(), row.input.as_str());
    for case in &row.cases {
        let counted = case.counted().map(|counter| format!("`{counter}`")).unwrap_or_default();
        let names = asked_by(row, case, tests).into_iter().map(|test| match test.rsplit_once("::") {
            Some((_, name)) => format!("`{name}`"),
            None => test,
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let answer = case.text();
        writeln!(page, "| {number} | {input} | {} | {answer} | {counted} | {names} |", case.name).unwrap();
        (number, input) = (String::new(), "");
    }
    if let Some(reason) = &row.not_built {
        writeln!(page, "| {number} | {input} | not built | {reason} | | |").unwrap();
    }
}

/// Written anew with `FANFARE_UPDATE_BAD_INPUT=1 cargo test -p fanfare-testkit --test bad_input`.
#[test]
fn the_page_is_current() {
    let path = root().join(PAGE);
    let page = page();
    if std::env::var_os("FANFARE_UPDATE_BAD_INPUT").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "{PAGE} is not what the table says: see above this test"
    );
}
