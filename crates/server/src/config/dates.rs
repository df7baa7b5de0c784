//! Dates as an operator writes them.

use toml::value::{Datetime, Offset};

/// The Unix time in seconds of `2026-12-31`, which begins in UTC, or of `2026-12-31T18:00:00Z`. A moment without an
/// offset could be any of 26 hours and is refused, as is a time of day.
pub(crate) fn unix_seconds(text: &str) -> Option<u64> {
    let Datetime { date, time, offset } = text.parse().ok()?;
    let date = date?;
    let of_day = match (time, offset) {
        (None, None) => 0,
        (Some(time), Some(offset)) => {
            let minutes = match offset {
                Offset::Z => 0,
                Offset::Custom { minutes } => i64::from(minutes),
            };
            let seconds = i64::from(time.second.unwrap_or_default());
            i64::from(time.hour) * 3_600 + i64::from(time.minute) * 60 + seconds - minutes * 60
        }
        _ => return None,
    };
    let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    u64::try_from(days * 86_400 + of_day).ok()
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, counted in eras of 400 years that begin in March, so that
/// a leap day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_moments() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2000-03-01", 951_868_800),
            ("2026-12-31", 1_798_675_200),
            ("2026-12-31T18:00:00Z", 1_798_740_000),
            ("2026-12-31T19:00:00+01:00", 1_798_740_000),
            ("2026-12-31 18:00:00.5Z", 1_798_740_000),
        ] {
            assert_eq!(unix_seconds(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "soon", "18:00:00", "2026-12-31T18:00:00", "2026-13-01", "1969-12-31", "1798675200"] {
            assert_eq!(unix_seconds(text), None, "{text}");
        }
    }
}
