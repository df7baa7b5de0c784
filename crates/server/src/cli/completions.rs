//! `fanfare completions`: a script that teaches a shell the command line.

use super::{Failure, HELP, Io};

/// What `fanfare completions` takes.
#[derive(Debug, clap::Args)]
#[command(
    help_template = HELP,
    before_help = "\
Examples:
  source <(fanfare completions bash)
  fanfare completions zsh > \"${fpath[1]}/_fanfare\"
  fanfare completions fish > ~/.config/fish/completions/fanfare.fish
"
)]
pub(crate) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    /// Prints the script.
    pub(crate) fn run(&self, mut command: clap::Command, io: &mut Io) -> Result<(), Failure> {
        // Through a buffer, since the generator panics when its writer fails, as a closed pipe does.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "fanfare", &mut script);
        io.out.write_all(&script)?;
        Ok(io.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;
    use crate::cli::output::scripted;

    #[test]
    fn every_shell_gets_a_script() {
        for shell in <clap_complete::Shell as clap::ValueEnum>::value_variants() {
            let (mut io, out, _) = scripted::io("", &[]);
            Completions { shell: *shell }.run(Cli::command(), &mut io).unwrap();
            assert!(out.text().contains("presence"), "{shell}");
        }
    }
}
