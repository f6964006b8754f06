//! The pod-level cgroup: its directories in every hierarchy, and its limits where the host has the files for them.

use std::fs;

use skep_cri::{Cgroups, v1};

/// Makes a pod's cgroup with the limits of the pod as a whole.
pub(crate) fn ensure(cgroups: &Cgroups, cgroup: &str, limits: &v1::LinuxContainerResources) -> Result<(), String> {
    cgroups.ensure(cgroup).map_err(|error| crate::chain(&error))?;
    for hierarchy in cgroups.hierarchies() {
        let files = if hierarchy.unified { files_v2(limits) } else { files_v1(limits) };
        for (name, value) in files {
            let path = hierarchy.dir(cgroup).join(name);
            // A hierarchy has the files of its own controllers, and of those alone.
            if path.exists()
                && let Err(error) = fs::write(&path, &value)
            {
                return Err(format!("cannot write {value} to {}: {error}", path.display()));
            }
        }
    }
    Ok(())
}

fn files_v1(limits: &v1::LinuxContainerResources) -> Vec<(&'static str, String)> {
    vec![
        ("cpu.shares", limits.cpu_shares.to_string()),
        ("cpu.cfs_period_us", limits.cpu_period.to_string()),
        ("cpu.cfs_quota_us", limits.cpu_quota.to_string()),
        ("memory.limit_in_bytes", limits.memory_limit_in_bytes.to_string()),
    ]
}

fn files_v2(limits: &v1::LinuxContainerResources) -> Vec<(&'static str, String)> {
    let or_max = |value: i64| if value > 0 { value.to_string() } else { "max".to_owned() };
    // The kernel documents weights of 1 to 10000 against shares of 2 to 262144.
    let weight = 1 + (limits.cpu_shares.max(2) - 2) * 9999 / 262_142;
    vec![
        ("cpu.weight", weight.to_string()),
        ("cpu.max", format!("{} {}", or_max(limits.cpu_quota), limits.cpu_period)),
        ("memory.max", or_max(limits.memory_limit_in_bytes)),
    ]
}
