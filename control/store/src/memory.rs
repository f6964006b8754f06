use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;

use crate::{Backend, BackendMut, Position, Record};

/// A [`Backend`] in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    records: BTreeMap<Position, Record>,
}

impl Memory {
    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl Backend for Memory {
    type Error = Infallible;

    fn get(&self, at: Position) -> Result<Option<Record>, Infallible> {
        Ok(self.records.get(&at).cloned())
    }

    fn scan(
        &self,
        from: Position,
        visit: &mut dyn FnMut(Position, Record) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        for (at, record) in self.records.range(from..) {
            if visit(*at, record.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl BackendMut for Memory {
    fn put(&mut self, at: Position, record: Record) {
        self.records.insert(at, record);
    }

    fn delete(&mut self, at: Position) {
        self.records.remove(&at);
    }
}
