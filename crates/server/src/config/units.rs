//! Durations and sizes as an operator writes them: `25s`, `64KiB`. One number, one unit, no fractions.

use std::time::Duration;

/// Units of a duration, with their milliseconds; the largest last.
const DURATION_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of a size, with their bytes; the largest last.
const SIZE_UNITS: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Why a text is no duration and no size. Each reads on after the name of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no number in front.
    NoNumber,
    /// A minus sign.
    Negative,
    /// A fraction.
    Fraction,
    /// A number alone.
    NoUnit(u64),
    /// A unit that is none of ours.
    UnknownUnit(String),
    /// More than can be counted.
    TooLarge,
}

/// Reads a duration.
pub(crate) fn duration(text: &str) -> Result<Duration, Refused> {
    quantity(text, DURATION_UNITS).map(Duration::from_millis)
}

/// Reads a size, in bytes.
pub(crate) fn size(text: &str) -> Result<usize, Refused> {
    let bytes = quantity(text, SIZE_UNITS)?;
    usize::try_from(bytes).map_err(|_| Refused::TooLarge)
}

/// Writes a duration in the largest unit that divides it.
pub(crate) fn duration_text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    text(millis, DURATION_UNITS)
}

/// Writes a size in the largest unit that divides it.
pub(crate) fn size_text(bytes: usize) -> String {
    text(bytes as u64, SIZE_UNITS)
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Result<u64, Refused> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(Refused::Negative);
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(Refused::NoNumber);
    }
    let number: u64 = number.parse().map_err(|_| Refused::TooLarge)?;
    number.checked_mul(factor(number, unit.trim_start(), units)?).ok_or(Refused::TooLarge)
}

fn factor(number: u64, unit: &str, units: &[(&str, u64)]) -> Result<u64, Refused> {
    if unit.is_empty() {
        return Err(Refused::NoUnit(number));
    }
    if unit.starts_with(['.', ',']) {
        return Err(Refused::Fraction);
    }
    let known = units.iter().find(|(name, _)| *name == unit);
    known.map(|(_, factor)| *factor).ok_or_else(|| Refused::UnknownUnit(unit.to_owned()))
}

fn text(quantity: u64, units: &[(&str, u64)]) -> String {
    if quantity == 0 {
        return format!("0{}", units[1].0);
    }
    let (name, factor) = units
        .iter()
        .rev()
        .find(|(_, factor)| quantity >= *factor && quantity.is_multiple_of(*factor))
        .unwrap_or(&units[0]);
    format!("{}{name}", quantity / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("250ms", 250),
            ("25s", 25_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("2d", 172_800_000),
            (" 3 s ", 3_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("12B", 12), ("64KiB", 65_536), ("1MiB", 1_048_576), ("2GiB", 2_147_483_648)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        assert_eq!(duration(""), Err(Refused::NoNumber));
        assert_eq!(duration("soon"), Err(Refused::NoNumber));
        assert_eq!(duration("-5s"), Err(Refused::Negative));
        assert_eq!(duration("1.5s"), Err(Refused::Fraction));
        assert_eq!(duration("25"), Err(Refused::NoUnit(25)));
        assert_eq!(duration("25S"), Err(Refused::UnknownUnit("S".to_owned())));
        assert_eq!(duration("1h30m"), Err(Refused::UnknownUnit("h30m".to_owned())));
        assert_eq!(duration("999999999999999999999s"), Err(Refused::TooLarge));
        assert_eq!(duration("99999999999999999d"), Err(Refused::TooLarge));
        assert_eq!(size("64KB"), Err(Refused::UnknownUnit("KB".to_owned())));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for millis in [0, 1, 250, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000, 86_401_000] {
            let written = duration_text(Duration::from_millis(millis));
            assert_eq!(duration(&written), Ok(Duration::from_millis(millis)), "{written}");
        }
        assert_eq!(duration_text(Duration::from_secs(90)), "90s");
        assert_eq!(duration_text(Duration::from_secs(86_400)), "1d");
        assert_eq!(duration_text(Duration::ZERO), "0s");
        assert_eq!((size_text(65_536), size_text(1_000)), ("64KiB".to_owned(), "1000B".to_owned()));
    }
}
