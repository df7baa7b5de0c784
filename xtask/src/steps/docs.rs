//! What the documents say must be there: their links lead somewhere, and the README's set-up is the one that works.

use std::fs;
use std::path::{Path, PathBuf};

use crate::project;
use crate::step::Outcome;
use crate::tally::Tally;

/// The commands that do all the set-up on a fresh machine.
const SET_UP: &[&str] = &["cargo run --release -- dev", "cargo xtask test"];

/// Lock files that name no address, so that they hold wherever packages are fetched from.
const LOCK_FILES: &[&str] = &["crates/testkit/sdk/js/package-lock.json", "crates/testkit/browser/package-lock.json"];

/// All the checks, with everything that is wrong at once.
pub(crate) fn check() -> Outcome {
    let documents = documents();
    let mut wrong: Vec<String> = documents.iter().flat_map(|document| dead_links(document)).collect();
    wrong.extend(unsaid_commands());
    wrong.extend(LOCK_FILES.iter().filter_map(|lock| addresses(lock)));
    if wrong.is_empty() { Outcome::Passed(Tally::default()) } else { Outcome::Failed(wrong.join("\n")) }
}

/// The Markdown files at the top and in `docs/`.
fn documents() -> Vec<PathBuf> {
    let folders = [project::root().to_owned(), project::at("docs")];
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect()
}

fn dead_links(document: &Path) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap_or_default();
    let folder = document.parent().expect("a document is in a folder");
    let dead = |target: &&str| is_path(target) && !folder.join(without_fragment(target)).exists();
    targets(&text)
        .into_iter()
        .filter(dead)
        .map(|target| format!("{}: {target} is not there", document.display()))
        .collect()
}

/// Where the links and pictures of a Markdown text lead.
fn targets(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '\n']).next()).collect()
}

fn is_path(target: &str) -> bool {
    !target.is_empty() && !target.starts_with('#') && !target.contains("://") && !target.starts_with("mailto:")
}

fn without_fragment(target: &str) -> &str {
    target.split('#').next().unwrap_or_default()
}

fn unsaid_commands() -> Vec<String> {
    let readme = fs::read_to_string(project::at("README.md")).unwrap_or_default();
    let unsaid = |command: &&&str| !readme.contains(**command);
    SET_UP.iter().filter(unsaid).map(|command| format!("README.md does not say `{command}`")).collect()
}

fn addresses(lock: &str) -> Option<String> {
    let text = fs::read_to_string(project::at(lock)).unwrap_or_default();
    text.contains("\"resolved\"").then(|| format!("{lock} names the addresses that packages came from"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_where_links_and_pictures_lead() {
        let text = "See [the design](docs/DESIGN.md#rooms) and ![it](docs/a.png \"title\"), not [x] (y).";
        assert_eq!(targets(text), ["docs/DESIGN.md#rooms", "docs/a.png"]);
        assert_eq!(without_fragment("docs/DESIGN.md#rooms"), "docs/DESIGN.md");
    }

    #[test]
    fn only_paths_are_looked_for() {
        assert!(is_path("docs/a.png") && is_path("LICENSE-MIT"));
        assert!(!is_path("#here") && !is_path("https://example.org") && !is_path("mailto:a@example.org"));
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named() {
        let document = std::env::temp_dir().join(format!("xtask-links-{}.md", std::process::id()));
        fs::write(&document, "[gone](no/such/file.md) [here](#top)").expect("the folder can be written to");
        let dead = dead_links(&document);
        fs::remove_file(&document).expect("it was just written");
        assert!(matches!(&dead[..], [one] if one.ends_with("no/such/file.md is not there")), "{dead:?}");
    }
}
