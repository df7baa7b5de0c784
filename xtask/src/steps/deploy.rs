//! What operators copy, held against what will read it: linters that work offline, and the programs themselves where they can
//! check a configuration. Starting it all is for `crates/server/tests/deploy.rs` and, of the proxies, the JavaScript suite.

use std::path::{Path, PathBuf};

use crate::command::Run;
use crate::step::Outcome;
use crate::steps::python;
use crate::tally::Tally;
use crate::{project, tool};

/// What Debian has, by program and package.
const PROGRAMS: [(&str, &str); 2] = [("promtool", "prometheus"), ("systemd-analyze", "systemd")];

/// What `kubectl apply --kustomize` has inside.
const KUSTOMIZE: &str = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1";

/// systemd's exposure level of the unit: 12 is 1.2, "OK".
const EXPOSURE_MAX: &str = "12";

/// Checks every file.
pub(crate) fn lint() -> Outcome {
    if let Err(missing) = python::ready() {
        return Outcome::Skipped(missing);
    }
    for (program, package) in PROGRAMS {
        if let Err(why) = tool::find_or_install(program, package) {
            return Outcome::Skipped(why);
        }
    }
    match lint_with(&project::at("deploy")) {
        Ok(told) => Outcome::PassedWith(Tally::default(), told),
        Err(why) => Outcome::Failed(why),
    }
}

fn lint_with(folder: &Path) -> Result<String, String> {
    let environment = python::environment("lint", &folder.join("lint-requirements.txt"), &[])?.join("bin");
    let linter = |name: &str| environment.join(name);
    let mut manifests = manifests(&folder.join("kubernetes/base"))?;
    let kustomized = kustomized()?;
    manifests.extend(kustomized.iter().map(|file| file.to_string_lossy().into_owned()));
    let runs = [
        run("hadolint", linter("hadolint"), &["deploy/Dockerfile"]),
        run("yamllint", linter("yamllint"), &["--strict", "--config-file", "deploy/.yamllint", "deploy"]),
        run("kubernetes", linter("kubernetes-validate"), &["--strict"]).args(&manifests),
        run(
            "compose",
            linter("check-jsonschema"),
            &["--builtin-schema", "vendor.compose-spec", "deploy/compose/compose.yaml"],
        ),
        run("rules", "promtool".into(), &["check", "rules", "deploy/monitoring/alerts.yml"]),
        run("rules-test", "promtool".into(), &["test", "rules", "deploy/monitoring/alerts.test.yml"]),
        run("prometheus", "promtool".into(), &["check", "config", "--syntax-only", "deploy/compose/prometheus.yml"]),
        run(
            "unit",
            "systemd-analyze".into(),
            &["security", "--offline=true", &format!("--threshold={EXPOSURE_MAX}"), "deploy/systemd/fanfare.service"],
        ),
    ];
    let count = runs.len();
    runs.into_iter().try_for_each(|run| run.output().map(drop))?;
    let without = if kustomized.is_some() { "" } else { "; no Go, so that kustomize was not run" };
    Ok(format!("{count} linters{without}"))
}

/// What kustomize makes of the manifests of a hub; it makes those for Prometheus, too. Needs a Go, to be built with.
fn kustomized() -> Result<Option<PathBuf>, String> {
    if tool::find("go").is_none() {
        return Ok(None);
    }
    let folder = project::target().join("kustomize");
    let install = Run::new("deploy-kustomize-install", "go").args(&["install", KUSTOMIZE]);
    install.env("GOBIN", &folder).env("GOTOOLCHAIN", "local").output()?;
    let build = |name: &str| {
        let made = folder.join(format!("{name}.yaml"));
        let (from, to) = (format!("deploy/kubernetes/{name}"), made.to_string_lossy().into_owned());
        run("kustomize", folder.join("kustomize"), &["build", &from, "--output", &to]).output().map(|_| made)
    };
    build("monitoring")?;
    build("base").map(Some)
}

fn run(name: &str, program: PathBuf, arguments: &[&str]) -> Run {
    Run::new(&format!("deploy-{name}"), program).args(arguments)
}

/// The manifests in a folder: not what kustomize reads.
fn manifests(folder: &Path) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    let is_one =
        |file: &PathBuf| file.extension().is_some_and(|kind| kind == "yaml") && !file.ends_with("kustomization.yaml");
    let mut names: Vec<String> = files.filter(is_one).map(|file| file.to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(project::at(file)).expect("it is there");
        let from = text.lines().skip_while(|line| line.trim() != "groups:").map(|line| line.trim_start().to_owned());
        from.collect()
    }

    #[test]
    fn the_alerts_of_kubernetes_are_those_of_prometheus() {
        let alerts = groups("deploy/monitoring/alerts.yml");
        assert!(alerts.len() > 100);
        assert_eq!(groups("deploy/kubernetes/monitoring/alerts.yaml"), alerts);
    }
}
