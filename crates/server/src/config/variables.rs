//! Environment variables: `FANFARE_SECTION__KEY` for every key outside of the namespaces, lists by commas, and
//! `FANFARE_API__NAMED_KEYS__NAME__SECRET` for secrets of tables that the file names.
//!
//! `FANFARE_SECTION__KEY_FILE` names a file that holds a secret, or several, one a line. An empty variable counts
//! as absent. A variable that begins with `FANFARE_` and is none of ours is refused: it is a typing error.

use super::given::Given;
use super::problem::{Place, Problem};
use super::schema::{self, Key, Section};
use super::settings::{Origin, Setting, Settings, Target};
use super::spelling;

/// Variables of the commands that talk to a node, and the one that names the file.
const COMMAND_VARIABLES: &[&str] = &[
    "FANFARE_SERVER",
    "FANFARE_CA_FILE",
    "FANFARE_API_KEY",
    "FANFARE_API_KEY_FILE",
    "FANFARE_TOKEN",
    "FANFARE_TOKEN_FILE",
    "FANFARE_CONFIG",
];

/// Kubernetes sets these in every container beside a service called `fanfare`.
const KUBERNETES_PREFIXES: &[&str] = &["FANFARE_SERVICE_HOST", "FANFARE_SERVICE_PORT", "FANFARE_PORT"];

const PREFIX: &str = "FANFARE_";
const FILE_SUFFIX: &str = "_FILE";

/// The largest file of secrets that is read.
const SECRET_FILE_BYTES_MAX: u64 = 1 << 20;

/// Environment variables; `None` for a value that is not UTF-8.
#[derive(Debug, Clone, Default)]
pub struct Variables(Vec<(String, Option<String>)>);

impl Variables {
    /// Those of this process.
    pub fn of_process() -> Self {
        let all =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok())));
        Self(all.collect())
    }

    /// The value of a variable that is there, is UTF-8 and is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(other, _)| other == name)?.1.as_deref()?;
        (!value.is_empty()).then_some(value)
    }

    fn ours(&self) -> Vec<(&str, Option<&str>)> {
        let all = self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let mut ours: Vec<_> = all.filter(|(name, value)| is_for_config(name) && *value != Some("")).collect();
        ours.sort_unstable();
        ours
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), Some(value.into()))).collect())
    }
}

/// Puts the values of variables over the earlier ones.
pub(crate) fn overlay(variables: &Variables, settings: &mut Settings) -> Vec<Problem> {
    let ours = variables.ours();
    let put = ours.into_iter().map(|(name, value)| one(name, value, variables, settings));
    put.filter_map(Result::err).collect()
}

/// The variable of a key.
pub(crate) fn name_of(section: &Section, key: &Key) -> String {
    format!("{PREFIX}{}__{}", section.name.to_ascii_uppercase(), key.name.to_ascii_uppercase())
}

fn one(name: &str, value: Option<&str>, variables: &Variables, settings: &mut Settings) -> Result<(), Problem> {
    let problem = |message: &str| Problem::new(Place::Variable(name.to_owned()), message);
    let (meant, is_file) = meant(name, settings).ok_or_else(|| unknown(name))?;
    let target = meant.target();
    let value = value.ok_or_else(|| problem("is not UTF-8"))?;
    if is_file && variables.get(name.trim_end_matches(FILE_SUFFIX)).is_some() {
        let message = format!("{} is set too", name.trim_end_matches(FILE_SUFFIX));
        return Err(problem(&message).hint("set one of the two"));
    }
    let place = Place::Variable(name.to_owned());
    let given =
        if is_file { secret_file(&place, value, target.key)? } else { Given::from_text(value, target.key.kind) };
    let put = settings.put(target, &given, Origin::Variable(name.to_owned()));
    put.map_err(|refusal| {
        problem(&format!("{} {}", target.title(), refusal.complaint)).hint(of_variable(&refusal.hint, target.key))
    })
}

/// Lists are written without brackets in a variable.
fn of_variable(hint: &str, key: &Key) -> String {
    if key.kind.is_list() { format!("{hint}; in a variable without brackets, by commas") } else { hint.to_owned() }
}

/// The key that a variable or a credential stands for.
pub(crate) struct Meant {
    pub(crate) section: &'static Section,
    pub(crate) namespace: Option<String>,
    pub(crate) key: &'static Key,
}

impl Meant {
    pub(crate) fn of(setting: &Setting) -> Self {
        Self { section: setting.section, namespace: setting.namespace.clone(), key: setting.key }
    }

    pub(crate) fn target(&self) -> Target<'_> {
        Target { section: self.section, namespace: self.namespace.as_deref(), key: self.key }
    }
}

/// What a variable stands for, and whether it names a file that holds it. Of tables that the file names, secrets
/// alone have variables.
fn meant(name: &str, settings: &Settings) -> Option<(Meant, bool)> {
    let is = |variable: &str, key: &Key| {
        let is_file = key.kind.is_secret() && name == format!("{variable}{FILE_SUFFIX}");
        (name == variable || is_file).then_some(is_file)
    };
    settings.iter().find_map(|setting| {
        let is_file = match &setting.namespace {
            None => is(&name_of(setting.section, setting.key), setting.key)?,
            Some(_) if setting.key.kind.is_secret() => is(&member_name_of(setting), setting.key)?,
            Some(_) => return None,
        };
        Some((Meant::of(setting), is_file))
    })
}

/// The variable of a secret in a table with a name.
pub(crate) fn member_name_of(setting: &Setting) -> String {
    let member = setting.namespace.as_deref().unwrap_or_default();
    let member = member.to_ascii_uppercase().replace(['-', '.'], "_");
    format!("{}{member}__{}", stem_of(setting.section), setting.key.name.to_ascii_uppercase())
}

/// What the variables of a family begin with.
fn stem_of(family: &Section) -> String {
    format!("{PREFIX}{}__", family.name.to_ascii_uppercase().replace('.', "__"))
}

/// What a file holds: a secret, or several, one a line.
pub(crate) fn secret_file(place: &Place, path: &str, key: &Key) -> Result<Given, Problem> {
    let text = read(path).map_err(|error| {
        Problem::new(place.clone(), format!("cannot read {path}: {error}"))
            .hint("it names a file that holds the secret")
    })?;
    if !key.kind.is_list() {
        return Ok(Given::Text(text.trim().to_owned()));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(Given::List(lines.map(|line| Given::Text(line.to_owned())).collect()))
}

fn read(path: &str) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn is_for_config(name: &str) -> bool {
    name.starts_with(PREFIX) && !COMMAND_VARIABLES.contains(&name) && !is_of_kubernetes(name)
}

fn is_of_kubernetes(name: &str) -> bool {
    let follows = |rest: &str| rest.is_empty() || rest.starts_with('_');
    let known = KUBERNETES_PREFIXES.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(follows));
    known && !name.contains("__")
}

fn unknown(name: &str) -> Problem {
    let problem = Problem::new(Place::Variable(name.to_owned()), "unknown variable");
    if name.starts_with("FANFARE_CHANNELS__NAMESPACES") {
        return problem.hint("namespaces are written in the configuration file: [channels.namespaces.NAME]");
    }
    if let Some(family) = schema::FAMILIES.iter().find(|family| name.starts_with(&stem_of(family))) {
        let secrets = if family.has_secrets() { "; variables give it its secrets" } else { "" };
        return problem.hint(format!("[{}.NAME] stands in the configuration file{secrets}", family.name));
    }
    let keys = schema::SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| name_of(section, key)));
    let names: Vec<String> = keys.chain(COMMAND_VARIABLES.iter().map(|name| (*name).to_owned())).collect();
    // The prefix is right, so that it should not count towards how near a name is.
    let rests = names.iter().filter_map(|name| name.strip_prefix(PREFIX));
    match spelling::nearest(name.trim_start_matches(PREFIX), rests) {
        Some(near) => problem.hint(format!("did you mean {PREFIX}{near}?")),
        None => problem.hint("variables are named FANFARE_SECTION__KEY, such as FANFARE_LISTEN__ADDRESS"),
    }
}
