//! The load tester, `fanfare bench`, as a process of its own. Its command line is here and nowhere else.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::peer::{PUSHER_ID, PUSHER_KEY, PUSHER_SECRET, Target, built};
use super::result::Measured;
use super::server::{LOADER_CORE, Server, on_core};
use crate::node::{API_KEY, SECRET};

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) scenario: &'static str,
    pub(crate) connections: usize,
    pub(crate) publications_per_second: u32,
    /// Publications that are due at once.
    pub(crate) burst: u32,
    /// Before the figures count.
    pub(crate) warm_up_s: u64,
    pub(crate) duration_s: u64,
}

/// Bytes of a payload.
pub(crate) const PAYLOAD_BYTES: usize = 128;

impl Run {
    /// Runs it against a server and reads the result.
    pub(crate) fn against(&self, server: &Server, target: &Target) -> Result<Measured, Box<dyn std::error::Error>> {
        let file = built().join("run/result.json");
        // A failed run must not be taken for the one before.
        let _ = std::fs::remove_file(&file);
        let ended = self.command(server, target, &file)?.output()?;
        let text = std::fs::read_to_string(&file).map_err(|_| {
            let said = String::from_utf8_lossy(&ended.stderr);
            format!("`fanfare bench {}` ended without a result, {}: {}", self.scenario, ended.status, said.trim())
        })?;
        Ok(Measured::parse(&text)?)
    }

    /// Starts it and goes on; for holding connections.
    pub(crate) fn start(&self, server: &Server, target: &Target) -> io::Result<Child> {
        let file = built().join("run/held.json");
        self.command(server, target, &file)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    }

    fn command(&self, server: &Server, target: &Target, file: &PathBuf) -> io::Result<Command> {
        let mut command = on_core(LOADER_CORE);
        command.arg(std::env::current_exe()?.with_file_name("fanfare"));
        command.args(self.arguments(server.port(), target)).arg("--json").arg(file);
        command.args(["--pid", &server.working().to_string()]).stdin(Stdio::null());
        command.env("FANFARE_API_KEY", API_KEY).env("FANFARE_BENCH_TOKEN_SECRET", SECRET);
        command.env("FANFARE_BENCH_PUSHER_ID", PUSHER_ID).env("FANFARE_BENCH_PUSHER_KEY", PUSHER_KEY);
        command.env("FANFARE_BENCH_PUSHER_SECRET", PUSHER_SECRET);
        Ok(command)
    }

    fn arguments(&self, port: u16, target: &Target) -> Vec<String> {
        let mut arguments = vec!["bench".to_owned(), self.scenario.to_owned()];
        let mut add = |flag: &str, value: String| arguments.extend([format!("--{flag}"), value]);
        add("adapter", target.adapter.to_owned());
        add("target", format!("ws://127.0.0.1:{port}{}", target.path));
        add("connections", self.connections.to_string());
        add("channels", "1".to_owned());
        add("rate", self.publications_per_second.to_string());
        if self.burst > 1 {
            add("burst", self.burst.to_string());
        }
        add("duration", format!("{}s", self.duration_s));
        add("warmup", format!("{}s", self.warm_up_s));
        add("payload", PAYLOAD_BYTES.to_string());
        add("threads", "1".to_owned());
        add("publish", target.publish.to_owned());
        if let Some(path) = &target.publish_path {
            add("publish-to", format!("http://127.0.0.1:{port}{path}"));
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::super::peer::{History, Peer};
    use super::*;

    #[test]
    fn a_run_is_written_as_a_command_line() {
        let run = Run {
            scenario: "fanout",
            connections: 1_000,
            publications_per_second: 50,
            burst: 1,
            warm_up_s: 2,
            duration_s: 10,
        };
        let target = Peer::Nchan(History::Off).target();
        let line = run.arguments(9_000, &target).join(" ");
        let in_bursts = Run { burst: 8, ..run }.arguments(9_000, &target).join(" ");
        assert_eq!(in_bursts, line.replace("--rate 50", "--rate 50 --burst 8"));
        assert_eq!(
            line,
            "bench fanout --adapter nchan --target ws://127.0.0.1:9000/unbuffered/subscribe/{channel} --connections 1000 \
             --channels 1 --rate 50 --duration 10s --warmup 2s --payload 128 --threads 1 --publish api \
             --publish-to http://127.0.0.1:9000/unbuffered/publish/{channel}"
        );
    }
}
