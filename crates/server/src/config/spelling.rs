//! "Did you mean": the known word nearest to a mistyped one.

/// The nearest of the words, if one is near enough to be what was meant.
pub(crate) fn nearest<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let edits_max = (typed.chars().count() / 3).max(1);
    let judged = words.into_iter().map(|word| (edits(typed, word), word));
    judged.filter(|(edits, _)| *edits <= edits_max).min_by_key(|(edits, _)| *edits).map(|(_, word)| word)
}

/// How many letters have to be put in, taken out, replaced or swapped with their neighbour; case does not count.
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.to_lowercase().chars().collect();
    let to: Vec<char> = to.to_lowercase().chars().collect();
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for i in 1..=from.len() {
        let row = next_row(&rows, &from[..i], &to);
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

fn next_row(rows: &[Vec<usize>], from: &[char], to: &[char]) -> Vec<usize> {
    let i = from.len();
    let mut row = vec![i];
    for j in 1..=to.len() {
        let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
        let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
        if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
            best = best.min(rows[i - 2][j - 2] + 1);
        }
        row.push(best);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 4] = ["address", "allowed_origins", "window", "presence"];

    #[test]
    fn a_slip_finds_its_word() {
        for (typed, meant) in [
            ("adress", "address"),
            ("alowed_orgins", "allowed_origins"),
            ("widnow", "window"),
            ("Presence", "presence"),
        ] {
            assert_eq!(nearest(typed, WORDS), Some(meant), "{typed}");
        }
    }

    #[test]
    fn another_word_finds_none() {
        for typed in ["", "x", "colour", "origin"] {
            assert_eq!(nearest(typed, WORDS), None, "{typed}");
        }
    }

    #[test]
    fn a_swap_is_one_edit() {
        assert_eq!((edits("ab", "ba"), edits("", "abc"), edits("kitten", "sitting")), (1, 3, 3));
    }
}
