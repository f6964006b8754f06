//! Snapshots: the whole state in one file, for members that are too far behind for the log.

mod file;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rocksdb::{IteratorMode, WriteBatch};
use skep_store::Position;

use self::file::{Reader, Writer, invalid, verify};
use crate::config::SnapshotMeta;
use crate::db::{self, Db, META, STATE, decode, encode, io_error};
use crate::state::Applied;

const LOAD_BATCH_BYTES: usize = 1 << 20;

/// The directory of snapshots: the current one, and those in the making.
pub(crate) struct Snapshots {
    dir: PathBuf,
    bytes: AtomicU64,
    /// Held while `current` is replaced.
    replace: Mutex<()>,
}

impl Snapshots {
    pub(crate) fn open(dir: PathBuf) -> io::Result<Snapshots> {
        fs::create_dir_all(&dir)?;
        let snapshots = Snapshots { dir, bytes: AtomicU64::new(0), replace: Mutex::new(()) };
        for unfinished in [snapshots.path("building"), snapshots.path("received")] {
            match fs::remove_file(unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        snapshots.measure();
        Ok(snapshots)
    }

    /// Size of the current snapshot, 0 if there is none.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The current snapshot, its file at the beginning. One that cannot be read is as good as none: another will be made.
    pub(crate) fn current(&self) -> Option<(SnapshotMeta, File)> {
        let mut file = File::open(self.path("current")).ok()?;
        let applied =
            read_applied(&file).map(|(applied, _)| applied).and_then(|applied| file.rewind().map(|()| applied));
        match applied {
            Ok(applied) => Some((meta_of(&applied), file)),
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "the snapshot cannot be read");
                None
            }
        }
    }

    /// A new file for a snapshot that comes from another member.
    pub(crate) async fn receive(&self) -> io::Result<tokio::fs::File> {
        let mut options = tokio::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).open(self.path("received")).await
    }

    /// Writes a snapshot of the state as it is now, and makes it the current one.
    pub(crate) fn build(&self, db: &Db) -> io::Result<(SnapshotMeta, File)> {
        let path = self.path("building");
        let applied = write(db, &path)?;
        let meta = meta_of(&applied);
        self.replace(&path, &meta)?;
        Ok((meta, File::open(self.path("current"))?))
    }

    /// Makes the received snapshot the current one, if it is whole and the one that was announced.
    pub(crate) fn accept(&self, meta: &SnapshotMeta) -> io::Result<()> {
        let path = self.path("received");
        verify(&path)?;
        let (applied, _) = read_applied(File::open(&path)?)?;
        if applied.log_id != meta.last_log_id {
            return Err(invalid("the snapshot is not the one that was announced"));
        }
        self.replace(&path, meta)
    }

    /// Replaces the state by the current snapshot. If it is cut short, [`Snapshots::resume`] starts over.
    pub(crate) fn load(&self, db: &Db) -> io::Result<Applied> {
        let mut batch = WriteBatch::default();
        db.put_meta(&mut batch, db::INSTALLING, &());
        db.write(batch, true)?;
        self.replace_state(db)
    }

    /// Finishes a [`Snapshots::load`] that was cut short.
    pub(crate) fn resume(&self, db: &Db) -> io::Result<()> {
        if db.meta::<()>(db::INSTALLING)?.is_some() {
            verify(&self.path("current"))?;
            self.replace_state(db)?;
        }
        Ok(())
    }

    fn replace_state(&self, db: &Db) -> io::Result<Applied> {
        let (applied, mut frames) = read_applied(File::open(self.path("current"))?)?;
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(db.family(STATE), [0; Position::LEN], [u8::MAX; Position::LEN]);
        while let Some(frame) = frames.next()? {
            let (at, record) = frame.split_at_checked(Position::LEN).ok_or_else(|| invalid("a record is cut short"))?;
            batch.put_cf(db.family(STATE), at, record);
            if batch.size_in_bytes() > LOAD_BATCH_BYTES {
                db.write(std::mem::take(&mut batch), false)?;
            }
        }
        db.put_meta(&mut batch, db::APPLIED, &applied);
        db.delete_meta(&mut batch, db::INSTALLING);
        db.write(batch, true)?;
        Ok(applied)
    }

    /// Renames a whole snapshot to `current`, unless that is newer.
    fn replace(&self, path: &Path, meta: &SnapshotMeta) -> io::Result<()> {
        let _guard = self.replace.lock().unwrap_or_else(PoisonError::into_inner);
        if self.current().is_some_and(|(current, _)| current.last_log_id > meta.last_log_id) {
            return fs::remove_file(path);
        }
        fs::rename(path, self.path("current"))?;
        File::open(&self.dir)?.sync_all()?;
        self.measure();
        Ok(())
    }

    fn measure(&self) {
        let bytes = fs::metadata(self.path("current")).map_or(0, |meta| meta.len());
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn meta_of(applied: &Applied) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: applied.log_id,
        last_membership: applied.membership.clone(),
        // The state is a function of the log: the same last entry, the same bytes.
        snapshot_id: applied.log_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

fn read_applied<R: io::Read>(file: R) -> io::Result<(Applied, Reader<R>)> {
    let mut frames = Reader::new(file)?;
    let first = frames.next()?.ok_or_else(|| invalid("the snapshot is empty"))?;
    Ok((decode(&first)?, frames))
}

/// Writes the state as it is now; writes may go on beside it.
fn write(db: &Db, path: &Path) -> io::Result<Applied> {
    let view = db.rocks().snapshot();
    let applied = view.get_cf(db.family(META), db::APPLIED.name()).map_err(io_error)?;
    let applied: Applied = applied.map(|bytes| decode(&bytes)).transpose()?.unwrap_or_default();
    let mut out = Writer::create(path)?;
    out.frame(&[&encode(&applied)])?;
    for row in view.iterator_cf(db.family(STATE), IteratorMode::Start) {
        let (at, record) = row.map_err(io_error)?;
        out.frame(&[&at, &record])?;
    }
    out.finish()?;
    Ok(applied)
}
