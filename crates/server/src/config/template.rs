//! The annotated configuration file: every key with its comment, what it takes, and its default.

use std::fmt::Write as _;

use super::schema::{self, Key, SECTIONS, Section};
use super::variables::name_of;

/// Width of a line of comment.
const LINE_CHARS_MAX: usize = 100;

const INTRODUCTION: &str = "\
Configuration of a Fanfare node. Every key is here, commented out, with its default.

A flag counts before an environment variable, a variable before this file, the file before the default. The variable \
of a key is FANFARE_SECTION__KEY, with commas between the elements of a list; secrets can also be read from a file \
named by FANFARE_SECTION__KEY_FILE, or from a systemd credential called SECTION.KEY. \
`fanfare config check` finds what is wrong, `fanfare config show --origins` says where each value comes from.

0 never means \"no limit\": where there need not be one, the word is \"off\".";

const NAMESPACE: &str = "\
Channels named NAME:… have the options of this table, with the keys of [channels]. What is not written here has the \
default given above, whatever [channels] says. A channel whose namespace has no table is unknown. Namespaces are \
written in this file only.";

/// A key that is set in the file, with its value as TOML.
pub(crate) struct Filled<'a> {
    /// Its name as `section.key`.
    pub(crate) title: &'a str,
    /// Its value.
    pub(crate) toml: String,
}

/// The whole file.
pub(crate) fn render(filled: &[Filled<'_>]) -> String {
    let mut text = String::new();
    comment(&mut text, INTRODUCTION);
    for section in SECTIONS {
        render_section(&mut text, section, filled);
        if section.name == schema::CHANNELS {
            schema::FAMILIES.iter().filter(|family| !family.name.contains('.')).for_each(|family| {
                render_family(&mut text, family);
            });
        }
    }
    text
}

fn render_section(text: &mut String, section: &Section, filled: &[Filled<'_>]) {
    let _ = write!(text, "\n[{}]\n", section.name);
    comment(text, section.doc);
    for key in section.keys {
        text.push('\n');
        let title = format!("{}.{}", section.name, key.name);
        let value = filled.iter().find(|filled| filled.title == title).map(|filled| filled.toml.as_str());
        render_key(text, section, key, value);
    }
    for family in schema::FAMILIES.iter().filter(|family| is_within(family, section)) {
        render_family(text, family);
    }
    if section.name == schema::CHANNELS {
        text.push('\n');
        comment(text, NAMESPACE);
        text.push_str("#[channels.namespaces.NAME]\n#subscribe = \"users\"\n");
    }
}

fn is_within(family: &Section, section: &Section) -> bool {
    family.name.strip_prefix(section.name).is_some_and(|rest| rest.starts_with('.'))
}

/// A family is shown with what its keys take, and no table of it is there.
fn render_family(text: &mut String, family: &Section) {
    let _ = write!(text, "\n# [{}.NAME]\n", family.name);
    comment(text, family.doc);
    for key in family.keys {
        text.push_str("#\n");
        comment(text, key.doc);
        comment(text, &takes(key));
        let example = if key.default.is_empty() { "\"\"" } else { key.default };
        let _ = writeln!(text, "# {} = {example}", key.name);
    }
}

fn render_key(text: &mut String, section: &Section, key: &Key, value: Option<&str>) {
    comment(text, key.doc);
    comment(text, &takes(key));
    comment(text, &format!("Variable: {}", name_of(section, key)));
    let _ = match value {
        Some(value) => writeln!(text, "{} = {value}", key.name),
        None if key.default.is_empty() => writeln!(text, "#{} = \"\"", key.name),
        None => writeln!(text, "#{} = {}", key.name, key.default),
    };
}

/// What a key takes, and its default.
fn takes(key: &Key) -> String {
    let word = key.word.map(|word| format!(", or {word:?}")).unwrap_or_default();
    let default = match key.default {
        "" => "not set".to_owned(),
        "[]" => "none".to_owned(),
        default => default.to_owned(),
    };
    format!("Takes {}{word}. Default: {default}.", key.kind.describe())
}

fn comment(text: &mut String, words: &str) {
    for paragraph in words.split('\n') {
        wrap(text, paragraph);
    }
}

fn wrap(text: &mut String, paragraph: &str) {
    let mut line = "#".to_owned();
    for word in paragraph.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > LINE_CHARS_MAX {
            let _ = writeln!(text, "{line}");
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}
