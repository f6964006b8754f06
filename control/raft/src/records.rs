//! The state machine's records in RocksDB.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;

use rocksdb::{DBIterator, Direction, IteratorMode, WriteBatch};
use skep_store::{Backend, BackendMut, Position, Record};

use crate::db::{Db, STATE, decode, encode, io_error};

/// Records as they are stored.
pub(crate) struct Records<'a>(pub(crate) &'a Db);

impl Backend for Records<'_> {
    type Error = io::Error;

    fn get(&self, at: Position) -> io::Result<Option<Record>> {
        let bytes = self.0.rocks().get_pinned_cf(self.0.family(STATE), at.encode()).map_err(io_error)?;
        bytes.map(|bytes| decode(&bytes)).transpose()
    }

    fn scan(&self, from: Position, visit: &mut dyn FnMut(Position, Record) -> ControlFlow<()>) -> io::Result<()> {
        let start = from.encode();
        let rows = self.0.rocks().iterator_cf(self.0.family(STATE), IteratorMode::From(&start, Direction::Forward));
        visit_rows(rows, visit)
    }
}

fn visit_rows(rows: DBIterator<'_>, visit: &mut dyn FnMut(Position, Record) -> ControlFlow<()>) -> io::Result<()> {
    for row in rows {
        let (key, value) = row.map_err(io_error)?;
        let at = Position::decode(&key)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a key of the state is no position"))?;
        if visit(at, decode(&value)?).is_break() {
            break;
        }
    }
    Ok(())
}

/// Changes on top of what is stored, until [`Db::write`] takes the batch.
pub(crate) struct Changes<'a> {
    db: &'a Db,
    pending: HashMap<Position, Record>,
    batch: WriteBatch,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Changes { db, pending: HashMap::new(), batch: WriteBatch::default() }
    }

    pub(crate) fn into_batch(self) -> WriteBatch {
        self.batch
    }
}

impl Backend for Changes<'_> {
    type Error = io::Error;

    fn get(&self, at: Position) -> io::Result<Option<Record>> {
        match self.pending.get(&at) {
            Some(record) => Ok(Some(record.clone())),
            None => Records(self.db).get(at),
        }
    }

    fn scan(&self, _: Position, _: &mut dyn FnMut(Position, Record) -> ControlFlow<()>) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a change in the making has no history"))
    }
}

impl BackendMut for Changes<'_> {
    fn put(&mut self, at: Position, record: Record) {
        self.batch.put_cf(self.db.family(STATE), at.encode(), encode(&record));
        self.pending.insert(at, record);
    }

    fn delete(&mut self, at: Position) {
        self.batch.delete_cf(self.db.family(STATE), at.encode());
        self.pending.remove(&at);
    }
}
