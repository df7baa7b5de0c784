//! Reads the configuration file: every problem in it is found, not the first alone.

use std::collections::BTreeSet;
use std::ops::Range;

use fanfare_gateway::Hook;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::given::Given;
use super::problem::Problem;
use super::schema::{self, Section};
use super::settings::{Origin, Settings, Target, table};
use super::source::Source;
use super::spelling;

/// How many places that are no TOML are told of.
const SYNTAX_PROBLEMS_MAX: usize = 5;

type Entry<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

/// Puts the file's values over the earlier ones, and says what is wrong with some of them.
///
/// # Errors
/// The file is not TOML at all; none of its values count.
pub(crate) fn overlay(mut source: Source, settings: &mut Settings) -> Result<Vec<Problem>, Vec<Problem>> {
    let text = source.text().to_owned();
    let (root, errors) = DeTable::parse_recoverable(&text);
    let problems = if errors.is_empty() {
        mask_table(&mut source, root.get_ref(), None);
        let mut walk = Walk { source: &source, settings, problems: Vec::new() };
        walk.root(root.get_ref());
        Ok(walk.problems)
    } else {
        mask_lines(&mut source);
        Err(syntax(&source, &errors))
    };
    settings.source = Some(source);
    problems
}

/// What a value of the file is.
pub(crate) fn given(value: &DeValue<'_>) -> Given {
    match value {
        DeValue::String(text) => Given::Text(text.to_string()),
        DeValue::Integer(number) => {
            let end = if number.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
            Given::Integer(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(end))
        }
        DeValue::Boolean(on) => Given::Bool(*on),
        DeValue::Array(list) => Given::List(list.iter().map(|element| given(element.get_ref())).collect()),
        DeValue::Float(_) => Given::Other("a number with a fraction"),
        DeValue::Datetime(date) => Given::Date(date.to_string()),
        DeValue::Table(_) => Given::Other("a table"),
    }
}

struct Walk<'a> {
    source: &'a Source,
    settings: &'a mut Settings,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn root(&mut self, root: &DeTable<'_>) {
        for (key, value) in root {
            if let Some(family) = schema::family(key.get_ref()) {
                self.family(family, key.span(), value.get_ref());
                continue;
            }
            match (schema::section(key.get_ref()), value.get_ref()) {
                (Some(section), DeValue::Table(entries)) => self.section(section, entries),
                (Some(_), _) => self.not_a_table(key.get_ref(), &key.span()),
                (None, DeValue::Table(_)) => self.unknown_section(key.get_ref(), &key.span()),
                (None, _) => self.outside(key.get_ref(), &key.span()),
            }
        }
    }

    fn section(&mut self, section: &'static Section, entries: &DeTable<'_>) {
        for (key, value) in entries {
            if section.name == schema::CHANNELS && key.get_ref() == schema::NAMESPACES {
                self.namespaces(key.span(), value.get_ref());
            } else if let Some(family) = schema::family(&format!("{}.{}", section.name, key.get_ref())) {
                self.family(family, key.span(), value.get_ref());
            } else {
                self.entry(section, None, (key, value));
            }
        }
    }

    fn namespaces(&mut self, span: Range<usize>, value: &DeValue<'_>) {
        let title = format!("{}.{}", schema::CHANNELS, schema::NAMESPACES);
        let DeValue::Table(namespaces) = value else {
            return self.not_a_table(&format!("{title}.NAME"), &span);
        };
        for (name, value) in namespaces {
            match value.get_ref() {
                DeValue::Table(entries) if schema::is_namespace_name(name.get_ref()) => {
                    self.namespace(name.get_ref(), entries)
                }
                DeValue::Table(_) => self.bad_name(name.get_ref(), &name.span()),
                _ => self.not_a_table(&format!("{title}.NAME"), &name.span()),
            }
        }
    }

    fn family(&mut self, family: &'static Section, span: Range<usize>, value: &DeValue<'_>) {
        let title = format!("{}.NAME", family.name);
        let DeValue::Table(members) = value else {
            return self.not_a_table(&title, &span);
        };
        for (name, value) in members {
            match value.get_ref() {
                DeValue::Table(entries) if schema::is_member_name(family, name.get_ref()) => {
                    self.settings.add_member(family, name.get_ref());
                    for entry in entries {
                        self.entry(family, Some(name.get_ref()), entry);
                    }
                }
                DeValue::Table(_) if family.name == schema::HOOK_FAMILY => {
                    self.bad_hook(name.get_ref(), &name.span());
                }
                DeValue::Table(_) => self.bad_member(name.get_ref(), &name.span()),
                _ => self.not_a_table(&title, &name.span()),
            }
        }
    }

    fn bad_hook(&mut self, name: &str, span: &Range<usize>) {
        let names = Hook::ALL.map(Hook::name);
        let hint = match spelling::nearest(name, names) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("hooks are {}", names.join(", ")),
        };
        self.report(span, format!("there is no hook {name:?}"), hint);
    }

    fn bad_member(&mut self, name: &str, span: &Range<usize>) {
        let max = schema::NAMESPACE_BYTES_MAX;
        let hint = format!("write letters, digits, \"-\", \"_\" and \".\", {max} at most");
        self.report(span, format!("{name:?} cannot be the name of a table"), hint);
    }

    fn namespace(&mut self, name: &str, entries: &DeTable<'_>) {
        self.settings.add_namespace(name);
        for entry in entries {
            self.entry(schema::channel_options(), Some(name), entry);
        }
    }

    fn entry(&mut self, section: &'static Section, namespace: Option<&str>, (name, value): Entry<'_, '_>) {
        let Some(key) = section.key(name.get_ref()) else {
            return self.unknown_key(section, namespace, (name, value));
        };
        let target = Target { section, namespace, key };
        let Err(refusal) = self.settings.put(target, &given(value.get_ref()), Origin::File(value.span())) else {
            return;
        };
        let element = refusal.element.and_then(|index| value.get_ref().as_array()?.get(index));
        let span = element.map_or_else(|| value.span(), Spanned::span);
        self.report(&span, format!("{} {}", target.title(), refusal.complaint), refusal.hint);
    }

    fn unknown_key(&mut self, section: &'static Section, namespace: Option<&str>, (name, _): Entry<'_, '_>) {
        let message = format!("unknown key {:?} in [{}]", name.get_ref(), table(section, namespace));
        self.report(&name.span(), message, key_hint(section, namespace, name.get_ref()));
    }

    fn unknown_section(&mut self, name: &str, span: &Range<usize>) {
        let sections = || schema::SECTIONS.iter().map(|section| section.name);
        let hint = match spelling::nearest(name, sections()) {
            Some(near) => format!("did you mean [{near}]?"),
            None => format!("sections are {}", bracketed(sections())),
        };
        self.report(span, format!("unknown section [{name}]"), hint);
    }

    fn outside(&mut self, name: &str, span: &Range<usize>) {
        let sections = schema::SECTIONS.iter().map(|section| section.name);
        let hint = elsewhere(name).unwrap_or_else(|| format!("keys stand in sections: {}", bracketed(sections)));
        self.report(span, format!("unknown key {name:?} outside of any section"), hint);
    }

    fn not_a_table(&mut self, title: &str, span: &Range<usize>) {
        let hint = format!("write [{title}] on a line of its own, and its keys below it");
        self.report(span, format!("[{title}] is a section, not a key"), hint);
    }

    fn bad_name(&mut self, name: &str, span: &Range<usize>) {
        let max = schema::NAMESPACE_BYTES_MAX;
        let hint =
            format!("write letters, digits, \"-\", \"_\" and \".\", {max} at most; channels are then named NAME:…");
        self.report(span, format!("{name:?} cannot be the name of a namespace"), hint);
    }

    fn report(&mut self, span: &Range<usize>, message: String, hint: String) {
        self.problems.push(Problem::new(self.source.locate(span), message).hint(hint));
    }
}

fn key_hint(section: &'static Section, namespace: Option<&str>, name: &str) -> String {
    let keys = || section.keys.iter().map(|key| key.name);
    if let Some(near) = spelling::nearest(name, keys()) {
        return format!("did you mean {near:?}?");
    }
    elsewhere(name).unwrap_or_else(|| {
        let keys: Vec<&str> = keys().collect();
        format!("keys of [{}] are {}", table(section, namespace), keys.join(", "))
    })
}

/// The section where a key of this name is, or one nearly of this name.
fn elsewhere(name: &str) -> Option<String> {
    let all = || schema::SECTIONS.iter().chain(schema::FAMILIES);
    let keys = || all().flat_map(|section| section.keys.iter().map(move |key| (section, key)));
    let near = spelling::nearest(name, keys().map(|(_, key)| key.name))?;
    let (section, _) = keys().find(|(_, key)| key.name == near)?;
    if near == name {
        return Some(format!("it belongs in [{}]", section.name));
    }
    Some(format!("did you mean {near:?} in [{}]?", section.name))
}

fn bracketed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("[{name}]")).collect::<Vec<_>>().join(", ")
}

/// One problem a line: what else is found in a line follows from the first, as do most of the later lines.
fn syntax(source: &Source, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut lines = BTreeSet::new();
    let spans = errors.iter().map(|error| (error, error.span().unwrap_or(0..0)));
    let firsts = spans.filter(|(_, span)| lines.insert(source.line(span.start))).take(SYNTAX_PROBLEMS_MAX);
    let problem = |(error, span): (&toml::de::Error, Range<usize>)| {
        let problem = Problem::new(source.locate(&span), format!("this is not TOML: {}", error.message()));
        problem.hint(syntax_hint(error.message()))
    };
    firsts.map(problem).collect()
}

fn syntax_hint(message: &str) -> &'static str {
    if message.starts_with("duplicate") {
        return "each section and each key of it can be written once";
    }
    r#"keys are written as key = "text", key = 5, key = true or key = ["text", "text"]"#
}

/// Masks what may be a secret: the values of secret keys, and those of keys that are not known, since a secret's
/// key may be mistyped or stand in another section.
fn mask_table(source: &mut Source, entries: &DeTable<'_>, section: Option<&'static Section>) {
    for (key, value) in entries {
        let name = key.get_ref().as_ref();
        match value.get_ref() {
            DeValue::Table(inner) => match family_in(section, name) {
                Some(family) => mask_members(source, inner, family),
                None => mask_table(source, inner, inner_section(section, name)),
            },
            _ if is_harmless(section, name) => {}
            _ => mask_value(source, value),
        }
    }
}

fn family_in(section: Option<&Section>, name: &str) -> Option<&'static Section> {
    match section {
        None => schema::family(name),
        Some(section) => schema::family(&format!("{}.{name}", section.name)),
    }
}

fn mask_members(source: &mut Source, members: &DeTable<'_>, family: &'static Section) {
    for value in members.values() {
        match value.get_ref() {
            DeValue::Table(entries) => mask_table(source, entries, Some(family)),
            _ => mask_value(source, value),
        }
    }
}

fn inner_section(section: Option<&'static Section>, name: &str) -> Option<&'static Section> {
    match section {
        None => schema::section(name),
        // Below [channels] there are namespaces only.
        Some(section) => (section.name == schema::CHANNELS).then_some(section),
    }
}

fn is_harmless(section: Option<&'static Section>, name: &str) -> bool {
    section.and_then(|section| section.key(name)).is_some_and(|key| !key.kind.is_secret())
}

fn mask_value(source: &mut Source, value: &Spanned<DeValue<'_>>) {
    match value.get_ref() {
        DeValue::Array(list) => list.iter().for_each(|element| mask_value(source, element)),
        DeValue::Table(inner) => inner.values().for_each(|value| mask_value(source, value)),
        DeValue::String(_) if value.span().len() > 2 => source.mask(value.span().start + 1..value.span().end - 1),
        DeValue::String(_) => {}
        _ => source.mask(value.span()),
    }
}

/// Masks by lines where the text is no TOML: what follows a key that is secret or not known, up to the next key
/// that is known.
fn mask_lines(source: &mut Source) {
    let text = source.text().to_owned();
    let (mut start, mut in_secret) = (0, false);
    for line in text.split_inclusive('\n') {
        let key = line.split_once('=').map(|(key, _)| key);
        let begins_anew = !in_secret && key.is_some() || key.is_some_and(is_known) || is_header(line);
        let hidden_from = if begins_anew { key.map_or(0, |key| key.len() + 1) } else { 0 };
        if begins_anew {
            in_secret = key.is_some_and(|key| !is_known(key) || is_secret(key));
        }
        if in_secret {
            source.mask(start + hidden_from..start + line.trim_end().len().max(hidden_from));
        }
        start += line.len();
    }
}

fn is_header(line: &str) -> bool {
    let name = line.trim().trim_start_matches('[').trim_end_matches(']');
    line.trim_start().starts_with('[') && name.split('.').next().is_some_and(is_table)
}

fn is_table(name: &str) -> bool {
    schema::section(name).is_some() || schema::family(name).is_some()
}

fn is_known(name: &str) -> bool {
    schema::SECTIONS.iter().chain(schema::FAMILIES).any(|section| section.key(name.trim()).is_some())
}

fn is_secret(name: &str) -> bool {
    schema::SECTIONS
        .iter()
        .chain(schema::FAMILIES)
        .filter_map(|section| section.key(name.trim()))
        .any(|key| key.kind.is_secret())
}
