//! The fuzz targets of `fuzz/`: each runs for a while from its committed corpus, and none may crash.
//!
//! They are built as `cargo fuzz` builds them, which is not needed for that: with the coverage that libFuzzer is guided
//! by, and with the address sanitizer where there is a nightly toolchain, which alone can build it.
//!
//! What a run finds goes to `target/fuzz/`, never into the corpus.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};

use crate::command::Run;
use crate::step::Outcome;
use crate::tally::Tally;
use crate::{project, say, tool};

/// How long each target runs.
const SECONDS: u32 = 10;

/// As many targets as this run at once, if there are so many cores.
const AT_ONCE_MAX: usize = 8;

/// Coverage for libFuzzer: counters at each edge, and what is compared with what.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// With which toolchain the targets are built, and what looks after their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    /// The toolchain in use, and nothing.
    Plain,
    /// A nightly one, and the address sanitizer.
    Sanitized,
}

/// All targets.
pub(crate) fn run() -> Outcome {
    if !cfg!(target_os = "linux") {
        return Outcome::Skipped("the fuzz targets are built on Linux only".to_owned());
    }
    // libFuzzer is C++.
    if tool::find("c++").is_none()
        && let Err(why) = tool::install("g++")
    {
        return Outcome::Skipped(format!("no C++ compiler; {why}"));
    }
    let build = Build::of_machine();
    let done = targets().and_then(|targets| build.make(&targets).map(|()| targets)).and_then(|targets| {
        prepare(&targets)?;
        run_all(build, &targets)
    });
    match done {
        Ok(executions) => {
            let tally = Tally { passed: executions.len(), ..Tally::default() };
            Outcome::PassedWith(tally, format!("{} executions {}", executions.iter().sum::<u64>(), build.name()))
        }
        Err(why) => Outcome::Failed(why),
    }
}

/// Runs one target with arguments for libFuzzer: files to try, a folder to collect in, `-max_total_time=300`.
pub(crate) fn run_one(target: &str, arguments: &[&str]) -> ExitCode {
    let build = Build::of_machine();
    let built = targets().and_then(|targets| {
        let known = targets.iter().any(|known| known == target);
        if known { build.make(&[target.to_owned()]) } else { Err(format!("the targets are {}", targets.join(", "))) }
    });
    if let Err(why) = built {
        say(&format!("{why}\n"));
        return ExitCode::FAILURE;
    }
    let status = Command::new(build.program(target)).arg(artifacts(target)).args(arguments).status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The names of the targets, which are those of their files.
fn targets() -> Result<Vec<String>, String> {
    let folder = project::at("fuzz/fuzz_targets");
    let files = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let names = files.flatten().filter_map(|file| Some(file.path().file_stem()?.to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    Ok(names)
}

impl Build {
    fn of_machine() -> Self {
        let has_nightly = tool::works("cargo", &["+nightly", "--version"]);
        if has_nightly { Self::Sanitized } else { Self::Plain }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "without a sanitizer",
            Self::Sanitized => "with the address sanitizer",
        }
    }

    fn folder(self) -> PathBuf {
        let name = match self {
            Self::Plain => "build",
            Self::Sanitized => "build-sanitized",
        };
        project::target().join("fuzz").join(name)
    }

    fn program(self, target: &str) -> PathBuf {
        self.folder().join(platform()).join("debug").join(target)
    }

    fn flags(self) -> String {
        let sanitizer = if self == Self::Sanitized { &["-Zsanitizer=address"][..] } else { &[] };
        [COVERAGE, sanitizer].concat().join(" ")
    }

    /// Builds these targets. What runs while they are built is not instrumented: for that the platform is named.
    fn make(self, targets: &[String]) -> Result<(), String> {
        let toolchain = if self == Self::Sanitized { &["+nightly"][..] } else { &[] };
        let arguments = ["build", "--manifest-path", "fuzz/Cargo.toml", "--locked", "--target", &platform()];
        let chosen: Vec<&str> = targets.iter().flat_map(|target| ["--bin", target]).collect();
        let run = Run::new("fuzz-build", "cargo").args(toolchain).args(&arguments).args(&chosen);
        run.env("RUSTFLAGS", self.flags()).env("CARGO_TARGET_DIR", self.folder()).output().map(drop)
    }
}

/// The platform that this runs on, as the compiler calls it.
fn platform() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Where a run collects what it finds to be new, beginning with a copy of the corpus.
fn collected(target: &str) -> PathBuf {
    project::target().join("fuzz").join("corpus").join(target)
}

/// Where libFuzzer writes what crashes a target.
fn artifacts(target: &str) -> String {
    format!("-artifact_prefix={}/", project::target().join("fuzz").join("artifacts").join(target).display())
}

fn prepare(targets: &[String]) -> Result<(), String> {
    for target in targets {
        let (from, to) = (project::at("fuzz/corpus").join(target), collected(target));
        let artifacts = project::target().join("fuzz").join("artifacts").join(target);
        let copied = fs::create_dir_all(&artifacts).and_then(|()| copy(&from, &to));
        copied.map_err(|error| format!("the corpus of {target}: {error}"))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

/// Runs the targets, as many at once as there are cores. Gives how often each was executed.
fn run_all(build: Build, targets: &[String]) -> Result<Vec<u64>, String> {
    let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(AT_ONCE_MAX);
    let waiting: Mutex<VecDeque<&String>> = Mutex::new(targets.iter().collect());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || std::iter::from_fn(next).map(|target| run_target(build, target)).collect::<Vec<_>>();
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("running a program does not panic")).collect()
    });
    let (done, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let failed: Vec<String> = failed.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(done.into_iter().flatten().collect()) } else { Err(failed.join("\n\n")) }
}

fn run_target(build: Build, target: &str) -> Result<u64, String> {
    let corpus = collected(target);
    let time = format!("-max_total_time={SECONDS}");
    let arguments = [&time, "-timeout=5", "-max_len=4096", "-print_final_stats=1", &artifacts(target)];
    let run = Run::new(&format!("fuzz-{target}"), build.program(target));
    let printed = run.args(&arguments).args(&[&corpus]).output();
    let printed = printed.map_err(|why| format!("{why}\n{}", how_to_reproduce(target, &why)))?;
    executions(&printed).ok_or_else(|| format!("{target} did not say how often it was executed:\n{printed}"))
}

/// The command that runs what crashed a target.
fn how_to_reproduce(target: &str, printed: &str) -> String {
    let file = printed.lines().find_map(|line| line.split("Test unit written to ").nth(1)).unwrap_or("FILE");
    format!("reproduce with: cargo xtask fuzz {target} {file}")
}

fn executions(printed: &str) -> Option<u64> {
    printed.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_libfuzzer_says() {
        assert_eq!(executions("stat::number_of_executed_units: 111074\nstat::peak_rss_mb: 35\n"), Some(111_074));
        assert_eq!(executions("==1== ERROR: libFuzzer: deadly signal\n"), None);
    }

    #[test]
    fn a_crash_is_told_with_the_command_that_repeats_it() {
        let printed = "artifact_prefix='/a/'; Test unit written to /a/crash-1\nBase64: AQ==\n";
        assert_eq!(how_to_reproduce("token", printed), "reproduce with: cargo xtask fuzz token /a/crash-1");
    }

    #[test]
    fn every_target_has_a_corpus_and_an_entry_in_the_manifest() {
        let manifest = fs::read_to_string(project::at("fuzz/Cargo.toml")).expect("it is committed");
        let targets = targets().expect("they are committed");
        assert!(targets.len() > 10, "{targets:?}");
        for target in targets {
            assert!(manifest.contains(&format!("name = \"{target}\"\n")), "{target} is not in the manifest");
            let corpus = fs::read_dir(project::at("fuzz/corpus").join(&target));
            assert!(corpus.is_ok_and(|files| files.count() >= 10), "{target} has no corpus");
        }
    }
}
