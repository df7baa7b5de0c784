//! Of each named key of the API: it is complete, and no secret of it is that of another.

use super::super::problem::{Place, Problem};
use super::super::schema::{API_KEY_FAMILY, API_KEYS_MAX};
use super::super::settings::{Origin, Setting, Settings};
use super::super::variables::member_name_of;
use super::key;

/// Everything that is wrong with the named keys, but for what is missing.
pub(super) fn problems(settings: &Settings) -> Vec<Problem> {
    let mut problems: Vec<Problem> = repeated(settings);
    problems.extend(settings.members(API_KEY_FAMILY).filter_map(|table| reserved(settings, table)));
    problems.extend(too_many(settings));
    problems
}

/// What the named keys lack.
pub(super) fn missing(settings: &Settings) -> Vec<Problem> {
    settings.members(API_KEY_FAMILY).flat_map(lacks).collect()
}

fn lacks(table: &[Setting]) -> impl Iterator<Item = Problem> {
    let [secret, scopes, channels] = ["secret", "scopes", "channels"].map(|name| key(table, name));
    let variable = member_name_of(secret);
    let of_secret = format!(
        "write it under [{}], or set {variable} or {variable}_FILE, or give the credential {}",
        table[0].table(),
        secret.credential()
    );
    let of_scopes = format!("without one it may do nothing; write {}", scopes.key.kind.describe());
    let of_channels = "write channels = [\"**\"] for all, or channels = [] for none".to_owned();
    let is_unset = |setting: &Setting| !setting.is_refused && setting.origin == Origin::Default;
    [
        (is_unset(secret)).then(|| unset(secret, of_secret)),
        (!scopes.is_refused && scopes.value.list().is_empty()).then(|| unset(scopes, of_scopes)),
        (is_unset(channels)).then(|| unset(channels, of_channels)),
    ]
    .into_iter()
    .flatten()
}

fn unset(setting: &Setting, hint: String) -> Problem {
    Problem::new(Place::Nowhere, format!("{} is not set", setting.title())).hint(hint)
}

/// Whoever shows it could not be told from the other.
fn repeated(settings: &Settings) -> Vec<Problem> {
    let keys = settings.get("api.keys");
    let mut seen: Vec<(String, String)> =
        keys.value.secrets().iter().map(|secret| (secret.expose().to_owned(), keys.title())).collect();
    let mut problems = Vec::new();
    for setting in settings.members(API_KEY_FAMILY).flatten() {
        let Some(secret) = setting.value.secret() else { continue };
        match seen.iter().find(|(text, _)| text == secret.expose()) {
            Some((_, other)) => {
                let problem = settings.problem(setting, format!("{} is the secret of {other} too", setting.title()));
                problems.push(problem.hint("`openssl rand -hex 32` makes another"));
            }
            None => seen.push((secret.expose().to_owned(), setting.title())),
        }
    }
    problems
}

fn reserved(settings: &Settings, table: &[Setting]) -> Option<Problem> {
    let name = table[0].namespace.as_deref().filter(|name| *name == fanfare_api::Key::DEFAULT_NAME)?;
    let setting = table.iter().find(|setting| setting.origin != Origin::Default).unwrap_or(&table[0]);
    let message = format!("no named key can be called {name:?}: that is the name of api.keys");
    Some(settings.problem(setting, message).hint("give it the name of whoever shows it"))
}

fn too_many(settings: &Settings) -> Option<Problem> {
    let count = settings.members(API_KEY_FAMILY).count();
    let message = format!("[{API_KEY_FAMILY}] has {count} keys, at most {API_KEYS_MAX} are taken");
    (count > API_KEYS_MAX).then(|| Problem::new(Place::Nowhere, message).hint("take out those that nobody shows"))
}
