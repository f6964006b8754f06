//! One daemon per state directory.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};

/// Held for as long as this lives, and let go by the kernel if the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: Flock<File>,
}

impl Lock {
    /// # Errors
    /// Another process holds it, which the error names.
    pub(crate) fn take(state_dir: &Path) -> Result<Self> {
        let path = state_dir.join("node.lock");
        fs::create_dir_all(state_dir).with_context(|| format!("create state directory {}", state_dir.display()))?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        let mut held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                // Only for the message.
                let _ = file.read_to_string(&mut pid);
                bail!(
                    "a node with state directory {} is running (pid {}): end it first",
                    state_dir.display(),
                    pid.trim()
                );
            }
            Err((_, error)) => return Err(error).with_context(|| format!("lock {}", path.display())),
        };
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut held).with_context(|| format!("write {}", path.display()))?;
        Ok(Lock { _held: held })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let error = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        Lock::take(dir.path()).unwrap();
    }
}
