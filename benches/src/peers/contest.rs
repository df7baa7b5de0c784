//! Rounds in which several take part: each once a round, in an order that turns round, one of them twice.

use super::peer::{History, Peer};
use super::results::When;
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

    /// The name in the files of what was measured.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Peer(peer) => peer.name().to_owned(),
            Self::FanfareAgain => "fanfare-again".to_owned(),
            Self::Loop(messages) => format!("loop-{messages}"),
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
    pub(crate) when: When,
    /// Of the programs that were measured.
    pub(crate) commit: String,
}

impl<T: Clone> Contest<T> {
    /// Nothing has been measured yet.
    pub(crate) fn begin(entrants: Vec<Entrant>, rounds: usize) -> Self {
        let figures = vec![vec![None; rounds]; entrants.len()];
        Self { entrants, figures, when: When::default(), commit: String::new() }
    }
}

impl<T> Contest<T> {
    /// What is still to be measured, in the order of the rounds: the place of an entrant, and the round.
    pub(crate) fn missing(&self) -> Vec<(usize, usize)> {
        let rounds = self.figures.first().map_or(0, Vec::len);
        let all =
            (0..rounds).flat_map(|round| order(round, self.entrants.len()).into_iter().map(move |at| (at, round)));
        all.filter(|(at, round)| self.figures[*at][*round].is_none()).collect()
    }

    /// When, and with the programs of which commit.
    pub(crate) fn measured(&self) -> (When, &str) {
        (self.when, &self.commit)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Fanfare, the loop, and Fanfare once more, with these figures in two rounds.
    fn contest(figures: [[Option<f64>; 2]; 3]) -> Contest<f64> {
        let begun = Contest::begin(Entrant::with_a_pair([Entrant::Loop(1)]), 2);
        Contest { figures: figures.map(Vec::from).into(), ..begun }
    }

    fn measured() -> Contest<f64> {
        contest([[Some(1.0), Some(6.0)], [None, Some(5.0)], [Some(3.0), Some(4.0)]])
    }

    #[test]
    fn each_takes_part_once_a_round_in_turning_order() {
        let contest = contest([[None; 2]; 3]);
        assert_eq!(contest.missing(), [(0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (0, 1)]);
    }

    #[test]
    fn what_was_measured_is_not_missing() {
        assert_eq!(measured().missing(), [(1, 0)]);
        assert_eq!(measured().of(Entrant::FANFARE), [Some(1.0), Some(6.0)]);
        assert!(measured().of(Entrant::Loop(2)).is_empty());
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        let contest = measured();
        let ratio = contest.ratio(Entrant::Loop(1), Entrant::FANFARE, |figure| Some(*figure)).unwrap();
        assert_eq!(ratio, Spread { median: 5.0 / 6.0, least: 5.0 / 6.0, most: 5.0 / 6.0 });
        assert_eq!(contest.floor(|figure| Some(*figure)), Some(NoiseFloor(3.0)));
    }

    #[test]
    fn a_pair_is_there_once() {
        let entrants = Entrant::with_a_pair([Entrant::FANFARE, Entrant::Loop(1)]);
        assert_eq!(entrants, [Entrant::FANFARE, Entrant::Loop(1), Entrant::FanfareAgain]);
        let names: Vec<String> = entrants.into_iter().map(Entrant::name).collect();
        assert_eq!(names, ["fanfare", "loop-1", "fanfare-again"]);
    }
}
