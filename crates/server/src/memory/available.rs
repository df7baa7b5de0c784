//! How much memory the machine and the node's control groups have, and how much the process has of it. From `/proc` and
//! `/sys`, thus nothing on other systems than Linux.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of a page of memory, as `statm` counts them. Nearly everywhere; where pages are larger, what the process has
/// looks smaller than it is, and only what is accounted for counts.
const PAGE_BYTES: usize = 4_096;

/// How much memory there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Available {
    pub(super) bytes: usize,
    source: Source,
}

/// What says so.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Machine,
    /// The file with the limit.
    ControlGroup(PathBuf),
}

impl fmt::Display for Available {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.bytes >> 20;
        match &self.source {
            Source::Machine => write!(f, "the machine's {mib} MiB"),
            Source::ControlGroup(file) => write!(f, "{mib} MiB in {}", file.display()),
        }
    }
}

impl Available {
    /// The smallest of what the machine has and what each control group above this process allows.
    pub(super) fn find() -> Option<Self> {
        Self::find_below(Path::new("/"))
    }

    fn find_below(root: &Path) -> Option<Self> {
        let machine = machine_bytes(root).map(|bytes| Self { bytes, source: Source::Machine });
        let files = limit_files(root).into_iter();
        let groups = files.filter_map(|file| Some(Self { bytes: limit(&file)?, source: Source::ControlGroup(file) }));
        // Of equal ones the first: a control group that allows all of the machine is no limit.
        machine.into_iter().chain(groups).min_by_key(|available| available.bytes)
    }
}

fn machine_bytes(root: &Path) -> Option<usize> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

/// Where limits may be of the control groups that this process is in, and of those around them: in both versions of
/// control groups, and in a mixed set-up.
fn limit_files(root: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    text.lines().flat_map(|line| files_of(root, line)).collect()
}

/// The files of a line `NUMBER:CONTROLLERS:/PATH`.
fn files_of(root: &Path, line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return Vec::new() };
    let (mounts, file): (&[&str], _) = match controllers {
        "" => (&["", "unified"], "memory.max"),
        _ if controllers.split(',').any(|controller| controller == "memory") => (&["memory"], "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let within = Path::new(path.trim_start_matches('/'));
    let of_mount = |mount: &&str| {
        let mount = root.join("sys/fs/cgroup").join(mount);
        // A container may see the path of its host, and the limit at the top.
        within.ancestors().map(|group| mount.join(group).join(file)).collect::<Vec<_>>()
    };
    mounts.iter().flat_map(of_mount).collect()
}

/// A limit; `max` is none. Where version 1 has none, it says more than any machine has.
fn limit(file: &Path) -> Option<usize> {
    fs::read_to_string(file).ok()?.trim().parse().ok().filter(|bytes| *bytes > 0)
}

/// What the process has in memory.
pub(super) fn resident_bytes() -> Option<usize> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of 8 GiB with these files.
    struct Machine(PathBuf);

    impl Machine {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("fanfare-available-{name}-{}", std::process::id()));
            let machine = Self(root);
            machine.write("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:  1 kB\n");
            files.iter().for_each(|(path, text)| machine.write(path, text));
            machine
        }

        fn write(&self, path: &str, text: &str) {
            let file = self.0.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }

        #[track_caller]
        fn has(&self, mib: usize, source: &str) {
            let found = Available::find_below(&self.0).unwrap();
            let said = found.to_string().replace(&format!("{}/", self.0.display()), "/");
            assert_eq!((found.bytes >> 20, said.as_str()), (mib, source));
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn without_control_groups_the_machine_counts() {
        Machine::new("none", &[]).has(8_192, "the machine's 8192 MiB");
    }

    #[test]
    fn a_limit_of_version_2_counts_also_one_above() {
        let machine = Machine::new(
            "v2",
            &[
                ("proc/self/cgroup", "0::/system.slice/fanfare.service\n"),
                ("sys/fs/cgroup/system.slice/fanfare.service/memory.max", "max\n"),
                ("sys/fs/cgroup/system.slice/memory.max", "1073741824\n"),
            ],
        );
        machine.has(1_024, "1024 MiB in /sys/fs/cgroup/system.slice/memory.max");
        machine.write("sys/fs/cgroup/system.slice/fanfare.service/memory.max", "536870912\n");
        machine.has(512, "512 MiB in /sys/fs/cgroup/system.slice/fanfare.service/memory.max");
    }

    #[test]
    fn a_limit_of_version_1_counts_and_its_word_for_none_does_not() {
        let machine = Machine::new(
            "v1",
            &[
                ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/box/one\n0::/\n"),
                ("sys/fs/cgroup/memory/box/one/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        machine.has(8_192, "the machine's 8192 MiB");
        machine.write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "268435456\n");
        machine.has(256, "256 MiB in /sys/fs/cgroup/memory/box/memory.limit_in_bytes");
    }

    /// Within a container the limit is at the top of what is mounted, whatever the path says.
    #[test]
    fn a_path_that_is_not_there_is_looked_for_further_up() {
        let machine = Machine::new(
            "container",
            &[("proc/self/cgroup", "0::/../../docker/0123\n"), ("sys/fs/cgroup/memory.max", "134217728\n")],
        );
        machine.has(128, "128 MiB in /sys/fs/cgroup/memory.max");
    }

    #[test]
    fn a_limit_beyond_the_machine_is_none() {
        let machine =
            Machine::new("beyond", &[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "99999999999999\n")]);
        machine.has(8_192, "the machine's 8192 MiB");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_and_this_process_have_memory() {
        let (available, resident) = (Available::find().unwrap().bytes, resident_bytes().unwrap());
        assert!(resident > 1 << 20 && resident < available, "{resident} of {available}");
    }
}
