//! Pins: where they are, the file system they are in, and taking them down.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use skep_abi::MapSpec;

use crate::error::Context as _;
use crate::probe::is_bpffs;
use crate::{Error, sys};

const BPFFS: &str = "/sys/fs/bpf";
/// In it, the directory of all nodes.
const COMMON: &str = "skep";

/// The pin directory of a node.
pub fn pin_dir(node: &str) -> PathBuf {
    Path::new(BPFFS).join(COMMON).join(node)
}

/// A node's pins.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    dir: PathBuf,
}

impl Pins {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts a map in the place of the one that is pinned, at once for whoever opens it later.
    pub(crate) fn replace_map(&self, spec: &MapSpec, map: BorrowedFd<'_>) -> Result<(), Error> {
        let (path, beside) = (self.map(spec), self.dir.join("maps").join(format!("{}_NEW", spec.name)));
        let what = || format!("pin map {}", spec.name);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).context(what),
            _ => {}
        }
        sys::pin(map, &beside).context(what)?;
        fs::rename(&beside, &path).context(what)
    }

    pub(crate) fn map(&self, spec: &MapSpec) -> PathBuf {
        self.dir.join("maps").join(spec.name)
    }

    pub(crate) fn link(&self, name: &str) -> PathBuf {
        self.dir.join("links").join(name)
    }

    /// Makes the directories, in a bpffs that is mounted where there is none, and locks them for this process.
    pub(crate) fn ensure(&self) -> Result<Flock<File>, Error> {
        if self.dir.starts_with(BPFFS) && !is_bpffs(Path::new(BPFFS)) {
            mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
                .context(|| format!("mount a bpf file system at {BPFFS}"))?;
        }
        for sub in ["maps", "links"] {
            let dir = self.dir.join(sub);
            // Another node's end may take the common directory away meanwhile: once more then.
            fs::create_dir_all(&dir)
                .or_else(|_| fs::create_dir_all(&dir))
                .context(|| format!("create {}", dir.display()))?;
        }
        if !is_bpffs(&self.dir) {
            return Err(Error::NoBpffs { path: self.dir.clone() });
        }
        let file = File::open(&self.dir).context(|| format!("open {}", self.dir.display()))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => Error::Busy { path: self.dir.clone() },
            other => Error::Sys { what: format!("lock {}", self.dir.display()), source: other.into() },
        })
    }

    /// Opens a pinned map after a check of its layout; `None` where it is not pinned.
    pub(crate) fn open_map(&self, spec: &MapSpec) -> Result<Option<OwnedFd>, Error> {
        let path = self.map(spec);
        let Some(fd) = sys::open_pin(&path).context(|| format!("open {}", path.display()))? else { return Ok(None) };
        check(&fd, spec, &path)?;
        Ok(Some(fd))
    }

    /// Like [`Pins::open_map`], for a map that must be there.
    pub(crate) fn require_map(&self, spec: &MapSpec) -> Result<OwnedFd, Error> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        self.open_map(spec)?.ok_or_else(missing).context(|| format!("open {}", self.map(spec).display()))
    }

    /// The names of the pinned links.
    pub(crate) fn links(&self) -> Result<Vec<String>, Error> {
        let dir = self.dir.join("links");
        let entries = fs::read_dir(&dir).context(|| format!("list {}", dir.display()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        Ok(names)
    }
}

fn check(fd: &OwnedFd, spec: &MapSpec, path: &Path) -> Result<(), Error> {
    let info: sys::MapInfo = sys::info(fd.as_fd()).context(|| format!("inspect {}", path.display()))?;
    let fixed_size = spec.entries <= skep_abi::Metric::ROWS;
    let facts = [
        ("type", info.kind, spec.kind as u32),
        ("key size", info.key_size, spec.key_size),
        ("value size", info.value_size, spec.value_size),
        ("flags", info.flags, spec.flags),
        ("size", if fixed_size { info.max_entries } else { spec.entries }, spec.entries),
    ];
    match facts.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(()),
        Some((what, found, expected)) => Err(Error::Incompatible { path: path.to_owned(), what, found, expected }),
    }
}

/// Takes a dead node's datapath down: its programs are detached and its maps freed. A directory that is not there is no error.
///
/// # Errors
/// A pin cannot be removed, or a daemon still serves the node.
pub fn detach_all(pin_dir: &Path) -> Result<(), Error> {
    let remove = |path: &Path| match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    if !pin_dir.exists() {
        return Ok(());
    }
    let file = File::open(pin_dir).context(|| format!("open {}", pin_dir.display()))?;
    let _lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, _)| Error::Busy { path: pin_dir.to_owned() })?;
    // Links first: a program without its maps does not exist, so that nothing runs half.
    for sub in ["links", "maps"] {
        let dir = pin_dir.join(sub);
        remove(&dir).context(|| format!("remove {}", dir.display()))?;
    }
    fs::remove_dir(pin_dir).context(|| format!("remove {}", pin_dir.display()))?;
    // The directory of all nodes goes with the last of them; while another is there it is not empty, and stays.
    if let Some(common) = pin_dir.parent().filter(|common| *common == Path::new(BPFFS).join(COMMON)) {
        let _ = fs::remove_dir(common);
    }
    Ok(())
}
