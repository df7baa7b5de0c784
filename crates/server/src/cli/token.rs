//! `fanfare token new` and `token inspect`: tokens for trying things out, and what is in one.
//!
//! The secret comes out of the configuration or the environment, never out of a flag, where other users of the
//! machine could read it.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_auth::{Inspection, Issuer, KeyVerdict, NewToken, TokenError, Verifier, inspect};
use fanfare_protocol::Channel;
use serde_json::{Value, json};

use super::config_command::ConfigFlags;
use super::{Failure, Io};
use crate::config::{Config, Variables, parse_duration};
use crate::{token_issuers, token_keys};

/// What `fanfare token` takes.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Make a token with the configured secret
    New(New),
    /// Say what is in a token, and whether it is good
    Inspect(Inspect),
}

/// What `fanfare token new` takes.
#[derive(Debug, Default, clap::Args)]
pub struct New {
    /// The user's id; "" is the anonymous user
    #[arg(long, value_name = "USER")]
    pub user: String,
    /// How long the token is good: 30s, 15m, 1h; "off" for ever
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    pub ttl: String,
    /// A channel that the server subscribes the connection to; can be given several times
    #[arg(long = "channel", value_name = "CHANNEL")]
    pub channels: Vec<String>,
    /// Make a subscription token for this channel in place of a connection token
    #[arg(long, value_name = "CHANNEL", conflicts_with = "channels")]
    pub subscribe: Option<String>,
    /// The configuration file [default: $FANFARE_CONFIG, else fanfare.toml if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What `fanfare token inspect` takes.
#[derive(Debug, Default, clap::Args)]
pub struct Inspect {
    /// The token; - or nothing reads standard input, which keeps it out of the shell's history
    #[arg(value_name = "TOKEN", conflicts_with = "token_file")]
    pub token: Option<String>,
    /// The file that holds the token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// The configuration file [default: $FANFARE_CONFIG, else fanfare.toml if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The longest token that is read, and the white space around it.
const TOKEN_READ_BYTES_MAX: u64 = fanfare_auth::limits::TOKEN_BYTES_MAX as u64 + 1024;

impl TokenCommand {
    /// Does what was asked for.
    ///
    /// # Errors
    /// A configuration that cannot be used, no secret in it, or no token.
    pub fn run(&self, io: &mut Io, variables: Variables) -> Result<(), Failure> {
        match self {
            Self::New(new) => new.run(io, variables, now_seconds()),
            Self::Inspect(inspect) => inspect.run(io, variables, now_seconds()),
        }
    }
}

impl New {
    fn run(&self, io: &mut Io, variables: Variables, now_seconds: u64) -> Result<(), Failure> {
        let expires_at = self.expires_at(now_seconds)?;
        let channels = self.channels.iter().map(|name| channel(name)).collect::<Result<_, _>>()?;
        let subscribe = self.subscribe.as_deref().map(channel).transpose()?;
        let auth = load(self.config.clone(), variables)?.auth;
        let Some(secret) = &auth.hmac_secret else {
            return Err(no_secret());
        };
        let token = NewToken {
            user: self.user.clone(),
            issued_at: Some(now_seconds),
            expires_at,
            channels,
            audience: auth.audience.clone(),
            issuer: auth.issuer.clone(),
            ..NewToken::default()
        };
        let issuer = Issuer::new(secret);
        io.line(&subscribe.map_or_else(|| issuer.connection(&token), |channel| issuer.subscription(&token, &channel)))
    }

    fn expires_at(&self, now_seconds: u64) -> Result<Option<u64>, Failure> {
        if self.ttl == "off" {
            return Ok(None);
        }
        let ttl = parse_duration(&self.ttl).ok().filter(|ttl| *ttl >= Duration::from_secs(1));
        let expires_at = ttl.and_then(|ttl| now_seconds.checked_add(ttl.as_secs()));
        let expires_at = expires_at.filter(|date| *date <= fanfare_auth::limits::DATE_SECONDS_MAX);
        let failure = || Failure::usage(format!("--ttl cannot be {:?}", self.ttl));
        expires_at
            .map(Some)
            .ok_or_else(|| failure().hint("write 30s, 15m, 1h or 7d, or off for a token that never expires"))
    }
}

impl Inspect {
    fn run(&self, io: &mut Io, variables: Variables, now_seconds: u64) -> Result<(), Failure> {
        let text = self.read(io)?;
        let token = text.trim();
        let inspection = inspect(token).map_err(|error| not_a_token(&error))?;
        let config = load(self.config.clone(), variables)?;
        let (verdict, keys) = verdict(&config, token, &inspection, now_seconds)?;
        let report = Report { inspection, verdict, keys, now_seconds };
        match self.json {
            true => io.line(&report.json().to_string()),
            false => report.lines().iter().try_for_each(|line| io.line(line)),
        }
    }

    fn read(&self, io: &mut Io) -> Result<String, Failure> {
        match (self.token.as_deref(), &self.token_file) {
            (None, Some(path)) => read_file(path),
            (None | Some("-"), None) => read_input(io),
            (Some(token), _) => Ok(token.to_owned()),
        }
    }
}

pub(super) fn read_file(path: &std::path::Path) -> Result<String, Failure> {
    let failure = |error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(failure)?;
    let mut text = String::new();
    file.take(TOKEN_READ_BYTES_MAX).read_to_string(&mut text).map_err(failure)?;
    Ok(text)
}

fn read_input(io: &mut Io) -> Result<String, Failure> {
    if io.input_is_terminal {
        io.notice("paste the token, then press Enter and Ctrl-D:");
    }
    let mut text = String::new();
    let read = io.input.by_ref().take(TOKEN_READ_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
    Ok(text)
}

/// What a node that is configured here would say of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It would take it.
    Good,
    /// It would not.
    Refused(TokenError),
    /// No secret is configured here.
    Unknown,
}

impl Verdict {
    fn text(&self) -> String {
        match self {
            Self::Good => "good: the signature fits".to_owned(),
            // Dates are looked at after the signature.
            Self::Refused(error @ (TokenError::Expired | TokenError::NotYetValid)) => {
                format!("refused: {error}; the signature fits")
            }
            Self::Refused(error) => format!("refused: {error}"),
            Self::Unknown => "unknown: no key for tokens is set here".to_owned(),
        }
    }
}

fn verdict(
    config: &Config,
    token: &str,
    inspection: &Inspection,
    now_seconds: u64,
) -> Result<(Verdict, Vec<KeyVerdict>), Failure> {
    let auth = key_options(config)?;
    if auth.hmac_secret.is_none() && auth.keys.is_empty() && config.token_issuers.is_empty() {
        return Ok((Verdict::Unknown, Vec::new()));
    }
    let verifier = Verifier::new(auth).map_err(|error| Failure::usage(error.to_string()))?;
    let verifier = with_issuers(verifier, config, token)?;
    let is_for_subscription = is_for_subscription(inspection);
    let judged = match is_for_subscription {
        true => verifier.subscription(token, now_seconds).map(drop),
        false => verifier.connection(token, now_seconds).map(drop),
    };
    // What is wrong before a key is asked stands in the verdict.
    let keys = verifier.verdicts(token, is_for_subscription, now_seconds).unwrap_or_default();
    Ok((judged.map_or_else(Verdict::Refused, |()| Verdict::Good), keys))
}

/// The verifier with the keys of its issuer, if the token is of one whose keys are fetched.
pub(super) fn with_issuers(verifier: Verifier, config: &Config, token: &str) -> Result<Verifier, Failure> {
    if config.token_issuers.is_empty() {
        return Ok(verifier);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::usage(format!("cannot fetch keys: {error}")))?;
    runtime.block_on(async {
        let issuers = token_issuers::start(config, &fanfare_key_sets::Metrics::default())
            .map_err(|error| Failure::usage(error.to_string()))?;
        let verifier = verifier.with_issuers(issuers);
        let prepared = verifier.prepare(token);
        // What could not be fetched in time stands in the verdict.
        let _ = tokio::time::timeout(fanfare_key_sets::limits::FETCH_TIMEOUT, prepared).await;
        Ok(verifier)
    })
}

fn key_line(verdict: &KeyVerdict) -> String {
    let said = match verdict.judged {
        Ok(()) => "the signature fits".to_owned(),
        Err(refusal) => refusal.to_string(),
    };
    format!("key      {} ({}): {said}", verdict.key, verdict.algorithm)
}

fn key_json(verdict: &KeyVerdict) -> Value {
    let reason = verdict.judged.err().map(|refusal| refusal.to_string());
    json!({
        "key": verdict.key,
        "algorithm": verdict.algorithm.name(),
        "accepted": verdict.judged.is_ok(),
        "reason": reason,
    })
}

pub(super) fn is_for_subscription(inspection: &Inspection) -> bool {
    inspection.claims.get("channel").is_some()
}

struct Report {
    inspection: Inspection,
    verdict: Verdict,
    keys: Vec<KeyVerdict>,
    now_seconds: u64,
}

impl Report {
    fn json(&self) -> Value {
        json!({
            "header": self.inspection.header,
            "claims": self.inspection.claims,
            "kind": self.kind(),
            "expires_in_seconds": self.expires_in_seconds(),
            "keys": self.keys.iter().map(key_json).collect::<Vec<_>>(),
            "verdict": self.verdict.text(),
            "accepted": (self.verdict != Verdict::Unknown).then(|| self.verdict == Verdict::Good),
        })
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("kind     {}", self.kind())];
        lines.push(format!("header   {}", self.inspection.header));
        lines.push(format!("claims   {}", self.inspection.claims));
        lines.push(format!("expiry   {}", self.expiry()));
        lines.extend(self.keys.iter().map(key_line));
        lines.push(format!("verdict  {}", self.verdict.text()));
        lines
    }

    fn kind(&self) -> &'static str {
        if is_for_subscription(&self.inspection) { "subscription" } else { "connection" }
    }

    fn expires_in_seconds(&self) -> Option<i64> {
        let expiry = self.inspection.claims.get("exp")?.as_f64()?;
        Some((expiry as i64).saturating_sub_unsigned(self.now_seconds))
    }

    fn expiry(&self) -> String {
        match self.expires_in_seconds() {
            None => "never".to_owned(),
            Some(left) if left > 0 => format!("in {}", rough(left.unsigned_abs())),
            Some(left) => format!("{} ago", rough(left.unsigned_abs())),
        }
    }
}

/// A length of time in its two largest units.
fn rough(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

pub(super) fn load(config: Option<PathBuf>, variables: Variables) -> Result<Config, Failure> {
    let flags = ConfigFlags { config, ..ConfigFlags::default() };
    Ok(flags.sources(variables).and_then(Config::load_partial)?.config)
}

pub(super) fn key_options(config: &Config) -> Result<fanfare_auth::Options, Failure> {
    token_keys::options(config).map_err(|error| Failure::usage(error.to_string()))
}

/// A channel that was given on the command line.
pub(super) fn channel(name: &str) -> Result<Channel, Failure> {
    Channel::parse(name).map_err(|error| Failure::usage(format!("{name:?} is not a channel: {error}")))
}

fn no_secret() -> Failure {
    let failure = Failure::usage("auth.hmac_secret is not set, so no token can be signed");
    failure.hint(
        "name the node's configuration with --config, or set FANFARE_AUTH__HMAC_SECRET_FILE;\n\
         `fanfare dev` prints a token of its own when it starts",
    )
}

fn not_a_token(error: &TokenError) -> Failure {
    Failure::usage(error.to_string()).hint("give the token as the argument, by --token-file or on standard input")
}

pub(super) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;
    use crate::cli::output::scripted;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_700_000_000;

    fn variables() -> Variables {
        [("FANFARE_AUTH__HMAC_SECRET", SECRET)].into_iter().collect()
    }

    fn report(result: Result<(), Failure>, io: &mut Io) -> Exit {
        result.map_or_else(|failure| failure.report(io), |()| Exit::Ok)
    }

    fn make(new: &New, variables: Variables) -> (Exit, String, String) {
        let (mut io, out, err) = scripted::io("", &[]);
        let result = new.run(&mut io, variables, NOW);
        (report(result, &mut io), out.text(), err.text())
    }

    fn new(user: &str) -> New {
        New { user: user.to_owned(), ttl: "1h".to_owned(), ..New::default() }
    }

    fn look(inspect: &Inspect, input: &str, variables: Variables, now_seconds: u64) -> (Exit, String, String) {
        let (mut io, out, err) = scripted::io(input, &[]);
        let result = inspect.run(&mut io, variables, now_seconds);
        (report(result, &mut io), out.text(), err.text())
    }

    fn verifier() -> Verifier {
        let hmac_secret = Some(fanfare_auth::Secret::new(SECRET.to_owned()));
        Verifier::new(fanfare_auth::Options { hmac_secret, ..fanfare_auth::Options::default() }).unwrap()
    }

    #[test]
    fn a_new_token_is_good_for_its_time() {
        let (exit, token, err) = make(&New { channels: vec!["news".to_owned()], ..new("42") }, variables());
        assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
        let claims = verifier().connection(token.trim(), NOW).unwrap();
        assert_eq!((claims.user.as_str(), claims.expire_at), ("42", Some(NOW + 3_600)));
        assert!(claims.subs.contains_key(&Channel::parse("news").unwrap()));
        assert!(verifier().connection(token.trim(), NOW + 3_600).is_err());
    }

    #[test]
    fn a_new_token_can_be_for_one_subscription() {
        let (_, token, _) =
            make(&New { subscribe: Some("$news".to_owned()), ttl: "off".to_owned(), ..new("42") }, variables());
        let claims = verifier().subscription(token.trim(), NOW).unwrap();
        assert_eq!((claims.channel.as_str(), claims.user.as_str(), claims.expire_at), ("$news", "42", None));
    }

    #[test]
    fn audience_and_issuer_are_those_that_the_node_demands() {
        let names =
            [("FANFARE_AUTH__HMAC_SECRET", SECRET), ("FANFARE_AUTH__AUDIENCE", "a"), ("FANFARE_AUTH__ISSUER", "i")];
        let (_, token, _) = make(&new("42"), names.into_iter().collect());
        let claims = inspect(&token).unwrap().claims;
        assert_eq!((claims["aud"].as_str(), claims["iss"].as_str()), (Some("a"), Some("i")));
    }

    #[test]
    fn no_token_is_made_without_a_secret() {
        let (exit, out, err) = make(&new("42"), Variables::default());
        assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
        assert!(err.starts_with("error: auth.hmac_secret is not set, so no token can be signed\n"), "{err}");
    }

    #[test]
    fn what_cannot_be_in_a_token_is_refused() {
        for ttl in ["0s", "1", "soon", "1ms", "", "99999999999d"] {
            let (exit, _, err) = make(&New { ttl: ttl.to_owned(), ..new("42") }, variables());
            assert_eq!(exit, Exit::Usage, "{ttl}");
            assert!(err.starts_with(&format!("error: --ttl cannot be {ttl:?}\n")), "{err}");
        }
        let (exit, _, err) = make(&New { channels: vec![String::new()], ..new("42") }, variables());
        assert_eq!(exit, Exit::Usage);
        assert!(err.starts_with("error: \"\" is not a channel: "), "{err}");
    }

    #[test]
    fn a_token_is_taken_apart() {
        let (_, token, _) = make(&new("42"), variables());
        let (exit, out, _) = look(&Inspect::default(), &token, variables(), NOW + 60);
        assert_eq!(exit, Exit::Ok);
        let expected = "kind     connection\n\
                        header   {\"alg\":\"HS256\",\"typ\":\"JWT\"}\n\
                        claims   {\"exp\":1700003600,\"iat\":1700000000,\"sub\":\"42\"}\n\
                        expiry   in 59m 0s\n\
                        key      auth.hmac_secret (HS256): the signature fits\n\
                        verdict  good: the signature fits\n";
        assert_eq!(sorted_claims(&out), sorted_claims(expected));
    }

    /// Whether objects keep the order of their keys depends on what else is built.
    fn sorted_claims(text: &str) -> Vec<Vec<u8>> {
        let sorted = |line: &str| {
            let mut bytes = line.as_bytes().to_vec();
            bytes.sort_unstable();
            bytes
        };
        text.lines().map(sorted).collect()
    }

    fn verdict_of(token: &str, variables: Variables, now_seconds: u64) -> String {
        let (_, out, err) = look(&Inspect::default(), token, variables, now_seconds);
        out.lines().find_map(|line| line.strip_prefix("verdict  ")).unwrap_or(&err).to_owned()
    }

    #[test]
    fn the_verdict_is_what_a_node_would_say() {
        let (_, token, _) = make(&new("42"), variables());
        assert_eq!(verdict_of(&token, variables(), NOW + 9_000), "refused: the token is expired; the signature fits");
        let other = [("FANFARE_AUTH__HMAC_SECRET", "abcdef0123456789abcdef0123456789")].into_iter().collect();
        let refused = verdict_of(&token, other, NOW);
        assert!(refused.starts_with("refused: invalid token: the signature does not"), "{refused}");
        assert_eq!(verdict_of(&token, Variables::default(), NOW), "unknown: no key for tokens is set here");
    }

    #[test]
    fn a_token_is_taken_from_wherever_it_is() {
        let (_, token, _) = make(&New { subscribe: Some("news".to_owned()), ..new("42") }, variables());
        let path = std::env::temp_dir().join(format!("fanfare-token-{}", std::process::id()));
        std::fs::write(&path, &token).unwrap();
        let argument = |text: &str| Inspect { token: Some(text.to_owned()), json: true, ..Inspect::default() };
        let from_file = Inspect { token_file: Some(path.clone()), json: true, ..Inspect::default() };
        for (inspect, input) in [(argument(token.trim()), ""), (argument("-"), &*token), (from_file, "")] {
            let (_, out, err) = look(&inspect, input, variables(), NOW + 10);
            let object: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
            assert_eq!((&object["kind"], &object["expires_in_seconds"]), (&json!("subscription"), &json!(3_590)));
            assert_eq!((&object["accepted"], &object["claims"]["channel"]), (&json!(true), &json!("news")));
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", "abc", "a.b.c"] {
            let (exit, out, err) = look(&Inspect::default(), text, variables(), NOW);
            assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
            assert!(err.contains("give the token as the argument"), "{err}");
        }
    }

    #[test]
    fn each_key_says_why_it_does_not_vouch_for_a_token() {
        let folder = std::env::temp_dir().join(format!("fanfare-token-keys-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (config, secret) = (folder.join("fanfare.toml"), folder.join("old"));
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let text = format!(
            "[auth]\nhmac_secret = \"fedcba9876543210fedcba9876543210\"\n\
             [auth.keys.old]\nalgorithm = \"HS256\"\nfile = {secret:?}\naccept_until = 2023-11-15T00:00:00Z\n\
             [auth.keys.named]\nalgorithm = \"HS256\"\nfile = {secret:?}\nkid = \"k1\"\n\
             [auth.keys.subs]\nalgorithm = \"HS256\"\nfile = {secret:?}\nuse = \"subscriptions\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let (_, token, _) = make(&new("42"), variables());
        let inspect = Inspect { config: Some(config), ..Inspect::default() };
        let said = |now_seconds| {
            let (_, out, err) = look(&inspect, &token, Variables::default(), now_seconds);
            let lines = out.lines().filter(|line| line.starts_with("key ") || line.starts_with("verdict"));
            (lines.map(|line| line[9..].to_owned()).collect::<Vec<_>>(), err)
        };
        let (before, err) = said(NOW);
        let expected = [
            "auth.hmac_secret (HS256): the signature does not match",
            "auth.keys.named (HS256): the token names another key id (kid), or none",
            "auth.keys.old (HS256): the signature fits",
            "auth.keys.subs (HS256): it is for the other kind of token",
            "good: the signature fits",
        ];
        assert_eq!(before, expected, "{err}");
        let (after, _) = said(NOW + 2 * 86_400);
        assert_eq!(after[2], "auth.keys.old (HS256): its accept_until is over");
        assert!(after[4].starts_with("refused: invalid token: the signature does not match"), "{after:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn times_are_told_roughly() {
        assert_eq!([5, 65, 3_660, 90_000].map(rough), ["5s", "1m 5s", "1h 1m", "1d 1h"]);
    }
}
