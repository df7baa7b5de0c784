//! The project's own chores, on the standard library alone: `cargo xtask test` and what it is made of.

mod command;
mod conformance;
mod picture;
mod project;
mod report;
mod step;
mod steps;
mod tally;
mod tool;

use std::io::Write;
use std::process::ExitCode;

use report::Report;
use step::{Outcome, Step};

const HELP: &str = "\
Chores of the project.

  cargo xtask test            everything: formatting, lints, tests, the SDK suites and the browser suite
  cargo xtask test STEP...    only these: rust, deny, servers, instructions, deploy, docs, autobahn, fuzz, checker, js, python, go, browser
  cargo xtask conformance     runs the Autobahn cases and writes docs/conformance.md
  cargo xtask fuzz TARGET ... runs one fuzz target; what follows goes to libFuzzer: files to try, -max_total_time=300
  cargo xtask check FILE      judges a history again that the consistency checker found wanting
  cargo xtask image           builds the image of deploy/Dockerfile as it is shipped, starts it, and says its size
  cargo xtask picture         takes the README's picture of the demo page again
  cargo xtask help            this text

`test` installs what a suite needs: npm packages by `npm ci`, Python packages in a virtual environment under
`target/`, Debian packages where they are missing (as root or with sudo; elsewhere it prints the command). What is
skipped for want of a tool is named at the end; with CI=true only the Go suite and the image may be.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["test", words @ ..] => test(words),
        ["check", file] => steps::checker::judge(file),
        ["fuzz", target, arguments @ ..] => steps::fuzz::run_one(target, arguments),
        ["conformance"] => steps::autobahn::write_page(),
        ["image"] => steps::image::measure(),
        ["picture"] => picture::take(),
        ["help" | "--help" | "-h"] => {
            say(HELP);
            ExitCode::SUCCESS
        }
        _ => {
            say(HELP);
            ExitCode::from(2)
        }
    }
}

fn test(words: &[&str]) -> ExitCode {
    match step::chosen(words) {
        Ok(steps) => run(&steps),
        Err(unknown) => {
            say(&format!("there is no step {unknown}\n\n{HELP}"));
            ExitCode::from(2)
        }
    }
}

/// Runs the steps in their order and stops at the first failure.
fn run(steps: &[&Step]) -> ExitCode {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut report = Report::start();
    for step in steps {
        report.begin(step.name);
        let outcome = step.strict((step.run)(), ci);
        let failed = matches!(outcome, Outcome::Failed(_));
        report.end(step.name, outcome);
        if failed {
            break;
        }
    }
    report.close()
}

/// Writes to standard output; nobody reads on when that fails.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
