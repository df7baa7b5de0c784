//! `fanfare sub`: prints what comes in, until it is told to stop. Comes back by itself when the connection is lost,
//! and says so when something was missed.

use std::pin::pin;
use std::time::{Duration, Instant};

use fanfare_client::{
    Client, ConnectionEvent, Error, Events, Gap, Publication, StreamPosition, SubscribeOptions, SubscriptionEvent,
};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::advice::{failure, hint_for_code};
use super::node_flags::{NodeFlags, TokenFlags};
use super::output::visible;
use super::presence::user;
use super::{Exit, Failure, HELP, Io, history, json};
use crate::config::parse_duration;

/// What `fanfare sub` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  fanfare sub news
  fanfare sub news 'chat:room' --json | jq .data
  fanfare sub news -n 1 --timeout 30s           waits for one
  fanfare sub news --since 41:aB3d              and first what came after that
",
    after_help = "\
Ends after COUNT publications, after DURATION, or by Ctrl-C. The exit code is 4 when publications were missed,
5 when the time was up before COUNT publications came, 130 when Ctrl-C came before them, else 0."
)]
pub(crate) struct Sub {
    /// The channels
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Begin after this position, of one channel
    #[arg(long, value_name = "OFFSET:EPOCH", value_parser = history::position)]
    since: Option<StreamPosition>,
    /// End after so many publications
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time: 500ms, 5s, 1m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    token: TokenFlags,
    #[command(flatten)]
    node: NodeFlags,
}

/// Events of all subscriptions with the channel's place on the command line.
type Merged = BoxStream<'static, (usize, SubscriptionEvent)>;

impl Sub {
    /// Prints publications until the end, which its exit code tells.
    pub(crate) async fn run(&self, io: &mut Io) -> Result<Exit, Failure> {
        self.check()?;
        let started = Instant::now();
        let (client, mut events) = self.connect(io).await?;
        let mut merged = self.subscribe(&client).await?;
        let mut watch = Watch::new(self, started);
        let ending = watch.run(&mut merged, &mut events, io).await?;
        drop(merged);
        client.close().await;
        Ok(watch.exit(ending, io))
    }

    fn check(&self) -> Result<(), Failure> {
        let mut channels: Vec<_> = self.channels.iter().collect();
        channels.sort();
        if channels.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Failure::usage("a channel is named twice"));
        }
        if self.since.is_some() && channels.len() > 1 {
            return Err(Failure::usage("--since is a position in one channel, and there are several"));
        }
        Ok(())
    }

    async fn connect(&self, io: &Io) -> Result<(Client, Events), Failure> {
        let mut builder = Client::builder(&self.node.address(io)).name("fanfare");
        if let Some(tls) = self.node.tls(io)? {
            builder = builder.tls(tls);
        }
        if let Some(source) = self.token.source(io)? {
            builder = builder.token(source);
        }
        builder.connect_with_events().await.map_err(failure)
    }

    async fn subscribe(&self, client: &Client) -> Result<Merged, Failure> {
        let mut streams = Vec::with_capacity(self.channels.len());
        for (at, channel) in self.channels.iter().enumerate() {
            let mut options = SubscribeOptions::default();
            options.since.clone_from(&self.since);
            let subscription = client.subscribe(channel, options).await.map_err(failure)?;
            streams.push(subscription.map(move |event| (at, event)));
        }
        Ok(stream::select_all(streams).boxed())
    }
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Count,
    Timeout,
    Interrupt,
}

/// What has come so far.
struct Watch<'a> {
    options: &'a Sub,
    started: Instant,
    channel_width: usize,
    publications: u64,
    missed: u64,
    gaps: u64,
    live: Vec<bool>,
    connected: bool,
}

impl<'a> Watch<'a> {
    fn new(options: &'a Sub, started: Instant) -> Self {
        let channel_width = options.channels.iter().map(|channel| channel.chars().count()).max().unwrap_or(0);
        let live = vec![false; options.channels.len()];
        Self { options, started, channel_width, publications: 0, missed: 0, gaps: 0, live, connected: false }
    }

    /// Ctrl-C before the time, the time before what comes in.
    async fn run(&mut self, merged: &mut Merged, events: &mut Events, io: &mut Io) -> Result<Ending, Failure> {
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let mut timeout = pin!(sleep(self.options.timeout));
        let mut listening = true;
        loop {
            tokio::select! {
                biased;
                _ = &mut interrupt => return Ok(Ending::Interrupt),
                () = &mut timeout => return Ok(Ending::Timeout),
                event = events.next(), if listening => match event {
                    Some(event) => self.connection(&event, io),
                    None => listening = false,
                },
                event = merged.next() => match event {
                    Some((at, event)) => self.event(at, event, io)?,
                    None => return Err(failure(Error::Stopped)),
                },
            }
            if self.options.count.is_some_and(|count| self.publications >= count) {
                return Ok(Ending::Count);
            }
        }
    }

    fn connection(&mut self, event: &ConnectionEvent, io: &mut Io) {
        match event {
            ConnectionEvent::Connected { .. } if self.connected => io.notice("connected again"),
            ConnectionEvent::Connected { .. } => self.connected = true,
            ConnectionEvent::Disconnected { reason, reconnects: true, .. } => {
                io.notice(&format!("disconnected ({}): trying again", visible(reason)));
            }
            _ => {}
        }
    }

    fn event(&mut self, at: usize, event: SubscriptionEvent, io: &mut Io) -> Result<(), Failure> {
        match event {
            SubscriptionEvent::Subscribed { position, .. } => {
                self.subscribed(at, position.as_ref(), io);
                Ok(())
            }
            SubscriptionEvent::Publication(publication) => self.publication(at, &publication, io),
            SubscriptionEvent::Join(info) => self.client("join", at, &info, io),
            SubscriptionEvent::Leave(info) => self.client("leave", at, &info, io),
            SubscriptionEvent::Gap(gap) => {
                self.gap(at, &gap, io);
                Ok(())
            }
            SubscriptionEvent::Unsubscribed { code, reason } => Err(self.unsubscribed(at, code, &reason)),
            _ => Ok(()),
        }
    }

    /// Said once: after a reconnect only what was missed is worth a word.
    fn subscribed(&mut self, at: usize, position: Option<&StreamPosition>, io: &mut Io) {
        if std::mem::replace(&mut self.live[at], true) {
            return;
        }
        let channel = &self.options.channels[at];
        match position {
            Some(position) => io.notice(&format!("subscribed to {channel} at {position}")),
            None => io.notice(&format!("subscribed to {channel}")),
        }
    }

    fn publication(&mut self, at: usize, publication: &Publication, io: &mut Io) -> Result<(), Failure> {
        self.publications += 1;
        let channel = &self.options.channels[at];
        if self.options.json {
            return json::print(io, &json::Line::publication(channel, publication));
        }
        let offset = publication.position.as_ref().map_or_else(|| "-".to_owned(), |at| at.offset.to_string());
        let start = self.start_of_line(at, &offset, io);
        io.line(&format!("{start}  {}", json::one_line(&publication.data)))
    }

    fn client(
        &self,
        kind: &'static str,
        at: usize,
        info: &fanfare_client::ClientInfo,
        io: &mut Io,
    ) -> Result<(), Failure> {
        if self.options.json {
            return json::print(io, &json::Line::client(kind, &self.options.channels[at], info));
        }
        let start = self.start_of_line(at, kind, io);
        io.line(&format!("{start}  {}", visible(&user(info))))
    }

    fn start_of_line(&self, at: usize, second: &str, io: &Io) -> String {
        let channel = format!("{:<width$}", self.options.channels[at], width = self.channel_width);
        format!("{}  {}", io.out_style.cyan(&channel), io.out_style.dim(&format!("{second:>6}")))
    }

    fn gap(&mut self, at: usize, gap: &Gap, io: &mut Io) {
        self.gaps += 1;
        self.missed += gap.missed.unwrap_or(0);
        let place = match (&gap.after, &gap.now) {
            (Some(after), Some(now)) => format!(" between {after} and {now}"),
            (Some(after), None) => format!(" after {after}"),
            _ => String::new(),
        };
        let what = match gap.missed {
            Some(1) => "1 publication was missed".to_owned(),
            Some(count) => format!("{count} publications were missed"),
            None => "publications may have been missed".to_owned(),
        };
        io.warn(&format!("{}: {what}{place}", self.options.channels[at]));
    }

    fn unsubscribed(&self, at: usize, code: u32, reason: &str) -> Failure {
        let (channel, reason) = (&self.options.channels[at], visible(reason));
        let failure = match code {
            3000.. => Failure::failed(reason),
            _ => Failure::failed(format!("{channel}: {reason} (code {code})")),
        };
        match hint_for_code(code) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    /// The exit code, and a summary unless the count says it all.
    fn exit(&self, ending: Ending, io: &mut Io) -> Exit {
        if ending != Ending::Count || self.gaps > 0 {
            io.notice(&self.summary(self.started.elapsed()));
        }
        let unfinished = self.options.count.is_some_and(|count| self.publications < count);
        match ending {
            _ if self.gaps > 0 => Exit::Gap,
            Ending::Timeout if unfinished => Exit::TimedOut,
            Ending::Interrupt if unfinished => Exit::Interrupted,
            _ => Exit::Ok,
        }
    }

    fn summary(&self, elapsed: Duration) -> String {
        let publications = match self.publications {
            1 => "1 publication".to_owned(),
            count => format!("{count} publications"),
        };
        let gaps = match self.gaps {
            1 => "1 gap".to_owned(),
            count => format!("{count} gaps"),
        };
        let missed = match (self.gaps, self.missed) {
            (0, _) => "none missed".to_owned(),
            (_, 0) => format!("{gaps} of unknown size"),
            (_, missed) => format!("at least {missed} missed in {gaps}"),
        };
        format!("{publications} in {:.1} s, {missed}", elapsed.as_secs_f64())
    }
}

async fn sleep(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("a time of 0 would end before it begins".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("write a number and a unit: 500ms, 5s, 1m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use fanfare_client::ClientInfo;

    use super::*;
    use crate::cli::output::scripted;

    fn sub(channels: &[&str]) -> Sub {
        Sub {
            channels: channels.iter().map(|channel| (*channel).to_owned()).collect(),
            since: None,
            count: None,
            timeout: None,
            json: false,
            token: TokenFlags::default(),
            node: NodeFlags::default(),
        }
    }

    fn publication(offset: u64, data: &'static str) -> SubscriptionEvent {
        let position = (offset > 0).then(|| StreamPosition::new(offset, "e"));
        SubscriptionEvent::Publication(Publication { data: data.into(), position, ..Publication::default() })
    }

    fn gap(missed: Option<u64>) -> SubscriptionEvent {
        let (after, now) = (Some(StreamPosition::new(1, "e")), Some(StreamPosition::new(5, "e")));
        SubscriptionEvent::Gap(Gap { after, now, missed })
    }

    /// What is printed for events, and the exit code of an ending.
    fn watched(sub: &Sub, events: Vec<(usize, SubscriptionEvent)>, ending: Ending) -> (String, String, Exit) {
        let (mut io, out, err) = scripted::io("", &[]);
        let mut watch = Watch::new(sub, Instant::now());
        for (at, event) in events {
            watch.event(at, event, &mut io).unwrap();
        }
        let exit = watch.exit(ending, &mut io);
        (out.text(), err.text(), exit)
    }

    #[test]
    fn publications_are_printed_for_people() {
        let events =
            vec![(0, publication(42, r#"{"n":1}"#)), (1, publication(0, "2")), (0, publication(43, "[1,\n2]"))];
        let (out, _, exit) = watched(&sub(&["news", "chat:room"]), events, Ending::Interrupt);
        assert_eq!(out, "news           42  {\"n\":1}\nchat:room       -  2\nnews           43  [1, 2]\n");
        assert_eq!(exit, Exit::Ok);
    }

    #[test]
    fn publications_are_printed_for_programs() {
        let info = ClientInfo { user: "42".into(), client: "c".into(), ..ClientInfo::default() };
        let events = vec![(0, publication(42, r#"{"n":1}"#)), (0, SubscriptionEvent::Join(info))];
        let (out, _, _) = watched(&Sub { json: true, ..sub(&["news"]) }, events, Ending::Interrupt);
        let lines = r#"{"type":"publication","channel":"news","offset":42,"epoch":"e","data":{"n":1}}
{"type":"join","channel":"news","info":{"client":"c","user":"42"}}
"#;
        assert_eq!(out, lines);
    }

    #[test]
    fn joins_and_leaves_are_printed_for_people() {
        let info = ClientInfo { client: "c".into(), ..ClientInfo::default() };
        let events = vec![(0, SubscriptionEvent::Join(info.clone())), (0, SubscriptionEvent::Leave(info))];
        let (out, _, _) = watched(&sub(&["news"]), events, Ending::Interrupt);
        assert_eq!(out, "news    join  (anonymous)\nnews   leave  (anonymous)\n");
    }

    #[test]
    fn a_gap_is_told_and_counts() {
        let events = vec![(0, publication(1, "1")), (0, gap(Some(3))), (0, publication(5, "5"))];
        let (out, err, exit) = watched(&Sub { count: Some(2), ..sub(&["news"]) }, events, Ending::Count);
        assert_eq!(out, "news       1  1\nnews       5  5\n");
        assert!(err.starts_with("warning: news: 3 publications were missed between 1:e and 5:e\n2 publications in "));
        assert!(err.ends_with(" s, at least 3 missed in 1 gap\n"), "{err}");
        assert_eq!(exit, Exit::Gap);
    }

    #[test]
    fn a_gap_of_unknown_size_counts_too() {
        let (_, err, exit) = watched(&sub(&["news"]), vec![(0, gap(None))], Ending::Interrupt);
        assert!(err.starts_with("warning: news: publications may have been missed between"), "{err}");
        assert!(err.ends_with(" s, 1 gap of unknown size\n"), "{err}");
        assert_eq!(exit, Exit::Gap);
    }

    #[test]
    fn the_exit_code_tells_how_it_ended() {
        let counting = Sub { count: Some(2), ..sub(&["news"]) };
        for (sub, ending, exit) in [
            (&sub(&["news"]), Ending::Timeout, Exit::Ok),
            (&sub(&["news"]), Ending::Interrupt, Exit::Ok),
            (&counting, Ending::Timeout, Exit::TimedOut),
            (&counting, Ending::Interrupt, Exit::Interrupted),
        ] {
            let (_, err, seen) = watched(sub, vec![(0, publication(1, "1"))], ending);
            assert_eq!(seen, exit, "{ending:?}");
            assert!(err.starts_with("1 publication in ") && err.ends_with(" s, none missed\n"), "{err}");
        }
        let events = vec![(0, publication(1, "1")), (0, publication(2, "2"))];
        assert_eq!(watched(&counting, events, Ending::Count).2, Exit::Ok);
    }

    #[test]
    fn a_subscription_is_said_once() {
        let subscribed = |offset| SubscriptionEvent::Subscribed {
            position: Some(StreamPosition::new(offset, "e")),
            recovered: false,
            data: Default::default(),
        };
        let events = vec![(0, subscribed(4)), (0, subscribed(5))];
        let (_, err, _) = watched(&sub(&["news"]), events, Ending::Interrupt);
        assert_eq!(err.lines().next(), Some("subscribed to news at 4:e"));
        assert_eq!(err.matches("subscribed").count(), 1);
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let sub = sub(&["news"]);
        let (mut io, _, err) = scripted::io("", &[]);
        let reason = "permission denied".to_owned();
        let event = SubscriptionEvent::Unsubscribed { code: 103, reason };
        let failure = Watch::new(&sub, Instant::now()).event(0, event, &mut io).unwrap_err();
        assert_eq!(failure.report(&mut io), Exit::Failed);
        assert!(err.text().starts_with("error: news: permission denied (code 103)\n  the node's log names"));
    }

    #[test]
    fn reconnects_are_told_but_the_first_connection_is_not() {
        let sub = sub(&["news"]);
        let (mut io, _, err) = scripted::io("", &[]);
        let mut watch = Watch::new(&sub, Instant::now());
        let connected = ConnectionEvent::Connected { client: "c".into() };
        let disconnected = ConnectionEvent::Disconnected { code: 3001, reason: "shutdown".into(), reconnects: true };
        [&connected, &disconnected, &connected].into_iter().for_each(|event| watch.connection(event, &mut io));
        assert_eq!(err.text(), "disconnected (shutdown): trying again\nconnected again\n");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let since = Some(StreamPosition::new(1, "e"));
        assert!(sub(&["a", "b", "a"]).check().is_err());
        assert!(Sub { since: since.clone(), ..sub(&["a", "b"]) }.check().is_err());
        assert!(Sub { since, ..sub(&["a"]) }.check().is_ok());
        assert!(duration("5").is_err() && duration("0s").is_err() && duration("5s").is_ok());
    }
}
