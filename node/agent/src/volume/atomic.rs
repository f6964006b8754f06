//! Files that change all at once: each version has its own directory, `..data` is a link to the current one, and the
//! names that users see are links through it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use super::Payload;

const DATA: &str = "..data";

/// Brings `dir` to hold exactly `payload`. Touches nothing if it does already.
pub(crate) fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    let current = fs::read_link(dir.join(DATA)).ok();
    if current.as_ref().is_some_and(|current| holds(&dir.join(current), payload)) {
        return Ok(());
    }
    let version = fresh_version(dir)?;
    for (path, entry) in payload {
        let path = dir.join(&version).join(relative(path)?);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &entry.bytes)?;
        let mode = if group.is_some() { entry.mode | 0o040 } else { entry.mode };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        if entry.user.is_some() || group.is_some() {
            std::os::unix::fs::chown(&path, entry.user, group)?;
        }
    }
    let staged = dir.join("..data_tmp");
    remove_file(&staged)?;
    symlink(&version, &staged)?;
    fs::rename(&staged, dir.join(DATA))?;
    link_names(dir, payload)?;
    if let Some(old) = current.filter(|old| *old != version) {
        let _ = fs::remove_dir_all(dir.join(old));
    }
    Ok(())
}

/// A path of a payload, which must stay below the volume.
fn relative(path: &str) -> io::Result<&Path> {
    let path = Path::new(path);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && path.components().next().is_some() {
        Ok(path)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("path {} leaves its volume", path.display())))
    }
}

fn fresh_version(dir: &Path) -> io::Result<PathBuf> {
    let stamp = jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let version = PathBuf::from(format!("..{stamp}"));
    fs::create_dir(dir.join(&version))?;
    fs::set_permissions(dir.join(&version), fs::Permissions::from_mode(0o755))?;
    Ok(version)
}

/// Whether a version directory has exactly these files.
fn holds(version: &Path, payload: &Payload) -> bool {
    let mut found = BTreeSet::new();
    collect(version, Path::new(""), &mut found);
    found.len() == payload.len()
        && payload.iter().all(|(path, entry)| {
            found.contains(Path::new(path)) && fs::read(version.join(path)).is_ok_and(|bytes| bytes == entry.bytes)
        })
}

fn collect(dir: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = below.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), &path, found);
        } else {
            found.insert(path);
        }
    }
}

/// One link for each first part of a path; those that no longer lead anywhere go.
fn link_names(dir: &Path, payload: &Payload) -> io::Result<()> {
    let firsts: BTreeSet<&str> = payload.keys().map(|path| path.split('/').next().unwrap_or(path)).collect();
    for first in &firsts {
        let link = dir.join(first);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(first), &link)?;
        }
    }
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !firsts.contains(name.as_ref()) {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::volume::content::Entry;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let entry = |text: &str| Entry { bytes: text.as_bytes().to_vec(), mode: 0o640, user: None };
        files.iter().map(|(path, text)| ((*path).to_owned(), entry(text))).collect()
    }

    #[test]
    fn swaps_all_files_at_once() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &payload(&[("a", "1"), ("deep/b", "2")]), None).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("deep/b")).unwrap(), "2");
        let first = fs::read_link(dir.path().join(DATA)).unwrap();
        write(dir.path(), &payload(&[("a", "1"), ("deep/b", "2")]), None).unwrap();
        assert_eq!(fs::read_link(dir.path().join(DATA)).unwrap(), first, "nothing changed");
        write(dir.path(), &payload(&[("a", "3")]), None).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "3");
        assert!(fs::symlink_metadata(dir.path().join("deep")).is_err());
        assert!(!dir.path().join(first).exists());
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn refuses_paths_that_leave() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../x", "/x", "a/../../x", ""] {
            assert!(write(dir.path(), &payload(&[(path, "1")]), None).is_err(), "{path}");
        }
    }
}
