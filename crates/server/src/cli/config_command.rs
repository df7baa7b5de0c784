//! `fanfare config check` and `config show`; and the flags by which every command finds a configuration.

use std::path::PathBuf;

use super::{Failure, Io};
use crate::config::{Config, Flag, Loaded, Problem, Problems, Sources, Variables};
use crate::serve;

/// Flags of every command that reads a configuration.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigFlags {
    /// The configuration file [default: $FANFARE_CONFIG, else fanfare.toml if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on, over listen.address
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// text or json, over log.format
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// error, warn, info, debug or trace, over log.level
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// What `fanfare config` takes.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong with the configuration; exit code 2 or 3 if something is
    Check(Check),
    /// Print every key with its value
    Show(Show),
}

/// What `fanfare config check` takes.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    /// Where the configuration is.
    pub flags: ConfigFlags,
}

/// What `fanfare config show` takes.
#[derive(Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    /// Where the configuration is.
    pub flags: ConfigFlags,
    /// Say where each value comes from
    #[arg(long)]
    pub origins: bool,
    /// One JSON object a line: key, value, origin
    #[arg(long)]
    pub json: bool,
}

impl ConfigFlags {
    /// What a configuration is read from.
    ///
    /// # Errors
    /// A file that was named and cannot be read.
    pub fn sources(&self, variables: Variables) -> Result<Sources, Problems> {
        let flag = |name, key, value: &Option<String>| value.clone().map(|value| Flag { name, key, value });
        let flags = [
            flag("--listen", "listen.address", &self.listen),
            flag("--log-format", "log.format", &self.log_format),
            flag("--log-level", "log.level", &self.log_level),
        ];
        Sources::find(self.config.as_deref(), variables, flags.into_iter().flatten().collect())
    }
}

impl ConfigCommand {
    /// Does what was asked for.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub fn run(&self, io: &mut Io, variables: Variables) -> Result<(), Failure> {
        match self {
            Self::Check(check) => check.run(io, variables),
            Self::Show(show) => show.run(io, variables),
        }
    }
}

impl Check {
    fn run(&self, io: &mut Io, variables: Variables) -> Result<(), Failure> {
        let loaded = load(&self.flags, io, variables, Config::load)?;
        let name = loaded.settings.file().map_or("the configuration", |name| name);
        let of_certificate = serve::check_certificate(&loaded.config)?;
        of_certificate.iter().for_each(|warning| warn(io, warning));
        match loaded.warnings.len() + of_certificate.len() {
            0 => io.line(&format!("{name} is good")),
            1 => io.line(&format!("{name} is good, with 1 warning")),
            count => io.line(&format!("{name} is good, with {count} warnings")),
        }
    }
}

impl Show {
    fn run(&self, io: &mut Io, variables: Variables) -> Result<(), Failure> {
        let loaded = load(&self.flags, io, variables, Config::load_partial)?;
        let lines = match self.json {
            true => loaded.settings.to_json_lines(),
            false => loaded.settings.to_toml_lines(self.origins),
        };
        lines.iter().try_for_each(|line| io.line(line))
    }
}

/// Reads the configuration for a command, and tells its warnings.
///
/// # Errors
/// Everything that is wrong with it, as one failure with exit code 2.
pub fn load(
    flags: &ConfigFlags,
    io: &mut Io,
    variables: Variables,
    read: fn(Sources) -> Result<Loaded, Problems>,
) -> Result<Loaded, Failure> {
    let loaded = flags.sources(variables).and_then(read)?;
    for warning in &loaded.warnings {
        warn(io, warning);
    }
    Ok(loaded)
}

fn warn(io: &mut Io, warning: &Problem) {
    io.warn(&warning.to_string());
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        let count = match problems.iter().count() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        Self::usage(format!("the configuration cannot be used: {count}\n\n{problems}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;
    use crate::cli::output::scripted;

    const KEY: &str = "0123456789abcdef";
    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    struct File(PathBuf);

    impl File {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("fanfare-config-{name}-{}.toml", std::process::id()));
            std::fs::write(&path, text).unwrap();
            set_private(&path);
            Self(path)
        }

        fn flags(&self) -> ConfigFlags {
            ConfigFlags { config: Some(self.0.clone()), ..ConfigFlags::default() }
        }
    }

    #[cfg(unix)]
    fn set_private(path: &std::path::Path) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[cfg(not(unix))]
    fn set_private(_path: &std::path::Path) {}

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn run(command: &ConfigCommand, variables: &[(&str, &str)]) -> (Exit, String, String) {
        let (mut io, out, err) = scripted::io("", &[]);
        let exit = match command.run(&mut io, variables.iter().copied().collect()) {
            Ok(()) => Exit::Ok,
            Err(failure) => failure.report(&mut io),
        };
        (exit, out.text(), err.text())
    }

    fn good_text() -> String {
        format!("[api]\nkeys = [\"{KEY}\"]\n[auth]\nhmac_secret = \"{SECRET}\"\n")
    }

    #[test]
    fn check_says_that_a_file_is_good() {
        let file = File::new("good", &good_text());
        let (exit, out, err) = run(&ConfigCommand::Check(Check { flags: file.flags() }), &[]);
        assert_eq!((exit, out, err.as_str()), (Exit::Ok, format!("{} is good\n", file.0.display()), ""));
    }

    #[test]
    fn check_tells_warnings_and_takes_the_file_all_the_same() {
        let file = File::new("warned", &format!("{}[channels]\npublish = \"anyone\"\n", good_text()));
        let (exit, out, err) = run(&ConfigCommand::Check(Check { flags: file.flags() }), &[]);
        let name = file.0.display();
        assert_eq!((exit, out), (Exit::Ok, format!("{name} is good, with 1 warning\n")));
        assert!(err.starts_with(&format!("warning: {name}:6:11: channels.publish is \"anyone\"")), "{err}");
    }

    #[test]
    fn check_tells_every_problem_and_exits_with_2() {
        let file = File::new("bad", "[listen]\nadress = \"x\"\n[log]\nlevel = 3\n");
        let (exit, out, err) = run(&ConfigCommand::Check(Check { flags: file.flags() }), &[("FANFARE_COLOUR", "red")]);
        assert_eq!((exit.code(), out.as_str()), (2, ""));
        let name = file.0.display();
        let expected = format!(
            "error: the configuration cannot be used: 5 problems\n\n\
             {name}:2:1: unknown key \"adress\" in [listen]\n  |\n2 | adress = \"*\"\n  | ^^^^^^\n  \
             = hint: did you mean \"address\"?\n\n\
             {name}:4:9: log.level is the number 3\n"
        );
        assert!(err.starts_with(&expected), "{err}");
        assert!(err.contains("\n\nenvironment FANFARE_COLOUR: unknown variable\n"), "{err}");
        assert!(err.contains("\n\napi.keys is not set"), "{err}");
    }

    #[test]
    fn a_file_that_is_named_has_to_be_there() {
        for (flag, variable) in [(Some("/nowhere/a.toml"), ""), (None, "/nowhere/a.toml")] {
            let flags = ConfigFlags { config: flag.map(PathBuf::from), ..ConfigFlags::default() };
            let (exit, _, err) = run(&ConfigCommand::Check(Check { flags }), &[("FANFARE_CONFIG", variable)]);
            assert_eq!(exit, Exit::Usage);
            assert!(err.contains("cannot read /nowhere/a.toml: "), "{err}");
        }
    }

    #[test]
    fn show_prints_every_key_and_no_secret() {
        let file = File::new("show", &format!("{}[channels.namespaces.news]\npublish = \"users\"\n", good_text()));
        let (exit, out, err) =
            run(&ConfigCommand::Show(Show { flags: file.flags(), origins: false, json: false }), &[]);
        assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
        assert!(out.starts_with("[listen]\naddress = \"127.0.0.1:8000\"\ntls_cert_file = \"off\"\n"), "{out}");
        assert!(out.contains("\n[auth]\nhmac_secret = \"(set, hidden)\"\nallow_short_secret = false\n"), "{out}");
        assert!(out.contains("\n\n[channels.namespaces.news]\nhistory_size = 100\n"), "{out}");
        assert!(!out.contains(KEY), "{out}");
    }

    #[test]
    fn show_says_where_each_value_comes_from() {
        let file = File::new("origins", "[log]\nlevel = \"warn\"\n[drain]\nwindow = \"1s\"\n");
        let flags = ConfigFlags { listen: Some("127.0.0.1:3".to_owned()), ..file.flags() };
        let show = ConfigCommand::Show(Show { flags, origins: true, json: false });
        let (exit, out, _) = run(&show, &[("FANFARE_DRAIN__WINDOW", "2s")]);
        assert_eq!(exit, Exit::Ok);
        let name = file.0.display().to_string();
        for (key, origin) in [
            ("address = \"127.0.0.1:3\"", "flag --listen"),
            ("level = \"warn\"", &*format!("{name}:2")),
            ("window = \"2s\"", "environment FANFARE_DRAIN__WINDOW"),
            ("format = \"text\"", "default"),
        ] {
            assert!(out.contains(&format!("{key:<44} # {origin}\n")), "{key}: {out}");
        }
    }

    #[test]
    fn show_prints_one_object_a_line() {
        let file = File::new("json", "[node]\nname = 'a\"b'\n[session]\nping_interval = \"off\"\n");
        let show = ConfigCommand::Show(Show { flags: file.flags(), origins: false, json: true });
        let (_, out, _) = run(&show, &[("FANFARE_AUTH__HMAC_SECRET", SECRET)]);
        let objects: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let value = |key: &str| objects.iter().find(|object| object["key"] == key).unwrap()["value"].clone();
        assert_eq!(value("node.name"), "a\"b");
        assert_eq!(value("session.ping_interval"), "off");
        assert_eq!(value("limits.sessions_max"), 1_000_000);
        assert_eq!(value("auth.hmac_secret"), "(set, hidden)");
        assert_eq!(value("api.keys"), serde_json::json!([]));
    }
}
