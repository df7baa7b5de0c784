//! What has been measured, kept in files from the first figure on: a comparison takes an hour, and may be interrupted.
//!
//! A figure counts only for what it was measured of. Each comparison writes that down in words, has a folder named by their
//! hash, and looks into no other: what was measured of another program, or by another plan, is not seen.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The files of one comparison.
#[derive(Debug)]
pub(crate) struct Results {
    folder: PathBuf,
    of: String,
    /// The folder of another comparison, whose parts are taken where this one has none.
    other: Option<PathBuf>,
    /// Of the programs that measure now.
    commit: String,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept<T> {
    /// What the comparison is of, and what this part of it is about.
    of: String,
    about: String,
    /// Of the programs that were measured.
    #[serde(default)]
    pub(crate) commit: String,
    pub(crate) when: When,
    pub(crate) measured: T,
}

/// The time in which something was measured, in seconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct When {
    pub(crate) begun_s: u64,
    pub(crate) ended_s: u64,
}

impl When {
    pub(crate) fn now() -> Self {
        // A clock before 1970 makes figures old, not wrong.
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { begun_s: now_s, ended_s: now_s }
    }

    /// From then until now.
    pub(crate) fn until_now(self) -> Self {
        Self { ended_s: Self::now().ended_s, ..self }
    }

    /// How long it has been over.
    pub(crate) fn age(self) -> Duration {
        Duration::from_secs(Self::now().ended_s.saturating_sub(self.ended_s))
    }
}

impl Results {
    /// Below a folder, of what these words say; measured by the programs of a commit.
    pub(crate) fn of(root: &Path, of: String, commit: &str) -> Self {
        let folder = root.join(format!("{:016x}", hash(of.as_bytes())));
        Self { folder, of, other: None, commit: commit.to_owned() }
    }

    /// The same; a part that it has not is taken from another comparison, whatever that is of.
    pub(crate) fn or_of(self, other: Option<PathBuf>) -> Self {
        Self { other, ..self }
    }

    pub(crate) fn commit(&self) -> &str {
        &self.commit
    }

    /// Everything is to be measured anew.
    pub(crate) fn forget(&self) -> io::Result<()> {
        if self.folder.exists() { std::fs::remove_dir_all(&self.folder) } else { Ok(()) }
    }

    /// What a file holds, if it is of the same and about the same; or that of the other comparison, if it is about the same.
    pub(crate) fn taken<T: DeserializeOwned>(&self, name: &str, about: &str) -> Option<Kept<T>> {
        let own = read(&self.file(name)).filter(|kept: &Kept<T>| kept.of == self.of && kept.about == about);
        own.or_else(|| read(&file_in(self.other.as_ref()?, name)).filter(|kept: &Kept<T>| kept.about == about))
    }

    /// Writes a file. One that was there stays whole until the new one is.
    pub(crate) fn keep<T: Serialize>(&self, name: &str, about: &str, (when, measured): (When, T)) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let (of, commit) = (self.of.clone(), self.commit.clone());
        let kept = Kept { of, about: about.to_owned(), commit, when, measured };
        let unfinished = self.file(name).with_extension("unfinished");
        std::fs::write(&unfinished, serde_json::to_string_pretty(&kept)?)?;
        std::fs::rename(unfinished, self.file(name))
    }

    fn file(&self, name: &str) -> PathBuf {
        file_in(&self.folder, name)
    }
}

fn file_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(name).with_extension("json")
}

fn read<T: DeserializeOwned>(file: &Path) -> Option<Kept<T>> {
    serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
}

/// Of one toolchain only, which is enough: another one makes another program.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is gone with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("fanfare-results-{name}-{}", std::process::id())))
        }

        fn results(&self, of: &str) -> Results {
            Results::of(&self.0, of.to_owned(), &format!("commit of {of}"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const WHEN: When = When { begun_s: 100, ended_s: 160 };

    #[test]
    fn what_is_of_the_same_is_taken() {
        let folder = Folder::new("same");
        folder.results("program 1").keep("memory", "40 rounds", (WHEN, vec![Some(1.5), None])).unwrap();
        let kept: Kept<Vec<Option<f64>>> = folder.results("program 1").taken("memory", "40 rounds").unwrap();
        assert_eq!((kept.when, kept.measured), (WHEN, vec![Some(1.5), None]));
    }

    #[test]
    fn what_is_of_something_else_is_not_seen() {
        let folder = Folder::new("other");
        folder.results("program 1").keep("memory", "40 rounds", (WHEN, 1.5)).unwrap();
        assert_eq!(folder.results("program 2").taken::<f64>("memory", "40 rounds"), None);
        assert_eq!(folder.results("program 1").taken::<f64>("memory", "50 rounds"), None);
        assert_eq!(folder.results("program 1").taken::<f64>("connect", "40 rounds"), None);
        assert_eq!(folder.results("program 1").taken::<Vec<f64>>("memory", "40 rounds"), None);
    }

    #[test]
    fn a_file_of_something_else_in_the_same_place_is_not_seen() {
        let folder = Folder::new("place");
        let ours = folder.results("program 1");
        ours.keep("memory", "40 rounds", (WHEN, 1.5)).unwrap();
        let theirs = Results { of: "program 2".to_owned(), ..folder.results("program 1") };
        assert_eq!(theirs.taken::<f64>("memory", "40 rounds"), None);
    }

    #[test]
    fn what_another_comparison_has_is_taken_where_this_one_has_none() {
        let folder = Folder::new("taken-over");
        let other = folder.results("program 1");
        for name in ["memory", "connect"] {
            other.keep(name, "40 rounds", (WHEN, 1.5)).unwrap();
        }
        let ours = folder.results("program 2").or_of(Some(other.folder));
        ours.keep("connect", "40 rounds", (WHEN, 2.5)).unwrap();
        let taken = |name: &str, about: &str| ours.taken::<f64>(name, about).map(|kept| (kept.commit, kept.measured));
        assert_eq!(taken("memory", "40 rounds"), Some(("commit of program 1".to_owned(), 1.5)));
        assert_eq!(taken("connect", "40 rounds"), Some(("commit of program 2".to_owned(), 2.5)));
        assert_eq!(taken("memory", "50 rounds"), None);
    }

    #[test]
    fn what_is_forgotten_is_of_this_comparison_alone() {
        let folder = Folder::new("again");
        let [ours, others] = ["program 1", "program 2"].map(|of| folder.results(of));
        ours.forget().unwrap();
        for results in [&ours, &others] {
            results.keep("memory", "", (WHEN, 1.5)).unwrap();
        }
        ours.forget().unwrap();
        assert_eq!(ours.taken::<f64>("memory", ""), None);
        assert_eq!(others.taken::<f64>("memory", "").unwrap().measured, 1.5);
    }
}
