//! `fanfare history`: what a channel has kept.

use fanfare_client::{HistoryQuery, Publication, StreamPosition};

use super::advice::failure;
use super::node_flags::NodeFlags;
use super::output::visible;
use super::presence::user;
use super::{Failure, HELP, Io, json};

/// What `fanfare history` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare history news
  fanfare history news --reverse --limit 1      the newest one
  fanfare history news --since 41:aB3d          what came after
"
)]
pub(crate) struct History {
    /// The channel
    channel: String,
    /// Publications at most; 0 asks for the position only, -1 for all of them
    #[arg(long, default_value_t = 100, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-1..))]
    limit: i32,
    /// Newest first
    #[arg(long)]
    reverse: bool,
    /// Only what came after this position, or before it with --reverse
    #[arg(long, value_name = "OFFSET:EPOCH", value_parser = position)]
    since: Option<StreamPosition>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeFlags,
}

impl History {
    /// Prints one line for each publication, and where the stream is.
    pub(crate) async fn run(&self, io: &mut Io) -> Result<(), Failure> {
        let query = HistoryQuery { limit: self.limit, since: self.since.clone(), reverse: self.reverse };
        let history = self.node.api(io)?.history(&self.channel, &query).await.map_err(failure)?;
        self.print(&history, io)
    }

    fn print(&self, history: &fanfare_client::History, io: &mut Io) -> Result<(), Failure> {
        for publication in &history.publications {
            match self.json {
                true => json::print(io, &json::Line::publication(&self.channel, publication))?,
                false => io.line(&human(publication, io))?,
            }
        }
        let count = match history.publications.len() {
            1 => "1 publication".to_owned(),
            count => format!("{count} publications"),
        };
        io.notice(&format!("{count}; {} is at {}", self.channel, history.top));
        Ok(())
    }
}

fn human(publication: &Publication, io: &Io) -> String {
    let offset = publication.position.as_ref().map_or_else(|| "-".to_owned(), |position| position.offset.to_string());
    let offset = io.out_style.dim(&format!("{offset:>6}"));
    let data = json::one_line(&publication.data);
    match &publication.info {
        Some(info) => format!("{offset}  {data}  {}", io.out_style.dim(&format!("by {}", visible(&user(info))))),
        None => format!("{offset}  {data}"),
    }
}

/// Reads `OFFSET:EPOCH`.
pub(crate) fn position(text: &str) -> Result<StreamPosition, String> {
    let wanted = "write OFFSET:EPOCH, as `fanfare history` and `fanfare pub` print it: 41:aB3d";
    let (offset, epoch) = text.split_once(':').ok_or(wanted)?;
    let offset = offset.parse().map_err(|_| wanted)?;
    match epoch {
        // Without it an offset of another stream would pass unseen.
        "" => Err(wanted.to_owned()),
        epoch => Ok(StreamPosition::new(offset, epoch)),
    }
}

#[cfg(test)]
mod tests {
    use fanfare_client::ClientInfo;

    use super::*;
    use crate::cli::output::scripted;

    fn printed(history: &fanfare_client::History, as_json: bool) -> (String, String) {
        let (mut io, out, err) = scripted::io("", &[]);
        let (channel, node) = ("news".to_owned(), NodeFlags::default());
        let command = History { channel, limit: 100, reverse: false, since: None, json: as_json, node };
        command.print(history, &mut io).unwrap();
        (out.text(), err.text())
    }

    fn history() -> fanfare_client::History {
        let info = ClientInfo { user: "42".into(), client: "c".into(), ..ClientInfo::default() };
        let position = |offset| Some(StreamPosition::new(offset, "e"));
        let publications = vec![
            Publication { data: r#"{"n":1}"#.into(), position: position(1), ..Publication::default() },
            Publication { data: "2".into(), position: position(2), info: Some(info), ..Publication::default() },
            Publication { data: "boom".into(), position: position(3), ..Publication::default() },
        ];
        fanfare_client::History { publications, top: StreamPosition::new(3, "e") }
    }

    #[test]
    fn a_history_is_printed_for_people_and_for_programs() {
        let notice = "3 publications; news is at 3:e\n".to_owned();
        let lines = "     1  {\"n\":1}\n     2  2  by 42\n     3  (4 bytes that are not JSON)\n";
        assert_eq!(printed(&history(), false), (lines.into(), notice.clone()));
        let lines = r#"{"type":"publication","channel":"news","offset":1,"epoch":"e","data":{"n":1}}
{"type":"publication","channel":"news","offset":2,"epoch":"e","data":2,"info":{"client":"c","user":"42"}}
{"type":"publication","channel":"news","offset":3,"epoch":"e"}
"#;
        assert_eq!(printed(&history(), true), (lines.into(), notice));
    }

    #[test]
    fn a_position_has_two_parts() {
        assert_eq!(position("41:aB3d"), Ok(StreamPosition::new(41, "aB3d")));
        assert_eq!(position("0:a:b"), Ok(StreamPosition::new(0, "a:b")));
        for text in ["", "41", "41:", ":e", "x:e", "-1:e", "99999999999999999999:e"] {
            assert!(position(text).is_err(), "{text}");
        }
    }
}
