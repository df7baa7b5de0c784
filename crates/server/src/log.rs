//! The log, which holds nobody up: lines go to a thread that writes them to standard error. Where that is read too slowly,
//! or not at all, lines that find the queue full are dropped and counted.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Log, LogFormat};

/// Lines that wait to be written, in bytes: a thousand or two.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// The same in lines. One has at least 64 bytes.
const WAITING_LINES_MAX: usize = WAITING_BYTES_MAX / 64;

/// How long the end of the program waits for what is to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Lines that were dropped, of the whole process.
static DROPPED: LazyLock<IntCounter> = LazyLock::new(|| {
    IntCounter::new("fanfare_log_lines_dropped_total", "Lines of the log that were dropped, since nobody reads it.")
        .expect("its name is good")
});

/// The counter of lines that were dropped.
pub(crate) fn dropped() -> IntCounter {
    DROPPED.clone()
}

/// Waits for what was logged to be written, when it is dropped.
#[must_use]
pub(crate) struct Flush(SyncSender<Entry>);

/// Logs to standard error, so that what is announced stays alone on standard output.
///
/// # Errors
/// No thread to write with.
pub(crate) fn start(log: Log, dev: bool) -> io::Result<Flush> {
    let filter = EnvFilter::new(format!("{},hyper=warn,tungstenite=warn", log.level.as_str()));
    let colors = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let queue = Queue::start()?;
    let entries = queue.entries.clone();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(queue).with_ansi(colors);
    let started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_target(!dev).try_init(),
    };
    match started {
        // The usual hook writes to standard error itself, and waits where nobody reads.
        Ok(()) => std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a panic"))),
        Err(error) => tracing::debug!(error, "another log is already in place"),
    }
    Ok(Flush(entries))
}

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, written) = mpsc::sync_channel(1);
        if self.0.try_send(Entry::Flush(done)).is_ok() {
            // In vain if nobody reads.
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

enum Entry {
    Line(Vec<u8>),
    /// Everything before it is written: say so.
    Flush(SyncSender<()>),
}

/// Where lines wait.
#[derive(Clone)]
struct Queue {
    entries: SyncSender<Entry>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Queue {
    fn start() -> io::Result<Self> {
        let (entries, waiting) = mpsc::sync_channel(WAITING_LINES_MAX);
        let waiting_bytes = Arc::<AtomicUsize>::default();
        let queue = Self { entries, waiting_bytes: Arc::clone(&waiting_bytes) };
        thread::Builder::new().name("fanfare-log".to_owned()).spawn(move || write(&waiting, &waiting_bytes))?;
        Ok(queue)
    }

    /// Whether there was room for the line.
    fn push(&self, line: &[u8]) -> bool {
        let before = self.waiting_bytes.fetch_add(line.len(), Ordering::Relaxed);
        let fits = before + line.len() <= WAITING_BYTES_MAX;
        let is_in = fits && self.entries.try_send(Entry::Line(line.to_vec())).is_ok();
        if !is_in {
            self.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        }
        is_in
    }
}

/// Writes until the process ends.
fn write(waiting: &Receiver<Entry>, waiting_bytes: &AtomicUsize) {
    for entry in waiting {
        match entry {
            Entry::Line(line) => {
                if io::stderr().write_all(&line).is_err() {
                    DROPPED.inc();
                }
                waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            }
            // Whoever asked may have given up.
            Entry::Flush(done) => _ = done.try_send(()),
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl io::Write for &Queue {
    /// Takes a whole line: a subscriber writes each at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.push(line) {
            DROPPED.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
