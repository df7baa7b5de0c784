//! `fanfare bench`: measures a hub, this one or another.
//!
//! The measuring is done in `fanfare-loadtest`; here are its flags and files, what is shown to the server, and where the
//! result goes.

mod progress;
mod settings;

use std::path::Path;
use std::sync::Arc;

use fanfare_auth::{Issuer, NewToken};
use fanfare_loadtest::{Credentials, Objective, Plan, PusherKeys, Report, Verdict, run as measure};

use super::{Exit, Failure, HELP, Io};
use progress::Progress;
use settings::Settings;

const AFTER_HELP: &str = "\
Scenarios:
  connect    connections come, then stay idle: sessions a second, memory, idle CPU
  fanout     one channel, to which all subscribe
  channels   many channels with a few subscribers each
  latency    a few subscribers and little to do
  publish    many publications, few subscribers: what the way in takes
  churn      subscribers come and go all the time
  storm      all connections are cut in the middle, and come back at once
  slow       some subscribers stop to read
  recover    all are away while a long history comes about, and catch up with it
  listen     nothing is published: what comes by itself is counted

Exit codes:
  0  nothing was lost, doubled or reordered, and the objectives were kept
  1  something was, one was not, not all publications were acknowledged, a connection was closed without recovery, or nobody
     came and went or was cut who was to
  2  the command line or the scenario file is wrong
  3  the server could not be reached, or not all connections got ready
  6  the run is not valid: it measured the tester or its machine

Environment:
  FANFARE_API_KEY             the key of the server API; FANFARE_API_KEY_FILE names a file that holds it
  FANFARE_BENCH_TOKEN_SECRET  the HMAC secret to sign connection tokens with, where the server wants them
  FANFARE_BENCH_PUSHER_ID, FANFARE_BENCH_PUSHER_KEY, FANFARE_BENCH_PUSHER_SECRET
                              the application of a Pusher server";

/// What `fanfare bench` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare bench fanout                                    1,000 subscribers of a node at 127.0.0.1:8000
  fanfare bench fanout -n 5000 --rate 20 --html out.html
  fanfare bench fanout --slo 'p99<50ms'                   the highest rate that keeps it
  fanfare bench storm --fail-if 'return_p99>3s'
  fanfare bench benches/scenarios/dashboard.toml --rate 100
  fanfare bench fanout --adapter pusher --target ws://127.0.0.1:6001
",
    after_help = AFTER_HELP
)]
pub(crate) struct Bench {
    /// The scenario, or a scenario file
    #[arg(value_name = "SCENARIO|FILE.toml")]
    what: String,
    #[command(flatten)]
    settings: Settings,
}

impl Bench {
    /// Measures and tells the result.
    pub(crate) async fn run(self, io: &mut Io) -> Result<Exit, Failure> {
        let settings = self.settings()?;
        let objectives = Objectives::read(&settings)?;
        let plan = Plan { credentials: credentials(io)?, ..settings.plan(io)? };
        plan.check().map_err(|error| Failure::usage(error.to_string()))?;
        files(&settings).try_for_each(writable)?;
        let mut report = measured(plan, objectives.slo.clone()).await?;
        report.objectives = objectives.fail_if.iter().map(|objective| objective.judge_forbidden(&report)).collect();
        tell(&report, &settings, io)?;
        Ok(exit(&report))
    }

    fn settings(self) -> Result<Settings, Failure> {
        let Self { what, mut settings } = self;
        if Path::new(&what).extension().is_some_and(|extension| extension == "toml") {
            let file = Settings::read(Path::new(&what))?;
            return Ok(settings.over(file));
        }
        settings.scenario = Some(what);
        Ok(settings)
    }
}

struct Objectives {
    slo: Option<Objective>,
    fail_if: Vec<Objective>,
}

impl Objectives {
    fn read(settings: &Settings) -> Result<Self, Failure> {
        let read = |name: &str, text: &String| {
            text.parse::<Objective>().map_err(|error| Failure::usage(format!("--{name}: {error}")))
        };
        let slo = settings.slo.as_ref().map(|text| read("slo", text)).transpose()?;
        let fail_if = settings.fail_if.iter().map(|text| read("fail-if", text)).collect::<Result<_, _>>()?;
        Ok(Self { slo, fail_if })
    }
}

/// What the environment has to show to the server.
fn credentials(io: &Io) -> Result<Credentials, Failure> {
    let tokens = io.secret("FANFARE_BENCH_TOKEN_SECRET")?.map(|secret| {
        let issuer = Issuer::new(&secret);
        let make =
            move |user: usize| issuer.connection(&NewToken { user: format!("bench-{user}"), ..NewToken::default() });
        Arc::new(make) as fanfare_loadtest::Tokens
    });
    let api_key = io.secret("FANFARE_API_KEY")?.map(|key| key.expose().to_owned());
    let id = (io.environment)("FANFARE_BENCH_PUSHER_ID");
    let key = (io.environment)("FANFARE_BENCH_PUSHER_KEY");
    let secret = io.secret("FANFARE_BENCH_PUSHER_SECRET")?;
    let pusher =
        id.zip(key).zip(secret).map(|((id, key), secret)| PusherKeys { id, key, secret: secret.expose().to_owned() });
    Ok(Credentials { tokens, api_key, pusher })
}

/// Measures on a thread of its own, until Ctrl-C.
async fn measured(plan: Plan, slo: Option<Objective>) -> Result<Report, Failure> {
    let progress = Arc::new(Progress::new());
    let watch = Arc::clone(&progress);
    let mut running = tokio::task::spawn_blocking(move || measure(&plan, slo.as_ref(), &*watch));
    let report = tokio::select! {
        report = &mut running => report,
        _ = tokio::signal::ctrl_c() => {
            progress.stop();
            running.await
        }
    };
    progress.clear();
    match report {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_) => Err(Failure::failed("the load tester ended with a panic")),
    }
}

fn failure(error: &fanfare_loadtest::Error) -> Failure {
    use fanfare_loadtest::Error;
    let text = super::output::visible(&error.to_string());
    match error {
        Error::Plan(_) | Error::Descriptors { .. } => Failure::usage(text),
        Error::NotReady { .. } | Error::Publish { .. } => Failure::new(Exit::NoNode, text),
        Error::Stopped => Failure::new(Exit::Interrupted, text),
        Error::Machine(_) | Error::Ended => Failure::failed(text),
    }
}

/// The table to people, unless standard output is taken by JSON; then files where they were asked for.
fn tell(report: &Report, settings: &Settings, io: &mut Io) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(report);
    let json = json.map_err(|error| Failure::failed(format!("cannot write the result as JSON: {error}")))?;
    let file = json_file(settings);
    let to_output = settings.json.is_some() && file.is_none();
    let text = if to_output { &json } else { &report.summary() };
    io.line(text)?;
    if let Some(path) = file {
        write(path, &(json + "\n"))?;
    }
    if let Some(path) = &settings.html {
        write(path, &fanfare_loadtest::report::page::page(report))?;
    }
    Ok(())
}

/// The file that JSON goes to; `None` also where that is standard output.
fn json_file(settings: &Settings) -> Option<&Path> {
    settings.json.as_deref().filter(|path| *path != Path::new("-"))
}

/// The files that the result goes to.
fn files(settings: &Settings) -> impl Iterator<Item = &Path> {
    json_file(settings).into_iter().chain(settings.html.as_deref())
}

/// Looks whether a file can be written, before anything is measured for it. What it holds stays.
fn writable(path: &Path) -> Result<(), Failure> {
    let there = path.symlink_metadata();
    if there.as_ref().is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        // A pipe or a link: opening it may mean something.
        return Ok(());
    }
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path).map(drop);
    let done = if there.is_ok() { opened } else { opened.and_then(|()| std::fs::remove_file(path)) };
    done.map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

fn exit(report: &Report) -> Exit {
    match report.verdict() {
        Verdict::Good => Exit::Ok,
        Verdict::Damaged | Verdict::Missed => Exit::Failed,
        Verdict::Invalid => Exit::Invalid,
    }
}
