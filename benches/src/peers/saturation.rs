//! The highest rate that a server holds.

use super::contest::Answer;

/// A rate is found to a twentieth of itself.
const STEP: f64 = 1.05;

/// Doubles the rate until it is not held, then halves what is in question. None if not even the first is held.
pub(crate) fn search(first: u32, mut holds: impl FnMut(u32) -> Answer<bool>) -> Answer<Option<u32>> {
    let (mut held, mut asked) = (None, first);
    while holds(asked)? {
        held = Some(asked);
        asked = asked.saturating_mul(2);
    }
    let Some(mut held) = held else { return Ok(None) };
    let mut refused = asked;
    while f64::from(refused) > f64::from(held) * STEP && refused - held > 1 {
        let middle = u32::midpoint(held, refused);
        if holds(middle)? { held = middle } else { refused = middle }
    }
    Ok(Some(held))
}

/// The same where a rate has been found before: steps up from it while they are held, or down until one is. It is asked
/// twice for that rate, since other work on the machine may spoil a run.
pub(crate) fn search_near(found: u32, mut holds: impl FnMut(u32) -> Answer<bool>) -> Answer<Option<u32>> {
    let up = |rate: u32| (f64::from(rate) * STEP).ceil() as u32;
    let down = |rate: u32| (f64::from(rate) / STEP).floor() as u32;
    let mut rate = found;
    if holds(rate)? || holds(rate)? {
        while holds(up(rate))? {
            rate = up(rate);
        }
        return Ok(Some(rate));
    }
    while down(rate) > 0 {
        rate = down(rate);
        if holds(rate)? {
            return Ok(Some(rate));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(most: u32) -> impl FnMut(u32) -> Answer<bool> {
        move |rate| Ok(rate <= most)
    }

    #[test]
    fn the_search_comes_within_a_twentieth() {
        for most in [50, 77, 240, 4_999] {
            let found = search(50, limit(most)).unwrap().unwrap();
            assert!(found <= most && f64::from(most) <= f64::from(found) * STEP + 1.0, "{found} of {most}");
        }
        assert_eq!(search(50, limit(49)).unwrap(), None);
    }

    #[test]
    fn a_later_round_starts_where_the_last_one_ended() {
        for most in [150, 200, 260] {
            let found = search_near(200, limit(most)).unwrap().unwrap();
            assert!(found <= most && f64::from(most) <= f64::from(found) * STEP + 2.0, "{found} of {most}");
        }
        assert_eq!(search_near(200, limit(0)).unwrap(), None);
    }
}
