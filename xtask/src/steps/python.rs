//! The Python SDK, in a virtual environment under `target/` with the versions of `requirements.txt`.

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
    match tool::version("python3", "--version") {
        None => return Outcome::Skipped("no Python".to_owned()),
        Some(version) if version < PYTHON_MIN => return Outcome::Skipped("Python is older than 3.10".to_owned()),
        Some(_) => {}
    }
    if let Err(missing) = venv_module() {
        return Outcome::Skipped(missing);
    }
    Outcome::of_tests(test(&project::at("crates/testkit/sdk/python")), Tally::of_unittest)
}

/// Debian leaves the module that makes virtual environments to a package of its own.
fn venv_module() -> Result<(), String> {
    if tool::works("python3", &["-c", "import ensurepip, venv"]) {
        return Ok(());
    }
    tool::install("python3-venv").map_err(|why| format!("no venv module; {why}"))
}

fn test(folder: &Path) -> Result<String, String> {
    let python = environment(&folder.join("requirements.txt"))?;
    let run = Run::new("python", python).args(&["-B", "-m", "unittest", "--verbose", "test_sdk"]);
    run.within(folder).env("SUITE_BINARY", project::binary()).output()
}

/// The environment's Python; it is made anew when the requirements have changed.
fn environment(requirements: &Path) -> Result<PathBuf, String> {
    let environment = project::target().join("python");
    let python = environment.join("bin").join("python");
    let stamp = environment.join("installed-requirements.txt");
    let wanted = fs::read(requirements).map_err(|error| format!("{}: {error}", requirements.display()))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let place = environment.to_string_lossy();
    Run::new("python-venv", "python3").args(&["-m", "venv", "--clear", &place]).output()?;
    let arguments = ["-m", "pip", "install", "--disable-pip-version-check", "--requirement"];
    Run::new("python-install", &python).args(&arguments).args(&[&requirements.to_string_lossy()]).output()?;
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(python)
}
