//! Where a command's words go: results to `out`, everything else to `err`, and the exit code at the end.
//!
//! Knows terminals, colours and broken pipes; knows no command.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};

use fanfare_auth::Secret;

/// The exit codes, as `fanfare --help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It worked.
    Ok,
    /// The node refused, or something went wrong on the way.
    Failed,
    /// The command line, a file it names, or the configuration is wrong.
    Usage,
    /// There is no node: none could be reached, or this one could not be started.
    NoNode,
    /// Publications were missed.
    Gap,
    /// The time was up before enough publications arrived.
    TimedOut,
    /// A measurement that cannot be believed.
    Invalid,
    /// Ended by Ctrl-C before the work was done.
    Interrupted,
}

impl Exit {
    /// The number a shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoNode => 3,
            Self::Gap => 4,
            Self::TimedOut => 5,
            Self::Invalid => 6,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed: what goes to `err`, and the exit code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// The node refused, or something went wrong on the way.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// What was typed, a file it names or the configuration is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Any other exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// Adds what to do about it. May have several lines.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Writes it to `err`. A failure without words (a closed pipe) writes nothing.
    pub fn report(&self, io: &mut Io) -> Exit {
        if !self.message.is_empty() {
            // Nobody is left to tell when `err` fails too.
            let _ = io.complain("error", &self.message, self.hint.as_deref());
        }
        self.exit
    }
}

impl From<io::Error> for Failure {
    /// For errors of writing results: a closed pipe means that the reader has seen enough, and ends quietly.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, ""),
            _ => Self::failed(format!("cannot write the output: {error}")),
        }
    }
}

/// Gives the value of an environment variable.
pub type Environment = Box<dyn Fn(&str) -> Option<String>>;

/// What a command reads and writes. The real one is [`Io::process`]; tests script their own.
pub struct Io {
    /// Results, for pipes and files.
    pub out: Box<dyn Write>,
    /// Notices, hints and errors, for people.
    pub err: Box<dyn Write>,
    /// Data given by `-`.
    pub input: Box<dyn Read>,
    /// Whether `input` is a person at a keyboard.
    pub input_is_terminal: bool,
    /// Colours of `out`.
    pub out_style: Style,
    /// Colours of `err`.
    pub err_style: Style,
    /// Environment variables; an empty one counts as absent.
    pub environment: Environment,
}

impl Io {
    /// Standard input, output and error of this process.
    pub fn process() -> Self {
        Self {
            out_style: Style::for_terminal(io::stdout().is_terminal(), &process_environment),
            err_style: Style::for_terminal(io::stderr().is_terminal(), &process_environment),
            input_is_terminal: io::stdin().is_terminal(),
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            input: Box::new(io::stdin()),
            environment: Box::new(process_environment),
        }
    }

    /// Writes one line of result and hands it on at once, so that a pipe sees it live.
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.out, "{line}")?;
        Ok(self.out.flush()?)
    }

    /// Writes a notice for people.
    pub fn notice(&mut self, message: &str) {
        // Losing a notice is no reason to fail.
        let _ = writeln!(self.err, "{message}");
    }

    /// Writes a warning for people.
    pub fn warn(&mut self, message: &str) {
        let _ = self.complain("warning", message, None);
    }

    /// A secret out of `$NAME`, or out of the file that `$NAME_FILE` names.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>, Failure> {
        if let Some(value) = (self.environment)(name) {
            return Ok(Some(Secret::new(value)));
        }
        let Some(path) = (self.environment)(&format!("{name}_FILE")) else { return Ok(None) };
        read_secret(&path).map(Some)
    }

    fn complain(&mut self, kind: &str, message: &str, hint: Option<&str>) -> io::Result<()> {
        let label = match kind {
            "error" => self.err_style.red(kind),
            _ => self.err_style.yellow(kind),
        };
        writeln!(self.err, "{label}: {message}")?;
        let Some(hint) = hint else { return Ok(()) };
        for line in hint.lines() {
            writeln!(self.err, "  {line}")?;
        }
        Ok(())
    }
}

/// A secret out of a file: its text without the white space around it.
pub fn read_secret(path: &str) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("cannot read {path}: {error}")))?;
    match text.trim() {
        "" => Err(Failure::usage(format!("{path} is empty: it should hold the secret and nothing else"))),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}

fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    colors: bool,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set or the terminal is a dumb one.
    pub fn for_terminal(is_terminal: bool, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let refused = environment("NO_COLOR").is_some() || environment("TERM").is_some_and(|term| term == "dumb");
        Self { colors: is_terminal && !refused }
    }

    /// Whether there are any.
    pub fn has_colors(self) -> bool {
        self.colors
    }

    /// For errors.
    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// For warnings.
    pub fn yellow(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// For names: channels, clients, users.
    pub fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// For what one looks at second: offsets, units, headings.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// For what a newcomer copies: commands and addresses.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.colors {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Text of others for a terminal: control characters, which could move the cursor or worse, become visible.
pub fn visible(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            // Writing to a string cannot fail.
            true => write!(clean, "\\u{:04x}", u32::from(character)).unwrap_or_default(),
            false => clean.push(character),
        }
    }
    clean
}

#[cfg(test)]
pub(crate) mod scripted {
    //! An [`Io`] for tests: given input and environment, captured output.

    use std::collections::BTreeMap;
    use std::io::{Cursor, Write};
    use std::sync::{Arc, Mutex};

    use super::{Io, Style};

    /// What was written.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// An [`Io`] without colours, and what it will have written to `out` and `err`.
    pub(crate) fn io(input: &str, environment: &[(&str, &str)]) -> (Io, Written, Written) {
        let (out, err) = (Written::default(), Written::default());
        let variables: BTreeMap<String, String> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let io = Io {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            input: Box::new(Cursor::new(input.as_bytes().to_vec())),
            input_is_terminal: false,
            out_style: Style::default(),
            err_style: Style::default(),
            environment: Box::new(move |name| variables.get(name).cloned()),
        };
        (io, out, err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_terminal_and_no_objection() {
        let none = |_: &str| None;
        let no_color = |name: &str| (name == "NO_COLOR").then(|| "1".to_owned());
        let dumb = |name: &str| (name == "TERM").then(|| "dumb".to_owned());
        assert_eq!(Style::for_terminal(true, &none).red("x"), "\x1b[1;31mx\x1b[0m");
        assert_eq!(Style::for_terminal(false, &none).red("x"), "x");
        assert_eq!(Style::for_terminal(true, &no_color).red("x"), "x");
        assert_eq!(Style::for_terminal(true, &dumb).red("x"), "x");
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(visible("a\x1b[2Jb\u{9b}"), "a\\u001b[2Jb\\u009b");
        assert_eq!(visible("grüße"), "grüße");
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_other_errors_are_not() {
        let (mut io, _, err) = scripted::io("", &[]);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).report(&mut io), Exit::Ok);
        assert_eq!(err.text(), "");
        assert_eq!(Failure::from(io::Error::other("disk full")).report(&mut io), Exit::Failed);
        assert_eq!(err.text(), "error: cannot write the output: disk full\n");
    }

    #[test]
    fn a_hint_is_indented_below_the_error() {
        let (mut io, _, err) = scripted::io("", &[]);
        assert_eq!(Failure::usage("no").hint("try this\nor that").report(&mut io), Exit::Usage);
        assert_eq!(err.text(), "error: no\n  try this\n  or that\n");
    }

    #[test]
    fn secrets_come_from_the_variable_or_the_file_it_names() {
        let path = std::env::temp_dir().join(format!("fanfare-secret-{}", std::process::id()));
        std::fs::write(&path, " from-file\n").unwrap();
        let file = path.to_str().unwrap();
        let secret = |environment: &[(&str, &str)]| {
            let (io, _, _) = scripted::io("", environment);
            io.secret("KEY").map(|secret| secret.map(|secret| secret.expose().to_owned()))
        };
        assert_eq!(secret(&[]).unwrap(), None);
        assert_eq!(secret(&[("KEY_FILE", file)]).unwrap().as_deref(), Some("from-file"));
        assert_eq!(secret(&[("KEY", "direct"), ("KEY_FILE", file)]).unwrap().as_deref(), Some("direct"));
        assert_eq!(secret(&[("KEY_FILE", "/nowhere/at/all")]).unwrap_err().exit, Exit::Usage);
        std::fs::write(&path, "\n").unwrap();
        assert!(secret(&[("KEY_FILE", file)]).unwrap_err().message.ends_with("nothing else"));
        std::fs::remove_file(path).unwrap();
    }
}
