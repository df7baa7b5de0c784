//! Credentials that systemd hands to a service: for each secret a file with the key's name, `api.keys`,
//! `auth.hmac_secret`, `api.named_keys.NAME.secret`, `auth.keys.NAME.secret`, in the folder that `$CREDENTIALS_DIRECTORY` names.
//!
//! Other files there are not looked at: they may be meant for somebody else in the same unit.

use std::io::ErrorKind;
use std::path::Path;

use super::problem::{Place, Problem};
use super::settings::{Origin, Setting, Settings};
use super::variables::{Meant, Variables, secret_file};

/// The variable that names the folder.
const FOLDER: &str = "CREDENTIALS_DIRECTORY";

/// Puts the credentials over the earlier values.
pub(crate) fn overlay(variables: &Variables, settings: &mut Settings) -> Vec<Problem> {
    let Some(folder) = variables.get(FOLDER).map(Path::new) else { return Vec::new() };
    let is_secret = |setting: &&Setting| setting.key.kind.is_secret();
    let secrets: Vec<(String, Meant)> = settings
        .iter()
        .filter(is_secret)
        .map(|setting| (setting.credential(), Meant::of(setting)))
        .filter(|(name, _)| is_there(&folder.join(name)))
        .collect();
    secrets.into_iter().filter_map(|(name, meant)| one(folder, name, &meant, settings).err()).collect()
}

/// What cannot be looked at is taken to be there, and reading it says why.
fn is_there(path: &Path) -> bool {
    !path.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn one(folder: &Path, name: String, meant: &Meant, settings: &mut Settings) -> Result<(), Problem> {
    let place = Place::Credential(name.clone());
    let given = secret_file(&place, &folder.join(&name).display().to_string(), meant.key)?;
    let target = meant.target();
    let put = settings.put(target, &given, Origin::Credential(name));
    put.map_err(|refusal| Problem::new(place, format!("{} {}", target.title(), refusal.complaint)).hint(refusal.hint))
}
