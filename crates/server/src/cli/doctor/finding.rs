//! What was found, and how it is told.

use serde::Serialize;

use super::super::{Failure, Io, json};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Good,
    /// Could not be looked at, for a reason that is nobody's fault.
    Skipped,
    Warning,
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Its name: one word, for scripts.
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn good(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good, text: text.into(), remedy: None }
    }

    pub(super) fn skipped(check: &'static str, text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, ..Self::good(check, text) }
    }

    pub(super) fn warning(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, remedy: Some(remedy.into()), ..Self::good(check, text) }
    }

    pub(super) fn problem(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem, ..Self::warning(check, text, remedy) }
    }
}

/// All that was found.
#[derive(Debug)]
pub(super) struct Findings {
    json: bool,
    warnings: usize,
    problems: usize,
}

impl Findings {
    pub(super) fn new(json: bool) -> Self {
        Self { json, warnings: 0, problems: 0 }
    }

    /// Tells some, one after another.
    pub(super) fn all(&mut self, found: &[Finding], io: &mut Io) -> Result<(), Failure> {
        found.iter().try_for_each(|finding| self.tell(finding, io))
    }

    fn tell(&mut self, finding: &Finding, io: &mut Io) -> Result<(), Failure> {
        match finding.verdict {
            Verdict::Warning => self.warnings += 1,
            Verdict::Problem => self.problems += 1,
            Verdict::Good | Verdict::Skipped => {}
        }
        if self.json {
            return json::print(io, finding);
        }
        let style = io.out_style;
        let mark = match finding.verdict {
            Verdict::Good => "ok     ".to_owned(),
            Verdict::Skipped => style.dim("skipped"),
            Verdict::Warning => style.yellow("warning"),
            Verdict::Problem => style.red("problem"),
        };
        io.line(&format!("{mark}  {:<10}  {}", finding.check, finding.text))?;
        match &finding.remedy {
            Some(remedy) => remedy.lines().try_for_each(|line| io.line(&format!("{:21}{}", "", style.bold(line)))),
            None => Ok(()),
        }
    }

    pub(super) fn has_problems(&self) -> bool {
        self.problems > 0
    }

    /// The last line.
    pub(super) fn conclude(&self, io: &mut Io) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        io.line("")?;
        io.line(&match (self.problems, self.warnings) {
            (0, 0) => "nothing is wrong".to_owned(),
            (problems, warnings) => {
                format!("{}, {}", counted(problems, "problem"), counted(warnings, "warning"))
            }
        })
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::scripted;

    fn told(json: bool) -> String {
        let (mut io, out, _) = scripted::io("", &[]);
        let mut findings = Findings::new(json);
        let found = vec![Finding::good("name", "it is there"), Finding::problem("tls", "it ended", "renew it\nsoon")];
        findings.all(&found, &mut io).unwrap();
        findings.conclude(&mut io).unwrap();
        assert!(findings.has_problems());
        out.text()
    }

    #[test]
    fn findings_are_told_to_people_and_to_programs() {
        assert_eq!(
            told(false),
            "ok       name        it is there\nproblem  tls         it ended\n                     renew it\n                     \
             soon\n\n1 problem, no warnings\n"
        );
        assert_eq!(
            told(true),
            "{\"check\":\"name\",\"verdict\":\"good\",\"text\":\"it is there\"}\n\
             {\"check\":\"tls\",\"verdict\":\"problem\",\"text\":\"it ended\",\"remedy\":\"renew it\\nsoon\"}\n"
        );
    }
}
