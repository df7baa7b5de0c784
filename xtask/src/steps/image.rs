//! The image of `deploy/Dockerfile`: built by buildah, and started.
//!
//! Its base image cannot be had without a registry of images. One of that name is made of this machine: an empty root, to
//! which the machine's own `/usr`, `/etc` and toolchain are added. So every line of the Dockerfile is carried out as it is.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::command::Run;
use crate::step::Outcome;
use crate::tally::Tally;
use crate::{project, tool};

const DOCKERFILE: &str = "deploy/Dockerfile";

/// What the image and a container of it are called here.
const NAME: &str = "fanfare-image-test";

/// Of the server API, while the program is tried.
const API_KEY: &str = "image-test-5c1f0e7b92d84a63";

/// For the program to start, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// All that may be in the image.
const FILES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/fanfare"];

/// What makes the program in a quarter of the time; it is not what is shipped.
const QUICK: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "256"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
];

/// Builds the image, with a program that is not optimized, and starts it.
pub(crate) fn test() -> Outcome {
    if !tool::is_root() {
        return Outcome::Skipped("building an image needs root here".to_owned());
    }
    if !tool::works("unshare", &["--mount", "true"]) {
        return Outcome::Skipped("nothing may be mounted here, as within most containers".to_owned());
    }
    if let Err(why) = tool::find_or_install("buildah", "buildah") {
        return Outcome::Skipped(why);
    }
    match tried(&Storage::new("image"), &QUICK) {
        Ok(told) => Outcome::PassedWith(Tally::default(), told),
        Err(why) => Outcome::Failed(why),
    }
}

/// `cargo xtask image`: the image that is shipped, started, and its size.
pub(crate) fn measure() -> ExitCode {
    let tried = tool::find_or_install("buildah", "buildah").and_then(|()| tried(&Storage::new("image-release"), &[]));
    crate::say(&format!("{}\n", tried.as_ref().unwrap_or_else(|why| why)));
    if tried.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tried(storage: &Storage, variables: &[(&str, &str)]) -> Result<String, String> {
    storage.make_base(variables)?;
    storage.build()?;
    let tried = storage.try_container();
    storage.empty()?;
    tried
}

/// Where images and containers of a test are.
struct Storage {
    folder: PathBuf,
}

impl Storage {
    fn new(name: &str) -> Self {
        Self { folder: project::target().join(name) }
    }

    /// buildah on this storage. Its words, and nothing of it is shared with the machine's own images.
    fn command(&self) -> Vec<String> {
        let place = |name: &str| self.folder.join(name).to_string_lossy().into_owned();
        let words = ["--storage-driver", "vfs", "--root", &place("storage"), "--runroot", &place("run")];
        words.map(str::to_owned).to_vec()
    }

    fn buildah(&self, log: &str, arguments: &[&str]) -> Result<String, String> {
        let run = Run::new(&format!("image-{log}"), "buildah").env("BUILDAH_ISOLATION", "chroot");
        run.args(&self.command()).args(arguments).output()
    }

    /// The stand-in for the base image, with these variables set in it.
    fn make_base(&self, variables: &[(&str, &str)]) -> Result<(), String> {
        self.empty()?;
        self.buildah("base", &["from", "--name", "base", "scratch"])?;
        let mounted = self.buildah("base", &["mount", "base"])?;
        let root = Path::new(last_line(&mounted));
        for folder in ["usr", "etc", "tmp", "proc", "dev", "sys", "run"] {
            made(fs::create_dir_all(root.join(folder)), root)?;
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            made(std::os::unix::fs::symlink(format!("usr/{link}"), root.join(link)), root)?;
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let homes = Toolchain::of_this_machine();
        let (cargo, rustup) = (homes.cargo.to_string_lossy(), homes.rustup.to_string_lossy());
        let all = [("PATH", &*path), ("CARGO_HOME", &*cargo), ("RUSTUP_HOME", &*rustup)];
        for (name, value) in all.iter().chain(variables) {
            self.buildah("base", &["config", "--env", &format!("{name}={value}"), "base"])?;
        }
        self.buildah("base", &["umount", "base"])?;
        self.buildah("base", &["commit", "base", &format!("docker.io/library/{}", base_image()?)]).map(drop)
    }

    /// Carries the Dockerfile out. What cargo builds is kept for the next time.
    fn build(&self) -> Result<(), String> {
        let kept = self.folder.join("target");
        made(fs::create_dir_all(&kept), &kept)?;
        let Toolchain { cargo, rustup } = Toolchain::of_this_machine();
        let volumes = [
            "/usr:/usr:ro".to_owned(),
            "/etc:/etc:ro".to_owned(),
            format!("{0}:{0}:ro", rustup.display()),
            format!("{0}:{0}", cargo.display()),
            format!("{}:/source/target", kept.display()),
        ];
        let mut arguments = vec!["build", "--pull-never", "--layers=false", "--format", "docker"];
        volumes.iter().for_each(|volume| arguments.extend(["--volume", volume]));
        arguments.extend(["--file", DOCKERFILE, "--tag", NAME, "."]);
        self.buildah("build", &arguments).map(drop)
    }

    /// Starts what the image says, asks it what the image says to ask, and ends it.
    fn try_container(&self) -> Result<String, String> {
        self.buildah("container", &["from", "--name", NAME, "--pull-never", NAME])?;
        let size = self.only_what_is_needed()?;
        let user = self.says("User")?;
        if user.is_empty() || user.starts_with(['0', 'r']) {
            return Err(format!("the image is run as {user:?}"));
        }
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let words = format!("{} {} --listen {address}", self.says("Entrypoint")?, self.says("Cmd")?);
        let check = self.says("Healthcheck.Test")?;
        let check = check.strip_prefix("CMD ").ok_or("the image has no health check")?.to_owned();
        let mut container = self.start(&words)?;
        let told = self.ask(&mut container, &check, &format!("localhost:{port}"));
        let ended = end(&mut container, &words);
        told.and(ended).map(|()| {
            let (program, all) = (size.program as f64 / MIB, size.all as f64 / MIB);
            format!("{all:.1} MiB, of which the program {program:.1}; user {user}")
        })
    }

    fn start(&self, words: &str) -> Result<Child, String> {
        let log = project::target().join("xtask").join("image-run.log");
        let log = fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut command = Command::new("buildah");
        command.args(self.command()).args(["run", "--env", &format!("FANFARE_API__KEYS={API_KEY}")]);
        command.args(["--env", "FANFARE_AUTH__ALLOW_ANONYMOUS=true", NAME, "--"]);
        command.args(words.split(' ')).env("BUILDAH_ISOLATION", "chroot").stdin(Stdio::null());
        let log_too = log.try_clone().map_err(|error| error.to_string())?;
        command.stdout(log).stderr(log_too).spawn().map_err(|error| format!("buildah: {error}"))
    }

    /// The health check until it is content, then a publication; `server` is a name, which has to be looked up without a C
    /// library beside the program.
    fn ask(&self, container: &mut Child, check: &str, server: &str) -> Result<(), String> {
        let asked = |words: &str| {
            let variables = [format!("FANFARE_API_KEY={API_KEY}"), format!("FANFARE_SERVER={server}")];
            let mut arguments = vec!["run"];
            variables.iter().for_each(|variable| arguments.extend(["--env", variable]));
            arguments.extend([NAME, "--"]);
            arguments.extend(words.split(' '));
            self.buildah("ask", &arguments)
        };
        let deadline = Instant::now() + PATIENCE;
        while let Err(why) = asked(check) {
            let ended = container.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || Instant::now() > deadline {
                return Err(format!("{check} is not content: {why}\nsee target/xtask/image-run.log"));
            }
            thread::sleep(Duration::from_millis(200));
        }
        asked("/fanfare pub news 1").map(drop)
    }

    /// The image holds the program and whom it trusts, and nothing else.
    fn only_what_is_needed(&self) -> Result<Size, String> {
        let mounted = self.buildah("container", &["mount", NAME])?;
        let root = Path::new(last_line(&mounted));
        let files = project::files(root).map_err(|error| format!("{}: {error}", root.display()))?;
        let mut found: Vec<(String, u64)> = Vec::new();
        for file in files {
            let bytes = fs::symlink_metadata(&file).map_err(|error| format!("{}: {error}", file.display()))?.len();
            found.push((format!("/{}", file.strip_prefix(root).unwrap_or(&file).display()), bytes));
        }
        found.sort();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        self.buildah("container", &["umount", NAME])?;
        match &found[..] {
            [(_, certificates), (_, program)] if names == FILES => {
                Ok(Size { all: certificates + program, program: *program })
            }
            _ => Err(format!("the image holds {names:?}, and should hold {FILES:?}")),
        }
    }

    /// A field of the image's configuration, without brackets.
    fn says(&self, field: &str) -> Result<String, String> {
        let format = format!("{{{{.Docker.Config.{field}}}}}");
        let said = self.buildah("container", &["inspect", "--type", "image", "--format", &format, NAME])?;
        Ok(last_line(&said).trim_matches(['[', ']']).to_owned())
    }

    /// Takes containers and images of earlier times away.
    fn empty(&self) -> Result<(), String> {
        self.buildah("empty", &["rm", "--all"])?;
        self.buildah("empty", &["rmi", "--all", "--force"]).map(drop)
    }
}

const MIB: f64 = 1024.0 * 1024.0;

/// Bytes of an image.
struct Size {
    all: u64,
    program: u64,
}

/// Where cargo and rustup keep things.
struct Toolchain {
    cargo: PathBuf,
    rustup: PathBuf,
}

impl Toolchain {
    fn of_this_machine() -> Self {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        let place =
            |variable: &str, name: &str| std::env::var_os(variable).map_or_else(|| home.join(name), PathBuf::from);
        Self { cargo: place("CARGO_HOME", ".cargo"), rustup: place("RUSTUP_HOME", ".rustup") }
    }
}

/// What the Dockerfile builds with.
fn base_image() -> Result<String, String> {
    let file = project::at(DOCKERFILE);
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    first_base(&text).map(str::to_owned).ok_or_else(|| format!("{DOCKERFILE} has no line FROM … AS build"))
}

fn first_base(dockerfile: &str) -> Option<&str> {
    dockerfile.lines().find_map(|line| line.strip_prefix("FROM ")?.strip_suffix(" AS build"))
}

/// Ends the program in a container as an engine does, and wants it to end well.
fn end(container: &mut Child, words: &str) -> Result<(), String> {
    let id = process_of(words).ok_or("the program in the container is not found")?;
    Run::new("image-end", "kill").args(&["-TERM", &id]).output()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match container.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("the program ended with {status}")),
            None if Instant::now() > deadline => return Err("the program does not end on SIGTERM".to_owned()),
            None => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The id of the process that was started with these words; a port in them makes it the only one.
fn process_of(words: &str) -> Option<String> {
    let wanted: Vec<u8> = words.split(' ').flat_map(|word| word.bytes().chain([0])).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let is_it = |folder: &PathBuf| fs::read(folder.join("cmdline")).is_ok_and(|line| line == wanted);
    processes.map(|entry| entry.path()).find(is_it)?.file_name()?.to_str().map(str::to_owned)
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| error.to_string())
}

fn made(result: std::io::Result<()>, place: &Path) -> Result<(), String> {
    result.map_err(|error| format!("{}: {error}", place.display()))
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_image_is_the_one_that_the_dockerfile_names() {
        assert_eq!(first_base("# x\nFROM rust:1.95 AS build\nFROM scratch\n"), Some("rust:1.95"));
        assert_eq!(first_base("FROM scratch\n"), None);
        assert!(base_image().is_ok_and(|base| base.starts_with("rust:")));
    }

    #[test]
    fn a_process_is_found_by_its_words() {
        let mut sleeping = Command::new("sleep").arg("30.125").spawn().expect("sleep is there");
        let deadline = Instant::now() + PATIENCE;
        // Until it has become that program it is a copy of this one.
        while process_of("sleep 30.125").is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(process_of("sleep 30.125"), Some(sleeping.id().to_string()));
        assert_eq!(process_of("sleep 30.1"), None);
        sleeping.kill().and_then(|()| sleeping.wait()).expect("it is ours");
    }
}
