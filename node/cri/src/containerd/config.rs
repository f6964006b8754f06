//! containerd's settings file, version 2 of its format, which 1.6 to 2.x read.

use std::fmt::Write as _;
use std::path::Path;

use super::Options;

/// Bit of `CapEff` in `/proc/PID/status`, see capabilities(7).
const CAP_SYS_RESOURCE: u32 = 24;

/// What the host has that changes the settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host {
    /// Without it no process may lower its `oom_score_adj`, and runc fails on a pod that asks for it.
    pub(super) sys_resource: bool,
    pub(super) apparmor: bool,
}

impl Host {
    pub(super) fn observe() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let apparmor = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
        Host {
            sys_resource: has_capability(&status, CAP_SYS_RESOURCE),
            apparmor: apparmor.trim() == "Y" && Path::new("/sbin/apparmor_parser").exists(),
        }
    }
}

fn has_capability(status: &str, bit: u32) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    set & (1 << bit) != 0
}

pub(super) fn render(options: &Options, host: Host) -> String {
    let base = options.state_dir.join("containerd");
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    let mut out = String::from("# Written at each start of the node; changes are lost.\nversion = 2\n");
    put(&mut out, "root", &path(&base.join("root")));
    put(&mut out, "state", &path(&base.join("state")));
    // Not usable on a directory of ours, or not needed; each would only fill the log.
    let unused =
        ["aufs", "btrfs", "devmapper", "zfs"].map(|name| text(&format!("io.containerd.snapshotter.v1.{name}")));
    put(&mut out, "disabled_plugins", &format!("[{}]", unused.join(", ")));
    section(&mut out, "grpc");
    put(&mut out, "address", &path(&options.socket()));
    section(&mut out, "plugins.\"io.containerd.internal.v1.opt\"");
    put(&mut out, "path", &path(&base.join("opt")));
    section(&mut out, cri);
    put(&mut out, "sandbox_image", &text(&options.sandbox_image));
    put(&mut out, "netns_mounts_under_state_dir", "true");
    put(&mut out, "disable_apparmor", flag(!host.apparmor));
    put(&mut out, "restrict_oom_score_adj", flag(!host.sys_resource));
    put(&mut out, "tolerate_missing_hugetlb_controller", "true");
    put(&mut out, "enable_unprivileged_ports", "true");
    put(&mut out, "enable_unprivileged_icmp", "true");
    section(&mut out, &format!("{cri}.cni"));
    put(&mut out, "bin_dir", &path(&options.cni_bin_dir));
    put(&mut out, "conf_dir", &path(&options.cni_conf_dir));
    section(&mut out, &format!("{cri}.registry"));
    put(&mut out, "config_path", &path(&base.join("certs.d")));
    section(&mut out, &format!("{cri}.containerd"));
    put(&mut out, "snapshotter", &text(&options.snapshotter));
    put(&mut out, "default_runtime_name", "\"runc\"");
    let runc = format!("{cri}.containerd.runtimes.runc");
    section(&mut out, &runc);
    put(&mut out, "runtime_type", "\"io.containerd.runc.v2\"");
    section(&mut out, &format!("{runc}.options"));
    put(&mut out, "SystemdCgroup", "false");
    put(&mut out, "Root", &path(&base.join("runc")));
    out
}

fn section(out: &mut String, name: &str) {
    let _ = writeln!(out, "\n[{name}]");
}

fn put(out: &mut String, key: &str, value: &str) {
    let _ = writeln!(out, "{key} = {value}");
}

fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn path(path: &Path) -> String {
    text(&path.to_string_lossy())
}

/// A JSON string is a TOML basic string as well.
fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn settings_follow_the_host() {
        let options = Options::new(Path::new("/var/lib/a \"b\""), "/skep-a", "pause:1");
        let all = render(&options, Host { sys_resource: true, apparmor: true });
        assert!(all.contains("restrict_oom_score_adj = false\n"));
        assert!(all.contains("disable_apparmor = false\n"));
        assert!(all.contains("address = \"/var/lib/a \\\"b\\\"/run/containerd.sock\"\n"));
        let little = render(&options, Host { sys_resource: false, apparmor: false });
        assert!(little.contains("restrict_oom_score_adj = true\n"));
        assert!(little.contains("disable_apparmor = true\n"));
    }

    #[test]
    fn capabilities_are_read_by_bit() {
        assert!(has_capability("Name:\tx\nCapEff:\t000001ffffffffff\n", CAP_SYS_RESOURCE));
        assert!(!has_capability("Name:\tx\nCapEff:\t000001fffeffffff\n", CAP_SYS_RESOURCE));
        assert!(!has_capability("", CAP_SYS_RESOURCE));
    }
}
