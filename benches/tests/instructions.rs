//! Budgets of the hot path in instructions, counted by valgrind: they do not depend on the machine's load.
//!
//! Each figure is the difference of two runs of `fanfare-benches counted`, which differ in one size, divided by that. The
//! kernel's part is not counted. An unoptimized build has ten times as many, so only one with the profile `counted` is
//! judged: `cargo xtask test instructions`. Without valgrind (Debian: `apt-get install valgrind`) the test says so and
//! passes, but fails where `CI` is set; the same goes for a Redis server.

#![expect(clippy::unwrap_used, reason = "a test program: helpers outside of tests may panic too")]

use std::process::{Command, Output, Stdio};

/// The program that is counted.
const PROGRAM: &str = env!("CARGO_BIN_EXE_fanfare-benches");

/// What is to be counted.
struct Budget {
    name: &'static str,
    /// The words of `counted`, with the two sizes in the place of `{}`.
    words: &'static str,
    sizes: [u64; 2],
    /// How often it is done for each of a size.
    times: u64,
    /// What was measured; a sixteenth more is allowed.
    measured: u64,
}

const BUDGETS: &[Budget] = &[
    Budget {
        name: "a delivery, one in a write",
        words: "deliver {} 1000 1",
        sizes: [20, 60],
        times: 1_000,
        measured: 507,
    },
    Budget {
        name: "a delivery, eight in a write",
        words: "deliver {} 1000 8",
        sizes: [80, 240],
        times: 1_000,
        measured: 279,
    },
    Budget {
        name: "a delivery, 32 in a write",
        words: "deliver {} 1000 32",
        sizes: [160, 480],
        times: 1_000,
        measured: 230,
    },
    Budget {
        name: "a delivery in a channel of ten",
        words: "channels {} 1000 1",
        sizes: [20, 60],
        times: 1_000,
        measured: 1_244,
    },
    Budget { name: "a ping of a client", words: "ping {}", sizes: [500, 1_500], times: 1, measured: 11_706 },
    Budget {
        name: "a subscribe and an unsubscribe",
        words: "subscribe {}",
        sizes: [500, 1_500],
        times: 1,
        measured: 52_753,
    },
    Budget {
        name: "a session that connects, subscribes and ends",
        words: "connect {}",
        sizes: [200, 600],
        times: 1,
        measured: 112_793,
    },
    Budget { name: "a message from Redis", words: "redis {}", sizes: [2_000, 10_000], times: 1, measured: 5_358 },
];

fn works(program: &str, argument: &str) -> bool {
    let status = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether a program is there; says so where it is not.
fn is_there(program: &str) -> bool {
    let there = works(program, "--version");
    assert!(there || std::env::var_os("CI").is_none(), "{program} is not installed");
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

/// Instructions of one run.
fn run(words: &str, size: u64) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", PROGRAM, "counted"]);
    let output = command.args(words.replace("{}", &size.to_string()).split(' ')).output().unwrap();
    let Output { status, stderr, .. } = output;
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{words}: {said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")).unwrap();
    collected.1.trim().parse().unwrap()
}

impl Budget {
    fn max(&self) -> u64 {
        self.measured + self.measured / 16
    }

    fn count(&self) -> u64 {
        let [small, large] = self.sizes;
        let each = (run(self.words, large) - run(self.words, small)) / ((large - small) * self.times);
        eprintln!("{}: {each} instructions, {} are allowed", self.name, self.max());
        each
    }
}

#[test]
fn the_hot_path_stays_within_its_budgets() {
    if cfg!(debug_assertions) {
        return eprintln!("skipped: instructions are counted by `cargo xtask test instructions`");
    }
    if !is_there("valgrind") {
        return;
    }
    let redis = std::env::var("FANFARE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let counted = BUDGETS.iter().filter(|budget| !budget.words.starts_with("redis") || is_there(&redis));
    let over: Vec<&str> = counted.filter(|budget| budget.count() > budget.max()).map(|budget| budget.name).collect();
    assert!(over.is_empty(), "over their budgets, see above: {over:?}; `valgrind --tool=callgrind` shows where");
}
