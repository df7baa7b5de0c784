//! `fanfare pub`: publishes to a channel over the server API.

use std::io::Read as _;

use fanfare_client::StreamPosition;
use fanfare_client::api::Publish;
use serde::Serialize;

use super::advice::failure;
use super::node_flags::NodeFlags;
use super::{Failure, HELP, Io, json};

/// The most that is read from standard input: far above any node's limit, which answers with its own words.
const INPUT_BYTES_MAX: u64 = 16 << 20;

/// Data that is longer is not repeated in a hint.
const HINT_CHARS_MAX: usize = 500;

/// What `fanfare pub` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare pub news '{\"text\":\"hi\"}'
  fanfare pub --text news 'plain words'
  date | fanfare pub --text clock -
"
)]
pub(crate) struct Pub {
    /// The channel
    channel: String,
    /// JSON; - or nothing reads standard input
    #[arg(allow_negative_numbers = true)]
    data: Option<String>,
    /// Take the data as text and publish it as a JSON string
    #[arg(long)]
    text: bool,
    /// Print the position as a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeFlags,
}

#[derive(Serialize)]
struct Published<'a> {
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
}

impl Pub {
    /// Publishes, and prints the position.
    pub(crate) async fn run(&self, io: &mut Io) -> Result<(), Failure> {
        let data = self.payload(io)?;
        let publish = Publish::json(&self.channel, &data).map_err(failure)?;
        let position = self.node.api(io)?.publish(&publish).await.map_err(failure)?;
        self.print(&position, io)
    }

    fn print(&self, position: &StreamPosition, io: &mut Io) -> Result<(), Failure> {
        let offset = (position.offset > 0).then_some(position.offset);
        let epoch = offset.map(|_| position.epoch.as_ref());
        if self.json {
            return json::print(io, &Published { channel: &self.channel, offset, epoch });
        }
        let channel = io.out_style.cyan(&self.channel);
        match offset {
            Some(_) => io.line(&format!("published to {channel} at {position}")),
            None => io.line(&format!("published to {channel}")),
        }
    }

    /// The JSON to publish.
    fn payload(&self, io: &mut Io) -> Result<String, Failure> {
        let (text, given) = match self.data.as_deref() {
            Some(data) if data != "-" => (data.to_owned(), true),
            data => (self.input(io, data.is_some())?, false),
        };
        if self.text {
            return Ok(json::as_text(&text));
        }
        let text = text.trim().to_owned();
        match json::problem(&text) {
            None => Ok(text),
            Some(problem) => Err(self.not_json(&problem, given.then_some(&text))),
        }
    }

    /// All of standard input without its last line feed.
    fn input(&self, io: &mut Io, asked: bool) -> Result<String, Failure> {
        if io.input_is_terminal && !asked {
            let example = self.line(r#"{"text":"hi"}"#, false);
            return Err(Failure::usage("there is no data to publish").hint(format!("for example:  {example}")));
        }
        let mut text = String::new();
        let mut input = (&mut io.input).take(INPUT_BYTES_MAX + 1);
        let count = input.read_to_string(&mut text);
        let count = count.map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
        if count as u64 > INPUT_BYTES_MAX {
            return Err(Failure::usage(format!("standard input holds more than {} MiB", INPUT_BYTES_MAX >> 20)));
        }
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }

    fn not_json(&self, problem: &str, data: Option<&String>) -> Failure {
        let failure = Failure::usage(format!("the data is not JSON: {problem}"));
        let Some(data) = data.filter(|data| data.chars().count() <= HINT_CHARS_MAX) else {
            return failure.hint("--text publishes it as a JSON string");
        };
        match json::corrected(data) {
            Some(corrected) => failure.hint(format!(
                "did you mean:  {}\n(outside of single quotes the shell takes the double quotes away)",
                self.line(&corrected, false)
            )),
            None => failure.hint(format!(
                "as a JSON string:  {}\nthe same, shorter: {}",
                self.line(&json::as_text(data), false),
                self.line(data, true)
            )),
        }
    }

    /// This command with other data, ready to be copied.
    fn line(&self, data: &str, text: bool) -> String {
        let flags = if text { " --text" } else { "" };
        let separator = if data.starts_with('-') { " --" } else { "" };
        let (channel, data) = (json::shell_quoted(&self.channel), json::shell_quoted(data));
        format!("fanfare pub{flags}{separator} {channel} {data}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;
    use crate::cli::output::scripted;

    fn publish(data: Option<&str>) -> Pub {
        Pub {
            channel: "news".into(),
            data: data.map(str::to_owned),
            text: false,
            json: false,
            node: NodeFlags::default(),
        }
    }

    #[track_caller]
    fn taken(publish: &Pub, input: &str, payload: &str) {
        let (mut io, _, _) = scripted::io(input, &[]);
        assert_eq!(publish.payload(&mut io).unwrap(), payload);
    }

    #[track_caller]
    fn refused(publish: &Pub, input: &str, words: &str) {
        let (mut io, out, err) = scripted::io(input, &[]);
        assert_eq!(publish.payload(&mut io).unwrap_err().report(&mut io), Exit::Usage);
        assert_eq!((out.text().as_str(), err.text().as_str()), ("", words));
    }

    #[test]
    fn json_is_published_as_it_is() {
        taken(&publish(Some(r#" {"a": 1.0} "#)), "", r#"{"a": 1.0}"#);
        taken(&publish(Some("-5")), "", "-5");
        taken(&publish(Some("-")), "[1,\n2]\n", "[1,\n2]");
        taken(&publish(None), "null", "null");
    }

    #[test]
    fn text_is_quoted() {
        taken(&Pub { text: true, ..publish(Some("say \"hi\"")) }, "", r#""say \"hi\"""#);
        taken(&Pub { text: true, ..publish(None) }, "two\nlines\r\n", r#""two\nlines""#);
    }

    #[test]
    fn words_are_refused_with_the_corrected_line() {
        refused(
            &publish(Some("it's")),
            "",
            r#"error: the data is not JSON: expected value at line 1 column 1
  as a JSON string:  fanfare pub news '"it'\''s"'
  the same, shorter: fanfare pub --text news 'it'\''s'
"#,
        );
    }

    #[test]
    fn an_object_without_its_quotes_is_refused_with_the_corrected_line() {
        refused(
            &publish(Some("{text:hi}")),
            "",
            r#"error: the data is not JSON: key must be a string at line 1 column 2
  did you mean:  fanfare pub news '{"text":"hi"}'
  (outside of single quotes the shell takes the double quotes away)
"#,
        );
    }

    #[test]
    fn input_that_is_not_json_is_refused_without_repeating_it() {
        let words = "error: the data is not JSON: expected value at line 1 column 1
  --text publishes it as a JSON string
";
        refused(&publish(Some("-")), "hello\n", words);
        let words = "error: the data is not JSON: EOF while parsing a value at line 1 column 0
  --text publishes it as a JSON string
";
        refused(&publish(None), "", words);
    }

    #[test]
    fn a_person_at_a_keyboard_is_told_what_to_type() {
        let (mut io, _, err) = scripted::io("", &[]);
        io.input_is_terminal = true;
        publish(None).payload(&mut io).unwrap_err().report(&mut io);
        let words = "error: there is no data to publish\n  for example:  fanfare pub news '{\"text\":\"hi\"}'\n";
        assert_eq!(err.text(), words);
    }

    #[test]
    fn the_position_is_printed_where_there_is_one() {
        let printed = |json, position: StreamPosition| {
            let (mut io, out, _) = scripted::io("", &[]);
            Pub { json, ..publish(None) }.print(&position, &mut io).unwrap();
            out.text()
        };
        assert_eq!(printed(false, StreamPosition::new(3, "aB")), "published to news at 3:aB\n");
        assert_eq!(printed(false, StreamPosition::new(0, "")), "published to news\n");
        assert_eq!(
            printed(true, StreamPosition::new(3, "aB")),
            "{\"channel\":\"news\",\"offset\":3,\"epoch\":\"aB\"}\n"
        );
        assert_eq!(printed(true, StreamPosition::new(0, "")), "{\"channel\":\"news\"}\n");
    }
}
