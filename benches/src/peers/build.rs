//! The build of Fanfare's program before it is measured. Cargo is always asked: it knows whether the source is newer.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::contest::Answer;

/// Builds the release program beside this one; what cargo says is shown.
pub(crate) fn fanfare() -> Answer<()> {
    let target = target_of(&std::env::current_exe()?)?;
    // Set where cargo runs this program.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--bin", "fanfare", "--target-dir"])
        .arg(target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("the program could not be built: {status}").into()) }
}

/// The target directory of a release program.
fn target_of(program: &Path) -> Answer<PathBuf> {
    let folder = program.parent().filter(|folder| folder.ends_with("release"));
    let target = folder.and_then(Path::parent);
    Ok(target.ok_or("only releases are compared: cargo run --release -p fanfare-benches -- peers")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_built_beside_this_one_and_only_as_a_release() {
        assert_eq!(
            target_of(Path::new("/source/target/release/fanfare-benches")).unwrap(),
            Path::new("/source/target")
        );
        assert!(target_of(Path::new("/source/target/debug/fanfare-benches")).is_err());
    }
}
