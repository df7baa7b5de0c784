//! The Python SDK, in a virtual environment under `target/` with the versions of `requirements.txt`; and such
//! environments for others.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::Run;
use crate::step::Outcome;
use crate::tally::Tally;
use crate::{project, tool};

/// The oldest Python that the packages run on.
const PYTHON_MIN: (u32, u32) = (3, 10);

/// The suite, in both encodings.
pub(crate) fn suite() -> Outcome {
    match ready() {
        Ok(()) => Outcome::of_tests(test(&project::at("crates/testkit/sdk/python")), Tally::of_unittest),
        Err(missing) => Outcome::Skipped(missing),
    }
}

/// Whether there is a Python that makes virtual environments; what is missing, if not.
pub(crate) fn ready() -> Result<(), String> {
    match tool::version("python3", "--version") {
        None => Err("no Python".to_owned()),
        Some(version) if version < PYTHON_MIN => Err("Python is older than 3.10".to_owned()),
        Some(_) => venv_module(),
    }
}

/// Debian leaves the module that makes virtual environments to a package of its own.
fn venv_module() -> Result<(), String> {
    if tool::works("python3", &["-c", "import ensurepip, venv"]) {
        return Ok(());
    }
    tool::install("python3-venv").map_err(|why| format!("no venv module; {why}"))
}

fn test(folder: &Path) -> Result<String, String> {
    let python = environment("python", &folder.join("requirements.txt"), &[])?.join("bin").join("python");
    let run = Run::new("python", python).args(&["-B", "-m", "unittest", "--verbose", "test_sdk"]);
    run.within(folder).env("SUITE_BINARY", project::binary()).output()
}

/// A virtual environment under `target/`; it is made anew when the requirements have changed.
pub(crate) fn environment(name: &str, requirements: &Path, options: &[&str]) -> Result<PathBuf, String> {
    let environment = project::target().join(name);
    let stamp = environment.join("installed-requirements.txt");
    let wanted = fs::read(requirements).map_err(|error| format!("{}: {error}", requirements.display()))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(environment);
    }
    let (place, log) = (environment.to_string_lossy(), |step: &str| format!("{name}-{step}"));
    Run::new(&log("venv"), "python3").args(&["-m", "venv", "--clear", &place]).output()?;
    let python = environment.join("bin").join("python");
    let arguments = ["-m", "pip", "install", "--disable-pip-version-check"];
    let install = Run::new(&log("install"), python).args(&arguments).args(options);
    install.args(&["--requirement", &requirements.to_string_lossy()]).output()?;
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(environment)
}
