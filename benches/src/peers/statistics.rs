//! What can be said of a few rounds: the median and the range, and whether a difference is more than noise.

/// The middle and the ends of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of these figures; none of none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), least, most })
    }
}

/// By how much two equal runs differ: the largest ratio of a round's pair, 1 or more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NoiseFloor(pub(crate) f64);

impl NoiseFloor {
    /// From the ratio of each round's equal runs, either way round.
    pub(crate) fn of(ratios: impl IntoIterator<Item = f64>) -> Option<Self> {
        ratios.into_iter().map(|ratio| ratio.max(1.0 / ratio)).max_by(f64::total_cmp).map(Self)
    }
}

/// What a ratio says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    NoDifference,
    Less,
    More,
    NotKnown,
}

impl Verdict {
    /// Of a median ratio. One inside the floor says nothing, and without a floor none does.
    pub(crate) fn of(ratio: f64, floor: Option<NoiseFloor>) -> Self {
        match (ratio, floor) {
            (_, None) => Self::NotKnown,
            (above, Some(floor)) if above > floor.0 => Self::More,
            (below, Some(floor)) if below < 1.0 / floor.0 => Self::Less,
            _ => Self::NoDifference,
        }
    }

    /// The same where one or the other of the two figures is only a lower bound.
    pub(crate) fn bounded(self, one: bool, other: bool) -> Self {
        match self {
            Self::More if !other => self,
            Self::Less if !one => self,
            _ if one || other => Self::NotKnown,
            _ => self,
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::NoDifference => "no difference",
            Self::Less => "less",
            Self::More => "more",
            Self::NotKnown => "not known",
        }
    }
}

/// The order of a round: forward in the first, backward in the second, and so on, so that what changes with time weighs
/// on all alike.
pub(crate) fn order(round: usize, count: usize) -> Vec<usize> {
    let forward = 0..count;
    if round.is_multiple_of(2) { forward.collect() } else { forward.rev().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        let odd = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(odd, Spread { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn the_floor_is_the_pair_that_differs_most_either_way() {
        assert_eq!(NoiseFloor::of([1.1, 0.8, 1.0]), Some(NoiseFloor(1.25)));
        assert_eq!(NoiseFloor::of([]), None);
    }

    #[test]
    fn a_ratio_inside_the_floor_is_no_difference() {
        let floor = Some(NoiseFloor(1.25));
        let verdicts = [1.2, 0.81, 1.3, 0.7].map(|ratio| Verdict::of(ratio, floor));
        assert_eq!(verdicts, [Verdict::NoDifference, Verdict::NoDifference, Verdict::More, Verdict::Less]);
        assert_eq!(Verdict::of(2.0, None), Verdict::NotKnown);
    }

    #[test]
    fn a_lower_bound_tells_only_one_way() {
        let of_a_bound =
            [Verdict::More, Verdict::Less, Verdict::NoDifference].map(|verdict| verdict.bounded(true, false));
        assert_eq!(of_a_bound, [Verdict::More, Verdict::NotKnown, Verdict::NotKnown]);
        let against_a_bound = [Verdict::More, Verdict::Less].map(|verdict| verdict.bounded(false, true));
        assert_eq!(against_a_bound, [Verdict::NotKnown, Verdict::Less]);
        assert_eq!(Verdict::NoDifference.bounded(false, false), Verdict::NoDifference);
    }

    #[test]
    fn every_second_round_goes_backward() {
        assert_eq!(order(0, 3), [0, 1, 2]);
        assert_eq!(order(1, 3), [2, 1, 0]);
        assert_eq!(order(2, 3), [0, 1, 2]);
    }
}
