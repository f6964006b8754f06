//! `subPath`: a file or directory inside a volume, opened so that no link leads out of it, and pinned by a bind mount.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Component, Path};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};

/// Bind-mounts `volume/sub_path` at `target`, making missing directories of the path inside the volume.
pub(crate) fn bind(volume: &Path, sub_path: &str, target: &Path) -> io::Result<()> {
    let relative = Path::new(sub_path);
    if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("subPath {sub_path} must not leave the volume"),
        ));
    }
    let root = File::open(volume)?;
    let opened = open_below(&root, relative)?;
    let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let is_dir = fs::metadata(&source)?.is_dir();
    // A start that failed half-way left its own.
    let _ = umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    if !target.exists() {
        match target.parent() {
            Some(parent) if !is_dir => {
                fs::create_dir_all(parent)?;
                File::create(target)?;
            }
            _ => fs::create_dir_all(target)?,
        }
    }
    mount(Some(source.as_str()), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    Ok(())
}

/// Opens a path below `root`, part by part; the kernel refuses links that lead out of `root`.
fn open_below(root: &File, relative: &Path) -> io::Result<File> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve);
    let mut below = std::path::PathBuf::from(".");
    let mut opened = File::from(openat2(root, &below, how)?);
    for part in relative.components() {
        let Component::Normal(name) = part else { continue };
        below.push(name);
        let next = match openat2(root, &below, how) {
            Err(nix::errno::Errno::ENOENT) => {
                mkdirat(&opened, name, Mode::from_bits_truncate(0o755))?;
                openat2(root, &below, how)?
            }
            other => other?,
        };
        opened = File::from(next);
    }
    Ok(opened)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pins_what_is_inside_and_refuses_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("..data")).unwrap();
        fs::write(volume.join("..data/key"), "value").unwrap();
        std::os::unix::fs::symlink("..data/key", volume.join("key")).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
        bind(&volume, "key", &dir.path().join("sub/0")).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("sub/0")).unwrap(), "value");
        bind(&volume, "new/dir", &dir.path().join("sub/1")).unwrap();
        assert!(volume.join("new/dir").is_dir());
        for path in ["out", "out/passwd", "../x", "/etc"] {
            assert!(bind(&volume, path, &dir.path().join("sub/2")).is_err(), "{path}");
        }
        crate::volume::remove_tree(&dir.path().join("sub")).unwrap();
    }
}
