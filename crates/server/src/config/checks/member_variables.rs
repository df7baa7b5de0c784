//! Of the tables of a family that have secrets: the names of no two are the same in a variable.

use super::super::problem::{Place, Problem};
use super::super::schema::{FAMILIES, Section};
use super::super::settings::{Setting, Settings};
use super::super::variables::member_name_of;

/// One problem for each family where names differ in `-`, `_`, `.` or case only.
pub(super) fn problems(settings: &Settings) -> impl Iterator<Item = Problem> {
    FAMILIES.iter().filter_map(|family| problem(settings, family))
}

fn problem(settings: &Settings, family: &Section) -> Option<Problem> {
    let secret = |table: &[Setting]| table.iter().find(|setting| setting.key.kind.is_secret()).map(member_name_of);
    let variables: Vec<(String, String)> = settings
        .members(family.name)
        .filter_map(|table| secret(table).map(|variable| (variable, table[0].table())))
        .collect();
    let at = (1..variables.len()).find(|at| variables[..*at].iter().any(|(other, _)| *other == variables[*at].0))?;
    let (variable, table) = &variables[at];
    let message = format!("[{table}] and another key have the same variable {variable}");
    Some(Problem::new(Place::Nowhere, message).hint("let the names differ in letters or digits"))
}
