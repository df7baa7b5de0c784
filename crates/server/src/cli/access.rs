//! `fanfare access explain`: what the bearer of a token may do in a channel, and what decides it.

use std::path::PathBuf;

use fanfare_auth::access::{self, Asker, Ground};
use fanfare_auth::{Allowed, ConnectionClaims, Operation, SubscriptionClaims, TokenError, Verifier};
use fanfare_broker::namespaces::{Access, AsksBackend, Audience};
use fanfare_protocol::Channel;
use serde_json::{Value, json};

use super::token::{is_for_subscription, key_options, load, now_seconds, read_file, with_issuers};
use super::{Failure, Io};
use crate::config::{Config, Variables};

/// What `fanfare access` takes.
#[derive(Debug, clap::Subcommand)]
pub enum AccessCommand {
    /// Say what a token allows in a channel, and which key, rule or claim decides
    Explain(Explain),
}

/// What `fanfare access explain` takes.
#[derive(Debug, Default, clap::Args)]
pub struct Explain {
    /// The channel
    #[arg(long, value_name = "CHANNEL")]
    pub channel: String,
    /// The file that holds the token; without one, a client without a token is meant
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// The configuration file [default: $FANFARE_CONFIG, else fanfare.toml if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Who is meant.
enum Bearer {
    /// A client without a token.
    Nobody,
    /// Of a connection token.
    Connection(ConnectionClaims),
    /// Of a subscription token for the channel, beside a connection of the same user.
    Subscription(SubscriptionClaims),
    /// Of a token that is refused.
    Refused(TokenError),
}

/// What is said of one operation.
struct Line {
    operation: Operation,
    is_allowed: bool,
    why: String,
}

impl AccessCommand {
    /// Does what was asked for.
    ///
    /// # Errors
    /// A configuration that cannot be used, no channel, or no token.
    pub fn run(&self, io: &mut Io, variables: Variables) -> Result<(), Failure> {
        match self {
            Self::Explain(explain) => explain.run(io, variables, now_seconds()),
        }
    }
}

impl Explain {
    fn run(&self, io: &mut Io, variables: Variables, now_seconds: u64) -> Result<(), Failure> {
        let channel = Channel::parse(&self.channel);
        let channel =
            channel.map_err(|error| Failure::usage(format!("{:?} is not a channel: {error}", self.channel)))?;
        let config = load(self.config.clone(), variables)?;
        let token = self.token_file.as_deref().map(read_file).transpose()?;
        let (bearer, key) = bearer(&config, token.as_deref().map(str::trim), now_seconds)?;
        let lines: Vec<Line> =
            Operation::ALL.into_iter().map(|operation| explain(operation, &channel, &bearer, &config)).collect();
        if self.json {
            return io.line(&as_json(&channel, &bearer, key.as_deref(), &lines).to_string());
        }
        io.line(&format!("channel        {channel}, with the options of {}", config.namespaces.section(&channel)))?;
        io.line(&format!("client         {}", bearer.text(key.as_deref())))?;
        lines.iter().try_for_each(|line| io.line(&line.text()))
    }
}

/// Who bears a token, and the key that vouches for it.
fn bearer(config: &Config, token: Option<&str>, now_seconds: u64) -> Result<(Bearer, Option<String>), Failure> {
    let Some(token) = token else { return Ok((Bearer::Nobody, None)) };
    let verifier = Verifier::new(key_options(config)?).map_err(|error| Failure::usage(error.to_string()))?;
    let verifier = with_issuers(verifier, config, token)?;
    let is_subscription = fanfare_auth::inspect(token).is_ok_and(|inspection| is_for_subscription(&inspection));
    let judged = match is_subscription {
        true => verifier.subscription(token, now_seconds).map(Bearer::Subscription),
        false => verifier.connection(token, now_seconds).map(Bearer::Connection),
    };
    let verdicts = verifier.verdicts(token, is_subscription, now_seconds).unwrap_or_default();
    let key = verdicts.into_iter().find(|verdict| verdict.judged.is_ok()).map(|verdict| verdict.key);
    Ok((judged.unwrap_or_else(Bearer::Refused), key))
}

impl Bearer {
    fn user(&self) -> &str {
        match self {
            Self::Connection(claims) => &claims.user,
            Self::Subscription(claims) => &claims.user,
            Self::Nobody | Self::Refused(_) => "",
        }
    }

    fn text(&self, key: Option<&str>) -> String {
        let key = key.unwrap_or("no key");
        match self {
            Self::Nobody => "the anonymous user, without a token".to_owned(),
            Self::Connection(claims) => {
                let roles: Vec<&str> =
                    claims.rights.iter().flat_map(|rights| &rights.roles).map(|(name, _)| name.as_str()).collect();
                let roles = if roles.is_empty() { "no configured role".to_owned() } else { roles.join(", ") };
                format!("user {:?} by a connection token ({key}); roles: {roles}", claims.user)
            }
            Self::Subscription(claims) => {
                format!("user {:?} by a subscription token for {} ({key})", claims.user, claims.channel)
            }
            Self::Refused(error) => format!("refused: {error}"),
        }
    }

    /// Why nothing is allowed at all, whatever the channel.
    fn kept_out(&self, channel: &Channel, config: &Config) -> Option<String> {
        match self {
            Self::Nobody if !config.gateway.allow_anonymous => Some("auth.allow_anonymous is false".to_owned()),
            Self::Connection(claims) if claims.user.is_empty() && !config.gateway.allow_anonymous => {
                Some("the token names no user, and auth.allow_anonymous is false".to_owned())
            }
            Self::Subscription(claims) if claims.channel != *channel => {
                Some(format!("the token is for the channel {}", claims.channel))
            }
            Self::Refused(_) => Some("the token is refused".to_owned()),
            _ => config.namespaces.options(channel).is_none().then(|| "its namespace is not configured".to_owned()),
        }
    }

    fn asker(&self) -> Asker<'_> {
        match self {
            Self::Connection(claims) => {
                Asker { user: &claims.user, rights: claims.rights.as_deref(), allowed: Allowed::NOTHING }
            }
            Self::Subscription(claims) => {
                Asker { user: &claims.user, rights: None, allowed: claims.allowed.and(Operation::Subscribe) }
            }
            Self::Nobody | Self::Refused(_) => Asker::default(),
        }
    }
}

fn explain(operation: Operation, channel: &Channel, bearer: &Bearer, config: &Config) -> Line {
    if let Some(why) = bearer.kept_out(channel, config) {
        return Line { operation, is_allowed: false, why };
    }
    let access = config.namespaces.options(channel).map(|options| options.access).unwrap_or_default();
    let audience = audience_of(access, operation);
    let is_user = !bearer.user().is_empty();
    let is_subscribed = matches!(bearer, Bearer::Subscription(_));
    let asker = bearer.asker();
    let hook = config.namespaces.options(channel).and_then(|options| hook_of(options.asks_backend, operation));
    if let Some(hook) = hook {
        return by_backend((operation, hook), channel, &asker, config);
    }
    let decided = |is_subscribed| access::decide(operation, channel, &asker, audience.admits(is_user, is_subscribed));
    let option = format!("{} {} = {}", config.namespaces.section(channel), operation.name(), audience_text(audience));
    match decided(is_subscribed) {
        Ok(ground) => Line { operation, is_allowed: true, why: why(ground, &option) },
        Err(_) if decided(true).is_ok() => {
            Line { operation, is_allowed: true, why: format!("while subscribed, {option}") }
        }
        Err(access::Denied::NotOpen) => {
            Line { operation, is_allowed: false, why: format!("{option}, and no rule allows it") }
        }
        Err(denied) => Line { operation, is_allowed: false, why: denied.to_string() },
    }
}

/// The key by which a backend is asked about an operation.
fn hook_of(asks: AsksBackend, operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::Subscribe => asks.subscribe.then_some("subscribe_hook"),
        Operation::Publish => asks.publish.then_some("publish_hook"),
        Operation::ReadHistory | Operation::ReadPresence => None,
    }
}

/// What a name or a subscription token allows to subscribe to stays allowed; the rest is for the backend to say.
fn by_backend((operation, hook): (Operation, &str), channel: &Channel, asker: &Asker<'_>, config: &Config) -> Line {
    let asks = format!("your backend is asked: {} {hook} = true", config.namespaces.section(channel));
    let asker = Asker { rights: None, ..*asker };
    match access::decide(operation, channel, &asker, false) {
        Ok(ground) if operation == Operation::Subscribe => {
            Line { operation, is_allowed: true, why: why(ground, &asks) }
        }
        Err(denied) if denied != access::Denied::NotOpen => {
            Line { operation, is_allowed: false, why: denied.to_string() }
        }
        _ => Line { operation, is_allowed: false, why: asks },
    }
}

fn why(ground: Ground<'_>, option: &str) -> String {
    match ground {
        Ground::UserList => "the channel's name lists the user (#)".to_owned(),
        Ground::Namespace => option.to_owned(),
        Ground::Role { name, pattern } => format!("role {name}: pattern {pattern:?} in [access.roles.{name}]"),
        Ground::Token { pattern } => format!("pattern {pattern:?} in the claim rights of the token"),
        Ground::SubscriptionToken => "the subscription token".to_owned(),
    }
}

fn audience_of(access: Access, operation: Operation) -> Audience {
    match operation {
        Operation::Subscribe => access.subscribe,
        Operation::Publish => access.publish,
        Operation::ReadHistory => access.read_history,
        Operation::ReadPresence => access.read_presence,
    }
}

fn audience_text(audience: Audience) -> &'static str {
    match audience {
        Audience::Nobody => "\"nobody\"",
        Audience::Users => "\"users\"",
        Audience::Subscribers => "\"subscribers\"",
        Audience::Anyone => "\"anyone\"",
    }
}

impl Line {
    fn text(&self) -> String {
        let verdict = if self.is_allowed { "allowed" } else { "denied" };
        format!("{:<14} {verdict}: {}", self.operation.name(), self.why)
    }
}

fn as_json(channel: &Channel, bearer: &Bearer, key: Option<&str>, lines: &[Line]) -> Value {
    let mut object = json!({
        "channel": channel.as_str(),
        "user": bearer.user(),
        "key": key,
        "refused": if let Bearer::Refused(error) = bearer { Some(error.to_string()) } else { None },
    });
    for line in lines {
        object[line.operation.name()] = json!({"allowed": line.is_allowed, "why": line.why});
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::scripted;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_700_000_000;
    const CONFIG: &str = "[auth]\nhmac_secret = \"0123456789abcdef0123456789abcdef\"\n\
        [channels.namespaces.news]\nsubscribe = \"users\"\nread_presence = \"subscribers\"\n\
        [channels.namespaces.asks]\nsubscribe_hook = true\npublish_hook = true\n\
        [hooks.subscribe]\nurl = \"http://127.0.0.1:3000/\"\n[hooks.publish]\nurl = \"http://127.0.0.1:3000/\"\n\
        [access.roles.editor]\npublish = [\"news:*\", \"asks:*\"]\n";

    /// A folder of a test, gone with it.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn explained(name: &str, channel: &str, claims: &str) -> Vec<String> {
        let folder = Folder(std::env::temp_dir().join(format!("fanfare-access-{name}-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0).unwrap();
        let (config, token_file) = (folder.0.join("fanfare.toml"), folder.0.join("token"));
        std::fs::write(&config, CONFIG).unwrap();
        let token_file = (!claims.is_empty()).then(|| {
            std::fs::write(&token_file, signed(claims)).unwrap();
            token_file
        });
        let explain = Explain { channel: channel.to_owned(), token_file, json: false, config: Some(config) };
        let (mut io, out, _) = scripted::io("", &[]);
        if let Err(failure) = explain.run(&mut io, Variables::default(), NOW) {
            failure.report(&mut io);
        }
        out.text().lines().skip(1).map(str::to_owned).collect()
    }

    fn signed(claims: &str) -> String {
        let claims: Value = serde_json::from_str(claims).unwrap();
        let secret = fanfare_auth::Secret::new(SECRET.to_owned());
        fanfare_auth::Issuer::new(&secret).of_claims(&claims)
    }

    #[test]
    fn each_operation_names_what_decides_it() {
        assert_eq!(
            explained("role", "news:a", r#"{"sub":"42","roles":["editor","x"],"rights":{"read_history":["**"]}}"#),
            [
                "client         user \"42\" by a connection token (auth.hmac_secret); roles: editor",
                "subscribe      allowed: [channels.namespaces.news] subscribe = \"users\"",
                "publish        allowed: role editor: pattern \"news:*\" in [access.roles.editor]",
                "read_history   allowed: pattern \"**\" in the claim rights of the token",
                "read_presence  allowed: while subscribed, [channels.namespaces.news] read_presence = \"subscribers\"",
            ]
        );
    }

    #[test]
    fn what_is_denied_says_why() {
        let denied = |name, channel, claims| explained(name, channel, claims).split_off(1).join("\n");
        let plain = denied("plain", "news:a:b", r#"{"sub":"42","roles":["editor"]}"#);
        assert!(plain.contains("publish        denied: [channels.namespaces.news] publish = \"nobody\", and no rule"));
        let private = denied("private", "$news:a", r#"{"sub":"42"}"#);
        assert!(
            private.contains("subscribe      denied: a private channel ($) needs a subscription token"),
            "{private}"
        );
        let unknown = denied("unknown", "other:a", r#"{"sub":"42"}"#);
        assert_eq!(unknown.matches("denied: its namespace is not configured").count(), 4, "{unknown}");
        let without = denied("without", "news:a", "");
        assert_eq!(without.matches("denied: auth.allow_anonymous is false").count(), 4, "{without}");
        let expired = denied("expired", "news:a", r#"{"sub":"42","exp":5}"#);
        assert_eq!(expired.matches("denied: the token is refused").count(), 4, "{expired}");
    }

    #[test]
    fn what_the_backend_decides_is_said_to_be_so() {
        let asked = |name, channel| explained(name, channel, r#"{"sub":"42","roles":["editor"]}"#).join("\n");
        let plain = asked("asked", "asks:a");
        for line in [
            "subscribe      denied: your backend is asked: [channels.namespaces.asks] subscribe_hook = true",
            "publish        denied: your backend is asked: [channels.namespaces.asks] publish_hook = true",
        ] {
            assert!(plain.contains(line), "{plain}");
        }
        let listed = asked("asked-listed", "asks:a#42");
        assert!(listed.contains("subscribe      allowed: the channel's name lists the user (#)"), "{listed}");
        let private = asked("asked-private", "$asks:a");
        assert!(private.contains("subscribe      denied: a private channel ($)"), "{private}");
    }

    #[test]
    fn a_subscription_token_is_for_its_channel() {
        let claims = r#"{"sub":"42","channel":"$news:a","allow":["publish"]}"#;
        let lines = explained("sub", "$news:a", claims).join("\n");
        for line in [
            "subscribe      allowed: the subscription token",
            "publish        allowed: the subscription token",
            "read_history   denied: [channels.namespaces.news] read_history = \"nobody\"",
            "read_presence  allowed: [channels.namespaces.news] read_presence = \"subscribers\"",
        ] {
            assert!(lines.contains(line), "{lines}");
        }
        let other = explained("other", "$news:b", claims).join("\n");
        assert_eq!(other.matches("denied: the token is for the channel $news:a").count(), 4, "{other}");
    }
}
