//! Services in the datapath.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use skep_bpf::Datapath;
use skep_netmodel::{Change, PortName, ServiceSpec};
use skep_observe::{Difference, Inspector, Verify};
use tokio::sync::Notify;

use crate::services::{Step, Tables};

/// The kernel's service tables.
pub(crate) struct KernelTables {
    datapath: Arc<Datapath>,
    /// What they were last told to hold, once all of it is known.
    desired: Mutex<Option<BTreeMap<PortName, Arc<ServiceSpec>>>>,
    gone: Arc<Notify>,
}

impl KernelTables {
    pub(crate) fn new(datapath: Arc<Datapath>) -> Self {
        KernelTables { datapath, desired: Mutex::default(), gone: Arc::default() }
    }
}

impl KernelTables {
    /// Notified after writes, which may have taken backends away.
    pub(crate) fn gone(&self) -> Arc<Notify> {
        Arc::clone(&self.gone)
    }
}

impl Tables for KernelTables {
    fn carry_out(&self, step: &Step) -> Result<usize> {
        let mut desired = self.desired.lock().unwrap_or_else(PoisonError::into_inner);
        let applied = match step {
            Step::Full(specs) => {
                *desired = Some(specs.iter().map(|spec| (spec.name.clone(), Arc::clone(spec))).collect());
                self.datapath.sync_services(specs.iter().map(AsRef::as_ref))?
            }
            Step::Changes(changes) => {
                for change in changes {
                    let held = desired.get_or_insert_default();
                    match change {
                        Change::Set(spec) => held.insert(spec.name.clone(), Arc::clone(spec)),
                        Change::Remove(name) => held.remove(name),
                    };
                }
                self.datapath.apply_services(changes)?
            }
        };
        self.gone.notify_one();
        Ok(applied.ops)
    }
}

impl Verify for KernelTables {
    fn verify(&self, kernel: &Inspector) -> Result<Vec<Difference>, skep_bpf::Error> {
        let desired = self.desired.lock().unwrap_or_else(PoisonError::into_inner);
        match &*desired {
            Some(desired) => kernel.verify_services(desired.values().map(AsRef::as_ref)),
            None => Ok(vec![Difference::unknown("SVC")]),
        }
    }
}
