//! What to write, in order.

use std::fmt;

use skep_abi::{Backend, MaglevRow, SourcePrefix, Svc, SvcKey};

use crate::Range;

/// Writes to the kernel's tables, to be carried out field by field, from the first to the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Names of new services, by id.
    pub names: Vec<(u32, String)>,
    /// Rows of the backend table, each list from its first row on. No reader can see them before the heads are written.
    pub rows: Vec<(u32, Vec<Backend>)>,
    /// Rows of the Maglev tables, each table from its first row on. As with the rows before, no reader can see them yet.
    pub tables: Vec<(u32, Vec<MaglevRow>)>,
    /// Prefixes of callers to write, before the heads that ask for them.
    pub sources: Vec<SourcePrefix>,
    /// Heads to write, each replaced as a whole.
    pub heads: Vec<(SvcKey, Svc)>,
    /// Heads to delete.
    pub removed_heads: Vec<SvcKey>,
    /// Prefixes of callers to delete.
    pub removed_sources: Vec<SourcePrefix>,
    /// Ids whose names are no longer needed.
    pub removed_names: Vec<u32>,
    /// Datagram backends that their services have no more, each with its service's id: sockets connected to them speak into the void.
    pub gone: Vec<Backend>,
    /// Ranges of backend rows that are free a grace period after the heads were written; [`crate::Tables`] keeps account of them, and of
    /// those of Maglev tables.
    pub retired: Vec<Range>,
}

impl Plan {
    /// Number of elements to write or delete.
    pub fn ops(&self) -> usize {
        let rows: usize = self.rows.iter().map(|(_, rows)| rows.len()).sum();
        let rows = rows + self.tables.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        let sources = self.sources.len() + self.removed_sources.len();
        self.names.len() + rows + sources + self.heads.len() + self.removed_heads.len() + self.removed_names.len()
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
        for (base, rows) in &self.tables {
            writeln!(f, "table {base}+{}", rows.len())?;
        }
        for source in &self.sources {
            writeln!(f, "source {} of {}", source.key.addr, source.key.service)?;
        }
        for (key, head) in &self.heads {
            if head.flags & skep_abi::SVC_ADDRESS != 0 {
                writeln!(f, "address {}", key.addr)?;
                continue;
            }
            write!(
                f,
                "head {}:{}/{} service {} rows {}+{}+{}",
                key.addr, key.port, key.proto, head.service, head.base, head.active, head.terminating
            )?;
            if head.slots != 0 {
                write!(f, " by {} slots from {}", head.slots, head.maglev)?;
            }
            writeln!(f)?;
        }
        for key in &self.removed_heads {
            if *key == SvcKey::address(key.addr) {
                writeln!(f, "delete address {}", key.addr)?;
                continue;
            }
            writeln!(f, "delete {}:{}/{}", key.addr, key.port, key.proto)?;
        }
        for source in &self.removed_sources {
            writeln!(f, "delete source {} of {}", source.key.addr, source.key.service)?;
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
