//! The host's cgroup hierarchies: one of version 2, and up to a dozen of version 1 beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const KILL_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Why a cgroup cannot be had or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup2 is mounted.
    #[error("no cgroup2 filesystem is mounted: mount -t cgroup2 none /sys/fs/cgroup")]
    NoUnified,
    /// A file of a cgroup could not be used.
    #[error("cgroup {path:?}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Processes stayed in spite of SIGKILL.
    #[error("processes in cgroup {cgroup} do not end: {pids:?}")]
    Survivors {
        /// The cgroup, from the root of its hierarchy.
        cgroup: String,
        /// Those that stayed.
        pids: Vec<i32>,
    },
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Version 1: the controllers and the name (`name=systemd`) in its mount options. Empty for version 2.
    pub controllers: Vec<String>,
    /// Whether it is of version 2.
    pub unified: bool,
}

impl Hierarchy {
    /// The directory of `cgroup`, a path from the hierarchy's root that may start with a slash.
    #[must_use]
    pub fn dir(&self, cgroup: &str) -> PathBuf {
        self.mount.join(cgroup.trim_start_matches('/'))
    }
}

/// Every hierarchy that the host has mounted.
#[derive(Debug, Clone)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// Looks at this process' mounts.
    ///
    /// # Errors
    /// `/proc` is not readable, or no cgroup2 is mounted.
    pub fn detect() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let mounts = fs::read_to_string(path).map_err(|source| file(path, source))?;
        let hierarchies = decode_mounts(&mounts);
        if !hierarchies.iter().any(|hierarchy| hierarchy.unified) {
            return Err(CgroupError::NoUnified);
        }
        Ok(Cgroups { hierarchies })
    }

    /// All hierarchies, in the order in which they were mounted.
    #[must_use]
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// The hierarchy of version 2.
    #[must_use]
    pub fn unified(&self) -> &Hierarchy {
        self.hierarchies.iter().find(|hierarchy| hierarchy.unified).expect("detect refuses a host without one")
    }

    /// Makes `cgroup` and its parents in every hierarchy, for cgroups below it: the controllers of cgroup2 are passed down to
    /// those, so that it takes no processes itself.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn ensure(&self, cgroup: &str) -> Result<(), CgroupError> {
        self.hierarchies.iter().try_for_each(|hierarchy| ensure_in(hierarchy, cgroup))?;
        pass_controllers_down(&self.unified().dir(cgroup));
        Ok(())
    }

    /// Makes `cgroup` in cgroup2 alone, for processes.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn ensure_unified(&self, cgroup: &str) -> Result<(), CgroupError> {
        ensure_in(self.unified(), cgroup)
    }

    /// Makes `cgroup` in cgroup2 alone, and moves a process there: 0 is the caller.
    ///
    /// # Errors
    /// The directory cannot be made or the process not moved.
    pub fn join_unified(&self, cgroup: &str, pid: i32) -> Result<(), CgroupError> {
        self.ensure_unified(cgroup)?;
        let path = self.unified().dir(cgroup).join("cgroup.procs");
        fs::write(&path, pid.to_string()).map_err(|source| file(&path, source))
    }

    /// Ends every process in `cgroup` and below, in all hierarchies, except the caller.
    ///
    /// # Errors
    /// Some do not end within ten seconds.
    pub fn kill(&self, cgroup: &str) -> Result<(), CgroupError> {
        let began = Instant::now();
        loop {
            let pids = self.processes(cgroup);
            if pids.is_empty() {
                return Ok(());
            }
            if began.elapsed() > KILL_TIMEOUT {
                return Err(CgroupError::Survivors { cgroup: cgroup.to_owned(), pids });
            }
            for pid in pids {
                // One that has just ended by itself is as good.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// The processes in `cgroup` and below, in all hierarchies, except the caller.
    #[must_use]
    pub fn processes(&self, cgroup: &str) -> Vec<i32> {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let mut pids = Vec::new();
        for hierarchy in &self.hierarchies {
            collect_processes(&hierarchy.dir(cgroup), &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        // A 0 stands for a process outside of this pid namespace.
        pids.retain(|pid| *pid != own && *pid != 0);
        pids
    }

    /// Removes the directories of `cgroup` and those below it. What is gone already is no error.
    ///
    /// # Errors
    /// A directory still holds processes.
    pub fn remove(&self, cgroup: &str) -> Result<(), CgroupError> {
        self.hierarchies.iter().try_for_each(|hierarchy| remove_tree(&hierarchy.dir(cgroup)))
    }
}

fn file(path: &Path, source: io::Error) -> CgroupError {
    CgroupError::File { path: path.to_owned(), source }
}

/// `/proc/PID/mountinfo`, see proc(5): of two mounts of one hierarchy the first one stands.
fn decode_mounts(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let Some(mount) = before.split(' ').nth(4) else { continue };
        let mut after = after.split(' ');
        let (kind, options) = (after.next().unwrap_or(""), after.nth(1).unwrap_or(""));
        let (unified, controllers) = match kind {
            "cgroup2" => (true, Vec::new()),
            "cgroup" => (false, options.split(',').filter(|option| is_controller(option)).map(str::to_owned).collect()),
            _ => continue,
        };
        let hierarchy = Hierarchy { mount: PathBuf::from(mount), controllers, unified };
        let known = |other: &Hierarchy| other.unified == unified && other.controllers == hierarchy.controllers;
        if !found.iter().any(known) {
            found.push(hierarchy);
        }
    }
    found
}

fn is_controller(option: &str) -> bool {
    !matches!(option, "rw" | "ro" | "none" | "noprefix" | "clone_children" | "xattr" | "all" | "favordynmods")
        && (!option.contains('=') || option.starts_with("name="))
}

fn ensure_in(hierarchy: &Hierarchy, cgroup: &str) -> Result<(), CgroupError> {
    let mut dir = hierarchy.mount.clone();
    for name in cgroup.split('/').filter(|name| !name.is_empty()) {
        if hierarchy.unified {
            pass_controllers_down(&dir);
        }
        dir.push(name);
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(file(&dir, source)),
        }
        if hierarchy.controllers.iter().any(|controller| controller == "cpuset") {
            inherit_cpuset(&dir)?;
        }
    }
    Ok(())
}

/// One by one, and as far as the kernel lets: a host may keep some from us, and limits are then enforced without them.
fn pass_controllers_down(dir: &Path) {
    let Ok(controllers) = fs::read_to_string(dir.join("cgroup.controllers")) else { return };
    for controller in controllers.split_ascii_whitespace() {
        if let Err(error) = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::debug!(controller, ?dir, %error, "controller is not passed down");
        }
    }
}

/// A new cpuset cgroup of version 1 takes no process until its two sets are filled.
fn inherit_cpuset(dir: &Path) -> Result<(), CgroupError> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let path = dir.join(name);
        let held = fs::read_to_string(&path).map_err(|source| file(&path, source))?;
        if held.trim().is_empty() {
            let inherited = fs::read_to_string(parent.join(name)).map_err(|source| file(&parent.join(name), source))?;
            fs::write(&path, inherited.trim()).map_err(|source| file(&path, source))?;
        }
    }
    Ok(())
}

fn collect_processes(dir: &Path, pids: &mut Vec<i32>) {
    if let Ok(text) = fs::read_to_string(dir.join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    for child in children(dir) {
        collect_processes(&child, pids);
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(dir: &Path) -> Result<(), CgroupError> {
    for child in children(dir) {
        remove_tree(&child)?;
    }
    let began = Instant::now();
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A killed process leaves its cgroup a little after it leaves the list.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && began.elapsed() < KILL_TIMEOUT => {
                std::thread::sleep(POLL_INTERVAL);
            }
            Err(source) => return Err(file(dir, source)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_a_hybrid_host() {
        let text = "24 1 0:2 / /proc rw - proc proc rw\n\
            30 29 0:26 / /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
            31 29 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
            32 29 0:28 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
            33 29 0:28 / /mnt/again rw - cgroup2 cgroup2 rw\n";
        let found = decode_mounts(text);
        let mounts: Vec<_> = found.iter().map(|hierarchy| hierarchy.mount.to_str().unwrap()).collect();
        assert_eq!(mounts, ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"]);
        assert_eq!(found[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(found[1].controllers, ["name=systemd"]);
        assert!(found[2].unified);
        assert_eq!(found[2].dir("/skep-a/pods"), Path::new("/sys/fs/cgroup/unified/skep-a/pods"));
    }
}
