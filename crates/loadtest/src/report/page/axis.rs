//! From values to places in a picture, and the round values that are marked.

/// Where the values of one direction lie.
#[derive(Debug)]
pub(super) struct Axis {
    /// Makes equal steps of what is to look like equal steps.
    scale: fn(f64) -> f64,
    values: [f64; 2],
    places: [f64; 2],
    /// The values to mark.
    pub(super) marks: Vec<f64>,
}

impl Axis {
    /// From 0 to a round value that is not below this one.
    pub(super) fn from_zero(max: f64, places: [f64; 2]) -> Self {
        let step = step(max, 4.0);
        let steps = (max / step).ceil().max(1.0);
        Self::even([0.0, steps * step], places, (0..=steps as u32).map(|at| f64::from(at) * step).collect())
    }

    /// From 0 to exactly this value, marked at round ones.
    pub(super) fn until(end: f64, places: [f64; 2]) -> Self {
        let step = step(end, 6.0);
        let steps = (end / step).floor();
        Self::even([0.0, end], places, (0..=steps as u32).map(|at| f64::from(at) * step).collect())
    }

    /// Between two values, with these marks.
    pub(super) fn even(values: [f64; 2], places: [f64; 2], marks: Vec<f64>) -> Self {
        Self { scale: |value| value, values, places, marks }
    }

    /// By powers of ten, around two values above 0, with so many marks at most.
    pub(super) fn powers([low, high]: [f64; 2], places: [f64; 2], marks_max: usize) -> Self {
        let all = ladder(low, high);
        let values = [all[0], all[all.len() - 1]];
        Self { scale: f64::log10, values, places, marks: thinned(&all, marks_max) }
    }

    /// The place of a value; those outside lie on the border.
    pub(super) fn place(&self, value: f64) -> f64 {
        let [low, high] = self.values.map(self.scale);
        let share = (((self.scale)(value) - low) / (high - low)).clamp(0.0, 1.0);
        self.places[0] + share * (self.places[1] - self.places[0])
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that makes so many steps at most.
fn step(max: f64, steps: f64) -> f64 {
    let wanted = (max / steps).max(1e-9);
    let power = 10_f64.powf(wanted.log10().floor());
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= wanted * 0.999).unwrap_or(10.0);
    times * power
}

/// 1, 2 and 5 times powers of ten, from the last that is not above the lower value to the first that is above the higher.
fn ladder(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().floor() as i32 + 1;
    let all: Vec<f64> = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|times| times * 10_f64.powi(power))).collect();
    let first = all.iter().rposition(|rung| *rung <= low).unwrap_or(0);
    let last = all.iter().position(|rung| *rung > high).unwrap_or(all.len() - 1);
    all[first..=last].to_vec()
}

fn thinned(ladder: &[f64], marks_max: usize) -> Vec<f64> {
    if ladder.len() <= marks_max {
        return ladder.to_vec();
    }
    let is_power = |value: f64| (value.log10() - value.log10().round()).abs() < 1e-6;
    let powers: Vec<f64> = ladder.iter().copied().filter(|value| is_power(*value)).collect();
    let each = powers.len().div_ceil(marks_max).max(1);
    powers.into_iter().step_by(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(read: &[f64], wanted: &[f64]) {
        let near = read.iter().zip(wanted).all(|(read, wanted)| (read - wanted).abs() < wanted * 1e-6 + 1e-9);
        assert!(near && read.len() == wanted.len(), "{read:?} and not {wanted:?}");
    }

    #[test]
    fn marks_are_round() {
        about(&Axis::from_zero(52_000.0, [0.0, 1.0]).marks, &[0.0, 20_000.0, 40_000.0, 60_000.0]);
        about(&Axis::from_zero(0.0, [0.0, 1.0]).marks, &[0.0, 1e-9]);
        about(&Axis::until(11.0, [0.0, 1.0]).marks, &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        about(&Axis::powers([310.0, 11_476.0], [0.0, 1.0], 7).marks, &[200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4]);
        about(&Axis::powers([310.0, 900_000.0], [0.0, 1.0], 7).marks, &[1e3, 1e4, 1e5, 1e6]);
        about(&Axis::powers([100.0, 100.0], [0.0, 1.0], 7).marks, &[100.0, 200.0]);
    }

    #[test]
    fn values_lie_between_the_ends() {
        let axis = Axis::powers([10.0, 900.0], [100.0, 0.0], 7);
        about(&[axis.place(10.0), axis.place(100.0), axis.place(1e9), axis.place(0.0)], &[100.0, 50.0, 0.0, 100.0]);
    }
}
