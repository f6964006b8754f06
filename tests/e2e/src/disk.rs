//! A small disk that can be full.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A tmpfs of its own size, unmounted on drop.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of so many MiB at `path`, which is made if need be.
    ///
    /// # Errors
    /// The system's own.
    pub fn mount(path: &Path, size_mib: u32) -> Result<Disk> {
        fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
        let options = format!("size={size_mib}m");
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("mount {}", path.display()))?;
        Ok(Disk(path.to_owned()))
    }

    /// Takes all room there is.
    ///
    /// # Errors
    /// Writing fails for another reason than a lack of room.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filler())?;
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![0_u8; size];
            loop {
                match file.write(&block) {
                    Ok(0) => bail!("the filler takes no more and does not say why"),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("fill the disk"),
                }
            }
        }
        Ok(())
    }

    /// Gives back what [`Disk::fill`] took.
    ///
    /// # Errors
    /// The system's own.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("free the disk")
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
        // What was below it is another's to remove.
        let _removed = fs::remove_dir(&self.0);
    }
}
