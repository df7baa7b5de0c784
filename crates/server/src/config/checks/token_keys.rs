//! Of each key for tokens: it has an algorithm, and is a secret or a file, as the algorithm wants.

use fanfare_auth::Algorithm;

use super::super::given::is_sample;
use super::super::problem::{Place, Problem};
use super::super::schema::TOKEN_KEY_FAMILY;
use super::super::settings::{Setting, Settings};
use super::key;

/// Everything that is wrong with the keys for tokens.
pub(super) fn problems(settings: &Settings) -> Vec<Problem> {
    let mut problems: Vec<Problem> =
        settings.members(TOKEN_KEY_FAMILY).filter_map(|table| problem(settings, table)).collect();
    problems.extend(too_many(settings));
    problems
}

fn problem(settings: &Settings, table: &[Setting]) -> Option<Problem> {
    let [algorithm, secret, file] = ["algorithm", "secret", "file"].map(|name| key(table, name));
    if [algorithm, secret, file].iter().any(|setting| setting.is_refused) {
        return None;
    }
    let Some(named) = algorithm.value.text().as_deref().and_then(Algorithm::named) else {
        let message = format!("{} is not set", algorithm.title());
        return Some(unset(table, message, "a key is for one algorithm, such as \"RS256\""));
    };
    match (secret.value.secret(), file.value.text()) {
        (None, None) => Some(unset(table, format!("{} is not set", file.title()), wanted(named))),
        (Some(_), Some(_)) => {
            let message = format!("{} and {} are both set", secret.title(), file.title());
            Some(settings.problem(secret, message).hint("set one of the two"))
        }
        (Some(_), None) if !named.is_shared() => {
            let message = format!("{} is set, but {named} needs a public key", secret.title());
            Some(settings.problem(secret, message).hint(wanted(named)))
        }
        (Some(_), None) => weak(settings, named, secret),
        (None, Some(_)) => None,
    }
}

fn unset(table: &[Setting], message: String, hint: &str) -> Problem {
    Problem::new(Place::Nowhere, message).hint(format!("write it under [{}]: {hint}", table[0].table()))
}

fn wanted(algorithm: Algorithm) -> &'static str {
    match algorithm.is_shared() {
        true => "secret = \"…\", or file = \"…\" with the secret in it",
        false => "file = \"…\" names the public key as PEM; `openssl pkey -pubout` makes it of the private one",
    }
}

fn weak(settings: &Settings, algorithm: Algorithm, setting: &Setting) -> Option<Problem> {
    if settings.get("auth.allow_short_secret").value.is_on() {
        return None;
    }
    let secret = setting.value.secret()?;
    let (bytes, min) = (secret.expose().len(), algorithm.secret_bytes_min());
    let weakness = match bytes < min {
        true => format!("has {bytes} bytes, {algorithm} needs {min}"),
        false if is_sample(secret.expose()) => "is easily guessed".to_owned(),
        false => return None,
    };
    let problem = settings.problem(setting, format!("{} {weakness}", setting.title()));
    Some(problem.hint(format!("`openssl rand -hex {min}` makes a good one")))
}

fn too_many(settings: &Settings) -> Option<Problem> {
    let max = fanfare_auth::limits::KEYS_MAX;
    let count = settings.members(TOKEN_KEY_FAMILY).count();
    let message = format!("[{TOKEN_KEY_FAMILY}] has {count} keys, at most {max} are taken");
    (count > max).then(|| Problem::new(Place::Nowhere, message).hint("take out those whose accept_until is over"))
}
