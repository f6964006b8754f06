//! Directories in the cgroup hierarchies.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where cgroup2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on a hybrid host.
///
/// # Errors
/// No cgroup2 is mounted.
pub fn cgroup2_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        if let (Some(_), Some(target), Some("cgroup2")) = (fields.next(), fields.next(), fields.next()) {
            return Ok(PathBuf::from(target));
        }
    }
    bail!("no cgroup2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup")
}

/// A directory in the cgroup2 hierarchy. Removed on drop, with what is below it.
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes `name` below the hierarchy's root.
    ///
    /// # Errors
    /// No cgroup2, or not root.
    pub fn create(name: &str) -> Result<Cgroup> {
        let path = cgroup2_root()?.join(name);
        fs::create_dir_all(&path).with_context(|| format!("create cgroup {}", path.display()))?;
        Ok(Cgroup { path })
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its `cgroup.procs`: a process that writes `0` there moves itself in.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove_cgroup_tree(&self.path) {
            tracing::warn!(cgroup = %self.path.display(), %error, "cgroup left behind");
        }
    }
}

/// Removes a cgroup directory and those below it, the deepest first. Absent is success.
///
/// # Errors
/// A process still lives in one of them.
pub fn remove_cgroup_tree(path: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path).with_context(|| format!("remove cgroup {}", path.display()))
}
