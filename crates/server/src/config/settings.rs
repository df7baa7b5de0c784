//! All keys with their values, and where each value comes from.

use std::ops::Range;

use super::draft::Draft;
use super::given::{Given, Refusal};
use super::problem::{Place, Problem};
use super::schema::{self, Key, Put, Section};
use super::source::Source;
use super::value::Value;

/// Every key of every section and namespace. A later source puts its values over those of an earlier one.
pub struct Settings {
    pub(super) entries: Vec<Setting>,
    pub(crate) source: Option<Source>,
}

/// One key, its value, and where that comes from.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) section: &'static Section,
    pub(crate) namespace: Option<String>,
    pub(crate) key: &'static Key,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
    /// A value was given that does not fit: what is here is not what was meant.
    pub(crate) is_refused: bool,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// These bytes of the file.
    File(Range<usize>),
    /// A credential of systemd.
    Credential(String),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(&'static str),
    /// What the node runs with; the file may say something else by now.
    Running,
}

/// A key of a section, or of a namespace.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) section: &'static Section,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) key: &'static Key,
}

impl Settings {
    /// All keys with their defaults; no namespaces.
    pub(crate) fn defaults() -> Self {
        let keys = schema::SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)));
        let entries = keys.map(|(section, key)| Setting::default_of(section, None, key)).collect();
        Self { entries, source: None }
    }

    /// Adds a namespace; its keys have their defaults, whatever `[channels]` says.
    pub(crate) fn add_namespace(&mut self, name: &str) {
        let section = schema::channel_options();
        let settings = section.keys.iter().map(|key| Setting::default_of(section, Some(name.to_owned()), key));
        self.entries.extend(settings);
    }

    /// Adds a table of a family.
    pub(crate) fn add_member(&mut self, family: &'static Section, name: &str) {
        let settings = family.keys.iter().map(|key| Setting::default_of(family, Some(name.to_owned()), key));
        self.entries.extend(settings);
    }

    /// Names of the namespaces, in the order they were added.
    pub(crate) fn namespaces(&self) -> Vec<&str> {
        let in_channels = self.entries.iter().filter(|setting| setting.section.name == schema::CHANNELS);
        let mut names: Vec<&str> = in_channels.filter_map(|setting| setting.namespace.as_deref()).collect();
        names.dedup();
        names
    }

    /// The tables of a family, with all their keys.
    pub(crate) fn members(&self, family: &str) -> impl Iterator<Item = &[Setting]> {
        let tables =
            self.entries.chunk_by(|one, next| one.section.name == next.section.name && one.namespace == next.namespace);
        tables.filter(move |table| table[0].section.name == family)
    }

    /// Each key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.entries.iter()
    }

    /// `[channels]` and each namespace, with all their keys.
    pub(crate) fn channel_tables(&self) -> impl Iterator<Item = &[Setting]> {
        let tables =
            self.entries.chunk_by(|one, next| one.section.name == next.section.name && one.namespace == next.namespace);
        tables.filter(|table| table[0].section.name == schema::CHANNELS)
    }

    /// A key outside of the namespaces, by `section.key`.
    pub(crate) fn get(&self, title: &str) -> &Setting {
        self.entries
            .iter()
            .find(|setting| setting.title() == title)
            .expect("the schema has every key that is asked for")
    }

    /// Puts a value over the earlier one, or says why it does not fit.
    pub(crate) fn put(&mut self, target: Target<'_>, given: &Given, origin: Origin) -> Result<(), Refusal> {
        let setting = self.entries.iter_mut().rev().find(|setting| setting.is(target));
        let setting = setting.expect("sections are there from the start, namespaces are added before their keys");
        let read = target.key.kind.read(given, target.key.word);
        setting.is_refused = read.is_err();
        setting.origin = origin;
        setting.value = read?;
        Ok(())
    }

    /// Where a value was set.
    pub(crate) fn place(&self, setting: &Setting) -> Place {
        match (&setting.origin, &self.source) {
            (Origin::File(span), Some(source)) => source.locate(span),
            (Origin::Credential(name), _) => Place::Credential(name.clone()),
            (Origin::Variable(name), _) => Place::Variable(name.clone()),
            (Origin::Flag(name), _) => Place::Flag(name),
            _ => Place::Nowhere,
        }
    }

    /// Where a value comes from, in words.
    pub(crate) fn origin_text(&self, setting: &Setting) -> String {
        match (&setting.origin, &self.source) {
            (Origin::File(span), Some(source)) => format!("{}:{}", source.name(), source.line(span.start)),
            (Origin::Credential(name), _) => format!("credential {name}"),
            (Origin::Variable(name), _) => format!("environment {name}"),
            (Origin::Flag(name), _) => format!("flag {name}"),
            (Origin::Running, _) => "the running node".to_owned(),
            _ => "default".to_owned(),
        }
    }

    /// Name of the file, if one was read.
    pub fn file(&self) -> Option<&str> {
        self.source.as_ref().map(Source::name)
    }

    /// Every key with its value as TOML, secrets hidden, a table's name before its keys.
    pub fn to_toml_lines(&self, with_origins: bool) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut table = String::new();
        for setting in &self.entries {
            if setting.table() != table {
                table = setting.table();
                let gap = if lines.is_empty() { "" } else { "\n" };
                lines.push(format!("{gap}[{table}]"));
            }
            let line = format!("{} = {}", setting.key.name, setting.value.to_toml());
            let origin = with_origins.then(|| self.origin_text(setting));
            let comment: Vec<String> = origin.into_iter().chain(setting.value.remark()).collect();
            lines.push(if comment.is_empty() { line } else { format!("{line:<44} # {}", comment.join(": ")) });
        }
        lines
    }

    /// Every key as a JSON object with `key`, `value` as in TOML, `origin`, and `remark` where a value depends on the
    /// machine.
    pub fn to_json_lines(&self) -> Vec<String> {
        let object = |setting: &Setting| {
            let (key, value) = (setting.title(), setting.value.to_json());
            let mut object = serde_json::json!({ "key": key, "value": value, "origin": self.origin_text(setting) });
            if let Some(remark) = setting.value.remark() {
                object["remark"] = remark.into();
            }
            object.to_string()
        };
        self.entries.iter().map(object).collect()
    }

    /// A problem with this setting, where it was set.
    pub(crate) fn problem(&self, setting: &Setting, message: impl Into<String>) -> Problem {
        Problem::new(self.place(setting), message)
    }

    /// All values put into a draft.
    pub(crate) fn draft(&self) -> Draft {
        let mut draft = Draft::default();
        for setting in &self.entries {
            match setting.key.put {
                Put::Node(put) => put(&mut draft, &setting.value),
                Put::Channel(put) => put(draft.channel(setting.namespace.as_deref()), &setting.value),
                Put::ApiKey(put) => put(draft.api_key(setting.member()), &setting.value),
                Put::TokenKey(put) => put(draft.token_key(setting.member()), &setting.value),
                Put::Role(put) => put(draft.role(setting.member()), &setting.value),
                Put::Hook(put) => put(draft.hook(setting.member()), &setting.value),
                Put::TokenIssuer(put) => put(draft.token_issuer(setting.member()), &setting.value),
            }
        }
        draft
    }
}

impl Setting {
    fn default_of(section: &'static Section, namespace: Option<String>, key: &'static Key) -> Self {
        Self { section, namespace, key, value: default_value(key), origin: Origin::Default, is_refused: false }
    }

    fn is(&self, target: Target<'_>) -> bool {
        self.section.name == target.section.name
            && self.namespace.as_deref() == target.namespace
            && self.key.name == target.key.name
    }

    /// The name of its table within its family.
    fn member(&self) -> &str {
        self.namespace.as_deref().expect("tables of a family have names")
    }

    /// Its name in messages: `session.ping_interval`, `channels.namespaces.news.publish`.
    pub(crate) fn title(&self) -> String {
        Target { section: self.section, namespace: self.namespace.as_deref(), key: self.key }.title()
    }

    /// The credential that may hold its value.
    pub(crate) fn credential(&self) -> String {
        let member = self.namespace.as_ref().map(|name| format!("{name}.")).unwrap_or_default();
        format!("{}.{member}{}", self.section.name, self.key.name)
    }

    /// The table that it stands in, without brackets.
    pub(crate) fn table(&self) -> String {
        table(self.section, self.namespace.as_deref())
    }
}

impl Target<'_> {
    /// Its name in messages.
    pub(crate) fn title(&self) -> String {
        format!("{}.{}", table(self.section, self.namespace), self.key.name)
    }
}

/// A table's name.
pub(crate) fn table(section: &Section, namespace: Option<&str>) -> String {
    match namespace {
        Some(name) if !is_bare(name) => format!("{}.{name:?}", stem(section)),
        Some(name) => format!("{}.{name}", stem(section)),
        None => section.name.to_owned(),
    }
}

/// Whether a key of TOML needs no quotes.
fn is_bare(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

/// What stands before the name of a table that has one.
fn stem(section: &Section) -> String {
    match section.name {
        schema::CHANNELS => format!("{}.{}", section.name, schema::NAMESPACES),
        family => family.to_owned(),
    }
}

fn default_value(key: &Key) -> Value {
    if key.default.is_empty() {
        return Value::Unset;
    }
    let parsed = toml::de::DeValue::parse(key.default).expect("defaults are TOML");
    let given = super::file::given(parsed.get_ref());
    key.kind.read(&given, key.word).expect("defaults fit their keys")
}
