//! Room on the disk, looked at before a write rather than after its failure: a log that cannot be written ends a member.

use std::path::PathBuf;

use nix::sys::statvfs::statvfs;

use crate::StoreError;

/// Guards what has to stay free for the database to go on: its next memtables, a compaction, a snapshot.
pub(crate) struct Space {
    dir: PathBuf,
    reserve_bytes: u64,
}

/// What a write does to the room that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It needs room for good.
    Grow(u64),
    /// It frees some, so that it may take of the reserve.
    Free,
}

impl Space {
    pub(crate) fn new(dir: PathBuf, reserve_bytes: u64) -> Space {
        Space { dir, reserve_bytes }
    }

    /// # Errors
    /// [`StoreError::DiskFull`] where the reserve would be touched. If the file system does not tell, the write is tried.
    pub(crate) fn check(&self, wanted: Use) -> Result<(), StoreError> {
        let bytes_needed = match wanted {
            // Once in the log, once in the state, and both once more when they leave the write-ahead log.
            Use::Grow(bytes) => self.reserve_bytes.saturating_add(bytes.saturating_mul(4)),
            Use::Free => self.reserve_bytes / 4,
        };
        let Ok(stat) = statvfs(&self.dir) else { return Ok(()) };
        #[allow(clippy::useless_conversion, reason = "these types differ between platforms")]
        let bytes_free = u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size()));
        if bytes_free < bytes_needed {
            return Err(StoreError::DiskFull { dir: self.dir.clone(), bytes_free, bytes_needed });
        }
        Ok(())
    }
}
