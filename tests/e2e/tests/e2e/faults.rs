//! Hosts that cannot run a node, and hosts that fail while they do.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use skep_e2e::{Disk, TestCluster, skep};
use skep_testkit::cluster::{log_tail, state_dir};

use crate::{ECHO, ROLLOUT, ask};

/// A start that fails: its log's last line, which is the one for people.
fn refusal(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("start skep")?;
    ensure!(!output.status.success(), "it started");
    let text = String::from_utf8(output.stderr)?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// `skep up` behind the words of a program that changes what it sees of the host.
fn up(before: &[&str], state: &str) -> Result<Command> {
    let skep = skep()?;
    let mut command = Command::new(before.first().map_or(skep.as_os_str(), |program| program.as_ref()));
    if !before.is_empty() {
        command.args(&before[1..]).arg(&skep);
    }
    let dir = Dir::of(state);
    command.args(["up", "--listen", "127.0.0.1:0", "--name", state]);
    command.arg("--state-dir").arg(&dir.0);
    Ok(command)
}

/// A state folder that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn of(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("{name}-{}", std::process::id())))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// A shell in a mount namespace of its own that runs `change` before what follows.
fn changed(change: &str) -> Vec<&str> {
    vec!["unshare", "--mount", "--propagation", "private", "sh", "-c", change, "sh"]
}

#[test]
fn hosts_that_cannot_run_a_node_are_told_why() -> Result<()> {
    let said = |before: &[&str], name: &str| {
        let _dir = Dir::of(name);
        refusal(&mut up(before, name)?)
    };
    let unmount = "for m in $(awk '$3 == \"cgroup2\" {print $2}' /proc/mounts); do umount -l $m; done; exec \"$@\"";
    let no_cgroup2 = said(&changed(unmount), "e2e-f-cgroup2")?;
    assert!(no_cgroup2.contains("mount -t cgroup2 none /sys/fs/cgroup"), "{no_cgroup2}");

    let old = said(&["setarch", "--uname-2.6"], "e2e-f-old")?;
    assert!(old.contains("is too old: 6.6 or newer is needed"), "{old}");

    let hide = "mount --bind /dev/null \"$(command -v containerd)\"; exec \"$@\"";
    let missing = said(&changed(hide), "e2e-f-missing")?;
    assert!(missing.contains("containerd is not installed: apt-get install containerd runc"), "{missing}");

    let nobody = said(&["setpriv", "--reuid", "65534", "--clear-groups"], "e2e-f-nobody")?;
    assert!(nobody.contains("a node needs root: run this with sudo"), "{nobody}");
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_named() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let _dir = Dir::of("e2e-f-port");
    let mut command = Command::new(skep()?);
    command.args(["up", "--name", "e2e-f-port", "--listen", &address, "--state-dir"]).arg(&_dir.0);
    let said = refusal(&mut command)?;
    assert!(said.contains(&format!("listen on {address}: choose another address with --listen")), "{said}");
    Ok(())
}

#[test]
fn a_cluster_whose_processes_were_all_killed_comes_back() -> Result<()> {
    let mut test = TestCluster::start("e2e-stale")?;
    test.apply(ECHO)?;
    test.cluster.kubectl(ROLLOUT)?;
    test.cluster.kill()?;
    test.cluster.kill_processes()?;
    test.cluster.restart()?;
    test.cluster.kubectl(ROLLOUT)?;
    test.wait_until("an answer of the new containers", || ask(&test).is_ok_and(|name| name.starts_with("echo-")))?;
    Ok(())
}

#[test]
fn a_full_disk_refuses_writes_and_serves_on_once_there_is_room() -> Result<()> {
    let name = "e2e-full";
    let disk = Disk::mount(&state_dir(name), 1024)?;
    let test = TestCluster::start(name)?;
    test.apply(ECHO)?;
    test.cluster.kubectl(ROLLOUT)?;
    disk.fill()?;
    let refused = (0..200).find_map(|index| {
        let text = format!("--from-literal=value={}", "x".repeat(1 << 10));
        test.cluster.kubectl(&["create", "configmap", &format!("big-{index}"), &text]).err()
    });
    let refused = refused.context("a full disk took every write")?.to_string();
    assert!(refused.contains("no space: "), "{refused}\n{}", log_tail(name));
    assert!(ask(&test)?.starts_with("echo-"), "what runs goes on");
    assert!(test.cluster.kubectl(&["get", "deployment", "echo", "-o", "name"])?.contains("echo"), "reads go on");

    disk.free()?;
    test.wait_until("writes again", || test.cluster.kubectl(&["create", "configmap", "after"]).is_ok())?;
    test.cluster.kubectl(&["scale", "deployment/echo", "--replicas=4"])?;
    test.cluster.kubectl(ROLLOUT)?;
    Ok(())
}
