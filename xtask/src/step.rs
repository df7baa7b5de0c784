//! The steps of `cargo xtask test`, in their order.

use crate::steps::{
    autobahn, browser, checker, deny, deploy, docs, fuzz, go, image, instructions, js, programs, python, redis, rust,
};
use crate::tally::Tally;

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well; so many tests ran in it.
    Passed(Tally),
    /// The same, and something worth knowing.
    PassedWith(Tally, String),
    /// A tool is missing: which, and how to get it.
    Skipped(String),
    /// Something is wrong: what was printed about it.
    Failed(String),
}

impl Outcome {
    /// Of a step that runs no tests of its own.
    pub(crate) fn of_check(result: Result<String, String>) -> Self {
        result.map_or_else(Self::Failed, |_| Self::Passed(Tally::default()))
    }

    /// Of a step that runs tests, which are counted from what it printed.
    pub(crate) fn of_tests(result: Result<String, String>, count: fn(&str) -> Tally) -> Self {
        match result.map(|printed| count(&printed)) {
            Ok(tally) if tally.passed == 0 => Self::Failed("no test ran".to_owned()),
            Ok(tally) => Self::Passed(tally),
            Err(why) => Self::Failed(why),
        }
    }
}

/// One step.
pub(crate) struct Step {
    /// Its name in the report.
    pub(crate) name: &'static str,
    /// The words that choose it on the command line.
    words: &'static [&'static str],
    /// Whether a machine that tests every change may do without it.
    optional_in_ci: bool,
    /// What it does.
    pub(crate) run: fn() -> Outcome,
}

/// The words of the suites that run against the binary.
const SUITES: &[&str] = &["checker", "js", "python", "go", "browser"];

static STEPS: &[Step] = &[
    Step::new("fmt", &["rust"], rust::format),
    Step::new("clippy", &["rust"], rust::lints),
    Step::new("deny", &["deny"], deny::check),
    Step::new("redis", &["rust"], redis::server),
    Step::new("programs", &["rust", "deploy", "js"], programs::install),
    Step::new("test", &["rust"], rust::tests),
    Step::new("servers", &["rust", "servers"], redis::further),
    Step::new("instructions", &["instructions"], instructions::count),
    Step::new("deploy", &["deploy"], deploy::lint),
    Step { optional_in_ci: true, ..Step::new("image", &["deploy"], image::test) },
    Step::new("docs", &["docs"], docs::check),
    Step::new("autobahn", &["autobahn"], autobahn::run),
    Step::new("fuzz", &["fuzz"], fuzz::run),
    Step::new("build", SUITES, rust::build),
    Step::new("checker", &["checker"], checker::run),
    Step::new("defects", &["checker"], checker::defects),
    Step::new("js", &["js"], js::suite),
    Step::new("python", &["python"], python::suite),
    Step { optional_in_ci: true, ..Step::new("go", &["go"], go::suite) },
    Step::new("browser", &["browser"], browser::suite),
];

impl Step {
    const fn new(name: &'static str, words: &'static [&'static str], run: fn() -> Outcome) -> Self {
        Self { name, words, optional_in_ci: false, run }
    }

    /// In CI a step that is skipped has failed, unless it may be.
    pub(crate) fn strict(&self, outcome: Outcome, ci: bool) -> Outcome {
        match outcome {
            Outcome::Skipped(why) if ci && !self.optional_in_ci => Outcome::Failed(format!("missing: {why}")),
            other => other,
        }
    }
}

/// The steps that these words choose, all without any; or the word that chooses none.
pub(crate) fn chosen<'a>(words: &[&'a str]) -> Result<Vec<&'static Step>, &'a str> {
    let known = |word: &&str| STEPS.iter().any(|step| step.words.contains(word));
    if let Some(unknown) = words.iter().find(|word| !known(word)) {
        return Err(unknown);
    }
    let wanted = |step: &&Step| words.is_empty() || words.iter().any(|word| step.words.contains(word));
    Ok(STEPS.iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&'static str]) -> Result<Vec<&'static str>, &'static str> {
        chosen(words).map(|steps| steps.iter().map(|step| step.name).collect())
    }

    fn named(name: &str) -> &'static Step {
        STEPS.iter().find(|step| step.name == name).expect("it is in the list")
    }

    #[test]
    fn words_choose_steps_in_their_order() {
        assert_eq!(names(&["browser", "js"]), Ok(vec!["programs", "build", "js", "browser"]));
        assert_eq!(names(&["rust"]), Ok(vec!["fmt", "clippy", "redis", "programs", "test", "servers"]));
        assert_eq!(names(&[]).map(|all| all.len()), Ok(STEPS.len()));
        assert_eq!(names(&["js", "ruby"]), Err("ruby"));
    }

    #[test]
    fn in_ci_only_go_and_the_image_may_be_skipped() {
        let skipped = || Outcome::Skipped("no go".to_owned());
        assert_eq!(named("go").strict(skipped(), true), skipped());
        assert_eq!(named("image").strict(skipped(), true), skipped());
        assert_eq!(named("js").strict(skipped(), false), skipped());
        assert!(matches!(named("js").strict(skipped(), true), Outcome::Failed(_)));
    }

    #[test]
    fn a_suite_that_ran_nothing_has_failed() {
        assert!(matches!(Outcome::of_tests(Ok(String::new()), Tally::of_go), Outcome::Failed(_)));
        let one = Outcome::of_tests(Ok("# pass 1".to_owned()), Tally::of_node);
        assert_eq!(one, Outcome::Passed(Tally { passed: 1, ..Tally::default() }));
    }
}
