//! The changes that were told since the last reading: what is read may be older than they are.
//!
//! A reading takes a while, and words come in meanwhile. What is read is therefore taken over with the later words put on
//! top of it. Those of another life than was read cannot be ordered: what they keep is kept until the next reading.

use std::collections::{HashMap, HashSet};

use fanfare_broker::{Revocation, Subject};

use super::entry::Entry;
use super::{At, Snapshot, stronger};
use crate::limits::REVOCATION_WORDS_HEARD_MAX;

#[derive(Debug, Default)]
pub(super) struct Heard {
    words: Vec<(At, Entry)>,
    /// There were more than can be remembered.
    missed: bool,
}

impl Heard {
    pub(super) fn remember(&mut self, at: At, entry: Entry) {
        if self.words.len() >= REVOCATION_WORDS_HEARD_MAX {
            self.words.clear();
            self.missed = true;
        }
        self.words.push((at, entry));
    }

    /// A reading begins: it knows all that was told before.
    pub(super) fn reading(&mut self) {
        self.missed = false;
    }

    /// Redis is at what was known when the reading began: earlier words are in it.
    pub(super) fn compared(&mut self, known: &At) {
        self.words.retain(|(at, _)| at.life != known.life || at.version > known.version);
    }

    /// Whose taking back was told last. Where Redis is of another life, these are not what it lost.
    pub(super) fn taken_back(&self, life: &str) -> HashSet<Subject> {
        let mut last = HashMap::new();
        for (_, entry) in self.words.iter().filter(|(at, _)| at.life == life) {
            last.insert(entry.subject(), matches!(entry, Entry::TakenBack(_)));
        }
        last.into_iter().filter(|(_, is_taken_back)| *is_taken_back).map(|(subject, _)| subject.clone()).collect()
    }

    /// Puts the later words on top of what was read, and forgets them all. `None` if some could not be remembered. Where
    /// what was read is of another life than was known, words of others may be what Redis has lost: they are left out.
    pub(super) fn put_on(&mut self, snapshot: Snapshot, known_life: &str) -> Option<Snapshot> {
        let mut words = std::mem::take(&mut self.words);
        if std::mem::take(&mut self.missed) {
            return None;
        }
        let Snapshot { mut at, revocations } = snapshot;
        let is_known_life = at.life == known_life;
        words.retain(|(word, _)| if word.life == at.life { word.version > at.version } else { is_known_life });
        if words.is_empty() {
            return Some(Snapshot { at, revocations });
        }
        words.sort_by_key(|(word, _)| (word.life == at.life, word.version));
        let mut all: HashMap<Subject, Revocation> =
            revocations.into_iter().map(|kept| (kept.subject.clone(), kept)).collect();
        for (word, entry) in words {
            let is_ordered = word.life == at.life;
            if is_ordered && word.version == at.version + 1 {
                at.version = word.version;
            }
            match entry {
                Entry::Kept(kept) if is_ordered => drop(all.insert(kept.subject.clone(), kept)),
                Entry::Kept(kept) => {
                    let kept = all.get(&kept.subject).map_or_else(|| kept.clone(), |read| stronger(&kept, read));
                    all.insert(kept.subject.clone(), kept);
                }
                Entry::TakenBack(subject) if is_ordered => drop(all.remove(&subject)),
                Entry::TakenBack(_) => {}
            }
        }
        Some(Snapshot { at, revocations: all.into_values().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(life: &str, version: u64) -> At {
        At { life: life.to_owned(), version }
    }

    fn block(user: &str) -> Revocation {
        Revocation { subject: Subject::User(user.to_owned()), issued_before: 0, expire_at: None }
    }

    fn users(snapshot: Snapshot) -> (At, Vec<String>) {
        let mut users: Vec<_> = snapshot.revocations.iter().map(|kept| format!("{:?}", kept.subject)).collect();
        users.sort();
        (snapshot.at, users)
    }

    #[track_caller]
    fn check(words: &[(&str, u64, &str)], read: (&str, u64, &[&str]), becomes: (&str, u64, &[&str])) {
        let mut heard = Heard::default();
        for (life, version, what) in words {
            let entry = match what.strip_prefix('-') {
                Some(user) => Entry::TakenBack(block(user).subject),
                None => Entry::Kept(block(what)),
            };
            heard.remember(at(life, *version), entry);
        }
        let of = |(life, version, users): (&str, u64, &[&str])| Snapshot {
            at: at(life, version),
            revocations: users.iter().map(|user| block(user)).collect(),
        };
        assert_eq!(users(heard.put_on(of(read), "l").unwrap()), users(of(becomes)));
        assert_eq!(users(heard.put_on(of(read), "l").unwrap()), users(of(read)), "they are forgotten");
    }

    /// A reading that was begun before a word came took back what the word had brought, and what was confirmed.
    #[test]
    fn defect_an_older_reading_removes_no_word() {
        // In their order, out of it, with a gap, known already, and of another life.
        check(&[("l", 4, "b"), ("l", 5, "-a")], ("l", 3, &["a"]), ("l", 5, &["b"]));
        check(&[("l", 5, "-b"), ("l", 4, "b")], ("l", 3, &["a"]), ("l", 5, &["a"]));
        check(&[("l", 9, "b"), ("l", 4, "c")], ("l", 3, &["a"]), ("l", 4, &["a", "b", "c"]));
        check(&[("l", 3, "b"), ("l", 2, "-a")], ("l", 3, &["a"]), ("l", 3, &["a"]));
        check(&[("m", 9, "b"), ("m", 10, "-a")], ("l", 3, &["a"]), ("l", 3, &["a", "b"]));
    }

    #[test]
    fn words_of_the_life_before_are_left_to_be_missed() {
        let mut heard = Heard::default();
        heard.remember(at("l", 4), Entry::Kept(block("a")));
        heard.remember(at("m", 4), Entry::Kept(block("b")));
        let read = Snapshot { at: at("m", 3), revocations: vec![] };
        assert_eq!(heard.put_on(read, "l").unwrap().revocations, [block("b")]);
    }

    #[test]
    fn more_words_than_can_be_remembered_are_a_reason_to_read_again() {
        let mut heard = Heard::default();
        let snapshot = || Snapshot { at: at("l", 1), revocations: vec![] };
        for version in 0..=REVOCATION_WORDS_HEARD_MAX as u64 {
            heard.remember(at("l", version), Entry::Kept(block("a")));
        }
        assert!(heard.put_on(snapshot(), "l").is_none());
        heard.reading();
        assert!(heard.put_on(snapshot(), "l").is_some());
    }

    #[test]
    fn who_was_taken_back_last_is_told_of_a_life() {
        let mut heard = Heard::default();
        for (version, user) in [(1, "a"), (2, "b"), (3, "c")] {
            heard.remember(at("l", version), Entry::TakenBack(block(user).subject));
        }
        heard.remember(at("l", 4), Entry::Kept(block("b")));
        assert_eq!(heard.taken_back("l"), HashSet::from([block("a").subject, block("c").subject]));
        assert!(heard.taken_back("m").is_empty());
        heard.compared(&at("l", 2));
        assert_eq!(heard.taken_back("l"), HashSet::from([block("c").subject]));
    }
}
