//! What the machine is.

use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::config::Host;

/// Facts that do not change while the machine runs.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) cpus: usize,
    pub(crate) memory_bytes: i64,
    pub(crate) storage_bytes: u64,
    pub(crate) machine_id: String,
    pub(crate) system_uuid: String,
    pub(crate) boot_id: String,
    pub(crate) kernel: String,
    pub(crate) os_image: String,
    pub(crate) arch: &'static str,
}

/// How much is left of what runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub(crate) memory: bool,
    pub(crate) disk: bool,
    pub(crate) pids: bool,
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

impl Facts {
    /// Reads the machine; `root_dir` is on the disk whose size counts.
    pub(crate) fn read(root_dir: &Path) -> Self {
        let machine_id = line("/etc/machine-id");
        let system_uuid = line("/sys/class/dmi/id/product_uuid");
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: meminfo("MemTotal:").unwrap_or(0),
            storage_bytes: statvfs(root_dir).map_or(0, |stat| stat.blocks() * stat.fragment_size()),
            system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
            machine_id,
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel: line("/proc/sys/kernel/osrelease"),
            os_image: pretty.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned()),
            arch: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        }
    }

    /// What decides how resources are translated for the runtime.
    pub(crate) fn host(&self) -> Host {
        Host { memory_bytes: self.memory_bytes, oom_score_adj_min: oom_score_adj_min() }
    }
}

/// Processes may lower their `oom_score_adj` below what they inherited only with `CAP_SYS_RESOURCE`.
fn oom_score_adj_min() -> i64 {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    if effective & (1 << CAP_SYS_RESOURCE) != 0 {
        return -1000;
    }
    line("/proc/self/oom_score_adj").parse::<i64>().unwrap_or(0).max(0)
}

fn meminfo(key: &str) -> Option<i64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<i64>().ok().map(|kib| kib * 1024)
}

/// Compares with the kubelet's default eviction thresholds.
pub(crate) fn pressure(root_dir: &Path) -> Pressure {
    const MEMORY_MIN: i64 = 100 << 20;
    let disk = statvfs(root_dir).is_ok_and(|stat| {
        let bytes_low = stat.blocks_available() * 10 < stat.blocks();
        // File systems without a fixed number of inodes count none.
        let inodes_low = stat.files() > 0 && stat.files_available() * 20 < stat.files();
        bytes_low || inodes_low
    });
    let pid_max = line("/proc/sys/kernel/pid_max").parse::<u64>().unwrap_or(u64::MAX);
    let load = line("/proc/loadavg");
    let tasks = load.split(['/', ' ']).nth(4).and_then(|tasks| tasks.parse::<u64>().ok()).unwrap_or(0);
    Pressure {
        memory: meminfo("MemAvailable:").is_some_and(|available| available < MEMORY_MIN),
        disk,
        pids: tasks.saturating_mul(20) > pid_max.saturating_mul(19),
    }
}
