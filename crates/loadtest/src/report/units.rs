//! Numbers, times, bytes and dates as people read them, and text of others made harmless.

use std::fmt::Write as _;

/// Characters of a text of others: an error page of a proxy is no reason.
const TEXT_MAX: usize = 200;
/// What stands for a number that is none.
const NO_NUMBER: &str = "–";
const SECONDS_PER_DAY: u64 = 86_400;

/// `1234567` as `1,234,567`.
pub(super) fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// The same with what is counted, by its name for one.
pub(super) fn counted(value: u64, one: &str) -> String {
    format!("{} {one}{}", count(value), if value == 1 { "" } else { "s" })
}

/// Whole numbers whole, others to three digits.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 { grouped(&format!("{value:.0}")) } else { three_digits(value) }
}

/// `1.20`, `12.3`, `123`, and `1,234` beyond.
pub(super) fn three_digits(value: f64) -> String {
    if !value.is_finite() {
        return NO_NUMBER.to_owned();
    }
    let decimals = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.0995 => 2,
        size if size >= 0.00995 => 3,
        _ => 4,
    };
    grouped(&format!("{value:.decimals$}"))
}

/// A rate for each second.
pub(super) fn per_second(value: f64) -> String {
    format!("{}/s", number(if value < 1_000.0 { value } else { value.round() }))
}

/// Microseconds in the unit that fits.
pub(super) fn time(microseconds: f64) -> String {
    in_units(microseconds, 1_000.0, &["µs", "ms", "s"])
}

/// The same without noughts at the end: for what was asked for, and the marks of an axis.
pub(super) fn round_time(microseconds: f64) -> String {
    let (value, unit) = fitting(microseconds, 1_000.0, &["µs", "ms", "s"]);
    format!("{} {unit}", shortest(value))
}

/// `50k`, `1.5M`: for the marks of an axis.
pub(super) fn mark_count(value: f64) -> String {
    let (value, unit) = fitting(value, 1_000.0, &["", "k", "M", "G"]);
    format!("{}{unit}", shortest(value))
}

/// Without noughts at the end.
pub(super) fn shortest(value: f64) -> String {
    if value.is_finite() { grouped(&((value * 1e3).round() / 1e3).to_string()) } else { NO_NUMBER.to_owned() }
}

/// Bytes in the binary unit that fits.
pub(super) fn bytes(value: f64) -> String {
    in_units(value, 1_024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

fn in_units(value: f64, factor: f64, units: &[&'static str]) -> String {
    let (value, unit) = fitting(value, factor, units);
    let is_smallest = units.first() == Some(&unit);
    format!("{} {unit}", if is_smallest { number(value) } else { three_digits(value) })
}

fn fitting<'a>(mut value: f64, factor: f64, units: &[&'a str]) -> (f64, &'a str) {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for larger in units {
        // What would be rounded up to the next unit is said in that.
        if value < factor - 0.5 {
            break;
        }
        (value, unit) = (value / factor, larger);
    }
    (value, unit)
}

/// A share from 0 to 1.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if !percent.is_finite() => NO_NUMBER.to_owned(),
        percent if percent < 9.95 => format!("{percent:.1} %"),
        percent => format!("{} %", number(percent.round())),
    }
}

/// How often.
pub(super) fn times(value: u64) -> String {
    format!("×{}", count(value))
}

/// Seconds since 1970 as a date and a time of day.
pub(super) fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let (year, month, day) = civil(days);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3_600, rest / 60 % 60)
}

/// Year, month and day of a number of days since 1970. Years are counted from March on, so that a leap day is a year's
/// last: 153 days are five months of those.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // From the first of March of the year 0 to 1970.
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

fn grouped(number: &str) -> String {
    let whole = number.find('.').unwrap_or(number.len());
    let digits = number.find(|letter: char| letter.is_ascii_digit()).unwrap_or(0);
    let mut text = String::with_capacity(number.len() + 4);
    for (at, letter) in number.char_indices() {
        if at > digits && at < whole && (whole - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(letter);
    }
    text
}

/// Text of others: control characters, which could move a terminal's cursor, and those that turn the direction of text
/// become visible.
pub(super) fn visible(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match character.is_control() || turns {
            // Writing to a string cannot fail.
            true => write!(clean, "\\u{:04x}", u32::from(character)).unwrap_or_default(),
            false => clean.push(character),
        }
    }
    clean
}

/// The same, and not longer than makes sense beside others.
pub(super) fn shown(text: &str) -> String {
    let visible = visible(text);
    match visible.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &visible[..end]),
        None => visible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_commas() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1, 2_000].map(|value| counted(value, "channel")), ["1 channel", "2,000 channels"]);
        let read = [0.0, 50.0, 0.85, 1.2345, 12.345, 123.45, 1_234.5, 0.0321, f64::NAN, f64::INFINITY].map(number);
        assert_eq!(read, ["0", "50", "0.85", "1.23", "12.3", "123", "1,234", "0.032", "–", "–"]);
        assert_eq!(three_digits(-1_234.5), "-1,234");
        assert_eq!([0.5, 999.6, 49_999.7].map(per_second), ["0.50/s", "1,000/s", "50,000/s"]);
    }

    #[test]
    fn times_and_bytes_have_the_unit_that_fits() {
        let read = [0.0, 0.5, 850.0, 999.6, 1_200.0, 61_234.0, 999_600.0, 2e6, 4e9].map(time);
        assert_eq!(read, ["0 µs", "0.50 µs", "850 µs", "1.00 ms", "1.20 ms", "61.2 ms", "1.00 s", "2.00 s", "4,000 s"]);
        assert_eq!([171.0, 1_536.0, 8.4e9].map(bytes), ["171 B", "1.50 KiB", "7.82 GiB"]);
        assert_eq!([500.0, 2_000.0, 2.5e6].map(round_time), ["500 µs", "2 ms", "2.5 s"]);
        assert_eq!([0.0, 500.0, 20_000.0, 1.5e6].map(mark_count), ["0", "500", "20k", "1.5M"]);
        assert_eq!([0.004, 0.35, 1.2, f64::NAN].map(percent), ["0.4 %", "35 %", "120 %", "–"]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_825_600), "2000-02-29 12:00 UTC");
        assert_eq!(date(1_795_841_100), "2026-11-28 04:45 UTC");
    }

    #[test]
    fn text_of_others_cannot_reach_the_terminal() {
        assert_eq!(visible("\x1b[31mred\nline\u{202e}"), "\\u001b[31mred\\u000aline\\u202e");
        assert_eq!(visible("längerer"), "längerer");
    }
}
