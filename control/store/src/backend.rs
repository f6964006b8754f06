//! Where the versions live.

use std::fmt;
use std::ops::ControlFlow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{KeyValue, Revision};

/// The place of one change in the store's history: the transaction's revision, and the change's number in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Revision of the transaction.
    pub revision: Revision,
    /// 0 for the first change of the transaction.
    pub sub: u32,
}

impl Position {
    /// Length of the encoded form.
    pub const LEN: usize = 12;

    /// The first change of `revision`.
    #[must_use]
    pub const fn first(revision: Revision) -> Position {
        Position { revision, sub: 0 }
    }

    /// An encoding that sorts as positions do.
    #[must_use]
    pub fn encode(self) -> [u8; Position::LEN] {
        let mut out = [0; Position::LEN];
        out[..8].copy_from_slice(&self.revision.to_be_bytes());
        out[8..].copy_from_slice(&self.sub.to_be_bytes());
        out
    }

    /// The reverse of [`Position::encode`]; `None` if the length is another.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Position> {
        let (revision, sub) = bytes.split_at_checked(8)?;
        Some(Position {
            revision: Revision::from_be_bytes(revision.try_into().ok()?),
            sub: u32::from_be_bytes(sub.try_into().ok()?),
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.revision, self.sub)
    }
}

/// What is stored at a [`Position`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A version of a key.
    Put(KeyValue),
    /// The end of a key's life.
    Delete {
        /// The key.
        key: Bytes,
    },
}

impl Record {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Record::Put(kv) => &kv.key,
            Record::Delete { key } => key,
        }
    }
}

/// Reads of records.
pub trait Backend {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The record at a position.
    ///
    /// # Errors
    /// Where the medium fails.
    fn get(&self, at: Position) -> Result<Option<Record>, Self::Error>;

    /// Visits the records from a position on, in order, until told to stop.
    ///
    /// # Errors
    /// Where the medium fails.
    fn scan(
        &self,
        from: Position,
        visit: &mut dyn FnMut(Position, Record) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;
}

/// A change in the making: gathers writes, and its reads see them. Whoever owns the backend makes them durable together, or
/// not at all.
pub trait BackendMut: Backend {
    /// Stores a record.
    fn put(&mut self, at: Position, record: Record);

    /// Removes a record.
    fn delete(&mut self, at: Position);
}
