//! "Did you mean …?"

/// Names that are longer than this are not compared: they are no typing errors, and comparing costs length
/// times length.
const COMPARED_BYTES_MAX: usize = 64;

/// `; did you mean "…"?` where one of the known names is near, else nothing.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default()
}

fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let by_distance = known.into_iter().map(|known| (strsim::damerau_levenshtein(&lower, known), known));
    let (distance, near) = by_distance.min()?;
    (distance <= (name.len() / 3).max(1)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["channel", "data", "skip_history", "version"];

    #[test]
    fn typing_errors_are_found() {
        for (name, near) in
            [("chanel", "channel"), ("Channel", "channel"), ("dta", "data"), ("skiphistory", "skip_history")]
        {
            assert_eq!(nearest(name, KNOWN), Some(near));
        }
        assert_eq!(did_you_mean("verison", KNOWN), "; did you mean \"version\"?");
    }

    #[test]
    fn what_is_far_off_is_not_guessed_at() {
        for name in ["", "x", "payload", "user", &"channel".repeat(1_000)] {
            assert_eq!(nearest(name, KNOWN), None, "{name:.20}");
        }
        assert_eq!(did_you_mean("payload", KNOWN), "");
    }
}
