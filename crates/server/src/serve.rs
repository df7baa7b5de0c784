//! Running a node as a process: log, threads, signals, and an orderly end.
//!
//! The first SIGTERM or Ctrl-C drains the node, a second one ends it at once. On SIGHUP a node that `fanfare serve` runs
//! reads its configuration anew and goes on with what of it can be taken; of many that come while it does that, one
//! more is made.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fanfare_auth::{Issuer, NewToken};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Exit, Failure, Io};
use crate::config::{Config, Loaded, LogFormat, Problem, Problems, Reloaded, Settings};
use crate::log::{self, Flush};
use crate::node::{Error, Node};
use crate::tls;

/// How a configuration is read, again and again.
pub type Read = Arc<dyn Fn() -> Result<Loaded, Problems> + Send + Sync>;

/// Runs `fanfare serve` until a signal ends it.
///
/// # Errors
/// A configuration that cannot be used, a node that cannot be started, or has lost a shard.
pub fn serve(read: Read, io: &mut Io) -> Result<(), Failure> {
    let Loaded { config, warnings, settings } = read()?;
    let _flush = start_log(&config, false)?;
    tell(&warnings, config.log.format, io);
    tell(&check_certificate(&config)?, config.log.format, io);
    run(&config, io, &|_, _, _| Ok(()), Some(Reloader { read, running: settings }))
}

fn start_log(config: &Config, dev: bool) -> Result<Flush, Failure> {
    log::start(config.log, dev).map_err(|error| Failure::failed(format!("cannot start the thread of the log: {error}")))
}

/// What an operator should know of the certificate, if there is one.
///
/// # Errors
/// One that is of no use.
pub(crate) fn check_certificate(config: &Config) -> Result<Vec<Problem>, Failure> {
    let checked = config.listen.tls().map(|files| tls::check(&files)).transpose();
    checked.map(Option::unwrap_or_default).map_err(|error| not_started(error.into()))
}

/// Runs `fanfare dev` until a signal ends it.
///
/// # Errors
/// As [`serve`], and any other than a loopback address.
#[expect(clippy::needless_pass_by_value, reason = "a configuration is for one run")]
pub fn dev(config: Config, io: &mut Io) -> Result<(), Failure> {
    let address = config.listen.address;
    if !address.ip().is_loopback() {
        let failure =
            Failure::usage(format!("dev needs no credentials and so listens on loopback only, not on {address}"));
        return Err(
            failure.hint("for any other address write a configuration with `fanfare init` and run `fanfare serve`")
        );
    }
    let _flush = start_log(&config, true)?;
    run(&config, io, &announce, None)
}

/// How long the end of a process waits for what a thread of it is doing.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);

type Announce<'a> = &'a dyn Fn(&mut Io, &Config, &Node) -> Result<(), Failure>;

fn run(config: &Config, io: &mut Io, announce: Announce<'_>, reloader: Option<Reloader>) -> Result<(), Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(config.http_workers).thread_name("fanfare-http").enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start the HTTP threads: {error}")))?;
    let ended = runtime.block_on(async {
        // Before the node, so that no signal finds it without an orderly end.
        let mut signals = Signals::listen(reloader.is_some()).map_err(|error| Failure::failed(error.to_string()))?;
        let window = config.drain_window;
        let node = tokio::select! {
            node = Node::start(config.clone()) => node.map_err(not_started)?,
            // A start may wait for Redis.
            () = signals.next() => return Ok(()),
        };
        announce(io, config, &node)?;
        until_ended(node, &mut signals, window, reloader).await
    });
    // A configuration file that does not let itself be read holds nothing up.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    ended
}

/// To a reader with the snippet, to a collector as a line of the log.
fn tell(warnings: &[Problem], format: LogFormat, io: &mut Io) {
    for warning in warnings {
        match format {
            LogFormat::Text => io.warn(&warning.to_string()),
            LogFormat::Json => log_warnings(std::slice::from_ref(warning)),
        }
    }
}

fn log_warnings(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!(place = %warning.place, hint = warning.hint.as_deref(), "{}", warning.message);
    }
}

fn log_problems(problems: &Problems) {
    for problem in problems.iter() {
        tracing::error!(place = %problem.place, hint = problem.hint.as_deref(), "{}", problem.message);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn not_started(error: Error) -> Failure {
    let failure = Failure::new(Exit::NoNode, error.to_string());
    match &error {
        Error::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => failure.hint(format!(
            "another program listens there: end it (`ss -ltnp 'sport = :{}'` shows which), \
             or choose another address with --listen",
            address.port()
        )),
        Error::Bind { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            failure.hint("ports below 1024 need a privilege: choose a higher one, or put a proxy in front")
        }
        _ => failure,
    }
}

/// What asks the process to end, or to read its configuration.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Only where there is something to read: else it ends the process as ever.
    hangup: Option<Signal>,
}

impl Signals {
    fn listen(reloads: bool) -> io::Result<Self> {
        let hangup = reloads.then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hangup })
    }

    /// Asked to end. May be dropped: no signal is lost.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Asked to read the configuration, `true`, or to end. May be dropped: no signal is lost.
    async fn next_or_hangup(&mut self) -> bool {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => _ = hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => false,
            () = hangup => true,
        }
    }
}

/// Reads the configuration anew for a running node.
struct Reloader {
    read: Read,
    /// What the node runs with.
    running: Settings,
}

impl Reloader {
    /// Gives the node what it can take of the configuration as it is now; the window of drains, if it was taken.
    async fn reload(&mut self, node: &Node) -> Option<Duration> {
        let read = Arc::clone(&self.read);
        // A file may be slow to read.
        let loaded = tokio::task::spawn_blocking(move || read()).await;
        let Ok(loaded) = loaded else { return self.refused(node, "reading it ended by a panic") };
        let taken = loaded.and_then(|mut loaded| {
            log_warnings(&std::mem::take(&mut loaded.warnings));
            loaded.over(&self.running)
        });
        let Reloaded { config, settings, after_restart } = match taken {
            Ok(reloaded) => reloaded,
            Err(problems) => {
                log_problems(&problems);
                return self.refused(node, "`fanfare config check` says more");
            }
        };
        // So may a key's, or a certificate's.
        let (live, window) = (node.live(), config.drain_window);
        match tokio::task::spawn_blocking(move || live.take(&config)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return self.refused(node, &error.to_string()),
            Err(_) => return self.refused(node, "taking it ended by a panic"),
        }
        node.reloads().taken();
        self.running = settings;
        if !after_restart.is_empty() {
            tracing::warn!(keys = after_restart.join(", "), "changed keys that take effect after restart");
        }
        tracing::info!(sessions = node.gateway().sessions(), "the configuration was reloaded");
        Some(window)
    }

    fn refused(&self, node: &Node, reason: &str) -> Option<Duration> {
        node.reloads().refused();
        tracing::error!(reason, "the configuration was not reloaded: the node goes on with the old one");
        None
    }
}

/// Waits for the end and makes it an orderly one.
async fn until_ended(
    node: Node,
    signals: &mut Signals,
    mut window: Duration,
    mut reloader: Option<Reloader>,
) -> Result<(), Failure> {
    loop {
        let hung_up = tokio::select! {
            hung_up = signals.next_or_hangup() => hung_up,
            () = lost_a_shard(&node) => {
                // By the log, which waits for no reader: this failure has no words of its own.
                tracing::error!("a shard ended by a panic; see above");
                return Err(Failure::failed(""));
            }
        };
        let Some(reloader) = reloader.as_mut().filter(|_| hung_up) else { break };
        tokio::select! {
            reloaded = reloader.reload(&node) => window = reloaded.unwrap_or(window),
            () = signals.next() => break,
        }
    }
    let drained = async {
        node.drain(window).await;
        node.stop().await;
    };
    tokio::select! {
        () = drained => tracing::info!("ended"),
        () = signals.next() => tracing::warn!("ended at once by a second signal"),
    }
    Ok(())
}

async fn lost_a_shard(node: &Node) {
    while !node.gateway().has_failed() {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// What a newcomer needs: where to look, what to type, how to end it.
fn announce(io: &mut Io, config: &Config, node: &Node) -> Result<(), Failure> {
    let address = node.address();
    let name = io.out_style.bold("fanfare");
    io.line(&format!("{name} for development: open to every program on this machine, kept in memory"))?;
    io.line("")?;
    row(io, "page", &format!("http://{address}/"))?;
    row(io, "publish", &format!("curl -d '{{\"text\":\"hi\"}}' http://{address}/api/publish/news"))?;
    row(io, "websocket", &format!("ws://{address}/connection/websocket"))?;
    if let Some(secret) = &config.auth.hmac_secret {
        let alice = NewToken { user: "alice".to_owned(), ..NewToken::default() };
        row(io, "token", &Issuer::new(secret).connection(&alice))?;
        row(io, "", &io.out_style.dim("names the user \"alice\" to a client, until this node ends"))?;
    }
    io.line("")?;
    io.line("  Ctrl-C ends it")
}

fn row(io: &mut Io, label: &str, value: &str) -> Result<(), Failure> {
    let label = io.out_style.dim(&format!("{label:<9}"));
    io.line(format!("  {label}  {value}").trim_end())
}
