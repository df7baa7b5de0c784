//! Rules across keys, and what an operator should know of a configuration that is good.

mod api_keys;
mod hooks;
mod member_variables;
mod token_issuers;
mod token_keys;

use std::time::Duration;

use fanfare_broker::namespaces::Audience;

use super::given::is_sample;
use super::problem::{Place, Problem};
use super::schema;
use super::settings::{Origin, Setting, Settings};
use super::source::Source;
use super::value::Value;
use super::variables::name_of;

/// How one key relates to another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    More,
    AtLeast,
    /// Room for one more, and for what is around it.
    Twice,
}

impl Relation {
    fn holds(self, above: u128, below: u128) -> bool {
        match self {
            Self::More => above > below,
            Self::AtLeast => above >= below,
            Self::Twice => above >= 2 * below,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::More => "more than",
            Self::AtLeast => "at least",
            Self::Twice => "at least twice",
        }
    }
}

/// Pairs of keys, the larger first.
const PAIRS: &[(&str, Relation, &str)] = &[
    ("session.ping_interval", Relation::More, "session.pong_timeout"),
    ("session.pong_timeout", Relation::More, "session.command_timeout"),
    ("limits.outbox_bytes_max", Relation::Twice, "limits.payload_bytes_max"),
    ("limits.ring_bytes_max", Relation::Twice, "limits.payload_bytes_max"),
    ("api.body_bytes_max", Relation::AtLeast, "limits.payload_bytes_max"),
    ("broker.history_bytes_max", Relation::Twice, "limits.payload_bytes_max"),
];

/// Everything that is wrong between keys.
pub(crate) fn relations(settings: &Settings) -> Vec<Problem> {
    let pairs = PAIRS
        .iter()
        .filter_map(|(large, relation, small)| pair(settings, settings.get(large), *relation, settings.get(small)));
    let mut problems: Vec<Problem> = pairs.collect();
    problems.extend(lifetimes(settings));
    problems.extend(dropping_with_history(settings));
    problems.extend(secret_strength(settings));
    problems.extend(personal_namespace(settings));
    problems.extend(braces_in_prefix(settings));
    problems.extend(half_identity(settings, ["listen.tls_cert_file", "listen.tls_key_file"]));
    problems.extend(half_identity(settings, ["redis.tls_cert_file", "redis.tls_key_file"]));
    problems.extend(api_keys::problems(settings));
    problems.extend(member_variables::problems(settings));
    problems.extend(token_keys::problems(settings));
    problems.extend(token_issuers::problems(settings));
    problems.extend(hooks::problems(settings));
    problems
}

/// What `serve` cannot start without.
pub(crate) fn missing(settings: &Settings) -> Vec<Problem> {
    let file = settings.source.as_ref().map(Source::name);
    let mut problems = Vec::new();
    let keys = settings.get("api.keys");
    let has_named = settings.members(schema::API_KEY_FAMILY).next().is_some();
    if keys.value.secrets().is_empty() && !has_named && !keys.is_refused {
        problems.push(unset(keys, file, "no backend could publish"));
    }
    problems.extend(api_keys::missing(settings));
    let (secret, anonymous) = (settings.get("auth.hmac_secret"), settings.get("auth.allow_anonymous"));
    let families = [schema::TOKEN_KEY_FAMILY, schema::TOKEN_ISSUER_FAMILY];
    let has_keys = families.iter().any(|family| settings.members(family).next().is_some());
    let has_hook = settings.members(schema::HOOK_FAMILY).any(|table| table[0].namespace.as_deref() == Some("connect"));
    if secret.value.secret().is_none()
        && !has_keys
        && !has_hook
        && !secret.is_refused
        && !anonymous.value.is_on()
        && !anonymous.is_refused
    {
        problems.push(unset(secret, file, "no client could connect, unless auth.allow_anonymous = true"));
    }
    problems
}

/// What is good, but perhaps not meant.
pub(crate) fn warnings(settings: &Settings) -> Vec<Problem> {
    let mut warnings = Vec::new();
    warnings.extend(exposed_file(settings));
    warnings.extend(weak_secret(settings));
    warnings.extend(any_origin(settings));
    warnings.extend(idle_roles(settings));
    warnings.extend(slow_return(settings));
    warnings.extend(hooks::warnings(settings));
    for table in settings.channel_tables() {
        warnings.extend(unused_audiences(settings, table));
    }
    warnings
}

fn unset(setting: &Setting, file: Option<&str>, consequence: &str) -> Problem {
    let message = format!("{} is not set: {consequence}", setting.title());
    let variable = name_of(setting.section, setting.key);
    let table = setting.table();
    let hint = match file {
        Some(file) => format!("write it under [{table}] in {file}, or set {variable} or {variable}_FILE"),
        None => {
            format!("`fanfare init` writes a file with new secrets for --config, or set {variable} or {variable}_FILE")
        }
    };
    Problem::new(Place::Nowhere, message).hint(hint)
}

fn pair(settings: &Settings, large: &Setting, relation: Relation, small: &Setting) -> Option<Problem> {
    let (above, below) = (quantity(&large.value)?, quantity(&small.value)?);
    if relation.holds(above, below) || large.is_refused || small.is_refused {
        return None;
    }
    let (large_value, small_value) = (shown(&large.value), shown(&small.value));
    let (large_title, small_title) = (large.title(), small.title());
    let relation = relation.text();
    let message = format!("{large_title} ({large_value}) must be {relation} {small_title} ({small_value})");
    let place = settings.place(large);
    let place = if place == Place::Nowhere { settings.place(small) } else { place };
    Some(Problem::new(place, message).hint(format!("raise {large_title} or lower {small_title}")))
}

fn quantity(value: &Value) -> Option<u128> {
    let duration = value.duration_or_off().as_ref().map(Duration::as_millis);
    duration.or_else(|| value.number_or_word().map(|number| number as u128))
}

fn shown(value: &Value) -> String {
    value.to_toml().trim_matches('"').to_owned()
}

/// Of each table of channels: the position has to outlive the history.
fn lifetimes(settings: &Settings) -> Vec<Problem> {
    let pair_of = |table| pair(settings, key(table, "history_meta_ttl"), Relation::AtLeast, key(table, "history_ttl"));
    settings.channel_tables().filter_map(pair_of).collect()
}

/// Of each table of channels: what is dropped must not have been promised.
fn dropping_with_history(settings: &Settings) -> Vec<Problem> {
    let of_table = |table: &[Setting]| {
        let (policy, history) = (key(table, "slow_consumer"), key(table, "history_size"));
        let drops = policy.value.text().as_deref() == Some(schema::DROP_OLDEST);
        if !drops || history.is_refused || history.value.number() == 0 {
            return None;
        }
        let message = format!("{} is {:?}, but {} is not 0", policy.title(), schema::DROP_OLDEST, history.title());
        let hint = "with history a subscriber is promised to miss nothing: write history_size = 0, or \"close\"";
        Some(settings.problem(policy, message).hint(hint))
    };
    settings.channel_tables().filter_map(of_table).collect()
}

/// A key of a table of channels.
fn key<'a>(table: &'a [Setting], name: &str) -> &'a Setting {
    table.iter().find(|setting| setting.key.name == name).expect("a table of channels has every key")
}

fn secret_strength(settings: &Settings) -> Option<Problem> {
    let (setting, allowed) = (settings.get("auth.hmac_secret"), settings.get("auth.allow_short_secret"));
    if allowed.value.is_on() || allowed.is_refused {
        return None;
    }
    let weakness = weakness(setting)?;
    let hint = "`openssl rand -hex 32` makes a good one; auth.allow_short_secret = true takes this one all the same";
    Some(settings.problem(setting, format!("{} {weakness}", setting.title())).hint(hint))
}

fn weakness(setting: &Setting) -> Option<String> {
    let secret = setting.value.secret()?;
    let (bytes, min) = (secret.expose().len(), fanfare_auth::limits::SECRET_BYTES_MIN);
    if bytes < min {
        return Some(format!("has {bytes} bytes, {min} are needed"));
    }
    is_sample(secret.expose()).then(|| "is easily guessed".to_owned())
}

fn personal_namespace(settings: &Settings) -> Option<Problem> {
    let setting = settings.get("session.personal_channel");
    let name = setting.value.text().filter(|name| !name.is_empty())?;
    if settings.namespaces().contains(&name.as_str()) {
        return None;
    }
    let message = format!("{} names the namespace {name:?}, which is not configured", setting.title());
    Some(settings.problem(setting, message).hint(format!("add [channels.namespaces.{name}] to the configuration file")))
}

/// A Redis Cluster takes what stands between braces for the whole name.
fn braces_in_prefix(settings: &Settings) -> Option<Problem> {
    let setting = settings.get("redis.prefix");
    let prefix = setting.value.text().filter(|prefix| prefix.contains(['{', '}']))?;
    let hint = "leave braces out: in a Redis Cluster they decide where a key is";
    Some(settings.problem(setting, format!("{} ({prefix:?}) holds braces", setting.title())).hint(hint))
}

/// A certificate without its key, or a key without its certificate.
fn half_identity(settings: &Settings, pair: [&str; 2]) -> Option<Problem> {
    let [cert, key] = pair.map(|name| settings.get(name));
    let (given, missing) = match (cert.value.text(), key.value.text()) {
        (Some(_), None) => (cert, key),
        (None, Some(_)) => (key, cert),
        _ => return None,
    };
    let message = format!("{} is set without {}", given.title(), missing.title());
    Some(settings.problem(given, message).hint("a certificate and its key belong together"))
}

fn exposed_file(settings: &Settings) -> Option<Problem> {
    let source = settings.source.as_ref().filter(|source| source.is_exposed())?;
    let in_file = |setting: &Setting| matches!(setting.origin, Origin::File(_));
    let holds_secret = settings.iter().any(|setting| in_file(setting) && setting.key.kind.is_secret());
    let name = source.name();
    holds_secret.then(|| {
        let message = format!("{name} holds secrets and can be read by everybody on this machine");
        Problem::new(Place::Nowhere, message).hint(format!("chmod 600 {name}"))
    })
}

fn weak_secret(settings: &Settings) -> Option<Problem> {
    let setting = settings.get("auth.hmac_secret");
    let weakness = weakness(setting)?;
    let message = format!("{} {weakness}: whoever guesses it can be any user", setting.title());
    Some(
        settings
            .problem(setting, message)
            .hint("take it for trying things out only; `openssl rand -hex 32` makes a good one"),
    )
}

fn any_origin(settings: &Settings) -> Option<Problem> {
    let setting = settings.get("listen.allowed_origins");
    let is_any = setting.value.list().iter().any(|origin| origin == "*");
    is_any.then(|| {
        let problem = settings.problem(setting, format!("{} lets any web page connect", setting.title()));
        problem.hint("name the origins of your own pages")
    })
}

fn idle_roles(settings: &Settings) -> Option<Problem> {
    let claim = settings.get("access.roles_claim");
    let is_idle = claim.value.text().is_none() && settings.members(schema::ROLE_FAMILY).next().is_some();
    is_idle.then(|| {
        let problem = settings.problem(claim, format!("{} is \"off\", so that nobody has a role", claim.title()));
        problem.hint("name the claim, or take the tables of roles out")
    })
}

/// A client that comes back subscribes to everything at once.
fn slow_return(settings: &Settings) -> Option<Problem> {
    let [channels, commands] =
        ["limits.channels_per_session_max", "limits.commands_per_second_max"].map(|key| settings.get(key));
    let at_once = commands.value.number_or_word()? * fanfare_gateway::limits::BURST_SECONDS as usize;
    let max = channels.value.number();
    (max >= at_once).then(|| {
        let message = format!(
            "{} ({max}) is more than a client can say at once: {at_once} commands, ten seconds of {}",
            channels.title(),
            commands.title()
        );
        settings.problem(channels, message).hint(format!("raise {} to {} or more", commands.title(), max / 10 + 1))
    })
}

fn unused_audiences(settings: &Settings, table: &[Setting]) -> Vec<Problem> {
    let mut warnings = Vec::new();
    if !settings.get("auth.allow_anonymous").value.is_on() {
        warnings.extend(table.iter().filter_map(|setting| only_users(settings, setting)));
    }
    let has_history = key(table, "history_size").value.number() > 0;
    let has_presence = key(table, "presence").value.is_on();
    warnings.extend(nothing_kept(settings, key(table, "read_history"), has_history, "history_size is 0"));
    warnings.extend(nothing_kept(settings, key(table, "read_presence"), has_presence, "presence is false"));
    warnings
}

fn only_users(settings: &Settings, setting: &Setting) -> Option<Problem> {
    let is_open = matches!(setting.value, Value::Audience(Audience::Anyone));
    is_open.then(|| {
        let message = format!("{} is \"anyone\", but only users with a token can connect", setting.title());
        settings.problem(setting, message).hint("write \"users\", or set auth.allow_anonymous = true")
    })
}

fn nothing_kept(settings: &Settings, setting: &Setting, is_kept: bool, why: &str) -> Option<Problem> {
    if is_kept || matches!(setting.value, Value::Audience(Audience::Nobody)) {
        return None;
    }
    let message = format!("{} has no effect: {}.{why}", setting.title(), setting.table());
    Some(settings.problem(setting, message))
}
