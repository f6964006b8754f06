//! Mounts below a pod's directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounts a tmpfs at `path` unless something is mounted there. True if it did.
pub(crate) fn ensure_tmpfs(path: &Path, size_bytes: Option<i64>) -> io::Result<bool> {
    if mounts_below(path)?.iter().any(|held| held == path) {
        return Ok(false);
    }
    let options = size_bytes.map(|size| format!("size={size}"));
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, options.as_deref())?;
    Ok(true)
}

/// Mount points at and below `path`, the deepest first.
fn mounts_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let path = fs::canonicalize(path)?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .filter(|point| point.starts_with(&path))
        .collect();
    found.reverse();
    found.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    Ok(found)
}

/// Mount points as the kernel prints them have blanks and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Unmounts everything at and below `path`, then removes it. Never follows into what is still mounted.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    for point in mounts_below(path)? {
        umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
    }
    fs::remove_dir_all(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn mounts_once_and_removes_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap().join("pod/with blank");
        fs::create_dir_all(&path).unwrap();
        assert!(ensure_tmpfs(&path, Some(1 << 20)).unwrap());
        assert!(!ensure_tmpfs(&path, None).unwrap());
        fs::write(path.join("file"), "x").unwrap();
        remove_tree(&dir.path().join("pod")).unwrap();
        assert!(!dir.path().join("pod").exists());
    }
}
