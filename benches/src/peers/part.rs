//! A part of the comparison: what was kept of it is taken, the rest is measured, told and kept.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contest::{Answer, Contest, Entrant};
use super::progress::{Progress, roughly};
use super::results::{Kept, Results, When};
use crate::say;

/// What is to be measured in a part.
pub(crate) struct Part<'a> {
    pub(crate) results: &'a Results,
    /// Of its file.
    pub(crate) name: &'static str,
    /// What is said of it, rates included: with another title it is another part.
    pub(crate) title: String,
    pub(crate) entrants: Vec<Entrant>,
    pub(crate) rounds: usize,
}

/// The figures of each entrant, by its name.
type Figures<T> = BTreeMap<String, Vec<Option<T>>>;

impl Part<'_> {
    /// One after the other. Who is measured is given with the round, and with what came of it in other rounds. After one that
    /// failed the others go on; what failed is missing, and is measured once more at the next start.
    pub(crate) fn contest<T: Clone + Serialize + DeserializeOwned>(
        self,
        shown: impl Fn(&T) -> String,
        mut measure: impl FnMut(Entrant, usize, &[Option<T>]) -> Answer<T>,
    ) -> Answer<Contest<T>> {
        let mut contest = self.begin()?;
        let missing = contest.missing();
        let mut progress = Progress::begin(missing.len());
        for (at, round) in missing {
            let entrant = contest.entrants[at];
            let measured = measure(entrant, round, &contest.figures[at]).map_err(|error| error.to_string());
            tell(&mut progress, round, entrant, measured.as_ref().map(&shown));
            contest.figures[at][round] = measured.ok();
            self.keep(&mut contest)?;
        }
        Ok(contest)
    }

    /// The same with several of a round at once, for what does not depend on that.
    pub(crate) fn together<T: Clone + Send + Serialize + DeserializeOwned>(
        self,
        at_once: usize,
        shown: impl Fn(&T) -> String,
        measure: impl Fn(Entrant) -> Answer<T> + Sync,
    ) -> Answer<Contest<T>> {
        let mut contest = self.begin()?;
        let missing = contest.missing();
        let mut progress = Progress::begin(missing.len());
        let rounds = missing.chunk_by(|(_, one), (_, other)| one == other);
        for group in rounds.flat_map(|round| round.chunks(at_once)) {
            let entrants: Vec<Entrant> = group.iter().map(|(at, _)| contest.entrants[*at]).collect();
            for ((at, round), measured) in group.iter().zip(side_by_side(&entrants, &measure)) {
                tell(&mut progress, *round, contest.entrants[*at], measured.as_ref().map(&shown));
                contest.figures[*at][*round] = measured.ok();
            }
            self.keep(&mut contest)?;
        }
        Ok(contest)
    }

    /// With what was kept.
    fn begin<T: Clone + DeserializeOwned>(&self) -> Answer<Contest<T>> {
        let mut contest = Contest::begin(self.entrants.clone(), self.rounds);
        let Some(kept) = self.results.taken::<Figures<T>>(self.name, &self.about()) else {
            contest.when = When::now();
            contest.commit = self.results.commit().to_owned();
            say(&self.title)?;
            return Ok(contest);
        };
        let age = roughly(kept.when.age());
        self.fill(&mut contest, kept);
        let all = self.entrants.len() * self.rounds;
        match contest.missing().len() {
            0 => say(&format!("{}: taken from {age} ago", self.title))?,
            missing => say(&format!("{}: {} of {all} taken from {age} ago", self.title, all - missing))?,
        }
        Ok(contest)
    }

    fn fill<T>(&self, contest: &mut Contest<T>, mut kept: Kept<Figures<T>>) {
        (contest.when, contest.commit) = (kept.when, kept.commit);
        for (entrant, figures) in contest.entrants.iter().zip(&mut contest.figures) {
            if let Some(taken) = kept.measured.remove(&entrant.name()).filter(|taken| taken.len() == self.rounds) {
                *figures = taken;
            }
        }
    }

    fn keep<T: Serialize>(&self, contest: &mut Contest<T>) -> Answer<()> {
        contest.when = contest.when.until_now();
        let names = contest.entrants.iter().map(|entrant| entrant.name());
        let figures: BTreeMap<String, &Vec<Option<T>>> = names.zip(&contest.figures).collect();
        Ok(self.results.keep(self.name, &self.about(), (contest.when, figures))?)
    }

    fn about(&self) -> String {
        let names: Vec<String> = self.entrants.iter().map(|entrant| entrant.name()).collect();
        format!("{}: {} rounds of {}", self.title, self.rounds, names.join(", "))
    }
}

fn tell(progress: &mut Progress, round: usize, entrant: Entrant, outcome: Result<String, &String>) {
    let outcome = outcome.unwrap_or_else(|error| format!("failed: {error}"));
    // What is told here is lost without a terminal, and that is all: the figures are in the page.
    let _ = say(&progress.line(round, &entrant.title(), &outcome));
}

/// Each on a thread of its own; the outcomes in the order of the entrants.
fn side_by_side<T: Send>(
    entrants: &[Entrant],
    measure: impl Fn(Entrant) -> Answer<T> + Sync,
) -> Vec<Result<T, String>> {
    let measure = &measure;
    let one = |entrant: Entrant| move || measure(entrant).map_err(|error| error.to_string());
    std::thread::scope(|scope| {
        let threads: Vec<_> = entrants.iter().map(|entrant| scope.spawn(one(*entrant))).collect();
        let failed = || Err("the measurement has panicked".to_owned());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| failed())).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("fanfare-part-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    fn part<'a>(results: &'a Results, title: &str) -> Part<'a> {
        let entrants = Entrant::with_a_pair([Entrant::Loop(1)]);
        Part { results, name: "part", title: title.to_owned(), entrants, rounds: 2 }
    }

    /// Measures a part and fails after so many; what was measured, and of whom.
    fn measured(results: &Results, title: &str, most: usize) -> (Contest<f64>, Vec<(Entrant, usize)>) {
        let mut asked = Vec::new();
        let contest = part(results, title).contest(ToString::to_string, |entrant, round, _| {
            asked.push((entrant, round));
            if asked.len() > most { Err("it is over".into()) } else { Ok(asked.len() as f64) }
        });
        (contest.unwrap(), asked)
    }

    #[test]
    fn what_was_measured_before_is_not_measured_again() {
        let folder = folder("resumed");
        let results = Results::of(&folder, "program".to_owned(), "93c123c");
        assert_eq!(measured(&results, "cpu", 4).1.len(), 6);
        let (contest, asked) = measured(&results, "cpu", 9);
        assert_eq!(asked, [(Entrant::Loop(1), 1), (Entrant::FANFARE, 1)]);
        assert_eq!(contest.of(Entrant::FANFARE), [Some(1.0), Some(2.0)]);
        assert!(measured(&results, "cpu", 9).1.is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn another_title_or_program_is_another_part() {
        let folder = folder("other");
        let results = Results::of(&folder, "program".to_owned(), "93c123c");
        measured(&results, "cpu at 100 a second", 9);
        assert_eq!(measured(&results, "cpu at 200 a second", 9).1.len(), 6);
        let other = Results::of(&folder, "another program".to_owned(), "93c123c");
        assert_eq!(measured(&other, "cpu at 200 a second", 9).1.len(), 6);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn together_each_takes_part_once_a_round_too() {
        let folder = folder("together");
        let results = Results::of(&folder, "program".to_owned(), "93c123c");
        let barrier = std::sync::Barrier::new(2);
        let measure = |entrant| {
            // Passed by two at once only; who is last of a round is alone.
            if entrant == Entrant::Loop(1) {
                barrier.wait();
                return Err("it has failed".into());
            }
            if entrant == Entrant::FANFARE {
                barrier.wait();
            }
            Ok(1.0)
        };
        let one = Part { rounds: 1, ..part(&results, "memory") };
        let contest = one.together(2, f64::to_string, measure).unwrap();
        assert_eq!(contest.of(Entrant::FANFARE), [Some(1.0)]);
        assert_eq!((contest.of(Entrant::Loop(1)), contest.of(Entrant::FanfareAgain)), (&[None][..], &[Some(1.0)][..]));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
