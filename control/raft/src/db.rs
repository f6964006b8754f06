//! The RocksDB database of a member, its column families and its tuning.

use std::io;
use std::path::Path;

use rocksdb::{BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, LogLevel};
use rocksdb::{ErrorKind, Options, WriteBatch, WriteOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::OpenError;

/// Raft's log: index to entry.
pub(crate) const LOG: &str = "log";
/// Single values: see the constants below.
pub(crate) const META: &str = "meta";
/// Records of the state machine: position to record.
pub(crate) const STATE: &str = "state";

/// A key of [`META`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetaKey(&'static str);

impl MetaKey {
    /// As it is stored.
    pub(crate) const fn name(self) -> &'static str {
        self.0
    }
}

/// Whose database it is, in which format.
pub(crate) const IDENTITY: MetaKey = MetaKey("identity");
pub(crate) const VOTE: MetaKey = MetaKey("vote");
pub(crate) const PURGED: MetaKey = MetaKey("purged");
pub(crate) const APPLIED: MetaKey = MetaKey("applied");
/// There while a received snapshot replaces the state.
pub(crate) const INSTALLING: MetaKey = MetaKey("installing");

const MEMTABLE_BYTES: usize = 4 << 20;
const MEMTABLES_BYTES_MAX: usize = 10 << 20;
const BLOCK_CACHE_BYTES: usize = 8 << 20;
const WAL_BYTES_MAX: u64 = 16 << 20;
const BACKGROUND_JOBS: i32 = 2;
const OPEN_FILES_MAX: i32 = 128;

/// One database for log and state: one write-ahead log, so that what is durable of it is always a prefix of what was written.
pub(crate) struct Db {
    rocks: DB,
    /// Dropped after the database, which tells whoever waits that it is closed.
    _closed: oneshot::Sender<()>,
}

impl Db {
    /// Opens or makes the database at `path`, for the store in `dir`. The receiver ends when it is closed.
    pub(crate) fn open(dir: &Path, path: &Path) -> Result<(Db, oneshot::Receiver<()>), OpenError> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let families =
            [(LOG, DBCompressionType::None), (META, DBCompressionType::None), (STATE, DBCompressionType::Lz4)];
        let families =
            families.map(|(name, compression)| ColumnFamilyDescriptor::new(name, family_options(&cache, compression)));
        let rocks =
            DB::open_cf_descriptors(&database_options(), path, families).map_err(|source| open_error(dir, &source))?;
        let (closed, on_closed) = oneshot::channel();
        Ok((Db { rocks, _closed: closed }, on_closed))
    }

    pub(crate) fn rocks(&self) -> &DB {
        &self.rocks
    }

    pub(crate) fn family(&self, name: &str) -> &ColumnFamily {
        self.rocks.cf_handle(name).expect("every family is made when the database is opened")
    }

    /// Writes a batch whole or not at all. With `sync`, it and all before it are on the disk when this returns.
    pub(crate) fn write(&self, batch: WriteBatch, sync: bool) -> io::Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.rocks.write_opt(batch, &options).map_err(io_error)
    }

    pub(crate) fn meta<T: DeserializeOwned>(&self, key: MetaKey) -> io::Result<Option<T>> {
        let bytes = self.rocks.get_pinned_cf(self.family(META), key.0).map_err(io_error)?;
        bytes.map(|bytes| decode(&bytes)).transpose()
    }

    pub(crate) fn put_meta<T: Serialize>(&self, batch: &mut WriteBatch, key: MetaKey, value: &T) {
        batch.put_cf(self.family(META), key.0, encode(value));
    }

    pub(crate) fn delete_meta(&self, batch: &mut WriteBatch, key: MetaKey) {
        batch.delete_cf(self.family(META), key.0);
    }

    /// Makes all that was written durable, and ends background work.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.rocks.flush_wal(true).map_err(io_error)?;
        self.rocks.cancel_all_background_work(true);
        Ok(())
    }
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(MEMTABLES_BYTES_MAX);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_bytes_per_sync(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

fn family_options(cache: &Cache, compression: DBCompressionType) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(compression);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_target_file_size_base(8 << 20);
    options
}

fn open_error(dir: &Path, error: &rocksdb::Error) -> OpenError {
    let dir = dir.to_owned();
    let reason = error.to_string();
    if is_no_space(&reason) {
        OpenError::DiskFull { dir }
    } else if reason.contains("lock hold by current process") || reason.contains("/LOCK: ") {
        OpenError::Locked { dir }
    } else if error.kind() == ErrorKind::Corruption {
        OpenError::Corrupt { dir, reason }
    } else {
        OpenError::Io { dir, reason }
    }
}

fn is_no_space(reason: &str) -> bool {
    reason.contains("No space left on device") || reason.contains("Disk quota exceeded")
}

/// RocksDB gives text alone; what callers tell apart is kept in the kind.
pub(crate) fn io_error(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        _ if is_no_space(error.as_ref()) => io::ErrorKind::StorageFull,
        ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data in memory always encodes")
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(|source| io::Error::new(io::ErrorKind::InvalidData, source))
}

/// Runs what may wait for the disk where that holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
