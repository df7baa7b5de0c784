//! Rounds in which several take part: each once a round, in an order that turns round, one of them twice.

use super::peer::{History, Peer};
use super::statistics::{NoiseFloor, Spread, order};

pub(crate) type Answer<T> = Result<T, Box<dyn std::error::Error>>;

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrant {
    Peer(Peer),
    /// Fanfare once more, at the other end of the order: how far equal runs differ is the noise floor.
    FanfareAgain,
    /// The bare loop, with so many messages a write.
    Loop(usize),
}

impl Entrant {
    pub(crate) const FANFARE: Self = Self::Peer(Peer::Fanfare(History::Kept));

    /// The peer that is started for it.
    pub(crate) fn peer(self) -> Option<Peer> {
        match self {
            Self::Peer(peer) => Some(peer),
            Self::FanfareAgain => Some(Peer::Fanfare(History::Kept)),
            Self::Loop(_) => None,
        }
    }

    pub(crate) fn title(self) -> String {
        match self {
            Self::Peer(peer) => peer.title().to_owned(),
            Self::FanfareAgain => "Fanfare, once more".to_owned(),
            Self::Loop(1) => "bare loop".to_owned(),
            Self::Loop(messages) => format!("bare loop, {messages} messages a write"),
        }
    }

    /// Fanfare, these, and Fanfare once more.
    pub(crate) fn with_a_pair(others: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let others = others.into_iter().filter(|entrant| *entrant != Self::FANFARE);
        [Self::FANFARE].into_iter().chain(others).chain([Self::FanfareAgain]).collect()
    }
}

/// What came of all rounds. A figure that could not be had is missing.
#[derive(Debug, Clone)]
pub(crate) struct Contest<T> {
    pub(crate) entrants: Vec<Entrant>,
    /// By entrant, then by round.
    pub(crate) figures: Vec<Vec<Option<T>>>,
}

impl<T> Contest<T> {
    /// Runs it. Every outcome is told; after one that failed the others go on.
    pub(crate) fn run(
        entrants: Vec<Entrant>,
        rounds: usize,
        mut measure: impl FnMut(Entrant, usize) -> Answer<T>,
        mut told: impl FnMut(Entrant, usize, &Result<T, String>),
    ) -> Self {
        let mut contest = Self::begin(entrants, rounds);
        for round in 0..rounds {
            for at in order(round, contest.entrants.len()) {
                let measured = measure(contest.entrants[at], round).map_err(|error| error.to_string());
                told(contest.entrants[at], round, &measured);
                contest.figures[at].push(measured.ok());
            }
        }
        contest
    }

    /// The same with several at once, for what does not depend on that.
    pub(crate) fn run_together(
        entrants: Vec<Entrant>,
        rounds: usize,
        at_once: usize,
        measure: impl Fn(Entrant) -> Answer<T> + Sync,
        mut told: impl FnMut(Entrant, usize, &Result<T, String>),
    ) -> Self
    where
        T: Send,
    {
        let mut contest = Self::begin(entrants, rounds);
        for round in 0..rounds {
            for group in order(round, contest.entrants.len()).chunks(at_once) {
                let together: Vec<Entrant> = group.iter().map(|at| contest.entrants[*at]).collect();
                for (at, measured) in group.iter().zip(side_by_side(&together, &measure)) {
                    told(contest.entrants[*at], round, &measured);
                    contest.figures[*at].push(measured.ok());
                }
            }
        }
        contest
    }

    fn begin(entrants: Vec<Entrant>, rounds: usize) -> Self {
        let figures = entrants.iter().map(|_| Vec::with_capacity(rounds)).collect();
        Self { entrants, figures }
    }

    /// What one has come to.
    pub(crate) fn of(&self, entrant: Entrant) -> &[Option<T>] {
        let at = self.entrants.iter().position(|one| *one == entrant);
        at.map_or(&[], |at| &self.figures[at])
    }

    pub(crate) fn spread(&self, entrant: Entrant, figure: impl Fn(&T) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.of(entrant).iter().flatten().filter_map(figure))
    }

    /// One against another, round by round.
    pub(crate) fn ratio(
        &self,
        entrant: Entrant,
        against: Entrant,
        figure: impl Fn(&T) -> Option<f64> + Copy,
    ) -> Option<Spread> {
        Spread::of(self.ratios(entrant, against, figure))
    }

    /// What two equal runs differ by.
    pub(crate) fn floor(&self, figure: impl Fn(&T) -> Option<f64> + Copy) -> Option<NoiseFloor> {
        NoiseFloor::of(self.ratios(Entrant::FanfareAgain, Entrant::FANFARE, figure))
    }

    fn ratios(
        &self,
        entrant: Entrant,
        against: Entrant,
        figure: impl Fn(&T) -> Option<f64> + Copy,
    ) -> impl Iterator<Item = f64> {
        let rounds = self.of(entrant).iter().zip(self.of(against));
        rounds.filter_map(move |(one, other)| {
            let (one, other) = (figure(one.as_ref()?)?, figure(other.as_ref()?)?);
            (one > 0.0 && other > 0.0).then(|| one / other)
        })
    }
}

/// Each on a thread of its own; the outcomes in the order of the entrants.
fn side_by_side<T: Send>(
    entrants: &[Entrant],
    measure: impl Fn(Entrant) -> Answer<T> + Sync,
) -> Vec<Result<T, String>> {
    let measure = &measure;
    let one = |entrant: Entrant| move || measure(entrant).map_err(|error| error.to_string());
    std::thread::scope(|scope| {
        let threads: Vec<_> = entrants.iter().map(|entrant| scope.spawn(one(*entrant))).collect();
        let failed = || Err("the measurement has panicked".to_owned());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| failed())).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contest() -> Contest<f64> {
        let mut turn = 0.0;
        let entrants = Entrant::with_a_pair([Entrant::Loop(1)]);
        let measure = |entrant, round| {
            turn += 1.0;
            if entrant == Entrant::Loop(1) && round == 0 { Err("it has failed".into()) } else { Ok(turn) }
        };
        Contest::run(entrants, 2, measure, |_, _, _| ())
    }

    #[test]
    fn together_each_takes_part_once_a_round_too() {
        let entrants = Entrant::with_a_pair([Entrant::Loop(1)]);
        let barrier = std::sync::Barrier::new(2);
        let measure = |entrant| {
            // Passed by two at once only; the third of a round is alone.
            if entrant != Entrant::FanfareAgain {
                barrier.wait();
            }
            if entrant == Entrant::Loop(1) { Err("it has failed".into()) } else { Ok(1.0) }
        };
        let mut told = Vec::new();
        let contest = Contest::run_together(entrants, 1, 2, measure, |entrant, _, outcome| {
            told.push((entrant, outcome.clone()));
        });
        assert_eq!(contest.of(Entrant::FANFARE), [Some(1.0)]);
        assert_eq!((contest.of(Entrant::Loop(1)), contest.of(Entrant::FanfareAgain)), (&[None][..], &[Some(1.0)][..]));
        assert_eq!(told[1], (Entrant::Loop(1), Err("it has failed".to_owned())));
    }

    #[test]
    fn each_takes_part_once_a_round_in_turning_order() {
        let contest = contest();
        assert_eq!(contest.of(Entrant::FANFARE), [Some(1.0), Some(6.0)]);
        assert_eq!(contest.of(Entrant::Loop(1)), [None, Some(5.0)]);
        assert_eq!(contest.of(Entrant::FanfareAgain), [Some(3.0), Some(4.0)]);
        assert!(contest.of(Entrant::Loop(2)).is_empty());
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        let contest = contest();
        let ratio = contest.ratio(Entrant::Loop(1), Entrant::FANFARE, |figure| Some(*figure)).unwrap();
        assert_eq!(ratio, Spread { median: 5.0 / 6.0, least: 5.0 / 6.0, most: 5.0 / 6.0 });
        assert_eq!(contest.floor(|figure| Some(*figure)), Some(NoiseFloor(3.0)));
    }

    #[test]
    fn a_pair_is_there_once() {
        let entrants = Entrant::with_a_pair([Entrant::FANFARE, Entrant::Loop(1)]);
        assert_eq!(entrants, [Entrant::FANFARE, Entrant::Loop(1), Entrant::FanfareAgain]);
    }
}
