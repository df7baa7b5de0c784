//! The text of a configuration file, and how a part of it is shown: with line, column and a caret, secrets masked.

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::problem::{Place, Problem};

/// The largest file that is read: a thousand namespaces take some 300 KiB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// How much of a line is shown on each side of what is meant.
const SNIPPET_CHARS_MAX: usize = 100;

/// A configuration file.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    text: String,
    shown: String,
    exposed: bool,
}

/// A place in a file, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    file: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) snippet: String,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// What cannot be read, is not UTF-8 or is larger than any configuration.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| {
            let problem = Problem::new(Place::Nowhere, format!("cannot read {name}: {error}"));
            problem.hint(format!("`fanfare init {name}` writes one with every key explained"))
        };
        let mut file = std::fs::File::open(path).map_err(unreadable)?;
        let exposed = file.metadata().map(|metadata| others_may_read(&metadata)).unwrap_or(false);
        let mut bytes = Vec::new();
        file.by_ref().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(Problem::new(
                Place::Nowhere,
                format!("{name} is larger than {FILE_BYTES_MAX} bytes: no configuration"),
            ));
        }
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(&name, &error))?;
        Ok(Self { exposed, ..Self::from_text(&name, text) })
    }

    /// A text that stands for a file.
    pub fn from_text(name: &str, text: String) -> Self {
        let shown = text.clone();
        Self { name: name.to_owned(), text, shown, exposed: false }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether everybody on this machine may read it.
    pub(crate) fn is_exposed(&self) -> bool {
        self.exposed
    }

    /// From now on shows stars for these bytes.
    pub(crate) fn mask(&mut self, span: Range<usize>) {
        let stars: String = self.text[span.clone()].chars().map(mask_char).collect();
        self.shown.replace_range(span, &stars);
    }

    /// The line of a byte, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    /// Where a part is.
    pub(crate) fn locate(&self, span: &Range<usize>) -> Place {
        let start = floor_boundary(&self.text, span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let column = self.text[line_start..start].chars().count();
        let end = floor_boundary(&self.text, span.end).clamp(start, line_end);
        let marked_from = self.shown[line_start..start].chars().count();
        let marked_to = marked_from + self.shown[start..end].chars().count().max(1);
        let line = self.line(start);
        let snippet = snippet(line, &self.shown[line_start..line_end], marked_from..marked_to);
        Place::File(Location { file: self.name.clone(), line, column: column + 1, snippet })
    }
}

impl Location {
    /// Columns that line numbers take in the snippet.
    pub(crate) fn margin(&self) -> usize {
        self.line.to_string().len()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// As many bytes as before, so that places stay where they are.
fn mask_char(c: char) -> String {
    if c == '\n' { "\n".to_owned() } else { "*".repeat(c.len_utf8()) }
}

fn snippet(line: usize, text: &str, marked: Range<usize>) -> String {
    let skipped = marked.start.saturating_sub(SNIPPET_CHARS_MAX);
    let text: String = text.chars().skip(skipped).take(2 * SNIPPET_CHARS_MAX).map(printable).collect();
    let column = marked.start - skipped;
    let carets = "^".repeat(marked.len().min(SNIPPET_CHARS_MAX));
    let margin = line.to_string().len();
    format!("{:margin$} |\n{line} | {}\n{:margin$} | {:column$}{carets}", "", text.trim_end(), "", "")
}

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Problem {
    let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(good).rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    Problem::new(Place::Nowhere, format!("{name}:{line}:{column}: the file is not UTF-8")).hint("save it as UTF-8")
}

#[cfg(unix)]
pub(crate) fn others_may_read(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.is_file() && metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
pub(crate) fn others_may_read(_metadata: &std::fs::Metadata) -> bool {
    false
}
