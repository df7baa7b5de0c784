//! When a certificate ends (RFC 5280 §4.1), read from its encoding: rustls does not tell.
//!
//! The certificate is the operator's own, and rustls has taken it. What cannot be read here is no error.

/// Tags of DER.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;

/// Unix time of `notAfter`.
pub(crate) fn not_after(certificate: &[u8]) -> Option<u64> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (body, _) = element(certificate, SEQUENCE)?;
    let body = element(body, VERSION).map_or(body, |(_, rest)| rest);
    let (_, body) = element(body, INTEGER)?;
    let (_signature, body) = element(body, SEQUENCE)?;
    let (_issuer, body) = element(body, SEQUENCE)?;
    let (validity, _) = element(body, SEQUENCE)?;
    let (_not_before, validity) = element(validity, UTC_TIME).or_else(|| element(validity, GENERALIZED_TIME))?;
    match element(validity, UTC_TIME) {
        Some((time, _)) => {
            let (year, rest) = number(time, 2)?;
            unix_time(if year < 50 { 2_000 + year } else { 1_900 + year }, rest)
        }
        None => {
            let (time, _) = element(validity, GENERALIZED_TIME)?;
            let (year, rest) = number(time, 4)?;
            unix_time(year, rest)
        }
    }
}

/// The content of an element with this tag, and what comes behind it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// A number of so many digits, and what comes behind it.
fn number(text: &[u8], digits: usize) -> Option<(u64, &[u8])> {
    let (number, rest) = text.split_at_checked(digits)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// Of a year and `MMDDHHMMSSZ`.
fn unix_time(year: u64, rest: &[u8]) -> Option<u64> {
    let (month, rest) = number(rest, 2)?;
    let (day, rest) = number(rest, 2)?;
    let (hour, rest) = number(rest, 2)?;
    let (minute, rest) = number(rest, 2)?;
    let (second, _) = number(rest, 2)?;
    Some(((days(year, month, day)? * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970, with the year beginning in March so that the leap day is its last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month < 3 { (year.checked_sub(1)?, month + 9) } else { (year, month - 3) };
    let in_year = (153 * month + 2) / 5 + day.checked_sub(1)?;
    (365 * year + year / 4 - year / 100 + year / 400 + in_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[track_caller]
    fn check(year: i32, month: u8, day: u8, expected: u64) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(1975, 1, 1);
        params.not_after = date_time_ymd(year, month, day);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(not_after(certificate.der()), Some(expected), "{year}-{month}-{day}");
    }

    #[test]
    fn the_end_is_read_in_either_form() {
        check(1999, 12, 31, 946_598_400);
        check(2024, 2, 29, 1_709_164_800);
        check(2049, 12, 31, 2_524_521_600);
        check(2050, 1, 1, 2_524_608_000);
        check(4096, 1, 1, 67_090_118_400);
    }

    #[test]
    fn anything_else_has_no_end() {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2030, 1, 1);
        let good = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        assert_eq!(not_after(&[]), None);
        assert_eq!(not_after(b"a certificate"), None);
        (0..160).for_each(|length| _ = not_after(&good[..length]));
        // Whatever bit is wrong: no panic.
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            let _ = not_after(&bad);
        }
    }
}
