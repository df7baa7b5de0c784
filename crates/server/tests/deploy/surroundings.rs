//! Programs that stand around nodes: whether they are installed, and running ones.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fanfare_testkit::free_address;

/// The file of `deploy/` with this name.
pub(crate) fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

pub(crate) fn read(name: &str) -> String {
    std::fs::read_to_string(deployed(name)).unwrap()
}

/// Whether the programs are there; where they have to be, it is a failure that they are not.
pub(crate) fn installed(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| find(program).is_none()).collect();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "{missing:?} are not installed");
    if !missing.is_empty() {
        eprintln!("skipped: {missing:?} are not installed");
    }
    missing.is_empty()
}

/// Where a program is. Debian has some of them where only root looks.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|folder| folder.join(program));
    places.find(|place| place.is_file())
}

/// A process with a folder of its own; both end when it is dropped.
pub(crate) struct Process {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Process {
    /// Starts a program whose configuration is written as `name`, and waits until it listens.
    pub(crate) async fn start(program: &str, name: &str, text: impl Fn(u16) -> String, arguments: &[&str]) -> Self {
        for _ in 0..10 {
            let port = free_address().port();
            let folder = std::env::temp_dir().join(format!("fanfare-deploy-{}-{port}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), text(port)).unwrap();
            let filled: Vec<String> = arguments.iter().map(|word| word.replace("PORT", &port.to_string())).collect();
            let mut command = Command::new(find(program).unwrap());
            command.args(filled).current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null());
            let child = command.stderr(std::fs::File::create(folder.join("stderr")).unwrap()).spawn().unwrap();
            let mut process = Self { child, folder, port };
            if process.listens().await {
                return process;
            }
            eprintln!("{program}: {}", std::fs::read_to_string(process.folder.join("stderr")).unwrap_or_default());
        }
        panic!("{program} does not start");
    }

    async fn listens(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            if tokio::net::TcpStream::connect(self.address()).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Where it runs.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
