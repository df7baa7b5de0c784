//! `fanfare init`: writes an annotated configuration with new secrets.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Failure, Io};
use crate::config;

/// What `fanfare init` takes.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// The file to write
    #[arg(value_name = "FILE", default_value = config::FILE_DEFAULT)]
    pub file: PathBuf,
    /// Write over a file that is there; its secrets are lost
    #[arg(long)]
    pub force: bool,
}

impl Init {
    /// Writes the file, readable by its owner alone, and prints its name.
    ///
    /// # Errors
    /// A file that is there, unless `--force`; one that cannot be written.
    pub fn run(&self, io: &mut Io) -> Result<(), Failure> {
        write(&self.file, self.force).map_err(|error| self.failure(&error))?;
        let name = self.file.display();
        io.line(&format!("{name}"))?;
        io.notice(&format!("wrote {name} with a new API key and a new token secret; users may subscribe"));
        io.notice(&format!("start with: fanfare serve --config {name}"));
        Ok(())
    }

    fn failure(&self, error: &std::io::Error) -> Failure {
        let name = self.file.display();
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            let failure = Failure::failed(format!("{name} is there already"));
            return failure.hint("--force writes over it: its API keys and its token secret are lost");
        }
        Failure::failed(format!("cannot write {name}: {error}"))
    }
}

/// Writes beside the file and then moves: a crash leaves the old file or the new one.
fn write(path: &Path, force: bool) -> std::io::Result<()> {
    if !force {
        return fill(path);
    }
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    fill(&beside).and_then(|()| std::fs::rename(&beside, path)).inspect_err(|_| {
        // What could not be moved is of no use to anybody.
        let _ = std::fs::remove_file(&beside);
    })
}

fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(config::annotated_with_secrets().as_bytes())?;
    file.sync_all()
}

fn create_private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::Exit;
    use crate::cli::output::scripted;
    use crate::config::{Config, Source, Sources};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("fanfare-init-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("fanfare.toml")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn run(file: PathBuf, force: bool) -> (Exit, String, String) {
        let (mut io, out, err) = scripted::io("", &[]);
        let exit = match (Init { file, force }).run(&mut io) {
            Ok(()) => Exit::Ok,
            Err(failure) => failure.report(&mut io),
        };
        (exit, out.text(), err.text())
    }

    #[test]
    fn a_node_starts_with_what_it_writes() {
        let folder = Folder::new("new");
        let (exit, out, _) = run(folder.file(), false);
        assert_eq!((exit, out), (Exit::Ok, format!("{}\n", folder.file().display())));
        let mode = std::fs::metadata(folder.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let sources = Sources { file: Some(Source::read(&folder.file()).unwrap()), ..Sources::default() };
        let loaded = Config::load(sources).map_err(|problems| problems.to_string()).unwrap_or_else(|p| panic!("{p}"));
        assert_eq!(loaded.config.api.keys.len(), 1);
        assert_eq!(loaded.warnings, []);
        let text = std::fs::read_to_string(folder.file()).unwrap();
        assert!(text.contains("\nsubscribe = \"users\"\n"), "{text}");
    }

    #[test]
    fn secrets_are_new_each_time_and_differ() {
        let secrets = |text: String| -> Vec<String> {
            text.lines()
                .filter(|line| line.starts_with("keys") || line.starts_with("hmac"))
                .map(str::to_owned)
                .collect()
        };
        let (one, two) = (secrets(config::annotated_with_secrets()), secrets(config::annotated_with_secrets()));
        assert_eq!((one.len(), two.len()), (2, 2));
        assert!(one[0] != two[0] && one[1] != two[1] && !one[0].ends_with(&one[1][one[1].len() - 20..]));
    }

    #[test]
    fn a_file_that_is_there_is_kept() {
        let folder = Folder::new("kept");
        std::fs::write(folder.file(), "mine").unwrap();
        let (exit, out, err) = run(folder.file(), false);
        let name = folder.file().display().to_string();
        assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
        assert_eq!(
            err,
            format!(
                "error: {name} is there already\n  --force writes over it: its API keys and its token secret are lost\n"
            )
        );
        assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), "mine");
    }

    #[test]
    fn force_writes_over_it_and_leaves_nothing_beside() {
        let folder = Folder::new("force");
        std::fs::write(folder.file(), "mine").unwrap();
        assert_eq!(run(folder.file(), true).0, Exit::Ok);
        let mode = std::fs::metadata(folder.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let (exit, _, err) = run(PathBuf::from("/nowhere/at/all/fanfare.toml"), false);
        assert_eq!(exit, Exit::Failed);
        assert!(err.starts_with("error: cannot write /nowhere/at/all/fanfare.toml: "), "{err}");
    }
}
