//! What to write, in order.

use std::fmt;

use skep_abi::{BackendV4, SvcKeyV4, SvcV4};

use crate::Range;

/// Writes to the kernel's tables, to be carried out field by field, from the first to the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Names of new services, by id.
    pub names: Vec<(u32, String)>,
    /// Rows of the backend table, each list from its first row on. No reader can see them before the heads are written.
    pub rows: Vec<(u32, Vec<BackendV4>)>,
    /// Heads to write, each replaced as a whole.
    pub heads: Vec<(SvcKeyV4, SvcV4)>,
    /// Heads to delete.
    pub removed_heads: Vec<SvcKeyV4>,
    /// Ids whose names are no longer needed.
    pub removed_names: Vec<u32>,
    /// Ranges that are free a grace period after the heads were written; [`crate::Tables`] keeps account of them.
    pub retired: Vec<Range>,
}

impl Plan {
    /// Number of elements to write or delete.
    pub fn ops(&self) -> usize {
        let rows: usize = self.rows.iter().map(|(_, rows)| rows.len()).sum();
        self.names.len() + rows + self.heads.len() + self.removed_heads.len() + self.removed_names.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops() == 0
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, name) in &self.names {
            writeln!(f, "name {id} {name}")?;
        }
        for (base, rows) in &self.rows {
            for (row, backend) in (*base..).zip(rows) {
                let state = if backend.flags & skep_abi::BACKEND_TERMINATING != 0 { " terminating" } else { "" };
                writeln!(f, "row {row} {}:{} of {}{state}", backend.addr, backend.port, backend.service)?;
            }
        }
        for (key, head) in &self.heads {
            writeln!(
                f,
                "head {}:{}/{} service {} rows {}+{}+{}",
                key.addr, key.port, key.proto, head.service, head.base, head.active, head.terminating
            )?;
        }
        for key in &self.removed_heads {
            writeln!(f, "delete {}:{}/{}", key.addr, key.port, key.proto)?;
        }
        for id in &self.removed_names {
            writeln!(f, "unname {id}")?;
        }
        for range in &self.retired {
            writeln!(f, "retire {}+{}", range.base, range.len)?;
        }
        Ok(())
    }
}

/// A table cannot hold what is asked of it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("map {map} holds {capacity} entries and needs at least {needed}")]
pub struct Full {
    /// Name of the map.
    pub map: &'static str,
    /// Its size.
    pub capacity: u32,
    /// The size that is needed.
    pub needed: u32,
}
