//! The machine that it all ran on.

use std::fs;

use serde::Serialize;

/// What has to be known of a machine to understand its numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The kernel's version.
    pub kernel: String,
    /// The congestion control of new TCP connections.
    pub congestion_control: String,
    /// Descriptors that a process may have open.
    pub descriptors_max: u64,
}

impl Machine {
    /// This machine; what the kernel does not say stays empty.
    pub fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let memory = read("/proc/meminfo");
        let kib = field(&memory, "MemTotal").split(' ').next().and_then(|kib| kib.parse::<u64>().ok());
        let limits = read("/proc/self/limits");
        let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
        Self {
            processor: field(&processors, "model name").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib.unwrap_or(0) << 10,
            kernel: read("/proc/sys/kernel/osrelease"),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
            descriptors_max: files.split_whitespace().nth(3).and_then(|count| count.parse().ok()).unwrap_or(0),
        }
    }
}

/// The value behind a name and a colon.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').map_or("", |(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_memory_and_a_kernel() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20 && !machine.kernel.is_empty(), "{machine:?}");
        assert!(machine.descriptors_max > 0);
    }
}
