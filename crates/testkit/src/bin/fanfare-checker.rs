//! The consistency checker as a program: runs a plan against three nodes and a real Redis server, or judges a history
//! again that was written to a file.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fanfare_testkit::checker::coverage::Coverage;
use fanfare_testkit::checker::history::{History, Kind};
use fanfare_testkit::checker::judge::{Rule, judge};
use fanfare_testkit::checker::plan::Plan;
use fanfare_testkit::checker::run::{Ended, Places, run};

const HELP: &str = "\
Breaks three nodes and a Redis server, and proves that nothing is lost, doubled or reordered unsaid.

  fanfare-checker run [FLAGS]     runs a plan
  fanfare-checker judge FILE      judges a history again
  fanfare-checker defects [FLAGS] runs against each defect, which has to be found; the nodes have to be built with
                                  the feature `fault-points`

  --seed N        gives the plan; random by default, printed in any case
  --sets N        so many times longer than the run of `cargo xtask test` (default 1)
  --short         a short run of few faults
  --peaceful      nothing is broken
  --only KIND     only faults of this kind (NodeKill, RedisStop, Failover, …)
  --defect NAME   switches a fault point on in the nodes; they have to be built with it
  --binary FILE   the nodes' program (default: target/debug/fanfare)
  --out FOLDER    for logs, and for a history that failed (default: target/checker)
";

/// Violations that are printed.
const SHOWN_MAX: usize = 40;

struct Arguments {
    seed: u64,
    sets: usize,
    short: bool,
    peaceful: bool,
    only: Option<Kind>,
    defect: Option<String>,
    binary: PathBuf,
    out: PathBuf,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", flags @ ..] => match Arguments::read(flags) {
            Ok(arguments) => run_plan(&arguments),
            Err(wrong) => usage(&wrong),
        },
        ["defects", flags @ ..] => match Arguments::read(flags) {
            Ok(arguments) => find_defects(&arguments),
            Err(wrong) => usage(&wrong),
        },
        ["judge", file] => match History::read(Path::new(file)) {
            Ok(history) => verdict(&history, None),
            Err(error) => usage(&format!("{file}: {error}")),
        },
        _ => usage(""),
    }
}

fn usage(wrong: &str) -> ExitCode {
    say(&format!("{wrong}\n\n{HELP}"));
    ExitCode::from(2)
}

/// Writes to standard output; nobody reads on when that fails.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

impl Arguments {
    fn read(flags: &[&str]) -> Result<Self, String> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let (binary, out) = (target.join("debug/fanfare"), target.join("checker"));
        let mut arguments = Self {
            seed: rand::random::<u32>().into(),
            sets: 1,
            short: false,
            peaceful: false,
            only: None,
            defect: None,
            binary,
            out,
        };
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            let mut value =
                || flags.next().map(|value| (*value).to_owned()).ok_or_else(|| format!("{flag} needs a value"));
            match *flag {
                "--seed" => arguments.seed = number(&value()?)?,
                "--sets" => arguments.sets = number(&value()?)? as usize,
                "--short" => arguments.short = true,
                "--peaceful" => arguments.peaceful = true,
                "--only" => arguments.only = Some(kind(&value()?)?),
                "--defect" => arguments.defect = Some(value()?),
                "--binary" => arguments.binary = value()?.into(),
                "--out" => arguments.out = value()?.into(),
                _ => return Err(format!("there is no flag {flag}")),
            }
        }
        Ok(arguments)
    }

    fn places(&self, name: &str, defect: Option<&str>) -> Places {
        let folder = self.out.join(format!("{name}-{}", std::process::id()));
        Places { binary: self.binary.clone(), folder, defect: defect.map(str::to_owned) }
    }

    fn plan(&self) -> Plan {
        match self.only {
            Some(kind) => Plan::only(self.seed, kind, 3 * self.sets),
            None if self.peaceful => Plan::peaceful(self.seed),
            None if self.short => Plan::short(self.seed),
            None => Plan::standard(self.seed, self.sets),
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == name).ok_or_else(|| format!("there is no fault {name}"))
}

/// What a run against a defect has to show: what the defect does, not just anything.
const DEFECTS: [(&str, &[Rule]); 6] = [
    ("drop-ring-entry", &[Rule::Behind, Rule::Lost]),
    ("fence-only-in-publish", &[Rule::TwoPayloads, Rule::TwoPositions, Rule::FalseAlarm]),
    ("skip-check-after-reconnect", &[Rule::Behind, Rule::Lost]),
    ("splice-without-deduplication", &[Rule::Doubled, Rule::BatchBroken]),
    ("always-recovered", &[Rule::FalseRecovery]),
    ("acknowledge-early", &[Rule::Placeless, Rule::Lost]),
];

/// Every defect is found, and without one nothing is.
fn find_defects(arguments: &Arguments) -> ExitCode {
    say(&format!("seed {}", arguments.seed));
    let mut missed = 0;
    for (defect, rules) in DEFECTS {
        let places = arguments.places(defect, Some(defect));
        let ended = Plan::against(arguments.seed, defect)
            .ok_or_else(|| std::io::Error::other("there is no plan against it"))
            .and_then(|plan| carry_out(plan, &places));
        let found = match &ended {
            Ok(Ended { history, .. }) => judge(history),
            Err(error) => {
                say(&format!("{defect}: the run could not begin: {error}"));
                return ExitCode::from(2);
            }
        };
        let of_rule = |rule: &Rule| found.iter().filter(|violation| violation.rule == *rule).count();
        let counts: Vec<String> = rules.iter().map(|rule| format!("{rule:?} {}", of_rule(rule))).collect();
        let is_found = rules.iter().any(|rule| of_rule(rule) > 0);
        missed += usize::from(!is_found);
        if is_found {
            // Left behind at worst.
            let _ = std::fs::remove_dir_all(&places.folder);
        }
        say(&format!("{} {defect}: {}", if is_found { "found " } else { "MISSED" }, counts.join(", ")));
    }
    say(&format!("{} defects found, {missed} missed", DEFECTS.len() - missed));
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn carry_out(plan: Plan, places: &Places) -> std::io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(run(plan, places.clone()));
    // Nothing of it is needed any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

fn run_plan(arguments: &Arguments) -> ExitCode {
    say(&format!("seed {}", arguments.seed));
    let places = arguments.places("run", arguments.defect.as_deref());
    let started = Instant::now();
    match carry_out(arguments.plan(), &places) {
        Ok(Ended { history, broken_off }) => {
            say(&format!("ran for {:.0} s", started.elapsed().as_secs_f64()));
            let verdict = verdict(&history, broken_off.as_deref());
            keep(verdict, &history, &places.folder)
        }
        Err(error) => {
            say(&format!("the run could not begin: {error}; see {}", places.folder.display()));
            ExitCode::from(2)
        }
    }
}

/// Writes a history that failed to a file, and removes the logs of one that did not.
fn keep(verdict: ExitCode, history: &History, folder: &Path) -> ExitCode {
    if verdict == ExitCode::SUCCESS {
        // Left behind at worst.
        let _ = std::fs::remove_dir_all(folder);
        return verdict;
    }
    let file = folder.join("history.jsonl");
    match history.write(&file) {
        Ok(()) => say(&format!("the history is in {0}\njudge it again: cargo xtask check {0}", file.display())),
        Err(error) => say(&format!("the history could not be written to {}: {error}", file.display())),
    }
    verdict
}

fn verdict(history: &History, broken_off: Option<&str>) -> ExitCode {
    let (coverage, violations) = (Coverage::of(history), judge(history));
    say(&coverage.to_string());
    let shortfalls = coverage.shortfalls(history);
    shortfalls.iter().for_each(|shortfall| say(&format!("below the minimum: {shortfall}")));
    violations.iter().take(SHOWN_MAX).for_each(|violation| say(&violation.to_string()));
    if let Some(why) = broken_off {
        say(&format!("broken off: {why}"));
    }
    say(&format!("{} violations, {} shortfalls (seed {})", violations.len(), shortfalls.len(), history.header.seed));
    let good = violations.is_empty() && shortfalls.is_empty() && broken_off.is_none();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
