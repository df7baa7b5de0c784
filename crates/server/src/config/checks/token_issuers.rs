//! Of each issuer whose keys are fetched: it says who it is and for whom its tokens are, and its keys can be found.

use fanfare_outbound::Endpoint;

use super::super::problem::{Place, Problem};
use super::super::schema::TOKEN_ISSUER_FAMILY;
use super::super::settings::{Setting, Settings};
use super::key;

/// Everything that is wrong with the issuers.
pub(super) fn problems(settings: &Settings) -> Vec<Problem> {
    let each = settings.members(TOKEN_ISSUER_FAMILY).flat_map(|table| of_one(settings, table));
    let mut problems: Vec<Problem> = each.collect();
    problems.extend(doubled(settings));
    problems
}

fn of_one(settings: &Settings, table: &[Setting]) -> Vec<Problem> {
    let needed = [
        ("issuer", "what its tokens say in iss"),
        ("audience", "without it, any token that the issuer made for another application would do"),
    ];
    let mut problems: Vec<Problem> = needed.iter().filter_map(|(name, why)| unset(key(table, name), why)).collect();
    problems.extend(no_place(settings, table));
    problems
}

fn unset(setting: &Setting, why: &str) -> Option<Problem> {
    if setting.value.text().is_some() || setting.is_refused {
        return None;
    }
    let problem = Problem::new(Place::Nowhere, format!("{} is not set", setting.title()));
    Some(problem.hint(format!("write it under [{}]: {why}", setting.table())))
}

/// Without a URL of its keys, the issuer is one itself.
fn no_place(settings: &Settings, table: &[Setting]) -> Option<Problem> {
    let (issuer, url) = (key(table, "issuer"), key(table, "jwks_url"));
    if url.value.text().is_some() || url.is_refused {
        return None;
    }
    let error = Endpoint::discovery(&issuer.value.text()?).err()?;
    let message = format!("{} {error}, and {} is off", issuer.title(), url.title());
    Some(settings.problem(issuer, message).hint(format!("say where its keys are in {}", url.title())))
}

fn doubled(settings: &Settings) -> Vec<Problem> {
    let issuers: Vec<&Setting> = settings.members(TOKEN_ISSUER_FAMILY).map(|table| key(table, "issuer")).collect();
    let mut problems = Vec::new();
    for (index, setting) in issuers.iter().enumerate() {
        let own = setting.value.text();
        let earlier = issuers[..index].iter().find(|earlier| own.is_some() && earlier.value.text() == own);
        problems.extend(earlier.map(|earlier| {
            let message = format!("{} is that of {} too", setting.title(), earlier.title());
            settings.problem(setting, message).hint("each issuer has one table")
        }));
    }
    problems
}
