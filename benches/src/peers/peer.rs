//! The servers that are compared: what each can do, and how it is started.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bare_loop::paced::Load;
use crate::node::{API_KEY, SECRET};

/// What Pusher clients and the API of sockudo are known by.
pub(crate) const PUSHER_ID: &str = "measure";
pub(crate) const PUSHER_KEY: &str = "measure-key";
pub(crate) const PUSHER_SECRET: &str = "measure-secret-0123456789abcdef";

/// A server with one set of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Fanfare(History),
    Centrifugo(History),
    Nchan(History),
    UWebSockets,
    Ws,
    Sockudo,
}

/// Whether a server keeps what was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum History {
    Kept,
    Off,
}

/// How the load tester talks to a server.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) adapter: &'static str,
    /// From the port on.
    pub(crate) path: String,
    /// From the port on, where it is not the adapter's own.
    pub(crate) publish_path: Option<String>,
    /// `api` or `client`.
    pub(crate) publish: &'static str,
}

/// How often idle connections are pinged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pings {
    ByDefault,
    /// About every [`OFTEN_S`].
    Often,
}

/// Seconds between two pings where they are to come often.
pub(crate) const OFTEN_S: u32 = 10;

/// uWebSockets pings some seconds before its idle timeout, and never in the last half of a short one: of 16 after 8.
const OFTEN_IDLE_TIMEOUT_S: u32 = 16;

impl Pings {
    /// A setting: as it is by default, or for pings that come often.
    fn setting(self, by_default: u32, often: u32) -> u32 {
        match self {
            Self::ByDefault => by_default,
            Self::Often => often,
        }
    }
}

/// Which process does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Works {
    Itself,
    ItsChild,
}

/// What a server is started with.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) works: Works,
}

impl Peer {
    /// In the order of the tables.
    pub(crate) const ALL: [Self; 9] = [
        Self::Fanfare(History::Kept),
        Self::Fanfare(History::Off),
        Self::Centrifugo(History::Kept),
        Self::Centrifugo(History::Off),
        Self::Nchan(History::Kept),
        Self::Nchan(History::Off),
        Self::UWebSockets,
        Self::Ws,
        Self::Sockudo,
    ];

    /// The word of the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fanfare(History::Kept) => "fanfare",
            Self::Fanfare(History::Off) => "fanfare-live",
            Self::Centrifugo(History::Kept) => "centrifugo",
            Self::Centrifugo(History::Off) => "centrifugo-live",
            Self::Nchan(History::Kept) => "nchan",
            Self::Nchan(History::Off) => "nchan-live",
            Self::UWebSockets => "uwebsockets",
            Self::Ws => "ws",
            Self::Sockudo => "sockudo",
        }
    }

    /// The name in the tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Fanfare(History::Kept) => "Fanfare",
            Self::Fanfare(History::Off) => "Fanfare, live only",
            Self::Centrifugo(History::Kept) => "Centrifugo",
            Self::Centrifugo(History::Off) => "Centrifugo, live only",
            Self::Nchan(History::Kept) => "Nchan",
            Self::Nchan(History::Off) => "Nchan, live only",
            Self::UWebSockets => "uWebSockets",
            Self::Ws => "ws",
            Self::Sockudo => "sockudo",
        }
    }

    /// What is on, for the tables: history, and recovery of clients.
    pub(crate) fn features(self) -> [&'static str; 2] {
        match self {
            Self::Fanfare(History::Kept) | Self::Centrifugo(History::Kept) => ["100, 5 min", "yes"],
            Self::Nchan(History::Kept) => ["100, 5 min", "not in plain WebSocket"],
            _ => ["off", "off"],
        }
    }

    /// The row of Fanfare that has the same features.
    pub(crate) fn measured_against(self) -> Self {
        match self {
            Self::Fanfare(history) | Self::Centrifugo(history) | Self::Nchan(history) => Self::Fanfare(history),
            Self::UWebSockets | Self::Ws | Self::Sockudo => Self::Fanfare(History::Off),
        }
    }

    pub(crate) fn is_fanfare(self) -> bool {
        matches!(self, Self::Fanfare(_))
    }

    /// Why it cannot be run here, if so.
    pub(crate) fn missing(self) -> Option<String> {
        match self.program() {
            Ok(program) if matches!(self, Self::UWebSockets | Self::Ws) => {
                let package = own_files().join("node_modules").join(self.name());
                (!package.is_dir()).then(|| format!("{} has not been installed for {}", self.name(), program.display()))
            }
            Ok(_) => None,
            Err(missing) => Some(missing.to_string()),
        }
    }

    pub(crate) fn program(self) -> io::Result<PathBuf> {
        match self {
            Self::Fanfare(_) => existing(std::env::current_exe()?.with_file_name("fanfare")),
            Self::Centrifugo(_) => on_the_path("centrifugo"),
            Self::Nchan(_) => Nginx::found().map(|nginx| nginx.program()),
            Self::UWebSockets | Self::Ws => on_the_path("node"),
            Self::Sockudo => existing(built().join("bin/sockudo")),
        }
    }

    /// What it says of its own version.
    pub(crate) fn version(self) -> String {
        match self {
            Self::Fanfare(_) => env!("CARGO_PKG_VERSION").to_owned(),
            Self::Nchan(_) => Nginx::found().map(|nginx| nginx.version()).unwrap_or_default(),
            Self::UWebSockets | Self::Ws => pinned_by_npm(self.name()).unwrap_or_default(),
            Self::Centrifugo(_) | Self::Sockudo => self.asked_version().unwrap_or_default(),
        }
    }

    /// The file that it is set up by, words in braces included; none for Fanfare.
    pub(crate) fn configuration(self) -> io::Result<Vec<u8>> {
        let name = match self {
            Self::Fanfare(_) => return Ok(Vec::new()),
            Self::Centrifugo(_) => "centrifugo.json",
            Self::Nchan(_) => "nchan.conf",
            Self::UWebSockets => "uwebsockets.js",
            Self::Ws => "ws.js",
            Self::Sockudo => "sockudo.toml",
        };
        std::fs::read(own_files().join(name))
    }

    fn asked_version(self) -> Option<String> {
        let word = if self == Self::Sockudo { "--version" } else { "version" };
        let said = Command::new(self.program().ok()?).arg(word).output().ok()?.stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        said.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned)
    }

    /// How the load tester talks to it.
    pub(crate) fn target(self) -> Target {
        let target =
            |adapter, path: &str| Target { adapter, path: path.to_owned(), publish_path: None, publish: "api" };
        let nchan = |kind: &str| Target {
            publish_path: Some(format!("/{kind}/publish/{{channel}}")),
            ..target("nchan", &format!("/{kind}/subscribe/{{channel}}"))
        };
        match self {
            Self::Fanfare(_) => target("fanfare", "/connection/websocket"),
            Self::Centrifugo(_) => target("centrifugo", "/connection/websocket"),
            Self::Nchan(History::Kept) => nchan("buffered"),
            Self::Nchan(History::Off) => nchan("unbuffered"),
            Self::UWebSockets | Self::Ws => Target { publish: "client", ..target("plain", "/{channel}") },
            Self::Sockudo => target("pusher", &format!("/app/{PUSHER_KEY}")),
        }
    }

    /// Whom it pings when it does so often, for the tables.
    pub(crate) fn often(self) -> &'static str {
        match self {
            Self::Fanfare(_) | Self::Centrifugo(_) => "a message every 10 s",
            Self::Nchan(_) => "a WebSocket ping every 10 s",
            Self::UWebSockets => "a WebSocket ping after 8 s of silence",
            Self::Ws => "a WebSocket ping every 10 s, by our script",
            Self::Sockudo => "a message after 10 s of silence, the next one later than is looked",
        }
    }

    /// How it is started on a port, with a folder of its own.
    pub(crate) fn launch(self, port: u16, folder: &Path, pings: Pings) -> io::Result<Launch> {
        let program = self.program()?;
        let launch = |arguments: Vec<String>| Launch { program, arguments, settings: Vec::new(), works: Works::Itself };
        let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
        Ok(match self {
            Self::Fanfare(history) => Launch {
                settings: fanfare_settings(history, pings),
                ..launch(vec!["serve".to_owned(), "--listen".to_owned(), format!("127.0.0.1:{port}")])
            },
            Self::Centrifugo(history) => {
                let size = if history == History::Kept { "100" } else { "0" };
                let recovery = (history == History::Kept).to_string();
                let words = [
                    ("port", port.to_string()),
                    ("token_secret", SECRET.to_owned()),
                    ("api_key", API_KEY.to_owned()),
                    ("ping_interval", format!("{}s", pings.setting(25, OFTEN_S))),
                    ("history_size", size.to_owned()),
                    ("recovery", recovery),
                ];
                fill_in("centrifugo.json", &words, folder)?;
                launch(vec!["--config".to_owned(), file("centrifugo.json")])
            }
            Self::Nchan(_) => {
                let words = [
                    ("port", port.to_string()),
                    ("folder", folder.to_string_lossy().into_owned()),
                    ("ping_interval", pings.setting(0, OFTEN_S).to_string()),
                    ("modules", Nginx::found()?.modules().to_string_lossy().into_owned()),
                ];
                fill_in("nchan.conf", &words, folder)?;
                let arguments =
                    ["-p", &folder.to_string_lossy(), "-c", &file("nchan.conf")].map(str::to_owned).to_vec();
                Launch { works: Works::ItsChild, ..launch(arguments) }
            }
            Self::UWebSockets | Self::Ws => {
                let script = own_files().join(format!("{}.js", self.name()));
                let seconds =
                    if self == Self::Ws { pings.setting(0, OFTEN_S) } else { pings.setting(120, OFTEN_IDLE_TIMEOUT_S) };
                launch(vec![script.to_string_lossy().into_owned(), port.to_string(), seconds.to_string()])
            }
            Self::Sockudo => {
                let words = [
                    ("port", port.to_string()),
                    ("id", PUSHER_ID.to_owned()),
                    ("key", PUSHER_KEY.to_owned()),
                    ("secret", PUSHER_SECRET.to_owned()),
                    ("activity_timeout", pings.setting(120, OFTEN_S).to_string()),
                ];
                fill_in("sockudo.toml", &words, folder)?;
                launch(vec!["--config".to_owned(), file("sockudo.toml")])
            }
        })
    }
}

/// The bare loop, with this load.
pub(crate) fn launch_loop(load: &Load) -> io::Result<Launch> {
    Ok(Launch {
        program: std::env::current_exe()?,
        arguments: load.arguments(),
        settings: Vec::new(),
        works: Works::Itself,
    })
}

/// One shard, since each server has one core. The rest is as by default.
fn fanfare_settings(history: History, pings: Pings) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("FANFARE_API__KEYS", API_KEY.to_owned()),
        ("FANFARE_AUTH__HMAC_SECRET", SECRET.to_owned()),
        ("FANFARE_CHANNELS__SUBSCRIBE", "users".to_owned()),
        ("FANFARE_LOG__LEVEL", "error".to_owned()),
        ("FANFARE_NODE__SHARDS", "1".to_owned()),
        ("FANFARE_NODE__HTTP_WORKERS", "1".to_owned()),
        ("FANFARE_SESSION__PING_INTERVAL", format!("{}s", pings.setting(25, OFTEN_S))),
    ];
    if history == History::Off {
        settings.push(("FANFARE_CHANNELS__HISTORY_SIZE", "0".to_owned()));
    }
    settings
}

/// The files of the peers in the source tree.
fn own_files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Where `benches/peers/build.sh` puts what it builds.
pub(crate) fn built() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers")
}

/// nginx with Nchan: the installed one, or the one that was unpacked.
struct Nginx {
    root: PathBuf,
}

impl Nginx {
    fn found() -> io::Result<Self> {
        let unpacked = built().join("nginx").canonicalize().unwrap_or_default();
        let all = [PathBuf::from("/"), unpacked].map(|root| Self { root });
        let is_there =
            |nginx: &Self| nginx.modules().join("ngx_nchan_module.so").is_file() && nginx.program().is_file();
        all.into_iter().find(is_there).ok_or_else(|| not_found("nginx with Nchan"))
    }

    fn program(&self) -> PathBuf {
        self.root.join("usr/sbin/nginx")
    }

    fn modules(&self) -> PathBuf {
        self.root.join("usr/lib/nginx/modules")
    }

    /// That of the module, which only its package knows, and that of nginx, which it says itself.
    fn version(&self) -> String {
        let nginx = self.said().unwrap_or_else(|| "unknown".to_owned());
        format!("{} in nginx {nginx}", self.module_version().unwrap_or_else(|| "unknown".to_owned()))
    }

    fn said(&self) -> Option<String> {
        let said = Command::new(self.program()).arg("-v").output().ok()?.stderr;
        Some(String::from_utf8_lossy(&said).trim().rsplit_once("nginx/")?.1.split_whitespace().next()?.to_owned())
    }

    fn module_version(&self) -> Option<String> {
        let mut command = if self.root == Path::new("/") {
            let mut command = Command::new("dpkg-query");
            command.args(["--show", "--showformat=${Version}", NCHAN_PACKAGE]);
            command
        } else {
            let mut command = Command::new("dpkg-deb");
            command.arg("--field").arg(downloaded(NCHAN_PACKAGE)?).arg("Version");
            command
        };
        let said = command.output().ok().filter(|output| output.status.success())?.stdout;
        upstream(String::from_utf8_lossy(&said).trim())
    }
}

const NCHAN_PACKAGE: &str = "libnginx-mod-nchan";

/// The file of a package that `build.sh` has unpacked.
fn downloaded(package: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(built().join("debian")).ok()?.flatten().map(|file| file.path());
    let begins = format!("{package}_");
    files.into_iter().find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begins)))
}

/// Of Debian's `epoch:version+repacked-revision` the version.
fn upstream(version: &str) -> Option<String> {
    let version = version.rsplit(':').next()?;
    version.split(['+', '-', '~']).next().filter(|version| !version.is_empty()).map(str::to_owned)
}

fn existing(program: PathBuf) -> io::Result<PathBuf> {
    if program.is_file() { Ok(program) } else { Err(not_found(&program.display().to_string())) }
}

fn on_the_path(program: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|program| program.is_file());
    found.ok_or_else(|| not_found(&format!("{program} on the PATH")))
}

fn not_found(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no {what}"))
}

fn pinned_by_npm(package: &str) -> Option<String> {
    let lock = std::fs::read_to_string(own_files().join("package-lock.json")).ok()?;
    let lock: serde_json::Value = serde_json::from_str(&lock).ok()?;
    Some(lock["packages"][format!("node_modules/{package}")]["version"].as_str()?.to_owned())
}

/// Writes a configuration of `benches/peers` with its words in braces filled in.
fn fill_in(name: &str, words: &[(&str, String)], folder: &Path) -> io::Result<()> {
    let mut text = std::fs::read_to_string(own_files().join(name))?;
    for (word, value) in words {
        text = text.replace(&format!("{{{word}}}"), value);
    }
    std::fs::write(folder.join(name), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_measured_against_a_fanfare_with_the_same_features() {
        for peer in Peer::ALL {
            let [own, theirs] = [peer, peer.measured_against()].map(|peer| peer.features()[0]);
            assert!(peer.measured_against().is_fanfare() && own == theirs, "{peer:?}");
        }
    }

    #[test]
    fn no_word_in_braces_is_left_in_a_configuration() {
        let folder = std::env::temp_dir().join(format!("fanfare-peers-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let words = ["port", "folder", "modules", "ping_interval"].map(|word| (word, "9000".to_owned()));
        fill_in("nchan.conf", &words, &folder).unwrap();
        let text = std::fs::read_to_string(folder.join("nchan.conf")).unwrap();
        let left =
            ["port", "folder", "modules", "ping_interval"].iter().any(|word| text.contains(&format!("{{{word}}}")));
        assert!(!left && text.contains("127.0.0.1:9000"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn of_a_package_version_the_upstream_part_is_shown() {
        let shown = ["1:1.3.6+dfsg-2", "1.3.7-1~bpo12", "1.4"].map(upstream);
        assert_eq!(shown, ["1.3.6", "1.3.7", "1.4"].map(|version| Some(version.to_owned())));
        assert_eq!(upstream(""), None);
    }

    #[test]
    fn npm_pins_its_two() {
        assert!(["uwebsockets", "ws"].iter().all(|package| pinned_by_npm(package).is_some()));
        assert_eq!(pinned_by_npm("nobody"), None);
    }
}
