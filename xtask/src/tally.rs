//! How many tests a runner ran, by the lines in which it says so.

use std::ops::AddAssign;

/// Counts of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Those that passed.
    pub(crate) passed: usize,
    /// Those that failed.
    pub(crate) failed: usize,
    /// Those that were not run.
    pub(crate) skipped: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Tally {
    /// Of `cargo test`: the sum over all its `test result:` lines.
    pub(crate) fn of_cargo(printed: &str) -> Self {
        let mut tally = Self::default();
        for line in printed.lines().filter(|line| line.starts_with("test result: ")) {
            tally += Self {
                passed: number_before(line, " passed"),
                failed: number_before(line, " failed"),
                skipped: number_before(line, " ignored"),
            };
        }
        tally
    }

    /// Of `node --test`: its closing lines `# pass 3` or `ℹ pass 3`.
    pub(crate) fn of_node(printed: &str) -> Self {
        let count = |word: &str| {
            let number = |line: &str| line.trim_start_matches(['#', 'ℹ', ' ']).strip_prefix(word)?.trim().parse().ok();
            printed.lines().rev().find_map(number).unwrap_or(0)
        };
        Self { passed: count("pass "), failed: count("fail "), skipped: count("skipped ") }
    }

    /// Of Python's `unittest`: its closing line `Ran 3 tests in 0.1s`, and `skipped=1` in the one after.
    pub(crate) fn of_unittest(printed: &str) -> Self {
        let ran = printed.lines().rev().find_map(|line| line.strip_prefix("Ran ")).map_or(0, first_number);
        let skipped =
            printed.lines().rev().find_map(|line| line.split_once("skipped=")).map_or(0, |(_, n)| first_number(n));
        Self { passed: ran.saturating_sub(skipped), failed: 0, skipped }
    }

    /// Of `go test -v`: the tests within tests, which are the scenarios.
    pub(crate) fn of_go(printed: &str) -> Self {
        let count = |mark: &str| {
            printed.lines().filter(|line| line.starts_with("    ") && line.trim_start().starts_with(mark)).count()
        };
        Self { passed: count("--- PASS"), failed: count("--- FAIL"), skipped: count("--- SKIP") }
    }
}

fn number_before(line: &str, word: &str) -> usize {
    let before = line.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn first_number(text: &str) -> usize {
    text.split(|c: char| !c.is_ascii_digit()).next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: usize, failed: usize, skipped: usize) -> Tally {
        Tally { passed, failed, skipped }
    }

    #[test]
    fn of_cargo_adds_up_all_test_programs() {
        let printed = "running 3 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
                       test result: FAILED. 40 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Tally::of_cargo(printed), tally(42, 3, 1));
    }

    #[test]
    fn of_node_reads_the_closing_lines_in_either_form() {
        assert_eq!(Tally::of_node("✔ passes\nℹ tests 4\nℹ pass 3\nℹ fail 0\nℹ skipped 1\n"), tally(3, 0, 1));
        assert_eq!(Tally::of_node("ok 1 - passes\n# pass 2\n# fail 1\n# skipped 0\n"), tally(2, 1, 0));
    }

    #[test]
    fn of_unittest_counts_what_ran_less_what_was_skipped() {
        assert_eq!(Tally::of_unittest("...\nRan 42 tests in 8.1s\n\nOK (skipped=2)\n"), tally(40, 0, 2));
    }

    #[test]
    fn of_go_counts_scenarios() {
        let printed = "--- PASS: TestJSON (1s)\n    --- PASS: TestJSON/a (0s)\n    --- SKIP: TestJSON/b (0s)\nPASS\n";
        assert_eq!(Tally::of_go(printed), tally(1, 0, 1));
    }

    #[test]
    fn nothing_printed_counts_as_nothing() {
        for count in [Tally::of_cargo, Tally::of_node, Tally::of_unittest, Tally::of_go] {
            assert_eq!(count("error: could not compile"), Tally::default());
        }
    }
}
