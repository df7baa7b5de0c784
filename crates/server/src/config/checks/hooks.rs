//! Of each hook: it has a place, its secrets are good, it answers in time; and of each table of channels: what it asks
//! about has a hook.

use fanfare_gateway::Hook;
use fanfare_hooks::SigningKey;
use fanfare_hooks::limits::SIGNING_KEYS_MAX;
use fanfare_outbound::Endpoint;

use super::super::problem::{Place, Problem};
use super::super::schema::HOOK_FAMILY;
use super::super::settings::{Setting, Settings};
use super::super::value::Value;
use super::{Audience, Relation, key, pair};

/// What channels may ask about: the key, the hook, and the word that it stands in place of.
const ASKED: [(&str, Hook, Option<&str>); 3] = [
    ("subscribe_hook", Hook::Subscribe, Some("subscribe")),
    ("sub_refresh_hook", Hook::SubRefresh, None),
    ("publish_hook", Hook::Publish, Some("publish")),
];

/// Everything that is wrong with hooks.
pub(super) fn problems(settings: &Settings) -> Vec<Problem> {
    let of_hooks = settings.members(HOOK_FAMILY).flat_map(|table| of_one(settings, table));
    let of_channels = settings.channel_tables().flat_map(|table| without_hook(settings, table));
    of_hooks.chain(of_channels).collect()
}

fn of_one(settings: &Settings, table: &[Setting]) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(place(settings, table));
    problems.extend(secrets(settings, key(table, "secrets")));
    problems.extend(pair(settings, settings.get("session.command_timeout"), Relation::More, key(table, "timeout")));
    problems
}

fn place(settings: &Settings, table: &[Setting]) -> Option<Problem> {
    let (url, allowed) = (key(table, "url"), key(table, "allow_unencrypted"));
    let Some(text) = url.value.text() else {
        let problem = Problem::new(Place::Nowhere, format!("{} is not set", url.title()));
        return (!url.is_refused)
            .then(|| problem.hint(format!("write it under [{}], or take the table out", url.table())));
    };
    let error = Endpoint::parse(&text).err().filter(|_| !allowed.value.is_on() && !allowed.is_refused)?;
    let problem = settings.problem(url, format!("{} {error}", url.title()));
    Some(problem.hint(format!("take https://, or set {} = true", allowed.title())))
}

fn secrets(settings: &Settings, setting: &Setting) -> Option<Problem> {
    let secrets = setting.value.secrets();
    if secrets.len() > SIGNING_KEYS_MAX {
        let message =
            format!("{} has {} secrets, {SIGNING_KEYS_MAX} at most are taken", setting.title(), secrets.len());
        return Some(settings.problem(setting, message));
    }
    let error = secrets.iter().find_map(|secret| SigningKey::parse(secret).err())?;
    let problem = settings.problem(setting, format!("{} holds a secret that {error}", setting.title()));
    Some(problem.hint("`echo whsec_$(openssl rand -base64 32)` makes one"))
}

fn is_there(settings: &Settings, hook: Hook) -> bool {
    settings.members(HOOK_FAMILY).any(|table| table[0].namespace.as_deref() == Some(hook.name()))
}

fn without_hook(settings: &Settings, table: &[Setting]) -> Vec<Problem> {
    let missing = |(name, hook, _): &(&str, Hook, Option<&str>)| {
        let setting = key(table, name);
        (setting.value.is_on() && !is_there(settings, *hook)).then(|| {
            let problem = settings.problem(setting, format!("{} is true, but there is no such hook", setting.title()));
            problem.hint(format!("write [hooks.{}] with its url", hook.name()))
        })
    };
    ASKED.iter().filter_map(missing).collect()
}

/// What is good, but perhaps not meant.
pub(super) fn warnings(settings: &Settings) -> Vec<Problem> {
    let unsigned = settings.members(HOOK_FAMILY).filter_map(|table| unsigned(key(table, "secrets")));
    let unused = ASKED.iter().filter_map(|(name, hook, _)| unused(settings, name, *hook));
    let overruled = settings.channel_tables().flat_map(|table| overruled(settings, table));
    unsigned.chain(unused).chain(overruled).collect()
}

fn unsigned(setting: &Setting) -> Option<Problem> {
    let is_unsigned = setting.value.secrets().is_empty() && !setting.is_refused;
    is_unsigned.then(|| {
        let message = format!("{} is not set: the backend cannot tell who asks", setting.title());
        Problem::new(Place::Nowhere, message).hint("`echo whsec_$(openssl rand -base64 32)` makes one")
    })
}

fn unused(settings: &Settings, name: &str, hook: Hook) -> Option<Problem> {
    let is_used = settings.channel_tables().any(|table| key(table, name).value.is_on());
    (is_there(settings, hook) && !is_used).then(|| {
        let problem = Problem::new(Place::Nowhere, format!("[hooks.{}] is never asked", hook.name()));
        problem.hint(format!("set {name} = true in a table of channels"))
    })
}

fn overruled(settings: &Settings, table: &[Setting]) -> Vec<Problem> {
    let one = |(name, _, word): &(&str, Hook, Option<&str>)| {
        let setting = key(table, word.as_ref()?);
        let is_said = !matches!(setting.value, Value::Audience(Audience::Nobody));
        (key(table, name).value.is_on() && is_said).then(|| {
            let message = format!("{} has no effect: {}.{name} is true", setting.title(), setting.table());
            settings.problem(setting, message)
        })
    };
    ASKED.iter().filter_map(one).collect()
}
