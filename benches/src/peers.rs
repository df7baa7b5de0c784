//! Fanfare beside its peers: the same scenarios against each, and against a bare loop that does nothing but write.
//!
//! ```text
//! benches/peers/build.sh                                   # once: gets the peers
//! cargo run --release -p fanfare-benches -- peers [--rounds N] [--only NAME,…] [--quick] [--again] [--or-of FOLDER]
//! ```
//!
//! Each server has one core and the load tester the other. Rounds alternate their order, and Fanfare runs twice in each:
//! what those equal runs differ by is the noise floor, inside which nothing is said to be a difference. It ends by writing
//! docs/benchmarks.md, unless `--only` or `--quick` made it incomplete; then the page goes to standard output.
//!
//! Every figure is kept as soon as it is there (`results.rs`). A run that was interrupted goes on where it was, and one that
//! was not only writes the page; `--again` measures everything anew. What is kept counts for the same programs and the same
//! method only, but `--or-of target/peers/results/…` takes whole parts of another comparison as they are, where only some
//! are to be measured anew: the page names the commit of each part.

mod build;
mod capture;
mod contest;
mod goals;
mod machine;
mod measure;
mod memory;
mod page;
mod part;
mod peer;
mod progress;
mod result;
mod results;
mod saturation;
mod server;
mod statistics;
mod tester;

use std::path::{Path, PathBuf};

use self::contest::Answer;
use self::peer::{History, Peer};
use self::results::Results;
use self::tester::Run;
use crate::{Outcome, say};

/// Before the figures of a run count.
const WARM_UP_S: u64 = 2;

/// Fifty publications to many subscribers, a tenth of a second apart.
const FAR_S: u64 = 5;
const FAR_PUBLICATIONS_PER_SECOND: u32 = 10;

/// Publications that are due at once, and how often: a third of a core or so.
const BURST: u32 = 16;
const BURSTS_PER_SECOND: u32 = 25;

/// All that says how something is measured. Kept figures do not count after a change here; how the page shows them, and
/// what it says, may change.
const METHOD: [&str; 11] = [
    include_str!("peers.rs"),
    include_str!("bare_loop/paced.rs"),
    include_str!("peers/capture.rs"),
    include_str!("peers/contest.rs"),
    include_str!("peers/measure.rs"),
    include_str!("peers/memory.rs"),
    include_str!("peers/peer.rs"),
    include_str!("peers/result.rs"),
    include_str!("peers/saturation.rs"),
    include_str!("peers/server.rs"),
    include_str!("peers/tester.rs"),
];

/// What is measured, how often, and of whom.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    rounds: usize,
    memory_rounds: usize,
    only: Option<Vec<String>>,
    subscribers: usize,
    publications_per_second: u32,
    duration_s: u64,
    sessions: usize,
    held: [usize; 2],
    quick: bool,
    /// Subscribers of a channel of which is looked when the last one has a publication.
    far: usize,
    /// Whether what was kept is measured anew.
    again: bool,
    /// The folder of a comparison whose parts are taken where this one has none.
    or_of: Option<PathBuf>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rounds: 5,
            memory_rounds: 5,
            only: None,
            subscribers: 1_000,
            publications_per_second: 50,
            duration_s: 10,
            sessions: 5_000,
            held: [5_000, 15_000],
            far: 5_000,
            quick: false,
            again: false,
            or_of: None,
        }
    }
}

impl Plan {
    fn parse(arguments: &[String]) -> Answer<Self> {
        let mut plan = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => plan = Self { rounds: 2, memory_rounds: 1, duration_s: 3, quick: true, ..plan },
                "--again" => plan.again = true,
                "--or-of" => {
                    let folder = words.next().ok_or("--or-of takes a folder of target/peers/results")?;
                    if !Path::new(folder).is_dir() {
                        return Err(format!("--or-of: there is no folder {folder}").into());
                    }
                    plan.or_of = Some(folder.into());
                }
                "--rounds" => {
                    plan.rounds =
                        words.next().and_then(|number| number.parse().ok()).ok_or("--rounds takes a number")?;
                }
                "--only" => {
                    let names = words.next().ok_or("--only takes names, with commas between them")?;
                    plan.only = Some(names.split(',').map(known).collect::<Answer<_>>()?);
                }
                _ => {
                    let known = "--rounds N, --only NAME,…, --quick, --again, --or-of FOLDER";
                    return Err(format!("{word} is not known: {known}").into());
                }
            }
        }
        Ok(plan)
    }

    fn wants(&self, peer: Peer) -> bool {
        // Everything is measured against Fanfare.
        peer.is_fanfare() || self.only.as_ref().is_none_or(|names| names.iter().any(|name| name == peer.name()))
    }

    fn wants_fanfare_alone(&self) -> bool {
        !Peer::ALL.into_iter().any(|peer| self.wants(peer) && !peer.is_fanfare())
    }

    fn is_whole(&self) -> bool {
        !self.quick && self.only.is_none() && self.rounds >= 5
    }

    /// Publications to a channel with many subscribers, so rare that each is over before the next.
    fn far(&self) -> Run {
        Run {
            connections: self.far,
            duration_s: self.duration_s.min(FAR_S),
            ..self.fanout(FAR_PUBLICATIONS_PER_SECOND)
        }
    }

    /// So much at once that it is packed, and so rarely that a core has nothing to do between.
    fn bursts(&self) -> Run {
        Run { burst: BURST, ..self.fanout(BURST * BURSTS_PER_SECOND) }
    }

    fn fanout(&self, publications_per_second: u32) -> Run {
        Run {
            scenario: "fanout",
            connections: self.subscribers,
            publications_per_second,
            burst: 1,
            warm_up_s: WARM_UP_S,
            duration_s: self.duration_s,
        }
    }
}

/// The name of a peer.
fn known(name: &str) -> Answer<String> {
    let is_known = Peer::ALL.into_iter().any(|peer| peer.name() == name);
    if is_known { Ok(name.to_owned()) } else { Err(format!("{name} is no peer").into()) }
}

/// Runs everything and writes the page.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let plan = Plan::parse(arguments)?;
    if fanfare_loadtest::Machine::this().cores < 2 {
        return Err("this needs two cores: one for the server, one for the load tester".into());
    }
    build::fanfare()?;
    let (present, missing): (Vec<_>, Vec<_>) = Peer::ALL
        .into_iter()
        .filter(|peer| plan.wants(*peer))
        .map(|peer| (peer, peer.missing()))
        .partition(|(_, why)| why.is_none());
    for (peer, why) in &missing {
        say(&format!("skipped: {}: {}", peer.title(), why.as_deref().unwrap_or_default()))?;
    }
    let peers: Vec<Peer> = present.into_iter().map(|(peer, _)| peer).collect();
    if peers.iter().all(|peer| peer.is_fanfare()) && !plan.wants_fanfare_alone() {
        return Err("there is no peer to compare with: benches/peers/build.sh gets them".into());
    }
    // The load tester is the same program.
    let program = results::hash(&std::fs::read(Peer::Fanfare(History::Kept).program()?)?);
    let results = Results::of(&peer::built().join("results"), words(&plan, program, &peers)?, &machine::commit());
    let results = results.or_of(plan.or_of.clone());
    if plan.again {
        results.forget()?;
    }
    let missing = missing.into_iter().map(|(peer, why)| (peer, why.unwrap_or_default())).collect();
    let comparison = measure::all(plan, &results, peers, missing)?;
    let page = page::write(&comparison, &machine::rows());
    if !comparison.plan.is_whole() {
        return say(&page);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    std::fs::write(&file, page)?;
    say("docs/benchmarks.md is written")
}

/// In words, what a comparison is of: programs, plan, method and machine. With other words nothing that was kept counts.
fn words(plan: &Plan, program: u64, peers: &[Peer]) -> Answer<String> {
    let plan = Plan { only: None, again: false, or_of: None, ..plan.clone() };
    let machine = fanfare_loadtest::Machine::this();
    let mut words = vec![
        format!("fanfare {program:016x}"),
        format!("method {:016x}", results::hash(METHOD.concat().as_bytes())),
        format!("{plan:?}"),
        format!("{}, {} cores, {}", machine.processor, machine.cores, machine.kernel),
    ];
    for peer in peers {
        words.push(format!("{} {} {:016x}", peer.name(), peer.version(), results::hash(&peer.configuration()?)));
    }
    Ok(words.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Answer<Plan> {
        Plan::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_left_out_makes_no_page() {
        assert!(plan("").unwrap().is_whole() && plan("--rounds 7").unwrap().is_whole());
        assert!(["--quick", "--only ws", "--rounds 3"].iter().all(|line| !plan(line).unwrap().is_whole()));
        assert!(
            ["--rounds", "--only", "--only nobody", "--fast", "--or-of", "--or-of nowhere"]
                .iter()
                .all(|line| plan(line).is_err())
        );
    }

    #[test]
    fn a_comparison_is_of_its_plan_and_not_of_how_it_is_asked_for() {
        let subject = |line: &str| words(&plan(line).unwrap(), 7, &[]).unwrap();
        assert_eq!(subject("--again"), subject(""));
        assert_eq!(subject("--or-of /"), subject(""));
        assert_ne!(subject("--rounds 7"), subject(""));
        assert_ne!(words(&Plan::default(), 8, &[]).unwrap(), subject(""));
        assert_ne!(words(&Plan::default(), 7, &[Peer::Ws]).unwrap(), subject(""));
    }

    #[test]
    fn fanfare_is_always_among_them() {
        let plan = plan("--only ws,sockudo").unwrap();
        let wanted: Vec<&str> = Peer::ALL.into_iter().filter(|peer| plan.wants(*peer)).map(Peer::name).collect();
        assert_eq!(wanted, ["fanfare", "fanfare-live", "ws", "sockudo"]);
        assert!(!plan.wants_fanfare_alone() && super::tests::plan("--only fanfare").unwrap().wants_fanfare_alone());
    }
}
