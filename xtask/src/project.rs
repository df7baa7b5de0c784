//! Where things are in the project.

use std::io;
use std::path::{Path, PathBuf};

/// The top of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the project")
}

/// A path of the project, from its top.
pub(crate) fn at(path: &str) -> PathBuf {
    root().join(path)
}

/// The folder that builds go to.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| at("target"), PathBuf::from)
}

/// The binary that the suites run against.
pub(crate) fn binary() -> PathBuf {
    target().join("debug").join("fanfare")
}

/// All files below a folder. Links are files.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}
