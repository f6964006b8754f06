//! Services in the datapath.

use std::sync::Arc;

use anyhow::Result;
use skep_bpf::Datapath;

use crate::services::{Step, Tables};

/// The kernel's service tables.
pub(crate) struct KernelTables {
    datapath: Arc<Datapath>,
}

impl KernelTables {
    pub(crate) fn new(datapath: Arc<Datapath>) -> Self {
        KernelTables { datapath }
    }
}

impl Tables for KernelTables {
    fn carry_out(&self, step: &Step) -> Result<usize> {
        let applied = match step {
            Step::Full(specs) => self.datapath.sync_services(specs.iter().map(AsRef::as_ref))?,
            Step::Changes(changes) => self.datapath.apply_services(changes)?,
        };
        Ok(applied.ops)
    }
}
